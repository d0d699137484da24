#pragma once

/*
 * Signing keys: how one is derived from a secret, and the cache that spares the token an unwrapping
 * for every request. A signing key is good for one day, region and service; it is kept in locked
 * memory. Knows neither users nor the store.
 *
 * Source: AWS IAM User Guide, Create a signed AWS API request, Derive a signing key.
 */

#include <pthread.h>

#include "hsmkms/crypto/digest.h"

#define SIGNING_DATE_LEN      8  /* YYYYMMDD */
#define SIGNING_NAME_MAX      64 /* longest region or service that is looked at */
#define SIGNING_DATES_PER_KEY 2  /* today and, around midnight, its neighbour */

struct signing_scope {
    struct span access_key_id, date /* YYYYMMDD */, region, service;
};

/*
 * HMAC(HMAC(HMAC(HMAC("AWS4" || secret, date), region), service), "aws4_request").
 *
 * ret      in its zero state; SHA256_LEN bytes
 * Errors:  INTERNAL
 */
CHECKED int signing_key_derive(struct span secret, const struct signing_scope *scope,
                               struct secret *ret, struct kms_error *err);

/* The cached keys of one access key; lives in it. The zero state is empty. */
struct signing_set {
    struct signing_key *keys;
};

/*
 * All cached keys, least recently used first.
 *
 * Threads: any after signing_cache_init; one mutex, held for list work only.
 */
struct signing_cache {
    pthread_mutex_t lock; /* guards the lists here, in every set and all cached keys */
    struct signing_key *recent;
    size_t count, most;
};

/* most: 1 or more. Errors: INTERNAL. */
CHECKED int signing_cache_init(struct signing_cache *ret, size_t most, struct kms_error *err);

/* Wipes all keys; the sets that held them are left dangling and must not be used again. */
void signing_cache_done(struct signing_cache *cache);

/*
 * serial   of the access key now: what was cached under another one is not found
 * Returns  1 and a copy in ret (in its zero state), 0 when there is none, -1 on error
 */
CHECKED int signing_cache_find(struct signing_cache *cache, const struct signing_set *set,
                               const struct signing_scope *scope, int64_t serial,
                               struct secret *ret, struct kms_error *err);

/*
 * Remembers a key, which may push out the least recently used one and, beyond
 * SIGNING_DATES_PER_KEY, those of the earliest date of this set. Where memory is short it does
 * nothing: the next request derives again.
 */
void signing_cache_put(struct signing_cache *cache, struct signing_set *set,
                       const struct signing_scope *scope, int64_t serial, struct span key);

/* Forgets and wipes the keys of one set. */
void signing_cache_drop(struct signing_cache *cache, struct signing_set *set);

size_t signing_cache_count(struct signing_cache *cache);
