#include "hsmkms/keys/keyspec.h"
#include "tests/support/check.h"

/* The table of key specs: what every row must have, and what rows say to each other. */

static void test_rows_are_whole(void **state)
{
    (void)state;
    CHECK(keyspec_count == 20);
    for (size_t i = 0; i < keyspec_count; i++) {
        const struct keyspec *const spec = &keyspecs[i];
        size_t usages = 0;
        CHECK(keyspec_find(spec->name) == spec); /* so names are unique */
        for (enum spec_usage usage = 0; usage < SPEC_USAGES; usage++)
            usages += keyspec_allows(spec, usage);
        CHECK(usages > 0);
        CHECK(keyspec_is_symmetric(spec) == (i == 0));
        CHECK((keyspec_modulus_bits(spec) > 0) == (strncmp(spec->name, "RSA_", 4) == 0));
    }
    CHECK(keyspec_find("RSA_1024") == NULL);
    CHECK(keyspec_find("") == NULL);
    CHECK(keyspec_find("rsa_2048") == NULL);
}

/* Two specs never share an object of the token. */
static void test_kinds_are_distinct(void **state)
{
    (void)state;
    for (size_t i = 0; i < keyspec_count; i++)
        for (size_t j = 0; j < i; j++)
            if (keyspecs[i].type != SPEC_UNOFFERED && keyspecs[i].kind == keyspecs[j].kind)
                fail_msg("%s and %s", keyspecs[i].name, keyspecs[j].name);
}

/* AWS KMS Developer Guide, Key spec reference. */
static void test_usages(void **state)
{
    static const struct {
        const char *spec, *usage;
        bool allowed;
    } rows[] = {
        { "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", true },
        { "SYMMETRIC_DEFAULT", "SIGN_VERIFY", false },
        { "RSA_4096", "ENCRYPT_DECRYPT", true },
        { "RSA_4096", "SIGN_VERIFY", true },
        { "RSA_4096", "KEY_AGREEMENT", false },
        { "ECC_NIST_P521", "SIGN_VERIFY", true },
        { "ECC_NIST_P521", "KEY_AGREEMENT", true },
        { "ECC_NIST_P521", "ENCRYPT_DECRYPT", false },
        { "ECC_SECG_P256K1", "KEY_AGREEMENT", false },
        { "ECC_NIST_EDWARDS25519", "SIGN_VERIFY", true },
        { "ECC_NIST_EDWARDS25519", "KEY_AGREEMENT", false },
        { "HMAC_224", "GENERATE_VERIFY_MAC", true },
        { "HMAC_224", "SIGN_VERIFY", false },
        { "ML_KEM_768", "ENCAPSULATE_DECAPSULATE", true },
        { "SM2", "KEY_AGREEMENT", true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum spec_usage usage = SPEC_USAGES;
        CHECK(spec_usage_parse(rows[i].usage, &usage));
        assert_string_equal(spec_usage_text(usage), rows[i].usage);
        if (keyspec_allows(keyspec_find(rows[i].spec), usage) != rows[i].allowed)
            fail_msg("%s %s", rows[i].spec, rows[i].usage);
    }
    enum spec_usage untouched = SPEC_USAGES;
    CHECK(!spec_usage_parse("SIGN", &untouched));
    CHECK(untouched == SPEC_USAGES);
}

static void test_algorithms(void **state)
{
    const struct keyspec *const p384 = keyspec_find("ECC_NIST_P384");
    const struct algorithm *const ecdsa =
        keyspec_algorithm(p384, USAGE_SIGN_VERIFY, "ECDSA_SHA_384");

    (void)state;
    CHECK(ecdsa && ecdsa->hash == HASH_SHA384 && ecdsa->token == TOKEN_ECDSA);
    CHECK(keyspec_algorithm(p384, USAGE_SIGN_VERIFY, "ECDSA_SHA_256") == NULL);
    CHECK(keyspec_algorithm(p384, USAGE_KEY_AGREEMENT, "ECDSA_SHA_384") == NULL);
    CHECK(keyspec_algorithm(p384, USAGE_ENCRYPT_DECRYPT, "RSAES_OAEP_SHA_1") == NULL);
    const struct keyspec *const edwards = keyspec_find("ECC_NIST_EDWARDS25519");
    CHECK(!keyspec_algorithm(edwards, USAGE_SIGN_VERIFY, "ED25519_SHA_512")->unoffered);
    CHECK(keyspec_algorithm(edwards, USAGE_SIGN_VERIFY, "ED25519_PH_SHA_512")->unoffered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_kinds_are_distinct),
        cmocka_unit_test(test_usages),
        cmocka_unit_test(test_algorithms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
