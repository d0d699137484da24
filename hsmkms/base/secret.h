#pragma once

/*
 * Owned bytes that wipe themselves. Allocated at final size from OpenSSL's secure heap (locked,
 * kept out of core dumps) once secret_heap_open() has run; before that, in tests, from the
 * ordinary heap. A secret cannot grow: a moved block would leave a copy behind.
 */

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

struct secret {
    uint8_t *ptr;
    size_t len;
};

/*
 * Opens the secure heap once, before any thread.
 *
 * bytes    size of the heap, a power of two
 * Errors:  CONFIG (memory cannot be locked: RLIMIT_MEMLOCK)
 */
CHECKED int secret_heap_open(size_t bytes, struct kms_error *err);

/* Makes len zero bytes, 1 or more. ret must be in its zero state. Errors: INTERNAL (heap full). */
CHECKED int secret_new(struct secret *ret, size_t len, struct kms_error *err);

/* A secret holding a copy of bytes, 1 or more. */
CHECKED int secret_copy(struct secret *ret, struct span bytes, struct kms_error *err);

/* Forgets the last bytes: keeps the first len, wipes the rest. */
void secret_shorten(struct secret *secret, size_t len);

/* Moves ownership out; the source is back in its zero state. */
struct secret secret_take(struct secret *from);

/* Wipes and frees. Accepts the zero state. */
void secret_done(struct secret *secret);

/* The one way to look inside. */
static inline struct span secret_span(const struct secret *secret)
{
    return span_of(secret->ptr, secret->len);
}

/* Wipes memory that is not a struct secret: public buffers that carried private bytes. */
void secret_wipe(void *ptr, size_t len);
