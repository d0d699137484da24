#pragma once

/*
 * SHA-256 and HMAC-SHA256 by OpenSSL. The algorithms are fetched once per process; contexts are
 * cheap to start afterwards. Errors of OpenSSL here mean a broken installation: INTERNAL.
 */

#include "hsmkms/base/secret.h"

#define SHA256_LEN     32
#define SHA256_HEX_LEN 64

/* A running SHA-256. In place; the zero state is not started. */
struct sha256 {
    void *ctx; /* EVP_MD_CTX */
};

CHECKED int sha256_init(struct sha256 *ret, struct kms_error *err);
void sha256_update(struct sha256 *sha, struct span bytes); /* failure shows in sha256_final */
CHECKED int sha256_final(struct sha256 *sha, uint8_t ret[SHA256_LEN], struct kms_error *err);
void sha256_done(struct sha256 *sha);

CHECKED int sha256_of(struct span bytes, uint8_t ret[SHA256_LEN], struct kms_error *err);

/* One HMAC-SHA256. key 0 bytes or more. */
CHECKED int hmac_sha256(struct span key, struct span bytes, uint8_t ret[SHA256_LEN],
                        struct kms_error *err);

/* Constant-time comparison of byte strings of a public length. */
CHECKED bool equal_ct(struct span a, struct span b);
