#include <stdlib.h>
#include <time.h>

#include "hsmkms/keys/change.h"
#include "hsmkms/keys/key_store_parts.h"
#include "hsmkms/keys/reconcile.h"

#define CONNECT_WAIT_MS 10000 /* for a login, probes, and a look at many keys */

/* Opening a store's token, and what of it its keys get to know. */

/* Source: AWS KMS API Reference, ConnectionErrorCode of CustomKeyStoresListEntry. */
static const char *error_code(const struct kms_error *why)
{
    static const struct {
        enum kms_err code;
        const char *text;
    } rows[] = {
        { KMS_ERR_TOKEN_MISSING, "CLUSTER_NOT_FOUND" },
        { KMS_ERR_CLUSTER_NOT_FOUND, "CLUSTER_NOT_FOUND" },
        { KMS_ERR_PIN_LATCHED, "INVALID_CREDENTIALS" },
        { KMS_ERR_KEY_UNAVAILABLE, "NETWORK_ERRORS" },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == why->code)
            return rows[i].text;
    return "INTERNAL_ERROR";
}

/* --- keys come and go ------------------------------------------------------------------------- */

static int set_away(struct change *change, const struct key *key, struct kms_error *err)
{
    if (key_copy(key, &change->next, err) < 0)
        return -1;
    key_set_unavailable(change->next, true);
    return change_publish(change, err);
}

static int keys_of_region_away(struct change *change, const char *store, struct kms_error *err)
{
    struct uuid last, *after = NULL;
    struct key *key = NULL;

    while (catalog_all(change->keyring->catalog, after, &key, 1) == 1) {
        last = key->record.id;
        after = &last;
        const int set =
            key_store_owns(store, key) && key_store_counts(key) ? set_away(change, key, err) : 0;
        key_unref(key);
        if (set < 0)
            return -1;
    }
    return 0;
}

int key_store_keys_away(struct change *change, const char *store, struct kms_error *err)
{
    struct keyring *const home = change->keyring->home;
    int away = 0;

    for (struct keyring *each = home; away == 0 && each; each = each->next) {
        change->keyring = each;
        away = keys_of_region_away(change, store, err);
    }
    change->keyring = home;
    return away;
}

/* --- the token -------------------------------------------------------------------------------- */

/* The configuration of a store's token. Errors: CLUSTER_NOT_FOUND. */
static int find_config(struct keyring *keyring, const char *id, const struct token_config **ret,
                       struct kms_error *err)
{
    AUTO(key_store_view) view = { 0 };

    if (key_store_find(keyring, id, &view, err) < 0)
        return -1;
    *ret = key_stores_config(keyring->stores, view.record.cluster);
    return *ret ? 0
                : kms_fail(err, KMS_ERR_CLUSTER_NOT_FOUND, "there is no section [token.%.24s]",
                           view.record.cluster);
}

static void token_free(struct token **token)
{
    token_close(*token);
}

static int open_link(struct keyring *keyring, const char *id, struct token_link **ret,
                     struct kms_error *err)
{
    const struct token_config *config = NULL;
    struct token *token __attribute__((cleanup(token_free))) = NULL;
    unsigned strangers = 0;

    if (find_config(keyring, id, &config, err) < 0 || token_open(config, &token, err) < 0 ||
        reconcile(keyring, &(struct reconciled){ token, id }, &strangers, err) < 0)
        return -1;
    struct token_link *const link = malloc(sizeof(*link));
    if (link == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a token");
    atomic_init(&link->references, 1);
    (void)sem_init(&link->places, 0, config->sessions > 1 ? config->sessions - 1 : 1);
    link->call_time_us = (int64_t)config->call_time_ms * 1000;
    link->token = token; /* now owned by the link */
    token = NULL;
    *ret = link;
    return 0;
}

/* Keys that were found before it failed; without a token none of them is used in any case. */
static void forget_found(struct change *change, const char *id)
{
    struct kms_error ignored = { 0 };

    if (key_store_keys_away(change, id, &ignored) < 0)
        return;
}

/* link NULL: the token did not open. */
static void settle(struct keyring *keyring, const char *id, struct token_link *link,
                   const struct kms_error *why)
{
    AUTO(change) change = { 0 };

    change_begin_new(&change, keyring);
    if (link == NULL)
        forget_found(&change, id);
    /* CONNECTING: nobody but this thread changes or removes it */
    struct key_store *const store = key_stores_get(keyring->stores, id);
    (void)pthread_rwlock_wrlock(&keyring->stores->lock);
    store->link = link; /* now owned by the store */
    store->state = link ? KEY_STORE_CONNECTED : KEY_STORE_FAILED;
    store->error = link ? NULL : error_code(why);
    (void)pthread_rwlock_unlock(&keyring->stores->lock);
}

/* --- the thread ------------------------------------------------------------------------------- */

struct errand {
    struct keyring *keyring;
    struct key_store_view store; /* as it was before */
};

/* Takes the change lock no more once the store has a state: whoever joins may hold it. */
static void *connect_store(void *arg)
{
    struct errand *const errand = arg;
    struct keyring *const keyring = errand->keyring;
    const char *const id = errand->store.record.id;
    struct token_link *link = NULL;
    struct kms_error why = { 0 };

    if (open_link(keyring, id, &link, &why) < 0)
        link = NULL; /* untouched, and why says the rest */
    keyring->stores->outcome(keyring->stores->outcome_arg, &errand->store, &why);
    settle(keyring, id, link, &why);
    key_store_view_done(&errand->store);
    free(errand);
    return NULL;
}

static int start_thread(struct key_store *store, struct errand *errand, struct kms_error *err)
{
    if (key_store_copy(store, &errand->store, err) < 0)
        return -1;
    if (store->has_thread)
        (void)pthread_join(store->thread, NULL); /* of the time before, which is over */
    store->has_thread = pthread_create(&store->thread, NULL, connect_store, errand) == 0;
    return store->has_thread
               ? 0
               : kms_fail_detail(err, KMS_ERR_INTERNAL, "no thread to connect a key store");
}

static void set_state(struct key_stores *stores, struct key_store *store,
                      enum key_store_state state)
{
    (void)pthread_rwlock_wrlock(&stores->lock);
    store->state = state;
    store->error = state == KEY_STORE_FAILED ? error_code(&(struct kms_error){ 0 }) : NULL;
    (void)pthread_rwlock_unlock(&stores->lock);
}

int key_store_begin(struct keyring *keyring, struct key_store *store, struct kms_error *err)
{
    struct errand *const errand = calloc(1, sizeof(*errand));

    if (errand == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a key store");
    errand->keyring = keyring;
    set_state(keyring->stores, store, KEY_STORE_CONNECTING);
    if (start_thread(store, errand, err) == 0)
        return 0; /* errand is now owned by the thread */
    set_state(keyring->stores, store, KEY_STORE_FAILED);
    key_store_view_done(&errand->store);
    free(errand);
    return -1;
}

void key_store_wait(const struct keyring *keyring, const char *id)
{
    for (int waited_ms = 0; waited_ms < CONNECT_WAIT_MS; waited_ms += 2) {
        struct kms_error gone = { 0 };
        AUTO(key_store_view) store = { 0 };

        if (key_store_find(keyring, id, &store, &gone) < 0 || store.state != KEY_STORE_CONNECTING)
            return;
        (void)nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
}

/* --- start ------------------------------------------------------------------------------------ */

int key_stores_start(struct keyring *keyring, const struct token_config *configs, size_t count,
                     key_store_outcome_fn *each, void *arg, struct kms_error *err)
{
    struct key_stores *const stores = keyring->stores;
    AUTO(key_store_list) list = { 0 };

    stores->configs = configs;
    stores->config_count = count;
    stores->outcome = each;
    stores->outcome_arg = arg;
    if (key_store_list(keyring, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        AUTO(change) change = { 0 };
        change_begin_new(&change, keyring);
        if (list.items[i].record.connected &&
            key_store_begin(keyring, key_stores_get(stores, list.items[i].record.id), err) < 0)
            return -1;
    }
    for (size_t i = 0; i < list.count; i++)
        key_store_wait(keyring, list.items[i].record.id);
    return 0;
}
