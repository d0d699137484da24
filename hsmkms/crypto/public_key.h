#pragma once

/*
 * What can be done with a public key outside the token, by OpenSSL: verifying, encrypting. A key is
 * the bytes that are kept of it; it is made ready anew for each call.
 *
 * Threads: any; nothing is shared. Errors: INTERNAL (OpenSSL broken, or bytes that are no such key).
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/crypto/hash.h"

enum public_kind {
    PUBLIC_RSA,
    PUBLIC_P256,
    PUBLIC_P384,
    PUBLIC_P521,
    PUBLIC_SECP256K1,
    PUBLIC_ED25519,
    PUBLIC_KINDS
};

#define PUBLIC_EXPONENT_LEN 3 /* bytes of the exponent of every RSA key here, 65537 */
#define PUBLIC_POINT_MAX    133

/*
 * RSA: the modulus, big-endian, then the exponent. Curves of SEC 1: the uncompressed point.
 * Ed25519: the 32 bytes of RFC 8032.
 */
struct public_key {
    enum public_kind kind;
    struct span bytes; /* borrowed */
};

enum signature_scheme {
    SIGNATURE_PKCS1, /* RFC 8017, section 8.2 */
    SIGNATURE_PSS,   /* RFC 8017, section 8.1; MGF1 with the same hash, salt as long as the digest */
    SIGNATURE_ECDSA, /* DER of SEQUENCE { r, s } (RFC 3279, section 2.2.3) */
    SIGNATURE_ED25519
};

/*
 * input    a digest of the hash; for SIGNATURE_ED25519 the message
 * ret      whether the signature is one; a malformed one is not
 */
CHECKED int public_key_verify(const struct public_key *key, enum signature_scheme scheme,
                              enum hash hash, struct span input, struct span signature, bool *ret,
                              struct kms_error *err);

/*
 * RSAES-OAEP (RFC 8017, section 7.1), MGF1 with the same hash, empty label.
 *
 * plain    at most public_key_oaep_max() bytes
 * ret      appended to: as many bytes as the modulus has
 */
CHECKED int public_key_encrypt(const struct public_key *key, enum hash hash, struct span plain,
                               struct buf *ret, struct kms_error *err);

static inline size_t public_key_oaep_max(size_t modulus_len, enum hash hash)
{
    return modulus_len - 2 * hash_len(hash) - 2;
}

/* r and s side by side, as tokens give them, in the form that clients want. ret: appended to. */
CHECKED int ecdsa_signature_der(struct span r_and_s, struct buf *ret, struct kms_error *err);
