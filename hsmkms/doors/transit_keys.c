#include <stdio.h>

#include "hsmkms/doors/transit_call.h"

/* keys: create, read, list, rotate, config, delete. */

#define ALIAS_PAGES_MAX 1000

/* --- parts ------------------------------------------------------------------------------------ */

/* The key id behind the request's name, which operations that change a key want; where there is no
 * such key the name itself, which they refuse. */
static struct transit_key_id bare_id(const struct transit_call *t)
{
    struct key *const key = transit_key(t);
    struct transit_key_id id = t->key_id;

    if (key)
        (void)snprintf(id.text, sizeof(id.text), "%s", key_name(key).text);
    key_unref(key);
    return id;
}

/* The last operation, with the bare key id as its only parameter but those given (taken over). */
static int set_operation(struct transit_call *t, const char *operation, json_t *more,
                         struct kms_error *err)
{
    json_auto_t *parameters = json_pack("{s:s}", "KeyId", bare_id(t).text);
    json_auto_t *given = more;

    if (parameters == NULL || given == NULL || json_object_update(parameters, given) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request");
    transit_set_operation(t, operation, json_incref(parameters));
    return 0;
}

static json_t *deletion_parameters(const struct transit_call *t, const char *key_id)
{
    return json_pack("{s:s, s:I}", "KeyId", key_id, "PendingWindowInDays",
                     (json_int_t)t->door->deletion_days);
}

/* --- create ----------------------------------------------------------------------------------- */

struct draft {
    bool derived;
};

/* Every offered type is AES-256-GCM in the token: clients never look inside a ciphertext. */
static int read_draft(const json_t *body, struct draft *ret, struct kms_error *err)
{
    static const char *const refused[] = { "exportable", "allow_plaintext_backup",
                                           "convergent_encryption" };
    int64_t period = 0;
    struct span type;
    bool set = false;

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (transit_bool(body, refused[i], &set, err) < 0)
            return -1;
        if (set)
            return kms_fail(err, KMS_ERR_VALIDATION, "%s is not supported: keys stay in the token",
                            refused[i]);
    }
    if (transit_string(body, "type", &type, err) < 0 ||
        transit_bool(body, "derived", &ret->derived, err) < 0 ||
        transit_int(body, "auto_rotate_period", 0, &period, err) < 0)
        return -1;
    if (type.len && !span_equal(type, SPAN_LITERAL("aes256-gcm96")) &&
        !span_equal(type, SPAN_LITERAL("chacha20-poly1305")))
        return kms_fail(err, KMS_ERR_VALIDATION, "unknown key type");
    if (period)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "auto_rotate_period is not supported: enable rotation of the key instead");
    return 0;
}

static json_t *create_parameters(const struct transit_call *t, const struct draft *draft)
{
    json_t *const parameters =
        json_pack("{s:s%}", "Description", (const char *)t->name.ptr, t->name.len);

    if (draft->derived)
        (void)json_object_set_new(
            parameters, "Tags",
            json_pack("[{s:s, s:s}]", "TagKey", TRANSIT_CONTEXT_TAG, "TagValue", "required"));
    return parameters;
}

/* Makes a key and then its name. A key that gets no name is of no use to anybody: it goes again. */
static int create(struct transit_call *t, const struct draft *draft, struct kms_error *err)
{
    struct kms_error unused = { 0 };
    json_auto_t *made = NULL;

    if (transit_step(t, "CreateKey", create_parameters(t, draft), &made, err) < 0)
        return -1;
    const char *const id =
        json_string_value(json_object_get(json_object_get(made, "KeyMetadata"), "KeyId"));
    if (id == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a new key has no id");
    if (transit_step(t, "CreateAlias",
                     json_pack("{s:s, s:s}", "AliasName", t->key_id.text, "TargetKeyId", id), NULL,
                     err) == 0)
        return 0;
    if (transit_step(t, "ScheduleKeyDeletion", deletion_parameters(t, id), NULL, &unused) < 0)
        log_event(t->door->log, LOG_LEVEL_WARN, "key-without-name", "key=%s error=%s", id,
                  kms_err_name(unused.code));
    return -1;
}

/* A key that is there already is as good as a new one, also when another request was faster. */
static int prepare_create(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    struct draft draft = { 0 };

    if (read_draft(body, &draft, err) < 0)
        return -1;
    if (transit_step(t, "DescribeKey", json_pack("{s:s}", "KeyId", t->key_id.text), NULL, err) == 0)
        return 0;
    if (err->code != KMS_ERR_NOT_FOUND || !t->key_id.is_alias)
        return -1;
    kms_error_clear(err);
    if (create(t, &draft, err) == 0)
        return 0;
    if (err->code != KMS_ERR_ALREADY_EXISTS)
        return -1;
    kms_error_clear(err);
    return 0;
}

/* --- read ------------------------------------------------------------------------------------- */

static int prepare_read(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    json_t *const parameters = json_pack("{s:s}", "KeyId", t->key_id.text);

    (void)body;
    if (parameters == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request");
    transit_set_operation(t, "DescribeKey", parameters);
    return 0;
}

/* Version number to the second it was made in. */
static json_t *versions_of(const struct key *key)
{
    json_t *const versions = json_object();
    char number[24];

    for (size_t i = 0; i < key->version_count; i++) {
        const struct version_record *const record = &key->versions[i].record;
        if (!version_is_usable(&key->versions[i]))
            continue;
        (void)snprintf(number, sizeof(number), "%lld", (long long)record->number);
        (void)json_object_set_new(versions, number,
                                  json_integer(record->created_ms / MS_PER_SECOND));
    }
    return versions;
}

static json_t *description_of(const struct transit_call *t, const struct key *key)
{
    const struct version *const current = key_current(key);
    const bool derived = strcmp(transit_tag(key, TRANSIT_CONTEXT_TAG), "required") == 0;
    const bool deletable = strcmp(transit_tag(key, TRANSIT_DELETION_TAG), "allowed") == 0;
    const int64_t period_s =
        key->record.rotation_enabled ? key->record.rotation_period_days * 86400 : 0;
    json_t *const data = json_pack(
        "{s:s%, s:s, s:b, s:b, s:i, s:i, s:i, s:I, s:b, s:b, s:b, s:b, s:b, s:b, s:I, s:b, s:o}",
        "name", (const char *)t->name.ptr, t->name.len, "type", "aes256-gcm96", "derived", derived,
        "deletion_allowed", deletable, "min_available_version", 0, "min_decryption_version", 1,
        "min_encryption_version", 0, "latest_version",
        (json_int_t)(current ? current->record.number : 0), "exportable", 0,
        "allow_plaintext_backup", 0, "supports_encryption", 1, "supports_decryption", 1,
        "supports_signing", 0, "supports_derivation", 1, "auto_rotate_period", (json_int_t)period_s,
        "imported_key", 0, "keys", versions_of(key));

    if (derived)
        (void)json_object_set_new(data, "kdf", json_string("hkdf_sha256"));
    return data;
}

/* The operation has said that the caller may read the key, and which it is. */
static int write_read(const struct transit_call *t, json_t **ret, struct kms_error *err)
{
    json_t *const id =
        json_object_get(json_object_get(t->base.call.result, "KeyMetadata"), "KeyId");
    struct kms_error gone = { 0 };
    struct key *key = NULL;

    if (id == NULL ||
        keyring_resolve(t->door->keyring, json_string_value(id), false, &key, &gone) < 0)
        key = NULL;
    if (key == NULL || key->state == KEY_PENDING_DELETION ||
        key->state == KEY_PENDING_REPLICA_DELETION) { /* deleted, as this dialect has it */
        key_unref(key);
        return kms_fail(err, KMS_ERR_NOT_FOUND, "%s", "");
    }
    *ret = description_of(t, key);
    key_unref(key);
    return *ret ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
}

/* --- list ------------------------------------------------------------------------------------- */

static void append_names(json_t *names, json_t *page)
{
    char name[TRANSIT_NAME_MAX + 1];
    size_t i;
    json_t *alias;

    json_array_foreach(json_object_get(page, "Aliases"), i, alias)
    {
        const char *const text = json_string_value(json_object_get(alias, "AliasName"));
        if (text && transit_name_of_alias(text, name))
            (void)json_array_append_new(names, json_string(name));
    }
}

static int collect_names(struct transit_call *t, json_t *names, struct kms_error *err)
{
    json_auto_t *marker = NULL;

    for (size_t i = 0; i < ALIAS_PAGES_MAX; i++) {
        json_auto_t *page = NULL;
        json_t *const parameters = json_pack("{s:i, s:O*}", "Limit", 100, "Marker", marker);
        if (transit_step(t, "ListAliases", parameters, &page, err) < 0)
            return -1;
        append_names(names, page);
        if (!json_is_true(json_object_get(page, "Truncated")))
            return 0;
        json_decref(marker);
        marker = json_incref(json_object_get(page, "NextMarker"));
    }
    return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "too many keys to list");
}

static int prepare_list(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    json_auto_t *names = json_array();

    (void)body;
    if (collect_names(t, names, err) < 0)
        return -1;
    if (json_array_size(names) == 0)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "%s", "");
    t->base.call.result = json_pack("{s:O}", "keys", names);
    return t->base.call.result
               ? 0
               : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
}

static int prepare_get_list(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    struct span value;

    if (!transit_query_find(t->path.query, "list", &value) ||
        !span_equal(value, SPAN_LITERAL("true")))
        return kms_fail(err, KMS_ERR_VALIDATION, "unsupported operation");
    return prepare_list(t, body, err);
}

static int write_list(const struct transit_call *t, json_t **ret, struct kms_error *err)
{
    (void)err;
    *ret = json_incref(t->base.call.result);
    return 0;
}

/* --- rotate, config, delete ------------------------------------------------------------------- */

static int prepare_rotate(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    (void)body;
    return set_operation(t, "RotateKeyOnDemand", json_object(), err);
}

/* Every version of a key decrypts and the newest encrypts; there is no other way here. */
static int check_fixed(const json_t *body, struct kms_error *err)
{
    static const struct {
        const char *name;
        int64_t most;
    } rows[] = { { "min_decryption_version", 1 },
                 { "min_encryption_version", 0 },
                 { "auto_rotate_period", 0 } };
    int64_t value = 0;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (transit_int(body, rows[i].name, 0, &value, err) < 0)
            return -1;
        if (value < 0 || value > rows[i].most)
            return kms_fail(err, KMS_ERR_VALIDATION, "%s cannot be changed", rows[i].name);
    }
    return 0;
}

static int prepare_config(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    bool allowed = false;

    if (check_fixed(body, err) < 0 || transit_bool(body, "deletion_allowed", &allowed, err) < 0)
        return -1;
    if (json_object_get(body, "deletion_allowed") == NULL)
        return prepare_read(t, body, err);
    if (allowed)
        return set_operation(t, "TagResource",
                             json_pack("{s:[{s:s, s:s}]}", "Tags", "TagKey", TRANSIT_DELETION_TAG,
                                       "TagValue", "allowed"),
                             err);
    return set_operation(t, "UntagResource", json_pack("{s:[s]}", "TagKeys", TRANSIT_DELETION_TAG),
                         err);
}

/* A deletion that was interrupted goes on where it stopped. */
static int schedule(struct transit_call *t, struct kms_error *err)
{
    if (transit_step(t, "ScheduleKeyDeletion", deletion_parameters(t, bare_id(t).text), NULL,
                     err) == 0)
        return 0;
    if (err->code != KMS_ERR_INVALID_STATE)
        return -1;
    kms_error_clear(err);
    return 0;
}

static int prepare_delete(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    (void)body;
    if (transit_step(t, "DescribeKey", json_pack("{s:s}", "KeyId", t->key_id.text), NULL, err) < 0)
        return -1;

    struct key *const key = transit_key(t);
    const bool allowed = strcmp(transit_tag(key, TRANSIT_DELETION_TAG), "allowed") == 0;
    key_unref(key);
    if (!allowed)
        return kms_fail(err, KMS_ERR_VALIDATION, "deletion is not allowed for this key");
    if (schedule(t, err) < 0)
        return -1;
    if (t->key_id.is_alias)
        transit_set_operation(t, "DeleteAlias", json_pack("{s:s}", "AliasName", t->key_id.text));
    return 0;
}

/* clang-format off */
const struct transit_route transit_key_routes[] = {
    /* path          in mount  methods         access         query  answers                   prepare           write */
    { "keys",          true,   TRANSIT_LIST,   TRANSIT_KNOWN, true,  &transit_answers_reading, prepare_list,     write_list },
    { "keys",          true,   TRANSIT_GET,    TRANSIT_KNOWN, true,  &transit_answers_reading, prepare_get_list, write_list },
    { "keys/*",        true,   TRANSIT_GET,    TRANSIT_KNOWN, false, &transit_answers_reading, prepare_read,     write_read },
    { "keys/*",        true,   TRANSIT_WRITE,  TRANSIT_KNOWN, false, &transit_answers,         prepare_create,   NULL },
    { "keys/*",        true,   TRANSIT_DELETE, TRANSIT_KNOWN, false, &transit_answers,         prepare_delete,   NULL },
    { "keys/*/rotate", true,   TRANSIT_WRITE,  TRANSIT_KNOWN, false, &transit_answers,         prepare_rotate,   NULL },
    { "keys/*/config", true,   TRANSIT_WRITE,  TRANSIT_KNOWN, false, &transit_answers,         prepare_config,   NULL },
    { 0 },
};
/* clang-format on */
