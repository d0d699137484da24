#include <stdio.h>
#include <time.h>

#include "hsmkms/keys/change.h"
#include "hsmkms/keys/key_store_parts.h"
#include "hsmkms/keys/reconcile.h"

#define LET_GO_MS 2000

/* Create, update, delete, connect and disconnect: a record first, then what it says. */

static int wrong_state(const struct key_store *store, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_STORE_STATE,
                    "The operation is not valid for custom key store %.64s, whose connection state "
                    "is %s.",
                    store->record.id, key_store_state_text(store->state));
}

/* --- what must be true of a name and a cluster ------------------------------------------------ */

/* self: the store that may have them already, or NULL. */
static int check_name(const struct key_stores *stores, const struct key_store *self,
                      const char *name, struct kms_error *err)
{
    for (size_t i = 0; i < stores->count; i++)
        if (stores->items[i] != self && strcmp(stores->items[i]->record.name, name) == 0)
            return kms_fail(err, KMS_ERR_STORE_NAME_IN_USE,
                            "The custom key store name %.256s is in use.", name);
    return 0;
}

static int check_cluster(const struct key_stores *stores, const struct key_store *self,
                         const char *cluster, struct kms_error *err)
{
    if (key_stores_config(stores, cluster) == NULL)
        return kms_fail(err, KMS_ERR_CLUSTER_NOT_FOUND, "Cluster %.24s was not found.", cluster);
    for (size_t i = 0; i < stores->count; i++)
        if (stores->items[i] != self && strcmp(stores->items[i]->record.cluster, cluster) == 0)
            return kms_fail(err, KMS_ERR_CLUSTER_IN_USE,
                            "Cluster %.24s is associated with another custom key store.", cluster);
    return 0;
}

/* --- create ----------------------------------------------------------------------------------- */

static void make_id(char ret[24])
{
    const struct uuid id = uuid_random();
    const struct uuid_text random = uuid_format(&id);

    /* 17 digits, as AWS has them: the first and the last group of a UUID are all random */
    (void)snprintf(ret, 24, "cks-%.5s%s", random.text, random.text + 24);
}

static void key_store_record_done(struct key_store_record *record)
{
    record_done(&key_store_table, record);
}

static int draft_record(const struct keyring *keyring, const struct key_store_draft *draft,
                        const char *id, struct key_store_record *ret, struct kms_error *err)
{
    ret->created_ms = clock_wall_ms(keyring->clock);
    if (record_set_text(&ret->id, id, err) < 0 ||
        record_set_text(&ret->name, draft->name, err) < 0 ||
        record_set_text(&ret->cluster, draft->cluster, err) < 0)
        return -1;
    return record_set_text(&ret->trust_anchor, draft->trust_anchor, err);
}

int key_store_create(struct keyring *keyring, const struct key_store_draft *draft, char ret_id[24],
                     struct kms_error *err)
{
    struct key_stores *const stores = keyring->stores;
    struct key_store *store = NULL;
    char id[24];
    AUTO(key_store_record) record = { 0 };
    AUTO(change) change = { 0 };

    make_id(id);
    change_begin_new(&change, keyring);
    if (check_name(stores, NULL, draft->name, err) < 0 ||
        check_cluster(stores, NULL, draft->cluster, err) < 0 ||
        draft_record(keyring, draft, id, &record, err) < 0 ||
        key_store_new(&record, &store, err) < 0 || key_stores_add(stores, store, err) < 0)
        return -1;
    if (change_put_key_store(&change, &record, err) < 0 || change_commit(&change, err) < 0) {
        key_stores_remove(stores, store);
        return -1;
    }
    memcpy(ret_id, id, sizeof(id));
    return 0;
}

/* --- update ----------------------------------------------------------------------------------- */

static bool region_has_keys(const struct keyring *keyring, const char *store)
{
    struct uuid last, *after = NULL;
    struct key *key = NULL;
    bool found = false;

    while (!found && catalog_all(keyring->catalog, after, &key, 1) == 1) {
        last = key->record.id;
        after = &last;
        found = key_store_owns(store, key) && key_store_counts(key);
        key_unref(key);
    }
    return found;
}

static bool has_keys(const struct keyring *keyring, const char *store)
{
    bool found = false;

    for (const struct keyring *each = keyring->home; each && !found; each = each->next)
        found = region_has_keys(each, store);
    return found;
}

/* Another token is the same store only when it holds the same keys. No lock is held. */
static int check_related(struct keyring *keyring, const char *id, const char *cluster,
                         struct kms_error *err)
{
    const struct token_config *const config = key_stores_config(keyring->stores, cluster);
    struct kms_error why = { 0 };
    struct token *token = NULL;
    size_t missing = 0;

    if (config == NULL || !has_keys(keyring, id))
        return 0; /* not configured: said by check_cluster() */
    if (token_open(config, &token, &why) < 0) {
        (void)kms_fail(err, KMS_ERR_CLUSTER_NOT_ACTIVE, "Cluster %.24s is not active.", cluster);
        (void)snprintf(err->detail, sizeof(err->detail), "%.100s%.150s", why.message,
                       why.detail);
        return -1;
    }
    const int seen = reconcile_missing(keyring, &(struct reconciled){ token, id }, &missing, err);
    token_close(token);
    if (seen < 0 || missing == 0)
        return seen;
    return kms_fail(err, KMS_ERR_CLUSTER_NOT_RELATED,
                    "Cluster %.24s does not hold the keys of the custom key store.", cluster);
}

/* While a store is connected only its name changes; while it is being connected, nothing. */
static int check_update(const struct key_stores *stores, const struct key_store *store,
                        const struct key_store_update *update, struct kms_error *err)
{
    const bool only_name = update->cluster == NULL && !update->password;

    if (store->state != KEY_STORE_DISCONNECTED &&
        !(store->state == KEY_STORE_CONNECTED && only_name))
        return wrong_state(store, err);
    if (update->name && check_name(stores, store, update->name, err) < 0)
        return -1;
    return update->cluster ? check_cluster(stores, store, update->cluster, err) : 0;
}

static bool changes_cluster(const struct key_store *store, const struct key_store_update *update)
{
    return update->cluster && strcmp(update->cluster, store->record.cluster) != 0;
}

/* What can be said before the other token is opened; whether it has to be. */
static int look_at_update(struct keyring *keyring, const char *id,
                          const struct key_store_update *update, bool *ret_moves,
                          struct kms_error *err)
{
    struct key_store *store = NULL;
    AUTO(change) change = { 0 };

    change_begin_new(&change, keyring);
    if (key_stores_need(keyring->stores, id, &store, err) < 0 ||
        check_update(keyring->stores, store, update, err) < 0)
        return -1;
    *ret_moves = changes_cluster(store, update);
    return 0;
}

static int update_record(struct change *change, struct key_store *store,
                         const struct key_store_update *update, struct kms_error *err)
{
    struct key_stores *const stores = change->keyring->stores;
    AUTO(key_store_record) record = { 0 };

    if (record_copy(&key_store_table, &store->record, &record, err) < 0 ||
        (update->name && record_set_text(&record.name, update->name, err) < 0) ||
        (update->cluster && record_set_text(&record.cluster, update->cluster, err) < 0) ||
        change_put_key_store(change, &record, err) < 0 || change_commit(change, err) < 0)
        return -1;
    const struct key_store_record before = store->record;
    (void)pthread_rwlock_wrlock(&stores->lock);
    store->record = record; /* now owned by the store */
    (void)pthread_rwlock_unlock(&stores->lock);
    record = before; /* goes with this call */
    return 0;
}

int key_store_update(struct keyring *keyring, const char *id, const struct key_store_update *update,
                     struct kms_error *err)
{
    struct key_store *store = NULL;
    bool moves = false;

    if (look_at_update(keyring, id, update, &moves, err) < 0 ||
        (moves && check_related(keyring, id, update->cluster, err) < 0))
        return -1;
    AUTO(change) change = { 0 };
    change_begin_new(&change, keyring);
    if (key_stores_need(keyring->stores, id, &store, err) < 0 ||
        check_update(keyring->stores, store, update, err) < 0)
        return -1;
    return update_record(&change, store, update, err);
}

/* --- delete ----------------------------------------------------------------------------------- */

int key_store_delete(struct keyring *keyring, const char *id, struct kms_error *err)
{
    struct key_store *store = NULL;
    AUTO(change) change = { 0 };

    change_begin_new(&change, keyring);
    if (key_stores_need(keyring->stores, id, &store, err) < 0)
        return -1;
    if (store->state != KEY_STORE_DISCONNECTED)
        return wrong_state(store, err);
    if (has_keys(keyring, id))
        return kms_fail(err, KMS_ERR_STORE_HAS_KEYS, "Custom key store %.64s contains KMS keys.",
                        id);
    if (change_drop_key_store(&change, &store->record, err) < 0 || change_commit(&change, err) < 0)
        return -1;
    key_stores_remove(keyring->stores, store);
    return 0;
}

/* --- connect and disconnect ------------------------------------------------------------------- */

/* Makes it durable whether the store is to be connected. */
static int want(struct change *change, const struct key_store *store, bool connected,
                struct kms_error *err)
{
    struct key_store_record record = store->record; /* its texts stay the store's */

    record.connected = connected;
    if (change_put_key_store(change, &record, err) < 0)
        return -1;
    return change_commit(change, err);
}

/* One that is connected stays so. */
static int begin_connecting(struct keyring *keyring, const char *id, struct kms_error *err)
{
    struct key_store *store = NULL;
    AUTO(change) change = { 0 };

    change_begin_new(&change, keyring);
    if (key_stores_need(keyring->stores, id, &store, err) < 0)
        return -1;
    if (store->state == KEY_STORE_CONNECTED)
        return 0;
    if (store->state != KEY_STORE_DISCONNECTED)
        return wrong_state(store, err);
    if (want(&change, store, true, err) < 0)
        return -1;
    (void)pthread_rwlock_wrlock(&keyring->stores->lock);
    store->record.connected = 1;
    (void)pthread_rwlock_unlock(&keyring->stores->lock);
    return key_store_begin(keyring, store, err);
}

int key_store_connect(struct keyring *keyring, const char *id, struct kms_error *err)
{
    if (begin_connecting(keyring, id, err) < 0)
        return -1;
    key_store_wait(keyring, id);
    return 0;
}

/* The store's token is used no more; who has it in use gives it back when done. */
static struct token_link *unlink_token(struct key_stores *stores, struct key_store *store)
{
    (void)pthread_rwlock_wrlock(&stores->lock);
    struct token_link *const link = store->link;
    store->link = NULL;
    store->record.connected = 0;
    store->state = KEY_STORE_DISCONNECTED;
    store->error = NULL;
    (void)pthread_rwlock_unlock(&stores->lock);
    return link; /* now owned by the caller */
}

/*
 * Gives the token back when the calls in it have ended, so that the store can be connected again at
 * once. One that hangs is not waited for without end: it closes the token if it ever returns.
 */
static void let_go(struct token_link *link)
{
    for (int waited_ms = 0; link && waited_ms < LET_GO_MS; waited_ms++) {
        if (atomic_load(&link->references) == 1)
            break;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    token_link_unref(link);
}

int key_store_disconnect(struct keyring *keyring, const char *id, struct kms_error *err)
{
    struct token_link *link = NULL;
    int away;
    {
        struct key_store *store = NULL;
        AUTO(change) change = { 0 };

        change_begin_new(&change, keyring);
        if (key_stores_need(keyring->stores, id, &store, err) < 0)
            return -1;
        if (store->state != KEY_STORE_CONNECTED && store->state != KEY_STORE_FAILED)
            return wrong_state(store, err);
        if (want(&change, store, false, err) < 0)
            return -1;
        link = unlink_token(keyring->stores, store);
        away = key_store_keys_away(&change, id, err);
    }
    let_go(link); /* without the lock */
    return away;
}
