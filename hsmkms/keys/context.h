#pragma once

/*
 * The encryption context: string pairs that a ciphertext is bound to. Canonical bytes are
 *   count (u16), then for each pair in ascending byte order of its name:
 *   length (u16), name, length (u16), value
 * so that order, JSON escapes and an absent map make no difference and nothing else makes none.
 */

#include "hsmkms/base/buf.h"

#define CONTEXT_PAIRS_MAX 64
#define CONTEXT_BYTES_MAX 8192 /* canonical */

struct context_pair {
    struct span name, value; /* UTF-8, borrowed from the request */
};

struct context {
    struct context_pair pairs[CONTEXT_PAIRS_MAX]; /* sorted by context_canonical */
    size_t count;
};

/*
 * Sorts the pairs and appends their canonical bytes.
 *
 * Errors:  VALIDATION (an empty name, a name twice, more than CONTEXT_BYTES_MAX)
 */
CHECKED int context_canonical(struct context *context, struct buf *ret, struct kms_error *err);
