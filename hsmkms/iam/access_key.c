#include "hsmkms/iam/access_key.h"

#include <pthread.h>
#include <stdlib.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/iam/credential.h"

#define SECRET_BYTES 32

struct access_key {
    struct access_key_record record;
    struct principal principal;
    struct signing_set signing; /* the cache's */
};

struct iam {
    struct iam_config config;

    /* Guards keys, count and what each key holds; never held over a token or disk call. A key is
     * never removed, so a pointer to one stays good until iam_close. */
    pthread_rwlock_t lock;
    struct access_key **keys; /* in order of id */
    size_t count;

    /* One change at a time; held over token and disk calls on purpose. Whoever holds it may read
     * keys without the lock, because nobody else writes. */
    pthread_mutex_t change;

    struct signing_cache cache;
};

static void access_key_record_done(struct access_key_record *record)
{
    record_done(&access_key_table, record);
}

static void access_key_free(struct access_key *key)
{
    if (key == NULL)
        return;
    access_key_record_done(&key->record);
    free(key);
}

static void free_access_key(struct access_key **key)
{
    access_key_free(*key);
}

#define AUTO_ACCESS_KEY __attribute__((cleanup(free_access_key))) struct access_key *

/* --- the catalog ------------------------------------------------------------------------------ */

/* Index of the first key whose id is not less. With the lock, or in a change. */
static size_t place_of(const struct iam *iam, struct span id)
{
    size_t low = 0, high = iam->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (span_compare(span_text(iam->keys[middle]->record.id), id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct access_key *key_of_id(const struct iam *iam, struct span id)
{
    const size_t i = place_of(iam, id);

    if (i == iam->count || !span_equal(span_text(iam->keys[i]->record.id), id))
        return NULL;
    return iam->keys[i];
}

/* Takes the key over. Cannot fail: the room for every key was made by iam_open. */
static void publish_new(struct iam *iam, struct access_key *key)
{
    (void)pthread_rwlock_wrlock(&iam->lock);
    const size_t at = place_of(iam, span_text(key->record.id));
    memmove(&iam->keys[at + 1], &iam->keys[at], (iam->count - at) * sizeof(*iam->keys));
    iam->keys[at] = key;
    iam->count++;
    (void)pthread_rwlock_unlock(&iam->lock);
}

/* A key for a copy of this record. */
static int access_key_new(const struct iam *iam, const struct access_key_record *record,
                          struct access_key **ret, struct kms_error *err)
{
    AUTO_ACCESS_KEY key = calloc(1, sizeof(*key));

    if (key == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an access key");
    if (record_copy(&access_key_table, record, &key->record, err) < 0 ||
        principal_of_user(iam->config.account, record->user_name, record->id, &key->principal,
                          err) < 0)
        return -1;
    *ret = key;
    key = NULL; /* now owned by the caller */
    return 0;
}

/* --- start and end ---------------------------------------------------------------------------- */

/* Rows are authentic; these are the things that another program version could have written. */
static int check_record(const struct iam *iam, const struct access_key_record *record,
                        const struct principal *principal, struct kms_error *err)
{
    if (strlen(record->id) != ACCESS_KEY_ID_LEN || record->secret.len != CREDENTIAL_LEN ||
        record->serial < 1)
        return kms_fail(err, KMS_ERR_INTEGRITY, "access key '%s' is not well-formed", record->id);
    if (strcmp(record->principal, principal->arn) != 0)
        return kms_fail(err, KMS_ERR_INTEGRITY, "access key '%s' belongs to %s, not to %s",
                        record->id, record->principal, principal->arn);
    if (iam->count >= ACCESS_KEYS_MAX)
        return kms_fail(err, KMS_ERR_INTEGRITY, "more than %d access keys", ACCESS_KEYS_MAX);
    return 0;
}

static int load_one(void *arg, const void *record, struct kms_error *err)
{
    struct iam *const iam = arg;
    const struct access_key_record *const row = record;
    AUTO_ACCESS_KEY key = NULL;

    if (row->id == NULL || row->principal == NULL || row->user_name == NULL)
        return kms_fail(err, KMS_ERR_INTEGRITY, "an access key lacks its id, owner or user name");
    if (access_key_new(iam, row, &key, err) < 0 || check_record(iam, row, &key->principal, err) < 0)
        return -1;
    publish_new(iam, key);
    key = NULL; /* now owned by iam */
    return 0;
}

static int make_locks(struct iam *iam, struct kms_error *err)
{
    if (pthread_rwlock_init(&iam->lock, NULL) != 0 || pthread_mutex_init(&iam->change, NULL) != 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no lock for the access keys");
    return 0;
}

int iam_open(const struct iam_config *config, struct iam **ret, struct kms_error *err)
{
    struct iam *const iam = calloc(1, sizeof(*iam));
    struct access_key **const keys = calloc(ACCESS_KEYS_MAX, sizeof(*keys));

    if (iam == NULL || keys == NULL || signing_cache_init(&iam->cache, config->signing_keys, err)) {
        free(keys);
        free(iam);
        return err->code ? -1 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for iam");
    }
    iam->config = *config;
    iam->keys = keys;
    if (make_locks(iam, err) < 0 ||
        store_each(config->store, &access_key_table, load_one, iam, err) < 0) {
        iam_close(iam);
        return -1;
    }
    *ret = iam;
    return 0;
}

void iam_close(struct iam *iam)
{
    if (iam == NULL)
        return;
    signing_cache_done(&iam->cache);
    for (size_t i = 0; i < iam->count; i++)
        access_key_free(iam->keys[i]);
    free(iam->keys);
    (void)pthread_mutex_destroy(&iam->change);
    (void)pthread_rwlock_destroy(&iam->lock);
    free(iam);
}

/* --- changes ---------------------------------------------------------------------------------- */

static int store_record(struct iam *iam, const struct access_key_record *record,
                        struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (store_begin(iam->config.store, &tx, err) < 0)
        return -1;
    if (store_put(tx, &access_key_table, record, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

/* In a change: may this user have one active key more? */
static int check_room(const struct iam *iam, const char *user_name, struct kms_error *err)
{
    size_t active = 0;

    for (size_t i = 0; i < iam->count; i++)
        if (iam->keys[i]->record.active && strcmp(iam->keys[i]->record.user_name, user_name) == 0)
            active++;
    if (active >= ACCESS_KEYS_PER_USER)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "Cannot exceed quota for AccessKeysPerUser: %d", ACCESS_KEYS_PER_USER);
    return 0;
}

static int make_id(const struct iam *iam, char ret[ACCESS_KEY_ID_LEN + 1], struct kms_error *err)
{
    uint8_t bits[UNIQUE_ID_BITS];
    char id[ACCESS_KEY_ID_LEN + 1];

    if (token_random(iam->config.token, bits, sizeof(bits), err) < 0)
        return -1;
    unique_id_format(id, "AKIA", bits);
    if (key_of_id(iam, span_text(id))) /* 80 bits do not meet by chance */
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the token's random numbers repeat");
    memcpy(ret, id, sizeof(id));
    return 0;
}

static int make_secret(const struct iam *iam, struct secret *ret, struct kms_error *err)
{
    AUTO(secret) bytes = { 0 };
    AUTO(secret) text = { 0 };

    if (secret_new(&bytes, SECRET_BYTES, err) < 0 ||
        secret_new(&text, BASE64_LEN(SECRET_BYTES) + 1, err) < 0 ||
        token_random(iam->config.token, bytes.ptr, bytes.len, err) < 0)
        return -1;
    base64_format((char *)text.ptr, secret_span(&bytes));
    secret_shorten(&text, ACCESS_KEY_SECRET_LEN); /* drops the padding and the NUL */
    *ret = secret_take(&text);
    return 0;
}

/* In a change: makes, stores and publishes a key. */
static int create(struct iam *iam, const char *user_name, char ret_id[ACCESS_KEY_ID_LEN + 1],
                  struct span secret, struct kms_error *err)
{
    char id[ACCESS_KEY_ID_LEN + 1];
    struct principal owner;
    AUTO_ACCESS_KEY key = NULL;

    if (make_id(iam, id, err) < 0 ||
        principal_of_user(iam->config.account, user_name, id, &owner, err) < 0)
        return -1;

    /* borrows its texts: the key has a copy of its own */
    const struct access_key_record draft = { .id = id,
                                             .principal = owner.arn,
                                             .user_name = owner.user_name,
                                             .active = 1,
                                             .created_ms = clock_wall_ms(iam->config.clock),
                                             .serial = 1 };
    if (access_key_new(iam, &draft, &key, err) < 0 ||
        credential_seal(&iam->config, &key->record, secret, &key->record.secret, err) < 0 ||
        store_record(iam, &key->record, err) < 0)
        return -1;
    publish_new(iam, key);
    key = NULL; /* now owned by iam */
    memcpy(ret_id, id, sizeof(id));
    return 0;
}

int access_key_create(struct iam *iam, const char *user_name, char ret_id[21],
                      struct secret *ret_secret, struct kms_error *err)
{
    AUTO(secret) secret = { 0 };

    if (user_name[0] != '\0' && !principal_user_name_valid(user_name))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The specified value for userName is invalid. It must contain 1 to 64 "
                        "alphanumeric characters and/or the following: +=,.@_-");
    if (make_secret(iam, &secret, err) < 0)
        return -1;

    (void)pthread_mutex_lock(&iam->change);
    int result = check_room(iam, user_name, err);
    if (result == 0 && iam->count >= ACCESS_KEYS_MAX)
        result = kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed quota for AccessKeys: %d",
                          ACCESS_KEYS_MAX);
    if (result == 0)
        result = create(iam, user_name, ret_id, secret_span(&secret), err);
    (void)pthread_mutex_unlock(&iam->change);

    if (result == 0)
        *ret_secret = secret_take(&secret);
    return result;
}

/* The record as it will be: another serial, hence the secret wrapped anew. */
static int next_record(const struct iam *iam, const struct access_key_record *now, bool active,
                       struct access_key_record *ret, struct kms_error *err)
{
    AUTO(secret) secret = { 0 };

    if (record_copy(&access_key_table, now, ret, err) < 0 ||
        credential_open(&iam->config, now, &secret, err) < 0)
        return -1;
    ret->active = active;
    ret->serial++;
    buf_clear(&ret->secret);
    return credential_seal(&iam->config, ret, secret_span(&secret), &ret->secret, err);
}

/* In a change. */
static int change_active(struct iam *iam, const char *id, bool active, struct kms_error *err)
{
    struct access_key *const key = key_of_id(iam, span_text(id));
    AUTO(access_key_record) next = { 0 };

    if (key == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "There is no access key with this id");
    if (!!key->record.active == active)
        return 0;
    if (active && check_room(iam, key->record.user_name, err) < 0)
        return -1;
    if (next_record(iam, &key->record, active, &next, err) < 0 || store_record(iam, &next, err) < 0)
        return -1;

    (void)pthread_rwlock_wrlock(&iam->lock);
    const struct access_key_record before = key->record;
    key->record = next;
    (void)pthread_rwlock_unlock(&iam->lock);
    next = before; /* released with this scope */
    signing_cache_drop(&iam->cache, &key->signing);
    return 0;
}

int access_key_set_active(struct iam *iam, const char *id, bool active, struct kms_error *err)
{
    (void)pthread_mutex_lock(&iam->change);
    const int result = change_active(iam, id, active, err);
    (void)pthread_mutex_unlock(&iam->change);
    return result;
}

/* --- reading ---------------------------------------------------------------------------------- */

void access_key_each(struct iam *iam, access_key_each_fn *each, void *arg)
{
    (void)pthread_rwlock_rdlock(&iam->lock);
    for (size_t i = 0; i < iam->count; i++)
        each(arg, &iam->keys[i]->record);
    (void)pthread_rwlock_unlock(&iam->lock);
}

/* An access key as one request sees it. */
struct sighting {
    struct access_key *key; /* for its signing set alone */
    struct principal principal;
    int64_t serial;
};

/* An unknown and a disabled key are the same to whoever asks. */
static int see_active(struct iam *iam, struct span id, struct sighting *ret, struct kms_error *err)
{
    (void)pthread_rwlock_rdlock(&iam->lock);
    struct access_key *const key = key_of_id(iam, id);
    const bool active = key && key->record.active;
    if (active)
        *ret = (struct sighting){ key, key->principal, key->record.serial };
    (void)pthread_rwlock_unlock(&iam->lock);
    if (!active)
        return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT,
                        "The security token included in the request is invalid.");
    return 0;
}

/* Unwraps the secret for as long as it takes to derive. ret_serial: what the key is of. */
static int derive(struct iam *iam, struct access_key *key, const struct signing_scope *scope,
                  int64_t *ret_serial, struct secret *ret, struct kms_error *err)
{
    AUTO(access_key_record) record = { 0 };
    AUTO(secret) secret = { 0 };

    (void)pthread_rwlock_rdlock(&iam->lock);
    const int copied = record_copy(&access_key_table, &key->record, &record, err);
    (void)pthread_rwlock_unlock(&iam->lock);
    if (copied < 0 || credential_open(&iam->config, &record, &secret, err) < 0 ||
        signing_key_derive(secret_span(&secret), scope, ret, err) < 0)
        return -1;
    *ret_serial = record.serial;
    return 0;
}

int access_key_signing_key(struct iam *iam, const struct signing_scope *scope,
                           struct secret *ret_key, struct principal *ret_principal,
                           struct kms_error *err)
{
    struct sighting seen = { 0 };

    if (see_active(iam, scope->access_key_id, &seen, err) < 0)
        return -1;
    struct signing_set *const set = &seen.key->signing;
    const int found = signing_cache_find(&iam->cache, set, scope, seen.serial, ret_key, err);
    if (found < 0)
        return -1;
    if (found == 0) {
        if (derive(iam, seen.key, scope, &seen.serial, ret_key, err) < 0)
            return -1;
        signing_cache_put(&iam->cache, set, scope, seen.serial, secret_span(ret_key));
    }
    *ret_principal = seen.principal;
    return 0;
}
