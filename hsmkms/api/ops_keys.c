#include "hsmkms/api/ops.h"

#include <stdlib.h>
#include <string.h>

#include "hsmkms/api/paging.h"
#include "hsmkms/api/policy.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/api/tags.h"
#include "hsmkms/keys/import.h"
#include "hsmkms/keys/imported.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/lifecycle.h"

/*
 * CreateKey, DescribeKey, ListKeys, UpdateKeyDescription, EnableKey, DisableKey,
 * ScheduleKeyDeletion, CancelKeyDeletion.
 */

struct create_key_request {
    struct request_head head;
    const char *policy, *description, *usage, *old_spec, *spec, *origin, *key_store, *xks_key;
    bool bypass, multi_region;
    struct tag_list tags;
};

struct describe_key_request {
    struct request_head head;
};

struct key_only_request {
    struct request_head head;
};

struct list_keys_request {
    struct request_head head;
    int64_t limit;
    const char *marker;
    struct string_list owners;
};

struct update_description_request {
    struct request_head head;
    const char *description;
};

struct schedule_deletion_request {
    struct request_head head;
    int64_t days;
};

static const char *const owners[] = { "SELF", "OTHER_ACCOUNTS_VIA_RAM", NULL };

/* The first text of each is the default. */
static const char *const usages[] = { "ENCRYPT_DECRYPT",         "SIGN_VERIFY",
                                      "GENERATE_VERIFY_MAC",     "KEY_AGREEMENT",
                                      "ENCAPSULATE_DECAPSULATE", NULL };
static const char *const origins[] = { "AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE",
                                       NULL };
static const char *const specs[] = { "SYMMETRIC_DEFAULT",
                                     "RSA_2048",
                                     "RSA_3072",
                                     "RSA_4096",
                                     "ECC_NIST_P256",
                                     "ECC_NIST_P384",
                                     "ECC_NIST_P521",
                                     "ECC_NIST_EDWARDS25519",
                                     "ECC_SECG_P256K1",
                                     "HMAC_224",
                                     "HMAC_256",
                                     "HMAC_384",
                                     "HMAC_512",
                                     "ML_DSA_44",
                                     "ML_DSA_65",
                                     "ML_DSA_87",
                                     "ML_KEM_512",
                                     "ML_KEM_768",
                                     "ML_KEM_1024",
                                     "SM2",
                                     NULL };
static const char *const old_specs[] = { "SYMMETRIC_DEFAULT",
                                         "RSA_2048",
                                         "RSA_3072",
                                         "RSA_4096",
                                         "ECC_NIST_P256",
                                         "ECC_NIST_P384",
                                         "ECC_NIST_P521",
                                         "ECC_SECG_P256K1",
                                         "HMAC_224",
                                         "HMAC_256",
                                         "HMAC_384",
                                         "HMAC_512",
                                         "SM2",
                                         NULL };

/* clang-format off */
static const struct field create_key_fields[] = {
    { "Policy",                OPTIONAL, AT(create_key, STRING, policy), 1, 131072, .log = LOGGED, .pattern = &pattern_policy },
    { "Description",           OPTIONAL, AT(create_key, STRING, description), 0, 8192, .log = FILLED },
    { "KeyUsage",              OPTIONAL, AT(create_key, ENUM, usage), 0, 0, .log = FILLED, .texts = usages, .slot = KMS_KEY_USAGE, .preset = "ENCRYPT_DECRYPT" },
    { "CustomerMasterKeySpec", OPTIONAL, AT(create_key, ENUM, old_spec), 0, 0, .log = FILLED, .texts = old_specs, .slot = KMS_CUSTOMER_MASTER_KEY_SPEC },
    { "KeySpec",               OPTIONAL, AT(create_key, ENUM, spec), 0, 0, .log = FILLED, .texts = specs, .slot = KMS_KEY_SPEC, .preset = "SYMMETRIC_DEFAULT" },
    { "Origin",                PRESET,   AT(create_key, ENUM, origin), 0, 0, .log = FILLED, .texts = origins, .slot = KMS_KEY_ORIGIN },
    { "CustomKeyStoreId",      OPTIONAL, AT(create_key, STRING, key_store), 1, 64, .log = LOGGED },
    { "XksKeyId",              OPTIONAL, AT(create_key, STRING, xks_key), 1, 128, .log = LOGGED, .pattern = &pattern_xks_key },
    { "BypassPolicyLockoutSafetyCheck", OPTIONAL, AT(create_key, BOOL, bypass), 0, 1, .log = FILLED, .slot = KMS_BYPASS_LOCKOUT_CHECK },
    { "MultiRegion",           OPTIONAL, AT(create_key, BOOL, multi_region), 0, 1, .log = FILLED, .slot = KMS_MULTI_REGION, .preset = "false" },
    { "Tags",                  OPTIONAL, AT(create_key, TAGS, tags), 0, 1000, .log = LOGGED },
    { 0 },
};

static const struct field describe_key_fields[] = {
    KEY_ID_ROW(REQUIRED),
    GRANT_TOKENS_ROW,
    { 0 },
};

static const struct field key_only_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { 0 },
};

static const struct field list_keys_fields[] = {
    LIMIT_ROW(list_keys),
    MARKER_ROW(list_keys),
    { "ResourceOwners", OPTIONAL, AT(list_keys, STRINGS, owners), 1, 2, .log = LOGGED, .texts = owners },
    { 0 },
};

static const struct field update_description_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "Description",         REQUIRED, AT(update_description, STRING, description), 0, 8192, .log = LOGGED },
    { 0 },
};

static const struct field schedule_deletion_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "PendingWindowInDays", OPTIONAL, AT(schedule_deletion, INT, days), 7, 30, .log = LOGGED, .slot = KMS_PENDING_WINDOW_IN_DAYS, .preset = "30" },
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(create_key);
REQUEST_SHAPE(describe_key);
REQUEST_SHAPE(key_only);
REQUEST_SHAPE(list_keys);
REQUEST_SHAPE(update_description);
REQUEST_SHAPE(schedule_deletion);

static const char *spec_name(const struct create_key_request *request)
{
    return request->spec ? request->spec : request->old_spec ? request->old_spec : specs[0];
}

static int cannot_make(const struct keyspec *spec, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_UNSUPPORTED, "KeySpec %s is not supported by this service.",
                    spec->name);
}

/* What the request asks for. Errors: INTERNAL (a spec or usage of the field table has no row). */
static int asked_for(const struct create_key_request *request, const struct keyspec **ret,
                     enum spec_usage *ret_usage, struct kms_error *err)
{
    *ret = keyspec_find(spec_name(request));
    if (*ret == NULL ||
        !spec_usage_parse(request->usage ? request->usage : usages[0], ret_usage))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "KeySpec %s has no row", spec_name(request));
    return 0;
}

static bool is_external(const struct create_key_request *request)
{
    return strcmp(request->origin, ORIGIN_EXTERNAL) == 0;
}

/* Combinations that AWS refuses as such, before what this service or its token does not offer. */
static int check_spec(const struct op_call *c, const struct create_key_request *request,
                      struct kms_error *err)
{
    const struct keyspec *spec = NULL;
    enum spec_usage usage = USAGE_ENCRYPT_DECRYPT;
    bool supported = false;
    AUTO(token_hold) held = { .token = c->keyring->token };

    if (request->spec && request->old_spec)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
                        "CustomerMasterKeySpec is deprecated.");
    if (asked_for(request, &spec, &usage, err) < 0)
        return -1;
    if (request->usage == NULL && !keyspec_is_symmetric(spec))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "You must specify a KeyUsage value for all KMS keys except for symmetric "
                        "encryption keys.");
    if (!keyspec_allows(spec, usage))
        return kms_fail(err, KMS_ERR_VALIDATION, "KeyUsage %s is not compatible with KeySpec %s",
                        spec_usage_text(usage), spec->name);
    if (is_external(request) && !import_offers(spec))
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "KeySpec %s is not supported for imported key material by this service.",
                        spec->name);
    if (request->key_store && key_store_hold_place(c->keyring, request->key_store, &held, err) < 0)
        return -1;
    if (keyspec_supported(held.token, spec, usage, &supported, err) < 0)
        return -1;
    return supported ? 0 : cannot_make(spec, err);
}

/* A key is in a custom key store when both members say so. */
static int check_key_store(const struct op_call *c, const struct create_key_request *request,
                           struct kms_error *err)
{
    const bool in_store = strcmp(request->origin, "AWS_CLOUDHSM") == 0;

    if (in_store != (request->key_store != NULL))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "CustomKeyStoreId and Origin AWS_CLOUDHSM are given both or not at all.");
    if (in_store && op_is_stranger(c))
        return kms_fail(err, KMS_ERR_STORE_NOT_FOUND, "Custom key store %.64s was not found.",
                        request->key_store);
    if (in_store && (request->multi_region || request->xks_key))
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "A key in a custom key store is neither multi-Region nor external.");
    return 0;
}

static int check_offered(const struct create_key_request *request, struct kms_error *err)
{
    if (request->key_store)
        return 0; /* check_key_store() has said what there is to say */
    if (request->multi_region && strcmp(request->origin, origins[0]) != 0)
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "Multi-Region keys of Origin %s are not supported by this service.",
                        request->origin);
    if (!is_external(request) && strcmp(request->origin, origins[0]) != 0)
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "Origin %s is not supported by this service.",
                        request->origin);
    if (request->xks_key)
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "External key stores are not supported by this service.");
    return 0;
}

/* Further accounts have principals but no keys of their own. */
static int check_account(const struct op_call *c, struct kms_error *err)
{
    if (!op_is_stranger(c))
        return 0;
    return kms_fail(err, KMS_ERR_UNSUPPORTED, "Account %s has no keys in this service.",
                    c->call->principal.account);
}

int check_create_key(struct op_call *c, struct kms_error *err)
{
    static const struct op_question tagging = { .action = "TagResource", .arn = "*" };
    struct create_key_request *const request = OP_REQUEST(create_key, c);

    if (check_key_store(c, request, err) < 0 || check_spec(c, request, err) < 0 ||
        check_offered(request, err) < 0)
        return -1;
    if (check_account(c, err) < 0)
        return -1;
    if (request->tags.count && op_authorize(c, &tagging, NULL, err) < 0)
        return -1;
    if (tags_check(&request->tags, err) < 0)
        return -1;
    return policy_check(c, request->policy, request->bypass, &request->head.pins, err);
}

static int answer_metadata(struct op_call *c, struct kms_error *err)
{
    json_t *metadata = NULL;

    if (reply_key_metadata(c->keyring, c->key, &metadata, err) < 0)
        return -1;
    return op_answer(c, json_pack("{s:o}", "KeyMetadata", metadata), err);
}

int op_create_key(struct op_call *c, struct kms_error *err)
{
    const struct create_key_request *const request = OP_REQUEST(create_key, c);
    const struct keyspec *spec = NULL;
    enum spec_usage usage = USAGE_ENCRYPT_DECRYPT;

    if (asked_for(request, &spec, &usage, err) < 0)
        return -1;
    const struct key_draft draft = {
        .key_store = request->key_store,
        .spec = spec->name,
        .usage = usage,
        .description = request->description ? request->description : "",
        .policy = request->policy,
        .policy_pins = (const char *)request->head.pins.ptr,
        .multi_region = request->multi_region,
        .external = is_external(request),
        .tags = request->tags.items,
        .tag_count = request->tags.count,
    };
    struct key *key = NULL;

    if (lifecycle_create(c->keyring, &draft, &key, err) < 0)
        return -1;
    op_set_key(c, key);
    return policy_publish(c->api, &key->record.id, err) < 0 ? -1 : answer_metadata(c, err);
}

int op_describe_key(struct op_call *c, struct kms_error *err)
{
    if (make_named_keys(c, err) < 0)
        return -1;
    return answer_metadata(c, err);
}

static json_t *key_entries(const struct keyring *keyring, struct key *const *keys, size_t count)
{
    json_t *const items = json_array();

    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(items,
                                    json_pack("{s:s, s:s}", "KeyId", key_name(keys[i]).text,
                                              "KeyArn", keyring_arn_of(keyring, keys[i]).text));
    return items;
}

/* The account's own keys are asked for; nobody shares keys through AWS RAM here. */
static bool wants_own(const struct op_call *c)
{
    const struct string_list *const list = &OP_REQUEST(list_keys, c)->owners;

    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], owners[0]) == 0)
            return true;
    return list->count == 0;
}

int op_list_keys(struct op_call *c, struct kms_error *err)
{
    static const struct page_size size = { .preset = 100, .most = 1000 };
    const struct list_keys_request *const request = OP_REQUEST(list_keys, c);
    const size_t limit = page_limit(size, request->limit);
    struct uuid last = { { 0 } };
    AUTO(buf) after = { 0 };

    if (page_after(c, request->marker, &after, err) < 0)
        return -1;
    if (after.len == sizeof(last.bytes))
        memcpy(last.bytes, after.ptr, sizeof(last.bytes));
    struct key **const keys = calloc(limit + 1, sizeof(struct key *));
    if (keys == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a list");

    const size_t got =
        op_is_stranger(c) || !wants_own(c)
            ? 0
            : catalog_keys(c->keyring->catalog, after.len ? &last : NULL, keys, limit + 1);
    const size_t shown = got < limit ? got : limit;
    json_t *const items = key_entries(c->keyring, keys, shown);
    if (shown)
        last = keys[shown - 1]->record.id;
    for (size_t i = 0; i < got; i++)
        key_unref(keys[i]);
    free(keys);
    return page_answer(c, "Keys", items, got > limit, uuid_span(&last), err);
}

int op_update_description(struct op_call *c, struct kms_error *err)
{
    return lifecycle_set_description(c->keyring, &c->key->record.id,
                                     OP_REQUEST(update_description, c)->description, err);
}

int op_enable_key(struct op_call *c, struct kms_error *err)
{
    return lifecycle_set_enabled(c->keyring, &c->key->record.id, true, err);
}

int op_disable_key(struct op_call *c, struct kms_error *err)
{
    return lifecycle_set_enabled(c->keyring, &c->key->record.id, false, err);
}

int op_schedule_deletion(struct op_call *c, struct kms_error *err)
{
    const struct schedule_deletion_request *const request = OP_REQUEST(schedule_deletion, c);
    const int64_t days = request->days ? request->days : 30;
    int64_t due_ms = 0;

    if (lifecycle_schedule_deletion(c->keyring, &c->key->record.id, days, &due_ms, err) < 0)
        return -1;
    const enum key_state state = due_ms ? KEY_PENDING_DELETION : KEY_PENDING_REPLICA_DELETION;
    return op_answer(c,
                     json_pack("{s:s, s:o*, s:s, s:I}", "KeyId", c->key_arn.text, "DeletionDate",
                               due_ms ? reply_time(due_ms) : NULL, "KeyState",
                               key_state_text(state), "PendingWindowInDays", (json_int_t)days),
                     err);
}

int op_cancel_deletion(struct op_call *c, struct kms_error *err)
{
    if (lifecycle_cancel_deletion(c->keyring, &c->key->record.id, err) < 0)
        return -1;
    return op_answer(c, json_pack("{s:s}", "KeyId", c->key_arn.text), err);
}
