#pragma once

/*
 * May this principal do this? The one place where layers of policy and grants of a real request
 * are put together for decide(), and where a refusal gets AWS's words.
 *
 * Source: AWS KMS Developer Guide, Key access and permissions; Troubleshooting key access.
 */

#include "hsmkms/iam/grant.h"
#include "hsmkms/iam/key_policy.h"

#define AUTHORIZED_BY_MAX 192

struct authorization {
    const struct principal *caller;
    int action;            /* row of actions[] */
    const char *resource;  /* ARN the decision is about, or "*" */
    const char *account;   /* account that owns the resource; "" where there is none */
    const struct uuid *key_id;     /* its key policy and grants decide; NULL: no key */
    const struct policy *policy;   /* of the resource, in place of the key's own: one still to be
                                      written, a role's trust policy; NULL: none, or the key's */
    const char *policy_name;       /* of it, in explanations */
    const struct policy_context *context;
    bool grants_apply;     /* false: the lockout check */
    enum strength (*ask_grant)(void *ctx); /* NULL, or in place of a search among all grants */
    void *grant_ctx;
    bool foreign_hidden;   /* the key was found through a ciphertext: AWS's words for that */
    policy_warning_fn *trace; /* NULL, or told what was looked at */
    void *trace_arg;
};

/* How it was decided, for the audit trail and for explanations. */
struct authorized {
    struct decision decision;
    char by[AUTHORIZED_BY_MAX]; /* "key policy, statement 1 (Sid)", "grant ID"; "" for nothing */
};

/* Errors: ACCESS_DENIED with AWS's text; ret (may be NULL) is filled then as well. */
CHECKED int authorize(struct iam *iam, const struct authorization *request, struct authorized *ret,
                      struct kms_error *err);

/* The facts about the caller that every request has: arn, account, tags, times, session. */
struct caller_facts {
    struct condition_pair tags[IDENTITY_TAGS_MAX * 2];
};
void authorize_caller_context(const struct principal *caller, int64_t now_ms,
                              struct caller_facts *room, struct policy_context *ret);
