#include "tests/support/directory_rig.h"

#include <inttypes.h>
#include <stdio.h>

#include "tests/support/check.h"

int directory_rig_up(void **state)
{
    struct directory_rig *const rig = *state;
    struct kms_error err = { 0 };
    uint8_t unused[TOKEN_CANARY_LEN];

    *rig = (struct directory_rig){ .mac_key = uuid_random() };
    rig->token = softhsm_open(&rig->softhsm);
    CHECK_OK(token_key_generate(rig->token, TOKEN_HMAC, &rig->mac_key, "mac", unused, &err), err);
    return 0;
}

int directory_rig_down(void **state)
{
    struct directory_rig *const rig = *state;

    directory_rig_close(rig);
    token_close(rig->token);
    softhsm_done(&rig->softhsm);
    return 0;
}

static int sign(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN], struct kms_error *err)
{
    const struct directory_rig *const rig = ctx;

    return token_hmac(rig->token, &rig->mac_key, data, ret, err);
}

int directory_rig_open(struct directory_rig *rig, struct kms_error *err)
{
    const struct store_mac mac = { .sign = sign, .ctx = rig };

    if (store_open(rig->database, schema_tables, mac, &rig->store, err) < 0)
        return -1;
    const struct directory_config config = {
        .token = rig->token, .store = rig->store, .clock = &rig->clock, .account = RIG_OWNER
    };
    return directory_open(&config, &rig->directory, err);
}

void directory_rig_close(struct directory_rig *rig)
{
    directory_close(rig->directory);
    store_close(rig->store);
    rig->directory = NULL;
    rig->store = NULL;
}

void directory_rig_begin(struct directory_rig *rig)
{
    struct kms_error err = { 0 };

    directory_rig_close(rig);
    rig->clock.fixed_ms = INT64_C(1795176000) * MS_PER_SECOND;
    (void)snprintf(rig->database, sizeof(rig->database), "%.200s/iam-%u.db", rig->softhsm.state,
                   rig->databases++);
    CHECK_OK(directory_rig_open(rig, &err), err);
}

void directory_rig_restart(struct directory_rig *rig)
{
    struct kms_error err = { 0 };
    AUTO(buf) before = { 0 };
    AUTO(buf) after = { 0 };

    directory_rig_dump(rig, &before);
    directory_rig_close(rig);
    CHECK_OK(directory_rig_open(rig, &err), err);
    directory_rig_dump(rig, &after);
    CHECK_SPAN(buf_span(&after), buf_span(&before));
}

/* --- everything as text ----------------------------------------------------------------------- */

static void dump_account(void *arg, const struct account_info *account)
{
    buf_printf(arg, "account %s kind %d owner %d root %d until %" PRId64 "\n", account->account,
               (int)account->kind, account->owns_keys, account->root_enabled,
               account->root_until_ms);
}

static void dump_managed(void *arg, const struct managed_policy *policy)
{
    buf_printf(arg, "managed %s name %s path %s id %s %" PRId64 " %" PRId64 " on %zu: %s\n",
               policy->arn, policy->name, policy->path, policy->unique_id, policy->created_ms,
               policy->updated_ms, policy->attachments, policy->text);
}

static void dump_identity(void *arg, const struct identity *identity)
{
    buf_printf(arg,
               "%s %s account %s path %s name %s kind %d enabled %d created %" PRId64
               " session %" PRId64 " revoked %" PRId64 " trust %s\n",
               identity->unique_id, identity->arn, identity->account, identity->path,
               identity->name, (int)identity->kind, identity->enabled, identity->created_ms,
               identity->max_session_s, identity->revoked_ms,
               identity->trust ? identity->trust_text : "-");
    for (size_t i = 0; i < identity->tag_count; i++)
        buf_printf(arg, "  tag %s=%s\n", identity->tags[i].key, identity->tags[i].value);
    for (size_t i = 0; i < identity->policy_count; i++)
        buf_printf(arg, "  %s %s\n", i < identity->inline_count ? "inline" : "attached",
                   identity->policies[i].name);
    if (identity->boundary)
        buf_printf(arg, "  boundary %s\n", identity->boundary->name);
}

void directory_rig_dump(struct directory_rig *rig, struct buf *ret)
{
    struct kms_error err = { 0 };

    directory_each_account(rig->directory, dump_account, ret);
    directory_each_managed(rig->directory, dump_managed, ret);
    directory_each(rig->directory, dump_identity, ret);
    CHECK_OK(buf_check(ret, &err), err);
}

/* --- what the tests do most ------------------------------------------------------------------- */

struct identity_name user_name(const char *account, const char *name)
{
    return (struct identity_name){ IDENTITY_USER, account, name };
}

struct identity_name role_name(const char *account, const char *name)
{
    return (struct identity_name){ IDENTITY_ROLE, account, name };
}

static void create(struct directory_rig *rig, const struct identity_draft *draft)
{
    struct kms_error err = { 0 };
    struct identity *made = NULL;

    CHECK_OK(directory_create(rig->directory, draft, &made, &err), err);
    assert_string_equal(made->name, draft->name.name);
    identity_unref(made);
}

void rig_user(struct directory_rig *rig, const char *account, const char *name)
{
    create(rig, &(struct identity_draft){ .name = user_name(account, name) });
}

void rig_role(struct directory_rig *rig, const char *account, const char *name, const char *trust)
{
    create(rig,
           &(struct identity_draft){ .name = role_name(account, name), .trust_policy = trust });
}

static bool allows(const struct named_policy *policies, size_t count,
                   const struct policy_question *question)
{
    bool allowed = false;

    for (size_t i = 0; i < count; i++) {
        struct policy_answer answer = { 0 };
        policy_ask_allow(policies[i].policy, question, &answer);
        allowed |= answer.allowed > STRENGTH_NONE;
    }
    return allowed;
}

bool rig_allows(struct directory_rig *rig, const struct identity_name *name, const char *action)
{
    const struct policy_context context = { .now_ms = clock_wall_ms(&rig->clock) };
    struct principal caller;
    struct identity *const identity =
        directory_find(rig->directory, name->kind, name->account, name->name);

    CHECK(identity != NULL);
    principal_of_user(identity, NULL, "", &caller);
    const struct policy_question question = { .caller = &caller,
                                              .action = action_find(action),
                                              .resource =
                                                  "arn:aws:kms:us-east-1:" RIG_OWNER ":key/k",
                                              .context = &context };
    const bool allowed = allows(identity->policies, identity->policy_count, &question) &&
                         (identity->boundary == NULL || allows(identity->boundary, 1, &question));
    principal_done(&caller);
    return allowed;
}

bool rig_trusts(struct directory_rig *rig, const char *account, const char *role,
                const char *user_account, const char *user)
{
    const struct policy_context context = { .now_ms = clock_wall_ms(&rig->clock) };
    struct principal caller;
    struct policy_answer answer = { 0 };
    struct identity *const who = directory_find(rig->directory, IDENTITY_USER, user_account, user);
    struct identity *const trusting = directory_find(rig->directory, IDENTITY_ROLE, account, role);

    CHECK(who != NULL && trusting != NULL);
    principal_of_user(who, NULL, "", &caller);
    const struct policy_question question = { .caller = &caller,
                                              .action = action_find("sts:AssumeRole"),
                                              .resource = trusting->arn,
                                              .context = &context };
    policy_ask_allow(trusting->trust, &question, &answer);
    principal_done(&caller);
    identity_unref(trusting);
    return answer.allowed == STRENGTH_DIRECT;
}
