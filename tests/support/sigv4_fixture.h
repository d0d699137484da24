#pragma once

/* A request that verifies once it is signed, and checks of what sigv4_verify says about it. */

#include "hsmkms/base/encode.h"
#include "tests/support/check.h"
#include "tests/support/sigv4_client.h"

#define TIMESTAMP  "20261120T120000Z"
#define NOW_S      INT64_C(1795176000) /* of TIMESTAMP */
#define BODY       "{\"KeyId\":\"alias/app\",\"Plaintext\":\"aGVsbG8=\"}"
#define BODY_HASH  "32408da1d1d680d8ed1eedc9dffa986f3e7e447bf8d4b774cf0a7cb69723d1cc"
#define USUAL      "content-type;host;x-amz-date;x-amz-target"
#define WITH_TOKEN "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
/* Of the request that begin() makes, signed as USUAL says. */
#define USUAL_SIGNATURE "b230d89b557cdfd51232b06994da17c7545a44b645f906704bb2cb43b9327423"
#define WRONG           "0000000000000000000000000000000000000000000000000000000000000000"

#define TEXT_MISMATCH                                                                              \
    "The request signature we calculated does not match the signature you provided. Check your "   \
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
#define TEXT_LIST                                                                                  \
    "'SignedHeaders' must be at most 64 different header names in lower case, sorted, with "       \
    "semicolons between them."
#define TEXT_INVALID_TOKEN "The security token included in the request is invalid."

struct fixture {
    struct client client;
    struct sigv4_policy policy;
    struct client_request request;
};

/* The request most vectors differ from by a little; not authorized yet. */
static inline void begin(struct fixture *fixture)
{
    *fixture = (struct fixture){ .client = { .key_id = CLIENT_KEY_ID,
                                             .secret = CLIENT_SECRET,
                                             .date = "20261120",
                                             .region = "us-east-1",
                                             .service = "kms",
                                             .token = CLIENT_TOKEN } };
    fixture->policy = client_policy(&fixture->client);
    client_begin(&fixture->request);
    fixture->request.http.body = SPAN_LITERAL(BODY);
    client_header(&fixture->request, "Host", "kms.corp.example:8443");
    client_header(&fixture->request, "Content-Type", "application/x-amz-json-1.1");
    client_header(&fixture->request, "X-Amz-Date", TIMESTAMP);
    client_header(&fixture->request, "X-Amz-Target", "TrentService.Encrypt");
}

static inline void sign(struct fixture *fixture, const char *signed_headers)
{
    CHECK(client_sign(&fixture->client, &fixture->policy, &fixture->request, TIMESTAMP,
                      signed_headers));
}

static inline int verify_at(struct fixture *fixture, int64_t now_s, struct kms_error *err)
{
    struct principal who = { 0 };

    if (sigv4_verify(&fixture->policy, &fixture->request.http, now_s * MS_PER_SECOND, &who, err) <
        0) {
        CHECK(who.access_key_id[0] == '\0'); /* untouched on failure */
        return -1;
    }
    assert_string_equal(who.access_key_id, fixture->client.key_id);
    return 0;
}

static inline int verify(struct fixture *fixture, struct kms_error *err)
{
    return verify_at(fixture, NOW_S, err);
}

static inline void expect(struct fixture *fixture, int64_t now_s, enum kms_err code,
                          const char *text)
{
    struct kms_error err = { 0 };

    assert_int_not_equal(verify_at(fixture, now_s, &err), 0);
    assert_string_equal(kms_err_name(err.code), kms_err_name(code));
    assert_string_equal(err.message, text);
}

static inline void expect_canonical_hash(struct fixture *fixture, const char *hash_hex)
{
    struct kms_error err = { 0 };
    AUTO(buf) canonical = { 0 };
    uint8_t hash[SHA256_LEN];
    char hex[SHA256_HEX_LEN + 1];

    CHECK_OK(sigv4_canonical_request(&fixture->policy, &fixture->request.http, &canonical, &err),
             err);
    CHECK_OK(sha256_of(buf_span(&canonical), hash, &err), err);
    hex_format(hex, SPAN_ARRAY(hash));
    assert_string_equal(hex, hash_hex);
}

static inline void set_header(struct fixture *fixture, const char *name, const char *value)
{
    client_drop(&fixture->request, name);
    client_header(&fixture->request, name, value);
}

static inline void add_token(struct fixture *fixture)
{
    set_header(fixture, "X-Amz-Security-Token", CLIENT_TOKEN);
}
