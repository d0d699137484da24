#include "hsmkms/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_CAP 256

static bool grow(struct buf *buf, size_t len)
{
    size_t need, cap = buf->cap ? buf->cap : BUF_FIRST_CAP;

    if (buf->failed || !size_add(buf->len, len, &need)) {
        buf->failed = true;
        return false;
    }
    if (need <= buf->cap)
        return true;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;

    uint8_t *const moved = realloc(buf->ptr, cap);
    if (moved == NULL) {
        buf->failed = true;
        return false;
    }
    buf->ptr = moved;
    buf->cap = cap;
    return true;
}

uint8_t *buf_room(struct buf *buf, size_t len)
{
    if (!grow(buf, len))
        return NULL;
    uint8_t *const room = buf->ptr + buf->len;
    buf->len += len;
    return room;
}

void buf_append(struct buf *buf, struct span bytes)
{
    if (bytes.len == 0)
        return;
    uint8_t *const room = buf_room(buf, bytes.len);
    if (room)
        memcpy(room, bytes.ptr, bytes.len);
}

void buf_text(struct buf *buf, const char *text)
{
    buf_append(buf, span_text(text));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    const int len = vsnprintf(NULL, 0, format, args);
    /* one byte more than counted: vsnprintf ends with NUL, which is then given back */
    if (len < 0 || !grow(buf, (size_t)len + 1)) {
        buf->failed = true;
    } else {
        (void)vsnprintf((char *)buf->ptr + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}

static void big_endian(struct buf *buf, uint64_t value, size_t len)
{
    uint8_t *const room = buf_room(buf, len);

    for (size_t i = 0; room && i < len; i++)
        room[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
}

void buf_u8(struct buf *buf, uint8_t value)
{
    big_endian(buf, value, 1);
}

void buf_u16(struct buf *buf, uint16_t value)
{
    big_endian(buf, value, 2);
}

void buf_u32(struct buf *buf, uint32_t value)
{
    big_endian(buf, value, 4);
}

void buf_u64(struct buf *buf, uint64_t value)
{
    big_endian(buf, value, 8);
}

int buf_check(const struct buf *buf, struct kms_error *err)
{
    if (buf->failed)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory in a buffer");
    return 0;
}

struct buf buf_take(struct buf *from)
{
    const struct buf taken = *from;

    *from = (struct buf){ 0 };
    return taken;
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

void buf_done(struct buf *buf)
{
    free(buf->ptr);
    *buf = (struct buf){ 0 };
}
