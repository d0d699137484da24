#pragma once

/*
 * What sigv4.c is put together from: the grammar of the Authorization header (sigv4_parse.c) and
 * the canonical request (sigv4_canonical.c). Pure functions; nothing is kept and nothing grows
 * with the request. Included by sigv4*.c alone.
 */

#include "hsmkms/http/sigv4.h"

#define SIGV4_ALGORITHM   "AWS4-HMAC-SHA256"
#define SIGV4_TERMINATOR  "aws4_request"
#define SIGV4_TARGET_MAX  8192 /* bytes of a request target */
#define SIGV4_HEADERS_MAX 64   /* names in SignedHeaders */
#define SIGV4_PARAMS_MAX  64   /* parameters in the query */

/* Takes the piece before the next separator; false when the last was taken (rest->ptr is NULL). */
bool sigv4_split(struct span *rest, char separator, struct span *ret);

/* ASCII only; name in lower case. */
bool sigv4_name_equal(struct span name, const char *other);

/* Appends client bytes to an error text: printable ASCII, others as '?', cut after most. */
void sigv4_echo(struct buf *ret, struct span bytes, size_t most);

/* The Authorization header in its parts, as sent. */
struct sigv4_auth {
    struct span credential, signed_headers, signature;
};

/*
 * dated    whether the request has a date header: AWS lists its lack among the missing parts
 * Errors:  INCOMPLETE_SIGNATURE
 */
CHECKED int sigv4_parse_authorization(const char *value, bool dated, struct sigv4_auth *ret,
                                      struct kms_error *err);

/* A credential: five parts between slashes. */
struct sigv4_scope {
    struct span access_key_id, date, region, service, terminator;
};

/* Errors: INCOMPLETE_SIGNATURE. */
CHECKED int sigv4_parse_credential(struct span credential, struct sigv4_scope *ret,
                                   struct kms_error *err);

/* A sorted list of different lower-case names, or empty. Errors: INCOMPLETE_SIGNATURE. */
CHECKED int sigv4_check_signed_headers(struct span list, struct kms_error *err);
bool sigv4_is_signed(struct span list, const char *name);

/*
 * The target can be written in canonical form: absolute path, whole %XX, not above the root, within
 * the limits. Errors: VALIDATION without a text.
 */
CHECKED int sigv4_check_target(const struct sigv4_policy *policy, const char *target,
                               struct kms_error *err);

/* Where the canonical request goes, piece by piece. */
struct sigv4_sink {
    void (*write)(void *arg, struct span bytes);
    void *arg;
};

/*
 * Writes the canonical request of a target and a header list that passed the checks above.
 *
 * payload_hex  SHA-256 of the body that arrived
 */
void sigv4_canonical_write(const struct sigv4_policy *policy, const struct http_request *request,
                           struct span signed_headers, const char *payload_hex,
                           const struct sigv4_sink *sink);
