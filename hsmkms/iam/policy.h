#pragma once

/*
 * A policy document: text in, compiled form out, questions answered. Pure: no I/O, no clock, no
 * principal store. A compiled policy is immutable and counted, so a request keeps the one it began
 * with while another replaces it.
 *
 * Source: AWS IAM User Guide, Grammar of the IAM JSON policy language, IAM JSON policy elements
 * reference.
 */

#include <stdatomic.h>

#include "hsmkms/base/error.h"
#include "hsmkms/iam/action.h"
#include "hsmkms/iam/context.h"
#include "hsmkms/iam/principal.h"

enum policy_kind {
    POLICY_IDENTITY, /* of a user or role, a boundary, a session policy: no principal */
    POLICY_KEY,      /* of a key: a principal; "*" is the key */
    POLICY_TRUST,    /* of a role: a principal, no resource */
    POLICY_KINDS
};

struct policy;

/*
 * Who a principal of a document is today, so that a user or role is pinned to its unique id and a
 * namesake made later is not meant. NULL in place of a book: principals are compared by ARN.
 */
enum principal_found {
    PRINCIPAL_UNKNOWN,  /* no such account, user or role: the document is refused */
    PRINCIPAL_PINNED,   /* ret_id says whom it means */
    PRINCIPAL_ACCEPTED, /* of a known foreign account: compared by ARN */
};
struct principal_book {
    /*
     * arn     of a user, role or assumed-role session; or an account's 12 digits
     * ret_id  of the user or role
     */
    enum principal_found (*find)(void *ctx, struct span arn, char ret_id[UNIQUE_ID_LEN + 1]);
    void *ctx;
};

#define POLICY_STATEMENTS_MAX 100
#define POLICY_PRINCIPALS_MAX 200 /* of a statement */
#define POLICY_ACTIONS_MAX    100 /* of a statement */
#define POLICY_CONDITIONS_MAX 50  /* of a statement */
#define POLICY_VALUES_MAX     100 /* of a condition */
#define POLICY_DEPTH_MAX      6   /* objects and arrays within each other */

/*
 * Checks a document completely and compiles it. Size limits are the caller's.
 *
 * ret      one reference, policy_unref()
 * Errors:  MALFORMED_POLICY: message as AWS words it (often empty), detail says what and where
 */
CHECKED int policy_compile(struct span text, enum policy_kind kind,
                           const struct principal_book *book, struct policy **ret,
                           struct kms_error *err);
struct policy *policy_ref(struct policy *policy);
void policy_unref(struct policy *policy); /* accepts NULL */

/*
 * Things that are legal and surely not meant: a statement that can never apply, an action that
 * does not exist. Calls each for every one; where is "Statement 2" or its Sid.
 */
typedef void policy_warning_fn(void *arg, const char *where, const char *what);
void policy_warnings(const struct policy *policy, policy_warning_fn *each, void *arg);

/* The users and roles that compilation pinned, each once. */
typedef void policy_pin_fn(void *arg, const char *arn, const char *id);
void policy_pins(const struct policy *policy, policy_pin_fn *each, void *arg);

/* How strongly a statement's principal element names the caller; each is more than the one before.
 * Identity policies name nobody and everybody: DIRECT. */
enum strength { STRENGTH_NONE, STRENGTH_ACCOUNT, STRENGTH_ROLE, STRENGTH_DIRECT };

/* What is asked of one policy. */
struct policy_question {
    const struct principal *caller;
    int action;                    /* row of actions[] */
    const char *resource;          /* ARN, or "*" where the action has none */
    const struct policy_context *context;
    policy_warning_fn *trace;      /* NULL, or told of each statement why it does not apply */
    void *trace_arg;
};

/* What a policy answers. */
struct policy_answer {
    bool denied;            /* a Deny statement applies */
    enum strength allowed;  /* strongest Allow statement that applies */
    int statement;          /* of the verdict, as in the document, from 0; -1: none */
    const char *sid;        /* of it; NULL: it has none; borrowed from the policy */
    bool broken;            /* the evaluation hit its limit of steps: denied */
};

/* Only Deny statements are looked at. */
void policy_ask_deny(const struct policy *policy, const struct policy_question *question,
                     struct policy_answer *ret);
/* Only Allow statements are looked at. */
void policy_ask_allow(const struct policy *policy, const struct policy_question *question,
                      struct policy_answer *ret);
