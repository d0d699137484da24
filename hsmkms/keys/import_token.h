#pragma once

/*
 * Import tokens: what binds a wrapping pair and an algorithm to one key for a day. Bytes with a MAC
 * of the token over them, so nothing is stored for one and nobody else can make one. They are no
 * secret: whoever has one still needs the permission to import, and the private half to open what
 * was wrapped.
 *
 * Source: AWS KMS API Reference, GetParametersForImport and ImportKeyMaterial.
 */

#include "hsmkms/keys/keyring.h"

#define IMPORT_TOKEN_LIFE_MS MS_PER_DAY

struct import_token {
    struct uuid key_id, pair_id;
    uint8_t algorithm; /* number of a row of import_unwrap.c */
    int64_t valid_to_ms;
};

/* ret: appended to. */
CHECKED int import_token_make(struct keyring *keyring, const struct import_token *token,
                              struct buf *ret, struct kms_error *err);

/*
 * Errors:  INVALID_IMPORT_TOKEN (not made here, or for another key); EXPIRED_IMPORT_TOKEN;
 *          KEY_UNAVAILABLE
 */
CHECKED int import_token_open(struct keyring *keyring, struct span bytes, const struct uuid *key_id,
                              struct import_token *ret, struct kms_error *err);
