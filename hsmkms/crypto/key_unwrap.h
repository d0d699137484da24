#pragma once

/*
 * AES key wrap with padding, taken off in locked memory: the inner layer of RSA_AES_KEY_WRAP, for
 * tokens that have no CKM_RSA_AES_KEY_WRAP.
 *
 * Source: RFC 5649.
 */

#include "hsmkms/base/secret.h"

#define KEY_UNWRAP_KEY_LEN 32

/*
 * key      KEY_UNWRAP_KEY_LEN bytes
 * wrapped  any length
 * ret      in its zero state
 * Errors:  INVALID_CIPHERTEXT without words, whatever is wrong; INTERNAL
 */
CHECKED int key_unwrap(struct span key, struct span wrapped, struct secret *ret,
                       struct kms_error *err);
