#pragma once

/*
 * The token's secret and private keys: finding and destroying objects, and the cache of their
 * handles by CKA_ID. One search for everything at start; afterwards a key costs a table look-up.
 *
 * Some tokens are faster on a copy of a key in session memory. Keys that are used often get one,
 * up to a limit; a copy that was not used since the last round gives way (second chance).
 *
 * Threads: object_lookup, object_use and copy_forget with the token's lock shared; all else with it
 * exclusive.
 */

/* A table that cannot grow must not end the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "pkcs11/gcm.h"

#define OBJECT_LABEL_MAX 64
#define LISTING_TIME_US  10000000
#define COPY_AFTER_USES  16 /* a copy costs about as much as it saves in so many uses */

enum object_fault {
    OBJECT_GOOD,
    OBJECT_ABSENT, /* looked for and not found; not looked for again before look_again_us */
    OBJECT_TWICE,  /* several objects carry this id */
    OBJECT_WEAK    /* not private, not sensitive, or extractable */
};

/* A fault in words; NULL for OBJECT_GOOD. */
const char *object_fault_text(enum object_fault fault);

struct object {
    struct uuid id;
    CK_OBJECT_HANDLE handle, copy; /* CK_INVALID_HANDLE: none */
    enum object_fault fault;
    bool copy_refused;
    int64_t look_again_us;
    _Atomic bool checked;   /* the canary opened under this handle */
    _Atomic bool forgotten; /* the copy is not to be used any more */
    _Atomic bool recent;    /* used since the copies' hand last came by */
    _Atomic unsigned uses;  /* of the token's own object, until a copy is due */
    unsigned copy_place;
    UT_hash_handle hh;
};

/* What a search shows of an object. */
struct object_seen {
    CK_OBJECT_HANDLE handle;
    struct uuid id;
    bool has_id, weak;
    char label[OBJECT_LABEL_MAX + 1];
};

/*
 * What the last search for everything showed. A start asks three times for the same, and on SoftHSM
 * each object costs 16 system calls each time: so a listing counts for LISTING_TIME_US, or until
 * somebody has the token alone.
 */
struct listing {
    struct object_seen *list;
    size_t len, cap;
    int64_t until_us; /* 0: it does not count */
};

struct cache {
    struct object *table;
    struct listing listing;
    struct object **copies; /* copied of limit places in use */
    unsigned limit, copied, hand, recheck;
    unsigned keys, ignored;
    _Atomic bool forgotten; /* of some copy */
};

/* limit: most copies, 0 for none. */
CHECKED int cache_open(struct cache *ret, unsigned limit, struct kms_error *err);

/* Frees the table; objects and copies in the token are left alone. Accepts the zero state. */
void cache_close(struct cache *cache);

/* Returns -1 and fills err to stop. */
typedef int object_seen_fn(void *arg, const struct object_seen *seen, struct kms_error *err);

/* Shows every secret and private key object in the token, or those with this id. */
CHECKED int object_search(struct session *session, const struct uuid *id, object_seen_fn *each,
                          void *arg, struct kms_error *err);

/* Whether the token shows any object at all. */
CHECKED int object_any(struct session *session, bool *ret, struct kms_error *err);

/*
 * Searches everything and binds what was found; cache->listing keeps what was seen of keys. Handles
 * that are still the same stay checked; entries whose objects are gone lose handle and copy.
 */
CHECKED int cache_load(struct cache *cache, struct session *session, struct session *owner,
                       struct kms_error *err);

/* Whether cache->listing may stand for a search made now; with the token's lock shared. */
bool cache_is_listed(const struct cache *cache);

/* It may not any more. */
void cache_unlist(struct cache *cache);

/* The entry of an id, or NULL when it was never bound. */
struct object *object_lookup(const struct cache *cache, const struct uuid *id);

/* The handle to use now; counts the use. */
CK_OBJECT_HANDLE object_use(struct object *object);

/* True when the key was used often enough for a copy. */
bool object_wants_copy(const struct cache *cache, const struct object *object);

/*
 * Looks for one id and binds it. ret may have a fault. A search may cost much, so absence is
 * believed for a second.
 */
CHECKED int object_refind(struct cache *cache, struct session *session, const struct uuid *id,
                          struct object **ret, struct kms_error *err);

/* Binds a handle that was just made. */
CHECKED int object_bind(struct cache *cache, const struct uuid *id, CK_OBJECT_HANDLE handle,
                        struct object **ret, struct kms_error *err);

/* Forgets an id; its copy is destroyed. */
void object_drop(struct cache *cache, struct session *owner, const struct uuid *id);

/*
 * The public half that lies beside a private key. Errors: NOT_FOUND; INTEGRITY (several);
 * KEY_UNAVAILABLE.
 */
CHECKED int object_public(struct session *session, const struct uuid *id, CK_OBJECT_HANDLE *ret,
                          struct kms_error *err);

/* Destroys every object with this id, of whatever class, and looks again that none is left. */
CHECKED int object_destroy(struct session *session, const struct uuid *id, struct kms_error *err);

/* Forgets all handles and copies, because they died with a login or a session. */
void cache_unbind(struct cache *cache);

/*
 * Makes a copy in the owner's session. The copy counts only when it is as strict as the
 * original and the canary opens under it; a token that refuses is not asked again for this key.
 */
void copy_make(struct cache *cache, struct session *session, struct session *owner,
               struct object *object, const uint8_t canary[TOKEN_CANARY_LEN]);

void copy_drop(struct cache *cache, struct session *owner, struct object *object);

/* The copy is not used from the next object_use on; copy_drop_forgotten drops it. */
void copy_forget(struct cache *cache, struct object *object);
void copy_drop_forgotten(struct cache *cache, struct session *owner);

/* Drops some copies whose original is gone or may no longer encrypt; a few at each call. */
void copy_recheck(struct cache *cache, struct session *session, struct session *owner);
