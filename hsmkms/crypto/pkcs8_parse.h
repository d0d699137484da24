#pragma once

/*
 * Private keys as clients bring them: DER of PKCS#8, read in place. Read here and not by OpenSSL's
 * decoder, which leaves copies in ordinary memory. Nothing is believed of the numbers but their
 * sizes: whether they are a key, whoever uses them has to try.
 *
 * Source: RFC 5958 (PKCS#8); RFC 8017, appendix A.1.2 (RSAPrivateKey); RFC 5915 (ECPrivateKey).
 */

#include "hsmkms/base/secret.h"
#include "hsmkms/crypto/public_key.h"

/* Big-endian numbers without zeros in front; borrowed from the DER. */
struct private_numbers {
    struct span modulus, public_exponent, exponent, prime1, prime2, exponent1, exponent2,
        coefficient;    /* RSA */
    struct span scalar; /* curves of SEC 1: as long as the field, zeros in front */
    struct span point;  /* and the uncompressed point; empty where the DER has none */
};

/*
 * kind     PUBLIC_RSA or a curve of SEC 1
 * Errors:  VALIDATION without words (not one whole private key of this kind)
 */
CHECKED int pkcs8_parse(enum public_kind kind, struct span der, struct private_numbers *ret,
                        struct kms_error *err);

/*
 * The uncompressed point that belongs to a scalar.
 *
 * ret      appended to
 * Errors:  VALIDATION without words (no scalar of this curve); INTERNAL
 */
CHECKED int curve_point_of(enum public_kind kind, struct span scalar, struct buf *ret,
                           struct kms_error *err);
