#pragma once

/*
 * The hashes of signatures, MACs and paddings, by OpenSSL. SHA-256 of the project's own bytes is
 * digest.h's, which keeps its contexts.
 *
 * Source: FIPS 180-4.
 */

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

#define HASH_LEN_MAX 64

enum hash { HASH_NONE, HASH_SHA1, HASH_SHA224, HASH_SHA256, HASH_SHA384, HASH_SHA512, HASHES };

struct hash_value {
    size_t len;
    uint8_t bytes[HASH_LEN_MAX];
};

/* Bytes of a digest; 0 for HASH_NONE. */
size_t hash_len(enum hash hash);

/* As OpenSSL calls it, "SHA256". Not of HASH_NONE. */
const char *hash_name(enum hash hash);

/* Errors: INTERNAL (a broken installation of OpenSSL). */
CHECKED int hash_of(enum hash hash, struct span bytes, struct hash_value *ret,
                    struct kms_error *err);

static inline struct span hash_span(const struct hash_value *value)
{
    return span_of(value->bytes, value->len);
}
