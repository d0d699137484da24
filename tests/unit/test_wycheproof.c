/*
 * Wycheproof's vectors, made of the mistakes that implementations make: signatures of public_key.h
 * and the padding of oaep.h. What is valid must be taken, what is invalid refused; what a vector
 * calls acceptable (an omitted NULL in a DigestInfo) may be either.
 *
 * Reads the folder named by HSMKMS_WYCHEPROOF, which tests/vectors/fetch_wycheproof.sh fills.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/oaep.h"
#include "hsmkms/crypto/public_key.h"
#include "tests/support/check.h"

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

static const struct {
    const char *file;
    enum hash hash;
} padding_suites[] = {
    { "rsa_oaep_2048_sha1_mgf1sha1_test",     HASH_SHA1 },
    { "rsa_oaep_2048_sha256_mgf1sha256_test", HASH_SHA256 },
};
/* clang-format on */

static struct {
    unsigned valid, invalid, acceptable;
} counted;

static json_t *read_suite(const char *name)
{
    const char *const folder = getenv("HSMKMS_WYCHEPROOF");
    char path[4096];

    if (folder == NULL)
        return NULL;
    (void)snprintf(path, sizeof(path), "%s/%s.json", folder, name);
    return json_load_file(path, 0, NULL);
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *const text = json_string_value(json_object_get(object, name));

    CHECK(text != NULL);
    return text;
}

/* Appends what a member says in hexadecimal digits, without `skip` bytes in front. */
static void append_hex(struct buf *ret, const json_t *object, const char *name, size_t skip)
{
    const char *const text = text_of(object, name);
    const size_t len = strlen(text) / 2;
    uint8_t *const bytes = malloc(len + 1);

    CHECK(bytes != NULL && len >= skip);
    CHECK(hex_parse(span_of(text, 2 * len), bytes, len));
    buf_append(ret, span_of(bytes + skip, len - skip));
    free(bytes);
}

/* Compares with the vector; nothing else decides. */
static void judge(const char *suite, const json_t *test, bool taken)
{
    const char *const result = text_of(test, "result");
    const bool valid = strcmp(result, "valid") == 0;
    const bool acceptable = strcmp(result, "acceptable") == 0;

    counted.valid += valid;
    counted.acceptable += acceptable;
    counted.invalid += !valid && !acceptable;
    if (!acceptable && taken != valid)
        fail_msg("%s, tcId %d: %s, and it is %s", suite,
                 (int)json_integer_value(json_object_get(test, "tcId")), result,
                 taken ? "taken" : "refused");
}

/* Signatures */

/* This service makes keys of exponent 65537 alone; vectors for forgeries have smaller ones too. */
static void append_exponent(struct buf *ret, const json_t *key)
{
    static const uint8_t zeros[PUBLIC_EXPONENT_LEN];
    const size_t len = strlen(text_of(key, "publicExponent")) / 2;

    CHECK(len <= PUBLIC_EXPONENT_LEN);
    buf_append(ret, span_of(zeros, PUBLIC_EXPONENT_LEN - len));
    append_hex(ret, key, "publicExponent", 0);
}

/* The public key of a group as this service keeps keys. */
static void read_key(const struct suite *suite, const json_t *group, struct buf *ret)
{
    const json_t *const key = json_object_get(group, "publicKey");

    if (suite->kind == PUBLIC_RSA) {
        append_hex(ret, key, "modulus", 1); /* a zero in front: ASN.1's sign */
        append_exponent(ret, key);
    } else {
        append_hex(ret, key, suite->kind == PUBLIC_ED25519 ? "pk" : "uncompressed", 0);
    }
}

static bool verifies(const struct suite *suite, struct span key, const json_t *test)
{
    const struct public_key public = { suite->kind, key };
    struct kms_error err = { 0 };
    struct hash_value digest;
    bool ret = false;
    AUTO(buf) message = { 0 };
    AUTO(buf) signature = { 0 };

    append_hex(&message, test, "msg", 0);
    append_hex(&signature, test, "sig", 0);
    struct span input = buf_span(&message);
    if (suite->hash != HASH_NONE) {
        CHECK_OK(hash_of(suite->hash, input, &digest, &err), err);
        input = hash_span(&digest);
    }
    CHECK_OK(public_key_verify(&public, suite->scheme, suite->hash, input, buf_span(&signature),
                               &ret, &err),
             err);
    return ret;
}

static void run_signatures(const struct suite *suite, const json_t *vectors)
{
    size_t i, j;
    json_t *group, *test;

    json_array_foreach(json_object_get(vectors, "testGroups"), i, group) {
        AUTO(buf) key = { 0 };
        read_key(suite, group, &key);
        json_array_foreach(json_object_get(group, "tests"), j, test)
            judge(suite->file, test, verifies(suite, buf_span(&key), test));
    }
}

/* Padding */

static EVP_PKEY *read_private(const json_t *group)
{
    AUTO(buf) der = { 0 };

    append_hex(&der, group, "privateKeyPkcs8", 0);
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
    const bool good = sealed.len == ret->len &&
                      EVP_PKEY_decrypt(ctx, ret->ptr, &len, sealed.ptr, sealed.len) > 0;
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

    append_hex(&sealed, test, "ct", 0);
    append_hex(&expected, test, "msg", 0);
    CHECK_OK(secret_new(&block, (size_t)EVP_PKEY_get_size(key), &err), err);
    if (!raw_decrypt(key, buf_span(&sealed), &block))
        return false;
    if (oaep_open(hash, &block, &plain, &err) < 0) {
        assert_int_equal(err.code, KMS_ERR_INVALID_CIPHERTEXT);
        return false;
    }
    if (strcmp(text_of(test, "result"), "valid") == 0)
        CHECK_SPAN(secret_span(&plain), buf_span(&expected));
    return true;
}

static void run_padding(const char *name, enum hash hash, const json_t *vectors)
{
    size_t i, j;
    json_t *group, *test;

    json_array_foreach(json_object_get(vectors, "testGroups"), i, group) {
        EVP_PKEY *const key = read_private(group);
        json_array_foreach(json_object_get(group, "tests"), j, test) {
            if (*text_of(test, "label") == '\0') /* labels are not used here */
                judge(name, test, opens(hash, key, test));
        }
        EVP_PKEY_free(key);
    }
}

static void skip_unless(const json_t *vectors)
{
    if (vectors != NULL)
        return;
    print_message("           SKIPPED: HSMKMS_WYCHEPROOF names no folder of vectors; "
                  "tests/vectors/fetch_wycheproof.sh fetches them\n");
    skip();
}

static void test_wycheproof_signatures(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(signature_suites); i++) {
        json_auto_t *vectors = read_suite(signature_suites[i].file);
        skip_unless(vectors);
        run_signatures(&signature_suites[i], vectors);
    }
}

static void test_wycheproof_oaep(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(padding_suites); i++) {
        json_auto_t *vectors = read_suite(padding_suites[i].file);
        skip_unless(vectors);
        run_padding(padding_suites[i].file, padding_suites[i].hash, vectors);
    }
    print_message("           %u valid, %u invalid, %u acceptable vectors\n", counted.valid,
                  counted.invalid, counted.acceptable);
    CHECK(counted.valid > 0 && counted.invalid > counted.acceptable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wycheproof_signatures),
        cmocka_unit_test(test_wycheproof_oaep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
