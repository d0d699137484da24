#include "hsmkms/admin/parts.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/regions.h"

/* Access keys, and the state of the service. */

/* --- access keys ------------------------------------------------------------------------------ */

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

/* --- status ----------------------------------------------------------------------------------- */

/* clang-format off */
static json_t *token_json(struct token *token)
{
    struct token_status now;

    token_status(token, &now);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b,"
                     " s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "Label",               now.label,
                     "Manufacturer",        now.manufacturer,
                     "Model",               now.model,
                     "Serial",              now.serial,
                     "Library",             now.library,
                     "Profile",             now.profile,
                     "EnforcesExtraction",  now.enforces_extraction,
                     "Copies",              now.copies,
                     "Available",           now.available,
                     "Sessions",            (json_int_t)now.sessions,
                     "SessionsReplaced",    (json_int_t)now.sessions_replaced,
                     "Keys",                (json_int_t)now.keys,
                     "KeysCopied",          (json_int_t)now.keys_copied,
                     "ObjectsIgnored",      (json_int_t)now.objects_ignored,
                     "Calls",               (json_int_t)now.calls,
                     "Errors",              (json_int_t)now.errors,
                     "SlowestMicroseconds", (json_int_t)now.slowest_us);
}

/* Usages of a spec for which this token can make keys. */
static json_t *usages_json(struct token *token, const struct keyspec *spec)
{
    json_t *const usages = json_array();

    for (enum spec_usage usage = 0; usage < SPEC_USAGES; usage++) {
        struct kms_error unknown = { 0 };
        bool supported = false;
        if (keyspec_supported(token, spec, usage, &supported, &unknown) == 0 && supported)
            (void)json_array_append_new(usages, json_string(spec_usage_text(usage)));
    }
    return usages;
}

/* NULL while the token is not well: the first question about a kind of key is asked by trying. */
static json_t *specs_json(struct token *token)
{
    struct token_status now;

    token_status(token, &now);
    if (!now.available || now.slowest_us > 0)
        return NULL;
    json_t *const specs = json_object();
    for (size_t i = 0; i < keyspec_count; i++)
        (void)json_object_set_new(specs, keyspecs[i].name, usages_json(token, &keyspecs[i]));
    return specs;
}

/* What is known of a store; Token only while it is connected. */
static json_t *store_json(const struct keyring *keyring, const struct key_store_view *store)
{
    struct kms_error away = { 0 };
    AUTO(token_hold) held = { 0 };
    const bool connected = key_store_hold_id(keyring, store->record.id, &held, &away) == 0;

    return json_pack("{s:s, s:s, s:s, s:s, s:s*, s:o*}",
                     "CustomKeyStoreId",    store->record.id,
                     "CustomKeyStoreName",  store->record.name,
                     "CloudHsmClusterId",   store->record.cluster,
                     "ConnectionState",     key_store_state_text(store->state),
                     "ConnectionErrorCode", store->error,
                     "Token",               connected ? token_json(held.token) : NULL);
}

static json_t *stores_json(const struct keyring *keyring)
{
    struct kms_error unlisted = { 0 };
    json_t *const stores = json_array();
    AUTO(key_store_list) list = { 0 };

    if (key_store_list(keyring, &list, &unlisted) < 0)
        return stores; /* out of memory: the rest of the status counts more */
    for (size_t i = 0; i < list.count; i++)
        (void)json_array_append_new(stores, store_json(keyring, &list.items[i]));
    return stores;
}

static json_t *audit_json(struct audit *audit)
{
    struct audit_status now;

    audit_status(audit, &now);
    return json_pack("{s:b, s:I, s:I, s:I, s:I}",
                     "Healthy",      now.healthy,
                     "Records",      (json_int_t)now.seq,
                     "Groups",       (json_int_t)now.groups,
                     "Queued",       (json_int_t)now.queued,
                     "LargestGroup", (json_int_t)now.largest_group);
}

/* NULL where there is no server: the member is left out. */
static json_t *http_json(struct http_server *http)
{
    struct http_status now;

    if (http == NULL)
        return NULL;
    http_server_status(http, &now);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}",
                     "Connections", (json_int_t)now.connections,
                     "Queued",      (json_int_t)now.queued,
                     "QueuedMost",  (json_int_t)now.queued_most,
                     "Requests",    (json_int_t)now.requests,
                     "Refused",     (json_int_t)now.refused,
                     "Throttled",   (json_int_t)now.throttled);
}

static json_t *regions_json(const struct admin_services *services)
{
    json_t *const names = json_array();

    for (const struct keyring *each = services->keyring; each; each = each->next)
        (void)json_array_append_new(names, json_string(each->region));
    return names;
}

static json_t *status_json(const struct admin_services *services)
{
    const int64_t uptime_s = (clock_mono_us() - services->started_us) / INT64_C(1000000);

    return json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:o*, s:o, s:o*}",
                     "Account",       services->account,
                     "Region",        services->region,
                     "Regions",       regions_json(services),
                     "UptimeSeconds", (json_int_t)uptime_s,
                     "CustomerKeys",  (json_int_t)keyring_count(services->keyring),
                     "StoreSequence", (json_int_t)store_sequence(services->store),
                     "Token",         token_json(services->token),
                     "KeyStores",     stores_json(services->keyring),
                     "KeySpecs",      specs_json(services->token),
                     "Audit",         audit_json(services->audit),
                     "Http",          http_json(services->http));
}
/* clang-format on */

static int status(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return admin_answer(status_json(call->services), ret, err);
}

const struct admin_handler admin_key_handlers[] = {
    { "key create", key_create },   { "key enable", key_enable }, { "key disable", key_disable },
    { "key delete", key_delete },   { "key list", key_list },     { "status", status },
    { 0 },
};
