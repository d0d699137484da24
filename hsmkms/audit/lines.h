#pragma once

/* Reads a file line by line in bounded memory, while another process may be appending to it. */

#include "hsmkms/base/buf.h"

struct lines {
    int fd;         /* borrowed; read with pread(2) */
    int64_t offset; /* of the next line */
    struct buf buf; /* bytes read; the next line begins at begin */
    size_t begin;
};

enum lines_got {
    LINES_WHOLE,    /* a line that ends with a newline */
    LINES_END,      /* nothing after the last line */
    LINES_TORN,     /* bytes without a newline; another call looks at the file again */
    LINES_TOO_LONG, /* more than CHAIN_LINE_MAX bytes without a newline */
    LINES_FAILED,   /* errno says why */
};

/* ret, without its newline, is borrowed until the next call; set for LINES_WHOLE only. */
CHECKED enum lines_got lines_next(struct lines *lines, struct span *ret);

/* The last line of a finished file: LINES_WHOLE, LINES_END when it is empty, or what is wrong. */
CHECKED enum lines_got lines_last(struct lines *lines, struct span *ret);

void lines_done(struct lines *lines);
