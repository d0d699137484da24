#pragma once

/* What the files of the access keys share. For access_key*.c alone. */

#include <pthread.h>
#include <stdatomic.h>

#include "hsmkms/iam/access_key.h"
#include "hsmkms/iam/credential.h"

struct access_key {
    atomic_uint references;
    struct access_keys *of;
    struct access_key_record record;
    struct signing_set signing; /* the cache's */
};

struct access_keys {
    struct iam *iam;

    /* Guards keys, count and what each key holds; never held over a token or disk call. */
    pthread_rwlock_t lock;
    struct access_key **keys; /* in order of id, a reference each */
    size_t count;

    /* One change at a time; held over token and disk calls on purpose. Whoever holds it may read
     * keys without the lock, because nobody else writes. */
    pthread_mutex_t change;

    struct signing_cache cache;
};

void access_key_record_done(struct access_key_record *record);

/* A request may still derive from a key that was deleted meanwhile: the last one frees it. Accepts
 * NULL. */
void access_key_unref(struct access_key *key);

static inline void unref_access_key(struct access_key **key)
{
    access_key_unref(*key);
}
#define AUTO_ACCESS_KEY __attribute__((cleanup(unref_access_key))) struct access_key *

/* With the lock, or in a change. NULL: there is none. */
struct access_key *access_key_of_id(const struct access_keys *keys, struct span id);

/* A key for a copy of this record, not published yet. Errors: INTERNAL. */
CHECKED int access_key_new(struct access_keys *keys, const struct access_key_record *record,
                           struct access_key **ret, struct kms_error *err);

/* In a change, take the key over; cannot fail. */
void access_key_publish(struct access_keys *keys, struct access_key *key);
void access_key_withdraw(struct access_keys *keys, struct access_key *key);
