#include <stdlib.h>

#include "hsmkms/audit/record.h"
#include "hsmkms/base/clock.h"
#include "tests/support/check.h"

/* A call with everything in it. */
static struct audit_record full_record(void)
{
    static struct uuid request_id;

    request_id = uuid_random();
    return (struct audit_record){
        .time_ms = INT64_C(1795176000) * MS_PER_SECOND + 999,
        .event_name = "Encrypt",
        .read_only = true,
        .identity_type = "IAMUser",
        .principal_id = "AIDAEXAMPLE",
        .arn = "arn:aws:iam::111122223333:user/alice",
        .account = "111122223333",
        .access_key_id = "AKIAEXAMPLE",
        .user_name = "alice",
        .source_ip = "192.0.2.1",
        .user_agent = "aws-cli/2",
        .host = "kms.example",
        .tls_version = "TLSv1.3",
        .tls_cipher = "TLS_AES_128_GCM_SHA256",
        .region = "us-east-1",
        .request_id = &request_id,
        .event_id = uuid_random(),
        .resources = { { "arn:aws:kms:us-east-1:444455556666:key/1234" },
                       { "arn:aws:kms:us-east-1:444455556666:alias/a" } },
        .resource_count = 2,
        .version_id = "0f0e",
        .latency_us = 1234,
    };
}

static json_t *parse(struct span text)
{
    json_error_t why;
    json_t *const made = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &why);

    if (made == NULL)
        fail_msg("%s at %d in %.*s", why.text, why.position, (int)text.len, (const char *)text.ptr);
    return made;
}

/* The record as a parser of its own reads it. */
static json_t *format(const struct audit_record *record)
{
    struct kms_error err = { 0 };
    AUTO(buf) text = { 0 };

    CHECK_OK(audit_record_format(record, &text, &err), err);
    CHECK(memchr(text.ptr, '\n', text.len) == NULL);
    return parse(buf_span(&text));
}

static void check_equal(const json_t *got, const char *want)
{
    json_auto_t *parsed = parse(span_text(want));

    if (!json_equal(got, parsed)) {
        char *const text = json_dumps(got, JSON_COMPACT);
        fail_msg("got %s\nwant %s", text, want);
        free(text);
    }
}

/* Removes the members that differ from run to run after looking at their form. */
static void check_uuid_member(json_t *record, const char *name, const struct uuid *want)
{
    assert_string_equal(json_string_value(json_object_get(record, name)), uuid_format(want).text);
    CHECK(json_object_del(record, name) == 0);
}

static void test_audit_record_call_has_the_cloudtrail_members(void **state)
{
    struct audit_record record = full_record();
    json_auto_t *parameters =
        json_pack("{s:s,s:{s:s}}", "keyId", "alias/a", "encryptionContext", "who", "\xc3\xa9\"\n");
    json_auto_t *additional = json_pack("{s:s}", "keyMaterialId", "0f");

    (void)state;
    record.request_parameters = parameters;
    record.additional = additional;
    json_auto_t *got = format(&record);
    check_uuid_member(got, "requestID", record.request_id);
    check_uuid_member(got, "eventID", &record.event_id);
    check_equal(
        got,
        "{\"eventVersion\":\"1.11\",\"userIdentity\":{\"type\":\"IAMUser\",\"principalId\":"
        "\"AIDAEXAMPLE\",\"arn\":\"arn:aws:iam::111122223333:user/alice\",\"accountId\":"
        "\"111122223333\",\"accessKeyId\":\"AKIAEXAMPLE\",\"userName\":\"alice\"},"
        "\"eventTime\":\"2026-11-20T12:00:00Z\",\"eventSource\":\"kms.amazonaws.com\","
        "\"eventName\":\"Encrypt\",\"awsRegion\":\"us-east-1\",\"sourceIPAddress\":\"192.0.2.1\","
        "\"userAgent\":\"aws-cli/2\",\"requestParameters\":{\"keyId\":\"alias/a\","
        "\"encryptionContext\":{\"who\":\"\\u00e9\\\"\\n\"}},\"responseElements\":null,"
        "\"additionalEventData\":{\"keyMaterialId\":\"0f\"},\"readOnly\":true,\"resources\":["
        "{\"accountId\":\"444455556666\",\"type\":\"AWS::KMS::Key\",\"ARN\":"
        "\"arn:aws:kms:us-east-1:444455556666:key/1234\"},{\"accountId\":\"444455556666\","
        "\"type\":\"AWS::KMS::Key\",\"ARN\":\"arn:aws:kms:us-east-1:444455556666:alias/a\"}],"
        "\"eventType\":\"AwsApiCall\",\"managementEvent\":true,\"recipientAccountId\":"
        "\"111122223333\",\"eventCategory\":\"Management\",\"tlsDetails\":{\"tlsVersion\":"
        "\"TLSv1.3\",\"cipherSuite\":\"TLS_AES_128_GCM_SHA256\",\"clientProvidedHostHeader\":"
        "\"kms.example\"},\"keyVersion\":\"0f0e\",\"latencyUs\":1234}");
}

static void test_audit_record_bare_call_leaves_members_out(void **state)
{
    const struct audit_record record = { .event_name = "GenerateRandom",
                                         .time_ms = 0,
                                         .error_code = "",
                                         .error_message = "not shown without a code",
                                         .event_id = uuid_random() };

    (void)state;
    json_auto_t *got = format(&record);
    check_uuid_member(got, "eventID", &record.event_id);
    check_equal(got, "{\"eventVersion\":\"1.11\",\"userIdentity\":{},\"eventTime\":"
                     "\"1970-01-01T00:00:00Z\",\"eventSource\":\"kms.amazonaws.com\","
                     "\"eventName\":\"GenerateRandom\",\"requestParameters\":null,"
                     "\"responseElements\":null,\"readOnly\":false,\"eventType\":\"AwsApiCall\","
                     "\"managementEvent\":true,\"eventCategory\":\"Management\",\"latencyUs\":0}");
}

static void test_audit_record_error_is_shown_with_its_message(void **state)
{
    struct audit_record record = full_record();

    (void)state;
    record.error_code = "NotFoundException";
    record.error_message = "Key 'x' does not exist";
    json_auto_t *got = format(&record);
    assert_string_equal(json_string_value(json_object_get(got, "errorCode")), "NotFoundException");
    assert_string_equal(json_string_value(json_object_get(got, "errorMessage")),
                        "Key 'x' does not exist");
}

static void test_audit_record_phases_carry_the_state_sequence(void **state)
{
    static const char *const names[] = { NULL, "intent", "result" };
    struct audit_record record = full_record();

    (void)state;
    record.state_sequence = UINT64_C(9007199254740993);
    for (int phase = AUDIT_CALL; phase <= AUDIT_RESULT; phase++) {
        record.phase = (enum audit_phase)phase;
        json_auto_t *got = format(&record);
        const char *const name = json_string_value(json_object_get(got, "phase"));
        CHECK(names[phase] ? name && strcmp(name, names[phase]) == 0 : name == NULL);
        CHECK(json_integer_value(json_object_get(got, "stateSequence")) == 9007199254740993);
    }
}

static void test_audit_record_service_event_has_no_caller(void **state)
{
    static const char *const absent[] = { "requestID", "tlsDetails", "additionalEventData" };
    struct audit_record record = full_record();
    json_auto_t *details = json_pack("{s:s}", "keyId", "1234");

    (void)state;
    record.service_event = true;
    record.additional = details;
    json_auto_t *got = format(&record);
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        CHECK(json_object_get(got, absent[i]) == NULL);
    check_equal(json_object_get(got, "userIdentity"),
                "{\"accountId\":\"111122223333\",\"invokedBy\":\"AWS Internal\"}");
    check_equal(json_object_get(got, "serviceEventDetails"), "{\"keyId\":\"1234\"}");
    assert_string_equal(json_string_value(json_object_get(got, "eventType")), "AwsServiceEvent");
    assert_string_equal(json_string_value(json_object_get(got, "sourceIPAddress")), "AWS Internal");
}

/* What a client may send in a header, and what must be read back. */
static void test_audit_record_strings_are_escaped(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "\"", "\"" },
        { "\\", "\\" },
        { "\\\"}", "\\\"}" },
        { "a\nb\r\t\x01\x1f\x7f", "a\nb\r\t\x01\x1f\x7f" },
        { "\",\"readOnly\":true,\"x\":\"", "\",\"readOnly\":true,\"x\":\"" },
        { "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91" },
        { "\xff", "\xef\xbf\xbd" },
        { "a\x80z", "a\xef\xbf\xbdz" },                             /* continuation alone */
        { "\xc3", "\xef\xbf\xbd" },                                 /* cut at the end */
        { "\xc3(", "\xef\xbf\xbd(" },                               /* cut in the middle */
        { "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },                 /* overlong '/' */
        { "\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* overlong '/' */
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* surrogate */
        { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" }, /* U+10FFFF, the last */
        { "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
    };
    struct audit_record record = full_record();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        record.user_agent = rows[i].text;
        json_auto_t *got = format(&record);
        assert_string_equal(json_string_value(json_object_get(got, "userAgent")), rows[i].want);
    }
}

/* Any bytes at all make a record that a strict parser takes. */
static void test_audit_record_random_bytes_stay_one_json_object(void **state)
{
    struct audit_record record = full_record();
    char text[40];
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        const size_t len = (size_t)rand_r(&seed) % (sizeof(text) - 1);
        for (size_t i = 0; i < len; i++)
            text[i] = (char)(1 + rand_r(&seed) % 255);
        text[len] = '\0';
        record.user_agent = record.error_code = record.error_message = record.host = text;
        json_decref(format(&record));
    }
}

/* Around the room that is tried first, and far past it. */
static void test_audit_record_parameters_of_any_size(void **state)
{
    static const size_t sizes[] = { 0, 1, 480, 500, 501, 502, 503, 504, 505, 511, 512, 513, 40000 };
    struct audit_record record = full_record();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTO(buf) text = { 0 };
        uint8_t *const room = buf_room(&text, sizes[i] + 1);
        if (room)
            memset(room, 'x', sizes[i]);
        json_auto_t *parameters = json_pack("{s:s%}", "policy", (const char *)text.ptr, sizes[i]);
        record.request_parameters = record.response_elements = parameters;
        json_auto_t *got = format(&record);
        CHECK(json_equal(json_object_get(got, "requestParameters"), parameters));
        CHECK(json_equal(json_object_get(got, "responseElements"), parameters));
    }
}

static void test_audit_record_odd_arns_have_no_account(void **state)
{
    static const char *const arns[] = { "x", "a:b:c:d", "a:b:c:d:", "::::" };
    struct audit_record record = full_record();

    (void)state;
    record.resource_count = 1;
    for (size_t i = 0; i < ARRAY_LEN(arns); i++) {
        record.resources[0].arn = arns[i];
        json_auto_t *got = format(&record);
        const json_t *const resource = json_array_get(json_object_get(got, "resources"), 0);
        CHECK(json_object_get(resource, "accountId") == NULL);
        assert_string_equal(json_string_value(json_object_get(resource, "ARN")), arns[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_audit_record_call_has_the_cloudtrail_members),
        cmocka_unit_test(test_audit_record_bare_call_leaves_members_out),
        cmocka_unit_test(test_audit_record_error_is_shown_with_its_message),
        cmocka_unit_test(test_audit_record_phases_carry_the_state_sequence),
        cmocka_unit_test(test_audit_record_service_event_has_no_caller),
        cmocka_unit_test(test_audit_record_strings_are_escaped),
        cmocka_unit_test(test_audit_record_random_bytes_stay_one_json_object),
        cmocka_unit_test(test_audit_record_parameters_of_any_size),
        cmocka_unit_test(test_audit_record_odd_arns_have_no_account),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
