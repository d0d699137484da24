#include "tests/support/sigv4_client.h"

#include <stdio.h>
#include <strings.h>

#include "hsmkms/base/encode.h"

int client_signing_key(const struct client *client, const struct signing_scope *scope,
                       uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    const struct span steps[] = { scope->date, scope->region, scope->service,
                                  SPAN_LITERAL("aws4_request") };
    uint8_t key[SHA256_LEN];
    AUTO(buf) first = { 0 };

    buf_text(&first, "AWS4");
    buf_text(&first, client->secret);
    struct span with = buf_span(&first);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        uint8_t next[SHA256_LEN];
        if (hmac_sha256(with, steps[i], next, err) < 0)
            return -1;
        memcpy(key, next, sizeof(key));
        with = SPAN_ARRAY(key);
    }
    memcpy(ret, key, sizeof(key));
    return 0;
}

static int unrecognized(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT,
                    "The security token included in the request is invalid.");
}

static int check_token(const struct client *client, struct span token, struct kms_error *err)
{
    if (token.len == 0 && client->token == NULL)
        return 0;
    if (client->token == NULL || (token.len && !span_equal(token, span_text(client->token))))
        return unrecognized(err);
    if (token.len && client->token_expired)
        return kms_fail(err, KMS_ERR_EXPIRED_TOKEN,
                        "The security token included in the request is expired");
    return 0;
}

static int find_key(void *ctx, const struct credential_claim *claim, struct secret *ret_key,
                    struct principal *ret_principal, struct kms_error *err)
{
    struct client *const client = ctx;

    client->lookups++;
    if (check_token(client, claim->session_token, err) < 0)
        return -1;
    if (!span_equal(claim->scope.access_key_id, span_text(client->key_id)))
        return unrecognized(err);
    if (secret_new(ret_key, SHA256_LEN, err) < 0 ||
        client_signing_key(client, &claim->scope, ret_key->ptr, err) < 0)
        return -1;
    *ret_principal =
        (struct principal){ .kind = PRINCIPAL_USER, .arn = "arn:aws:iam::111122223333:user/client" };
    (void)snprintf(ret_principal->access_key_id, sizeof(ret_principal->access_key_id), "%s",
                   client->key_id);
    return 0;
}

struct sigv4_policy client_policy(struct client *client)
{
    return (struct sigv4_policy){ .service = client->service,
                                  .regions = client->region,
                                  .skew_s = 300,
                                  .target_must_be_signed = true,
                                  .token_must_be_signed = true,
                                  .normalize_path = true,
                                  .signing_key = find_key,
                                  .ctx = client };
}

void client_begin(struct client_request *request)
{
    *request = (struct client_request){ .http = { .method = "POST",
                                                  .target = "/",
                                                  .headers = request->headers,
                                                  .body = SPAN_LITERAL(""),
                                                  .peer = "127.0.0.1",
                                                  .tls_version = "",
                                                  .tls_cipher = "" } };
}

void client_header(struct client_request *request, const char *name, const char *value)
{
    if (request->http.header_count < CLIENT_HEADERS_MAX)
        request->headers[request->http.header_count++] = (struct http_header){ name, value };
}

void client_drop(struct client_request *request, const char *name)
{
    size_t kept = 0;

    for (size_t i = 0; i < request->http.header_count; i++)
        if (strcasecmp(request->headers[i].name, name) != 0)
            request->headers[kept++] = request->headers[i];
    request->http.header_count = kept;
}

void client_authorize(const struct client *client, struct client_request *request,
                      const char *signed_headers, const char *signature)
{
    client_drop(request, "authorization");
    (void)snprintf(request->authorization, sizeof(request->authorization),
                   "AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, "
                   "Signature=%s",
                   client->key_id, client->date, client->region, client->service, signed_headers,
                   signature);
    client_header(request, "Authorization", request->authorization);
}

bool client_signature(const struct client *client, const struct sigv4_policy *policy,
                      const struct client_request *request, const char *timestamp, char ret[65])
{
    const struct signing_scope scope = { .date = span_text(client->date),
                                         .region = span_text(client->region),
                                         .service = span_text(client->service) };
    uint8_t hash[SHA256_LEN], key[SHA256_LEN], signature[SHA256_LEN];
    struct kms_error err = { 0 };
    AUTO(buf) canonical = { 0 };
    AUTO(buf) text = { 0 };

    if (sigv4_canonical_request(policy, &request->http, &canonical, &err) < 0 ||
        sha256_of(buf_span(&canonical), hash, &err) < 0)
        return false;
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n", timestamp, client->date,
               client->region, client->service);
    hex_append(&text, SPAN_ARRAY(hash));
    if (buf_check(&text, &err) < 0 || client_signing_key(client, &scope, key, &err) < 0 ||
        hmac_sha256(SPAN_ARRAY(key), buf_span(&text), signature, &err) < 0)
        return false;
    hex_format(ret, SPAN_ARRAY(signature));
    return true;
}

bool client_sign(const struct client *client, const struct sigv4_policy *policy,
                 struct client_request *request, const char *timestamp, const char *signed_headers)
{
    char signature[65];

    client_authorize(client, request, signed_headers, "");
    if (!client_signature(client, policy, request, timestamp, signature))
        return false;
    client_authorize(client, request, signed_headers, signature);
    return true;
}

/* Cuts off the next line; false at the end of the text. */
static bool next_line(char **rest, char *end, char **ret)
{
    if (*rest >= end)
        return false;
    char *const line_end = memchr(*rest, '\n', (size_t)(end - *rest));
    *ret = *rest;
    *rest = line_end ? line_end + 1 : end;
    *(line_end ? line_end : end) = '\0';
    return true;
}

static bool parse_first_line(struct client_request *ret, char *line)
{
    char *const target = strchr(line, ' ');

    if (target == NULL)
        return false;
    *target = '\0';
    char *const version = strstr(target + 1, " HTTP/1.1");
    if (version)
        *version = '\0';
    ret->http.method = line;
    ret->http.target = target + 1;
    return true;
}

/* Moves a continued line behind the value it continues, a blank between them. */
static void join_line(const char *value, const char *line)
{
    char *const end = (char *)(uintptr_t)value + strlen(value); /* it lies in text */

    *end = ' ';
    memmove(end + 1, line, strlen(line) + 1);
}

static bool parse_header(struct client_request *ret, char *line)
{
    const size_t count = ret->http.header_count;

    if ((line[0] == ' ' || line[0] == '\t') && count) {
        join_line(ret->headers[count - 1].value, line + strspn(line, " \t"));
        return true;
    }
    char *const colon = strchr(line, ':');
    if (colon == NULL || count == CLIENT_HEADERS_MAX)
        return false;
    *colon = '\0';
    client_header(ret, line, colon + 1 + strspn(colon + 1, " \t"));
    return true;
}

bool client_parse(struct client_request *ret, char *text, size_t len)
{
    char *rest = text, *const end = text + len, *line;

    client_begin(ret);
    if (!next_line(&rest, end, &line) || !parse_first_line(ret, line))
        return false;
    while (next_line(&rest, end, &line) && line[0])
        if (!parse_header(ret, line))
            return false;
    ret->http.body = span_of(rest, (size_t)(end - rest));
    return true;
}
