#include "hsmkms/crypto/digest.h"
#include "hsmkms/base/encode.h"
#include "tests/support/check.h"

/* FIPS 180-4 examples; RFC 4231 test cases 1, 2 and 6. */
static const struct {
    const char *name, *key_hex, *data, *hex;
} hmac_rows[] = {
    { "rfc4231_4.2", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There",
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
    { "rfc4231_4.3", "4a656665", "what do ya want for nothing?",
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
};

static void check_hex(const uint8_t digest[SHA256_LEN], const char *hex)
{
    char text[SHA256_HEX_LEN + 1];

    hex_format(text, span_of(digest, SHA256_LEN));
    assert_string_equal(text, hex);
}

static void test_sha256_examples(void **state)
{
    struct kms_error err = { 0 };
    uint8_t digest[SHA256_LEN];

    (void)state;
    CHECK_OK(sha256_of(SPAN_LITERAL("abc"), digest, &err), err);
    check_hex(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_OK(sha256_of(SPAN_LITERAL(""), digest, &err), err);
    check_hex(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_sha256_in_pieces_equals_whole(void **state)
{
    struct kms_error err = { 0 };
    uint8_t whole[SHA256_LEN], pieces[SHA256_LEN];
    AUTO(sha256) sha = { 0 };

    (void)state;
    CHECK_OK(sha256_of(SPAN_LITERAL("one two three"), whole, &err), err);
    CHECK_OK(sha256_init(&sha, &err), err);
    sha256_update(&sha, SPAN_LITERAL("one "));
    sha256_update(&sha, SPAN_LITERAL(""));
    sha256_update(&sha, SPAN_LITERAL("two three"));
    CHECK_OK(sha256_final(&sha, pieces, &err), err);
    assert_memory_equal(whole, pieces, SHA256_LEN);
}

static void test_hmac_rfc4231(void **state)
{
    struct kms_error err = { 0 };
    uint8_t key[64], mac[SHA256_LEN];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hmac_rows); i++) {
        const size_t len = strlen(hmac_rows[i].key_hex) / 2;
        CHECK(hex_parse(span_text(hmac_rows[i].key_hex), key, len));
        CHECK_OK(hmac_sha256(span_of(key, len), span_text(hmac_rows[i].data), mac, &err), err);
        check_hex(mac, hmac_rows[i].hex);
    }
}

static void test_hmac_empty_key_is_not_the_last_key(void **state)
{
    struct kms_error err = { 0 };
    uint8_t mac[SHA256_LEN];

    (void)state;
    CHECK_OK(hmac_sha256(SPAN_LITERAL(""), SPAN_LITERAL(""), mac, &err), err);
    check_hex(mac, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_equal_ct(void **state)
{
    (void)state;
    CHECK(equal_ct(SPAN_LITERAL("same"), SPAN_LITERAL("same")));
    CHECK(!equal_ct(SPAN_LITERAL("same"), SPAN_LITERAL("sama")));
    CHECK(!equal_ct(SPAN_LITERAL("same"), SPAN_LITERAL("sam")));
    CHECK(equal_ct(span_of(NULL, 0), span_of(NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_examples),
        cmocka_unit_test(test_sha256_in_pieces_equals_whole),
        cmocka_unit_test(test_hmac_rfc4231),
        cmocka_unit_test(test_hmac_empty_key_is_not_the_last_key),
        cmocka_unit_test(test_equal_ct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
