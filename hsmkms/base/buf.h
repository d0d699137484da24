#pragma once

/*
 * A growing buffer for public bytes. Failure is sticky: append freely, ask buf_failed() once at
 * the end. The zero state is an empty buffer. After a failure the content is gone.
 */

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

struct buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    bool failed;
};

void buf_append(struct buf *buf, struct span bytes);
void buf_text(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);

/* Big-endian integers, as wire formats want them. */
void buf_u8(struct buf *buf, uint8_t value);
void buf_u16(struct buf *buf, uint16_t value);
void buf_u32(struct buf *buf, uint32_t value);
void buf_u64(struct buf *buf, uint64_t value);

/* len bytes to be filled in by the caller at once, or NULL after a failure. */
uint8_t *buf_room(struct buf *buf, size_t len);

/* Errors: INTERNAL (out of memory at some append). */
CHECKED int buf_check(const struct buf *buf, struct kms_error *err);

struct buf buf_take(struct buf *from);
void buf_clear(struct buf *buf); /* empties, keeps the memory */
void buf_done(struct buf *buf);

static inline struct span buf_span(const struct buf *buf)
{
    return span_of(buf->ptr, buf->len);
}
