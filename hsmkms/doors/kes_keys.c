#include <stdio.h>
#include <string.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/doors/json_front.h"
#include "hsmkms/doors/kes_context.h"
#include "hsmkms/doors/kes_parts.h"
#include "hsmkms/keys/identifier.h"

/* Routes about keys, each one operation or a few. */

#define DATA_KEY_LEN 32
#define UNDO_DAYS    7   /* the least that ScheduleKeyDeletion takes */
#define LIST_PAGE    100 /* aliases of one operation, and */
#define LIST_PAGES   10  /* operations of one answer */
#define KEY_ID_MAX   (sizeof("alias/") + KES_NAME_MAX)
#define ALIAS_PREFIX "alias/"
#define NEW_KEY_TEXT "Made through the KES API"

/* --- names ------------------------------------------------------------------------------------ */

static bool is_key_id(const char *name)
{
    return identifier_is_key_id(span_text(name));
}

/* What the operations call a key of this name. */
static void key_id_of(const char *name, char ret[KEY_ID_MAX])
{
    (void)snprintf(ret, KEY_ID_MAX, "%s%s", is_key_id(name) ? "" : ALIAS_PREFIX, name);
}

/* --- generate, encrypt, decrypt: one operation ------------------------------------------------ */

/* Bytes of a member, "" when it is absent. Texts stay in wiping memory. */
static int read_bytes(const json_t *body, const char *name, struct secret *ret,
                      struct kms_error *err)
{
    const json_t *const member = json_object_get(body, name);
    const struct span text = span_of(json_string_value(member), json_string_length(member));
    size_t len = 0;

    if (member == NULL || json_is_null(member) || (json_is_string(member) && text.len == 0))
        return 0;
    if (!json_is_string(member) || !base64_size(text, &len) || len == 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "%s is not base64", name);
    if (secret_new(ret, len, err) < 0)
        return -1;
    if (!base64_parse(text, ret->ptr, len))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s is not base64", name);
    return 0;
}

static int add_context(const json_t *body, json_t *parameters, struct kms_error *err)
{
    json_t *pairs = NULL;
    AUTO(secret) context = { 0 };

    if (read_bytes(body, "context", &context, err) < 0 ||
        kes_context_pairs(secret_span(&context), &pairs, err) < 0)
        return -1;
    if (pairs && json_object_set_new(parameters, "EncryptionContext", pairs) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a context");
    return 0;
}

/* Base64 is checked by the operation, which has the same letters. */
static int add_blob(const json_t *body, const char *theirs, const char *ours, json_t *parameters,
                    struct kms_error *err)
{
    json_t *const blob = json_object_get(body, theirs);

    if (!json_is_string(blob))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s is missing", theirs);
    if (json_object_set(parameters, ours, blob) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for parameters");
    return 0;
}

/* theirs: member of the body that the operation calls ours; NULL: none. */
static int read_parameters(struct kes_call *call, const char *theirs, const char *ours,
                           struct kms_error *err)
{
    struct api_call *const api = &call->base.call;
    char key_id[KEY_ID_MAX];
    json_auto_t *body = NULL;

    key_id_of(call->argument, key_id);
    api->parameters = json_pack("{s:s}", "KeyId", key_id);
    if (api->parameters == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for parameters");
    if (json_front(http_exchange_request(call->base.exchange)->body, &body, err) < 0 ||
        (theirs && add_blob(body, theirs, ours, api->parameters, err) < 0))
        return -1;
    return add_context(body, api->parameters, err);
}

static void run(struct kes_call *call, const char *operation, const char *theirs, const char *ours)
{
    struct api_call *const api = &call->base.call;

    api->operation = operation;
    if (read_parameters(call, theirs, ours, &api->err) < 0)
        door_call_refuse(&call->base);
    else
        door_call_run(&call->base);
}

void kes_generate(struct kes_call *call)
{
    struct api_call *const api = &call->base.call;

    api->operation = "GenerateDataKey";
    if (read_parameters(call, NULL, NULL, &api->err) < 0) {
        door_call_refuse(&call->base);
        return;
    }
    (void)json_object_set_new(api->parameters, "NumberOfBytes", json_integer(DATA_KEY_LEN));
    door_call_run(&call->base); /* without memory a parameter is missing: refused there */
}

void kes_encrypt(struct kes_call *call)
{
    run(call, "Encrypt", "plaintext", "Plaintext");
}

void kes_decrypt(struct kes_call *call)
{
    run(call, "Decrypt", "ciphertext", "CiphertextBlob");
}

/* --- describe --------------------------------------------------------------------------------- */

int kes_describe_id(struct kes_call *call, const char *key_id, json_t **ret,
                    struct kms_error *err)
{
    json_auto_t *result = NULL;

    if (door_call_step(&call->base, "DescribeKey", json_pack("{s:s}", "KeyId", key_id), &result,
                       err) < 0)
        return -1;
    *ret = json_incref(json_object_get(result, "KeyMetadata"));
    return 0;
}

int kes_describe_named(struct kes_call *call, json_t **ret, struct kms_error *err)
{
    char key_id[KEY_ID_MAX];

    key_id_of(call->argument, key_id);
    return kes_describe_id(call, key_id, ret, err);
}

const char *kes_text_of(const json_t *object, const char *name)
{
    const char *const text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

void kes_describe(struct kes_call *call)
{
    json_auto_t *key = NULL;

    if (kes_describe_named(call, &key, &call->base.call.err) < 0) {
        kes_end(call);
        return;
    }
    if (strcmp(kes_text_of(key, "KeySpec"), "SYMMETRIC_DEFAULT") != 0) {
        kes_fail(call, (struct kes_fault){ 400, "the key is not for encryption of data" });
        return;
    }
    const double created_s = json_real_value(json_object_get(key, "CreationDate"));
    kes_answer(call, json_pack("{s:s, s:s, s:s, s:s}", "name", call->argument, "algorithm",
                               "AES256", "created_at",
                               clock_iso8601((int64_t)(created_s * 1000)).text, "created_by", ""));
}

/* --- create ----------------------------------------------------------------------------------- */

/* Errors: ALREADY_EXISTS. */
static int check_free(struct kes_call *call, struct kms_error *err)
{
    json_auto_t *unused = NULL;

    if (kes_describe_named(call, &unused, err) == 0)
        return kms_fail(err, KMS_ERR_ALREADY_EXISTS, "the name is taken");
    if (err->code != KMS_ERR_NOT_FOUND)
        return -1;
    kms_error_clear(err);
    return 0;
}

void kes_drop_key(struct kes_call *call, const char *key_id)
{
    struct kms_error failure = { 0 };
    json_t *unused = NULL;

    if (door_call_step(&call->base, "ScheduleKeyDeletion",
                       json_pack("{s:s, s:i}", "KeyId", key_id, "PendingWindowInDays", UNDO_DAYS),
                       &unused, &failure) < 0)
        log_error(call->base.log, LOG_LEVEL_WARN, "key-without-a-name", &failure);
    json_decref(unused);
}

static int name_key(struct kes_call *call, const char *key_id, struct kms_error *err)
{
    char alias[KEY_ID_MAX];
    json_t *unused = NULL;

    key_id_of(call->argument, alias);
    const int named = door_call_step(
        &call->base, "CreateAlias",
        json_pack("{s:s, s:s}", "AliasName", alias, "TargetKeyId", key_id), &unused, err);
    json_decref(unused);
    return named;
}

static void take_back(struct kes_call *call, const char *key_id)
{
    struct kms_error failure = { 0 };

    if (kes_hmac_delete(call, key_id, UNDO_DAYS, &failure) < 0)
        log_error(call->base.log, LOG_LEVEL_WARN, "key-without-a-name", &failure);
    kes_drop_key(call, key_id);
}

/* One at a time. The name comes last: with it there is everything. */
static int create(struct kes_call *call, struct kms_error *err)
{
    json_auto_t *made = NULL;

    if (check_free(call, err) < 0 ||
        door_call_step(&call->base, "CreateKey", json_pack("{s:s}", "Description", NEW_KEY_TEXT),
                       &made, err) < 0)
        return -1;
    const char *const key_id = kes_text_of(json_object_get(made, "KeyMetadata"), "KeyId");
    if (kes_hmac_make(call, key_id, err) < 0) {
        kes_drop_key(call, key_id);
        return -1;
    }
    if (name_key(call, key_id, err) == 0)
        return 0;
    take_back(call, key_id); /* whoever was faster has the name */
    return -1;
}

void kes_create(struct kes_call *call)
{
    if (is_key_id(call->argument)) {
        kes_fail(call, (struct kes_fault){ 400, "the name of a new key cannot be a key id" });
        return;
    }
    (void)pthread_mutex_lock(&call->door->creating);
    const int created = create(call, &call->base.call.err);
    (void)pthread_mutex_unlock(&call->door->creating);
    if (created < 0)
        kes_end(call);
    else
        kes_answer_empty(call);
}

/* --- delete ----------------------------------------------------------------------------------- */

/* The key first: what fails after it can be asked for again. */
static int delete_key(struct kes_call *call, struct kms_error *err)
{
    char alias[KEY_ID_MAX];
    json_auto_t *key = NULL, *unused = NULL, *unused_too = NULL;

    if (kes_describe_named(call, &key, err) < 0)
        return -1;
    const char *const state = kes_text_of(key, "KeyState");
    if (strcmp(state, "PendingDeletion") != 0 && strcmp(state, "PendingReplicaDeletion") != 0 &&
        door_call_step(&call->base, "ScheduleKeyDeletion",
                       json_pack("{s:s, s:I}", "KeyId", kes_text_of(key, "KeyId"),
                                 "PendingWindowInDays",
                                 (json_int_t)call->door->config.deletion_days),
                       &unused, err) < 0)
        return -1;
    if (kes_hmac_delete(call, kes_text_of(key, "KeyId"), call->door->config.deletion_days, err) < 0)
        return -1;
    if (is_key_id(call->argument))
        return 0;
    key_id_of(call->argument, alias);
    return door_call_step(&call->base, "DeleteAlias", json_pack("{s:s}", "AliasName", alias),
                          &unused_too, err);
}

void kes_delete(struct kes_call *call)
{
    if (delete_key(call, &call->base.call.err) < 0)
        kes_end(call);
    else
        kes_answer_empty(call);
}

/* --- list ------------------------------------------------------------------------------------- */

static void append_names(const json_t *aliases, const char *prefix, json_t *names)
{
    const size_t skip = strlen(ALIAS_PREFIX);

    for (size_t i = 0; i < json_array_size(aliases); i++) {
        const char *const alias = kes_text_of(json_array_get(aliases, i), "AliasName");
        if (strlen(alias) > skip && kes_name_valid(alias + skip) &&
            strncmp(alias + skip, prefix, strlen(prefix)) == 0)
            (void)json_array_append_new(names, json_string(alias + skip));
    }
}

/* One page; listing->marker is then that of the next one, "" for none. */
static int list_page(struct kes_call *call, struct kes_listing *listing, json_t *names,
                     struct kms_error *err)
{
    json_auto_t *result = NULL;
    json_t *const parameters = json_pack("{s:i}", "Limit", LIST_PAGE);

    if (listing->marker[0])
        (void)json_object_set_new(parameters, "Marker", json_string(listing->marker));
    if (door_call_step(&call->base, "ListAliases", parameters, &result, err) < 0)
        return -1;
    append_names(json_object_get(result, "Aliases"), listing->prefix, names);
    const char *const next = kes_text_of(result, "NextMarker");
    if (strlen(next) > KES_MARKER_MAX)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a marker of %zu letters", strlen(next));
    (void)snprintf(listing->marker, sizeof(listing->marker), "%s", next);
    return 0;
}

static int list(struct kes_call *call, struct kes_listing *listing, json_t *names,
                struct kms_error *err)
{
    for (size_t page = 0; page < LIST_PAGES; page++) {
        if (list_page(call, listing, names, err) < 0)
            return -1;
        if (listing->marker[0] == '\0')
            break;
    }
    return 0;
}

void kes_list(struct kes_call *call)
{
    struct kes_listing listing;
    char next[KES_SEGMENT_MAX + 1] = "";
    json_auto_t *names = json_array();

    if (!kes_listing_parse(call->argument, &listing)) {
        kes_fail(call, (struct kes_fault){ 400, "the prefix is not that of a key name" });
        return;
    }
    if (list(call, &listing, names, &call->base.call.err) < 0 ||
        (listing.marker[0] && !kes_listing_format(&listing, next))) {
        kes_end(call);
        return;
    }
    kes_answer(call, json_pack("{s:O, s:s}", "names", names, "continue_at", next));
}
