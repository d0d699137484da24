#pragma once

/* The inside of struct key_stores, for key_store*.c. */

#include <semaphore.h>

#include "hsmkms/keys/change.h"
#include "hsmkms/keys/key_store.h"

/* An open token, counted: whoever lets go of it last closes it. */
struct token_link {
    atomic_uint references;
    struct token *token;
    sem_t places;         /* how many more may work with it */
    int64_t call_time_us; /* a call that lasts longer hangs */
};

struct key_store {
    struct key_store_record record;
    enum key_store_state state;
    const char *error;       /* ConnectionErrorCode, a literal; NULL: none */
    struct token_link *link; /* NULL unless CONNECTED */
    bool has_thread;         /* thread connects it, or did; to be joined */
    pthread_t thread;
};

/*
 * Written with the keyring's change lock held and lock taken for writing; read with either. lock is
 * held over nothing but memory.
 */
struct key_stores {
    pthread_rwlock_t lock;
    struct key_store *items[KEY_STORES_MAX]; /* by id */
    size_t count;
    const struct token_config *configs; /* borrowed; set once, at start */
    size_t config_count;
    key_store_outcome_fn *outcome;
    void *outcome_arg;
};

void token_link_unref(struct token_link *link); /* accepts NULL */

/* False: the store is not connected, or there is none. */
CHECKED bool key_stores_hold(struct key_stores *stores, const char *id, struct token_hold *ret);

/* With lock or the change lock held; NULL: none. */
struct key_store *key_stores_get(const struct key_stores *stores, const char *id);

/* Errors: STORE_NOT_FOUND. */
CHECKED int key_stores_need(const struct key_stores *stores, const char *id, struct key_store **ret,
                            struct kms_error *err);

/* Takes over store, freed on failure. Errors: LIMIT_EXCEEDED. */
CHECKED int key_stores_add(struct key_stores *stores, struct key_store *store,
                           struct kms_error *err);
void key_stores_remove(struct key_stores *stores, struct key_store *store);

/* A store with a copy of a record. */
CHECKED int key_store_new(const struct key_store_record *record, struct key_store **ret,
                          struct kms_error *err);

/* The configuration of a cluster, or NULL. */
const struct token_config *key_stores_config(const struct key_stores *stores, const char *cluster);

CHECKED int key_store_copy(const struct key_store *store, struct key_store_view *ret,
                           struct kms_error *err);

/* Whether a key belongs to a store; store NULL: to the service's own token. */
bool key_store_owns(const char *store, const struct key *key);

/* Whether a key holds, or may hold, objects in its token. */
bool key_store_counts(const struct key *key);

/* With the change lock held: the keys of a store that was disconnected are Unavailable from now on.
 */
CHECKED int key_store_keys_away(struct change *change, const char *store, struct kms_error *err);

/*
 * With the change lock held: begins to open a store's token, after which it is CONNECTED or FAILED.
 * Errors: INTERNAL (no thread).
 */
CHECKED int key_store_begin(struct keyring *keyring, struct key_store *store,
                            struct kms_error *err);

/* Without it: waits until the store is CONNECTING no more, but not for ever. */
void key_store_wait(const struct keyring *keyring, const char *id);
