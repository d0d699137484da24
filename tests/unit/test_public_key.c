#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "hsmkms/crypto/key_pair.h"
#include "hsmkms/crypto/oaep.h"
#include "hsmkms/crypto/spki.h"
#include "tests/support/check.h"

/* Public keys, their DER, the end of OAEP, and pairs: against OpenSSL's own reading and writing. */

static const struct {
    enum public_kind kind;
    unsigned bits;
    size_t public_len; /* as it is kept */
} kinds[] = {
    { PUBLIC_RSA, 2048, 259 }, { PUBLIC_P256, 0, 65 },      { PUBLIC_P384, 0, 97 },
    { PUBLIC_P521, 0, 133 },   { PUBLIC_SECP256K1, 0, 65 }, { PUBLIC_ED25519, 0, 32 },
};

struct pair {
    struct secret private_key;
    struct buf public_key;
};

static struct pair make_pair(enum public_kind kind, unsigned bits)
{
    struct kms_error err = { 0 };
    struct pair pair = { 0 };

    CHECK_OK(key_pair_make(kind, bits, &pair.private_key, &pair.public_key, &err), err);
    return pair;
}

static void pair_done(struct pair *pair)
{
    secret_done(&pair->private_key);
    buf_done(&pair->public_key);
}

static EVP_PKEY *read_private(const struct pair *pair)
{
    const unsigned char *at = pair->private_key.ptr;
    EVP_PKEY *const key = d2i_AutoPrivateKey(NULL, &at, (long)pair->private_key.len);

    CHECK(key != NULL);
    CHECK(at == pair->private_key.ptr + pair->private_key.len);
    return key;
}

static void test_pair_is_what_openssl_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct pair pair = make_pair(kinds[i].kind, kinds[i].bits);
        EVP_PKEY *const key = read_private(&pair);
        PKCS8_PRIV_KEY_INFO *const info = EVP_PKEY2PKCS8(key);
        unsigned char *der = NULL;
        const int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
        CHECK_SPAN(secret_span(&pair.private_key), span_of(der, (size_t)len));
        OPENSSL_free(der);
        PKCS8_PRIV_KEY_INFO_free(info);
        EVP_PKEY_free(key);
        pair_done(&pair);
    }
}

/* The bytes that are kept of a curve's key, from the end of its DER. */
static struct public_key kept_of(const struct pair *pair, enum public_kind kind, size_t len)
{
    return (struct public_key){ kind, span_of(pair->public_key.ptr + pair->public_key.len - len,
                                              len) };
}

static void test_spki_of_curves(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 1; i < ARRAY_LEN(kinds); i++) {
        struct pair pair = make_pair(kinds[i].kind, 0);
        const struct public_key key = kept_of(&pair, kinds[i].kind, kinds[i].public_len);
        AUTO(buf) der = { 0 };
        AUTO(buf) point = { 0 };
        CHECK_OK(spki_format(&key, &der, &err), err);
        CHECK_SPAN(buf_span(&der), buf_span(&pair.public_key));
        for (enum public_kind other = PUBLIC_P256; other <= PUBLIC_SECP256K1; other++) {
            if (other == kinds[i].kind)
                CHECK_OK(spki_parse_point(other, buf_span(&der), &point, &err), err);
            else
                CHECK_FAILS(spki_parse_point(other, buf_span(&der), &point, &err), err,
                            KMS_ERR_VALIDATION);
        }
        if (kinds[i].kind != PUBLIC_ED25519)
            CHECK_SPAN(buf_span(&point), key.bytes);
        pair_done(&pair);
    }
}

static void test_spki_refuses_every_changed_byte(void **state)
{
    struct kms_error err = { 0 };
    struct pair pair = make_pair(PUBLIC_P256, 0);

    (void)state;
    for (size_t i = 0; i < pair.public_key.len; i++) {
        AUTO(buf) point = { 0 };
        pair.public_key.ptr[i] ^= 1;
        CHECK_FAILS(spki_parse_point(PUBLIC_P256, buf_span(&pair.public_key), &point, &err), err,
                    KMS_ERR_VALIDATION);
        pair.public_key.ptr[i] ^= 1;
        CHECK_FAILS(spki_parse_point(PUBLIC_P256, span_of(pair.public_key.ptr, i), &point, &err),
                    err, KMS_ERR_VALIDATION);
        CHECK(point.len == 0);
    }
    pair_done(&pair);
}

/* A compressed point is another form of the same key: refused. */
static void test_spki_refuses_compressed_points(void **state)
{
    struct kms_error err = { 0 };
    struct pair pair = make_pair(PUBLIC_P256, 0);
    EVP_PKEY *const key = read_private(&pair);
    unsigned char *der = NULL;
    AUTO(buf) point = { 0 };

    (void)state;
    CHECK(EVP_PKEY_set_utf8_string_param(key, "point-format", "compressed") == 1);
    const int len = i2d_PUBKEY(key, &der);
    CHECK(len > 0 && (size_t)len < pair.public_key.len);
    CHECK_FAILS(spki_parse_point(PUBLIC_P256, span_of(der, (size_t)len), &point, &err), err,
                KMS_ERR_VALIDATION);
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    pair_done(&pair);
}

/* --- OAEP ------------------------------------------------------------------------------------- */

#define MODULUS_LEN 256

/* The block before its padding is undone: encrypted by public_key_encrypt, opened without padding. */
static void raw_block(EVP_PKEY *key, struct span sealed, struct secret *ret)
{
    struct kms_error err = { 0 };
    size_t len = MODULUS_LEN;
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

    CHECK_OK(secret_new(ret, MODULUS_LEN, &err), err);
    CHECK(EVP_PKEY_decrypt_init(ctx) == 1);
    CHECK(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1);
    CHECK(EVP_PKEY_decrypt(ctx, ret->ptr, &len, sealed.ptr, sealed.len) == 1);
    EVP_PKEY_CTX_free(ctx);
}

/* modulus and exponent, as they are kept. */
static void keep_rsa(EVP_PKEY *key, uint8_t ret[MODULUS_LEN + PUBLIC_EXPONENT_LEN])
{
    static const uint8_t exponent[] = { 1, 0, 1 };
    BIGNUM *n = NULL;

    CHECK(EVP_PKEY_get_bn_param(key, "n", &n) == 1);
    CHECK(BN_bn2binpad(n, ret, MODULUS_LEN) == MODULUS_LEN);
    memcpy(ret + MODULUS_LEN, exponent, sizeof(exponent));
    BN_free(n);
}

static void check_oaep(EVP_PKEY *key, enum hash hash, struct span plain)
{
    struct kms_error err = { 0 };
    uint8_t kept[MODULUS_LEN + PUBLIC_EXPONENT_LEN];
    AUTO(buf) sealed = { 0 };
    AUTO(secret) block = { 0 };
    AUTO(secret) opened = { 0 };

    keep_rsa(key, kept);
    const struct public_key half = { PUBLIC_RSA, SPAN_ARRAY(kept) };
    CHECK_OK(public_key_encrypt(&half, hash, plain, &sealed, &err), err);
    raw_block(key, buf_span(&sealed), &block);
    CHECK_OK(oaep_open(hash, &block, &opened, &err), err);
    CHECK_SPAN(secret_span(&opened), plain);

    for (size_t i = 0; i < block.len; i++) {
        AUTO(secret) none = { 0 };
        block.ptr[i] ^= 0x80;
        CHECK_FAILS(oaep_open(hash, &block, &none, &err), err, KMS_ERR_INVALID_CIPHERTEXT);
        block.ptr[i] ^= 0x80;
    }
    AUTO(secret) none = { 0 };
    const enum hash other = hash == HASH_SHA1 ? HASH_SHA256 : HASH_SHA1;
    CHECK_FAILS(oaep_open(other, &block, &none, &err), err, KMS_ERR_INVALID_CIPHERTEXT);
    secret_shorten(&block, 2 * hash_len(hash) + 1);
    CHECK_FAILS(oaep_open(hash, &block, &none, &err), err, KMS_ERR_INVALID_CIPHERTEXT);
}

static void test_oaep(void **state)
{
    static const uint8_t zeros[MODULUS_LEN], ones[MODULUS_LEN] = { 1, 1, 1, 1 };
    struct pair pair = make_pair(PUBLIC_RSA, 2048);
    EVP_PKEY *const key = read_private(&pair);

    (void)state;
    for (enum hash hash = HASH_SHA1; hash <= HASH_SHA256; hash += HASH_SHA256 - HASH_SHA1) {
        const size_t most = public_key_oaep_max(MODULUS_LEN, hash);
        check_oaep(key, hash, SPAN_LITERAL("data"));
        check_oaep(key, hash, span_of("\1", 1));
        check_oaep(key, hash, span_of(zeros, most));
        check_oaep(key, hash, span_of(ones, most - 1));
        check_oaep(key, hash, (struct span){ 0 });
    }
    EVP_PKEY_free(key);
    pair_done(&pair);
}

/* --- signatures ------------------------------------------------------------------------------- */

/* r and s with zeros in front and with their top bit set become minimal DER. */
static void test_ecdsa_der(void **state)
{
    static const uint8_t raw[8] = { 0, 0, 0, 5, 0x80, 0, 0, 1 };
    static const uint8_t der[] = { 0x30, 10, 2, 1, 5, 2, 5, 0, 0x80, 0, 0, 1 };
    struct kms_error err = { 0 };
    AUTO(buf) made = { 0 };

    (void)state;
    CHECK_OK(ecdsa_signature_der(SPAN_ARRAY(raw), &made, &err), err);
    CHECK_SPAN(buf_span(&made), SPAN_ARRAY(der));
}

/* RFC 8032, section 7.1, test 2. */
static void test_verify_ed25519(void **state)
{
    static const uint8_t point[] = { 0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a,
                                     0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
                                     0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c,
                                     0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c };
    uint8_t signature[] = {
        0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f, 0x64, 0x25, 0x40,
        0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76, 0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda,
        0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99, 0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c,
        0x38, 0x7b, 0x2e, 0xae, 0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00
    };
    const struct public_key key = { PUBLIC_ED25519, SPAN_ARRAY(point) };
    const struct span message = span_of("\x72", 1);
    struct kms_error err = { 0 };
    bool good = false;

    (void)state;
    CHECK_OK(public_key_verify(&key, SIGNATURE_ED25519, HASH_NONE, message, SPAN_ARRAY(signature),
                               &good, &err),
             err);
    CHECK(good);
    signature[63] ^= 1;
    CHECK_OK(public_key_verify(&key, SIGNATURE_ED25519, HASH_NONE, message, SPAN_ARRAY(signature),
                               &good, &err),
             err);
    CHECK(!good);
}

static void test_bytes_that_are_no_key(void **state)
{
    static const uint8_t off_curve[65] = { 4, 1 };
    const struct public_key rows[] = {
        { PUBLIC_P256, SPAN_ARRAY(off_curve) },
        { PUBLIC_P256, { 0 } },
        { PUBLIC_RSA, span_of("\1\0\1", 3) },
        { PUBLIC_ED25519, span_of("x", 1) },
    };
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(buf) der = { 0 };
        CHECK_FAILS(spki_format(&rows[i], &der, &err), err, KMS_ERR_INTERNAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair_is_what_openssl_writes),
        cmocka_unit_test(test_spki_of_curves),
        cmocka_unit_test(test_spki_refuses_every_changed_byte),
        cmocka_unit_test(test_spki_refuses_compressed_points),
        cmocka_unit_test(test_oaep),
        cmocka_unit_test(test_ecdsa_der),
        cmocka_unit_test(test_verify_ed25519),
        cmocka_unit_test(test_bytes_that_are_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
