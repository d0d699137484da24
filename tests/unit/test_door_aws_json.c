/* The door between a server and operations that only take notes: what is refused before an
 * operation runs, and how answers are written. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hsmkms/base/json_memory.h"
#include "hsmkms/doors/door_aws_json.h"
#include "hsmkms/doors/json_front.h"
#include "hsmkms/http/exchange.h"
#include "tests/support/check.h"
#include "tests/support/sigv4_client.h"

#define TIMESTAMP "20261120T120000Z"
#define NOW_MS    (INT64_C(1795176000) * MS_PER_SECOND) /* of TIMESTAMP */
#define USUAL     "content-type;host;x-amz-date;x-amz-target"

/* What stands in for the server and the operations */

struct fake {
    struct http_exchange http; /* first member: what the door gets */
    struct client_request request;
    char body[2048]; /* of the answer, as text */
    int status, answers;
    char request_id[40];
    const char *content_type, *request_id_header;
};

struct api {
    unsigned runs, refusals;
    char operation[65], access_key_id[129];
    json_t *parameters; /* of the last run */
    struct kms_error err;
    json_t *result;
};

void http_answer(struct http_exchange *http, const struct http_answer *answer)
{
    struct fake *const exchange = (struct fake *)http;

    exchange->answers++;
    exchange->status = answer->status;
    exchange->content_type = answer->content_type;
    exchange->request_id_header = answer->request_id_header;
    memcpy(exchange->request_id, answer->request_id, sizeof(exchange->request_id));
    CHECK(answer->body_len < sizeof(exchange->body));
    if (answer->body_len)
        memcpy(exchange->body, answer->body, answer->body_len);
    exchange->body[answer->body_len] = '\0';
    answer->free_body(answer->body);
    free(http->state); /* the door must not look at it any more */
    http->state = NULL;
}

void api_refused(struct api *api, const struct api_call *call)
{
    api->refusals++;
    memcpy(api->access_key_id, call->principal.access_key_id, sizeof(api->access_key_id));
}

void api_call_run(struct api *api, struct api_call *call)
{
    api->runs++;
    (void)snprintf(api->operation, sizeof(api->operation), "%s", call->operation);
    api->parameters = json_incref(call->parameters);
    call->err = api->err;
    call->result = json_incref(api->result);
    if (call->settle)
        call->settle(call);
    call->done(call);
}

void api_call_release(struct api_call *call)
{
    json_decref(call->parameters);
    json_decref(call->result);
    call->parameters = call->result = NULL;
}

void api_call_done(struct api_call *call)
{
    api_call_release(call);
    *call = (struct api_call){ 0 };
}

/* Fixture */

struct fixture {
    struct client client;
    struct log log;
    struct api api;
    struct door_aws door;
    struct fake exchange;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){ .client = { .key_id = CLIENT_KEY_ID,
                                       .secret = CLIENT_SECRET,
                                       .date = "20261120",
                                       .region = "us-east-1",
                                       .service = "kms" } };
    f->door = (struct door_aws){ &f->api, &f->log, client_policy(&f->client) };
    client_begin(&f->exchange.request);
    f->exchange.request.http.received_ms = NOW_MS;
    f->exchange.request.http.body = SPAN_LITERAL("{\"KeyId\":\"k\"}");
    client_header(&f->exchange.request, "Host", "kms.corp.example");
    client_header(&f->exchange.request, "Content-Type", "application/x-amz-json-1.1");
    client_header(&f->exchange.request, "X-Amz-Date", TIMESTAMP);
    client_header(&f->exchange.request, "X-Amz-Target", "TrentService.DescribeKey");
}

static void set_header(struct fixture *f, const char *name, const char *value)
{
    client_drop(&f->exchange.request, name);
    client_header(&f->exchange.request, name, value);
}

static void serve(struct fixture *f)
{
    f->exchange.http.request = f->exchange.request.http;
    f->exchange.http.state = calloc(1, door_aws_json.state_size);
    door_aws_json.serve(&f->door, &f->exchange.http);
    assert_int_equal(f->exchange.answers, 1);
    assert_string_equal(f->exchange.content_type, "application/x-amz-json-1.1");
    assert_string_equal(f->exchange.request_id_header, "x-amzn-RequestId");
    assert_int_equal(strlen(f->exchange.request_id), UUID_TEXT_LEN);
}

static void sign_and_serve(struct fixture *f)
{
    CHECK(client_sign(&f->client, &f->door.sigv4, &f->exchange.request, TIMESTAMP, USUAL));
    serve(f);
}

static void expect(struct fixture *f, int status, const char *body)
{
    assert_string_equal(f->exchange.body, body);
    assert_int_equal(f->exchange.status, status);
    json_decref(f->api.parameters);
    json_decref(f->api.result);
}

/* Results */

static void test_door_result(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.api.result = json_pack("{s:s}", "KeyId", "arn");
    sign_and_serve(&f);
    assert_string_equal(f.api.operation, "DescribeKey");
    assert_string_equal(json_string_value(json_object_get(f.api.parameters, "KeyId")), "k");
    assert_int_equal(f.api.refusals, 0);
    expect(&f, 200, "{\"KeyId\":\"arn\"}");
}

static void test_door_void_result_has_no_body(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.exchange.request.http.body = SPAN_LITERAL(""); /* no members at all */
    sign_and_serve(&f);
    CHECK(json_is_object(f.api.parameters) && json_object_size(f.api.parameters) == 0);
    expect(&f, 200, "");
}

static void test_door_empty_result_is_an_object(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.api.result = json_object();
    sign_and_serve(&f);
    expect(&f, 200, "{}");
}

/* Errors of operations */

/* clang-format off */
static const struct {
    enum kms_err code;
    const char *message;
    int status;
    const char *body;
} error_rows[] = {
    { KMS_ERR_NOT_FOUND, "Key 'x' does not exist", 400,
      "{\"__type\":\"NotFoundException\",\"message\":\"Key 'x' does not exist\"}" },
    { KMS_ERR_ACCESS_DENIED, "User: a is not authorized", 400,
      "{\"__type\":\"AccessDeniedException\",\"Message\":\"User: a is not authorized\"}" },
    { KMS_ERR_INVALID_CIPHERTEXT, "", 400, "{\"__type\":\"InvalidCiphertextException\"}" },
    { KMS_ERR_VALIDATION, "say \"\xc3\xa9\"", 400,
      "{\"__type\":\"ValidationException\",\"message\":\"say \\\"\xc3\xa9\\\"\"}" },
    { KMS_ERR_VALIDATION, "cut \xc3", 400,
      "{\"__type\":\"ValidationException\",\"message\":\"cut ?\"}" },
    { KMS_ERR_BODY_TOO_LARGE, "", 413, "{\"__type\":\"RequestEntityTooLargeException\"}" },
    { KMS_ERR_KEY_UNAVAILABLE, "", 500, "{\"__type\":\"KeyUnavailableException\"}" },
    { KMS_ERR_DEPENDENCY_TIMEOUT, "", 503, "{\"__type\":\"DependencyTimeoutException\"}" },
    { KMS_ERR_INTERNAL, "secret", 500, "{\"__type\":\"KMSInternalException\"}" },
    { KMS_ERR_INTEGRITY, "secret", 500, "{\"__type\":\"KMSInternalException\"}" },
};
/* clang-format on */

static void test_door_errors(void **state)
{
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(error_rows); i++) {
        begin(&f);
        (void)kms_fail(&f.api.err, error_rows[i].code, "%s", error_rows[i].message);
        (void)snprintf(f.api.err.detail, sizeof(f.api.err.detail), "CKR_SECRET");
        sign_and_serve(&f);
        CHECK(strstr(f.exchange.body, "SECRET") == NULL);
        expect(&f, error_rows[i].status, error_rows[i].body);
    }
}

/* Every row of errors.def has a body that is JSON and a name that a client may read. */
static void test_door_every_error_has_a_body(void **state)
{
    (void)state;
    for (enum kms_err code = KMS_ERR_NONE + 1; code < KMS_ERR_COUNT; code++) {
        const struct kms_error err = { .code = code, .message = "m", .detail = "d" };
        struct http_answer answer = { 0 };
        door_aws_json.refuse(NULL, &err, &answer);
        json_auto_t *body = json_loadb(answer.body, answer.body_len, 0, NULL);
        const char *const type = json_string_value(json_object_get(body, "__type"));
        CHECK(type && strlen(type) > 9 && !strcmp(type + strlen(type) - 9, "Exception"));
        CHECK(answer.status == kms_err_status(code));
        answer.free_body(answer.body);
    }
}

/* Refused before an operation */

static void test_door_unsigned(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    set_header(&f, "X-Amz-Target", "TrentService.NoSuchThing"); /* not even told */
    serve(&f);
    assert_int_equal(f.api.runs, 0);
    assert_int_equal(f.api.refusals, 1);
    expect(&f, 400,
           "{\"__type\":\"MissingAuthenticationTokenException\",\"message\":\"Missing "
           "Authentication Token\"}");
}

static void test_door_unknown_key_is_named_in_the_record(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.client.key_id = "AKIAHSMKMSTEST000002";
    CHECK(client_sign(&f.client, &f.door.sigv4, &f.exchange.request, TIMESTAMP, USUAL));
    f.client.key_id = CLIENT_KEY_ID;
    serve(&f);
    assert_string_equal(f.api.access_key_id, "AKIAHSMKMSTEST000002");
    assert_int_equal(f.api.runs, 0);
    expect(&f, 400,
           "{\"__type\":\"UnrecognizedClientException\",\"message\":\"The security token included "
           "in the request is invalid.\"}");
}

static void test_door_targets_that_are_none(void **state)
{
    static const char *const bad[] = {
        "",
        "DescribeKey",
        "TrentService",
        "trentservice.DescribeKey",
        "TrentService.Describe Key",
        "TrentService.\xff",
        "DynamoDB_20120810.ListTables",
        "TrentService.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        begin(&f);
        set_header(&f, "X-Amz-Target", bad[i]);
        sign_and_serve(&f);
        assert_int_equal(f.api.runs, 0);
        assert_int_equal(f.api.refusals, 1);
        expect(&f, 400, "{\"__type\":\"UnknownOperationException\"}");
    }
}

static void test_door_content(void **state)
{
    static const char *const good[] = { "application/x-amz-json-1.1",
                                        "application/x-amz-json-1.1; charset=utf-8",
                                        "Application/X-Amz-Json-1.1;charset=UTF-8" };
    static const char *const bad[] = { "application/json", "application/x-amz-json-1.10",
                                       "application/x-amz-json-1.0", "" };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        begin(&f);
        set_header(&f, "Content-Type", good[i]);
        sign_and_serve(&f);
        expect(&f, 200, "");
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        begin(&f);
        set_header(&f, "Content-Type", bad[i]);
        sign_and_serve(&f);
        expect(&f, 400,
               "{\"__type\":\"SerializationException\",\"message\":\"Content-Type must be "
               "application/x-amz-json-1.1.\"}");
    }
    begin(&f);
    set_header(&f, "Content-Encoding", "gzip");
    sign_and_serve(&f);
    expect(&f, 400,
           "{\"__type\":\"SerializationException\",\"message\":\"Content-Encoding is not "
           "supported.\"}");
}

static void test_door_body_is_not_json(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.exchange.request.http.body = SPAN_LITERAL("{\"a\":1,\"a\":2}");
    sign_and_serve(&f);
    assert_int_equal(f.api.runs, 0);
    expect(&f, 400,
           "{\"__type\":\"SerializationException\",\"message\":\"The request body is not a JSON "
           "object.\"}");
}

static size_t lines_with(FILE *file, const char *wanted)
{
    char line[4096];
    size_t count = 0;

    rewind(file);
    while (fgets(line, sizeof(line), file))
        count += strstr(line, wanted) != NULL;
    return count;
}

/* What nobody signed is not written without end; what somebody signed is. */
static void test_door_log_of_strangers_is_bounded(void **state)
{
    enum { MANY = 5000 };
    const int before = dup(STDERR_FILENO);
    FILE *const file = tmpfile();
    const int64_t begun_us = clock_mono_us();
    struct fixture f;

    (void)state;
    CHECK(file && dup2(fileno(file), STDERR_FILENO) == STDERR_FILENO);
    for (int i = 0; i < 2 * MANY; i++) {
        begin(&f);
        f.log.level = LOG_LEVEL_INFO;
        if (i % 2)
            serve(&f);
        else
            sign_and_serve(&f);
        json_decref(f.api.parameters);
    }
    const size_t seconds = (size_t)(clock_mono_us() - begun_us) / 1000000 + 2; /* that it touched */
    CHECK(dup2(before, STDERR_FILENO) == STDERR_FILENO);
    assert_int_equal(lines_with(file, "result=ok"), MANY);
    assert_in_range(lines_with(file, "result=MissingAuthenticationTokenException"), 1,
                    seconds * LOG_REFUSALS_PER_SECOND);
    (void)fclose(file);
    (void)close(before);
}

/* Recognition */

static void test_door_recognises_its_own(void **state)
{
    static const struct {
        const char *method, *target;
        bool ours;
        int rest_status;
    } rows[] = {
        { "POST", "/", true, 0 },
        { "POST", "/?", true, 0 },
        { "GET", "/", false, 405 },
        { "PUT", "/", false, 405 },
        { "POST", "/?Action=ListKeys", false, 404 },
        { "POST", "/service/TrentService/operation/Encrypt", false, 404 },
        { "GET", "/health", false, 404 },
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        begin(&f);
        f.exchange.request.http.method = rows[i].method;
        f.exchange.request.http.target = rows[i].target;
        CHECK(door_aws_json.recognise(&f.exchange.request.http) == rows[i].ours);
        if (rows[i].ours)
            continue;
        CHECK(door_aws_rest.recognise(&f.exchange.request.http));
        f.exchange.http.request = f.exchange.request.http;
        door_aws_rest.serve(&f.door, &f.exchange.http);
        expect(&f, rows[i].rest_status, "{\"__type\":\"UnknownOperationException\"}");
    }
}

static void test_door_claim(void **state)
{
    static const char *const rows[][2] = {
        { "AWS4-HMAC-SHA256 Credential=AKIA1/2026", "127.0.0.1 AKIA1" },
        { "AWS4-HMAC-SHA256 Signature=x,Credential=A_b", "127.0.0.1 A_b" },
        { "AWS4-HMAC-SHA256 Credential=\xff", "127.0.0.1 " },
        { "Basic x", "127.0.0.1 " },
        { "x Credential=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          "127.0.0.1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
    };
    struct fixture f;
    char said[64];

    (void)state;
    begin(&f);
    door_aws_json.claim(&f.exchange.request.http, said);
    assert_string_equal(said, "127.0.0.1 ");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        begin(&f);
        client_header(&f.exchange.request, "authorization", rows[i][0]);
        door_aws_json.claim(&f.exchange.request.http, said);
        assert_string_equal(said, rows[i][1]);
    }
}

/* Who names another's access key takes nothing of what that one has from another address. */
static void test_door_claim_is_of_one_address(void **state)
{
    static const char *const peers[] = { "127.0.0.1", "::ffff:127.0.0.1",
                                         "2001:db8:1111:2222:3333:4444:5555:6666" };
    struct fixture f;
    char said[64], want[80];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(peers); i++) {
        begin(&f);
        client_header(&f.exchange.request, "authorization",
                      "AWS4-HMAC-SHA256 Credential=" CLIENT_KEY_ID "/20261120");
        f.exchange.request.http.peer = peers[i];
        door_aws_json.claim(&f.exchange.request.http, said);
        (void)snprintf(want, sizeof(want), "%s %s", peers[i], CLIENT_KEY_ID);
        assert_string_equal(said, want); /* both whole */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_door_result),
        cmocka_unit_test(test_door_void_result_has_no_body),
        cmocka_unit_test(test_door_empty_result_is_an_object),
        cmocka_unit_test(test_door_errors),
        cmocka_unit_test(test_door_every_error_has_a_body),
        cmocka_unit_test(test_door_unsigned),
        cmocka_unit_test(test_door_unknown_key_is_named_in_the_record),
        cmocka_unit_test(test_door_targets_that_are_none),
        cmocka_unit_test(test_door_content),
        cmocka_unit_test(test_door_body_is_not_json),
        cmocka_unit_test(test_door_log_of_strangers_is_bounded),
        cmocka_unit_test(test_door_recognises_its_own),
        cmocka_unit_test(test_door_claim),
        cmocka_unit_test(test_door_claim_is_of_one_address),
    };
    json_set_alloc_funcs(wiping_malloc, wiping_free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
