#include "hsmkms/api/ops.h"

#include <string.h>
#include <strings.h>

#include "hsmkms/api/facts.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/iam/session.h"

/*
 * Operations of AWS STS: GetCallerIdentity, AssumeRole, GetSessionToken.
 * Source: AWS STS API Reference; AWS IAM User Guide, Temporary security credentials.
 */

#define DURATION_MIN           900
#define DURATION_PRESET        3600
#define CHAINED_DURATION_MAX   3600
#define ROLE_DURATION_MAX      43200
#define TOKEN_DURATION_MAX     129600
#define TOKEN_DURATION_PRESET  43200
#define ROOT_DURATION_MAX      3600

struct caller_identity_request {
    struct request_head head;
};

struct assume_role_request {
    struct request_head head;
    const char *role_arn, *session_name, *policy, *external_id, *source_identity, *mfa_serial,
        *mfa_code;
    int64_t duration_s;
    struct string_list policy_arns, transitive;
    struct tag_list tags;
};

struct session_token_request {
    struct request_head head;
    const char *mfa_serial, *mfa_code;
    int64_t duration_s;
};

static const char *const tag_names[] = { "Key", "Value", NULL };

/* clang-format off */
#define MFA_ROWS(op) \
    { "SerialNumber",    OPTIONAL, AT(op, STRING, mfa_serial), 9, 256, .log = LOGGED }, \
    { "TokenCode",       OPTIONAL, AT(op, STRING, mfa_code),   6, 6,   .log = UNLOGGED }

static const struct field caller_identity_fields[] = {
    { 0 },
};

static const struct field assume_role_fields[] = {
    { "RoleArn",           REQUIRED, AT(assume_role, STRING, role_arn),        20, 2048,   .log = LOGGED },
    { "RoleSessionName",   REQUIRED, AT(assume_role, STRING, session_name),    2,  64,     .log = LOGGED, .pattern = &pattern_session_name, .slot = STS_ROLE_SESSION_NAME },
    { "DurationSeconds",   OPTIONAL, AT(assume_role, INT, duration_s),         DURATION_MIN, ROLE_DURATION_MAX, .log = LOGGED },
    { "Policy",            OPTIONAL, AT(assume_role, STRING, policy),          1,  131072, .log = LOGGED, .pattern = &pattern_policy },
    { "PolicyArns",        OPTIONAL, AT(assume_role, STRINGS, policy_arns),    0,  10,     .log = LOGGED, .item_max = 2048 },
    { "Tags",              OPTIONAL, AT(assume_role, TAGS, tags),              0,  50,     .log = LOGGED, .texts = tag_names },
    { "TransitiveTagKeys", OPTIONAL, AT(assume_role, STRINGS, transitive),     0,  50,     .log = LOGGED, .item_max = 128, .slot = STS_TRANSITIVE_TAG_KEYS },
    { "ExternalId",        OPTIONAL, AT(assume_role, STRING, external_id),     2,  1224,   .log = LOGGED, .pattern = &pattern_external_id, .slot = STS_EXTERNAL_ID },
    { "SourceIdentity",    OPTIONAL, AT(assume_role, STRING, source_identity), 2,  64,     .log = LOGGED, .pattern = &pattern_session_name, .slot = STS_SOURCE_IDENTITY },
    MFA_ROWS(assume_role),
    { 0 },
};

static const struct field session_token_fields[] = {
    { "DurationSeconds",   OPTIONAL, AT(session_token, INT, duration_s),       DURATION_MIN, TOKEN_DURATION_MAX, .log = LOGGED },
    MFA_ROWS(session_token),
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(caller_identity);
REQUEST_SHAPE(assume_role);
REQUEST_SHAPE(session_token);

/* --- GetCallerIdentity ------------------------------------------------------------------------ */

/* Whoever can sign may know who they are, whatever policies say. */
int sts_anybody(struct op_call *c, struct kms_error *err)
{
    (void)c;
    (void)err;
    return 0;
}

int op_caller_identity(struct op_call *c, struct kms_error *err)
{
    const struct principal *const caller = &c->call->principal;

    return op_answer(c,
                     json_pack("{s:s, s:s, s:s}", "Arn", caller->arn, "UserId", caller->id,
                               "Account", caller->account),
                     err);
}

/* --- AssumeRole: may it? ---------------------------------------------------------------------- */

/* A missing role and a refused one are the same to whoever asks. */
static int deny(const struct op_call *c, const char *action, const char *role_arn,
                struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "User: %s is not authorized to perform: %s on resource: %s",
                    c->call->principal.arn, action, role_arn);
}

/* Tags that a session hands on to the sessions made from it. */
static bool is_inherited(const struct session *session, const char *key)
{
    for (size_t i = 0; session && i < session->transitive_count; i++)
        if (strcasecmp(session->transitive[i], key) == 0)
            return true;
    return false;
}

/* One action on the role's trust policy. */
static int ask(struct op_call *c, const struct identity *role, const char *action,
               struct kms_error *err)
{
    const char *const name = strchr(action, ':') + 1;
    UNINITIALIZED struct facts facts;
    struct kms_error denied = { 0 };

    facts_gather(c, SIDE_KEY, NULL, &facts);
    context_set(&facts.context, AWS_RESOURCE_ACCOUNT, role->account);
    const struct authorization request = {
        .caller = &c->call->principal,
        .action = action_of("sts", name),
        .resource = role->arn,
        .account = role->account,
        .policy = role->trust,
        .policy_name = "trust policy",
        .context = &facts.context,
    };
    if (authorize(c->api->config.iam, &request, &c->authorized, &denied) == 0)
        return 0;
    if (denied.code == KMS_ERR_ACCESS_DENIED)
        return deny(c, action, role->arn, err);
    *err = denied;
    return -1;
}

/* Who is behind a chain of sessions; NULL: nobody said. */
static const char *source_identity(const struct op_call *c)
{
    const struct session *const from = c->call->principal.session;

    return from && from->source_identity[0] ? from->source_identity
                                            : OP_REQUEST(assume_role, c)->source_identity;
}

static int ask_all(struct op_call *c, const struct identity *role, struct kms_error *err)
{
    const struct assume_role_request *const request = OP_REQUEST(assume_role, c);

    if (ask(c, role, "sts:AssumeRole", err) < 0)
        return -1;
    if ((request->tags.count || request->transitive.count) &&
        ask(c, role, "sts:TagSession", err) < 0)
        return -1;
    return source_identity(c) ? ask(c, role, "sts:SetSourceIdentity", err) : 0;
}

int sts_may_assume(struct op_call *c, struct kms_error *err)
{
    const struct assume_role_request *const request = OP_REQUEST(assume_role, c);
    struct directory *const directory = c->api->config.iam->directory;
    struct identity *const role = directory_find_arn(directory, span_text(request->role_arn));
    int result;

    if (role == NULL || role->kind != IDENTITY_ROLE || strcmp(role->arn, request->role_arn) != 0 ||
        c->call->principal.kind == PRINCIPAL_ROOT)
        result = deny(c, "sts:AssumeRole", request->role_arn, err);
    else
        result = ask_all(c, role, err);
    identity_unref(role);
    return result;
}

/* --- AssumeRole: a session -------------------------------------------------------------------- */

static int refuse_mfa(const char *serial, const char *code, struct kms_error *err)
{
    if (serial == NULL && code == NULL)
        return 0;
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "MultiFactorAuthentication failed, this service has no MFA devices.");
}

static int check_tags(const struct op_call *c, const struct tag_list *tags, struct kms_error *err)
{
    for (size_t i = 0; i < tags->count; i++) {
        for (size_t j = 0; j < i; j++)
            if (strcasecmp(tags->items[i].tag_key, tags->items[j].tag_key) == 0)
                return kms_fail(err, KMS_ERR_VALIDATION,
                                "Duplicate tag keys found. Please note that Tag keys are case "
                                "insensitive.");
        if (is_inherited(c->call->principal.session, tags->items[i].tag_key))
            return kms_fail(err, KMS_ERR_VALIDATION,
                            "One of the specified transitive tag keys can't be set because it "
                            "conflicts with a transitive tag key from the calling session.");
    }
    return 0;
}

static int check_duration(const struct op_call *c, const struct identity *role, int64_t *ret_s,
                          struct kms_error *err)
{
    const int64_t asked = OP_REQUEST(assume_role, c)->duration_s;
    const bool chained = c->call->principal.kind == PRINCIPAL_ROLE_SESSION;

    *ret_s = asked ? asked : DURATION_PRESET;
    if (chained && *ret_s > CHAINED_DURATION_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The requested DurationSeconds exceeds the 1 hour session limit for roles "
                        "assumed by role chaining.");
    if (*ret_s > role->max_session_s)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The requested DurationSeconds exceeds the MaxSessionDuration set for this "
                        "role.");
    return 0;
}

int check_assume_role(struct op_call *c, struct kms_error *err)
{
    const struct assume_role_request *const request = OP_REQUEST(assume_role, c);

    if (refuse_mfa(request->mfa_serial, request->mfa_code, err) < 0)
        return -1;
    if (request->source_identity && strcmp(request->source_identity, source_identity(c)) != 0)
        return deny(c, "sts:SetSourceIdentity", request->role_arn, err); /* set once, for good */
    return check_tags(c, &request->tags, err);
}

/* Tags of the new session: those that are inherited, then those asked for. */
struct session_tags {
    struct identity_tag tags[2 * IDENTITY_TAGS_MAX];
    const char *transitive[2 * IDENTITY_TAGS_MAX];
    size_t count, transitive_count;
};

static void add_transitive(struct session_tags *ret, const char *key)
{
    for (size_t i = 0; i < ret->transitive_count; i++)
        if (strcasecmp(ret->transitive[i], key) == 0)
            return;
    if (ret->transitive_count < ARRAY_LEN(ret->transitive))
        ret->transitive[ret->transitive_count++] = key;
}

static void gather_tags(const struct op_call *c, struct session_tags *ret)
{
    const struct assume_role_request *const request = OP_REQUEST(assume_role, c);
    const struct session *const from = c->call->principal.session;

    for (size_t i = 0; from && i < from->tag_count && ret->count < ARRAY_LEN(ret->tags); i++) {
        if (!is_inherited(from, from->tags[i].key))
            continue;
        ret->tags[ret->count++] = from->tags[i];
        add_transitive(ret, from->tags[i].key);
    }
    for (size_t i = 0; i < request->tags.count && ret->count < ARRAY_LEN(ret->tags); i++)
        ret->tags[ret->count++] = (struct identity_tag){ request->tags.items[i].tag_key,
                                                         request->tags.items[i].tag_value };
    for (size_t i = 0; i < request->transitive.count; i++)
        add_transitive(ret, request->transitive.items[i]);
}

static json_t *credentials_json(const struct session_credentials *made)
{
    return json_pack("{s:s, s:s%, s:s%, s:s}", "AccessKeyId", made->access_key_id,
                     "SecretAccessKey", (const char *)made->secret.ptr, made->secret.len,
                     "SessionToken", (const char *)made->token.ptr, made->token.len, "Expiration",
                     clock_iso8601(made->expires_ms).text);
}

static json_t *assumed_json(const struct op_call *c, const struct identity *role,
                            const struct session_credentials *made)
{
    const struct assume_role_request *const request = OP_REQUEST(assume_role, c);
    json_t *const arn = json_sprintf("arn:aws:sts::%s:assumed-role/%s/%s", role->account,
                                     role->name, request->session_name);
    json_t *const id = json_sprintf("%s:%s", role->unique_id, request->session_name);

    return json_pack("{s:o, s:{s:o, s:o}, s:I, s:s*}", "Credentials", credentials_json(made),
                     "AssumedRoleUser", "AssumedRoleId", id, "Arn", arn, "PackedPolicySize",
                     (json_int_t)made->packed_percent, "SourceIdentity", request->source_identity);
}

static int assume(struct op_call *c, const struct identity *role, struct kms_error *err)
{
    const struct assume_role_request *const request = OP_REQUEST(assume_role, c);
    struct session_tags tags = { 0 };
    struct session_draft draft = {
        .identity = role,
        .account = role->account,
        .name = request->session_name,
        .source_identity = source_identity(c),
        .issued_by = c->call->principal.access_key_id,
        .chained = c->call->principal.kind == PRINCIPAL_ROLE_SESSION,
        .policy = request->policy,
        .policy_arns = request->policy_arns.items,
        .policy_arn_count = request->policy_arns.count,
    };
    AUTO(session_credentials) made = { 0 };

    if (check_duration(c, role, &draft.duration_s, err) < 0)
        return -1;
    gather_tags(c, &tags);
    draft.tags = tags.tags;
    draft.tag_count = tags.count;
    draft.transitive = tags.transitive;
    draft.transitive_count = tags.transitive_count;
    if (session_issue(c->api->config.iam, &draft, &made, err) < 0)
        return -1;
    return op_answer(c, assumed_json(c, role, &made), err);
}

int op_assume_role(struct op_call *c, struct kms_error *err)
{
    const char *const arn = OP_REQUEST(assume_role, c)->role_arn;
    struct identity *const role =
        directory_find_arn(c->api->config.iam->directory, span_text(arn));
    const int result =
        role ? assume(c, role, err) : deny(c, "sts:AssumeRole", arn, err); /* gone just now */

    identity_unref(role);
    return result;
}

/* --- GetSessionToken -------------------------------------------------------------------------- */

int sts_may_have_token(struct op_call *c, struct kms_error *err)
{
    if (c->call->principal.session)
        return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                        "Cannot call GetSessionToken with session credentials");
    return 0;
}

int op_session_token(struct op_call *c, struct kms_error *err)
{
    const struct session_token_request *const request = OP_REQUEST(session_token, c);
    const struct principal *const caller = &c->call->principal;
    const bool root = caller->kind == PRINCIPAL_ROOT;
    int64_t duration_s = request->duration_s ? request->duration_s : TOKEN_DURATION_PRESET;
    AUTO(session_credentials) made = { 0 };

    if (refuse_mfa(request->mfa_serial, request->mfa_code, err) < 0)
        return -1;
    if (root && duration_s > ROOT_DURATION_MAX)
        duration_s = ROOT_DURATION_MAX;
    const struct session_draft draft = { .identity = caller->identity,
                                         .account = caller->account,
                                         .issued_by = caller->access_key_id,
                                         .duration_s = duration_s };
    if (session_issue(c->api->config.iam, &draft, &made, err) < 0)
        return -1;
    return op_answer(c, json_pack("{s:o}", "Credentials", credentials_json(&made)), err);
}
