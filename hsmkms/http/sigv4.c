#include "hsmkms/http/sigv4_parts.h"

#include <inttypes.h>
#include <stdio.h>

#include "hsmkms/base/encode.h"

#define DATE_LEN 8 /* YYYYMMDD */

/* One verification under way: what the checks find out for those after them. */
struct check {
    const struct sigv4_policy *policy;
    const struct http_request *request;
    int64_t now_ms;

    const char *authorization, *amz_date, *date, *token; /* headers, NULL when absent */
    struct sigv4_auth auth;
    int64_t signed_ms;
    struct clock_text timestamp; /* of signed_ms, as it was signed */
    struct sigv4_scope scope;
    struct principal principal;
};

/* Headers */

/* Headers whose repetition would leave open which one counts. */
static const char *const single_headers[] = { "authorization",        "host",
                                              "x-amz-date",           "date",
                                              "x-amz-target",         "x-amz-security-token",
                                              "x-amz-content-sha256", "content-type" };

static const char *find_header(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (sigv4_name_equal(span_text(name), request->headers[i].name))
            return request->headers[i].value;
    return NULL;
}

static size_t count_headers(const struct http_request *request, const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < request->header_count; i++)
        count += sigv4_name_equal(span_text(name), request->headers[i].name);
    return count;
}

static int check_single(struct check *check, struct kms_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(single_headers); i++)
        if (count_headers(check->request, single_headers[i]) > 1)
            return kms_fail(err, KMS_ERR_INCOMPLETE_SIGNATURE, "Header '%s' must not be repeated.",
                            single_headers[i]);

    check->authorization = find_header(check->request, "authorization");
    check->amz_date = find_header(check->request, "x-amz-date");
    check->date = find_header(check->request, "date");
    check->token = find_header(check->request, "x-amz-security-token");
    return 0;
}

/* Where and how */

static int check_target(struct check *check, struct kms_error *err)
{
    return sigv4_check_target(check->policy, check->request->target, err);
}

/* Whether the query says that it carries a signature. */
static bool query_is_signed(const char *target)
{
    struct span query = span_text(target), skipped, param, name;

    (void)sigv4_split(&query, '?', &skipped);
    while (sigv4_split(&query, '&', &param)) {
        (void)sigv4_split(&param, '=', &name);
        if (span_equal(name, SPAN_LITERAL("X-Amz-Algorithm")))
            return true;
    }
    return false;
}

static int check_location(struct check *check, struct kms_error *err)
{
    if (check->authorization && query_is_signed(check->request->target))
        return kms_fail(err, KMS_ERR_INVALID_SIGNATURE, "%s", "");
    if (check->authorization == NULL)
        return kms_fail(err, KMS_ERR_MISSING_TOKEN, "Missing Authentication Token");
    return 0;
}

static int check_form(struct check *check, struct kms_error *err)
{
    if (sigv4_parse_authorization(check->authorization, check->amz_date || check->date,
                                  &check->auth, err) < 0)
        return -1;
    return sigv4_check_signed_headers(check->auth.signed_headers, err);
}

/* What must be signed */

static bool need_always(const struct check *check)
{
    (void)check;
    return true;
}

static bool need_amz_date(const struct check *check)
{
    return check->amz_date;
}

static bool need_date(const struct check *check)
{
    return !check->amz_date;
}

static bool need_target(const struct check *check)
{
    return check->policy->target_must_be_signed;
}

static bool need_token(const struct check *check)
{
    return check->token && check->policy->token_must_be_signed;
}

static bool need_payload(const struct check *check)
{
    return find_header(check->request, "x-amz-content-sha256");
}

/* clang-format off */
static const struct {
    const char *name;
    bool (*needed)(const struct check *check);
    const char *title;
} mandatory_rows[] = {
    { "host",                 need_always,   "'Host' or ':authority'" },
    { "x-amz-date",           need_amz_date, "'X-Amz-Date'" },           /* else the window moves */
    { "date",                 need_date,     "'Date'" },
    { "x-amz-target",         need_target,   "'X-Amz-Target'" },         /* selects the operation */
    { "x-amz-security-token", need_token,    "'X-Amz-Security-Token'" },
    { "x-amz-content-sha256", need_payload,  "'X-Amz-Content-Sha256'" },
};
/* clang-format on */

static int check_mandatory(struct check *check, struct kms_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(mandatory_rows); i++)
        if (mandatory_rows[i].needed(check) &&
            !sigv4_is_signed(check->auth.signed_headers, mandatory_rows[i].name))
            return kms_fail(err, KMS_ERR_INVALID_SIGNATURE,
                            "%s must be a 'SignedHeader' in the AWS Authorization.",
                            mandatory_rows[i].title);
    return 0;
}

/* When */

static int check_date(struct check *check, struct kms_error *err)
{
    const char *const text = check->amz_date ? check->amz_date : check->date;
    AUTO(buf) shown = { 0 };

    if (clock_parse_compact(text, &check->signed_ms) ||
        (!check->amz_date && clock_parse_imf_fixdate(text, &check->signed_ms))) {
        check->timestamp = clock_compact(check->signed_ms);
        return 0;
    }
    sigv4_echo(&shown, span_text(text), 64);
    if (buf_check(&shown, err) < 0)
        return -1;
    return kms_fail(err, KMS_ERR_INCOMPLETE_SIGNATURE,
                    "Date must be in ISO-8601 'basic format'. Got '%.*s'.", (int)shown.len,
                    shown.len ? (const char *)shown.ptr : "");
}

struct skew_text {
    char text[32];
};

static struct skew_text format_skew(int64_t skew_s)
{
    struct skew_text made;
    const bool whole = skew_s % 60 == 0;

    (void)snprintf(made.text, sizeof(made.text), "%" PRId64 " %s.", whole ? skew_s / 60 : skew_s,
                   whole ? "min" : "sec");
    return made;
}

static int check_window(struct check *check, struct kms_error *err)
{
    const int64_t now_ms = check->now_ms / MS_PER_SECOND * MS_PER_SECOND;
    const int64_t skew_ms = check->policy->skew_s * MS_PER_SECOND;
    const struct skew_text skew = format_skew(check->policy->skew_s);

    if (check->signed_ms < now_ms - skew_ms)
        return kms_fail(err, KMS_ERR_INVALID_SIGNATURE,
                        "Signature expired: %s is now earlier than %s (%s - %s)",
                        check->timestamp.text, clock_compact(now_ms - skew_ms).text,
                        clock_compact(now_ms).text, skew.text);
    if (check->signed_ms > now_ms + skew_ms)
        return kms_fail(err, KMS_ERR_INVALID_SIGNATURE,
                        "Signature not yet current: %s is still later than %s (%s + %s)",
                        check->timestamp.text, clock_compact(now_ms + skew_ms).text,
                        clock_compact(now_ms).text, skew.text);
    return 0;
}

/* For what */

static int check_credential(struct check *check, struct kms_error *err)
{
    return sigv4_parse_credential(check->auth.credential, &check->scope, err);
}

static bool is_listed(struct span word, const char *list)
{
    struct span rest = span_text(list), each;

    while (sigv4_split(&rest, ' ', &each))
        if (each.len && span_equal(word, each))
            return true;
    return false;
}

/* Begins the text of one wrong part of a scope, a blank after the one before. */
static void begin_text(struct buf *text, const char *begin, struct span got)
{
    if (text->len)
        buf_text(text, " ");
    buf_text(text, begin);
    sigv4_echo(text, got, 64);
}

/* All that is wrong with a scope is said at once. */
static void scope_text(const struct check *check, struct buf *ret)
{
    const struct sigv4_scope *const scope = &check->scope;

    if (!is_listed(scope->region, check->policy->regions)) {
        begin_text(ret, "Credential should be scoped to a valid region, not '", scope->region);
        buf_text(ret, "'.");
    }
    if (!span_equal(scope->service, span_text(check->policy->service))) {
        begin_text(ret, "Credential should be scoped to correct service: '",
                   span_text(check->policy->service));
        buf_text(ret, "'.");
    }
    if (!span_equal(scope->terminator, SPAN_LITERAL(SIGV4_TERMINATOR))) {
        begin_text(ret,
                   "Credential should be scoped with a valid terminator: '" SIGV4_TERMINATOR
                   "', not '",
                   scope->terminator);
        buf_text(ret, "'.");
    }
    if (!span_equal(scope->date, span_of(check->timestamp.text, DATE_LEN))) {
        begin_text(ret,
                   "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                   "date from HTTP: '",
                   scope->date);
        buf_printf(ret, "' != '%.*s', from '%s'.", DATE_LEN, check->timestamp.text,
                   check->timestamp.text);
    }
}

static int check_scope(struct check *check, struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    scope_text(check, &text);
    if (buf_check(&text, err) < 0)
        return -1;
    if (text.len == 0)
        return 0;
    return kms_fail(err, KMS_ERR_INVALID_SIGNATURE, "%.*s", (int)text.len, (const char *)text.ptr);
}

/* Who */

static int fail_unrecognized(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT,
                    "The security token included in the request is invalid.");
}

/* At most 128 letters, digits and underscores. Source: AWS IAM API Reference, AccessKey. */
static bool is_access_key_id(struct span id)
{
    for (size_t i = 0; i < id.len; i++) {
        const uint8_t c = id.ptr[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '_'))
            return false;
    }
    return id.len > 0 && id.len <= 128;
}

static int find_key(struct check *check, struct secret *ret_key, struct kms_error *err)
{
    const struct sigv4_policy *const policy = check->policy;
    const struct credential_claim claim = {
        .scope = { check->scope.access_key_id, check->scope.date, check->scope.region,
                   check->scope.service },
        .session_token = check->token ? span_text(check->token) : (struct span){ 0 },
        .now_ms = check->now_ms,
    };

    if (!is_access_key_id(claim.scope.access_key_id))
        return fail_unrecognized(err);
    return policy->signing_key(policy->ctx, &claim, ret_key, &check->principal, err);
}

/* The signature */

static void write_to_sha256(void *arg, struct span bytes)
{
    sha256_update(arg, bytes);
}

static void write_to_buf(void *arg, struct span bytes)
{
    buf_append(arg, bytes);
}

struct payload {
    char hex[SHA256_HEX_LEN + 1];
};

/* The body that arrived counts, whatever x-amz-content-sha256 says. */
static int hash_payload(const struct http_request *request, struct payload *ret,
                        struct kms_error *err)
{
    uint8_t hash[SHA256_LEN];

    if (sha256_of(request->body, hash, err) < 0)
        return -1;
    hex_format(ret->hex, SPAN_ARRAY(hash));
    return 0;
}

static int hash_canonical(const struct check *check, const struct payload *payload,
                          uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    AUTO(sha256) sha = { 0 };
    const struct sigv4_sink sink = { write_to_sha256, &sha };

    if (sha256_init(&sha, err) < 0)
        return -1;
    sigv4_canonical_write(check->policy, check->request, check->auth.signed_headers, payload->hex,
                          &sink);
    return sha256_final(&sha, ret, err);
}

static int sign(const struct check *check, struct span key, const struct payload *payload,
                uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    uint8_t canonical[SHA256_LEN];
    AUTO(buf) text = { 0 };

    if (hash_canonical(check, payload, canonical, err) < 0)
        return -1;
    buf_printf(&text, SIGV4_ALGORITHM "\n%s\n", check->timestamp.text);
    buf_append(&text, check->scope.date);
    buf_text(&text, "/");
    buf_append(&text, check->scope.region);
    buf_text(&text, "/");
    buf_append(&text, check->scope.service);
    buf_text(&text, "/" SIGV4_TERMINATOR "\n");
    hex_append(&text, SPAN_ARRAY(canonical));
    if (buf_check(&text, err) < 0)
        return -1;
    return hmac_sha256(key, buf_span(&text), ret, err);
}

/* A declared payload hash that is not that of the body is refused even where it was signed. */
static bool payload_is_declared(const struct check *check, const struct payload *payload)
{
    const char *const declared = find_header(check->request, "x-amz-content-sha256");

    return declared == NULL || strcmp(declared, payload->hex) == 0;
}

static int check_signature(struct check *check, struct kms_error *err)
{
    static const uint8_t nobodys_key[SHA256_LEN];
    AUTO(secret) key = { 0 };
    uint8_t expected[SHA256_LEN] = { 0 }, sent[SHA256_LEN] = { 0 };
    struct payload payload;
    struct kms_error failure = { 0 };

    const bool known = find_key(check, &key, err) == 0;
    if (!known && err->code != KMS_ERR_UNRECOGNIZED_CLIENT)
        return -1;

    /* a key that is not known costs the same work, so that an answer's time says nothing */
    if (hash_payload(check->request, &payload, &failure) < 0 ||
        sign(check, known ? secret_span(&key) : SPAN_ARRAY(nobodys_key), &payload, expected,
             &failure) < 0) {
        *err = failure;
        return -1;
    }
    const bool digits = hex_parse(check->auth.signature, sent, sizeof(sent));
    const bool equal = equal_ct(SPAN_ARRAY(sent), SPAN_ARRAY(expected));
    if (!known)
        return -1;
    if (!digits || !equal || !payload_is_declared(check, &payload))
        return kms_fail(err, KMS_ERR_INVALID_SIGNATURE,
                        "The request signature we calculated does not match the signature you "
                        "provided. Check your AWS Secret Access Key and signing method. Consult "
                        "the service documentation for details.");
    return 0;
}

/* All of it */

typedef int check_step(struct check *check, struct kms_error *err);

/* In this order: a stale date is told before an unknown key, a wrong region before a wrong
 * signature, an expired token before a wrong secret. */
static check_step *const steps[] = {
    check_target, check_single,     check_location, check_form,  check_mandatory, check_date,
    check_window, check_credential, check_scope,    check_signature,
};

/* Where the caller asks. The name is one of the policy's list. */
static void note_region(struct check *check)
{
    struct principal *const principal = &check->principal;
    const struct span region = check->scope.region;

    if (region.len < sizeof(principal->region))
        memcpy(principal->region, region.ptr, region.len); /* the rest of it is zero */
}

int sigv4_verify(const struct sigv4_policy *policy, const struct http_request *request,
                 int64_t now_ms, struct principal *ret, struct kms_error *err)
{
    struct check check = { .policy = policy, .request = request, .now_ms = now_ms };

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        if (steps[i](&check, err) < 0) {
            principal_done(&check.principal);
            return -1;
        }
    }
    note_region(&check);
    *ret = check.principal; /* with its references */
    return 0;
}

int sigv4_canonical_request(const struct sigv4_policy *policy, const struct http_request *request,
                            struct buf *ret, struct kms_error *err)
{
    static check_step *const until_form[] = { check_target, check_single, check_location,
                                              check_form };
    struct check check = { .policy = policy, .request = request };
    struct payload payload;

    for (size_t i = 0; i < ARRAY_LEN(until_form); i++)
        if (until_form[i](&check, err) < 0)
            return -1;
    if (hash_payload(request, &payload, err) < 0)
        return -1;
    sigv4_canonical_write(policy, request, check.auth.signed_headers, payload.hex,
                          &(struct sigv4_sink){ write_to_buf, ret });
    return buf_check(ret, err);
}
