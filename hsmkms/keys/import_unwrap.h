#pragma once

/*
 * The ways in which clients may wrap key material, and how the wrapping is taken off: the RSA
 * operation in the token, and what the token leaves to do in locked memory.
 *
 * Sources: AWS KMS Developer Guide, Select a wrapping algorithm; RFC 8017, section 7.1; RFC 5649;
 * PKCS #11 Current Mechanisms v3.0, section 2.1.21 (RSA AES KEY WRAP).
 */

#include "hsmkms/keys/wrapping.h"

struct wrapping_algorithm {
    const char *name; /* as in WrappingAlgorithm */
    const char *oaep; /* as in EncryptionAlgorithm */
    bool two_layers;  /* OAEP of an AES key, then AES key wrap with padding under it */
};

/* NULL: known to AWS and not done here, or unknown. */
const struct wrapping_algorithm *wrapping_algorithm_find(const char *name);

/* Rows by a number that import tokens carry and that never changes; NULL: none. */
const struct wrapping_algorithm *wrapping_algorithm_at(uint8_t number);
uint8_t wrapping_algorithm_number(const struct wrapping_algorithm *algorithm);

/*
 * ret      in its zero state; what was wrapped, 1 byte or more
 * Errors:  INVALID_CIPHERTEXT without words, whatever is wrong with it; KEY_UNAVAILABLE; INTERNAL
 */
CHECKED int import_unwrap(struct keyring *keyring, const struct wrapping_pair *pair,
                          const struct wrapping_algorithm *algorithm, struct span sealed,
                          struct secret *ret, struct kms_error *err);
