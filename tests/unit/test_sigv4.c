/* What sigv4_verify accepts, and the smallest changes that make it refuse. */

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tests/support/sigv4_fixture.h"

/* Vectors */

static void change_nothing(struct fixture *fixture)
{
    (void)fixture;
}

static void add_payload_hash(struct fixture *fixture)
{
    set_header(fixture, "X-Amz-Content-Sha256", BODY_HASH);
}

static void add_repeated_header(struct fixture *fixture)
{
    client_header(&fixture->request, "X-Corp-Tag", "  one   two ");
    client_header(&fixture->request, "X-Corp-Tag", "three");
}

static void make_unsigned_payload(struct fixture *fixture)
{
    fixture->request.http.body = SPAN_LITERAL("{}");
    set_header(fixture, "X-Amz-Target", "TrentService.ListKeys");
    set_header(fixture, "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD");
}

static void make_query(struct fixture *fixture)
{
    fixture->policy.target_must_be_signed = false;
    fixture->request.http.method = "GET";
    fixture->request.http.target = "/?Param-3=v&Param=b&Param=a%20c&p=+&empty";
    fixture->request.http.body = SPAN_LITERAL("");
}

/* Made for this project; the first three agree with botocore. */
static const struct vector {
    const char *name;
    void (*change)(struct fixture *fixture);
    const char *signed_headers, *canonical_hash, *signature;
} vectors[] = {
    { "V1 usual", change_nothing, USUAL,
      "8be3c7b84712a12cea4576af7e8dedd8de498a1a6244dec1311bddd20bff9fc6", USUAL_SIGNATURE },
    { "V2 session token", add_token,
      "content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
      "b194ff2476b1ee3ee7dd1d524bcbc9c9e91befa5143a3106d44489f69b170b4d",
      "072a20dabda4402412a6d563344e43fd639eefbc385fefef7d0f64214b698fe9" },
    { "V3 content type unsigned", add_payload_hash,
      "host;x-amz-content-sha256;x-amz-date;x-amz-target",
      "91089a89f5429e8ca3b695c7271607a7fcb045040608ab0e8a6f4520ed6a994a",
      "fc883a4e2b8ad884dfaeae27fd1a5fc1df1408567a889e22e8338083bc95d0e0" },
    { "V4 repeated header", add_repeated_header,
      "content-type;host;x-amz-date;x-amz-target;x-corp-tag",
      "a12a8e024571cfac9d5231b2012552b41e7f11db0dfd3cc35a9e642fae7ca941",
      "9fe79e3c52cd5c3c1abffd94505751a64cd9972c132fdcd0b3806f81b28777fb" },
    { "V7 query order", make_query, "host;x-amz-date",
      "72813320918051d96389c02d54870007ac0c63c937e2b31ff76d39ad83024302",
      "f8460b7bccde144274a6c894cfc0bc4af4d2c980be63ac2c30f61233ed98ba34" },
};

static void test_sigv4_own_vectors_verify(void **state)
{
    struct fixture fixture;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct kms_error err = { 0 };
        print_message("           %s\n", vectors[i].name);
        begin(&fixture);
        vectors[i].change(&fixture);
        client_authorize(&fixture.client, &fixture.request, vectors[i].signed_headers,
                         vectors[i].signature);
        CHECK_OK(verify(&fixture, &err), err);
        expect_canonical_hash(&fixture, vectors[i].canonical_hash);
    }
}

/* V5: a presigned GetCallerIdentity. */
static void test_sigv4_signed_query_is_not_signed(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    fixture.request.http.method = "GET";
    fixture.request.http.target =
        "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=" CLIENT_KEY_ID "%2F20261120%2Fus-east-1%2Fsts%2Faws4_request"
        "&X-Amz-Date=20261120T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=97c0efc20610a90140eefca3a99159d23d2112324c918eb3d9df011becc06056";
    expect(&fixture, NOW_S, KMS_ERR_MISSING_TOKEN, "Missing Authentication Token");
    client_authorize(&fixture.client, &fixture.request, USUAL, WRONG);
    expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE, ""); /* both forms at once */
}

/* V6: the signature is right for a client that did not sign its body. */
static void test_sigv4_unsigned_payload_is_refused(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    make_unsigned_payload(&fixture);
    client_authorize(&fixture.client, &fixture.request,
                     "host;x-amz-content-sha256;x-amz-date;x-amz-target",
                     "d919682d7c84447a8204897c58c853d11316d754dac93ee2b45f9a3a59bde9f8");
    expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE, TEXT_MISMATCH);
}

static void test_sigv4_declared_payload_hash_must_match(void **state)
{
    static const char *const wrong[] = {
        "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "",
        "32408DA1D1D680D8ED1EEDC9DFFA986F3E7E447BF8D4B774CF0A7CB69723D1CC", WRONG
    };
    struct fixture fixture;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        begin(&fixture);
        set_header(&fixture, "X-Amz-Content-Sha256", wrong[i]);
        sign(&fixture, "host;x-amz-content-sha256;x-amz-date;x-amz-target");
        expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE, TEXT_MISMATCH);
    }
}

/* Headers */

static void test_sigv4_repeated_single_headers(void **state)
{
    static const char *const names[] = { "Authorization", "HOST", "x-amz-date", "X-Amz-Target",
                                         "Content-Type" };
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        begin(&fixture);
        sign(&fixture, USUAL);
        for (size_t j = 0; j < fixture.request.http.header_count; j++) {
            if (strcasecmp(fixture.request.headers[j].name, names[i]) == 0) {
                client_header(&fixture.request, names[i], fixture.request.headers[j].value);
                break;
            }
        }
        CHECK_FAILS(verify(&fixture, &err), err, KMS_ERR_INCOMPLETE_SIGNATURE);
    }
}

/* A folded "X-Amz-Targe: x" and " t" must not become a target that nobody signed. */
static void test_sigv4_unsigned_target_is_refused(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    sign(&fixture, "host;x-amz-date");
    expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE,
           "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.");
}

static void test_sigv4_header_count(void **state)
{
    char list[1024], *end = list;
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    begin(&fixture);
    for (int i = 0; i < 60; i++)
        end += sprintf(end, "a%02d;", i);
    (void)strcpy(end, USUAL);
    sign(&fixture, list); /* 64 names; those that are absent count as empty */
    CHECK_OK(verify(&fixture, &err), err);

    begin(&fixture);
    memmove(list + 3, list, strlen(list) + 1);
    memcpy(list, "a0;", 3);
    sign(&fixture, "host");
    client_authorize(&fixture.client, &fixture.request, list, WRONG);
    expect(&fixture, NOW_S, KMS_ERR_INCOMPLETE_SIGNATURE, TEXT_LIST);
}

static void test_sigv4_authorization_may_be_listed(void **state)
{
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    begin(&fixture);
    client_authorize(&fixture.client, &fixture.request,
                     "authorization;content-type;host;x-amz-date;x-amz-target", WRONG);
    CHECK_FAILS(verify(&fixture, &err), err, KMS_ERR_INVALID_SIGNATURE);
}

static void test_sigv4_host_is_signed_as_sent(void **state)
{
    static const char *const hosts[] = { "kms.corp.example", "kms.corp.example:443",
                                         "KMS.Corp.Example.:8443" };
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        begin(&fixture);
        set_header(&fixture, "Host", hosts[i]);
        sign(&fixture, USUAL);
        CHECK_OK(verify(&fixture, &err), err);
        set_header(&fixture, "Host", "kms.corp.example:80");
        CHECK_FAILS(verify(&fixture, &err), err, KMS_ERR_INVALID_SIGNATURE);
    }
}

/* Body */

static void test_sigv4_body_changed(void **state)
{
    static const char *const bodies[] = { "", "{}", BODY " ",
                                          "{\"KeyId\":\"alias/apq\",\"Plaintext\":\"aGVsbG8=\"}" };
    struct fixture fixture;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        begin(&fixture);
        sign(&fixture, USUAL);
        fixture.request.http.body = span_text(bodies[i]);
        expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE, TEXT_MISMATCH);
    }
}

/* Time */

static void test_sigv4_window_edges(void **state)
{
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    begin(&fixture);
    sign(&fixture, USUAL);
    CHECK_OK(verify_at(&fixture, NOW_S + 300, &err), err);
    CHECK_OK(verify_at(&fixture, NOW_S - 300, &err), err);
    expect(&fixture, NOW_S + 301, KMS_ERR_INVALID_SIGNATURE,
           "Signature expired: 20261120T120000Z is now earlier than 20261120T120001Z "
           "(20261120T120501Z - 5 min.)");
    expect(&fixture, NOW_S - 301, KMS_ERR_INVALID_SIGNATURE,
           "Signature not yet current: 20261120T120000Z is still later than 20261120T115959Z "
           "(20261120T115459Z + 5 min.)");
    fixture.policy.skew_s = 90;
    expect(&fixture, NOW_S + 91, KMS_ERR_INVALID_SIGNATURE,
           "Signature expired: 20261120T120000Z is now earlier than 20261120T120001Z "
           "(20261120T120131Z - 90 sec.)");
}

/* Yesterday's date is right until five minutes past midnight. */
static void test_sigv4_midnight(void **state)
{
    const int64_t midnight_s = NOW_S + 12 * 3600;
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    begin(&fixture);
    set_header(&fixture, "X-Amz-Date", "20261120T235800Z");
    CHECK(
        client_sign(&fixture.client, &fixture.policy, &fixture.request, "20261120T235800Z", USUAL));
    CHECK_OK(verify_at(&fixture, midnight_s + 180, &err), err);
    CHECK_FAILS(verify_at(&fixture, midnight_s + 181, &err), err, KMS_ERR_INVALID_SIGNATURE);

    fixture.client.date = "20261121"; /* the scope of the day that has begun, for a date before */
    CHECK(
        client_sign(&fixture.client, &fixture.policy, &fixture.request, "20261120T235800Z", USUAL));
    CHECK_FAILS(verify_at(&fixture, midnight_s + 60, &err), err, KMS_ERR_INVALID_SIGNATURE);
}

static void test_sigv4_date_header_forms(void **state)
{
    static const char *const good[] = { "Fri, 20 Nov 2026 12:00:00 GMT", TIMESTAMP };
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        begin(&fixture);
        client_drop(&fixture.request, "x-amz-date");
        client_header(&fixture.request, "Date", good[i]);
        sign(&fixture, "date;host;x-amz-target");
        CHECK_OK(verify(&fixture, &err), err);
        sign(&fixture, "host;x-amz-target");
        expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE,
               "'Date' must be a 'SignedHeader' in the AWS Authorization.");
    }
}

static void test_sigv4_date_that_is_none(void **state)
{
    static const char *const bad[] = { "",
                                       "2026-11-20T12:00:00Z",
                                       "20261120",
                                       "20261120T120000",
                                       "20261320T120000Z",
                                       "Fri, 20 Nov 2026 12:00:00 GMT" };
    struct fixture fixture;
    char text[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        begin(&fixture);
        set_header(&fixture, "X-Amz-Date", bad[i]);
        sign(&fixture, USUAL);
        (void)snprintf(text, sizeof(text), "Date must be in ISO-8601 'basic format'. Got '%s'.",
                       bad[i]);
        expect(&fixture, NOW_S, KMS_ERR_INCOMPLETE_SIGNATURE, text);
    }
}

/* Tokens */

static void test_sigv4_token_rules(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    add_token(&fixture);
    sign(&fixture, USUAL);
    expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE,
           "'X-Amz-Security-Token' must be a 'SignedHeader' in the AWS Authorization.");

    sign(&fixture, WITH_TOKEN);
    fixture.client.token = NULL; /* a long-term key with a token */
    expect(&fixture, NOW_S, KMS_ERR_UNRECOGNIZED_CLIENT, TEXT_INVALID_TOKEN);

    begin(&fixture);
    set_header(&fixture, "X-Amz-Security-Token", "forged");
    sign(&fixture, WITH_TOKEN);
    expect(&fixture, NOW_S, KMS_ERR_UNRECOGNIZED_CLIENT, TEXT_INVALID_TOKEN);
}

static void test_sigv4_long_tokens(void **state)
{
    static const size_t sizes[] = { 4096, 20480, 40960 };
    static char token[40961];
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        memset(token, 'x', sizes[i]);
        token[sizes[i]] = '\0';
        begin(&fixture);
        fixture.client.token = token;
        set_header(&fixture, "X-Amz-Security-Token", token);
        sign(&fixture, WITH_TOKEN);
        CHECK_OK(verify(&fixture, &err), err);
    }
}

/* Target */

static void test_sigv4_malformed_targets(void **state)
{
    static char longest[8194], params[256];
    static const char *const bad[] = { "",     "*",          "http://kms/", "/%",    "/%4", "/?%zz",
                                       "/../", "/a/../../b", "/?a=%g0",     longest, params };
    struct fixture fixture;

    (void)state;
    memset(longest, '/', sizeof(longest) - 1);
    (void)strcpy(params, "/?");
    for (int i = 0; i < 65; i++)
        (void)strcat(params, "a&");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        begin(&fixture);
        fixture.request.http.target = bad[i];
        expect(&fixture, NOW_S, KMS_ERR_VALIDATION, "");
    }
}

static void test_sigv4_largest_target(void **state)
{
    static char target[8193];
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    memset(target, 'a', sizeof(target) - 1);
    target[0] = '/';
    begin(&fixture);
    fixture.request.http.target = target;
    sign(&fixture, USUAL);
    CHECK_OK(verify(&fixture, &err), err);
}

static void test_sigv4_canonical_targets(void **state)
{
    static const char *const rows[][2] = {
        { "/", "/\n\n" },
        { "/?", "/\n\n" },
        { "/?&&", "/\n\n" },
        { "/a%2Fb@c", "/a%252Fb%40c\n\n" },
        { "/a/./b/../c//d/", "/a/c/d/\n\n" },
        { "/a/..", "/\n\n" },
        { "/a/.", "/a/\n\n" },
        { "/\xe1\x88\xb4", "/%E1%88%B4\n\n" },
        { "/?a=1&A=2&a=", "/\nA=2&a=&a=1\n" },
        { "/?Param-3=v&Param=b&Param=a%20c&p=+&empty",
          "/\nParam=a%20c&Param=b&Param-3=v&empty=&p=%2B\n" },
        { "/?P=1&%e1%88%b4=x&q=a/b=c", "/\n%E1%88%B4=x&P=1&q=a%2Fb%3Dc\n" },
        { "/?%7e=%7E", "/\n~=~\n" },
    };
    struct fixture fixture;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        AUTO(buf) canonical = { 0 };
        begin(&fixture);
        fixture.request.http.target = rows[i][0];
        client_authorize(&fixture.client, &fixture.request, "host", WRONG);
        CHECK_OK(sigv4_canonical_request(&fixture.policy, &fixture.request.http, &canonical, &err),
                 err);
        buf_u8(&canonical, 0);
        char *const got = (char *)canonical.ptr + strlen("POST\n");
        got[strlen(rows[i][1])] = '\0';
        assert_string_equal(got, rows[i][1]);
    }
}

/* Unknown keys */

static int broken_lookup(void *ctx, const struct credential_claim *claim, struct secret *ret_key,
                         struct principal *ret_principal, struct kms_error *err)
{
    (void)ctx;
    (void)claim;
    (void)ret_key;
    (void)ret_principal;
    return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "token gone");
}

static void test_sigv4_lookup_failure_is_passed_on(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    sign(&fixture, USUAL);
    fixture.policy.signing_key = broken_lookup;
    expect(&fixture, NOW_S, KMS_ERR_KEY_UNAVAILABLE, "");
}

/* A request signed with the stand-in for unknown keys (32 zero bytes) must not pass for one. */
static void test_sigv4_unknown_key_has_no_usable_stand_in(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    sign(&fixture, USUAL);
    fixture.client.key_id = "AKIAHSMKMSTEST000002"; /* from now on CLIENT_KEY_ID is unknown */
    expect(&fixture, NOW_S, KMS_ERR_UNRECOGNIZED_CLIENT, TEXT_INVALID_TOKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sigv4_own_vectors_verify),
        cmocka_unit_test(test_sigv4_signed_query_is_not_signed),
        cmocka_unit_test(test_sigv4_unsigned_payload_is_refused),
        cmocka_unit_test(test_sigv4_declared_payload_hash_must_match),
        cmocka_unit_test(test_sigv4_repeated_single_headers),
        cmocka_unit_test(test_sigv4_unsigned_target_is_refused),
        cmocka_unit_test(test_sigv4_header_count),
        cmocka_unit_test(test_sigv4_authorization_may_be_listed),
        cmocka_unit_test(test_sigv4_host_is_signed_as_sent),
        cmocka_unit_test(test_sigv4_body_changed),
        cmocka_unit_test(test_sigv4_window_edges),
        cmocka_unit_test(test_sigv4_midnight),
        cmocka_unit_test(test_sigv4_date_header_forms),
        cmocka_unit_test(test_sigv4_date_that_is_none),
        cmocka_unit_test(test_sigv4_token_rules),
        cmocka_unit_test(test_sigv4_long_tokens),
        cmocka_unit_test(test_sigv4_malformed_targets),
        cmocka_unit_test(test_sigv4_largest_target),
        cmocka_unit_test(test_sigv4_canonical_targets),
        cmocka_unit_test(test_sigv4_lookup_failure_is_passed_on),
        cmocka_unit_test(test_sigv4_unknown_key_has_no_usable_stand_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
