#pragma once

/*
 * AES-256-GCM by OpenSSL, for what need not be done in the token: session tokens. Master keys and
 * data keys are never used here.
 *
 * Source: NIST SP 800-38D.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/base/secret.h"

#define AEAD_KEY_LEN 32
#define AEAD_IV_LEN  12
#define AEAD_TAG_LEN 16

/*
 * Appends a random IV, the ciphertext and the tag: plain.len + AEAD_IV_LEN + AEAD_TAG_LEN bytes.
 *
 * key      AEAD_KEY_LEN bytes; at most 2^32 messages under one
 * Errors:  INTERNAL
 */
CHECKED int aead_seal(struct span key, struct span aad, struct span plain, struct buf *ret,
                      struct kms_error *err);

/*
 * The reverse. ret in its zero state.
 *
 * Errors:  INVALID_CIPHERTEXT (not what was sealed under this key and aad); INTERNAL
 */
CHECKED int aead_open(struct span key, struct span aad, struct span sealed, struct secret *ret,
                      struct kms_error *err);
