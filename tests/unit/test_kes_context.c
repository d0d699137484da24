/* Contexts of KES as encryption contexts: what becomes pairs, and that no two become the same. */

#include <stdlib.h>
#include <string.h>

#include "hsmkms/base/json_text.h"
#include "hsmkms/doors/kes_context.h"
#include "hsmkms/keys/context.h"
#include "tests/support/check.h"

static json_t *pairs_of(struct span context)
{
    struct kms_error err = { 0 };
    json_t *pairs = NULL;

    CHECK_OK(kes_context_pairs(context, &pairs, &err), err);
    return pairs;
}

static void check_text(struct span context, const char *want)
{
    json_t *const pairs = pairs_of(context);
    char *const text = json_dumps(pairs, JSON_COMPACT | JSON_SORT_KEYS);

    assert_string_equal(text, want);
    free(text);
    json_decref(pairs);
}

static void test_kes_context_none(void **state)
{
    (void)state;
    assert_null(pairs_of((struct span){ 0 }));
}

static void test_kes_context_canonical(void **state)
{
    static const char *const texts[] = {
        "{\"bucket\":\"bucket/object\"}",         "{\"a\":\"\"}",
        "{\"a\":\"b\",\"aa\":\"c\",\"b\":\"d\"}", "{\"healthcheck\":\"\"}",
        "{\"\xc3\xa4\":\"\xf0\x9f\x98\x80\"}",    "{\"aws:s3:arn\":\"arn:aws:s3:::b/o\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        check_text(span_text(texts[i]), texts[i]);
}

/* The same pairs written otherwise: they are named in policies, and the digest is what differs. */
static void test_kes_context_other_writing(void **state)
{
    static const char *const texts[] = {
        "{ }",
        "{}",
        "{\"a\": \"b\"}",
        "{\"b\":\"1\",\"a\":\"2\"}",
        "{\"a\":\"\\u0062\"}",
        "{\"a\":\"b\"}\n",
        "{\"a\":\"\\/\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_t *const pairs = pairs_of(span_text(texts[i]));
        const json_t *const digest = json_object_get(pairs, KES_CONTEXT_DIGEST);
        assert_int_equal(json_string_length(digest), 64);
        json_decref(pairs);
    }
    check_text(span_text("{}"),
               "{\"" KES_CONTEXT_DIGEST "\":"
               "\"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}");
}

static void test_kes_context_opaque(void **state)
{
    static const char *const texts[] = {
        "a",
        "[]",
        "null",
        "{\"a\":1}",
        "{\"a\":{}}",
        "{\"a\":\"b\",\"a\":\"c\"}",
        "{\"\":\"a\"}",
        "{\"a\":\"b\"",
        "\xff\xfe",
        "{\"a\":\"\\u0000\"}",
        "{\"" KES_CONTEXT_BYTES "\":\"YQ==\"}",
        "{\"" KES_CONTEXT_DIGEST "\":\"00\",\"a\":\"b\"}",
        " ",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_t *const pairs = pairs_of(span_text(texts[i]));
        assert_int_equal(json_object_size(pairs), 1);
        assert_non_null(json_object_get(pairs, KES_CONTEXT_BYTES));
        json_decref(pairs);
    }
    check_text(span_text("a"), "{\"" KES_CONTEXT_BYTES "\":\"YQ==\"}");
    check_text(span_of("\0", 1), "{\"" KES_CONTEXT_BYTES "\":\"AA==\"}");
}

static void test_kes_context_injective(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{ }",
        "a",
        "YQ==",
        "{\"a\":\"b\"}",
        "{\"a\":\"b\"} ",
        "{\"a\":\"b\",\"c\":\"d\"}",
        "{\"c\":\"d\",\"a\":\"b\"}",
        "[]",
        "{\"" KES_CONTEXT_BYTES "\":\"YQ==\"}",
        "{\"a\":\"\\u0062\"}",
    };
    json_t *pairs[ARRAY_LEN(texts)];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        pairs[i] = pairs_of(span_text(texts[i]));
        for (size_t k = 0; k < i; k++)
            CHECK(!json_equal(pairs[i], pairs[k]));
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        json_decref(pairs[i]);
}

static void test_kes_context_too_long(void **state)
{
    static char text[CONTEXT_BYTES_MAX + 1];
    struct kms_error err = { 0 };
    json_t *pairs = NULL;

    (void)state;
    memset(text, 'a', sizeof(text));
    CHECK_FAILS(kes_context_pairs(SPAN_ARRAY(text), &pairs, &err), err, KMS_ERR_VALIDATION);
    assert_null(pairs);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kes_context_none),
        cmocka_unit_test(test_kes_context_canonical),
        cmocka_unit_test(test_kes_context_other_writing),
        cmocka_unit_test(test_kes_context_opaque),
        cmocka_unit_test(test_kes_context_injective),
        cmocka_unit_test(test_kes_context_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
