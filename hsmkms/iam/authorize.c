#include "hsmkms/iam/authorize.h"

#include <stdio.h>

#include "hsmkms/iam/session.h"

/* What a decision is made of, for as long as it takes. */
struct asking {
    struct iam *iam;
    const struct authorization *request;
    struct policy *key_policy; /* a reference */
    struct grant *grant;       /* a reference to the one that allowed it */
};

static void asking_done(struct asking *asking)
{
    policy_unref(asking->key_policy);
    grant_unref(asking->grant);
}

static enum strength ask_grants(void *ctx)
{
    struct asking *const asking = ctx;
    const struct authorization *const request = asking->request;
    const struct policy_context *const context = request->context;

    return grant_strength(asking->iam, request->key_id, request->caller, request->action,
                          context->families[FAMILY_ENCRYPTION_CONTEXT].pairs,
                          context->families[FAMILY_ENCRYPTION_CONTEXT].count, &asking->grant);
}

static struct decision_request layers_of(struct asking *asking)
{
    const struct authorization *const request = asking->request;
    const struct identity *const identity = request->caller->identity;
    const struct session *const session = request->caller->session;
    struct decision_request made = {
        .question = { .caller = request->caller,
                      .action = request->action,
                      .resource = request->resource,
                      .context = request->context,
                      .trace = request->trace,
                      .trace_arg = request->trace_arg },
        .account = request->account,
    };

    if (request->policy)
        made.resource = (struct named_policy){ request->policy_name, request->policy };
    else if (request->key_id)
        made.resource = (struct named_policy){ "key policy", asking->key_policy };
    if (identity) {
        made.identity = identity->policies;
        made.identity_count = identity->policy_count;
        made.boundary = identity->boundary;
    }
    if (session) {
        made.session = session->policies;
        made.session_count = session->policy_count;
    }
    if (request->ask_grant) {
        made.grant = request->ask_grant;
        made.grant_ctx = request->grant_ctx;
    } else if (request->key_id && request->grants_apply && actions[request->action].grantable) {
        made.grant = ask_grants;
        made.grant_ctx = asking;
    }
    return made;
}

/* --- words ------------------------------------------------------------------------------------ */

/* AWS's words when whoever asks may not even learn whether the resource exists. */
static int deny_foreign(const struct authorization *request, struct kms_error *err)
{
    if (request->foreign_hidden)
        return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                        "The ciphertext refers to a customer master key that does not exist, does "
                        "not exist in this region, or you are not allowed to access.");
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "User: %s is not authorized to perform: %s on this resource because the "
                    "resource does not exist in this Region, no resource-based policies allow "
                    "access, or a resource-based policy explicitly denies access",
                    request->caller->arn, actions[request->action].name);
}

static int deny(const struct authorization *request, const struct decision *decision,
                struct kms_error *err)
{
    static const char *const articles[LAYER_COUNT] = {
        [LAYER_RESOURCE] = "a", [LAYER_IDENTITY] = "an", [LAYER_BOUNDARY] = "a",
        [LAYER_SESSION] = "a",  [LAYER_GRANT] = "a",
    };
    const char *const action = actions[request->action].name;
    const char *const layer = decision_layer_names[decision->layer];

    if (request->account[0] && strcmp(request->account, request->caller->account) != 0)
        return deny_foreign(request, err);
    if (decision->explicit_deny)
        return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                        "User: %s is not authorized to perform: %s on resource: %s with an "
                        "explicit deny in %s %s",
                        request->caller->arn, action, request->resource,
                        articles[decision->layer], layer);
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "User: %s is not authorized to perform: %s on resource: %s because no %s "
                    "allows the %s action",
                    request->caller->arn, action, request->resource, layer, action);
}

/* "key policy, statement 1 (Sid)", "grant ID": for people. */
static void say_by(const struct decision *decision, const struct grant *grant,
                   char ret[AUTHORIZED_BY_MAX])
{
    int len = 0;

    ret[0] = '\0';
    if (decision->layer == LAYER_GRANT && grant)
        len = snprintf(ret, AUTHORIZED_BY_MAX, "grant %s", grant->id);
    else if (decision->policy)
        len = snprintf(ret, AUTHORIZED_BY_MAX, "%s, statement %d", decision->policy,
                       decision->statement + 1);
    if (decision->sid && decision->sid[0] && len > 0 && len < AUTHORIZED_BY_MAX)
        (void)snprintf(ret + len, (size_t)(AUTHORIZED_BY_MAX - len), " (%s)", decision->sid);
}

int authorize(struct iam *iam, const struct authorization *request, struct authorized *ret,
              struct kms_error *err)
{
    AUTO(asking) asking = { .iam = iam, .request = request };
    struct decision decision;

    if (request->key_id && request->policy == NULL) {
        asking.key_policy = key_policy_find(iam, request->key_id);
        if (asking.key_policy == NULL)
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "a key has no policy in memory");
    }
    const struct decision_request layers = layers_of(&asking);
    decide(&layers, &decision);
    if (ret) {
        ret->decision = decision;
        ret->decision.policy = ret->decision.sid = NULL; /* they belong to policies given back */
        say_by(&decision, asking.grant, ret->by);
    }
    if (decision.allowed)
        return 0;
    (void)deny(request, &decision, err);
    if (decision.broken)
        (void)snprintf(err->detail, sizeof(err->detail), "a policy took too many steps: %s",
                       decision.policy ? decision.policy : "");
    return -1;
}

/* --- facts about the caller ------------------------------------------------------------------- */

static bool names_equal(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

/* Tags of the session stand before those of the role that have another key. */
static size_t gather_tags(const struct principal *caller, struct caller_facts *room)
{
    const struct session *const session = caller->session;
    const struct identity *const identity = caller->identity;
    size_t count = 0, own;

    for (size_t i = 0; session && i < session->tag_count && count < ARRAY_LEN(room->tags); i++)
        room->tags[count++] = (struct condition_pair){ session->tags[i].key, session->tags[i].value };
    own = count;
    for (size_t i = 0; identity && i < identity->tag_count; i++) {
        size_t seen = 0;
        while (seen < own && !names_equal(room->tags[seen].name, identity->tags[i].key))
            seen++;
        if (seen == own && count < ARRAY_LEN(room->tags))
            room->tags[count++] =
                (struct condition_pair){ identity->tags[i].key, identity->tags[i].value };
    }
    return count;
}

void authorize_caller_context(const struct principal *caller, int64_t now_ms,
                              struct caller_facts *room, struct policy_context *ret)
{
    static const char *const types[] = {
        [PRINCIPAL_ROOT] = "Account",
        [PRINCIPAL_USER] = "User",
        [PRINCIPAL_ROLE_SESSION] = "AssumedRole",
        [PRINCIPAL_SERVICE] = "Service",
    };
    const struct session *const session = caller->session;

    ret->now_ms = now_ms;
    context_set(ret, AWS_PRINCIPAL_ARN, caller->principal_arn);
    context_set(ret, AWS_PRINCIPAL_ACCOUNT, caller->account);
    context_set(ret, AWS_PRINCIPAL_TYPE, types[caller->kind]);
    context_set(ret, AWS_USERID, caller->id);
    context_set(ret, AWS_USERNAME, caller->user_name[0] ? caller->user_name : NULL);
    context_set_bool(ret, AWS_VIA_AWS_SERVICE, false);
    context_set_bool(ret, AWS_PRINCIPAL_IS_SERVICE, false);
    context_set_family(ret, FAMILY_PRINCIPAL_TAG, room->tags, gather_tags(caller, room));
    if (session == NULL)
        return;
    context_set_number(ret, AWS_TOKEN_ISSUE_TIME, session->issued_ms / MS_PER_SECOND);
    context_set_bool(ret, AWS_MFA_PRESENT, false);
    context_set(ret, AWS_SOURCE_IDENTITY,
                session->source_identity[0] ? session->source_identity : NULL);
}
