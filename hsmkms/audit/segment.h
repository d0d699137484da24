#pragma once

/*
 * The files of the trail: audit-<first sequence number, 20 digits>.jsonl. One of them, the newest,
 * is written. Knows nothing of what lines say.
 *
 * Threads: none of its own; one thread uses a segment at a time.
 */

#include "hsmkms/base/buf.h"

struct segment_name {
    char text[sizeof("audit-00000000000000000000.jsonl")];
};
struct segment_name segment_name(uint64_t first);

/* First numbers of the segments in a directory, ascending. */
struct segment_list {
    uint64_t *first;
    size_t count;
};
void segment_list_done(struct segment_list *list);

/*
 * Errors: INTEGRITY (a name begins with "audit-" but is no segment's); INTERNAL (the directory
 *         cannot be read)
 */
CHECKED int segment_list_load(int dir_fd, struct segment_list *ret, struct kms_error *err);

/* Opens a segment for reading; -1 with err INTEGRITY. The caller closes it. */
CHECKED int segment_open_to_read(int dir_fd, uint64_t first, struct kms_error *err);

/* The segment being written. */
struct segment {
    int dir_fd;      /* borrowed */
    int fd;          /* -1: closed */
    uint64_t first;  /* 0: there is none; the next group makes one */
    int64_t size;    /* bytes known to be whole lines and on disk */
    int64_t born_us; /* clock_mono_us() when created or opened */
};

/*
 * Makes a new file, mode 0600, and puts its name on disk. Nothing is left behind on failure.
 *
 * Errors:  INTERNAL
 */
CHECKED int segment_create(int dir_fd, uint64_t first, struct segment *ret, struct kms_error *err);

/*
 * Opens an existing segment to go on with it, cuts it to size bytes and puts that on disk.
 *
 * Errors:  INTERNAL
 */
CHECKED int segment_open(int dir_fd, uint64_t first, int64_t size, struct segment *ret,
                         struct kms_error *err);

/*
 * Appends bytes with one write and puts them on disk. On failure the file may hold any part of
 * them until segment_recover() has succeeded; nothing may be appended before that.
 *
 * Errors:  INTERNAL (detail is the errno's text; or the file was changed by somebody else)
 */
CHECKED int segment_append(struct segment *segment, struct span bytes, struct kms_error *err);

/*
 * After a failure: opens the file anew, cuts it back to what is known to be good, and tries out
 * that bytes can be written and synced again.
 *
 * Errors:  INTERNAL (still failing; may be called again)
 */
CHECKED int segment_recover(struct segment *segment, struct kms_error *err);

/*
 * Removes a segment that holds no good line, so that none stands there empty. When that fails the
 * segment stays as it is.
 */
void segment_discard(struct segment *segment);

void segment_done(struct segment *segment);
