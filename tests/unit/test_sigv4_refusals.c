/* What sigv4_verify refuses, in which words and in which order. */

#include <stdio.h>
#include <string.h>

#include "tests/support/sigv4_fixture.h"

/* The Authorization header */

#define CREDENTIAL    CLIENT_KEY_ID "/20261120/us-east-1/kms/aws4_request"
#define AUTH          "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ", SignedHeaders=" USUAL ", Signature=" WRONG
#define MISSING(part) "Authorization header requires '" part "' parameter. "
#define LIST(list)                                                                                 \
    "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ", SignedHeaders=" list ", Signature=" WRONG
#define SCOPE(scope)                                                                               \
    "AWS4-HMAC-SHA256 Credential=" CLIENT_KEY_ID scope ",SignedHeaders=" USUAL ",Signature=" WRONG

/* clang-format off */
static const struct refusal {
    const char *authorization;
    enum kms_err code;
    const char *text;
} refusals[] = {
    { "Basic QWxhZGRpbg==", KMS_ERR_INCOMPLETE_SIGNATURE, "Unsupported AWS 'algorithm': 'Basic'." },
    { "", KMS_ERR_INCOMPLETE_SIGNATURE, "Unsupported AWS 'algorithm': ''." },
    { "aws4-hmac-sha256 Credential=a", KMS_ERR_INCOMPLETE_SIGNATURE,
      "Unsupported AWS 'algorithm': 'aws4-hmac-sha256'." },
    { "AWS4-ECDSA-P256-SHA256 Credential=a", KMS_ERR_INCOMPLETE_SIGNATURE,
      "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'." },
    { "AWS4-HMAC-SHA256\tCredential=a", KMS_ERR_INCOMPLETE_SIGNATURE,
      "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA256?Credential=a'." },
    { "AWS4-HMAC-SHA256 Credential=AK IA/x, Signature=secret", KMS_ERR_INCOMPLETE_SIGNATURE,
      "'IA/x' not a valid key=value pair (missing equal-sign) in Authorization header: "
      "'AWS4-HMAC-SHA256 Credential=AK IA/x, Signature=***'." },
    { "AWS4-HMAC-SHA256", KMS_ERR_INCOMPLETE_SIGNATURE,
      MISSING("Credential") MISSING("Signature") MISSING("SignedHeaders")
      "Authorization=AWS4-HMAC-SHA256" },
    { "AWS4-HMAC-SHA256 ,, ,", KMS_ERR_INCOMPLETE_SIGNATURE,
      MISSING("Credential") MISSING("Signature") MISSING("SignedHeaders")
      "Authorization=AWS4-HMAC-SHA256" },
    { "AWS4-HMAC-SHA256 credential=a, Signature=b", KMS_ERR_INCOMPLETE_SIGNATURE,
      MISSING("Credential") MISSING("SignedHeaders") "Authorization=AWS4-HMAC-SHA256" },
    { AUTH ", Signature=" WRONG, KMS_ERR_INCOMPLETE_SIGNATURE,
      "Authorization header must have one 'Signature' parameter." },

    { LIST(""), KMS_ERR_INVALID_SIGNATURE,
      "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization." },
    { LIST("content-type;x-amz-date;x-amz-target"), KMS_ERR_INVALID_SIGNATURE,
      "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization." },
    { LIST("host;x-amz-target"), KMS_ERR_INVALID_SIGNATURE,
      "'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization." },
    { LIST("host;x-amz-date"), KMS_ERR_INVALID_SIGNATURE,
      "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization." },
    { LIST("host;x-amz-target;x-amz-date"), KMS_ERR_INCOMPLETE_SIGNATURE, TEXT_LIST },
    { LIST("host;host;x-amz-date;x-amz-target"), KMS_ERR_INCOMPLETE_SIGNATURE, TEXT_LIST },
    { LIST("Host;x-amz-date;x-amz-target"), KMS_ERR_INCOMPLETE_SIGNATURE, TEXT_LIST },
    { LIST("host;;x-amz-date;x-amz-target"), KMS_ERR_INCOMPLETE_SIGNATURE, TEXT_LIST },
    { LIST("host;x-amz-date;x-amz-target;"), KMS_ERR_INCOMPLETE_SIGNATURE, TEXT_LIST },
    { LIST("host:x-amz-date"), KMS_ERR_INCOMPLETE_SIGNATURE, TEXT_LIST },

    { SCOPE(""), KMS_ERR_INCOMPLETE_SIGNATURE,
      "Credential must have exactly 5 slash-delimited elements, e.g. "
      "keyid/date/region/service/term, got '" CLIENT_KEY_ID "'" },
    { SCOPE("/20261120/us-east-1/kms/aws4_request/"), KMS_ERR_INCOMPLETE_SIGNATURE,
      "Credential must have exactly 5 slash-delimited elements, e.g. "
      "keyid/date/region/service/term, got '" CREDENTIAL "/'" },
    { SCOPE("/20261120/eu-west-1/kms/aws4_request"), KMS_ERR_INVALID_SIGNATURE,
      "Credential should be scoped to a valid region, not 'eu-west-1'." },
    { SCOPE("/20261120/us-east-1/sts/aws4_request"), KMS_ERR_INVALID_SIGNATURE,
      "Credential should be scoped to correct service: 'kms'." },
    { SCOPE("/20261120/us-east-1/kms/aws3_request"), KMS_ERR_INVALID_SIGNATURE,
      "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws3_request'." },
    { SCOPE("/20261119/us-east-1/kms/aws4_request"), KMS_ERR_INVALID_SIGNATURE,
      "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
      "'20261119' != '20261120', from '20261120T120000Z'." },
    { SCOPE("/x//a/b"), KMS_ERR_INVALID_SIGNATURE,
      "Credential should be scoped to a valid region, not ''. "
      "Credential should be scoped to correct service: 'kms'. "
      "Credential should be scoped with a valid terminator: 'aws4_request', not 'b'. "
      "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
      "'x' != '20261120', from '20261120T120000Z'." },

    { "AWS4-HMAC-SHA256 Credential=AKIAHSMKMSTEST000002/20261120/us-east-1/kms/aws4_request,"
      "SignedHeaders=" USUAL ",Signature=" WRONG, KMS_ERR_UNRECOGNIZED_CLIENT, TEXT_INVALID_TOKEN },
    { "AWS4-HMAC-SHA256 Credential=AKIA-SMKMSTEST000001/20261120/us-east-1/kms/aws4_request,"
      "SignedHeaders=" USUAL ",Signature=" WRONG, KMS_ERR_UNRECOGNIZED_CLIENT, TEXT_INVALID_TOKEN },
    { "AWS4-HMAC-SHA256 Credential=/20261120/us-east-1/kms/aws4_request,"
      "SignedHeaders=" USUAL ",Signature=" WRONG, KMS_ERR_UNRECOGNIZED_CLIENT, TEXT_INVALID_TOKEN },
    { AUTH, KMS_ERR_INVALID_SIGNATURE, TEXT_MISMATCH },
    { "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ", SignedHeaders=" USUAL ", Signature=",
      KMS_ERR_INVALID_SIGNATURE, TEXT_MISMATCH },
    { "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ", SignedHeaders=" USUAL ", Signature=xyz",
      KMS_ERR_INVALID_SIGNATURE, TEXT_MISMATCH },
    { "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ", SignedHeaders=" USUAL ", Signature="
      "B230D89B557CDFD51232B06994DA17C7545A44B645F906704BB2CB43B9327423",
      KMS_ERR_INVALID_SIGNATURE, TEXT_MISMATCH }, /* the right one in upper case */
};
/* clang-format on */

static void test_sigv4_refusals_have_their_texts(void **state)
{
    struct fixture fixture;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        begin(&fixture);
        client_header(&fixture.request, "Authorization", refusals[i].authorization);
        expect(&fixture, NOW_S, refusals[i].code, refusals[i].text);
    }
}

/* The twin of the refusals: blanks and unknown parameters do not matter. */
static void test_sigv4_loose_forms_that_clients_send(void **state)
{
    static const char *const forms[] = {
        "AWS4-HMAC-SHA256 Credential=" CREDENTIAL ",SignedHeaders=" USUAL ",Signature=",
        "AWS4-HMAC-SHA256   SignedHeaders=" USUAL " ,\tCredential=" CREDENTIAL ", Signature=",
        "AWS4-HMAC-SHA256 Extra=1, Credential=" CREDENTIAL ", SignedHeaders=" USUAL ",, Signature=",
    };
    struct fixture fixture;
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct kms_error err = { 0 };
        begin(&fixture);
        (void)snprintf(text, sizeof(text), "%s%s", forms[i], USUAL_SIGNATURE);
        client_header(&fixture.request, "authorization", text);
        CHECK_OK(verify(&fixture, &err), err);
    }
}

static void test_sigv4_errors_show_no_odd_bytes_and_no_signature(void **state)
{
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    begin(&fixture);
    client_header(&fixture.request, "Authorization",
                  "AWS4-HMAC-SHA256 Signature=abcdef, \xc3\xa9\x01"
                  "x");
    assert_int_not_equal(verify(&fixture, &err), 0);
    assert_string_equal(err.message,
                        "'???x' not a valid key=value pair (missing equal-sign) in Authorization "
                        "header: 'AWS4-HMAC-SHA256 Signature=***'.");
}

static void test_sigv4_nothing_at_all(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    expect(&fixture, NOW_S, KMS_ERR_MISSING_TOKEN, "Missing Authentication Token");
}

static void test_sigv4_date_missing(void **state)
{
    struct fixture fixture;

    (void)state;
    begin(&fixture);
    client_drop(&fixture.request, "x-amz-date");
    client_header(&fixture.request, "Authorization", "AWS4-HMAC-SHA256 Credential=a");
    expect(&fixture, NOW_S, KMS_ERR_INCOMPLETE_SIGNATURE,
           MISSING("Signature")
               MISSING("SignedHeaders") "Authorization header requires existence of either a "
                                        "'X-Amz-Date' or a 'Date' header. "
                                        "Authorization=AWS4-HMAC-SHA256");
}

/* Order */

static void test_sigv4_order_of_errors(void **state)
{
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    begin(&fixture); /* stale date before unknown key */
    fixture.client.key_id = "AKIAHSMKMSTEST000002";
    sign(&fixture, USUAL);
    fixture.client.key_id = CLIENT_KEY_ID;
    expect(&fixture, NOW_S - 301, KMS_ERR_INVALID_SIGNATURE,
           "Signature not yet current: 20261120T120000Z is still later than 20261120T115959Z "
           "(20261120T115459Z + 5 min.)");
    expect(&fixture, NOW_S, KMS_ERR_UNRECOGNIZED_CLIENT, TEXT_INVALID_TOKEN);

    begin(&fixture); /* wrong region before wrong signature, and no key is asked for */
    client_authorize(&fixture.client, &fixture.request, USUAL, WRONG);
    fixture.policy.regions = "eu-west-1 eu-west-2";
    expect(&fixture, NOW_S, KMS_ERR_INVALID_SIGNATURE,
           "Credential should be scoped to a valid region, not 'us-east-1'.");
    assert_int_equal(fixture.client.lookups, 0);

    begin(&fixture); /* expired token before wrong secret */
    add_token(&fixture);
    client_authorize(&fixture.client, &fixture.request, WITH_TOKEN, WRONG);
    fixture.client.token_expired = true;
    expect(&fixture, NOW_S, KMS_ERR_EXPIRED_TOKEN,
           "The security token included in the request is expired");

    begin(&fixture); /* stale date before a credential in four parts */
    client_header(&fixture.request, "Authorization", SCOPE("/20261120/us-east-1/kms"));
    CHECK_FAILS(verify_at(&fixture, NOW_S + 301, &err), err, KMS_ERR_INVALID_SIGNATURE);
    CHECK_FAILS(verify_at(&fixture, NOW_S, &err), err, KMS_ERR_INCOMPLETE_SIGNATURE);

    begin(&fixture); /* unsigned host before a bad date */
    set_header(&fixture, "X-Amz-Date", "yesterday");
    client_authorize(&fixture.client, &fixture.request, "x-amz-date;x-amz-target", WRONG);
    CHECK_FAILS(verify(&fixture, &err), err, KMS_ERR_INVALID_SIGNATURE);
}

static void test_sigv4_regions_are_a_list(void **state)
{
    struct fixture fixture;
    struct kms_error err = { 0 };

    (void)state;
    begin(&fixture);
    sign(&fixture, USUAL);
    fixture.policy.regions = " onprem-1  us-east-1 ";
    CHECK_OK(verify(&fixture, &err), err);
    fixture.policy.regions = "us-east-10 us-east";
    CHECK_FAILS(verify(&fixture, &err), err, KMS_ERR_INVALID_SIGNATURE);
    fixture.policy.regions = "";
    CHECK_FAILS(verify(&fixture, &err), err, KMS_ERR_INVALID_SIGNATURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sigv4_refusals_have_their_texts),
        cmocka_unit_test(test_sigv4_loose_forms_that_clients_send),
        cmocka_unit_test(test_sigv4_errors_show_no_odd_bytes_and_no_signature),
        cmocka_unit_test(test_sigv4_nothing_at_all),
        cmocka_unit_test(test_sigv4_date_missing),
        cmocka_unit_test(test_sigv4_order_of_errors),
        cmocka_unit_test(test_sigv4_regions_are_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
