#pragma once

/* Random identifiers (RFC 9562 version 4) as 16 bytes, and their lower-case text. */

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

#define UUID_TEXT_LEN 36

struct uuid {
    uint8_t bytes[16];
};

struct uuid_text {
    char text[UUID_TEXT_LEN + 1];
};

/* From the kernel's generator; never fails. */
struct uuid uuid_random(void);

struct uuid_text uuid_format(const struct uuid *uuid);

/* Accepts exactly the 36 lower-case characters that uuid_format() writes. */
CHECKED bool uuid_parse(struct span text, struct uuid *ret);

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static inline int uuid_compare(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static inline bool uuid_is_nil(const struct uuid *uuid)
{
    return uuid_equal(uuid, &(struct uuid){ { 0 } });
}

static inline struct span uuid_span(const struct uuid *uuid)
{
    return span_of(uuid->bytes, sizeof(uuid->bytes));
}
