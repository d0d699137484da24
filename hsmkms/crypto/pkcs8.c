#include "hsmkms/crypto/pkcs8.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>

#include "hsmkms/crypto/openssl_key.h"

#define ROOM 4096 /* an RSA-4096 key takes 2,375 bytes at most */

enum der_tag { DER_INTEGER = 0x02, DER_OCTETS = 0x04, DER_SEQUENCE = 0x30 };

/* DER written from its end to its beginning, so that lengths are known when they are needed. */
struct backwards {
    struct secret room;
    size_t free; /* bytes in front of what is written */
    bool failed; /* did not fit */
};

static void put(struct backwards *der, struct span bytes)
{
    if (bytes.len > der->free) {
        der->failed = true;
        return;
    }
    der->free -= bytes.len;
    memcpy(der->room.ptr + der->free, bytes.ptr, bytes.len);
}

static void put_byte(struct backwards *der, size_t byte)
{
    const uint8_t value = (uint8_t)byte;

    put(der, span_of(&value, 1));
}

/* Tag and length of what was written since free was as end says. */
static void put_header(struct backwards *der, enum der_tag tag, size_t end)
{
    const size_t len = end - der->free;

    put_byte(der, len);
    if (len > 255)
        put_byte(der, len >> 8);
    if (len > 127)
        put_byte(der, len > 255 ? 0x82 : 0x81);
    put_byte(der, tag);
}

/* --- the numbers of a key ----------------------------------------------------------------------- */

/* A number of a key, in the secure heap where OpenSSL keeps it there; NULL when there is none. */
static BIGNUM *number_of(const OSSL_PARAM *params, const char *name)
{
    const OSSL_PARAM *const param = OSSL_PARAM_locate_const(params, name);
    BIGNUM *number = BN_secure_new();

    if (param && number && OSSL_PARAM_get_BN(param, &number) == 1)
        return number;
    BN_clear_free(number);
    return NULL;
}

/* A positive INTEGER: a zero in front where the first bit is set. */
static void put_integer(struct backwards *der, const OSSL_PARAM *params, const char *name)
{
    const size_t end = der->free;
    BIGNUM *const number = number_of(params, name);
    const size_t len = number ? (size_t)BN_num_bits(number) / 8 + 1 : 0;

    if (len == 0 || len > der->free ||
        BN_bn2binpad(number, der->room.ptr + der->free - len, (int)len) != (int)len) {
        der->failed = true;
    } else {
        der->free -= len;
        put_header(der, DER_INTEGER, end);
    }
    BN_clear_free(number);
}

/* --- kinds ------------------------------------------------------------------------------------ */

static void put_rsa(struct backwards *der, const OSSL_PARAM *params)
{
    static const char *const numbers[] = {
        OSSL_PKEY_PARAM_RSA_COEFFICIENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
        OSSL_PKEY_PARAM_RSA_EXPONENT1,    OSSL_PKEY_PARAM_RSA_FACTOR2,
        OSSL_PKEY_PARAM_RSA_FACTOR1,      OSSL_PKEY_PARAM_RSA_D,
        OSSL_PKEY_PARAM_RSA_E,            OSSL_PKEY_PARAM_RSA_N,
    };
    static const uint8_t version[] = { DER_INTEGER, 1, 0 };
    const size_t end = der->free;

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        put_integer(der, params, numbers[i]);
    put(der, SPAN_ARRAY(version));
    put_header(der, DER_SEQUENCE, end);
}

/* ECPrivateKey without parameters, which PrivateKeyInfo has, with the public key. */
static void put_curve(struct backwards *der, const OSSL_PARAM *params, size_t scalar_len)
{
    static const uint8_t version[] = { DER_INTEGER, 1, 1 };
    const OSSL_PARAM *const point = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PUB_KEY);
    BIGNUM *const scalar = number_of(params, OSSL_PKEY_PARAM_PRIV_KEY);
    const size_t end = der->free;

    if (point == NULL || scalar == NULL || der->free < 2 * PUBLIC_POINT_MAX + scalar_len) {
        der->failed = true;
        BN_clear_free(scalar);
        return;
    }
    put(der, span_of(point->data, point->data_size)); /* BIT STRING within [1] */
    put_byte(der, 0);
    put_header(der, 0x03, end);
    put_header(der, 0xa1, end);
    const size_t scalar_end = der->free;
    der->free -= scalar_len;
    der->failed |= BN_bn2binpad(scalar, der->room.ptr + der->free, (int)scalar_len) < 0;
    put_header(der, DER_OCTETS, scalar_end);
    put(der, SPAN_ARRAY(version));
    put_header(der, DER_SEQUENCE, end);
    BN_clear_free(scalar);
}

static void put_ed25519(struct backwards *der, const OSSL_PARAM *params)
{
    const OSSL_PARAM *const seed = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_PRIV_KEY);
    const size_t end = der->free;

    if (seed == NULL) {
        der->failed = true;
        return;
    }
    put(der, span_of(seed->data, seed->data_size));
    put_header(der, DER_OCTETS, end);
}

static void put_private_key(struct backwards *der, enum public_kind kind, const OSSL_PARAM *params)
{
    static const size_t scalar_lens[PUBLIC_KINDS] = {
        [PUBLIC_P256] = 32, [PUBLIC_P384] = 48, [PUBLIC_P521] = 66, [PUBLIC_SECP256K1] = 32
    };

    if (kind == PUBLIC_RSA)
        put_rsa(der, params);
    else if (kind == PUBLIC_ED25519)
        put_ed25519(der, params);
    else
        put_curve(der, params, scalar_lens[kind]);
}

/* AlgorithmIdentifier of each kind (RFC 8017, appendix C; RFC 5480, section 2.1; RFC 8410). */
struct span pkcs8_algorithm(enum public_kind kind)
{
    static const uint8_t rsa[] = { 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0 };
    static const uint8_t p256[] = { 0x30, 19, 6,    7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1,
                                    6,    8,  0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };
    static const uint8_t p384[] = { 0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                                    2,    1,  6, 5, 0x2b, 0x81, 4,    0,    34 };
    static const uint8_t p521[] = { 0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                                    2,    1,  6, 5, 0x2b, 0x81, 4,    0,    35 };
    static const uint8_t secp256k1[] = { 0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                                         2,    1,  6, 5, 0x2b, 0x81, 4,    0,    10 };
    static const uint8_t ed25519[] = { 0x30, 5, 6, 3, 0x2b, 0x65, 0x70 };
    const struct span rows[PUBLIC_KINDS] = {
        [PUBLIC_RSA] = SPAN_ARRAY(rsa),   [PUBLIC_P256] = SPAN_ARRAY(p256),
        [PUBLIC_P384] = SPAN_ARRAY(p384), [PUBLIC_P521] = SPAN_ARRAY(p521),
        [PUBLIC_SECP256K1] = SPAN_ARRAY(secp256k1), [PUBLIC_ED25519] = SPAN_ARRAY(ed25519),
    };
    return rows[kind];
}

int pkcs8_format(enum public_kind kind, EVP_PKEY *key, struct secret *ret, struct kms_error *err)
{
    static const uint8_t version[] = { DER_INTEGER, 1, 0 };
    struct backwards der = { .free = ROOM };
    OSSL_PARAM *params = NULL; /* secret numbers are in the secure heap, and wiped when freed */

    if (EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params) != 1)
        return openssl_failed(err, "the numbers of a key pair");
    if (secret_new(&der.room, ROOM, err) < 0) {
        OSSL_PARAM_free(params);
        return -1;
    }
    put_private_key(&der, kind, params);
    OSSL_PARAM_free(params);
    put_header(&der, DER_OCTETS, ROOM);
    put(&der, pkcs8_algorithm(kind));
    put(&der, SPAN_ARRAY(version));
    put_header(&der, DER_SEQUENCE, ROOM);
    const int copied = der.failed
                           ? openssl_failed(err, "a PrivateKeyInfo")
                           : secret_copy(ret, span_of(der.room.ptr + der.free, ROOM - der.free), err);
    secret_done(&der.room);
    return copied;
}
