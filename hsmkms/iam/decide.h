#pragma once

/*
 * The decision over all layers of policy, as pure straight-line code: explicit deny, then the key
 * policy, then delegation to the account's identity policies under boundary and session policies,
 * then grants.
 *
 * Source: AWS IAM User Guide, Policy evaluation logic; AWS KMS Developer Guide, Key access and
 * permissions.
 */

#include "hsmkms/iam/policy.h"

enum decision_layer {
    LAYER_RESOURCE,
    LAYER_IDENTITY,
    LAYER_BOUNDARY,
    LAYER_SESSION,
    LAYER_GRANT,
    LAYER_COUNT
};
extern const char *const decision_layer_names[LAYER_COUNT]; /* "resource-based policy" ... */

/* A policy under the name that explanations use. */
struct named_policy {
    const char *name;
    const struct policy *policy;
};

struct decision_request {
    struct policy_question question; /* caller, action, resource, context, trace */
    const char *account;             /* owner of the resource, for RetireGrant the account that
                                        issued the grant; "" where there is none */

    struct named_policy resource;        /* .policy NULL: the action is decided by identity alone */
    const struct named_policy *identity; /* of the caller */
    size_t identity_count;
    const struct named_policy *boundary; /* NULL: none */
    const struct named_policy *session;
    size_t session_count;                /* 0: none */

    /* How strongly a grant allows it; asked only where it matters. NULL: no grants. */
    enum strength (*grant)(void *ctx);
    void *grant_ctx;
};

struct decision {
    bool allowed;
    bool explicit_deny;
    bool broken;              /* evaluation failed and was taken for a deny: log it */
    enum decision_layer layer; /* that denied, that has no Allow, or that allowed */
    const char *policy;       /* name of the policy that decided; NULL: none did */
    int statement;            /* of it, from 0; -1: none */
    const char *sid;          /* of it, or NULL */
};

/* ret is complete in any case. */
void decide(const struct decision_request *request, struct decision *ret);
