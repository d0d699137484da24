#include "hsmkms/admin/parts.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/regions.h"

/* The state of the service: tokens and what they can do, audit trail, HTTP, regions. */

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

const struct admin_handler admin_status_handlers[] = {
    { "status", status },
    { 0 },
};
