#include "hsmkms/admin/parts.h"

/* Access keys. */

static int key_create(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const char *const given = admin_text(call, "UserName");
    const char *const user_name = given ? given : "", *const account = admin_account(call);
    struct identity *user = NULL;
    char id[ACCESS_KEY_ID_LEN + 1];
    AUTO(secret) secret = { 0 };

    if (access_key_create(call->services->iam, account, user_name, id, &secret, err) < 0)
        return -1;
    user = directory_find(call->services->iam->directory, IDENTITY_USER, account, user_name);
    json_t *const arn = user ? json_string(user->arn) : json_sprintf("arn:aws:iam::%s:root", account);
    identity_unref(user);
    return admin_answer(json_pack("{s:s, s:s%, s:s, s:s, s:o}", "AccessKeyId", id,
                                  "SecretAccessKey", (const char *)secret.ptr, secret.len,
                                  "Status", "Active", "UserName", user_name, "Arn", arn),
                        ret, err);
}

static int set_active(const struct admin_call *call, bool active, json_t **ret,
                      struct kms_error *err)
{
    const char *const id = admin_text(call, "AccessKeyId");

    if (access_key_set_active(call->services->iam, id, active, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s, s:s}", "AccessKeyId", id, "Status",
                                  active ? "Active" : "Inactive"),
                        ret, err);
}

static int key_enable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return set_active(call, true, ret, err);
}

static int key_disable(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return set_active(call, false, ret, err);
}

static int key_delete(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const char *const id = admin_text(call, "AccessKeyId");

    if (access_key_delete(call->services->iam, id, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s}", "AccessKeyId", id), ret, err);
}

/* The records of all keys, copied: their owners are looked up when the lock is given back. */
static void append_key(void *arg, const struct access_key_record *record)
{
    (void)json_array_append_new(
        arg, json_pack("{s:s, s:s, s:s, s:s, s:s}", "AccessKeyId", record->id, "Account",
                       record->account, "Owner", record->owner, "Status",
                       record->active ? "Active" : "Inactive", "CreateDate",
                       clock_iso8601(record->created_ms).text));
}

/* Adds user name and ARN of the owner, where there still is one. */
static void name_owner(struct iam *iam, json_t *item)
{
    const char *const owner = json_string_value(json_object_get(item, "Owner"));
    const char *const account = json_string_value(json_object_get(item, "Account"));
    struct identity *const user = owner ? directory_get(iam->directory, owner) : NULL;

    if (user) {
        (void)json_object_set_new(item, "UserName", json_string(user->name));
        (void)json_object_set_new(item, "Arn", json_string(user->arn));
    } else {
        (void)json_object_set_new(item, "UserName", json_string(""));
        (void)json_object_set_new(item, "Arn", json_sprintf("arn:aws:iam::%s:root", account));
    }
    (void)json_object_del(item, "Owner");
    identity_unref(user);
}

static int key_list(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct iam *const iam = call->services->iam;
    json_t *const keys = json_array();

    access_key_each(iam, append_key, keys);
    for (size_t i = 0; i < json_array_size(keys); i++)
        name_owner(iam, json_array_get(keys, i));
    return admin_answer(json_pack("{s:o}", "AccessKeys", keys), ret, err);
}

const struct admin_handler admin_key_handlers[] = {
    { "key create", key_create },   { "key enable", key_enable }, { "key disable", key_disable },
    { "key delete", key_delete },   { "key list", key_list },     { 0 },
};
