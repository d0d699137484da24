#pragma once

/*
 * Writes groups of records to the trail: numbers and chains them, rolls segments, and after a
 * failure goes back to the last line that is surely on disk before anything else is written. So no
 * number is ever given to two lines of the trail.
 *
 * Threads: none of its own; the committer's thread alone uses it.
 */

#include "hsmkms/audit/audit.h"
#include "hsmkms/audit/chain.h"
#include "hsmkms/audit/segment.h"

/* A record on its way. */
struct audit_entry {
    struct buf record; /* owned */
    audit_done_fn *done;
    void *arg;
    bool durable;
};

struct writer {
    struct chain chain; /* up to the last line on disk */
    struct segment segment;
    int64_t segment_bytes, segment_us; /* when to roll */
    struct buf lines;                  /* memory kept between groups */
    bool broken;                       /* the last attempt failed */
};

/* Writes a group with one write and one sync; sets durable of each entry. */
void writer_commit(struct writer *writer, struct audit_entry *entries, size_t count);

/* After a failure: true when writing works again. */
bool writer_recover(struct writer *writer);

void writer_done(struct writer *writer);
