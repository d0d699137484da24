#pragma once

/* Reads segments line by line and checks the chain on the way. */

#include "hsmkms/audit/audit.h"
#include "hsmkms/audit/chain.h"
#include "hsmkms/audit/segment.h"

struct walk {
    struct chain chain;  /* of what was read so far */
    audit_line_fn *each; /* or NULL */
    void *arg;
};

enum walk_end {
    WALK_WHOLE, /* the segment ends with a whole line */
    WALK_TORN,  /* bytes without a newline follow the last line, or there is nothing else */
    WALK_EMPTY, /* the file has no bytes */
};

struct walked {
    enum walk_end end;
    int64_t size; /* bytes of whole lines */
    uint64_t lines;
};

/*
 * Walks over an open segment whose name says that its first line has number first.
 *
 * patience  how often a torn or empty end is looked at again, 50 ms apart, because another process
 *           may be writing it
 * Errors:   INTEGRITY; message names segment, line and what is wrong. INTERNAL (reading failed)
 */
CHECKED int walk_segment(struct walk *walk, int fd, uint64_t first, unsigned patience,
                         struct walked *ret, struct kms_error *err);

/* The same by name, opening the file. */
CHECKED int walk_named(struct walk *walk, int dir_fd, uint64_t first, unsigned patience,
                       struct walked *ret, struct kms_error *err);

/* INTEGRITY for a segment that does not end with a whole line. */
CHECKED int walk_must_be_whole(uint64_t first, const struct walked *walked, struct kms_error *err);

/*
 * Starts in the middle of a trail: takes number and hash of the last line of the segment that
 * begins with first, and believes what the next segment carries.
 */
CHECKED int walk_start_after(struct walk *walk, int dir_fd, uint64_t first, struct kms_error *err);
