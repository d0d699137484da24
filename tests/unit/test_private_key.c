#include <openssl/evp.h>

#include "hsmkms/crypto/key_pair.h"
#include "hsmkms/crypto/key_unwrap.h"
#include "hsmkms/crypto/rsa_numbers.h"
#include "tests/support/check.h"

/* Private keys that come from outside: their DER, their numbers, the key wrap around them. */

static const struct {
    enum public_kind kind;
    unsigned bits;
} kinds[] = {
    { PUBLIC_RSA, 2048 }, { PUBLIC_P256, 0 },      { PUBLIC_P384, 0 },
    { PUBLIC_P521, 0 },   { PUBLIC_SECP256K1, 0 },
};

static void make(size_t i, struct secret *ret)
{
    struct kms_error err = { 0 };
    AUTO(buf) unused = { 0 };

    CHECK_OK(key_pair_make(kinds[i].kind, kinds[i].bits, ret, &unused, &err), err);
}

static bool parses(size_t i, struct span der, struct private_numbers *ret)
{
    struct kms_error err = { 0 };
    const bool parsed = pkcs8_parse(kinds[i].kind, der, ret, &err) == 0;

    if (!parsed) {
        assert_int_equal(err.code, KMS_ERR_VALIDATION);
        assert_string_equal(err.message, "");
    }
    return parsed;
}

static void check_point(size_t i, const struct private_numbers *numbers)
{
    struct kms_error err = { 0 };
    AUTO(buf) point = { 0 };

    CHECK_OK(curve_point_of(kinds[i].kind, numbers->scalar, &point, &err), err);
    CHECK_SPAN(buf_span(&point), numbers->point);
}

static void check_fits(const struct private_numbers *numbers, bool expected)
{
    struct kms_error err = { 0 };
    bool fits = !expected;

    CHECK_OK(rsa_numbers_fit(numbers, &fits, &err), err);
    assert_int_equal(fits, expected);
}

static void test_parse_takes_whole_keys_of_one_kind(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct private_numbers numbers;
        AUTO(secret) der = { 0 };

        make(i, &der);
        CHECK(parses(i, secret_span(&der), &numbers));
        if (kinds[i].kind == PUBLIC_RSA)
            check_fits(&numbers, true);
        else
            check_point(i, &numbers);
        for (size_t other = 0; other < ARRAY_LEN(kinds); other++)
            CHECK(other == i || !parses(other, secret_span(&der), &numbers));
    }
}

static void test_parse_refuses_what_is_cut_or_longer(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct private_numbers numbers;
        AUTO(secret) der = { 0 };
        AUTO(buf) longer = { 0 };

        make(i, &der);
        for (size_t len = 0; len < der.len; len++)
            CHECK(!parses(i, span_of(der.ptr, len), &numbers));
        buf_append(&longer, secret_span(&der));
        buf_u8(&longer, 0);
        CHECK(!parses(i, buf_span(&longer), &numbers));
    }
}

/* A changed byte of a length or a tag shows; one of a number is found by the sums below. */
static void test_parse_stays_inside_what_it_got(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct private_numbers numbers;
        AUTO(secret) der = { 0 };

        make(i, &der);
        for (size_t at = 0; at < der.len; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                der.ptr[at] ^= (uint8_t)(1 << bit);
                if (parses(i, secret_span(&der), &numbers) && kinds[i].kind != PUBLIC_RSA)
                    CHECK(numbers.scalar.ptr >= der.ptr &&
                          numbers.scalar.ptr + numbers.scalar.len <= der.ptr + der.len);
                der.ptr[at] ^= (uint8_t)(1 << bit);
            }
        }
    }
}

static void test_numbers_that_do_not_fit(void **state)
{
    struct private_numbers numbers;
    AUTO(secret) der = { 0 };

    (void)state;
    make(0, &der);
    CHECK(parses(0, secret_span(&der), &numbers));
    const struct span parts[] = { numbers.modulus,    numbers.exponent,  numbers.prime1,
                                  numbers.prime2,     numbers.exponent1, numbers.exponent2,
                                  numbers.coefficient };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        uint8_t *const last = der.ptr + (parts[i].ptr - der.ptr) + parts[i].len - 1;
        *last ^= 2;
        check_fits(&numbers, false);
        *last ^= 2;
    }
    check_fits(&numbers, true);
    check_fits(&(struct private_numbers){ .modulus = SPAN_LITERAL("") }, false);
}

static void test_scalars_of_no_point(void **state)
{
    static const uint8_t zero[66];
    struct kms_error err = { 0 };
    uint8_t large[66];
    AUTO(buf) point = { 0 };

    (void)state;
    memset(large, 0xff, sizeof(large));
    for (size_t i = 1; i < ARRAY_LEN(kinds); i++) {
        struct private_numbers numbers;
        AUTO(secret) der = { 0 };

        make(i, &der);
        CHECK(parses(i, secret_span(&der), &numbers));
        const size_t len = numbers.scalar.len;
        CHECK_FAILS(curve_point_of(kinds[i].kind, span_of(zero, len), &point, &err), err,
                    KMS_ERR_VALIDATION);
        CHECK_FAILS(curve_point_of(kinds[i].kind, span_of(large, len), &point, &err), err,
                    KMS_ERR_VALIDATION);
    }
    assert_int_equal(point.len, 0);
}

/* --- key wrap --------------------------------------------------------------------------------- */

static const uint8_t wrap_key[KEY_UNWRAP_KEY_LEN] = { 1, 2, 3 };

static void wrap(struct span plain, struct buf *ret)
{
    EVP_CIPHER_CTX *const ctx = EVP_CIPHER_CTX_new();
    uint8_t room[256];
    int len = 0;

    CHECK(ctx != NULL);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    CHECK(EVP_EncryptInit_ex2(ctx, EVP_aes_256_wrap_pad(), wrap_key, NULL, NULL) == 1);
    CHECK(EVP_EncryptUpdate(ctx, room, &len, plain.ptr, (int)plain.len) == 1);
    EVP_CIPHER_CTX_free(ctx);
    buf_append(ret, span_of(room, (size_t)len));
}

static void test_unwrap_undoes_every_length(void **state)
{
    uint8_t plain[129];

    (void)state;
    memset(plain, 7, sizeof(plain));
    for (size_t len = 1; len <= sizeof(plain); len++) {
        struct kms_error err = { 0 };
        AUTO(buf) wrapped = { 0 };
        AUTO(secret) opened = { 0 };

        wrap(span_of(plain, len), &wrapped);
        CHECK_OK(key_unwrap(SPAN_ARRAY(wrap_key), buf_span(&wrapped), &opened, &err), err);
        CHECK_SPAN(secret_span(&opened), span_of(plain, len));
    }
}

static void test_unwrap_refuses_without_words(void **state)
{
    struct kms_error err = { 0 };
    uint8_t other_key[KEY_UNWRAP_KEY_LEN] = { 9 };
    AUTO(buf) wrapped = { 0 };
    AUTO(secret) opened = { 0 };

    (void)state;
    wrap(SPAN_LITERAL("0123456789abcdef0123456789abcdef"), &wrapped);
    for (size_t i = 0; i < wrapped.len; i++) {
        wrapped.ptr[i] ^= 1;
        CHECK_FAILS(key_unwrap(SPAN_ARRAY(wrap_key), buf_span(&wrapped), &opened, &err), err,
                    KMS_ERR_INVALID_CIPHERTEXT);
        wrapped.ptr[i] ^= 1;
        CHECK_FAILS(key_unwrap(SPAN_ARRAY(wrap_key), span_of(wrapped.ptr, i), &opened, &err), err,
                    KMS_ERR_INVALID_CIPHERTEXT);
    }
    CHECK_FAILS(key_unwrap(SPAN_ARRAY(other_key), buf_span(&wrapped), &opened, &err), err,
                KMS_ERR_INVALID_CIPHERTEXT);
    CHECK_FAILS(key_unwrap(span_of(wrap_key, 16), buf_span(&wrapped), &opened, &err), err,
                KMS_ERR_INVALID_CIPHERTEXT);
    CHECK(opened.ptr == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_takes_whole_keys_of_one_kind),
        cmocka_unit_test(test_parse_refuses_what_is_cut_or_longer),
        cmocka_unit_test(test_parse_stays_inside_what_it_got),
        cmocka_unit_test(test_numbers_that_do_not_fit),
        cmocka_unit_test(test_scalars_of_no_point),
        cmocka_unit_test(test_unwrap_undoes_every_length),
        cmocka_unit_test(test_unwrap_refuses_without_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
