#include "hsmkms/doors/health_stores.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* What the last probe of a token found; it answers for cache_ms. */
struct store_probe {
    char id[65]; /* of the store; "": a free place */
    bool good, probing;
    int64_t at_us;
};

struct health_stores {
    const struct keyring *keyring;
    int64_t cache_ms;
    pthread_mutex_t lock; /* guards probes, never held over a token call */
    struct store_probe probes[KEY_STORES_MAX];
};

int health_stores_new(const struct keyring *keyring, int64_t cache_ms, struct health_stores **ret,
                      struct kms_error *err)
{
    struct health_stores *const stores = calloc(1, sizeof(*stores));

    if (stores == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the health door");
    stores->keyring = keyring;
    stores->cache_ms = cache_ms;
    (void)pthread_mutex_init(&stores->lock, NULL); /* cannot fail for a default mutex */
    *ret = stores;
    return 0;
}

void health_stores_free(struct health_stores *stores)
{
    if (stores == NULL)
        return;
    (void)pthread_mutex_destroy(&stores->lock);
    free(stores);
}

/* --- probes ----------------------------------------------------------------------------------- */

/* Under the lock. The place of a store; one not seen before gets a free place or the oldest. */
static struct store_probe *place_of(struct health_stores *stores, const char *id)
{
    struct store_probe *oldest = &stores->probes[0];

    for (size_t i = 0; i < KEY_STORES_MAX; i++) {
        struct store_probe *const probe = &stores->probes[i];
        if (strcmp(probe->id, id) == 0)
            return probe;
        if (probe->at_us < oldest->at_us)
            oldest = probe;
    }
    *oldest = (struct store_probe){ 0 };
    (void)snprintf(oldest->id, sizeof(oldest->id), "%s", id);
    return oldest;
}

/* Probes when the last probe is too old and nobody else does. */
static bool answers(struct health_stores *stores, const char *id, struct token *token)
{
    struct kms_error unused = { 0 };
    const int64_t now_us = clock_mono_us();

    pthread_mutex_lock(&stores->lock);
    struct store_probe *probe = place_of(stores, id);
    const bool known = probe->at_us != 0, held_good = probe->good;
    const bool due =
        !probe->probing && (!known || now_us - probe->at_us >= stores->cache_ms * 1000);
    if (due)
        probe->probing = true;
    pthread_mutex_unlock(&stores->lock);
    if (!due)
        return known && held_good;

    const bool good = token_probe(token, &unused) == 0;
    pthread_mutex_lock(&stores->lock);
    probe = place_of(stores, id); /* others may have moved in meanwhile */
    probe->good = good;
    probe->probing = false;
    probe->at_us = clock_mono_us();
    pthread_mutex_unlock(&stores->lock);
    return good;
}

static const char *judge(struct health_stores *stores, const char *id, struct token *token)
{
    struct token_status status;

    token_status(token, &status);
    if (!status.available)
        return "unavailable";
    if (status.slowest_us > 0)
        return "slow";
    return answers(stores, id, token) ? "ok" : "probe failed";
}

/* --- what is shown ---------------------------------------------------------------------------- */

static void write_state(struct health_stores *stores, const struct key_store_view *store,
                        struct buf *ret)
{
    struct kms_error away = { 0 };
    AUTO(token_hold) held = { 0 };

    if (key_store_hold_id(stores->keyring, store->record.id, &held, &away) == 0) {
        buf_text(ret, judge(stores, store->record.id, held.token));
        return;
    }
    for (const char *c = key_store_state_text(store->state); *c; c++)
        buf_printf(ret, "%c", tolower((unsigned char)*c));
}

void health_stores_write(struct health_stores *stores, struct buf *ret)
{
    struct kms_error unlisted = { 0 };
    AUTO(key_store_list) list = { 0 };

    if (key_store_list(stores->keyring, &list, &unlisted) < 0 || list.count == 0)
        return;
    for (size_t i = 0; i < list.count; i++) {
        buf_printf(ret, "%s\"%s\":\"", i ? "," : ",\"stores\":{", list.items[i].record.cluster);
        write_state(stores, &list.items[i], ret);
        buf_text(ret, "\"");
    }
    buf_text(ret, "}");
}

struct sampling {
    const char *name;
    health_stores_read_fn *read;
    struct buf *ret;
};

static void write_sample(void *arg, const char *cluster, struct token *token)
{
    const struct sampling *const sampling = arg;
    struct token_status status;

    token_status(token, &status);
    buf_printf(sampling->ret, "%s{token=\"%s\"} %.15g\n", sampling->name, cluster,
               sampling->read(&status));
}

void health_stores_samples(struct health_stores *stores, const char *name,
                           health_stores_read_fn *read, struct buf *ret)
{
    struct sampling sampling = { name, read, ret };

    key_store_each(stores->keyring, write_sample, &sampling);
}
