/* Token objects made of values from outside, over a real SoftHSM2 token. */

#include "pkcs11/token_import.h"
#include "tests/support/check.h"
#include "tests/support/token_rig.h"

static struct token_rig rig;

static const struct {
    enum token_kind kind;
    size_t bytes;
} kinds[] = { { TOKEN_AES_GCM, 32 },
              { TOKEN_HMAC_224, 28 },
              { TOKEN_HMAC_256, 32 },
              { TOKEN_HMAC_384, 48 },
              { TOKEN_HMAC_512, 64 } };

static void canary_of(enum token_kind kind, const struct uuid *id, uint8_t ret[TOKEN_CANARY_LEN])
{
    struct kms_error err = { 0 };

    CHECK_OK(kind == TOKEN_AES_GCM ? token_key_canary(rig.token, id, ret, &err)
                                   : token_mac_canary(rig.token, kind, id, ret, &err),
             err);
}

static struct uuid import(enum token_kind kind, struct span value)
{
    const struct uuid id = uuid_random();
    struct kms_error err = { 0 };

    CHECK_OK(token_key_import(rig.token, kind, value, &id, "imported", &err), err);
    return id;
}

static void test_import_makes_strict_keys_of_every_kind(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        uint8_t value[64] = { (uint8_t)i, 1, 2 };
        struct kms_error err = { 0 };

        assert_int_equal(token_key_bytes(kinds[i].kind), kinds[i].bytes);
        const struct uuid id = import(kinds[i].kind, span_of(value, kinds[i].bytes));
        CHECK_OK(token_import_verify(rig.token, kinds[i].kind, &id, &err), err);
        CHECK_OK(token_key_destroy(rig.token, &id, &err), err);
        CHECK_FAILS(token_import_verify(rig.token, kinds[i].kind, &id, &err), err,
                    KMS_ERR_NOT_FOUND);
    }
}

/* One is never taken for the other. */
static void test_import_and_generation_are_told_apart(void **state)
{
    const struct uuid made = uuid_random();
    struct kms_error err = { 0 };
    uint8_t value[32] = { 5 }, canary[TOKEN_CANARY_LEN];

    (void)state;
    const struct uuid imported = import(TOKEN_AES_GCM, SPAN_ARRAY(value));
    CHECK_OK(token_key_generate(rig.token, TOKEN_AES_GCM, &made, "made", canary, &err), err);
    CHECK_FAILS(token_key_verify(rig.token, TOKEN_AES_GCM, &imported, &err), err,
                KMS_ERR_INTEGRITY);
    CHECK_FAILS(token_import_verify(rig.token, TOKEN_AES_GCM, &made, &err), err, KMS_ERR_INTEGRITY);
    CHECK_FAILS(token_import_verify(rig.token, TOKEN_HMAC_256, &imported, &err), err,
                KMS_ERR_INTEGRITY);
}

/* The imported key is the one that any other program would use: the canary opens by its value. */
static void test_imported_key_works(void **state)
{
    static const uint8_t iv[TOKEN_IV_LEN] = { 0 };
    uint8_t value[32] = { 0 }, canary[TOKEN_CANARY_LEN], sealed[16 + TOKEN_TAG_LEN];
    /* NIST SP 800-38D test case 14: key, IV and plaintext of zeros */
    static const uint8_t expected[] = { 0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e,
                                        0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18,
                                        0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0,
                                        0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19 };
    struct kms_error err = { 0 };

    (void)state;
    const struct uuid id = import(TOKEN_AES_GCM, SPAN_ARRAY(value));
    canary_of(TOKEN_AES_GCM, &id, canary);
    const struct token_key key = { id, SPAN_ARRAY(canary) };
    CHECK_OK(token_encrypt(rig.token, &key, iv, span_of(NULL, 0), span_of(value, 16), sealed, &err),
             err);
    CHECK_SPAN(SPAN_ARRAY(sealed), SPAN_ARRAY(expected));
}

static void test_match_finds_the_key_with_the_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        uint8_t values[4][64] = { { 1 }, { 2 }, { 3 }, { 4 } }, canaries[3][TOKEN_CANARY_LEN];
        const size_t len = kinds[i].bytes;
        struct token_key known[3];
        struct kms_error err = { 0 };
        size_t place = 99;

        for (size_t j = 0; j < 3; j++) {
            known[j].id = import(kinds[i].kind, span_of(values[j], len));
            canary_of(kinds[i].kind, &known[j].id, canaries[j]);
            known[j].canary = SPAN_ARRAY(canaries[j]);
            CHECK_OK(token_key_destroy(rig.token, &known[j].id, &err), err); /* not needed for it */
        }
        for (size_t j = 0; j < 4; j++) {
            CHECK_OK(token_key_match(rig.token, kinds[i].kind, span_of(values[j], len), known, 3,
                                     &place, &err),
                     err);
            assert_int_equal(place, j);
        }
        CHECK_OK(token_key_match(rig.token, kinds[i].kind, span_of(values[0], len), known, 0,
                                 &place, &err),
                 err);
        assert_int_equal(place, 0);
        known[0].canary = span_of(NULL, 0);
        CHECK_OK(token_key_match(rig.token, kinds[i].kind, span_of(values[0], len), known, 3,
                                 &place, &err),
                 err);
        assert_int_equal(place, 3);
    }
}

static void test_match_leaves_nothing(void **state)
{
    const unsigned before = softhsm_keys(rig.token);
    uint8_t value[32] = { 8 };
    struct kms_error err = { 0 };
    size_t place;

    (void)state;
    for (int i = 0; i < 20; i++)
        CHECK_OK(
            token_key_match(rig.token, TOKEN_AES_GCM, SPAN_ARRAY(value), NULL, 0, &place, &err),
            err);
    assert_int_equal(softhsm_keys(rig.token), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import_makes_strict_keys_of_every_kind),
        cmocka_unit_test(test_import_and_generation_are_told_apart),
        cmocka_unit_test(test_imported_key_works),
        cmocka_unit_test(test_match_finds_the_key_with_the_value),
        cmocka_unit_test(test_match_leaves_nothing),
    };
    return run_group(tests, ARRAY_LEN(tests), token_rig_up, token_rig_down, &rig);
}
