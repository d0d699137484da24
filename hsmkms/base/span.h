#pragma once

/* Borrowed bytes: pointer and length as one value. Public bytes only are compared here. */

#include <string.h>

#include "hsmkms/base/attrs.h"

struct span {
    const uint8_t *ptr;
    size_t len;
};

#define SPAN_LITERAL(text) ((struct span){ (const uint8_t *)(text), sizeof(text) - 1 })
#define SPAN_ARRAY(array)  ((struct span){ (const uint8_t *)(array), sizeof(array) })

static inline struct span span_of(const void *ptr, size_t len)
{
    return (struct span){ ptr, len };
}

static inline struct span span_text(const char *text)
{
    return (struct span){ (const uint8_t *)text, strlen(text) };
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Bytewise order, a prefix before what it begins; the order of strcmp on unsigned bytes. */
static inline int span_compare(struct span a, struct span b)
{
    const size_t shorter = a.len < b.len ? a.len : b.len;
    const int order = shorter ? memcmp(a.ptr, b.ptr, shorter) : 0;

    if (order)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

/* Takes len bytes off the front; false and nothing taken when there are fewer. */
static inline bool span_take(struct span *from, size_t len, struct span *ret)
{
    if (len > from->len)
        return false;
    *ret = span_of(from->ptr, len);
    from->ptr += len;
    from->len -= len;
    return true;
}
