#pragma once

/*
 * Field tables: a JSON object becomes a request struct. One row per member of a request says its
 * name, whether it is needed, what it is and where it goes, its bounds, and whether it is written
 * to the audit trail. Knows no operation.
 *
 * Texts, context pairs and tags are borrowed from the JSON object, which outlives the request;
 * what was decoded from base64 and lists belongs to the request: fields_release().
 *
 * A JSON null is an absent member; unknown members are ignored.
 *
 * Source: AWS KMS API Reference, request parameters; smithy.io, AWS JSON 1.1 protocol.
 */

#include <jansson.h>

#include "hsmkms/api/patterns.h"
#include "hsmkms/base/secret.h"
#include "hsmkms/iam/context.h"
#include "hsmkms/keys/context.h"
#include "hsmkms/store/schema.h"

enum field_kind {
    FIELD_STRING,   /* const char *; NULL when absent; no NUL inside */
    FIELD_ENUM,     /* const char *; one of the row's texts, or NULL */
    FIELD_INT,      /* int64_t; 0 when absent, so min is 1 or more */
    FIELD_BOOL,     /* bool; false when absent */
    FIELD_SECRET,   /* base64 -> struct secret */
    FIELD_BLOB,     /* base64 -> struct buf; a NULL ptr when absent */
    FIELD_CONTEXT,  /* struct request_context */
    FIELD_STRINGS,  /* struct string_list; of the row's texts when it has some */
    FIELD_TAGS,     /* struct tag_list */
    FIELD_PRESENCE, /* bool; an object is there, whatever is in it */
    FIELD_CONSTRAINTS, /* struct request_constraints; of a grant */
    FIELD_TIME,     /* int64_t; seconds on the wire -> milliseconds; 0 when absent */
    FIELD_KINDS
};

enum field_need {
    OPTIONAL,
    REQUIRED,
    PRESET, /* ENUM: the first text when absent */
};

enum field_log {
    UNLOGGED,
    LOGGED, /* in requestParameters when given */
    FILLED, /* in requestParameters also when absent: "", false or the first text */
};

struct request_context {
    struct context pairs;
    struct buf canonical; /* also of an absent or empty map */
};

struct string_list {
    const char **items;
    size_t count;
};

struct tag_list {
    struct tag_record *items; /* texts borrowed: never record_done() one */
    size_t count;
};

struct request_constraints {
    struct context subset, equals;
    bool has_subset, has_equals, has_source_arn;
};

struct field {
    const char *name; /* NULL ends the table */
    enum field_need need;
    enum field_kind kind;
    size_t offset;   /* of the member in the request */
    size_t min, max; /* characters, value, decoded bytes, canonical bytes, or list elements */
    enum field_log log;
    const struct pattern *pattern;
    const char *const *texts; /* NULL-terminated; of TAGS: what key and value are called, NULL:
                                 TagKey and TagValue */
    size_t item_max;          /* characters of each element of STRINGS, at least 1 each; of each
                                 value of CONSTRAINTS */
    enum context_slot slot;   /* condition key that carries it; 0: none */
    const char *preset;       /* what that key says when the member is absent; NULL: it is missing */
    bool sensitive;           /* of STRING: its value is shown in no message */
    bool other_key;           /* belongs to the second key of the operation */
};

/* Kind and place of a member; a member of another type does not compile. */
#define AT_STRING(S, m)   FIELD_STRING, OFFSET_OF_TYPE(S, m, const char *)
#define AT_ENUM(S, m)     FIELD_ENUM, OFFSET_OF_TYPE(S, m, const char *)
#define AT_INT(S, m)      FIELD_INT, OFFSET_OF_TYPE(S, m, int64_t)
#define AT_BOOL(S, m)     FIELD_BOOL, OFFSET_OF_TYPE(S, m, bool)
#define AT_SECRET(S, m)   FIELD_SECRET, OFFSET_OF_TYPE(S, m, struct secret)
#define AT_BLOB(S, m)     FIELD_BLOB, OFFSET_OF_TYPE(S, m, struct buf)
#define AT_CONTEXT(S, m)  FIELD_CONTEXT, OFFSET_OF_TYPE(S, m, struct request_context)
#define AT_STRINGS(S, m)  FIELD_STRINGS, OFFSET_OF_TYPE(S, m, struct string_list)
#define AT_TAGS(S, m)     FIELD_TAGS, OFFSET_OF_TYPE(S, m, struct tag_list)
#define AT_PRESENCE(S, m) FIELD_PRESENCE, OFFSET_OF_TYPE(S, m, bool)
#define AT_CONSTRAINTS(S, m) FIELD_CONSTRAINTS, OFFSET_OF_TYPE(S, m, struct request_constraints)
#define AT_TIME(S, m)     FIELD_TIME, OFFSET_OF_TYPE(S, m, int64_t)
#define AT(op, kind, m)   AT_##kind(struct op##_request, m)

/*
 * Fills a zeroed request. Release it whatever happened.
 *
 * Errors:  SERIALIZATION (not an object, a member of another type, base64 that is not canonical);
 *          VALIDATION (all broken constraints in one message; an encryption context too large)
 */
CHECKED int fields_decode(const struct field *fields, const json_t *object, void *request,
                          struct kms_error *err);
void fields_release(const struct field *fields, void *request);

/*
 * requestParameters of the audit trail: a new object that shares the request's values, or NULL
 * when no member is to be written.
 */
json_t *fields_logged(const struct field *fields, json_t *object);

/* "KeyId" -> "keyId". */
struct field_path {
    char text[96];
};
struct field_path field_path(const char *name);

/* A copy with the member names of all objects in the lowerCamel of audit records; NULL: memory. */
json_t *json_lower_camel(const json_t *value);
