/* What clients write: paths, names, ciphertexts, contexts. */

#include <stdlib.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/doors/transit_text.h"
#include "tests/support/check.h"

static bool path_parses(const char *target, struct transit_path *ret)
{
    struct kms_error err = { 0 };
    const bool parsed = transit_path_parse(span_text(target), ret, &err) == 0;

    CHECK(parsed || err.code == KMS_ERR_VALIDATION);
    return parsed;
}

static void test_transit_path_parts(void **state)
{
    struct transit_path path;

    (void)state;
    CHECK(path_parses("/v1/transit/datakey/plaintext/a.b_c-1?list=true", &path));
    CHECK(path.count == 4);
    CHECK(span_equal(path.segments[0], SPAN_LITERAL("transit")));
    CHECK(span_equal(path.segments[3], SPAN_LITERAL("a.b_c-1")));
    CHECK(span_equal(path.query, SPAN_LITERAL("list=true")));
    CHECK(path_parses("/v1/a", &path));
    CHECK(path.count == 1 && path.query.len == 0);
    CHECK(path_parses("/v1/a/b/c/d/e/f/g/h", &path));
    CHECK(path_parses("/v1/...", &path)); /* no dot segment: RFC 3986 section 5.2.4 knows two */
}

static void test_transit_path_refused(void **state)
{
    static const char *const rows[] = {
        "",         "/",         "/v1",          "/v1/",
        "/v2/a",    "v1/a",      "/v1//a",       "/v1/a/",
        "/v1/a//b", "/v1/./a",   "/v1/../a",     "/v1/a/..",
        "/v1/a/.",  "/v1/a%2fb", "/v1/a%2e",     "/v1/%61",
        "/v1/a b",  "/v1/a;b",   "/v1/a:b",      "/v1/a\\b",
        "/v1/a#b",  "/v1/a+b",   "/v1/\xc3\xa9", "/v1/a\x01",
        "/v1/?a",   "/V1/a",     "/v1/a/?b",     "/v1/a/b/c/d/e/f/g/h/i",
    };
    struct transit_path path;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK(!path_parses(rows[i], &path));
}

static void test_transit_path_lengths(void **state)
{
    char target[4 + TRANSIT_NAME_MAX + 2] = "/v1/";
    struct transit_path path;

    (void)state;
    memset(target + 4, 'k', TRANSIT_NAME_MAX);
    CHECK(path_parses(target, &path) && path.segments[0].len == TRANSIT_NAME_MAX);
    target[4 + TRANSIT_NAME_MAX] = 'k';
    CHECK(!path_parses(target, &path));
}

static void test_transit_path_nul(void **state)
{
    struct kms_error err = { 0 };
    struct transit_path path;

    (void)state;
    CHECK(transit_path_parse(SPAN_LITERAL("/v1/a\0b"), &path, &err) < 0);
    CHECK(err.code == KMS_ERR_VALIDATION);
}

static void test_transit_query_find(void **state)
{
    struct span value;

    (void)state;
    CHECK(transit_query_find(SPAN_LITERAL("a=1&list=true&b"), "list", &value));
    CHECK(span_equal(value, SPAN_LITERAL("true")));
    CHECK(transit_query_find(SPAN_LITERAL("b"), "b", &value) && value.len == 0);
    CHECK(transit_query_find(SPAN_LITERAL("b=x=y"), "b", &value));
    CHECK(span_equal(value, SPAN_LITERAL("x=y")));
    CHECK(!transit_query_find(SPAN_LITERAL(""), "list", &value));
    CHECK(!transit_query_find(SPAN_LITERAL("lists=true&LIST=true&l=list"), "list", &value));
    CHECK(!transit_query_find((struct span){ 0 }, "list", &value));
}

static void test_transit_names(void **state)
{
    static const struct {
        const char *name, *key_id; /* NULL: refused */
    } rows[] = {
        { "a", "alias/a" },
        { "a.b", "alias/a/b" },
        { "_", "alias/_" },
        { "A-b_9", "alias/A-b_9" },
        { "e0a3.4155.1", "alias/e0a3/4155/1" },
        { "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000" },
        { "mrk-1234abcd12ab34cd56ef1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab" },
        { "mrk-1234abcd12ab34cd56ef1234567890aB", "alias/mrk-1234abcd12ab34cd56ef1234567890aB" },
        { "", NULL },
        { "-a", NULL },
        { "a-", NULL },
        { ".a", NULL },
        { "a.", NULL },
        { "..", NULL },
        { "a/b", NULL },
        { "a:b", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct span name = span_text(rows[i].name);
        CHECK(transit_name_valid(name) == (rows[i].key_id != NULL));
        if (rows[i].key_id == NULL)
            continue;
        const struct transit_key_id id = transit_key_id(name);
        CHECK(strcmp(id.text, rows[i].key_id) == 0);
        CHECK(id.is_alias == (strncmp(id.text, "alias/", 6) == 0));
    }
}

/* Each alias has one name or none, and the name leads back to it. */
static void test_transit_name_of_alias(void **state)
{
    static const char *const named[] = { "alias/a", "alias/a/b", "alias/a_b-c", "alias/a//b" };
    static const char *const nameless[] = {
        "alias/",    "alias/-a",  "alias/a/",
        "alias//a",  "a",         "",
        "alias/a:b", "alias/a.b", "alias/00000000-0000-4000-8000-000000000000",
        "alias/mrk-1234abcd12ab34cd56ef1234567890ab",
    };
    char name[TRANSIT_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(named); i++) {
        CHECK(transit_name_of_alias(named[i], name));
        CHECK(strcmp(transit_key_id(span_text(name)).text, named[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(nameless); i++)
        CHECK(!transit_name_of_alias(nameless[i], name));
}

static void test_transit_ciphertexts(void **state)
{
    static const struct {
        const char *text;
        int64_t version; /* 0: refused */
        const char *says;
    } rows[] = {
        { "vault:v1:YQ==", 1, NULL },
        { "vault:v0:YQ==", 1, NULL },
        { "vault:v999999999:YQ==", 999999999, NULL },
        { "vault:v01:YQ==", 1, NULL },
        { "", 0, "no prefix" },
        { "vault", 0, "no prefix" },
        { "VAULT:v1:YQ==", 0, "no prefix" },
        { "vault:", 0, "number of fields" },
        { "vault:v1", 0, "number of fields" },
        { "vault:v1:", 0, "number of fields" },
        { "vault:v1:YQ==:", 0, "number of fields" },
        { "vault:v1:a:b", 0, "number of fields" },
        { "vault:v:YQ==", 0, "version number" },
        { "vault:1:YQ==", 0, "version number" },
        { "vault:v-1:YQ==", 0, "version number" },
        { "vault:v 1:YQ==", 0, "version number" },
        { "vault:v1234567890:YQ==", 0, "version number" },
        { "vault:v1:YQ=", 0, "base64" },
        { "vault:v1:Y", 0, "base64" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct transit_ciphertext parsed = { 0 };
        struct kms_error err = { 0 };
        const int result = transit_ciphertext_parse(span_text(rows[i].text), &parsed, &err);
        CHECK((result == 0) == (rows[i].version != 0));
        CHECK(parsed.version == rows[i].version);
        CHECK(result == 0 || strstr(err.message, rows[i].says));
        CHECK(result < 0 || span_equal(parsed.blob, SPAN_LITERAL("YQ==")));
    }
}

/* The encryption context of some context bytes. */
static json_t *pairs_of(struct span bytes)
{
    struct kms_error err = { 0 };
    json_t *const pairs = json_object();
    AUTO(buf) text = { 0 };

    base64_append(&text, bytes);
    CHECK(transit_context_add(buf_span(&text), pairs, &err) == 0);
    return pairs;
}

static void test_transit_context_objects(void **state)
{
    (void)state;
    json_auto_t *pairs = pairs_of(SPAN_LITERAL("{\"b\":\"2\", \"a\":\"\\u00e9\", \"c\":\"\"}"));
    json_auto_t *wanted = json_pack("{s:s, s:s, s:s}", "a", "\xc3\xa9", "b", "2", "c", "");
    CHECK(json_equal(pairs, wanted));
}

static void test_transit_context_opaque(void **state)
{
    static const struct span rows[] = {
        { (const uint8_t *)"opaque", 6 },
        { (const uint8_t *)"{}", 2 },
        { (const uint8_t *)"[]", 2 },
        { (const uint8_t *)"\"a\"", 3 },
        { (const uint8_t *)"{\"a\":1}", 7 },
        { (const uint8_t *)"{\"a\":null}", 10 },
        { (const uint8_t *)"{\"a\":{}}", 8 },
        { (const uint8_t *)"{\"\":\"a\"}", 8 },
        { (const uint8_t *)"{\"a\":\"1\",\"a\":\"1\"}", 17 },
        { (const uint8_t *)"{\"transit:x\":\"1\"}", 17 },
        { (const uint8_t *)"{\"a\":\"\\u0000\"}", 14 },
        { (const uint8_t *)"{\"a\":\"1\"} x", 11 },
        { (const uint8_t *)"\xff", 1 },
        { (const uint8_t *)"\0", 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_auto_t *pairs = pairs_of(rows[i]);
        AUTO(buf) text = { 0 };
        base64_append(&text, rows[i]);
        json_auto_t *wanted =
            json_pack("{s:s%}", TRANSIT_CONTEXT_NAME, (const char *)text.ptr, text.len);
        CHECK(json_equal(pairs, wanted));
    }
}

static void test_transit_context_refused(void **state)
{
    static const char *const rows[] = {
        "Y", "YQ", "YQ=", "Y Q=", "YR==", "Y_-=", "====", "YQ==\n"
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 }, also = { 0 };
        json_auto_t *pairs = json_object();
        CHECK(transit_context_add(span_text(rows[i]), pairs, &err) < 0);
        CHECK(transit_data_add(span_text(rows[i]), pairs, &also) < 0);
        CHECK(err.code == KMS_ERR_VALIDATION && also.code == KMS_ERR_VALIDATION);
        CHECK(json_object_size(pairs) == 0);
    }
}

static void test_transit_data_beside_a_context(void **state)
{
    struct kms_error err = { 0 };
    json_auto_t *pairs = pairs_of(SPAN_LITERAL("{\"a\":\"1\"}"));
    json_auto_t *wanted = json_pack("{s:s, s:s}", "a", "1", TRANSIT_DATA_NAME, "YQ==");

    (void)state;
    CHECK(transit_data_add(SPAN_LITERAL("YQ=="), pairs, &err) == 0);
    CHECK(json_equal(pairs, wanted));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transit_path_parts),
        cmocka_unit_test(test_transit_path_refused),
        cmocka_unit_test(test_transit_path_lengths),
        cmocka_unit_test(test_transit_path_nul),
        cmocka_unit_test(test_transit_query_find),
        cmocka_unit_test(test_transit_names),
        cmocka_unit_test(test_transit_name_of_alias),
        cmocka_unit_test(test_transit_ciphertexts),
        cmocka_unit_test(test_transit_context_objects),
        cmocka_unit_test(test_transit_context_opaque),
        cmocka_unit_test(test_transit_context_refused),
        cmocka_unit_test(test_transit_data_beside_a_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
