#pragma once

/* A signing client for tests: requests made by hand, signed with a known secret, verified by
 * http/sigv4.c through the callbacks of client_policy(). */

#include "hsmkms/http/sigv4.h"

#define CLIENT_KEY_ID      "AKIAHSMKMSTEST000001"
#define CLIENT_SECRET      "k3yForTests/NotASecret+hsmkms0123456789AB"
#define CLIENT_TOKEN       "dG9rZW4/+=="
#define CLIENT_HEADERS_MAX 96

/* What a signature is made with. */
struct client {
    const char *key_id, *secret, *date, *region, *service;
    const char *token; /* the one that is authentic, NULL: none is */
    bool token_expired;
    unsigned lookups; /* calls of signing_key so far */
};

struct client_request {
    struct http_request http;
    struct http_header headers[CLIENT_HEADERS_MAX];
    char authorization[4096];
};

/* Policy that answers for this client alone; regions and service are the client's. */
struct sigv4_policy client_policy(struct client *client);

/* An empty POST to "/". */
void client_begin(struct client_request *request);

/* Texts are borrowed. */
void client_header(struct client_request *request, const char *name, const char *value);
void client_drop(struct client_request *request, const char *name);

/* Appends the Authorization header with this signature, 64 hex digits or whatever a test wants. */
void client_authorize(const struct client *client, struct client_request *request,
                      const char *signed_headers, const char *signature);

/* The right signature for a request that has an Authorization header; false when it has no
 * canonical form or timestamp is not that of the request. */
bool client_signature(const struct client *client, const struct sigv4_policy *policy,
                      const struct client_request *request, const char *timestamp, char ret[65]);

/* client_authorize with the right signature. */
bool client_sign(const struct client *client, const struct sigv4_policy *policy,
                 struct client_request *request, const char *timestamp, const char *signed_headers);

/* The four-step derivation. Source: AWS IAM User Guide, Derive a signing key for SigV4. */
CHECKED int client_signing_key(const struct client *client, const struct signing_scope *scope,
                               uint8_t ret[SHA256_LEN], struct kms_error *err);

/*
 * Reads a request written as text, the way public test suites write them: "METHOD target HTTP/1.1",
 * lines of "Name:value", continued by lines that begin with a blank, an empty line, the body. Line
 * feeds only, blanks in the target are part of it. Strings and body stay in text, which is changed.
 *
 * text     len bytes and a NUL behind them
 * Returns false when the first line is none or there are too many headers.
 */
bool client_parse(struct client_request *ret, char *text, size_t len);
