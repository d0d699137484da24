#pragma once

/* Reads lines of the trail from any number on, over the ends of segments, without checking them. */

#include "hsmkms/audit/lines.h"
#include "hsmkms/base/error.h"

struct reader {
    int dir_fd;     /* borrowed */
    uint64_t first; /* of the segment being read; 0: none is open */
    uint64_t seq;   /* of the next line */
    struct lines lines;
};

/*
 * ret      in its zero state; its next line is number seq
 * Errors:  INTEGRITY (the line is not there)
 */
CHECKED int reader_open(int dir_fd, uint64_t seq, struct reader *ret, struct kms_error *err);

/*
 * ret      without its newline, borrowed until the next call
 * Errors:  INTEGRITY (there is no such line)
 */
CHECKED int reader_next(struct reader *reader, struct span *ret, struct kms_error *err);

/* Forgets what was read ahead: the file may be cut behind the last line that was returned. */
void reader_rest(struct reader *reader);

void reader_done(struct reader *reader);
