#pragma once

/*
 * Private keys as clients get them: DER of PKCS#8. Written here and not by OpenSSL's encoder, which
 * leaves copies in ordinary memory.
 *
 * Source: RFC 5958 (PKCS#8); RFC 8017, appendix A.1.2 (RSAPrivateKey); RFC 5915 (ECPrivateKey);
 * RFC 8410, section 7 (Ed25519); ITU-T X.690 (DER).
 */

#include <openssl/evp.h>

#include "hsmkms/base/secret.h"
#include "hsmkms/crypto/public_key.h"

/* ret in its zero state. Errors: INTERNAL. */
CHECKED int pkcs8_format(enum public_kind kind, EVP_PKEY *key, struct secret *ret,
                         struct kms_error *err);

/* DER of the AlgorithmIdentifier of a kind. */
struct span pkcs8_algorithm(enum public_kind kind);
