#include "hsmkms/api/fields.h"

#include <stdlib.h>

#include "tests/support/check.h"

/* Field tables: every kind, its bounds, and the messages that clients know from AWS. */

struct sample_request {
    const char *name, *alias, *algorithm, *colour;
    int64_t number;
    bool flag, present;
    struct secret plain;
    struct buf blob;
    struct request_context context;
    struct string_list words, choices;
    struct tag_list tags;
    struct request_constraints constraints;
};

static const char *const colours[] = { "RED", "GREEN", NULL };

/* clang-format off */
static const struct field sample_fields[] = {
    { "Name",      OPTIONAL, AT(sample, STRING, name),      1, 8,  .log = LOGGED },
    { "Alias",     OPTIONAL, AT(sample, STRING, alias),     1, 16, .log = UNLOGGED, .pattern = &pattern_alias },
    { "Algorithm", PRESET,   AT(sample, ENUM, algorithm),   0, 0,  .log = FILLED, .texts = colours },
    { "Colour",    OPTIONAL, AT(sample, ENUM, colour),      0, 0,  .log = LOGGED, .texts = colours },
    { "Number",    OPTIONAL, AT(sample, INT, number),       1, 1024, .log = LOGGED },
    { "Flag",      OPTIONAL, AT(sample, BOOL, flag),        0, 1,  .log = FILLED },
    { "Plain",     OPTIONAL, AT(sample, SECRET, plain),     1, 4,  .log = UNLOGGED },
    { "Blob",      OPTIONAL, AT(sample, BLOB, blob),        1, 4,  .log = UNLOGGED },
    { "Context",   OPTIONAL, AT(sample, CONTEXT, context),  0, CONTEXT_BYTES_MAX, .log = LOGGED },
    { "Words",     OPTIONAL, AT(sample, STRINGS, words),    0, 2,  .log = UNLOGGED, .item_max = 3 },
    { "Choices",   OPTIONAL, AT(sample, STRINGS, choices),  0, 2,  .log = UNLOGGED, .texts = colours },
    { "Tags",      OPTIONAL, AT(sample, TAGS, tags),        0, 3,  .log = LOGGED },
    { "Present",   OPTIONAL, AT(sample, PRESENCE, present), 0, 1,  .log = UNLOGGED },
    { "Limits",    OPTIONAL, AT(sample, CONSTRAINTS, constraints), 0, 2, .log = LOGGED, .item_max = 3 },
    { 0 },
};

struct needy_request {
    const char *key_id;
    struct secret plaintext;
};

static const struct field needy_fields[] = {
    { "KeyId",     REQUIRED, AT(needy, STRING, key_id),     1, 2048, .log = LOGGED },
    { "Plaintext", REQUIRED, AT(needy, SECRET, plaintext),  1, 4096, .log = UNLOGGED },
    { 0 },
};
/* clang-format on */

static void sample_done(struct sample_request *request)
{
    fields_release(sample_fields, request);
}
#define SAMPLE struct sample_request __attribute__((cleanup(sample_done)))

static int decode(const char *text, struct sample_request *ret, json_t **ret_json,
                  struct kms_error *err)
{
    *ret_json = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    CHECK(*ret_json != NULL);
    return fields_decode(sample_fields, *ret_json, ret, err);
}

static void check_refused(const char *text, enum kms_err code, const char *message)
{
    struct kms_error err = { 0 };
    SAMPLE request = { 0 };
    json_auto_t *json = NULL;

    if (decode(text, &request, &json, &err) == 0)
        fail_msg("accepted: %s", text);
    if (message)
        assert_string_equal(err.message, message);
    if (err.code != code)
        fail_msg("%s: %s %s", text, kms_err_name(err.code), err.message);
}

static void check_accepted(const char *text)
{
    struct kms_error err = { 0 };
    SAMPLE request = { 0 };
    json_auto_t *json = NULL;

    CHECK_OK(decode(text, &request, &json, &err), err);
}

static void test_every_kind(void **state)
{
    struct kms_error err = { 0 };
    SAMPLE request = { 0 };
    json_auto_t *json = NULL;

    (void)state;
    CHECK_OK(decode("{\"Name\":\"n\",\"Alias\":\"alias/a\",\"Algorithm\":\"GREEN\","
                    "\"Colour\":\"RED\",\"Number\":7,\"Flag\":true,\"Plain\":\"AQI=\","
                    "\"Blob\":\"AwQF\",\"Context\":{\"b\":\"2\",\"a\":\"1\"},"
                    "\"Words\":[\"x\",\"yy\"],\"Choices\":[\"GREEN\"],"
                    "\"Tags\":[{\"TagKey\":\"k\",\"TagValue\":\"\"}],\"Present\":{\"x\":1},"
                    "\"Unknown\":[1]}",
                    &request, &json, &err),
             err);
    assert_string_equal(request.name, "n");
    assert_string_equal(request.algorithm, "GREEN");
    assert_string_equal(request.colour, "RED");
    assert_int_equal(request.number, 7);
    CHECK(request.flag && request.present);
    CHECK_SPAN(secret_span(&request.plain), SPAN_LITERAL("\1\2"));
    CHECK_SPAN(buf_span(&request.blob), SPAN_LITERAL("\3\4\5"));
    CHECK_SPAN(buf_span(&request.context.canonical), SPAN_LITERAL("\0\2\0\1a\0\0011\0\1b\0\0012"));
    assert_int_equal(request.words.count, 2);
    assert_string_equal(request.words.items[1], "yy");
    assert_string_equal(request.choices.items[0], "GREEN");
    assert_int_equal(request.tags.count, 1);
    assert_string_equal(request.tags.items[0].tag_key, "k");
    assert_string_equal(request.tags.items[0].tag_value, "");
}

/* null is absent, and an absent context is an empty one. */
static void test_absent_and_null(void **state)
{
    static const char *const rows[] = {
        "{}",
        "{\"Name\":null,\"Algorithm\":null,\"Number\":null,\"Context\":null,\"Plain\":null,"
        "\"Words\":null,\"Tags\":null,\"Present\":null}",
        "{\"Context\":{}}"
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        SAMPLE request = { 0 };
        json_auto_t *json = NULL;

        CHECK_OK(decode(rows[i], &request, &json, &err), err);
        CHECK(request.name == NULL && request.colour == NULL && request.number == 0);
        CHECK(request.plain.ptr == NULL && !request.present);
        assert_string_equal(request.algorithm, "RED");
        CHECK_SPAN(buf_span(&request.context.canonical), SPAN_LITERAL("\0\0"));
    }
}

static void test_wrong_types(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "[]", "" },
        { "\"x\"", "" },
        { "{\"Name\":1}", "NUMBER_VALUE cannot be converted to String" },
        { "{\"Name\":true}", "TRUE_VALUE cannot be converted to String" },
        { "{\"Name\":{}}", "Start of structure or map found where not expected." },
        { "{\"Name\":[]}", "Start of list found where not expected." },
        { "{\"Name\":\"a\\u0000b\"}", "NUL character in a String" },
        { "{\"Colour\":1}", "NUMBER_VALUE cannot be converted to String" },
        { "{\"Number\":\"1\"}", "STRING_VALUE cannot be converted to Integer" },
        { "{\"Number\":1.5}", "NUMBER_VALUE cannot be converted to Integer" },
        { "{\"Number\":1e300}", "NUMBER_VALUE cannot be converted to Integer" },
        { "{\"Number\":true}", "TRUE_VALUE cannot be converted to Integer" },
        { "{\"Flag\":1}", "NUMBER_VALUE cannot be converted to Boolean" },
        { "{\"Flag\":\"true\"}", "STRING_VALUE cannot be converted to Boolean" },
        { "{\"Plain\":1}", "NUMBER_VALUE cannot be converted to Blob" },
        { "{\"Plain\":\"A\"}", "A blob is not valid base64" },
        { "{\"Plain\":\"AQI\"}", "A blob is not valid base64" },
        { "{\"Plain\":\"AQJ=\"}", "A blob is not valid base64" },
        { "{\"Plain\":\"AQ==\\n\"}", "A blob is not valid base64" },
        { "{\"Plain\":\"A_==\"}", "A blob is not valid base64" },
        { "{\"Blob\":\"!!!!\"}", "A blob is not valid base64" },
        { "{\"Context\":\"x\"}", "STRING_VALUE cannot be converted to Map" },
        { "{\"Context\":{\"a\":1}}", "NUMBER_VALUE cannot be converted to String" },
        { "{\"Context\":{\"a\":null}}", "NULL_VALUE cannot be converted to String" },
        { "{\"Words\":{}}", "Start of structure or map found where not expected." },
        { "{\"Words\":[1]}", "NUMBER_VALUE cannot be converted to String" },
        { "{\"Tags\":\"x\"}", "STRING_VALUE cannot be converted to List" },
        { "{\"Tags\":[\"x\"]}", "STRING_VALUE cannot be converted to Structure" },
        { "{\"Tags\":[{\"TagKey\":1,\"TagValue\":\"\"}]}",
          "NUMBER_VALUE cannot be converted to String" },
        { "{\"Present\":1}", "NUMBER_VALUE cannot be converted to Structure" },
        { "{\"Limits\":[]}", "Start of list found where not expected." },
        { "{\"Limits\":{\"EncryptionContextEquals\":\"x\"}}",
          "STRING_VALUE cannot be converted to Map" },
        { "{\"Limits\":{\"EncryptionContextSubset\":{\"a\":1}}}",
          "NUMBER_VALUE cannot be converted to String" },
        { "{\"Limits\":{\"EncryptionContextSubset\":{\"a\":\"b\\u0000\"}}}",
          "NUL character in a String" },
        { "{\"Limits\":{\"SourceArn\":1}}", "NUMBER_VALUE cannot be converted to String" },
        /* a type error wins over a broken constraint, wherever it stands */
        { "{\"Name\":\"\",\"Number\":\"x\"}", "STRING_VALUE cannot be converted to Integer" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_refused(rows[i].text, KMS_ERR_SERIALIZATION, rows[i].message);
}

#define ONE(value, path, rule)                                                                     \
    "1 validation error detected: Value" value " at '" path                                        \
    "' failed to satisfy constraint: Member must " rule

static void test_bounds(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "{\"Name\":\"\"}", ONE(" ''", "name", "have length greater than or equal to 1") },
        { "{\"Name\":\"123456789\"}",
          ONE(" '123456789'", "name", "have length less than or equal to 8") },
        { "{\"Alias\":\"a b\"}",
          ONE(" 'a b'", "alias", "satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$") },
        { "{\"Colour\":\"BLUE\"}",
          ONE(" 'BLUE'", "colour", "satisfy enum value set: [RED, GREEN]") },
        { "{\"Number\":0}", ONE(" '0'", "number", "have value greater than or equal to 1") },
        { "{\"Number\":-5}", ONE(" '-5'", "number", "have value greater than or equal to 1") },
        { "{\"Number\":1025}", ONE(" '1025'", "number", "have value less than or equal to 1024") },
        { "{\"Plain\":\"\"}", ONE("", "plain", "have length greater than or equal to 1") },
        { "{\"Plain\":\"AQIDBAU=\"}", ONE("", "plain", "have length less than or equal to 4") },
        { "{\"Blob\":\"AQIDBAU=\"}", ONE("", "blob", "have length less than or equal to 4") },
        { "{\"Words\":[\"a\",\"b\",\"c\"]}",
          ONE("", "words", "have length less than or equal to 2") },
        { "{\"Words\":[\"\",\"\",\"\",\"abcd\",\"\"]}", /* not one for each element */
          ONE("", "words", "have length less than or equal to 2") },
        { "{\"Words\":[\"a\",\"\"]}",
          ONE(" ''", "words.2.member", "have length greater than or equal to 1") },
        { "{\"Words\":[\"abcd\"]}",
          ONE(" 'abcd'", "words.1.member", "have length less than or equal to 3") },
        { "{\"Choices\":[\"BLUE\"]}",
          ONE(" 'BLUE'", "choices.1.member", "satisfy enum value set: [RED, GREEN]") },
        { "{\"Tags\":[{\"TagKey\":\"\",\"TagValue\":\"v\"}]}",
          ONE(" ''", "tags.1.member.tagKey", "have length greater than or equal to 1") },
        { "{\"Tags\":[{\"TagKey\":\"k\"}]}",
          ONE(" null", "tags.1.member.tagValue", "not be null") },
        { "{\"Limits\":{\"EncryptionContextEquals\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}}",
          ONE("", "limits.encryptionContextEquals", "have length less than or equal to 2") },
        { "{\"Limits\":{\"EncryptionContextSubset\":{\"a\":\"abcd\"}}}",
          ONE(" 'abcd'", "limits.encryptionContextSubset", "have length less than or equal to 3") },
        { "{\"Limits\":{\"EncryptionContextSubset\":{\"\":\"\"}}}",
          ONE(" ''", "limits.encryptionContextSubset", "have length greater than or equal to 1") },
        { "{\"Name\":\"\",\"Number\":0}",
          "2 validation errors detected: Value '' at 'name' failed to satisfy constraint: Member "
          "must have length greater than or equal to 1; Value '0' at 'number' failed to satisfy "
          "constraint: Member must have value greater than or equal to 1" },
        { "{\"Context\":{\"\":\"x\"}}", NULL },
    };
    static const char *const accepted[] = { "{\"Name\":\"1\"}",
                                            "{\"Name\":\"12345678\"}",
                                            "{\"Name\":\"\u00e4\u00e4\u00e4\u00e4"
                                            "\u00e4\u00e4\u00e4\u00e4\"}",
                                            "{\"Number\":1}",
                                            "{\"Number\":1024}",
                                            "{\"Number\":7.0}",
                                            "{\"Plain\":\"AQ==\"}",
                                            "{\"Plain\":\"AQIDBA==\"}",
                                            "{\"Words\":[]}",
                                            "{\"Words\":[\"abc\"]}",
                                            "{\"Tags\":[]}" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_refused(rows[i].text, KMS_ERR_VALIDATION, rows[i].message);
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++)
        check_accepted(accepted[i]);
}

static void test_required(void **state)
{
    static const char *const rows[] = { "{}", "{\"KeyId\":null,\"Plaintext\":null}" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct needy_request request = { 0 };
        struct kms_error err = { 0 };
        json_auto_t *json = json_loads(rows[i], 0, NULL);

        assert_int_equal(fields_decode(needy_fields, json, &request, &err), -1);
        assert_int_equal(err.code, KMS_ERR_VALIDATION);
        assert_string_equal(
            err.message,
            "2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: "
            "Member must not be null; Value null at 'plaintext' failed to satisfy constraint: "
            "Member must not be null");
        fields_release(needy_fields, &request);
    }
}

/* The pairs of a context, one too many, and one byte too many. */
static void test_context_limits(void **state)
{
    (void)state;
    for (size_t pairs = CONTEXT_PAIRS_MAX; pairs <= CONTEXT_PAIRS_MAX + 1; pairs++) {
        struct kms_error err = { 0 };
        SAMPLE request = { 0 };
        json_auto_t *json = json_pack("{s:{}}", "Context");
        json_t *const map = json_object_get(json, "Context");

        for (size_t i = 0; i < pairs; i++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "n%zu", i);
            CHECK(json_object_set_new(map, name, json_string("v")) == 0);
        }
        const int done = fields_decode(sample_fields, json, &request, &err);
        assert_int_equal(done, pairs <= CONTEXT_PAIRS_MAX ? 0 : -1);
        assert_int_equal(err.code, done == 0 ? KMS_ERR_NONE : KMS_ERR_VALIDATION);
    }
    for (size_t len = CONTEXT_BYTES_MAX - 7; len <= CONTEXT_BYTES_MAX - 6; len++) {
        struct kms_error err = { 0 };
        SAMPLE request = { 0 };
        char *const value = calloc(1, len + 1);
        memset(value, 'v', len);
        json_auto_t *json = json_pack("{s:{s:s}}", "Context", "n", value);

        const int done = fields_decode(sample_fields, json, &request, &err);
        assert_int_equal(done, len <= CONTEXT_BYTES_MAX - 7 ? 0 : -1);
        free(value);
    }
}

static void test_constraints(void **state)
{
    struct kms_error err = { 0 };
    SAMPLE request = { 0 };
    json_auto_t *json = NULL;

    (void)state;
    CHECK_OK(decode("{\"Limits\":{\"EncryptionContextSubset\":{\"a\":\"1\",\"B\":\"\"},"
                    "\"EncryptionContextEquals\":null,\"SourceArn\":null}}",
                    &request, &json, &err),
             err);
    CHECK(request.constraints.has_subset && !request.constraints.has_equals &&
          !request.constraints.has_source_arn);
    assert_int_equal(request.constraints.subset.count, 2);
    CHECK_SPAN(request.constraints.subset.pairs[1].name, SPAN_LITERAL("B"));
    check_accepted("{\"Limits\":{\"EncryptionContextEquals\":{}}}");
    check_accepted("{\"Limits\":{}}");
}

/* Long values and many violations are cut at a character, inside the message. */
static void test_long_messages_stay_texts(void **state)
{
    json_auto_t *json = json_object();
    char value[3001];

    (void)state;
    for (size_t i = 0; i + 3 <= sizeof(value) - 1; i += 3)
        memcpy(value + i, "\u20ac", 3);
    value[3000] = '\0';
    for (const struct field *field = sample_fields; field->name; field++)
        if (field->kind == FIELD_STRING || field->kind == FIELD_ENUM)
            CHECK(json_object_set_new(json, field->name, json_string(value)) == 0);

    struct kms_error err = { 0 };
    SAMPLE request = { 0 };
    assert_int_equal(fields_decode(sample_fields, json, &request, &err), -1);
    json_auto_t *text = json_string(err.message);
    CHECK(text != NULL);
    CHECK(strncmp(err.message, "5 validation errors detected: ", 30) == 0);
}

static void test_logged_members(void **state)
{
    json_auto_t *json = json_loads("{\"Name\":\"n\",\"Alias\":\"a\",\"Plain\":\"AQI=\","
                                   "\"Context\":{\"KeyId\":\"V\"},\"Tags\":[{\"TagKey\":\"K\","
                                   "\"TagValue\":\"V\"}],\"Number\":null,\"Other\":1,"
                                   "\"Limits\":{\"EncryptionContextEquals\":{\"KeyId\":\"V\"}}}",
                                   0, NULL);
    json_auto_t *want = json_loads("{\"name\":\"n\",\"algorithm\":\"RED\",\"flag\":false,"
                                   "\"context\":{\"KeyId\":\"V\"},\"tags\":[{\"tagKey\":\"K\","
                                   "\"tagValue\":\"V\"}],"
                                   "\"limits\":{\"encryptionContextEquals\":{\"KeyId\":\"V\"}}}",
                                   0, NULL);
    json_auto_t *got = fields_logged(sample_fields, json);
    json_auto_t *empty = json_object();
    json_auto_t *nothing = fields_logged(needy_fields, empty);

    (void)state;
    CHECK(json_equal(got, want));
    CHECK(nothing == NULL);
}

/* A rule about the whole of a text, after one about its characters. */
static void test_service_principals(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        { "ec2.amazonaws.com", true }, { "a.b.c.d", true },  { "a-1.b.c", true },
        { "amazonaws.com", false },    { "ec2", false },     { ".a.b.c", false },
        { "a.b.c.", false },           { "a..b.c", false },  { "...", false },
        { "a.b.c/d", false },          { "a.b_c.d", false }, { "\xc3\xa9.b.c", false },
        { "", true }, /* the length rule's to say */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (pattern_matches(&pattern_service, span_text(rows[i].text)) != rows[i].good)
            fail_msg("%s", rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_absent_and_null),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_context_limits),
        cmocka_unit_test(test_constraints),
        cmocka_unit_test(test_long_messages_stay_texts),
        cmocka_unit_test(test_logged_members),
        cmocka_unit_test(test_service_principals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
