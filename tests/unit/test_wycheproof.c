/*
 * Wycheproof's vectors, made of the mistakes that implementations make: signatures of public_key.h
 * and the padding of oaep.h. What is valid must be taken, what is invalid refused; what a vector
 * calls acceptable (an omitted NULL in a DigestInfo) may be either.
 */

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "hsmkms/crypto/oaep.h"
#include "hsmkms/crypto/public_key.h"
#include "tests/support/wycheproof.h"

/* clang-format off */
static const struct suite {
    const char *file;
    enum public_kind kind;
    enum signature_scheme scheme;
    enum hash hash;
} signature_suites[] = {
    { "ecdsa_secp256r1_sha256_test",      PUBLIC_P256,      SIGNATURE_ECDSA,   HASH_SHA256 },
    { "ecdsa_secp384r1_sha384_test",      PUBLIC_P384,      SIGNATURE_ECDSA,   HASH_SHA384 },
    { "ecdsa_secp521r1_sha512_test",      PUBLIC_P521,      SIGNATURE_ECDSA,   HASH_SHA512 },
    { "ecdsa_secp256k1_sha256_test",      PUBLIC_SECP256K1, SIGNATURE_ECDSA,   HASH_SHA256 },
    { "ed25519_test",                     PUBLIC_ED25519,   SIGNATURE_ED25519, HASH_NONE },
    { "rsa_signature_2048_sha256_test",   PUBLIC_RSA,       SIGNATURE_PKCS1,   HASH_SHA256 },
    { "rsa_signature_2048_sha512_test",   PUBLIC_RSA,       SIGNATURE_PKCS1,   HASH_SHA512 },
    { "rsa_signature_3072_sha384_test",   PUBLIC_RSA,       SIGNATURE_PKCS1,   HASH_SHA384 },
    { "rsa_signature_4096_sha512_test",   PUBLIC_RSA,       SIGNATURE_PKCS1,   HASH_SHA512 },
    { "rsa_pss_2048_sha256_mgf1_32_test", PUBLIC_RSA,       SIGNATURE_PSS,     HASH_SHA256 },
    { "rsa_pss_2048_sha384_mgf1_48_test", PUBLIC_RSA,       SIGNATURE_PSS,     HASH_SHA384 },
    { "rsa_pss_3072_sha256_mgf1_32_test", PUBLIC_RSA,       SIGNATURE_PSS,     HASH_SHA256 },
    { "rsa_pss_4096_sha512_mgf1_64_test", PUBLIC_RSA,       SIGNATURE_PSS,     HASH_SHA512 },
};

static const struct padding_suite {
    const char *file;
    enum hash hash;
} padding_suites[] = {
    { "rsa_oaep_2048_sha1_mgf1sha1_test",     HASH_SHA1 },
    { "rsa_oaep_2048_sha256_mgf1sha256_test", HASH_SHA256 },
};
/* clang-format on */

/* Signatures */

/* Appends a number of `len` bytes, whatever zeros the vector has in front of it. */
static void append_number(struct buf *ret, const json_t *key, const char *name, size_t len)
{
    static const uint8_t zeros[PUBLIC_EXPONENT_LEN];
    AUTO(buf) number = { 0 };

    wycheproof_hex(&number, key, name);
    const struct span digits = buf_span(&number);
    const size_t more = digits.len < len ? len - digits.len : 0;
    const size_t less = digits.len > len ? digits.len - len : 0;
    CHECK(more <= sizeof(zeros) && less <= 1 && (less == 0 || digits.ptr[0] == 0));
    buf_append(ret, span_of(zeros, more));
    buf_append(ret, span_of(digits.ptr + less, digits.len - less));
}

/* The public key of a group as this service keeps keys. It makes keys of exponent 65537 alone;
 * vectors for forgeries have smaller ones too. */
static void read_key(const struct suite *suite, const json_t *group, struct buf *ret)
{
    const json_t *const key = json_object_get(group, "publicKey");

    if (suite->kind == PUBLIC_RSA) {
        append_number(ret, key, "modulus", wycheproof_bits(group, "keySize") / 8);
        append_number(ret, key, "publicExponent", PUBLIC_EXPONENT_LEN);
    } else {
        wycheproof_hex(ret, key, suite->kind == PUBLIC_ED25519 ? "pk" : "uncompressed");
    }
}

static void run_signature(struct wycheproof *run, void *arg, const json_t *group,
                          const json_t *test)
{
    const struct suite *const suite = arg;
    struct kms_error err = { 0 };
    struct hash_value digest;
    bool taken = false;
    AUTO(buf) key = { 0 };
    AUTO(buf) message = { 0 };
    AUTO(buf) signature = { 0 };

    read_key(suite, group, &key);
    wycheproof_hex(&message, test, "msg");
    wycheproof_hex(&signature, test, "sig");
    const struct public_key public = { suite->kind, buf_span(&key) };
    struct span input = buf_span(&message);
    if (suite->hash != HASH_NONE) {
        CHECK_OK(hash_of(suite->hash, input, &digest, &err), err);
        input = hash_span(&digest);
    }
    CHECK_OK(public_key_verify(&public, suite->scheme, suite->hash, input, buf_span(&signature),
                               &taken, &err),
             err);
    wycheproof_judge(run, test, taken);
}

/* Padding */

static EVP_PKEY *read_private(const json_t *group)
{
    AUTO(buf) der = { 0 };

    wycheproof_hex(&der, group, "privateKeyPkcs8");
    const unsigned char *at = buf_span(&der).ptr;
    EVP_PKEY *const key = d2i_AutoPrivateKey(NULL, &at, (long)buf_span(&der).len);
    CHECK(key != NULL);
    return key;
}

/* RSADP by OpenSSL, as a token without OAEP does it. False: not a ciphertext of this key. */
static bool raw_decrypt(EVP_PKEY *key, struct span sealed, struct secret *ret)
{
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new(key, NULL);
    size_t len = ret->len;

    CHECK(ctx != NULL && EVP_PKEY_decrypt_init(ctx) > 0);
    CHECK(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) > 0);
    const bool good =
        sealed.len == ret->len && EVP_PKEY_decrypt(ctx, ret->ptr, &len, sealed.ptr, sealed.len) > 0;
    EVP_PKEY_CTX_free(ctx);
    return good && len == ret->len;
}

static bool opens(enum hash hash, EVP_PKEY *key, const json_t *test)
{
    struct kms_error err = { 0 };
    AUTO(buf) sealed = { 0 };
    AUTO(buf) expected = { 0 };
    AUTO(secret) block = { 0 };
    AUTO(secret) plain = { 0 };

    wycheproof_hex(&sealed, test, "ct");
    wycheproof_hex(&expected, test, "msg");
    CHECK_OK(secret_new(&block, (size_t)EVP_PKEY_get_size(key), &err), err);
    if (!raw_decrypt(key, buf_span(&sealed), &block))
        return false;
    if (oaep_open(hash, &block, &plain, &err) < 0) {
        assert_int_equal(err.code, KMS_ERR_INVALID_CIPHERTEXT);
        return false;
    }
    if (wycheproof_is_valid(test))
        CHECK_SPAN(secret_span(&plain), buf_span(&expected));
    return true;
}

static void run_padding(struct wycheproof *run, void *arg, const json_t *group, const json_t *test)
{
    const struct padding_suite *const suite = arg;
    AUTO(buf) label = { 0 };

    wycheproof_hex(&label, test, "label");
    if (label.len) {
        wycheproof_skip(run, "with a label");
        return;
    }
    EVP_PKEY *const key = read_private(group);
    wycheproof_judge(run, test, opens(suite->hash, key, test));
    EVP_PKEY_free(key);
}

static void test_wycheproof_signatures(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(signature_suites); i++) {
        struct suite suite = signature_suites[i];
        const struct wycheproof run = wycheproof_walk(suite.file, run_signature, &suite);
        CHECK(run.refused > run.acceptable);
    }
}

static void test_wycheproof_oaep(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(padding_suites); i++) {
        struct padding_suite suite = padding_suites[i];
        const struct wycheproof run = wycheproof_walk(suite.file, run_padding, &suite);
        CHECK(run.refused > run.acceptable);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wycheproof_signatures),
        cmocka_unit_test(test_wycheproof_oaep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
