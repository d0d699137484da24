/* MAC keys of the token; known keys, put in from outside, give what OpenSSL gives. */

#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "pkcs11/state.h"
#include "tests/support/asym_rig.h"

#define TEXT SPAN_LITERAL("attack at dawn")

static const struct mac_row {
    enum token_kind kind;
    const EVP_MD *(*hash)(void);
    size_t len;
} rows[] = {
    { TOKEN_HMAC_224, EVP_sha224, 28 },
    { TOKEN_HMAC_256, EVP_sha256, 32 },
    { TOKEN_HMAC_384, EVP_sha384, 48 },
    { TOKEN_HMAC_512, EVP_sha512, 64 },
};

/* A token key whose value the test knows. */
static struct asym_mac_key put_in(struct asym_rig *rig, const struct mac_row *row,
                                  const uint8_t *value)
{
    struct asym_mac_key key = { .id = uuid_random() };
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    struct attrs want = { 0 };
    struct kms_error err = { 0 };

    attrs_ulong(&want, CKA_CLASS, CKO_SECRET_KEY);
    attrs_ulong(&want, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    attrs_bool(&want, CKA_TOKEN, true);
    attrs_bool(&want, CKA_PRIVATE, true);
    attrs_bool(&want, CKA_SENSITIVE, true);
    attrs_bool(&want, CKA_EXTRACTABLE, false);
    attrs_bool(&want, CKA_SIGN, true);
    attrs_bytes(&want, CKA_ID, uuid_span(&key.id));
    attrs_bytes(&want, CKA_VALUE, span_of(value, row->len));
    assert_int_equal(P11(&rig->token->manage, C_CreateObject, want.list, want.count, &made),
                     CKR_OK);
    CHECK_OK(token_mac_canary(rig->token, row->kind, &key.id, key.canary, &err), err);
    return key;
}

static void test_mac_equals_openssl(void **state)
{
    static const size_t lengths[] = { 0, 1, 63, 64, 65, 127, 128, 129, 4096, TOKEN_MESSAGE_MAX };
    static uint8_t data[TOKEN_MESSAGE_MAX];
    struct asym_rig *const rig = *state;
    struct kms_error err = { 0 };

    CHECK(RAND_bytes(data, sizeof(data)) == 1);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        uint8_t value[64], want[64];
        unsigned want_len = 0;

        CHECK(RAND_bytes(value, sizeof(value)) == 1);
        const struct asym_mac_key key = put_in(rig, &rows[r], value);
        const struct token_key name = asym_mac_name(&key);
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
            struct token_mac mac;

            CHECK_OK(
                token_mac(rig->token, rows[r].kind, &name, span_of(data, lengths[i]), &mac, &err),
                err);
            CHECK(HMAC(rows[r].hash(), value, (int)rows[r].len, data, lengths[i], want,
                       &want_len) != NULL);
            CHECK_SPAN(span_of(mac.bytes, mac.len), span_of(want, want_len));
        }
        /* it was not made here, which shows */
        CHECK(token_key_verify(rig->token, rows[r].kind, &key.id, &err) < 0);
        assert_int_equal(err.code, KMS_ERR_INTEGRITY);
        kms_error_clear(&err);
    }
}

static void test_mac_verifies(void **state)
{
    struct asym_rig *const rig = *state;
    struct kms_error err = { 0 };

    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        const enum token_kind kind = rows[r].kind;
        const struct asym_mac_key key = asym_make_mac(rig, kind), other = asym_make_mac(rig, kind);
        const struct token_key name = asym_mac_name(&key), other_name = asym_mac_name(&other);
        struct token_mac mac;
        bool good = false;

        CHECK_OK(token_key_verify(rig->token, kind, &key.id, &err), err);
        CHECK_OK(token_mac(rig->token, kind, &name, TEXT, &mac, &err), err);
        assert_int_equal(mac.len, rows[r].len);
        const struct span made = span_of(mac.bytes, mac.len);
        CHECK_OK(token_mac_verify(rig->token, kind, &name, TEXT, made, &good, &err), err);
        CHECK(good);
        CHECK_OK(token_mac_verify(rig->token, kind, &other_name, TEXT, made, &good, &err), err);
        CHECK(!good);
        CHECK_OK(
            token_mac_verify(rig->token, kind, &name, SPAN_LITERAL("at dusk"), made, &good, &err),
            err);
        CHECK(!good);
        CHECK_OK(token_mac_verify(rig->token, kind, &name, TEXT, span_of(mac.bytes, mac.len - 1),
                                  &good, &err),
                 err);
        CHECK(!good);
        CHECK_OK(token_mac_verify(rig->token, kind, &name, TEXT, span_of(NULL, 0), &good, &err),
                 err);
        CHECK(!good);
        for (size_t i = 0; i < mac.len; i++) {
            mac.bytes[i] ^= 0x80;
            CHECK_OK(token_mac_verify(rig->token, kind, &name, TEXT, made, &good, &err), err);
            CHECK(!good);
            mac.bytes[i] ^= 0x80;
        }
    }
}

static void test_mac_refuses(void **state)
{
    static const uint8_t data[TOKEN_MESSAGE_MAX + 1];
    struct asym_rig *const rig = *state;
    const struct asym_mac_key key = asym_make_mac(rig, TOKEN_HMAC_256);
    const struct token_key name = asym_mac_name(&key);
    const struct uuid absent = uuid_random();
    uint8_t canary[TOKEN_CANARY_LEN];
    struct token_mac mac;
    struct kms_error err = { 0 };

    CHECK_FAILS(token_mac(rig->token, TOKEN_HMAC_256, &name, SPAN_ARRAY(data), &mac, &err), err,
                KMS_ERR_VALIDATION);
    CHECK_FAILS(token_mac(rig->token, TOKEN_AES_GCM, &name, TEXT, &mac, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(token_mac(rig->token, TOKEN_P256, &name, TEXT, &mac, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(token_mac(rig->token, TOKEN_HMAC_384, &name, TEXT, &mac, &err), err,
                KMS_ERR_KEY_UNAVAILABLE); /* that canary is of another hash */
    CHECK_FAILS(token_mac_canary(rig->token, TOKEN_HMAC_256, &absent, canary, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    CHECK_OK(token_mac(rig->token, TOKEN_HMAC_256, &name, TEXT, &mac, &err), err);
    CHECK_OK(token_mac_canary(rig->token, TOKEN_HMAC_256, &key.id, canary, &err), err);
    assert_memory_equal(canary, key.canary, sizeof(canary)); /* always the same */
    CHECK_OK(token_key_destroy(rig->token, &key.id, &err), err);
    CHECK_FAILS(token_mac(rig->token, TOKEN_HMAC_256, &name, TEXT, &mac, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mac_equals_openssl),
        cmocka_unit_test(test_mac_verifies),
        cmocka_unit_test(test_mac_refuses),
    };

    return run_group(tests, ARRAY_LEN(tests), asym_setup, asym_teardown, NULL);
}
