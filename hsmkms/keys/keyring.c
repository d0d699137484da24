#include "hsmkms/keys/keyring.h"

#include <stdio.h>

#include "hsmkms/keys/identifier.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/reconcile.h"
#include "hsmkms/keys/regions.h"

/* Services whose default key is made on first use. Source: AWS documentation of each. */
static const char *const managed_services[] = {
    "acm",
    "backup",
    "cloud9",
    "codecommit",
    "connect",
    "dms",
    "dynamodb",
    "ebs",
    "elasticfilesystem",
    "es",
    "fsx",
    "glue",
    "kinesis",
    "kinesisvideo",
    "lambda",
    "lex",
    "lightsail",
    "mwaa",
    "rds",
    "redshift",
    "s3",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "workspaces",
    "xray",
};

bool keyring_alias_is_predefined(const char *name)
{
    static const char prefix[] = "alias/aws/";

    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(managed_services); i++)
        if (strcmp(name + sizeof(prefix) - 1, managed_services[i]) == 0)
            return true;
    return false;
}

static struct arn_text arn_of_key(const struct keyring *keyring, const char *name)
{
    struct arn_text arn;

    (void)snprintf(arn.text, sizeof(arn.text), "arn:aws:kms:%s:%s:key/%s", keyring->region,
                   keyring->account, name);
    return arn;
}

struct arn_text keyring_arn_of(const struct keyring *keyring, const struct key *key)
{
    return arn_of_key(keyring_of(keyring, key), key_name(key).text);
}

struct arn_text keyring_key_arn(const struct keyring *keyring, const struct uuid *key_id)
{
    struct key *const key = keyring_find(keyring, key_id);
    const struct arn_text arn =
        key ? keyring_arn_of(keyring, key) : arn_of_key(keyring, uuid_format(key_id).text);

    key_unref(key);
    return arn;
}

struct arn_text keyring_alias_arn(const struct keyring *keyring, const char *alias)
{
    struct arn_text arn;

    (void)snprintf(arn.text, sizeof(arn.text), "arn:aws:kms:%s:%s:%.256s", keyring->region,
                   keyring->account, alias);
    return arn;
}

/* An ARN must name this account and region. */
static int check_owner(const struct keyring *keyring, const struct identifier *identifier,
                       struct kms_error *err)
{
    if (!identifier->is_arn)
        return 0;
    if (!span_equal(identifier->region, span_text(keyring->region)))
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Invalid arn %.*s",
                        (int)(identifier->region.len < 64 ? identifier->region.len : 64),
                        (const char *)identifier->region.ptr);
    if (!span_equal(identifier->account, span_text(keyring->account)))
        return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                        "The key does not exist in this Region, no resource-based policies allow "
                        "access, or a resource-based policy explicitly denies access");
    return 0;
}

/* The key id that an alias points at. */
static int follow_alias(const struct keyring *keyring, const char *text,
                        const struct identifier *identifier, bool aliases, struct uuid *ret,
                        struct kms_error *err)
{
    struct alias alias;
    char name[257];

    if (!aliases)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Invalid keyId '%.300s'", text);
    (void)snprintf(name, sizeof(name), "%.*s",
                   (int)(identifier->name.len < 257 ? identifier->name.len : 257),
                   (const char *)identifier->name.ptr);
    if (identifier->name.len > 256 || !catalog_alias(keyring->catalog, name, &alias))
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Alias %s is not found.",
                        keyring_alias_arn(keyring, name).text);
    *ret = alias.key_id;
    return 0;
}

/* A multi-Region key is called by its family's name and not by the id of its record. */
static struct key *find_named(const struct keyring *keyring, const struct identifier *identifier)
{
    if (identifier->kind == IDENTIFIER_FAMILY)
        return catalog_find_family(keyring->catalog, &identifier->key_id);
    struct key *const key = catalog_find(keyring->catalog, &identifier->key_id);
    if (key == NULL || identifier->kind == IDENTIFIER_ALIAS || !key_is_multi_region(key))
        return key;
    key_unref(key);
    return NULL;
}

int keyring_resolve(const struct keyring *keyring, const char *identifier, bool aliases,
                    struct key **ret, struct kms_error *err)
{
    struct identifier parsed;

    if (identifier_parse(identifier, &parsed, err) < 0 || check_owner(keyring, &parsed, err) < 0)
        return -1;
    if (parsed.kind == IDENTIFIER_ALIAS &&
        follow_alias(keyring, identifier, &parsed, aliases, &parsed.key_id, err) < 0)
        return -1;

    struct key *const key = find_named(keyring, &parsed);
    if (key == NULL || !key_visible(key)) {
        key_unref(key);
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Key 'arn:aws:kms:%s:%s:key/%.*s' does not exist",
                        keyring->region, keyring->account, (int)parsed.name.len,
                        (const char *)parsed.name.ptr);
    }
    *ret = key;
    return 0;
}

/* --- start ------------------------------------------------------------------------------------ */

/* Errors: INTEGRITY (a key that has objects is in a store that is gone). */
static int check_store(const struct keyring *keyring, const struct key *key, struct kms_error *err)
{
    AUTO(key_store_view) store = { 0 };

    if (key->record.key_store == NULL || key->state == KEY_DELETED || key->state == KEY_ABORTED ||
        key_store_find(keyring, key->record.key_store, &store, err) == 0)
        return 0;
    kms_error_clear(err);
    return kms_fail_detail(err, KMS_ERR_INTEGRITY,
                           "key %s is in custom key store %.64s, which is "
                           "unknown",
                           uuid_format(&key->record.id).text, key->record.key_store);
}

static int load_key(void *arg, const void *record, struct kms_error *err)
{
    struct key *key = NULL;

    if (key_new(record, &key, err) < 0)
        return -1;
    struct keyring *keyring = keyring_in(arg, key->record.region);
    if (keyring == NULL && !key_is_gone(key)) {
        key_unref(key);
        return kms_fail(err, KMS_ERR_CONFIG,
                        "there are keys in region %s, which service.regions does not name",
                        ((const struct key_record *)record)->region);
    }
    if (keyring == NULL)
        keyring = arg; /* what is left of it has to be somewhere */
    if (check_store(keyring, key, err) < 0) {
        key_unref(key);
        return -1;
    }
    if (key->record.key_store) /* until its token is open */
        key_set_unavailable(key, true);
    return catalog_publish(keyring->catalog, key, err);
}

/* The key that a row belongs to: altered in place, which is allowed before threads exist. */
static int load_into(struct keyring *keyring, const struct uuid *key_id, const char *what,
                     struct key **ret, struct kms_error *err)
{
    struct key *const key = keyring_find(keyring, key_id);

    if (key == NULL)
        return kms_fail_detail(err, KMS_ERR_INTEGRITY, "a %s belongs to key %s, which is unknown",
                               what, uuid_format(key_id).text);
    *ret = key;
    return 0;
}

static int load_version(void *arg, const void *record, struct kms_error *err)
{
    return regions_load_version(arg, record, err);
}

static int load_last_use(void *arg, const void *record, struct kms_error *err)
{
    const struct last_use_record *const row = record;
    struct last_use use = { .time_ms = row->time_ms,
                            .event_id = row->event_id,
                            .request_id = row->request_id };
    struct key *key = NULL;

    if (load_into(arg, &row->key_id, "last use", &key, err) < 0)
        return -1;
    const struct version *const version = key_version_find(key, &row->version_id);
    (void)snprintf(use.operation, sizeof(use.operation), "%s", row->operation);
    if (version)
        use_mark_load(version->use, &use);
    key_unref(key);
    return version ? 0
                   : kms_fail_detail(err, KMS_ERR_INTEGRITY, "a last use is of version %s, which is "
                                     "unknown", uuid_format(&row->version_id).text);
}

static int load_tag(void *arg, const void *record, struct kms_error *err)
{
    const struct tag_record *const tag = record;
    struct key *key = NULL;

    if (load_into(arg, &tag->key_id, "tag", &key, err) < 0)
        return -1;
    const int added = key_set_tag(key, tag, err);
    key_unref(key);
    return added;
}

static int load_alias(void *arg, const void *record, struct kms_error *err)
{
    const struct alias_record *const row = record;
    const struct keyring *const keyring = keyring_in(arg, row->region);
    struct alias alias = { .key_id = row->key_id,
                           .created_ms = row->created_ms,
                           .updated_ms = row->updated_ms };
    struct key *key = NULL;

    if (load_into(arg, &row->key_id, "alias", &key, err) < 0)
        return -1;
    const bool astray = keyring == NULL || keyring != keyring_of(arg, key);
    key_unref(key);
    if (astray)
        return kms_fail_detail(err, KMS_ERR_INTEGRITY, "an alias points into another region");
    (void)snprintf(alias.name, sizeof(alias.name), "%s", row->name);
    return catalog_alias_put(keyring->catalog, &alias, err);
}

static int load(struct keyring *keyring, struct kms_error *err)
{
    struct store *const store = keyring->store;

    if (key_stores_load(keyring, err) < 0 ||
        store_each(store, &key_table, load_key, keyring, err) < 0 ||
        store_each(store, &version_table, load_version, keyring, err) < 0 ||
        store_each(store, &last_use_table, load_last_use, keyring, err) < 0 ||
        store_each(store, &tag_table, load_tag, keyring, err) < 0 ||
        store_each(store, &alias_table, load_alias, keyring, err) < 0)
        return -1;
    return 0;
}

/*
 * The first question about a kind of key is answered by trying, which takes a while: better now than
 * in a request. A token that cannot answer is asked again by the first request.
 */
static void ask_for_specs(const struct keyring *keyring)
{
    bool asked[TOKEN_KINDS][SPEC_USAGES] = { 0 };
    struct uuid last, *after = NULL;
    struct key *key = NULL;

    while (catalog_keys(keyring->catalog, after, &key, 1) == 1) {
        struct kms_error ignored = { 0 };
        bool supported = false;
        bool *const done = &asked[key->spec->kind][key->usage];
        if (!*done && key->record.key_store == NULL &&
            keyspec_supported(keyring->token, key->spec, key->usage, &supported, &ignored) == 0)
            *done = true;
        last = key->record.id;
        after = &last;
        key_unref(key);
    }
}

int keyring_open(struct keyring *ret, struct token *token, struct store *store,
                 const struct clock *clock, struct keyring_limits limits,
                 const struct installation_record *installation, const char *regions,
                 unsigned *ret_strangers, struct kms_error *err)
{
    *ret = (struct keyring){ .token = token,
                             .store = store,
                             .clock = clock,
                             .limits = limits,
                             .installation = installation->id,
                             .mac_key = installation->meta_mac_key };
    (void)snprintf(ret->account, sizeof(ret->account), "%s", installation->account);
    (void)pthread_mutex_init(&ret->change, NULL);
    ret->catalog = catalog_new();
    ret->stores = key_stores_new();
    if (ret->catalog == NULL || ret->stores == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the catalog");
    if (regions_open(ret, regions, err) < 0 || load(ret, err) < 0 ||
        reconcile(ret, &(struct reconciled){ .token = token }, ret_strangers, err) < 0 ||
        wrappings_open(ret, err) < 0)
        return -1;
    for (const struct keyring *each = ret; each; each = each->next)
        ask_for_specs(each);
    return 0;
}

void keyring_close(struct keyring *keyring)
{
    if (keyring->catalog == NULL)
        return;
    key_stores_free(keyring->stores);
    regions_close(keyring);
    catalog_free(keyring->catalog);
    wrappings_close(keyring);
    (void)pthread_mutex_destroy(&keyring->change);
    *keyring = (struct keyring){ 0 };
}
