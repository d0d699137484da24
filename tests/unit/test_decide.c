/*
 * Decisions over all layers of policy.
 * Source: AWS IAM User Guide, Policy evaluation logic; AWS KMS Developer Guide, Key access and
 * permissions, Grants in AWS KMS.
 */

#include <stdio.h>

#include "hsmkms/base/buf.h"
#include "tests/support/policy_rig.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* rows leave out what is not there  \
                                                               */

#define FULL "{`Statement`:{`Effect`:`Allow`,`Action`:`kms:*`,`Resource`:`*`}}"
#define ENC  "{`Statement`:{`Effect`:`Allow`,`Action`:`kms:Encrypt`,`Resource`:`*`}}"
#define DENY "{`Statement`:{`Effect`:`Deny`,`Action`:`kms:*`,`Resource`:`*`}}"

/* Statements of key policies. */
#define ALLOW(who)     "{`Effect`:`Allow`,`Principal`:" who ",`Action`:`kms:*`,`Resource`:`*`}"
#define AWS(who)       "{`AWS`:`" who "`}"
#define ACCOUNT        AWS(A_ID)
#define ONE(statement) "{`Version`:`2012-10-17`,`Statement`:" statement "}"
#define TWO(one, two)  "{`Version`:`2012-10-17`,`Statement`:[" one "," two "]}"

struct documents {
    const char *key, *identity, *boundary, *session;
};

/* A request with these documents; what is NULL is not there. */
struct rig {
    struct decision_request request;
    struct named_policy identity, boundary, session;
    struct policy *policies[4];
};

static const struct policy_context no_context;

static void rig_compile(struct rig *rig, int which, enum policy_kind kind, const char *text,
                        struct named_policy *ret)
{
    if (text == NULL)
        return;
    rig->policies[which] = compile_ok(kind, text);
    ret->policy = rig->policies[which];
}

static void rig_init(struct rig *rig, const struct principal *caller, const char *action,
                     enum policy_kind kind, const struct documents *documents)
{
    *rig = (struct rig){ .identity.name = "I", .boundary.name = "B", .session.name = "S" };
    rig->request.resource.name = "K";
    rig_compile(rig, 0, kind, documents->key, &rig->request.resource);
    rig_compile(rig, 1, POLICY_IDENTITY, documents->identity, &rig->identity);
    rig_compile(rig, 2, POLICY_IDENTITY, documents->boundary, &rig->boundary);
    rig_compile(rig, 3, POLICY_IDENTITY, documents->session, &rig->session);
    rig->request.question = (struct policy_question){
        .caller = caller, .action = action_row(action), .resource = KEY_ARN, .context = &no_context
    };
    rig->request.account = A_ID;
    rig->request.identity = &rig->identity;
    rig->request.identity_count = documents->identity != NULL;
    rig->request.boundary = documents->boundary ? &rig->boundary : NULL;
    rig->request.session = &rig->session;
    rig->request.session_count = documents->session != NULL;
}

static void rig_done(struct rig *rig)
{
    for (size_t i = 0; i < ARRAY_LEN(rig->policies); i++)
        policy_unref(rig->policies[i]);
}

static struct decision decide_with(const struct principal *caller, const char *action,
                                   enum policy_kind kind, const struct documents *documents)
{
    struct rig rig;
    struct decision decision;

    rig_init(&rig, caller, action, kind, documents);
    decide(&rig.request, &decision);
    rig_done(&rig);
    return decision;
}

enum verdict { ALLOWED, DENIED, DENIED_EXPLICITLY };

struct decision_row {
    const char *name;
    const struct principal *caller;
    struct documents documents;
    enum verdict verdict;
    enum decision_layer layer;
};

static void check_decision(const char *name, const struct decision *decision, enum verdict verdict,
                           enum decision_layer layer)
{
    if (decision->allowed != (verdict == ALLOWED) ||
        decision->explicit_deny != (verdict == DENIED_EXPLICITLY) || decision->layer != layer ||
        decision->broken)
        fail_msg("%s: %s%s by %s, statement %d", name, decision->allowed ? "allowed" : "denied",
                 decision->explicit_deny ? " explicitly" : "",
                 decision_layer_names[decision->layer], decision->statement);
}

static void check_rows(const struct decision_row *rows, size_t count, const char *action)
{
    for (size_t i = 0; i < count; i++) {
        const struct decision decision =
            decide_with(rows[i].caller, action, POLICY_KEY, &rows[i].documents);
        check_decision(rows[i].name, &decision, rows[i].verdict, rows[i].layer);
    }
}

#define IF_OWN_ACCOUNT                                                                             \
    "{`Effect`:`Allow`,`Principal`:`*`,`Action`:`kms:*`,`Resource`:`*`,"                           \
    "`Condition`:{`StringEquals`:{`kms:CallerAccount`:`" A_ID "`}}}"
#define ALLOW_ENCRYPT                                                                              \
    "{`Effect`:`Allow`,`Principal`:" ACCOUNT ",`Action`:`kms:Encrypt`,`Resource`:`*`}"
#define DENY_DECRYPT                                                                               \
    "{`Effect`:`Deny`,`Principal`:" ACCOUNT ",`Action`:`kms:Decrypt`,`Resource`:`*`}"
#define DENY_RETIRE                                                                                \
    "{`Effect`:`Deny`,`Principal`:" ACCOUNT ",`Action`:`kms:RetireGrant`,`Resource`:`*`}"
#define IDENTITY(action, resource)                                                                 \
    "{`Statement`:{`Effect`:`Allow`," action ",`Resource`:`" resource "`}}"

/* clang-format off */
static const struct decision_row golden_rows[] = {
    { "D1",  &alice,  { ONE(ALLOW(ACCOUNT)) },                                  DENIED, LAYER_IDENTITY },
    { "D2",  &alice,  { ONE(ALLOW(ACCOUNT)), FULL },                            ALLOWED, LAYER_IDENTITY },
    { "D3",  &alice,  { ONE(ALLOW_ENCRYPT), FULL },                             DENIED, LAYER_RESOURCE },
    { "D4",  &alice,  { ONE(ALLOW(AWS(ALICE))) },                               ALLOWED, LAYER_RESOURCE },
    { "D5",  &alice,  { ONE(ALLOW(AWS(ALICE))), DENY },                         DENIED_EXPLICITLY, LAYER_IDENTITY },
    { "D6",  &alice,  { TWO(ALLOW(ACCOUNT), DENY_DECRYPT), FULL },              DENIED_EXPLICITLY, LAYER_RESOURCE },
    { "D7",  &alice,  { ONE(ALLOW(AWS(APP))), FULL },                           DENIED, LAYER_RESOURCE },
    { "D8",  &app_s1, { ONE(ALLOW(AWS(APP))) },                                 ALLOWED, LAYER_RESOURCE },
    { "D9",  &app_s1, { ONE(ALLOW(AWS(APP))), .session = ENC },                 DENIED, LAYER_SESSION },
    { "D10", &app_s1, { ONE(ALLOW(AWS(SESSION))), .session = ENC },             ALLOWED, LAYER_RESOURCE },
    { "D11", &alice,  { ONE(ALLOW(AWS(ALICE))), .boundary = ENC },              ALLOWED, LAYER_RESOURCE },
    { "D12", &alice,  { ONE(ALLOW(ACCOUNT)), FULL, .boundary = ENC },           DENIED, LAYER_BOUNDARY },
    { "D13", &eve,    { ONE(ALLOW(AWS(EVE))) },                                 DENIED, LAYER_IDENTITY },
    { "D14", &eve,    { ONE(ALLOW(AWS(EVE))), FULL },                           ALLOWED, LAYER_RESOURCE },
    { "D15", &eve,    { ONE(ALLOW(AWS(B_ID))), FULL },                          ALLOWED, LAYER_IDENTITY },
    { "D16", &eve,    { ONE(ALLOW("`*`")) },                                    DENIED, LAYER_IDENTITY },
    { "D17", &alice,  { ONE(ALLOW("`*`")) },                                    ALLOWED, LAYER_RESOURCE },
    { "D19", &alice,  { ONE(ALLOW(ACCOUNT)), IDENTITY("`Action`:`kms:*`", "arn:aws:kms:eu-central-1:" A_ID ":alias/*") }, DENIED, LAYER_IDENTITY },
    { "D20", &alice,  { ONE(ALLOW(ACCOUNT)), IDENTITY("`Action`:`kms:*`", "arn:aws:kms:*:" A_ID ":key/*") }, ALLOWED, LAYER_IDENTITY },
    { "D21", &alice,  { ONE(ALLOW(ACCOUNT)), IDENTITY("`Action`:`KMS:decr*`", "*") }, ALLOWED, LAYER_IDENTITY },
    { "D22", &alice,  { ONE(ALLOW(ACCOUNT)), IDENTITY("`NotAction`:`kms:Encrypt`", "*") }, ALLOWED, LAYER_IDENTITY },
};

static const struct decision_row more_rows[] = {
    /* root: exactly what the key policy says of its account, denies included */
    { "root, default policy",       &root_a, { ONE(ALLOW(ACCOUNT)) },           ALLOWED, LAYER_RESOURCE },
    { "root, only alice",           &root_a, { ONE(ALLOW(AWS(ALICE))) },        DENIED, LAYER_RESOURCE },
    { "root, account denied",       &root_a, { TWO(ALLOW(ACCOUNT), DENY_DECRYPT) }, DENIED_EXPLICITLY, LAYER_RESOURCE },
    { "root of another account",    &root_b, { ONE(ALLOW(AWS(B_ID))) },         ALLOWED, LAYER_RESOURCE },
    { "root of another, unnamed",   &root_b, { ONE(ALLOW(ACCOUNT)) },           DENIED, LAYER_RESOURCE },

    /* role: B and S, not I */
    { "role, boundary lets",        &app_s1, { ONE(ALLOW(AWS(APP))), NULL, FULL, FULL }, ALLOWED, LAYER_RESOURCE },
    { "role, boundary does not",    &app_s1, { ONE(ALLOW(AWS(APP))), FULL, ENC, FULL }, DENIED, LAYER_BOUNDARY },
    { "role and account",           &app_s1, { TWO(ALLOW(ACCOUNT), ALLOW(AWS(APP))) }, ALLOWED, LAYER_RESOURCE },
    { "account, no session policy lets", &app_s1, { ONE(ALLOW(ACCOUNT)), FULL, FULL, ENC }, DENIED, LAYER_SESSION },
    { "account, first lacking layer", &app_s1, { ONE(ALLOW(ACCOUNT)), ENC, ENC, ENC }, DENIED, LAYER_IDENTITY },
    { "account, all let",           &app_s1, { ONE(ALLOW(ACCOUNT)), FULL, FULL, FULL }, ALLOWED, LAYER_IDENTITY },

    /* other account: all three, even for a direct Allow */
    { "foreign, boundary",          &eve, { ONE(ALLOW(AWS(EVE))), FULL, ENC },  DENIED, LAYER_BOUNDARY },
    { "foreign, session",           &eve, { ONE(ALLOW(AWS(EVE))), FULL, FULL, ENC }, DENIED, LAYER_SESSION },
    { "foreign, unnamed",           &eve, { ONE(ALLOW(ACCOUNT)), FULL },        DENIED, LAYER_RESOURCE },
    { "foreign, anyone",            &eve, { ONE(ALLOW("`*`")), FULL },          ALLOWED, LAYER_RESOURCE },

    /* a Deny anywhere, in the order of the layers */
    { "deny in a boundary",         &alice, { ONE(ALLOW(AWS(ALICE))), FULL, DENY }, DENIED_EXPLICITLY, LAYER_BOUNDARY },
    { "deny in a session",          &app_s1, { ONE(ALLOW(AWS(SESSION))), FULL, NULL, DENY }, DENIED_EXPLICITLY, LAYER_SESSION },
    { "denies everywhere",          &alice, { TWO(ALLOW(ACCOUNT), DENY_DECRYPT), DENY, DENY, DENY }, DENIED_EXPLICITLY, LAYER_RESOURCE },
    { "denies below the key",       &alice, { ONE(ALLOW(ACCOUNT)), DENY, DENY, DENY }, DENIED_EXPLICITLY, LAYER_IDENTITY },
    { "no delegation, still denied", &alice, { ONE(ALLOW(AWS(EVE))), DENY },    DENIED_EXPLICITLY, LAYER_IDENTITY },
    { "account in a deny hits roles", &app_s1, { TWO(ALLOW("`*`"), DENY_DECRYPT) }, DENIED_EXPLICITLY, LAYER_RESOURCE },
};
/* clang-format on */

static void test_decide_golden(void **state)
{
    (void)state;
    check_rows(golden_rows, ARRAY_LEN(golden_rows), "kms:Decrypt");
    check_rows(more_rows, ARRAY_LEN(more_rows), "kms:Decrypt");
}

/* Not an action that crosses accounts: whatever anybody allows. */
static void test_decide_own_account_only(void **state)
{
    static const struct decision_row rows[] = {
        { "named", &eve, { ONE(ALLOW(AWS(EVE))), FULL }, DENIED, LAYER_RESOURCE },
        { "anyone", &eve, { ONE(ALLOW("`*`")), FULL }, DENIED, LAYER_RESOURCE },
        { "root", &root_b, { ONE(ALLOW(AWS(B_ID))) }, DENIED, LAYER_RESOURCE },
        { "own", &alice, { ONE(ALLOW(AWS(ALICE))) }, ALLOWED, LAYER_RESOURCE },
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows), "kms:ScheduleKeyDeletion");
}

#define EC  "kms:EncryptionContext:"
#define ECK "kms:EncryptionContextKeys"

/* A key policy that names the caller under a condition, and what the request says. */
static const struct {
    const char *name, *condition;
    struct condition_pair pairs[3]; /* encryption context */
    enum context_slot slot;         /* one more fact, when value is set */
    const char *value;
    const struct principal *caller; /* NULL: alice */
    bool allowed;
} condition_rows[] = {
    /* clang-format off */
    { "D18", "`StringEquals`:{`kms:CallerAccount`:`" A_ID "`}", .slot = KMS_CALLER_ACCOUNT, .value = A_ID, .allowed = true },
    { "C1", "`StringEquals`:{`" EC "App`:`x`}" },
    { "C2", "`StringNotEquals`:{`" EC "App`:`x`}", .allowed = true },
    { "C3", "`StringEqualsIfExists`:{`" EC "App`:`x`}", .allowed = true },
    { "C4", "`Null`:{`" EC "App`:`true`}", .allowed = true },
    { "C5", "`Null`:{`" EC "App`:`false`}", { { "App", "q" } }, .allowed = true },
    { "C6", "`StringEquals`:{`kms:encryptioncontext:app`:`x`}", { { "App", "x" } }, .allowed = true },
    { "C7", "`StringEquals`:{`" EC "App`:[`a`,`b`]}", { { "App", "b" } }, .allowed = true },
    { "C8", "`StringNotEquals`:{`" EC "App`:[`a`,`b`]}", { { "App", "b" } } },
    { "C9", "`StringEquals`:{`" EC "App`:`a*`}", { { "App", "ab" } } },
    { "C10", "`StringLike`:{`" EC "App`:`a*`}", { { "App", "ab" } }, .allowed = true },
    { "C11", "`StringEqualsIgnoreCase`:{`" EC "App`:`AB`}", { { "App", "ab" } }, .allowed = true },
    { "C12", "`ForAllValues:StringEquals`:{`" ECK "`:[`App`,`Env`]}", .allowed = true },
    { "C13", "`ForAllValues:StringEquals`:{`" ECK "`:[`App`,`Env`]}", { { "App", "" }, { "Zed", "" } } },
    { "C14", "`ForAnyValue:StringEquals`:{`" ECK "`:[`App`,`Env`]}" },
    { "C15", "`ForAnyValue:StringEquals`:{`" ECK "`:[`App`,`Env`]}", { { "Zed", "" }, { "App", "" } }, .allowed = true },
    { "C16", "`ForAnyValue:StringNotEquals`:{`" ECK "`:`App`}" },
    { "C17", "`ForAnyValue:StringNotEquals`:{`" ECK "`:`App`}", { { "App", "" }, { "B", "" } }, .allowed = true },
    { "C18", "`ForAllValues:StringNotEquals`:{`" ECK "`:`App`}", { { "App", "" }, { "B", "" } } },
    { "C19", "`StringEquals`:{`" ECK "`:`App`}", { { "App", "" } } },
    { "C20", "`Bool`:{`aws:SecureTransport`:`TRUE`}", .slot = AWS_SECURE_TRANSPORT, .value = "true", .allowed = true },
    { "C21", "`Bool`:{`aws:MultiFactorAuthPresent`:`false`}" },
    { "C22", "`BoolIfExists`:{`aws:MultiFactorAuthPresent`:`false`}", .allowed = true },
    { "C23", "`IpAddress`:{`aws:SourceIp`:[`10.0.0.0/8`,`192.0.2.7`]}", .slot = AWS_SOURCE_IP, .value = "192.0.2.7", .allowed = true },
    { "C24", "`NotIpAddress`:{`aws:SourceIp`:`10.0.0.0/8`}", .slot = AWS_SOURCE_IP, .value = "10.255.1.1" },
    { "C25", "`IpAddress`:{`aws:SourceIp`:`2001:db8::/32`}", .slot = AWS_SOURCE_IP, .value = "2001:db8::1", .allowed = true },
    { "C26", "`DateLessThan`:{`aws:CurrentTime`:`2030-01-01T00:00:00Z`}", .allowed = true },
    { "C27", "`DateGreaterThan`:{`aws:CurrentTime`:`2030-01-01T00:00:00Z`}" },
    { "C28", "`NumericLessThanEquals`:{`kms:RotationPeriodInDays`:`365`}", .slot = KMS_ROTATION_PERIOD_IN_DAYS, .value = "365", .allowed = true },
    { "C29", "`NumericGreaterThan`:{`kms:RotationPeriodInDays`:90}", .slot = KMS_ROTATION_PERIOD_IN_DAYS, .value = "100", .allowed = true },
    { "C30", "`ArnLike`:{`aws:PrincipalArn`:`arn:aws:iam::*:role/*`}", .caller = &app_s1, .allowed = true },
    { "C31", "`ArnLike`:{`aws:PrincipalArn`:`arn:aws:*:role/app`}", .caller = &app_s1 },
    { "C32", "`ArnNotEquals`:{`aws:PrincipalArn`:`" APP "`}", .caller = &app_s1 },
    { "C33", "`StringEquals`:{`" EC "Owner`:`${aws:username}`}", { { "Owner", "alice" } }, .allowed = true },
    { "C34", "`StringEquals`:{`" EC "Owner`:`${aws:username}`}", { { "Owner", "${aws:username}" } }, .caller = &app_s1 },
    { "C35", "`StringLike`:{`" EC "Owner`:`${aws:PrincipalTag/p}`}", { { "Owner", "abc" } } },
    { "C36", "`StringEquals`:{`" EC "Owner`:`${aws:PrincipalTag/q, 'dflt'}`}", { { "Owner", "dflt" } }, .allowed = true },
    { "C37", "`StringLike`:{`" EC "N`:`a${*}b`}", { { "N", "a*b" } }, .allowed = true },
    { "C38", "`StringLike`:{`" EC "N`:`a${*}b`}", { { "N", "axb" } } },
    { "C39", "`StringEquals`:{`" EC "A`:`1`},`StringNotEquals`:{`" EC "B`:`2`}", { { "A", "1" }, { "B", "3" } }, .allowed = true },
    { "C40", "`StringEquals`:{`" EC "A`:`1`,`" EC "B`:`2`}", { { "A", "1" } } },
    /* clang-format on */
};

static void check_condition_row(size_t row)
{
    static const struct condition_pair tags[] = { { "p", "*" } };
    const struct principal *const caller =
        condition_rows[row].caller ? condition_rows[row].caller : &alice;
    struct policy_context context = { .now_ms = 1795176000000 };
    const char *names[3];
    size_t pairs = 0;
    char text[1024];
    struct rig rig;
    struct decision decision;

    for (; pairs < 3 && condition_rows[row].pairs[pairs].name; pairs++)
        names[pairs] = condition_rows[row].pairs[pairs].name;
    context_set_family(&context, FAMILY_ENCRYPTION_CONTEXT, condition_rows[row].pairs, pairs);
    context_set_family(&context, FAMILY_PRINCIPAL_TAG, tags, 1);
    if (pairs)
        context_set_list(&context, KMS_ENCRYPTION_CONTEXT_KEYS, names, pairs);
    context_set(&context, AWS_PRINCIPAL_ARN, caller->principal_arn);
    context_set(&context, AWS_USERNAME, caller->user_name[0] ? caller->user_name : NULL);
    if (condition_rows[row].value)
        context_set(&context, condition_rows[row].slot, condition_rows[row].value);

    (void)snprintf(text, sizeof(text),
                   "{`Version`:`2012-10-17`,`Statement`:{`Effect`:`Allow`,`Principal`:{`AWS`:"
                   "[`" ALICE "`,`" APP "`]},`Action`:`kms:*`,`Resource`:`*`,`Condition`:{%s}}}",
                   condition_rows[row].condition);
    rig_init(&rig, caller, "kms:Decrypt", POLICY_KEY, &(struct documents){ .key = text });
    rig.request.question.context = &context;
    decide(&rig.request, &decision);
    check_decision(condition_rows[row].name, &decision,
                   condition_rows[row].allowed ? ALLOWED : DENIED, LAYER_RESOURCE);
    rig_done(&rig);
}

static void test_decide_golden_conditions(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(condition_rows); i++)
        check_condition_row(i);
}

/* Identity policies count only for the requests that the account's statement speaks of. */
static void test_decide_delegation_under_a_condition(void **state)
{
    static const struct condition_pair app[] = { { "App", "x" } };
    const struct documents documents = { ONE("{`Effect`:`Allow`,`Principal`:" ACCOUNT
                                             ",`Action`:`kms:Decrypt`,`Resource`:`*`,"
                                             "`Condition`:{`StringEquals`:{`" EC "App`:`x`}}}"),
                                         FULL };
    struct policy_context context = { 0 };
    struct decision decision;
    struct rig rig;

    (void)state;
    rig_init(&rig, &alice, "kms:Decrypt", POLICY_KEY, &documents);
    rig.request.question.context = &context;
    decide(&rig.request, &decision);
    check_decision("without the pair", &decision, DENIED, LAYER_RESOURCE);
    context_set_family(&context, FAMILY_ENCRYPTION_CONTEXT, app, 1);
    decide(&rig.request, &decision);
    check_decision("with the pair", &decision, ALLOWED, LAYER_IDENTITY);
    rig_done(&rig);
}

/* "*" under a condition on the caller is as direct as a name. */
static void test_decide_anyone_by_arn(void **state)
{
    const struct documents documents = {
        ONE("{`Effect`:`Allow`,`Principal`:`*`,`Action`:`kms:Decrypt`,`Resource`:`*`,"
            "`Condition`:{`ArnEquals`:{`aws:PrincipalArn`:`" ALICE "`}}}"),
        .boundary = ENC
    };
    struct policy_context context = { 0 };
    struct decision decision;
    struct rig rig;

    (void)state;
    rig_init(&rig, &alice, "kms:Decrypt", POLICY_KEY, &documents);
    rig.request.question.context = &context;
    context_set(&context, AWS_PRINCIPAL_ARN, ALICE);
    decide(&rig.request, &decision);
    check_decision("alice", &decision, ALLOWED, LAYER_RESOURCE);
    context_set(&context, AWS_PRINCIPAL_ARN, APP);
    decide(&rig.request, &decision);
    check_decision("another", &decision, DENIED, LAYER_RESOURCE);
    rig_done(&rig);
}

/* A grant that answers and counts how often it was asked. */
struct grant {
    enum strength strength;
    int asked;
};

static enum strength ask_grant(void *ctx)
{
    struct grant *const grant = ctx;

    grant->asked++;
    return grant->strength;
}

static const struct {
    const char *name, *action;
    const struct principal *caller;
    struct documents documents;
    enum strength strength;
    enum verdict verdict;
    enum decision_layer layer;
    int asked;
} grant_rows[] = {
    /* clang-format off */
    { "direct", "kms:Decrypt", &alice, { ONE(ALLOW(AWS(EVE))) }, STRENGTH_DIRECT, ALLOWED, LAYER_GRANT, 1 },
    { "direct, limited", "kms:Decrypt", &alice, { ONE(ALLOW(AWS(EVE))), NULL, ENC, ENC }, STRENGTH_DIRECT, ALLOWED, LAYER_GRANT, 1 },
    { "direct, foreign", "kms:Decrypt", &eve, { ONE(ALLOW(ACCOUNT)) }, STRENGTH_DIRECT, ALLOWED, LAYER_GRANT, 1 },
    { "role", "kms:Decrypt", &app_s1, { ONE(ALLOW(AWS(EVE))) }, STRENGTH_ROLE, ALLOWED, LAYER_GRANT, 1 },
    { "role, session", "kms:Decrypt", &app_s1, { ONE(ALLOW(AWS(EVE))), .session = ENC }, STRENGTH_ROLE, DENIED, LAYER_SESSION, 1 },
    { "account", "kms:Decrypt", &alice, { ONE(ALLOW(AWS(EVE))), FULL }, STRENGTH_ACCOUNT, ALLOWED, LAYER_GRANT, 1 },
    { "account, no identity", "kms:Decrypt", &alice, { ONE(ALLOW(AWS(EVE))), ENC }, STRENGTH_ACCOUNT, DENIED, LAYER_IDENTITY, 1 },
    { "account, root", "kms:Decrypt", &root_a, { ONE(ALLOW(AWS(EVE))) }, STRENGTH_ACCOUNT, ALLOWED, LAYER_GRANT, 1 },
    { "none", "kms:Decrypt", &alice, { ONE(ALLOW(AWS(EVE))), FULL }, STRENGTH_NONE, DENIED, LAYER_RESOURCE, 1 },
    { "denied", "kms:Decrypt", &alice, { ONE(ALLOW(AWS(EVE))), DENY }, STRENGTH_DIRECT, DENIED_EXPLICITLY, LAYER_IDENTITY, 0 },
    { "not needed", "kms:Decrypt", &alice, { ONE(ALLOW(AWS(ALICE))) }, STRENGTH_DIRECT, ALLOWED, LAYER_RESOURCE, 0 },
    { "not grantable", "kms:PutKeyPolicy", &alice, { ONE(ALLOW(AWS(EVE))) }, STRENGTH_DIRECT, DENIED, LAYER_RESOURCE, 0 },
    { "delegation lacks, grant gives", "kms:Decrypt", &alice, { ONE(ALLOW(ACCOUNT)) }, STRENGTH_DIRECT, ALLOWED, LAYER_GRANT, 1 },
    { "two routes lack", "kms:Decrypt", &app_s1, { ONE(ALLOW(ACCOUNT)), ENC, NULL, ENC }, STRENGTH_ROLE, DENIED, LAYER_IDENTITY, 1 },

    /* RetireGrant: the grant, or the issuing account's identity policies; never a key policy */
    { "retire, by key policy", "kms:RetireGrant", &alice, { ONE(ALLOW(AWS(ALICE))) }, STRENGTH_NONE, DENIED, LAYER_IDENTITY, 1 },
    { "retire, by identity", "kms:RetireGrant", &alice, { ONE(ALLOW(AWS(EVE))), FULL }, STRENGTH_NONE, ALLOWED, LAYER_IDENTITY, 1 },
    { "retire, boundary", "kms:RetireGrant", &alice, { ONE(ALLOW(AWS(EVE))), FULL, ENC }, STRENGTH_NONE, DENIED, LAYER_BOUNDARY, 1 },
    { "retire, foreign identity", "kms:RetireGrant", &eve, { ONE(ALLOW(AWS(EVE))), FULL }, STRENGTH_NONE, DENIED, LAYER_RESOURCE, 1 },
    { "retire, by root", "kms:RetireGrant", &root_a, { ONE(ALLOW(AWS(EVE))) }, STRENGTH_NONE, ALLOWED, LAYER_IDENTITY, 1 },
    { "retire, by grant", "kms:RetireGrant", &eve, { ONE(ALLOW(ACCOUNT)) }, STRENGTH_DIRECT, ALLOWED, LAYER_GRANT, 1 },
    { "retire, denied", "kms:RetireGrant", &alice, { TWO(ALLOW(ACCOUNT), DENY_RETIRE), FULL }, STRENGTH_DIRECT, DENIED_EXPLICITLY, LAYER_RESOURCE, 0 },
    /* clang-format on */
};

static void test_decide_grants(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(grant_rows); i++) {
        struct grant grant = { grant_rows[i].strength, 0 };
        struct decision decision;
        struct rig rig;
        rig_init(&rig, grant_rows[i].caller, grant_rows[i].action, POLICY_KEY,
                 &grant_rows[i].documents);
        rig.request.grant = ask_grant;
        rig.request.grant_ctx = &grant;
        decide(&rig.request, &decision);
        check_decision(grant_rows[i].name, &decision, grant_rows[i].verdict, grant_rows[i].layer);
        assert_int_equal(grant.asked, grant_rows[i].asked);
        rig_done(&rig);
    }
}

/* Actions without a key, and those on an alias: identity policies alone, in the own account. */
static void test_decide_by_identity(void **state)
{
    static const struct {
        const char *name, *action, *resource, *account;
        const struct principal *caller;
        struct documents documents;
        enum verdict verdict;
        enum decision_layer layer;
    } rows[] = {
        /* clang-format off */
        { "none", "kms:CreateKey", "*", "", &alice, { 0 }, DENIED, LAYER_IDENTITY },
        { "full", "kms:CreateKey", "*", "", &alice, { .identity = FULL }, ALLOWED, LAYER_IDENTITY },
        { "scoped", "kms:CreateKey", "*", "", &alice, { .identity = IDENTITY("`Action`:`kms:*`", KEY_ARN) }, DENIED, LAYER_IDENTITY },
        { "boundary", "kms:CreateKey", "*", "", &alice, { .identity = FULL, .boundary = ENC }, DENIED, LAYER_BOUNDARY },
        { "session", "kms:ListKeys", "*", "", &app_s1, { .identity = FULL, .session = ENC }, DENIED, LAYER_SESSION },
        { "deny", "kms:ListKeys", "*", "", &app_s1, { .identity = FULL, .session = DENY }, DENIED_EXPLICITLY, LAYER_SESSION },
        { "root", "kms:CreateKey", "*", "", &root_a, { 0 }, ALLOWED, LAYER_IDENTITY },
        { "alias", "kms:CreateAlias", "arn:aws:kms:r:" A_ID ":alias/x", A_ID, &alice, { .identity = IDENTITY("`Action`:`kms:*`", "arn:aws:kms:*:" A_ID ":alias/*") }, ALLOWED, LAYER_IDENTITY },
        { "alias of others", "kms:CreateAlias", "arn:aws:kms:r:" A_ID ":alias/x", A_ID, &eve, { .identity = FULL }, DENIED, LAYER_RESOURCE },
        { "keys of others", "kms:ListKeys", "*", A_ID, &root_b, { 0 }, DENIED, LAYER_RESOURCE },
        /* clang-format on */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct decision decision;
        struct rig rig;
        rig_init(&rig, rows[i].caller, rows[i].action, POLICY_KEY, &rows[i].documents);
        rig.request.question.resource = rows[i].resource;
        rig.request.account = rows[i].account;
        decide(&rig.request, &decision);
        check_decision(rows[i].name, &decision, rows[i].verdict, rows[i].layer);
        rig_done(&rig);
    }
}

#define TRUST(who) "{`Statement`:{`Effect`:`Allow`,`Principal`:" who ",`Action`:`sts:AssumeRole`}}"
#define ASSUME     "{`Statement`:{`Effect`:`Allow`,`Action`:`sts:AssumeRole`,`Resource`:`" APP "`}}"

/* clang-format off */
static const struct decision_row role_rows[] = {
    { "trusted by name",        &alice,  { TRUST(AWS(ALICE)) },                 ALLOWED, LAYER_RESOURCE },
    { "trusted by account",     &alice,  { TRUST(ACCOUNT), ASSUME },            ALLOWED, LAYER_IDENTITY },
    { "account, no identity",   &alice,  { TRUST(ACCOUNT) },                    DENIED, LAYER_IDENTITY },
    { "identity never suffices", &alice, { TRUST(AWS(EVE)), ASSUME },           DENIED, LAYER_RESOURCE },
    { "no trust policy",        &alice,  { NULL, ASSUME },                      DENIED, LAYER_RESOURCE },
    { "foreign, both",          &eve,    { TRUST(AWS(EVE)), ASSUME },           ALLOWED, LAYER_RESOURCE },
    { "foreign, trust only",    &eve,    { TRUST(AWS(EVE)) },                   DENIED, LAYER_IDENTITY },
    { "root",                   &root_a, { TRUST(ACCOUNT), ASSUME },            DENIED, LAYER_RESOURCE },
    { "session of a role",      &app_s1, { TRUST(AWS(APP)) },                   ALLOWED, LAYER_RESOURCE },
    { "identity denies",        &alice,  { TRUST(AWS(ALICE)), "{`Statement`:{`Effect`:`Deny`,`Action`:`sts:*`,`Resource`:`*`}}" }, DENIED_EXPLICITLY, LAYER_IDENTITY },
};
/* clang-format on */

static void test_decide_assume_role(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(role_rows); i++) {
        struct grant grant = { STRENGTH_DIRECT, 0 };
        struct decision decision;
        struct rig rig;
        rig_init(&rig, role_rows[i].caller, "sts:AssumeRole", POLICY_TRUST,
                 &role_rows[i].documents);
        rig.request.question.resource = APP;
        rig.request.grant = ask_grant;
        rig.request.grant_ctx = &grant;
        decide(&rig.request, &decision);
        check_decision(role_rows[i].name, &decision, role_rows[i].verdict, role_rows[i].layer);
        assert_int_equal(grant.asked, 0);
        rig_done(&rig);
    }
}

/* Each half of ReEncrypt is a decision of its own, by whatever route. */
static void test_decide_reencrypt_halves(void **state)
{
    const struct documents source = { ONE(ALLOW(AWS(EVE))),
                                      IDENTITY("`Action`:`kms:ReEncryptTo`", "*") };
    const struct documents target = { ONE(ALLOW(ACCOUNT)),
                                      IDENTITY("`Action`:`kms:ReEncryptTo`", "*") };
    struct grant grant = { STRENGTH_DIRECT, 0 };
    struct decision decision;
    struct rig rig;

    (void)state;
    rig_init(&rig, &alice, "kms:ReEncryptFrom", POLICY_KEY, &source);
    decide(&rig.request, &decision);
    check_decision("from, no grant", &decision, DENIED, LAYER_RESOURCE);
    rig.request.grant = ask_grant;
    rig.request.grant_ctx = &grant;
    decide(&rig.request, &decision);
    check_decision("from, by grant", &decision, ALLOWED, LAYER_GRANT);
    rig_done(&rig);

    decision = decide_with(&alice, "kms:ReEncryptTo", POLICY_KEY, &target);
    check_decision("to, by identity", &decision, ALLOWED, LAYER_IDENTITY);
    decision = decide_with(&alice, "kms:ReEncryptTo", POLICY_KEY,
                           &(struct documents){ ONE(ALLOW(ACCOUNT)), ENC });
    check_decision("to, nothing", &decision, DENIED, LAYER_IDENTITY);
}

/* Several session policies are one: what any of them allows. */
static void test_decide_session_policies_add_up(void **state)
{
    struct policy *const enc = compile_ok(POLICY_IDENTITY, ENC);
    struct policy *const full = compile_ok(POLICY_IDENTITY, FULL);
    const struct named_policy sessions[] = { { "inline", enc }, { "managed", full } };
    const struct documents documents = { .key = ONE(ALLOW(AWS(APP))) };
    struct decision decision;
    struct rig rig;

    (void)state;
    rig_init(&rig, &app_s1, "kms:Decrypt", POLICY_KEY, &documents);
    rig.request.session = sessions;
    rig.request.session_count = 1;
    decide(&rig.request, &decision);
    check_decision("one", &decision, DENIED, LAYER_SESSION);
    rig.request.session_count = 2;
    decide(&rig.request, &decision);
    check_decision("two", &decision, ALLOWED, LAYER_RESOURCE);
    rig_done(&rig);
    policy_unref(enc);
    policy_unref(full);
}

/* Which policy, which statement: what an audit record will say. */
static void test_decide_names_the_statement(void **state)
{
    const struct documents documents = {
        TWO(ALLOW(ACCOUNT), "{`Sid`:`second`,`Effect`:`Allow`,`Principal`:" AWS(
                                ALICE) ",`Action`:`kms:*`,`Resource`:`*`}"),
        "{`Statement`:[{`Effect`:`Allow`,`Action`:`kms:*`,`Resource`:`*`},"
        "{`Sid`:`no`,`Effect`:`Deny`,`Action`:`kms:Encrypt`,`Resource`:`*`}]}"
    };
    struct decision decision;

    (void)state;
    decision = decide_with(&alice, "kms:Decrypt", POLICY_KEY, &documents);
    CHECK(decision.allowed && decision.statement == 1 && strcmp(decision.policy, "K") == 0);
    decision = decide_with(&app_s1, "kms:Decrypt", POLICY_KEY, &documents);
    CHECK(decision.allowed && decision.statement == 0 && strcmp(decision.policy, "I") == 0);
    decision = decide_with(&alice, "kms:Encrypt", POLICY_KEY, &documents);
    CHECK(decision.explicit_deny && decision.statement == 1 && strcmp(decision.policy, "I") == 0);
    decision =
        decide_with(&eve, "kms:Encrypt", POLICY_KEY, &(struct documents){ ONE(ALLOW(ACCOUNT)) });
    CHECK(!decision.allowed && decision.statement == -1 && decision.policy == NULL &&
          decision.sid == NULL);
}

static void note(void *arg, const char *where, const char *what)
{
    buf_printf(arg, "%s: %s\n", where, what);
}

/* An explanation tells each policy that is asked and each statement that is looked at. */
static void test_decide_trace(void **state)
{
    static const char expected[] = "K: asked for a Deny\nI: asked for a Deny\n"
                                   "K: asked for an Allow\nStatement 1: applies: Allow\n"
                                   "I: asked for an Allow\n"
                                   "Statement 1: does not name the action\n";
    const struct documents documents = { ONE(ALLOW(ACCOUNT)), ENC };
    struct decision decision;
    AUTO(buf) told = { 0 };
    struct rig rig;

    (void)state;
    rig_init(&rig, &alice, "kms:Decrypt", POLICY_KEY, &documents);
    rig.request.question.trace = note;
    rig.request.question.trace_arg = &told;
    decide(&rig.request, &decision);
    check_decision("traced", &decision, DENIED, LAYER_IDENTITY);
    CHECK_SPAN(buf_span(&told), span_text(expected));
    rig_done(&rig);
}

/* An evaluation that would take too long is a refusal, and is marked for the log. */
static void test_decide_broken_is_denied(void **state)
{
    static char subject[8193], pattern[600], text[1200];
    const struct documents allow = { text }, deny = { ONE(ALLOW("`*`")), text };
    struct policy_context context = { 0 };
    struct decision decision;

    (void)state;
    memset(subject, 'a', sizeof(subject) - 2);
    subject[sizeof(subject) - 2] = 'b';
    context_set(&context, AWS_USER_AGENT, subject);
    pattern[0] = '*';
    memset(pattern + 1, 'a', sizeof(pattern) - 3);
    pattern[sizeof(pattern) - 2] = 'c';
    for (int i = 0; i < 2; i++) {
        struct rig rig;
        (void)snprintf(text, sizeof(text),
                       "{`Statement`:{`Effect`:`%s`,%s`Action`:`*`,`Resource`:`*`,"
                       "`Condition`:{`StringLike`:{`aws:UserAgent`:`%s`}}}}",
                       i ? "Deny" : "Allow", i ? "" : "`Principal`:`*`,", pattern);
        rig_init(&rig, &alice, "kms:Decrypt", POLICY_KEY, i ? &deny : &allow);
        rig.request.question.context = &context;
        decide(&rig.request, &decision);
        CHECK(!decision.allowed && decision.broken && !decision.explicit_deny);
        assert_int_equal(decision.layer, i ? LAYER_IDENTITY : LAYER_RESOURCE);
        rig_done(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decide_golden),
        cmocka_unit_test(test_decide_own_account_only),
        cmocka_unit_test(test_decide_golden_conditions),
        cmocka_unit_test(test_decide_delegation_under_a_condition),
        cmocka_unit_test(test_decide_anyone_by_arn),
        cmocka_unit_test(test_decide_grants),
        cmocka_unit_test(test_decide_by_identity),
        cmocka_unit_test(test_decide_assume_role),
        cmocka_unit_test(test_decide_reencrypt_halves),
        cmocka_unit_test(test_decide_session_policies_add_up),
        cmocka_unit_test(test_decide_names_the_statement),
        cmocka_unit_test(test_decide_trace),
        cmocka_unit_test(test_decide_broken_is_denied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
