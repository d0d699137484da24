#include "hsmkms/iam/access_key.h"

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/base/lock.h"
#include "hsmkms/iam/access_key_parts.h"
#include "hsmkms/iam/arn.h"

void access_key_record_done(struct access_key_record *record)
{
    record_done(&access_key_table, record);
}

void access_key_unref(struct access_key *key)
{
    if (key == NULL || atomic_fetch_sub_explicit(&key->references, 1, memory_order_acq_rel) > 1)
        return;
    signing_cache_drop(&key->of->cache, &key->signing);
    access_key_record_done(&key->record);
    free(key);
}

/* --- the catalog ------------------------------------------------------------------------------ */

/* Index of the first key whose id is not less. With the lock, or in a change. */
static size_t place_of(const struct access_keys *keys, struct span id)
{
    size_t low = 0, high = keys->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (span_compare(span_text(keys->keys[middle]->record.id), id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct access_key *access_key_of_id(const struct access_keys *keys, struct span id)
{
    const size_t i = place_of(keys, id);

    if (i == keys->count || !span_equal(span_text(keys->keys[i]->record.id), id))
        return NULL;
    return keys->keys[i];
}

/* Takes the key over. Cannot fail: the room for every key was made by access_keys_open. */
void access_key_publish(struct access_keys *keys, struct access_key *key)
{
    (void)pthread_rwlock_wrlock(&keys->lock);
    const size_t at = place_of(keys, span_text(key->record.id));
    memmove(&keys->keys[at + 1], &keys->keys[at], (keys->count - at) * sizeof(struct access_key *));
    keys->keys[at] = key;
    keys->count++;
    (void)pthread_rwlock_unlock(&keys->lock);
}

void access_key_withdraw(struct access_keys *keys, struct access_key *key)
{
    (void)pthread_rwlock_wrlock(&keys->lock);
    const size_t at = place_of(keys, span_text(key->record.id));
    keys->count--;
    memmove(&keys->keys[at], &keys->keys[at + 1], (keys->count - at) * sizeof(struct access_key *));
    (void)pthread_rwlock_unlock(&keys->lock);
    access_key_unref(key);
}

/* A key for a copy of this record. */
int access_key_new(struct access_keys *keys, const struct access_key_record *record,
                   struct access_key **ret, struct kms_error *err)
{
    AUTO_ACCESS_KEY key = calloc(1, sizeof(*key));

    if (key == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an access key");
    atomic_init(&key->references, 1);
    key->of = keys;
    if (record_copy(&access_key_table, record, &key->record, err) < 0)
        return -1;
    *ret = key;
    key = NULL; /* now owned by the caller */
    return 0;
}

/* --- start and end ---------------------------------------------------------------------------- */

static bool owner_whole(const struct access_key_record *record)
{
    return account_id_valid(span_text(record->account)) &&
           (strcmp(record->owner, record->account) == 0 ||
            unique_id_valid(span_text(record->owner), "AIDA"));
}

/* Rows are authentic; these are the things that another program version could have written. An
 * owner who is gone is none of them: such a key is refused like an unknown one. */
static int check_record(const struct access_keys *keys, const struct access_key_record *record,
                        struct kms_error *err)
{
    if (record->account == NULL || record->owner == NULL || !owner_whole(record) ||
        !unique_id_valid(span_text(record->id), "AKIA") || record->secret.len != CREDENTIAL_LEN ||
        record->serial < 1)
        return kms_fail(err, KMS_ERR_INTEGRITY, "access key '%.40s' is not well-formed",
                        record->id);
    if (keys->count >= ACCESS_KEYS_MAX)
        return kms_fail(err, KMS_ERR_INTEGRITY, "more than %d access keys", ACCESS_KEYS_MAX);
    return 0;
}

static int load_one(void *arg, const void *record, struct kms_error *err)
{
    struct access_keys *const keys = arg;
    struct access_key *key = NULL;

    if (check_record(keys, record, err) < 0 || access_key_new(keys, record, &key, err) < 0)
        return -1;
    access_key_publish(keys, key); /* now owned by keys */
    return 0;
}

static int make_locks(struct access_keys *keys, struct kms_error *err)
{
    if (!lock_init_fair(&keys->lock) || pthread_mutex_init(&keys->change, NULL) != 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no lock for the access keys");
    return 0;
}

int access_keys_open(struct iam *iam, struct access_keys **ret, struct kms_error *err)
{
    struct access_keys *const keys = calloc(1, sizeof(*keys));
    struct access_key **const room = calloc(ACCESS_KEYS_MAX, sizeof(*room));

    if (keys == NULL || room == NULL ||
        signing_cache_init(&keys->cache, iam->config.signing_keys, err) < 0) {
        free(room);
        free(keys);
        return err->code ? -1
                         : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for access keys");
    }
    keys->iam = iam;
    keys->keys = room;
    if (make_locks(keys, err) < 0 ||
        store_each(iam->config.store, &access_key_table, load_one, keys, err) < 0) {
        access_keys_close(keys);
        return -1;
    }
    *ret = keys;
    return 0;
}

void access_keys_close(struct access_keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->count; i++)
        access_key_unref(keys->keys[i]);
    signing_cache_done(&keys->cache);
    free(keys->keys);
    (void)pthread_mutex_destroy(&keys->change);
    (void)pthread_rwlock_destroy(&keys->lock);
    free(keys);
}

/* --- reading ---------------------------------------------------------------------------------- */

bool access_key_owned(struct iam *iam, const char *unique_id)
{
    struct access_keys *const keys = iam->access_keys;
    bool owned = false;

    (void)pthread_rwlock_rdlock(&keys->lock);
    for (size_t i = 0; i < keys->count && !owned; i++)
        owned = strcmp(keys->keys[i]->record.owner, unique_id) == 0;
    (void)pthread_rwlock_unlock(&keys->lock);
    return owned;
}

void access_key_each(struct iam *iam, access_key_each_fn *each, void *arg)
{
    struct access_keys *const keys = iam->access_keys;

    (void)pthread_rwlock_rdlock(&keys->lock);
    for (size_t i = 0; i < keys->count; i++)
        each(arg, &keys->keys[i]->record);
    (void)pthread_rwlock_unlock(&keys->lock);
}

/* An access key as one request sees it. */
struct sighting {
    struct access_key *key; /* a reference; NULL: there is no active one */
    int64_t serial;
    char id[ACCESS_KEY_ID_LEN + 1], owner[UNIQUE_ID_LEN + 1], account[13];
};

static void sighting_done(struct sighting *seen)
{
    access_key_unref(seen->key);
    seen->key = NULL;
}

static void see_active(struct access_keys *keys, struct span id, struct sighting *ret)
{
    (void)pthread_rwlock_rdlock(&keys->lock);
    struct access_key *const key = access_key_of_id(keys, id);
    if (key && key->record.active) {
        atomic_fetch_add_explicit(&key->references, 1, memory_order_relaxed);
        ret->key = key;
        ret->serial = key->record.serial;
        (void)snprintf(ret->id, sizeof(ret->id), "%s", key->record.id);
        (void)snprintf(ret->owner, sizeof(ret->owner), "%s", key->record.owner);
        (void)snprintf(ret->account, sizeof(ret->account), "%s", key->record.account);
    }
    (void)pthread_rwlock_unlock(&keys->lock);
}

/* Whom a key stands for now; false: nobody, or somebody who may not sign. */
static bool principal_of_key(struct iam *iam, const struct sighting *seen, struct principal *ret)
{
    if (strcmp(seen->owner, seen->account) == 0) {
        if (!directory_root_enabled(iam->directory, seen->account))
            return false;
        principal_of_root(seen->account, seen->id, ret);
        return true;
    }
    struct identity *const user = directory_get(iam->directory, seen->owner);
    if (user == NULL || !user->enabled || user->kind != IDENTITY_USER ||
        strcmp(user->account, seen->account) != 0) {
        identity_unref(user);
        return false;
    }
    principal_of_user(user, NULL, seen->id, ret);
    return true;
}

/* A copy of what the key is now. */
static int read_record(struct access_keys *keys, const struct access_key *key,
                       struct access_key_record *ret, struct kms_error *err)
{
    (void)pthread_rwlock_rdlock(&keys->lock);
    const int copied = record_copy(&access_key_table, &key->record, ret, err);
    (void)pthread_rwlock_unlock(&keys->lock);
    return copied;
}

/* Unwraps the secret for as long as it takes to derive. ret_serial: what the key is of. */
static int derive(struct access_keys *keys, const struct access_key *key,
                  const struct signing_scope *scope, int64_t *ret_serial, struct secret *ret,
                  struct kms_error *err)
{
    AUTO(access_key_record) record = { 0 };
    AUTO(secret) secret = { 0 };

    if (read_record(keys, key, &record, err) < 0 ||
        credential_open(&keys->iam->config, &record, &secret, err) < 0 ||
        signing_key_derive(secret_span(&secret), scope, ret, err) < 0)
        return -1;
    *ret_serial = record.serial;
    return 0;
}

static int find_or_derive(struct access_keys *keys, const struct sighting *seen,
                          const struct signing_scope *scope, struct secret *ret,
                          struct kms_error *err)
{
    struct signing_set *const set = &seen->key->signing;
    int64_t serial = seen->serial;

    const int found = signing_cache_find(&keys->cache, set, scope, serial, ret, err);
    if (found)
        return found > 0 ? 0 : -1;
    if (derive(keys, seen->key, scope, &serial, ret, err) < 0)
        return -1;
    signing_cache_put(&keys->cache, set, scope, serial, secret_span(ret));
    return 0;
}

/* An unknown key, a disabled one and one whose owner may not sign are the same to whoever asks. */
static int refuse(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT,
                    "The security token included in the request is invalid.");
}

int access_key_signing_key(struct iam *iam, const struct credential_claim *claim,
                           struct secret *ret_key, struct principal *ret_principal,
                           struct kms_error *err)
{
    struct access_keys *const keys = iam->access_keys;
    struct principal principal = { 0 };
    AUTO(sighting) seen = { 0 };

    see_active(keys, claim->scope.access_key_id, &seen);
    if (seen.key == NULL || !principal_of_key(iam, &seen, &principal))
        return refuse(err);
    if (find_or_derive(keys, &seen, &claim->scope, ret_key, err) < 0) {
        principal_done(&principal);
        return -1;
    }
    *ret_principal = principal; /* its references are now the caller's */
    return 0;
}
