#pragma once

/*
 * Custom key stores: a name that clients give to a further token which the operator has configured,
 * and what of it is connected. Keys made in a store have their versions in its token and nowhere
 * else. While a store is not connected its keys are Unavailable: nothing of them is used, made or
 * destroyed, and they are there again with their token.
 *
 * The token is opened when a store is connected, with a PIN that the operator keeps in a file, and
 * closed when it is disconnected, as soon as the last call in it has ended. Which stores are to be
 * connected is durable; a start connects them.
 *
 * Threads: any; changes one after the other, under the change lock of the keyring.
 * Source:  AWS KMS API Reference, CreateCustomKeyStore, ConnectCustomKeyStore and their neighbours;
 *          AWS KMS Developer Guide, AWS CloudHSM key stores.
 */

#include "hsmkms/keys/keyring.h"

#define KEY_STORES_MAX 10 /* AWS KMS Developer Guide, Resource quotas */

enum key_store_state {
    KEY_STORE_DISCONNECTED,
    KEY_STORE_CONNECTING,
    KEY_STORE_CONNECTED,
    KEY_STORE_FAILED,
    KEY_STORE_STATES
};

const char *key_store_state_text(enum key_store_state state); /* as in ConnectionState */

/* Whether a text is formed like a CloudHsmClusterId. */
bool key_store_is_cluster_id(const char *text);

/* A store as it was at one moment; a copy. */
struct key_store_view {
    struct key_store_record record;
    enum key_store_state state;
    const char *error; /* ConnectionErrorCode of a FAILED one, else NULL */
};
void key_store_view_done(struct key_store_view *view);

/* Errors: STORE_NOT_FOUND. */
CHECKED int key_store_find(const struct keyring *keyring, const char *id,
                           struct key_store_view *ret, struct kms_error *err);
CHECKED int key_store_find_named(const struct keyring *keyring, const char *name,
                                 struct key_store_view *ret, struct kms_error *err);

/* Views of all stores in the order of their ids; the caller ends each. */
struct key_store_list {
    struct key_store_view items[KEY_STORES_MAX];
    size_t count;
};
CHECKED int key_store_list(const struct keyring *keyring, struct key_store_list *ret,
                           struct kms_error *err);
void key_store_list_done(struct key_store_list *list);

/*
 * A token that stays open until it is given back: AUTO(token_hold) hold = { 0 }.
 */
struct token_link;
struct token_hold {
    struct token *token;
    struct token_link *link; /* NULL: the service's own, which is always open */
    bool placed;             /* one of the link's places is taken */
};
void token_hold_done(struct token_hold *hold);

/*
 * The token of a key, to work with. A call to a token cannot be cancelled and keeps the thread that
 * made it; so that a token that hangs does not keep all of them, one fewer than it has sessions may
 * work with it at a time. Who comes then waits a moment, or not at all for a token known to hang.
 *
 * Errors: INVALID_STATE (its store is not connected); KEY_UNAVAILABLE (no place)
 */
CHECKED int key_store_hold(const struct keyring *keyring, const struct key *key,
                           struct token_hold *ret, struct kms_error *err);

/* The token of a store, for a look at it. Errors: STORE_NOT_FOUND; STORE_STATE (not connected). */
CHECKED int key_store_hold_id(const struct keyring *keyring, const char *id, struct token_hold *ret,
                              struct kms_error *err);

/* The same, to work with: as key_store_hold(). Errors: KEY_UNAVAILABLE too. */
CHECKED int key_store_hold_place(const struct keyring *keyring, const char *id,
                                 struct token_hold *ret, struct kms_error *err);

/* Whether the token of a key is open. */
bool key_store_is_open(const struct keyring *keyring, const struct key *key);

/* Calls each with the cluster id and the token of every connected store, which it holds open. */
typedef void key_store_each_fn(void *arg, const char *cluster, struct token *token);
void key_store_each(const struct keyring *keyring, key_store_each_fn *each, void *arg);

/* --- changes ---------------------------------------------------------------------------------- */

struct key_store_draft {
    const char *name, *cluster, *trust_anchor;
};

/*
 * ret_id   the new store's; DISCONNECTED
 * Errors:  STORE_NAME_IN_USE; CLUSTER_NOT_FOUND (no section of this name); CLUSTER_IN_USE;
 *          LIMIT_EXCEEDED
 */
CHECKED int key_store_create(struct keyring *keyring, const struct key_store_draft *draft,
                             char ret_id[24], struct kms_error *err);

/* What of a store is to be another; NULL: stays. */
struct key_store_update {
    const char *name, *cluster;
    bool password; /* was given: that of a token is the operator's to change */
};

/*
 * Another cluster must hold every version of the store's keys, which is looked up in its token.
 *
 * Errors: STORE_NOT_FOUND; STORE_STATE (only the name of a connected one changes);
 *         STORE_NAME_IN_USE; CLUSTER_NOT_FOUND; CLUSTER_IN_USE; CLUSTER_NOT_ACTIVE (its token does
 *         not open); CLUSTER_NOT_RELATED
 */
CHECKED int key_store_update(struct keyring *keyring, const char *id,
                             const struct key_store_update *update, struct kms_error *err);

/* Errors: STORE_NOT_FOUND; STORE_STATE; STORE_HAS_KEYS (also such as wait for their deletion). */
CHECKED int key_store_delete(struct keyring *keyring, const char *id, struct kms_error *err);

/*
 * Opens the token and compares the store's keys with it, in a thread of its own: a login that hangs
 * hangs there. One that does not open makes the store FAILED and is no error. Waits for the outcome
 * for as long as a token that is well may take; later the store is still CONNECTING.
 *
 * Errors: STORE_NOT_FOUND; STORE_STATE (FAILED: to be disconnected first; being connected)
 */
CHECKED int key_store_connect(struct keyring *keyring, const char *id, struct kms_error *err);

/* Errors: STORE_NOT_FOUND; STORE_STATE (it is disconnected, or being connected). */
CHECKED int key_store_disconnect(struct keyring *keyring, const char *id, struct kms_error *err);

/* --- start and end ---------------------------------------------------------------------------- */

/* Told of every attempt to connect a store, in its thread, and what came of it; NONE: it is. */
typedef void key_store_outcome_fn(void *arg, const struct key_store_view *store,
                                  const struct kms_error *why);

/*
 * Says which tokens there are and connects the stores that were connected, as key_store_connect()
 * does: a token that does not open, or hangs, does not keep the service from starting.
 *
 * configs  outlive the keyring; name is the cluster id
 * each     called now and for as long as the keyring is open
 */
CHECKED int key_stores_start(struct keyring *keyring, const struct token_config *configs,
                             size_t count, key_store_outcome_fn *each, void *arg,
                             struct kms_error *err);

/* For keyring.c: no stores; reads their records; closes the tokens. Accepts NULL. */
struct key_stores *key_stores_new(void);
CHECKED int key_stores_load(struct keyring *keyring, struct kms_error *err);
void key_stores_free(struct key_stores *stores);
