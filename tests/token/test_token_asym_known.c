/*
 * Private keys that OpenSSL made, put into SoftHSM from outside: what is deterministic comes out
 * as OpenSSL has it, and a key that could be taken out again is not used.
 */

#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "pkcs11/state.h"
#include "tests/support/asym_rig.h"

#define TEXT     SPAN_LITERAL("attack at dawn")
#define PART_MAX 512

/* Numbers of a private key, and what the template says of them. */
struct parts {
    uint8_t bytes[8][PART_MAX];
    unsigned count;
};

static void begin(struct attrs *want, CK_KEY_TYPE type, const struct uuid *id, bool extractable)
{
    attrs_ulong(want, CKA_CLASS, CKO_PRIVATE_KEY);
    attrs_ulong(want, CKA_KEY_TYPE, type);
    attrs_bool(want, CKA_TOKEN, true);
    attrs_bool(want, CKA_PRIVATE, true);
    attrs_bool(want, CKA_SENSITIVE, true);
    attrs_bool(want, CKA_EXTRACTABLE, extractable);
    attrs_bool(want, CKA_SIGN, true);
    attrs_bytes(want, CKA_ID, uuid_span(id));
}

static void put_in(struct asym_rig *rig, const struct attrs *want)
{
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;

    assert_int_equal(
        P11(&rig->token->manage, C_CreateObject, (CK_ATTRIBUTE_PTR)want->list, want->count, &made),
        CKR_OK);
}

static void add_number(struct attrs *want, struct parts *parts, CK_ATTRIBUTE_TYPE type,
                       const EVP_PKEY *key, const char *name)
{
    uint8_t *const room = parts->bytes[parts->count++];
    BIGNUM *number = NULL;

    CHECK(EVP_PKEY_get_bn_param(key, name, &number) == 1);
    attrs_bytes(want, type, span_of(room, (size_t)BN_bn2bin(number, room)));
    BN_free(number);
}

static EVP_PKEY *put_in_rsa(struct asym_rig *rig, struct asym_pair *ret, bool extractable)
{
    EVP_PKEY *const key = EVP_RSA_gen(2048);
    struct attrs want = { 0 };
    struct parts parts = { 0 };

    *ret = (struct asym_pair){ .id = uuid_random(),
                               .public_key = { .kind = TOKEN_RSA_2048, .len = 259 } };
    begin(&want, CKK_RSA, &ret->id, extractable);
    add_number(&want, &parts, CKA_MODULUS, key, OSSL_PKEY_PARAM_RSA_N);
    add_number(&want, &parts, CKA_PUBLIC_EXPONENT, key, OSSL_PKEY_PARAM_RSA_E);
    add_number(&want, &parts, CKA_PRIVATE_EXPONENT, key, OSSL_PKEY_PARAM_RSA_D);
    add_number(&want, &parts, CKA_PRIME_1, key, OSSL_PKEY_PARAM_RSA_FACTOR1);
    add_number(&want, &parts, CKA_PRIME_2, key, OSSL_PKEY_PARAM_RSA_FACTOR2);
    add_number(&want, &parts, CKA_EXPONENT_1, key, OSSL_PKEY_PARAM_RSA_EXPONENT1);
    add_number(&want, &parts, CKA_EXPONENT_2, key, OSSL_PKEY_PARAM_RSA_EXPONENT2);
    add_number(&want, &parts, CKA_COEFFICIENT, key, OSSL_PKEY_PARAM_RSA_COEFFICIENT1);
    memcpy(ret->public_key.bytes, parts.bytes[0], 256);
    memcpy(ret->public_key.bytes + 256, parts.bytes[1], 3);
    put_in(rig, &want);
    return key;
}

static size_t ossl_signs(EVP_PKEY *key, const EVP_MD *hash, struct span text, uint8_t *ret,
                         size_t room)
{
    EVP_MD_CTX *const ctx = EVP_MD_CTX_new();

    CHECK(EVP_DigestSignInit(ctx, NULL, hash, NULL, key) == 1);
    CHECK(EVP_DigestSign(ctx, ret, &room, text.ptr, text.len) == 1);
    EVP_MD_CTX_free(ctx);
    return room;
}

static void test_known_rsa(void **state)
{
    static const struct {
        enum token_algorithm algorithm;
        const EVP_MD *(*hash)(void);
    } rows[] = {
        { TOKEN_RSA_PKCS1_SHA256, EVP_sha256 },
        { TOKEN_RSA_PKCS1_SHA384, EVP_sha384 },
        { TOKEN_RSA_PKCS1_SHA512, EVP_sha512 },
    };
    struct asym_rig *const rig = *state;
    struct asym_pair pair;
    EVP_PKEY *const key = put_in_rsa(rig, &pair, false);
    const struct token_key name = asym_key(&pair);
    struct token_signature signature;
    struct kms_error err = { 0 };
    uint8_t want[256], room[64];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t len = 0; len <= TEXT.len; len += 7) {
            const struct span text = span_of(TEXT.ptr, len);
            const struct span digest = ossl_digest(TOKEN_RSA_2048, rows[i].algorithm, text, room);

            CHECK_OK(token_sign(rig->token, TOKEN_RSA_2048, &name, rows[i].algorithm, digest,
                                &signature, &err),
                     err);
            CHECK_SPAN(span_of(signature.bytes, signature.len),
                       span_of(want, ossl_signs(key, rows[i].hash(), text, want, sizeof(want))));
        }
    /* it works, and was not made here: that shows */
    CHECK_FAILS(
        token_pair_verify(rig->token, TOKEN_RSA_2048, TOKEN_SIGNS, &pair.id, name.canary, &err),
        err, KMS_ERR_INTEGRITY);
    EVP_PKEY_free(key);
}

static EVP_PKEY *put_in_ed25519(struct asym_rig *rig, struct asym_pair *ret)
{
    EVP_PKEY *const key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    const struct pair *const row = pair_of(TOKEN_EDWARDS25519);
    struct attrs want = { 0 };
    uint8_t value[32];
    size_t len = sizeof(value);

    *ret = (struct asym_pair){ .id = uuid_random(),
                               .public_key = { .kind = TOKEN_EDWARDS25519, .len = 32 } };
    CHECK(EVP_PKEY_get_raw_private_key(key, value, &len) == 1);
    CHECK(EVP_PKEY_get_raw_public_key(key, ret->public_key.bytes, &ret->public_key.len) == 1);
    begin(&want, CKK_EC_EDWARDS, &ret->id, false);
    attrs_bytes(&want, CKA_EC_PARAMS, row->curve);
    attrs_bytes(&want, CKA_VALUE, SPAN_ARRAY(value));
    put_in(rig, &want);
    return key;
}

static void test_known_ed25519(void **state)
{
    static const uint8_t message[300] = "message";
    struct asym_rig *const rig = *state;
    struct asym_pair pair;
    EVP_PKEY *const key = put_in_ed25519(rig, &pair);
    const struct token_key name = asym_key(&pair);
    struct token_signature signature;
    struct kms_error err = { 0 };
    uint8_t want[64];

    for (size_t len = 0; len <= sizeof(message); len += 50) {
        const struct span text = span_of(message, len);

        CHECK_OK(token_sign(rig->token, TOKEN_EDWARDS25519, &name, TOKEN_ED25519, text, &signature,
                            &err),
                 err);
        CHECK_SPAN(span_of(signature.bytes, signature.len),
                   span_of(want, ossl_signs(key, NULL, text, want, sizeof(want))));
    }
    EVP_PKEY_free(key);
}

/* Right in everything but one flag. */
static void test_known_extractable(void **state)
{
    struct asym_rig *const rig = *state;
    struct asym_pair pair;
    EVP_PKEY *const key = put_in_rsa(rig, &pair, true);
    const struct token_key name = asym_key(&pair);
    struct token_signature signature;
    struct token_public got;
    struct kms_error err = { 0 };
    static const uint8_t digest[32] = { 1 };

    CHECK_FAILS(token_sign(rig->token, TOKEN_RSA_2048, &name, TOKEN_RSA_PSS_SHA256,
                           SPAN_ARRAY(digest), &signature, &err),
                err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(
        token_pair_verify(rig->token, TOKEN_RSA_2048, TOKEN_SIGNS, &pair.id, name.canary, &err),
        err, KMS_ERR_INTEGRITY);
    CHECK_FAILS(token_pair_public(rig->token, TOKEN_RSA_2048, TOKEN_SIGNS, &pair.id, &got, &err),
                err, KMS_ERR_INTEGRITY);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_rsa),
        cmocka_unit_test(test_known_ed25519),
        cmocka_unit_test(test_known_extractable),
    };

    return run_group(tests, ARRAY_LEN(tests), asym_setup, asym_teardown, NULL);
}
