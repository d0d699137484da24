#include "hsmkms/admin/parts.h"
#include "hsmkms/iam/door_token.h"

/* Bearer tokens of users and of the account root, and secrets of AppRole logins. */

#define DAYS_MOST 36500

/* The row of the command says what it is about: "token ..." or "secret ...". */
static enum door_token_kind kind_of(const struct admin_call *call)
{
    return call->row->name[0] == 't' ? DOOR_TOKEN : DOOR_SECRET;
}

/* What logs in with a secret is named as its user is: by its unique id. */
static json_t *role_of(const struct admin_call *call, const struct door_token_draft *draft)
{
    struct identity *const user = directory_find(call->services->iam->directory, IDENTITY_USER,
                                                 draft->account, draft->user_name);
    json_t *const role = json_string(user ? user->unique_id : draft->account);

    identity_unref(user);
    return role;
}

static int token_create(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const char *const user = admin_text(call, "UserName"), *const label = admin_text(call, "Label");
    struct door_token_draft draft = { .kind = kind_of(call),
                                      .account = admin_account(call),
                                      .user_name = user ? user : "",
                                      .label = label ? label : "" };
    const bool login = draft.kind == DOOR_SECRET;
    struct uuid id;
    AUTO(secret) text = { 0 };

    if (admin_number(call, "Days", DAYS_MOST, &draft.days, err) < 0 ||
        door_token_create(call->services->iam, &draft, &id, &text, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s, s:s%, s:s, s:o*}", "TokenId", uuid_format(&id).text,
                                  login ? "SecretId" : "Token", (const char *)text.ptr, text.len,
                                  "UserName", draft.user_name, "RoleId",
                                  login ? role_of(call, &draft) : NULL),
                        ret, err);
}

/* The id of the command. Errors: VALIDATION. */
static int read_id(const struct admin_call *call, struct uuid *ret, struct kms_error *err)
{
    if (!uuid_parse(span_text(admin_text(call, "TokenId")), ret))
        return kms_fail(err, KMS_ERR_VALIDATION, "This is no id of a token");
    return 0;
}

static int set_active(const struct admin_call *call, bool active, json_t **ret,
                      struct kms_error *err)
{
    struct uuid id;

    if (read_id(call, &id, err) < 0 ||
        door_token_set_active(call->services->iam, &id, active, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s, s:s}", "TokenId", admin_text(call, "TokenId"), "Status",
                                  active ? "Active" : "Inactive"),
                        ret, err);
}

static int token_enable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return set_active(call, true, ret, err);
}

static int token_disable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return set_active(call, false, ret, err);
}

static int token_delete(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct uuid id;

    if (read_id(call, &id, err) < 0 || door_token_delete(call->services->iam, &id, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s}", "TokenId", admin_text(call, "TokenId")), ret, err);
}

/* The records, copied: their owners are looked up when the lock is given back. */
static void append_token(void *arg, const struct door_token_record *record)
{
    json_t *const until =
        record->expires_ms ? json_string(clock_iso8601(record->expires_ms).text) : NULL;

    (void)json_array_append_new(
        arg, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o*}", "TokenId",
                       uuid_format(&record->id).text, "Kind", record->kind, "Account",
                       record->account, "Owner", record->owner, "Label", record->label, "Status",
                       record->active ? "Active" : "Inactive", "CreateDate",
                       clock_iso8601(record->created_ms).text, "ExpireDate", until));
}

/* Adds name and ARN of the owner; empty where there is none any more. */
static void name_owner(struct iam *iam, json_t *item)
{
    const char *const owner = json_string_value(json_object_get(item, "Owner"));
    const char *const account = json_string_value(json_object_get(item, "Account"));
    const bool root = owner && account && strcmp(owner, account) == 0;
    struct identity *const user = owner && !root ? directory_get(iam->directory, owner) : NULL;

    (void)json_object_set_new(item, "UserName", json_string(user ? user->name : ""));
    (void)json_object_set_new(item, "Arn",
                              root ? json_sprintf("arn:aws:iam::%s:root", account)
                                   : json_string(user ? user->arn : ""));
    identity_unref(user);
}

static int token_list(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct iam *const iam = call->services->iam;
    json_t *const tokens = json_array();

    door_token_each(iam, append_token, tokens);
    for (size_t i = 0; i < json_array_size(tokens); i++)
        name_owner(iam, json_array_get(tokens, i));
    return admin_answer(json_pack("{s:o}", "Tokens", tokens), ret, err);
}

const struct admin_handler admin_token_handlers[] = {
    { "token create", token_create },
    { "secret create", token_create },
    { "token enable", token_enable },
    { "token disable", token_disable },
    { "token delete", token_delete },
    { "token list", token_list },
    { 0 },
};
