#include <stdlib.h>

#include "hsmkms/base/buf.h"
#include "hsmkms/base/json_memory.h"
#include "hsmkms/doors/json_front.h"
#include "tests/support/check.h"

static void test_json_front_accepts(void **state)
{
    static const char *const good[] = {
        "",
        "{}",
        " {\r\n\t} ",
        "{\"a\":1,\"b\":[true,null,1.5e3,\"\\u00e9\\ud83d\\ude00\"]}",
        "{\"a\":\"[[[[[[[[[[[[{{{{{{{{\"}",
        "{\"a\":\"\\\"[[[[[[[[[[[[\\\\\"}",
        "{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{}}}}}}}}",
        "{\"a\":[[[[[[[]]]]]]],\"b\":[[[[[[[]]]]]]]}",
        "{\"n\xc3\xa9\":\"\xf0\x9f\x98\x80\"}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct kms_error err = { 0 };
        json_t *tree = NULL;
        CHECK_OK(json_front(span_text(good[i]), &tree, &err), err);
        CHECK(json_is_object(tree));
        json_decref(tree);
    }
}

static void test_json_front_refuses(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
#define ROW(text) { text, sizeof(text) - 1 }
        ROW(" "),
        ROW("{"),
        ROW("}"),
        ROW("[]"),
        ROW("[{}]"),
        ROW("\"a\""),
        ROW("1"),
        ROW("null"),
        ROW("{} {}"),
        ROW("{}x"),
        ROW("{}\0"),
        ROW("\0{}"),
        ROW("{\"a\":\"b\0c\"}"),
        ROW("{\"a\":\"b\\u0000c\"}"),
        ROW("{\"a\\u0000b\":1}"),
        ROW("{\"a\":1,\"a\":1}"),
        ROW("{\"a\":{\"b\":1,\"b\":2}}"),
        ROW("{\"a\":1,\"\\u0061\":2}"), /* the same name, written otherwise */
        ROW("{\"a\":1,}"),
        ROW("{'a':1}"),
        ROW("{a:1}"),
        ROW("{\"a\":01}"),
        ROW("{\"a\":+1}"),
        ROW("{\"a\":NaN}"),
        ROW("{\"a\":1e999}"),
        ROW("{\"a\":99999999999999999999}"),
        ROW("{\"a\":\"\xff\"}"),
        ROW("{\"a\":\"\xc0\x80\"}"),     /* NUL in two bytes */
        ROW("{\"a\":\"\xed\xa0\x80\"}"), /* half a surrogate pair */
        ROW("{\"a\":\"\\ud800\"}"),
        ROW("{\"a\":\"\n\"}"),
        ROW("\xef\xbb\xbf{}"),
        ROW("// {}"),
        ROW("{\"a\":[[[[[[[[]]]]]]]]}"),
        ROW("{\"1\":{\"2\":{\"3\":{\"4\":{\"5\":{\"6\":{\"7\":{\"8\":{}}}}}}}}}"),
#undef ROW
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kms_error err = { 0 };
        json_t *tree = NULL;
        if (json_front(span_of(bad[i].text, bad[i].len), &tree, &err) == 0)
            fail_msg("accepted row %zu '%s'", i, bad[i].text);
        assert_int_equal(err.code, KMS_ERR_SERIALIZATION);
        CHECK(tree == NULL);
    }
}

/* Every prefix and every single-byte hole of a good body is refused or an object, never worse. */
static void test_json_front_truncated(void **state)
{
    static const char whole[] = "{\"KeyId\":\"alias/a\",\"EncryptionContext\":{\"a\":\"\\\"b\"}}";

    (void)state;
    for (size_t len = 1; len < sizeof(whole) - 1; len++) {
        struct kms_error err = { 0 };
        json_t *tree = NULL;
        /* a copy of exactly this size, so that a sanitizer sees a read beyond it */
        uint8_t *const copy = malloc(len);
        memcpy(copy, whole, len);
        CHECK_FAILS(json_front(span_of(copy, len), &tree, &err), err, KMS_ERR_SERIALIZATION);
        free(copy);
    }
}

static void test_json_front_deep_nesting_is_cheap(void **state)
{
    const size_t len = 512 * 1024;
    uint8_t *const body = malloc(len);
    struct kms_error err = { 0 };
    json_t *tree = NULL;

    (void)state;
    memset(body, '[', len);
    CHECK_FAILS(json_front(span_of(body, len), &tree, &err), err, KMS_ERR_SERIALIZATION);
    free(body);
}

static void test_json_text_is_compact_and_exact(void **state)
{
    struct kms_error err = { 0 };
    char *text = NULL;
    size_t len = 0;
    json_auto_t *tree = json_pack("{s:s, s:f, s:i, s:[b], s:{}}", "a", "\xc3\xa9\"/", "t",
                                  1736937000.123, "n", 7, "l", 1, "o");

    (void)state;
    CHECK_OK(json_text(tree, &text, &len, &err), err);
    CHECK_SPAN(span_of(text, len),
               SPAN_LITERAL("{\"a\":\"\xc3\xa9\\\"/\",\"t\":1736937000.123,\"n\":7,\"l\":[true],"
                            "\"o\":{}}"));
    wiping_free(text);
}

static void test_wiping_malloc(void **state)
{
    (void)state;
    wiping_free(NULL);
    CHECK(wiping_malloc(SIZE_MAX) == NULL);
    CHECK(wiping_malloc(SIZE_MAX - sizeof(max_align_t) + 1) == NULL);
    for (size_t size = 0; size < 200; size++) {
        uint8_t *const ptr = wiping_malloc(size);
        CHECK(ptr != NULL && (uintptr_t)ptr % _Alignof(max_align_t) == 0);
        memset(ptr, 0xa5, size);
        wiping_free(ptr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_front_accepts),
        cmocka_unit_test(test_json_front_refuses),
        cmocka_unit_test(test_json_front_truncated),
        cmocka_unit_test(test_json_front_deep_nesting_is_cheap),
        cmocka_unit_test(test_json_text_is_compact_and_exact),
        cmocka_unit_test(test_wiping_malloc),
    };
    json_set_alloc_funcs(wiping_malloc, wiping_free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
