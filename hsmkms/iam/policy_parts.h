#pragma once

/*
 * What a policy is made of, for the files that parse, compile and evaluate it. Everything lies in
 * the policy's arena, the texts of the document included, each with a NUL behind it.
 */

#include "hsmkms/iam/arena.h"
#include "hsmkms/iam/arn.h"
#include "hsmkms/iam/condition.h"
#include "hsmkms/iam/policy.h"

/* -- as written: the document without its JSON -- */

struct text_list {
    const struct span *items;
    size_t count;
};

/* Action, Resource, or their Not... twin. */
struct element {
    bool present, negated;
    struct text_list texts;
};

enum principal_family {
    PRINCIPAL_AWS,
    PRINCIPAL_OF_SERVICE,
    PRINCIPAL_FEDERATED,
    PRINCIPAL_CANONICAL,
    PRINCIPAL_FAMILIES
};

struct principal_element {
    bool present;
    bool anyone;  /* the lone "*" */
    bool invalid; /* neither that nor an object of known members */
    struct text_list families[PRINCIPAL_FAMILIES];
};

struct statement_text {
    const char *sid; /* NULL: none, or empty */
    bool deny;
    bool not_principal;
    struct principal_element principal;
    struct element action, resource;
    const struct condition_text *conditions;
    size_t condition_count;
};

struct document {
    bool variables; /* Version 2012-10-17 */
    bool has_id;
    const struct statement_text *statements;
    size_t count;
};

/* Where in a document: statement from 0, -1 outside of all. */
struct place {
    int statement;
    const char *sid; /* or NULL */
};

/*
 * Reads JSON into a document: members, types, limits of policy.h. What the texts mean is not
 * looked at.
 *
 * Errors:  MALFORMED_POLICY, INTERNAL (out of memory)
 */
CHECKED int policy_parse(struct span text, struct arena *arena, struct document *ret,
                         struct kms_error *err);

/*
 * Fails with MALFORMED_POLICY, or INTERNAL when it was memory that lacked.
 *
 * message  for the client, AWS's words
 * format   for the operator; put in front: the place
 */
int policy_malformed(const struct arena *arena, struct place place, const char *message,
                     struct kms_error *err, const char *format, ...) PRINTF_LIKE(5, 6);

/* Fails with INTERNAL. */
int policy_out_of_memory(struct kms_error *err);

/* Text of a document for a message: short, in whole characters, without control characters. */
struct policy_quote {
    char text[72];
};
struct policy_quote policy_quote(struct span text);

#define PLACE_MAX 96
/* "Statement 2 (Sid)", counted from 1, or "Document". */
void place_format(struct place place, char ret[PLACE_MAX]);

/* -- compiled -- */

enum principal_kind_named {
    NAMES_ANYONE,
    NAMES_NOBODY, /* a service, a federation: nobody signs as one */
    NAMES_ACCOUNT,
    NAMES_USER,
    NAMES_ROLE,
    NAMES_SESSION,
    NAMES_USER_ID,
    NAMES_ROLE_ID,
};

struct named_principal {
    enum principal_kind_named kind;
    struct span text;            /* the account's digits, an ARN or an id */
    char pin[UNIQUE_ID_LEN + 1]; /* compared in place of a user's or role's ARN; "": none */
};

/* Resources of one statement. */
enum resource_kind {
    RESOURCE_NOTHING,  /* the statement names none: it never applies */
    RESOURCE_ANY,      /* "*" */
    RESOURCE_TEXTS,    /* key policies: the key's own ARN or one that is not meant here */
    RESOURCE_PATTERNS, /* identity policies */
};

/* ARN_FIELDS patterns; NULL: "*". */
struct resource_pattern {
    const struct policy_text *fields;
};

struct statement {
    int number; /* in the document, from 0 */
    const char *sid;
    bool deny;
    uint64_t actions;

    const struct named_principal *principals; /* NULL: of an identity policy */
    size_t principal_count;

    enum resource_kind resource;
    bool not_resource;
    const struct resource_pattern *resources; /* RESOURCE_PATTERNS */
    size_t resource_count;

    const struct condition *conditions;
    size_t condition_count;

    const struct statement_text *text;
};

struct policy {
    atomic_uint references;
    struct arena arena;
    enum policy_kind kind;
    const struct statement *statements; /* Deny first, else as in the document */
    size_t count;
    size_t deny_count;
    uint64_t deny_actions, allow_actions; /* that some statement names */
};

/* What compiling needs at hand. */
struct compiler {
    struct arena *arena;
    enum policy_kind kind;
    bool variables;
    const struct principal_book *book;
    struct place place;
    struct kms_error *err;
};

/* Errors: MALFORMED_POLICY with AWS's texts about principals, INTERNAL. */
CHECKED int principals_compile(const struct compiler *compiler,
                               const struct principal_element *element, struct statement *ret);

/* How strongly a statement names the caller. */
enum strength principals_strength(const struct statement *statement,
                                  const struct principal *caller);
