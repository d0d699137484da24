#include "hsmkms/iam/signing_key.h"

#include <stdlib.h>

#include <utlist.h>

#define KEY_PREFIX "AWS4"

struct signing_key {
    struct signing_set *set;
    char date[SIGNING_DATE_LEN];
    char region[SIGNING_NAME_MAX], service[SIGNING_NAME_MAX];
    size_t region_len, service_len;
    int64_t serial;
    struct secret key;
    struct signing_key *prev, *next;               /* in its set */
    struct signing_key *prev_recent, *next_recent; /* in the cache, least recently used first */
};

int signing_key_derive(struct span secret, const struct signing_scope *scope, struct secret *ret,
                       struct kms_error *err)
{
    const struct span steps[] = { scope->date, scope->region, scope->service,
                                  SPAN_LITERAL("aws4_request") };
    AUTO(secret) first = { 0 };
    AUTO(secret) key = { 0 };

    if (secret_new(&first, sizeof(KEY_PREFIX) - 1 + secret.len, err) < 0 ||
        secret_new(&key, SHA256_LEN, err) < 0)
        return -1;
    memcpy(first.ptr, KEY_PREFIX, sizeof(KEY_PREFIX) - 1);
    memcpy(first.ptr + sizeof(KEY_PREFIX) - 1, secret.ptr, secret.len);

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) /* each result is the key of the next step */
        if (hmac_sha256(secret_span(i ? &key : &first), steps[i], key.ptr, err) < 0)
            return -1;
    *ret = secret_take(&key);
    return 0;
}

int signing_cache_init(struct signing_cache *ret, size_t most, struct kms_error *err)
{
    *ret = (struct signing_cache){ .most = most };
    if (pthread_mutex_init(&ret->lock, NULL) != 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no mutex for the signing keys");
    return 0;
}

static void signing_key_free(struct signing_key *key)
{
    if (key == NULL)
        return;
    secret_done(&key->key);
    free(key);
}

/* With the lock. */
static void remove_key(struct signing_cache *cache, struct signing_key *key)
{
    DL_DELETE(key->set->keys, key);
    DL_DELETE2(cache->recent, key, prev_recent, next_recent);
    cache->count--;
    signing_key_free(key);
}

static bool is_of_scope(const struct signing_key *key, const struct signing_scope *scope)
{
    return span_equal(SPAN_ARRAY(key->date), scope->date) &&
           span_equal(span_of(key->region, key->region_len), scope->region) &&
           span_equal(span_of(key->service, key->service_len), scope->service);
}

/* With the lock. A set is short: two dates, and the few regions and services that are served. */
static struct signing_key *key_of_scope(const struct signing_set *set,
                                        const struct signing_scope *scope)
{
    struct signing_key *key;

    DL_FOREACH(set->keys, key)
    if (is_of_scope(key, scope))
        return key;
    return NULL;
}

/* With the lock. Removes the keys of the earliest date when there are too many dates. */
static void limit_dates(struct signing_cache *cache, struct signing_set *set)
{
    char dates[SIGNING_DATES_PER_KEY + 1][SIGNING_DATE_LEN];
    size_t count = 0, earliest = 0;
    struct signing_key *key, *next;

    DL_FOREACH(set->keys, key)
    {
        size_t i = 0;
        while (i < count && memcmp(dates[i], key->date, SIGNING_DATE_LEN) != 0)
            i++;
        if (i < count)
            continue;
        memcpy(dates[count], key->date, SIGNING_DATE_LEN);
        if (memcmp(dates[count], dates[earliest], SIGNING_DATE_LEN) < 0)
            earliest = count;
        count++; /* never past the array: each put adds one date at most and is followed by this */
    }
    if (count <= SIGNING_DATES_PER_KEY)
        return;
    DL_FOREACH_SAFE(set->keys, key, next)
    if (memcmp(key->date, dates[earliest], SIGNING_DATE_LEN) == 0)
        remove_key(cache, key);
}

int signing_cache_find(struct signing_cache *cache, const struct signing_set *set,
                       const struct signing_scope *scope, int64_t serial, struct secret *ret,
                       struct kms_error *err)
{
    int found = 0;

    (void)pthread_mutex_lock(&cache->lock);
    struct signing_key *const key = key_of_scope(set, scope);
    if (key && key->serial == serial) {
        DL_DELETE2(cache->recent, key, prev_recent, next_recent);
        DL_APPEND2(cache->recent, key, prev_recent, next_recent);
        found = secret_copy(ret, secret_span(&key->key), err) < 0 ? -1 : 1;
    }
    (void)pthread_mutex_unlock(&cache->lock);
    return found;
}

static bool can_keep(struct span name)
{
    return name.len > 0 && name.len <= SIGNING_NAME_MAX;
}

/* A new entry, or NULL where memory is short or the scope is not one to keep. */
static struct signing_key *signing_key_new(struct signing_set *set,
                                           const struct signing_scope *scope, int64_t serial,
                                           struct span bytes)
{
    struct kms_error ignored = { 0 }; /* not caching is no failure */

    if (scope->date.len != SIGNING_DATE_LEN || !can_keep(scope->region) ||
        !can_keep(scope->service))
        return NULL;
    struct signing_key *const key = calloc(1, sizeof(*key));
    if (key == NULL || secret_copy(&key->key, bytes, &ignored) < 0) {
        signing_key_free(key);
        return NULL;
    }
    key->set = set;
    key->serial = serial;
    key->region_len = scope->region.len;
    key->service_len = scope->service.len;
    memcpy(key->date, scope->date.ptr, SIGNING_DATE_LEN);
    memcpy(key->region, scope->region.ptr, key->region_len);
    memcpy(key->service, scope->service.ptr, key->service_len);
    return key;
}

void signing_cache_put(struct signing_cache *cache, struct signing_set *set,
                       const struct signing_scope *scope, int64_t serial, struct span key)
{
    struct signing_key *const made = signing_key_new(set, scope, serial, key);

    if (made == NULL)
        return;
    (void)pthread_mutex_lock(&cache->lock);
    struct signing_key *const old = key_of_scope(set, scope);
    if (old)
        remove_key(cache, old);
    while (cache->count >= cache->most)
        remove_key(cache, cache->recent);
    DL_APPEND(set->keys, made);
    DL_APPEND2(cache->recent, made, prev_recent, next_recent);
    cache->count++;
    limit_dates(cache, set);
    (void)pthread_mutex_unlock(&cache->lock);
}

void signing_cache_drop(struct signing_cache *cache, struct signing_set *set)
{
    (void)pthread_mutex_lock(&cache->lock);
    while (set->keys)
        remove_key(cache, set->keys);
    (void)pthread_mutex_unlock(&cache->lock);
}

size_t signing_cache_count(struct signing_cache *cache)
{
    (void)pthread_mutex_lock(&cache->lock);
    const size_t count = cache->count;
    (void)pthread_mutex_unlock(&cache->lock);
    return count;
}

void signing_cache_done(struct signing_cache *cache)
{
    while (cache->recent)
        remove_key(cache, cache->recent);
    (void)pthread_mutex_destroy(&cache->lock);
}
