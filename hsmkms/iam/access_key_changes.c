/* Changes of access keys. */

#include <stdio.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/iam/access_key_parts.h"

#define SECRET_BYTES 32

/* --- owners ----------------------------------------------------------------------------------- */

/* Unique id of a user, or for "" the account whose root it is. */
static int find_owner(struct iam *iam, const char *account, const char *user_name,
                      char ret[UNIQUE_ID_LEN + 1], struct kms_error *err)
{
    if (user_name[0] == '\0') {
        if (directory_account(iam->directory, span_text(account)) != ACCOUNT_OWN)
            return kms_fail(err, KMS_ERR_NOT_FOUND, "Account %.20s cannot be found.", account);
        (void)snprintf(ret, UNIQUE_ID_LEN + 1, "%s", account);
        return 0;
    }
    struct identity *const user = directory_find(iam->directory, IDENTITY_USER, account, user_name);
    if (user == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "The user with name %.64s cannot be found.",
                        user_name);
    memcpy(ret, user->unique_id, sizeof(user->unique_id));
    identity_unref(user);
    return 0;
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

/* In a change: may this owner have one active key more? */
static int check_room(const struct access_keys *keys, const char *owner, struct kms_error *err)
{
    size_t active = 0;

    for (size_t i = 0; i < keys->count; i++)
        if (keys->keys[i]->record.active && strcmp(keys->keys[i]->record.owner, owner) == 0)
            active++;
    if (active >= ACCESS_KEYS_PER_USER)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "Cannot exceed quota for AccessKeysPerUser: %d", ACCESS_KEYS_PER_USER);
    return 0;
}

static int make_id(const struct access_keys *keys, char ret[ACCESS_KEY_ID_LEN + 1],
                   struct kms_error *err)
{
    uint8_t bits[UNIQUE_ID_BITS];
    char id[ACCESS_KEY_ID_LEN + 1];

    if (token_random(keys->iam->config.token, bits, sizeof(bits), err) < 0)
        return -1;
    unique_id_format(id, "AKIA", bits);
    if (access_key_of_id(keys, span_text(id))) /* 80 bits do not meet by chance */
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
static int create(struct access_keys *keys, const char *account, const char *owner,
                  char ret_id[ACCESS_KEY_ID_LEN + 1], struct span secret, struct kms_error *err)
{
    struct iam *const iam = keys->iam;
    char id[ACCESS_KEY_ID_LEN + 1];
    AUTO_ACCESS_KEY key = NULL;

    if (make_id(keys, id, err) < 0)
        return -1;
    /* borrows its texts, hence the casts: the key has a copy of its own */
    const struct access_key_record draft = { .id = id,
                                             .account = (char *)account,
                                             .owner = (char *)owner,
                                             .active = 1,
                                             .created_ms = clock_wall_ms(iam->config.clock),
                                             .serial = 1 };
    if (access_key_new(keys, &draft, &key, err) < 0 ||
        credential_seal(&iam->config, &key->record, secret, &key->record.secret, err) < 0 ||
        store_record(iam, &key->record, err) < 0)
        return -1;
    access_key_publish(keys, key);
    key = NULL; /* now owned by keys */
    memcpy(ret_id, id, sizeof(id));
    return 0;
}

/* In a change. */
static int create_for(struct access_keys *keys, const char *account, const char *user_name,
                      char ret_id[ACCESS_KEY_ID_LEN + 1], struct span secret, struct kms_error *err)
{
    char owner[UNIQUE_ID_LEN + 1];

    if (find_owner(keys->iam, account, user_name, owner, err) < 0 ||
        check_room(keys, owner, err) < 0)
        return -1;
    if (keys->count >= ACCESS_KEYS_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed quota for AccessKeys: %d",
                        ACCESS_KEYS_MAX);
    return create(keys, account, owner, ret_id, secret, err);
}

int access_key_create(struct iam *iam, const char *account, const char *user_name,
                      char ret_id[ACCESS_KEY_ID_LEN + 1], struct secret *ret_secret,
                      struct kms_error *err)
{
    struct access_keys *const keys = iam->access_keys;
    AUTO(secret) secret = { 0 };

    if (make_secret(iam, &secret, err) < 0)
        return -1;
    (void)pthread_mutex_lock(&keys->change);
    const int result = create_for(keys, account, user_name, ret_id, secret_span(&secret), err);
    (void)pthread_mutex_unlock(&keys->change);
    if (result == 0)
        *ret_secret = secret_take(&secret);
    return result;
}

static int no_such_key(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_NOT_FOUND, "There is no access key with this id");
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
static int change_active(struct access_keys *keys, const char *id, bool active,
                         struct kms_error *err)
{
    struct access_key *const key = access_key_of_id(keys, span_text(id));
    AUTO(access_key_record) next = { 0 };

    if (key == NULL)
        return no_such_key(err);
    if (!!key->record.active == active)
        return 0;
    if (active && check_room(keys, key->record.owner, err) < 0)
        return -1;
    if (next_record(keys->iam, &key->record, active, &next, err) < 0 ||
        store_record(keys->iam, &next, err) < 0)
        return -1;

    (void)pthread_rwlock_wrlock(&keys->lock);
    const struct access_key_record before = key->record;
    key->record = next;
    (void)pthread_rwlock_unlock(&keys->lock);
    next = before; /* released with this scope */
    signing_cache_drop(&keys->cache, &key->signing);
    return 0;
}

int access_key_set_active(struct iam *iam, const char *id, bool active, struct kms_error *err)
{
    struct access_keys *const keys = iam->access_keys;

    (void)pthread_mutex_lock(&keys->change);
    const int result = change_active(keys, id, active, err);
    (void)pthread_mutex_unlock(&keys->change);
    return result;
}

/* In a change. */
static int delete (struct access_keys *keys, const char *id, struct kms_error *err)
{
    struct access_key *const key = access_key_of_id(keys, span_text(id));
    struct store_tx *tx = NULL;

    if (key == NULL)
        return no_such_key(err);
    if (key->record.active)
        return kms_fail(err, KMS_ERR_CONFLICT,
                        "Cannot delete an active access key: it must be made inactive first.");
    if (store_begin(keys->iam->config.store, &tx, err) < 0)
        return -1;
    if (store_drop(tx, &access_key_table, &key->record, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    if (store_commit(tx, err) < 0)
        return -1;
    access_key_withdraw(keys, key);
    return 0;
}

int access_key_delete(struct iam *iam, const char *id, struct kms_error *err)
{
    struct access_keys *const keys = iam->access_keys;

    (void)pthread_mutex_lock(&keys->change);
    const int result = delete (keys, id, err);
    (void)pthread_mutex_unlock(&keys->change);
    return result;
}
