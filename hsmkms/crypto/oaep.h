#pragma once

/*
 * The end of RSAES-OAEP decryption, for tokens that do the RSA operation and not the padding: in
 * locked memory, in constant time until it is clear whether the padding is good.
 *
 * Source: RFC 8017, section 7.1.2, step 3.
 */

#include "hsmkms/base/secret.h"
#include "hsmkms/crypto/hash.h"

/*
 * encoded  the decrypted block, as long as the modulus; MGF1 with the same hash, empty label
 * ret      in its zero state; stays so for an empty message
 * Errors:  INVALID_CIPHERTEXT without words, whatever is wrong; INTERNAL
 */
CHECKED int oaep_open(enum hash hash, const struct secret *encoded, struct secret *ret,
                      struct kms_error *err);
