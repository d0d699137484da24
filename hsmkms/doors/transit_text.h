#pragma once

/*
 * The texts of the transit dialect: paths, key names, ciphertexts and contexts. Pure functions over
 * bytes of clients; knows no key and no operation.
 *
 * A gateway puts what its own users type into the path without encoding it, so a path is taken
 * only when it can be read in one way: no escapes, no dot segments, no empty segments.
 *
 * Source: HashiCorp Vault HTTP API, Transit secrets engine; RFC 3986 section 3.3.
 */

#include <jansson.h>

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

#define TRANSIT_SEGMENTS_MAX 8
#define TRANSIT_NAME_MAX     250 /* letters of a key's name; "alias/" and they are an alias */

/* A request target; its parts are borrowed. */
struct transit_path {
    struct span segments[TRANSIT_SEGMENTS_MAX]; /* behind "/v1", 1..TRANSIT_NAME_MAX bytes each */
    size_t count;                               /* 1 or more */
    struct span query;                          /* behind the question mark, or empty */
};

/* Errors: VALIDATION (repeats nothing of the target) */
CHECKED int transit_path_parse(struct span target, struct transit_path *ret, struct kms_error *err);

/* The value of name in a query of NAME=VALUE&...; false when it is not there. Nothing is decoded.
 */
CHECKED bool transit_query_find(struct span query, const char *name, struct span *ret);

/*
 * Letters, digits, '_', '-' and '.'; the first and the last is none of the latter two. An alias
 * cannot hold a dot and a name no slash, so each dot of a name is a slash of its alias.
 */
CHECKED bool transit_name_valid(struct span name);

/* What operations know a valid name by: a key id as it is, else an alias. */
struct transit_key_id {
    char text[TRANSIT_NAME_MAX + sizeof("alias/")];
    bool is_alias;
};
struct transit_key_id transit_key_id(struct span name);

/* The name of an alias ("alias/..."), with a NUL; false when it has none in this dialect. */
CHECKED bool transit_name_of_alias(const char *alias, char ret[TRANSIT_NAME_MAX + 1]);

/* "vault:v<N>:<base64>" */
struct transit_ciphertext {
    int64_t version;  /* 1 or more; "v0" is 1 */
    struct span blob; /* base64 text, borrowed */
};

/* Errors: VALIDATION, in the words of Vault */
CHECKED int transit_ciphertext_parse(struct span text, struct transit_ciphertext *ret,
                                     struct kms_error *err);

/*
 * A context as an encryption context. Base64 of a JSON object of strings stands for its pairs, so
 * that key policies can ask for them; anything else is one pair, TRANSIT_CONTEXT_NAME and the
 * base64 text. An empty object, and one with a name that begins as those below do, is anything
 * else too: two contexts that differ in more than the way JSON is written never make one
 * encryption context.
 *
 * text     canonical base64, 1 byte or more
 * ret      an object; its pairs are added
 * Errors:  VALIDATION (not base64); INTERNAL
 */
#define TRANSIT_RESERVED_PREFIX "transit:"
#define TRANSIT_CONTEXT_NAME    TRANSIT_RESERVED_PREFIX "context"
#define TRANSIT_DATA_NAME       TRANSIT_RESERVED_PREFIX "associated_data"
CHECKED int transit_context_add(struct span text, json_t *ret, struct kms_error *err);

/* Associated data as one more pair. Errors: VALIDATION (not base64); INTERNAL */
CHECKED int transit_data_add(struct span text, json_t *ret, struct kms_error *err);
