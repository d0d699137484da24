#pragma once

/* What the files of sessions share; for session.c, session_token.c and session_cache.c alone. */

#include <pthread.h>

#include "hsmkms/iam/sealing_key.h"
#include "hsmkms/iam/session.h"

struct session_entry; /* of the cache */

struct sessions {
    pthread_mutex_t lock; /* guards entries; never held over a token or disk call */
    struct session_entry *entries;
    pthread_mutex_t renewing; /* one renewal at a time; held over token and disk on purpose */
    pthread_rwlock_t sealing; /* guards keys */
    struct sealing_keys keys;
};

static inline void free_session(struct session **session)
{
    session_unref(*session);
}
#define AUTO_SESSION __attribute__((cleanup(free_session))) struct session *

/* AWS's words; both return -1. */
int session_unrecognized(struct kms_error *err);
int session_expired(struct kms_error *err);

/* Opens a token. ret: a reference. Errors: UNRECOGNIZED_CLIENT, INTERNAL. */
CHECKED int session_token_open(struct iam *iam, const struct credential_claim *claim,
                               struct session **ret, struct kms_error *err);

/*
 * The session of a token and the day's signing key, from the cache or opened and derived.
 * ret: a reference; ret_key in its zero state. Errors: as session_token_open.
 */
CHECKED int session_cache_get(struct iam *iam, const struct credential_claim *claim,
                              struct session **ret, struct secret *ret_key, struct kms_error *err);
void session_cache_clear(struct sessions *sessions);
