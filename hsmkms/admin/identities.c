#include <stdio.h>

#include "hsmkms/admin/parts.h"
#include "hsmkms/iam/door_token.h"

/* Accounts, users and roles. */

/* --- accounts --------------------------------------------------------------------------------- */

static int account_add(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    if (directory_add_account(call->services->iam->directory, admin_text(call, "AccountId"),
                              admin_text(call, "Foreign") != NULL, err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int account_remove(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const char *const account = admin_text(call, "AccountId");

    if (access_key_owned(call->services->iam, account) ||
        door_token_owned(call->services->iam, account)) /* those of its root */
        return kms_fail(err, KMS_ERR_CONFLICT,
                        "Cannot remove account %s: delete the access keys of its root first.",
                        account);
    if (directory_remove_account(call->services->iam->directory, account, err) < 0)
        return -1;
    return admin_done(ret, err);
}

static void append_account(void *arg, const struct account_info *account)
{
    const bool ends = account->root_enabled && account->root_until_ms;

    (void)json_array_append_new(
        arg, json_pack("{s:s, s:b, s:b, s:b, s:s*}", "AccountId", account->account, "OwnsKeys",
                       account->owns_keys, "Foreign", account->kind == ACCOUNT_FOREIGN,
                       "RootEnabled", account->root_enabled, "RootUntil",
                       ends ? clock_iso8601(account->root_until_ms).text : NULL));
}

static int account_list(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    json_t *const accounts = json_array();

    directory_each_account(call->services->iam->directory, append_account, accounts);
    return admin_answer(json_pack("{s:o}", "Accounts", accounts), ret, err);
}

/* --- root ------------------------------------------------------------------------------------- */

static int set_root(const struct admin_call *call, bool enabled, int64_t until_ms, json_t **ret,
                    struct kms_error *err)
{
    if (directory_set_root(call->services->iam->directory, admin_account(call), enabled, until_ms,
                           err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int root_enable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const int64_t week = 7 * 24 * 60;
    int64_t minutes = 0;

    if (admin_number(call, "Minutes", week, &minutes, err) < 0)
        return -1;
    const int64_t now_ms = clock_wall_ms(call->services->clock);
    return set_root(call, true, minutes ? now_ms + minutes * 60 * MS_PER_SECOND : 0, ret, err);
}

static int root_disable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return set_root(call, false, 0, ret, err);
}

/* --- users and roles -------------------------------------------------------------------------- */

static int create(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct identity_draft draft = { .path = admin_text(call, "Path"),
                                    .trust_policy = admin_text(call, "TrustPolicy") };
    struct identity *made = NULL;

    if (admin_whose(call, &draft.name, err) < 0 ||
        admin_number(call, "MaxSession", 43200, &draft.max_session_s, err) < 0)
        return -1;
    if (draft.name.kind == IDENTITY_ROLE && draft.trust_policy == NULL)
        return kms_fail(err, KMS_ERR_VALIDATION, "--trust is missing");
    if (directory_create(call->services->iam->directory, &draft, &made, err) < 0)
        return -1;
    json_t *const shown = admin_identity_json(call->services->iam->directory, made);
    const char *const member = made->kind == IDENTITY_USER ? "User" : "Role";
    identity_unref(made);
    return admin_answer(json_pack("{s:o}", member, shown), ret, err);
}

static int remove_identity(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct iam *const iam = call->services->iam;
    struct identity_name name;

    if (admin_whose(call, &name, err) < 0)
        return -1;
    struct identity *const found =
        directory_find(iam->directory, name.kind, name.account, name.name);
    const bool has_keys = found && (access_key_owned(iam, found->unique_id) ||
                                    door_token_owned(iam, found->unique_id));
    identity_unref(found);
    if (directory_delete(iam->directory, &name, has_keys, err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int set_enabled(const struct admin_call *call, bool enabled, json_t **ret,
                       struct kms_error *err)
{
    struct identity_name name;

    if (admin_whose(call, &name, err) < 0 ||
        directory_set_enabled(call->services->iam->directory, &name, enabled, err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int enable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return set_enabled(call, true, ret, err);
}

static int disable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return set_enabled(call, false, ret, err);
}

static int role_trust(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    if (directory_set_trust(call->services->iam->directory, admin_account(call),
                            admin_text(call, "RoleName"), admin_text(call, "PolicyDocument"),
                            err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int role_max_session(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    int64_t seconds = 0;

    if (admin_number(call, "MaxSession", 43200, &seconds, err) < 0 ||
        directory_set_max_session(call->services->iam->directory, admin_account(call),
                                  admin_text(call, "RoleName"), seconds, err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int revoke_sessions(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct identity_name name;

    if (admin_whose(call, &name, err) < 0 ||
        directory_revoke_sessions(call->services->iam->directory, &name, err) < 0)
        return -1;
    return admin_done(ret, err);
}

/* --- tags ------------------------------------------------------------------------------------- */

static int tag_set(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct identity_name name;

    if (admin_whose(call, &name, err) < 0 ||
        directory_tag(call->services->iam->directory, &name, admin_text(call, "TagKey"),
                      admin_text(call, "TagValue"), err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int tag_remove(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct identity_name name;

    if (admin_whose(call, &name, err) < 0 ||
        directory_untag(call->services->iam->directory, &name, admin_text(call, "TagKey"), err) < 0)
        return -1;
    return admin_done(ret, err);
}

/* --- showing ---------------------------------------------------------------------------------- */

static int show(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct directory *const directory = call->services->iam->directory;
    struct identity_name name;

    if (admin_whose(call, &name, err) < 0)
        return -1;
    struct identity *const found = directory_find(directory, name.kind, name.account, name.name);
    if (found == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "The %s with name %s cannot be found.",
                        name.kind == IDENTITY_USER ? "user" : "role", name.name);
    json_t *const shown = admin_identity_json(directory, found);
    identity_unref(found);
    return admin_answer(
        json_pack("{s:o}", name.kind == IDENTITY_USER ? "User" : "Role", shown), ret, err);
}

/* The short form of lists. */
struct listing {
    enum identity_kind kind;
    json_t *items;
};

static void append_identity(void *arg, const struct identity *identity)
{
    const struct listing *const listing = arg;

    if (identity->kind != listing->kind)
        return;
    (void)json_array_append_new(
        listing->items, json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "Name", identity->name, "Path",
                                  identity->path, "Arn", identity->arn, "Id", identity->unique_id,
                                  "Enabled", identity->enabled, "CreateDate",
                                  clock_iso8601(identity->created_ms).text));
}

static int list(const struct admin_call *call, enum identity_kind kind, const char *member,
                json_t **ret, struct kms_error *err)
{
    struct listing listing = { kind, json_array() };

    directory_each(call->services->iam->directory, append_identity, &listing);
    return admin_answer(json_pack("{s:o}", member, listing.items), ret, err);
}

static int user_list(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return list(call, IDENTITY_USER, "Users", ret, err);
}

static int role_list(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return list(call, IDENTITY_ROLE, "Roles", ret, err);
}

const struct admin_handler admin_identity_handlers[] = {
    { "account add", account_add },
    { "account remove", account_remove },
    { "account list", account_list },
    { "root enable", root_enable },
    { "root disable", root_disable },
    { "user create", create },
    { "user delete", remove_identity },
    { "user enable", enable },
    { "user disable", disable },
    { "user show", show },
    { "user list", user_list },
    { "role create", create },
    { "role delete", remove_identity },
    { "role enable", enable },
    { "role disable", disable },
    { "role show", show },
    { "role list", role_list },
    { "role trust", role_trust },
    { "role max-session", role_max_session },
    { "tag set", tag_set },
    { "tag remove", tag_remove },
    { "revoke-sessions", revoke_sessions },
    { 0 },
};
