#include "hsmkms/keys/key_store.h"

#include <stdlib.h>
#include <string.h>

#include "hsmkms/base/lock.h"
#include "hsmkms/keys/key_store_parts.h"

const char *key_store_state_text(enum key_store_state state)
{
    static const char *const texts[KEY_STORE_STATES] = { [KEY_STORE_DISCONNECTED] = "DISCONNECTED",
                                                         [KEY_STORE_CONNECTING] = "CONNECTING",
                                                         [KEY_STORE_CONNECTED] = "CONNECTED",
                                                         [KEY_STORE_FAILED] = "FAILED" };

    return texts[state];
}

bool key_store_is_cluster_id(const char *text)
{
    static const char prefix[] = "cluster-";
    static const char allowed[] = "234567abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
        return false;
    const char *const rest = text + sizeof(prefix) - 1;
    const size_t len = strspn(rest, allowed);
    return rest[len] == '\0' && len >= 11 && len <= 16;
}

/* --- records ---------------------------------------------------------------------------------- */

static int no_memory(struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a key store");
}

static void free_store(struct key_store *store)
{
    if (store->has_thread)
        (void)pthread_join(store->thread, NULL);
    token_link_unref(store->link);
    record_done(&key_store_table, &store->record);
    free(store);
}

int key_store_new(const struct key_store_record *record, struct key_store **ret,
                  struct kms_error *err)
{
    struct key_store *const store = calloc(1, sizeof(*store));

    if (store == NULL)
        return no_memory(err);
    if (record_copy(&key_store_table, record, &store->record, err) < 0) {
        free(store);
        return -1;
    }
    *ret = store;
    return 0;
}

struct key_stores *key_stores_new(void)
{
    struct key_stores *const stores = calloc(1, sizeof(*stores));

    if (stores && !lock_init_fair(&stores->lock)) {
        free(stores);
        return NULL;
    }
    return stores;
}

void key_stores_free(struct key_stores *stores)
{
    if (stores == NULL)
        return;
    for (size_t i = 0; i < stores->count; i++)
        free_store(stores->items[i]);
    (void)pthread_rwlock_destroy(&stores->lock);
    free(stores);
}

struct key_store *key_stores_get(const struct key_stores *stores, const char *id)
{
    for (size_t i = 0; i < stores->count; i++)
        if (strcmp(stores->items[i]->record.id, id) == 0)
            return stores->items[i];
    return NULL;
}

static int not_found(const char *id, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_STORE_NOT_FOUND, "Custom key store %.64s was not found.", id);
}

int key_stores_need(const struct key_stores *stores, const char *id, struct key_store **ret,
                    struct kms_error *err)
{
    struct key_store *const store = key_stores_get(stores, id);

    if (store == NULL)
        return not_found(id, err);
    *ret = store;
    return 0;
}

int key_stores_add(struct key_stores *stores, struct key_store *store, struct kms_error *err)
{
    size_t place = stores->count;

    if (stores->count == KEY_STORES_MAX) {
        free_store(store);
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "You have reached the quota of custom key stores for this account and "
                        "Region.");
    }
    (void)pthread_rwlock_wrlock(&stores->lock);
    for (; place > 0 && strcmp(stores->items[place - 1]->record.id, store->record.id) > 0; place--)
        stores->items[place] = stores->items[place - 1];
    stores->items[place] = store;
    stores->count++;
    (void)pthread_rwlock_unlock(&stores->lock);
    return 0;
}

void key_stores_remove(struct key_stores *stores, struct key_store *store)
{
    size_t place = 0;

    (void)pthread_rwlock_wrlock(&stores->lock);
    while (stores->items[place] != store)
        place++;
    stores->count--;
    for (; place < stores->count; place++)
        stores->items[place] = stores->items[place + 1];
    (void)pthread_rwlock_unlock(&stores->lock);
    free_store(store);
}

static int load_store(void *arg, const void *record, struct kms_error *err)
{
    struct keyring *const keyring = arg;
    struct key_store *store = NULL;

    if (key_store_new(record, &store, err) < 0)
        return -1;
    return key_stores_add(keyring->stores, store, err);
}

int key_stores_load(struct keyring *keyring, struct kms_error *err)
{
    return store_each(keyring->store, &key_store_table, load_store, keyring, err);
}

const struct token_config *key_stores_config(const struct key_stores *stores, const char *cluster)
{
    for (size_t i = 0; i < stores->config_count; i++)
        if (strcmp(stores->configs[i].name, cluster) == 0)
            return &stores->configs[i];
    return NULL;
}

/* --- views ------------------------------------------------------------------------------------ */

void key_store_view_done(struct key_store_view *view)
{
    record_done(&key_store_table, &view->record);
}

int key_store_copy(const struct key_store *store, struct key_store_view *ret, struct kms_error *err)
{
    ret->state = store->state;
    ret->error = store->error;
    return record_copy(&key_store_table, &store->record, &ret->record, err);
}

int key_store_find(const struct keyring *keyring, const char *id, struct key_store_view *ret,
                   struct kms_error *err)
{
    struct key_stores *const stores = keyring->stores;
    struct key_store *store = NULL;

    (void)pthread_rwlock_rdlock(&stores->lock);
    int found = key_stores_need(stores, id, &store, err);
    if (found == 0)
        found = key_store_copy(store, ret, err);
    (void)pthread_rwlock_unlock(&stores->lock);
    return found;
}

int key_store_find_named(const struct keyring *keyring, const char *name,
                         struct key_store_view *ret, struct kms_error *err)
{
    struct key_stores *const stores = keyring->stores;
    int found = 1;

    (void)pthread_rwlock_rdlock(&stores->lock);
    for (size_t i = 0; i < stores->count && found > 0; i++)
        if (strcmp(stores->items[i]->record.name, name) == 0)
            found = key_store_copy(stores->items[i], ret, err);
    (void)pthread_rwlock_unlock(&stores->lock);
    return found > 0 ? not_found(name, err) : found;
}

int key_store_list(const struct keyring *keyring, struct key_store_list *ret, struct kms_error *err)
{
    struct key_stores *const stores = keyring->stores;
    int listed = 0;

    if (stores == NULL)
        return 0;
    (void)pthread_rwlock_rdlock(&stores->lock);
    for (size_t i = 0; i < stores->count && listed == 0; i++)
        listed = key_store_copy(stores->items[i], &ret->items[ret->count++], err);
    (void)pthread_rwlock_unlock(&stores->lock);
    return listed;
}

void key_store_list_done(struct key_store_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        key_store_view_done(&list->items[i]);
    list->count = 0;
}

/* --- tokens ----------------------------------------------------------------------------------- */

void token_link_unref(struct token_link *link)
{
    if (link == NULL || atomic_fetch_sub_explicit(&link->references, 1, memory_order_acq_rel) > 1)
        return;
    token_close(link->token);
    (void)sem_destroy(&link->places);
    free(link);
}

void token_hold_done(struct token_hold *hold)
{
    if (hold->placed)
        (void)sem_post(&hold->link->places); /* cannot overflow: it was taken */
    token_link_unref(hold->link);
    *hold = (struct token_hold){ 0 };
}

bool key_stores_hold(struct key_stores *stores, const char *id, struct token_hold *ret)
{
    (void)pthread_rwlock_rdlock(&stores->lock);
    const struct key_store *const store = key_stores_get(stores, id);
    struct token_link *const link = store ? store->link : NULL;
    if (link)
        atomic_fetch_add_explicit(&link->references, 1, memory_order_relaxed);
    (void)pthread_rwlock_unlock(&stores->lock);
    if (link)
        *ret = (struct token_hold){ link->token, link, false };
    return link != NULL;
}

int key_store_hold_id(const struct keyring *keyring, const char *id, struct token_hold *ret,
                      struct kms_error *err)
{
    AUTO(key_store_view) view = { 0 };

    if (key_stores_hold(keyring->stores, id, ret))
        return 0;
    if (key_store_find(keyring, id, &view, err) < 0)
        return -1;
    return kms_fail(err, KMS_ERR_STORE_STATE, "Custom key store %.64s is not connected.", id);
}

void key_store_each(const struct keyring *keyring, key_store_each_fn *each, void *arg)
{
    struct kms_error unlisted = { 0 };
    AUTO(key_store_list) list = { 0 };

    if (key_store_list(keyring, &list, &unlisted) < 0)
        return; /* out of memory: the next round comes */
    for (size_t i = 0; i < list.count; i++) {
        AUTO(token_hold) held = { 0 };
        if (key_stores_hold(keyring->stores, list.items[i].record.id, &held))
            each(arg, list.items[i].record.cluster, held.token);
    }
}

/* --- keys of a store -------------------------------------------------------------------------- */

bool key_store_owns(const char *store, const struct key *key)
{
    const char *const own = key->record.key_store;

    return store ? own && strcmp(own, store) == 0 : own == NULL;
}

bool key_store_counts(const struct key *key)
{
    return key->state != KEY_DELETED && key->state != KEY_ABORTED;
}
