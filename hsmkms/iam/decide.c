#include "hsmkms/iam/decide.h"

#include <assert.h>

const char *const decision_layer_names[LAYER_COUNT] = {
    [LAYER_RESOURCE] = "resource-based policy",
    [LAYER_IDENTITY] = "identity-based policy",
    [LAYER_BOUNDARY] = "permissions boundary",
    [LAYER_SESSION] = "session policy",
    [LAYER_GRANT] = "grant",
};

/* The policies of one layer. One that could not be loaded (NULL) allows nothing. */
struct layer {
    const struct named_policy *policies;
    size_t count;
};

static struct layer layer_of(const struct decision_request *request, enum decision_layer layer)
{
    switch (layer) {
    case LAYER_RESOURCE:
        return (struct layer){ &request->resource, request->resource.policy != NULL };
    case LAYER_IDENTITY:
        return (struct layer){ request->identity, request->identity_count };
    case LAYER_BOUNDARY:
        return (struct layer){ request->boundary, request->boundary != NULL };
    case LAYER_SESSION:
        return (struct layer){ request->session, request->session_count };
    default:
        return (struct layer){ NULL, 0 };
    }
}

/* What an Allow pass over a layer found. */
struct finding {
    enum strength strength;
    const char *policy; /* name of the policy that allows */
    int statement;
    const char *sid;
};

static void announce(const struct policy_question *question, const struct named_policy *named,
                     const char *what)
{
    if (question->trace)
        question->trace(question->trace_arg, named->name ? named->name : "", what);
}

static void note_answer(const struct named_policy *named, const struct policy_answer *answer,
                        struct decision *ret)
{
    ret->policy = named->name;
    ret->statement = answer->statement;
    ret->sid = answer->sid;
}

/* Evaluation failed: a deny that no policy gave. */
static void note_broken(enum decision_layer layer, const struct named_policy *named,
                        const struct policy_answer *answer, struct decision *ret)
{
    ret->broken = true;
    ret->layer = layer;
    note_answer(named, answer, ret);
}

/* True when a Deny statement of the layer applies. */
static bool layer_denies(const struct decision_request *request, enum decision_layer which,
                         struct decision *ret)
{
    const struct layer layer = layer_of(request, which);
    struct policy_answer answer;

    for (size_t i = 0; i < layer.count; i++) {
        const struct named_policy *const named = &layer.policies[i];
        if (named->policy == NULL)
            continue;
        announce(&request->question, named, "asked for a Deny");
        policy_ask_deny(named->policy, &request->question, &answer);
        if (!answer.denied)
            continue;
        if (answer.broken) {
            note_broken(which, named, &answer, ret);
            return true;
        }
        ret->explicit_deny = true;
        ret->layer = which;
        note_answer(named, &answer, ret);
        return true;
    }
    return false;
}

static bool anything_denies(const struct decision_request *request, struct decision *ret)
{
    for (enum decision_layer layer = LAYER_RESOURCE; layer <= LAYER_SESSION; layer++)
        if (layer_denies(request, layer, ret))
            return true;
    return false;
}

/* The strongest Allow of a layer. */
static struct finding layer_allows(const struct decision_request *request,
                                   enum decision_layer which, struct decision *ret)
{
    const struct layer layer = layer_of(request, which);
    struct finding best = { .strength = STRENGTH_NONE, .statement = -1 };
    struct policy_answer answer;

    for (size_t i = 0; i < layer.count && best.strength < STRENGTH_DIRECT; i++) {
        const struct named_policy *const named = &layer.policies[i];
        if (named->policy == NULL)
            continue;
        announce(&request->question, named, "asked for an Allow");
        policy_ask_allow(named->policy, &request->question, &answer);
        if (answer.broken) {
            note_broken(which, named, &answer, ret);
            return (struct finding){ .strength = STRENGTH_NONE };
        }
        if (answer.allowed > best.strength)
            best = (struct finding){ answer.allowed, named->name, answer.statement, answer.sid };
    }
    return best;
}

static bool is_root(const struct decision_request *request)
{
    return request->question.caller->kind == PRINCIPAL_ROOT;
}

static bool is_same_account(const struct decision_request *request)
{
    return request->account[0] == '\0' ||
           strcmp(request->account, request->question.caller->account) == 0;
}

/* The layers that limit what a resource policy or a grant gives. */
enum limits { NO_LIMITS, BOUNDARY_AND_SESSION, IDENTITY_TOO };

/*
 * What must allow besides, by how strongly a resource policy or a grant names the caller.
 * Source: AWS IAM User Guide, Policy evaluation logic for requests within a single account and
 * Cross-account policy evaluation logic; AWS KMS Developer Guide, Grants in AWS KMS.
 */
/* clang-format off */
static const struct {
    enum limits own_account, other_account, grant;
} limits_of[] = {
    [STRENGTH_ACCOUNT] = { IDENTITY_TOO,         IDENTITY_TOO, IDENTITY_TOO },
    [STRENGTH_ROLE]    = { BOUNDARY_AND_SESSION, IDENTITY_TOO, BOUNDARY_AND_SESSION },
    [STRENGTH_DIRECT]  = { NO_LIMITS,            IDENTITY_TOO, NO_LIMITS },
};
/* clang-format on */

/* A layer that is not there limits nothing; the account's root has no policies of its own. */
static bool layer_lets_pass(const struct decision_request *request, enum decision_layer layer,
                            struct finding *ret_finding, struct decision *ret)
{
    const bool is_optional = layer != LAYER_IDENTITY;

    if (is_root(request) || (is_optional && layer_of(request, layer).count == 0))
        return true;
    *ret_finding = layer_allows(request, layer, ret);
    return ret_finding->strength != STRENGTH_NONE;
}

/*
 * Whether the caller's own policies let through what a route gives.
 *
 * ret_lacking  the first layer without an Allow
 * ret_identity what identity policies said, if they were asked
 */
static bool limits_allow(const struct decision_request *request, enum limits limits,
                         enum decision_layer *ret_lacking, struct finding *ret_identity,
                         struct decision *ret)
{
    struct finding unused;

    if (limits == NO_LIMITS)
        return true;
    *ret_lacking = LAYER_IDENTITY;
    if (limits == IDENTITY_TOO && !layer_lets_pass(request, LAYER_IDENTITY, ret_identity, ret))
        return false;
    *ret_lacking = LAYER_BOUNDARY;
    if (!layer_lets_pass(request, LAYER_BOUNDARY, &unused, ret))
        return false;
    *ret_lacking = LAYER_SESSION;
    return layer_lets_pass(request, LAYER_SESSION, &unused, ret);
}

static void allow(enum decision_layer layer, const struct finding *finding, struct decision *ret)
{
    ret->allowed = true;
    ret->layer = layer;
    ret->policy = finding ? finding->policy : NULL;
    ret->statement = finding ? finding->statement : -1;
    ret->sid = finding ? finding->sid : NULL;
}

/* A refusal names the first layer, in the order of the enum, that some route lacked. */
static void lack(enum decision_layer layer, struct decision *ret)
{
    if (!ret->broken && layer < ret->layer)
        ret->layer = layer;
}

/* The route by identity policies alone. */
static void decide_by_identity(const struct decision_request *request, struct decision *ret)
{
    struct finding identity = { .statement = -1 };
    enum decision_layer lacking;

    if (!is_same_account(request)) {
        lack(LAYER_RESOURCE, ret);
        return;
    }
    if (limits_allow(request, IDENTITY_TOO, &lacking, &identity, ret))
        allow(LAYER_IDENTITY, &identity, ret);
    else
        lack(lacking, ret);
}

static void decide_by_resource(const struct decision_request *request, struct decision *ret)
{
    struct finding identity = { .statement = -1 };
    const struct finding found = layer_allows(request, LAYER_RESOURCE, ret);
    enum decision_layer lacking;

    if (ret->broken || found.strength == STRENGTH_NONE)
        return;
    const enum limits limits = is_same_account(request) ? limits_of[found.strength].own_account
                                                        : limits_of[found.strength].other_account;
    if (!limits_allow(request, limits, &lacking, &identity, ret)) {
        lack(lacking, ret);
        return;
    }
    /* an account delegates: it was the identity policy that decided */
    if (found.strength == STRENGTH_ACCOUNT)
        allow(LAYER_IDENTITY, &identity, ret);
    else
        allow(LAYER_RESOURCE, &found, ret);
}

static void decide_by_grant(const struct decision_request *request, struct decision *ret)
{
    struct finding identity = { .statement = -1 };
    enum decision_layer lacking;

    if (request->grant == NULL || !actions[request->question.action].grantable)
        return;
    const enum strength strength = request->grant(request->grant_ctx);
    if (strength == STRENGTH_NONE)
        return;
    if (limits_allow(request, limits_of[strength].grant, &lacking, &identity, ret))
        allow(LAYER_GRANT, NULL, ret);
    else
        lack(lacking, ret);
}

/* A key policy is the root of trust: without its word, or a grant's, nothing counts. */
static void decide_on_key(const struct decision_request *request, struct decision *ret)
{
    if (!is_same_account(request) && !actions[request->question.action].cross_account)
        return;
    decide_by_resource(request, ret);
    if (!ret->allowed && !ret->broken)
        decide_by_grant(request, ret);
}

/* Like a key, without grants. Source: AWS STS API Reference, AssumeRole: not as the root user. */
static void decide_on_role(const struct decision_request *request, struct decision *ret)
{
    if (!is_root(request))
        decide_by_resource(request, ret);
}

/* RetireGrant: the grant's word, or that of the account that issued it. A key policy only denies.
 * Source: AWS KMS Developer Guide, Retiring and revoking grants. */
static void decide_on_grant(const struct decision_request *request, struct decision *ret)
{
    decide_by_grant(request, ret);
    if (!ret->allowed && !ret->broken)
        decide_by_identity(request, ret);
}

void decide(const struct decision_request *request, struct decision *ret)
{
    assert(request->question.action >= 0 && (size_t)request->question.action < action_count);
    const enum action_class class = actions[request->question.action].class;

    *ret = (struct decision){ .layer = LAYER_COUNT, .statement = -1 };
    if (anything_denies(request, ret))
        return;
    if (class == ACTION_BY_GRANT)
        decide_on_grant(request, ret);
    else if (class == ACTION_ON_ROLE)
        decide_on_role(request, ret);
    else if (class == ACTION_BY_IDENTITY || request->resource.policy == NULL)
        decide_by_identity(request, ret);
    else
        decide_on_key(request, ret);
    if (ret->layer == LAYER_COUNT)
        ret->layer = LAYER_RESOURCE; /* no route at all */
}
