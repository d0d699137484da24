#include "hsmkms/keys/last_use.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/keys/keyring.h"

#define PAGE 64 /* keys held at a time */

/*
 * Versions in one transaction. Each row costs the token a MAC, and changes to keys wait for the
 * store meanwhile: small enough for a token that takes a millisecond.
 */
#define BATCH 64

struct use_mark {
    atomic_uint references;
    pthread_mutex_t mutex; /* guards what follows, for the time of a copy */
    struct last_use use;
    uint64_t noted, saved; /* how often use was set, and which of them the database has */
};

/* --- marks ------------------------------------------------------------------------------------ */

struct use_mark *use_mark_new(void)
{
    struct use_mark *const mark = calloc(1, sizeof(*mark));

    if (mark) {
        atomic_init(&mark->references, 1);
        (void)pthread_mutex_init(&mark->mutex, NULL);
    }
    return mark;
}

struct use_mark *use_mark_ref(struct use_mark *mark)
{
    atomic_fetch_add_explicit(&mark->references, 1, memory_order_relaxed);
    return mark;
}

void use_mark_unref(struct use_mark *mark)
{
    if (mark == NULL || atomic_fetch_sub_explicit(&mark->references, 1, memory_order_acq_rel) > 1)
        return;
    (void)pthread_mutex_destroy(&mark->mutex);
    free(mark);
}

void use_mark_note(struct use_mark *mark, const struct last_use *use)
{
    (void)pthread_mutex_lock(&mark->mutex);
    mark->use = *use;
    mark->noted++;
    (void)pthread_mutex_unlock(&mark->mutex);
}

void use_mark_load(struct use_mark *mark, const struct last_use *use)
{
    (void)pthread_mutex_lock(&mark->mutex);
    mark->use = *use;
    mark->noted = mark->saved = 1;
    (void)pthread_mutex_unlock(&mark->mutex);
}

bool use_mark_read(struct use_mark *mark, struct last_use *ret)
{
    (void)pthread_mutex_lock(&mark->mutex);
    *ret = mark->use;
    (void)pthread_mutex_unlock(&mark->mutex);
    return ret->operation[0] != '\0';
}

/* --- saving ----------------------------------------------------------------------------------- */

/* What one transaction writes. */
struct batch {
    struct store *store;
    struct {
        struct use_mark *mark; /* a reference */
        uint64_t noted;        /* what it had when it was read */
    } items[BATCH];
    struct last_use_record records[BATCH]; /* their texts are those of uses */
    struct last_use uses[BATCH];
    size_t count, saved;
};

static void empty(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        use_mark_unref(batch->items[i].mark);
    batch->count = 0;
}

static int put_all(const struct batch *batch, struct store_tx *tx, struct kms_error *err)
{
    for (size_t i = 0; i < batch->count; i++)
        if (store_put(tx, &last_use_table, &batch->records[i], err) < 0)
            return -1;
    return 0;
}

/* Durable, then no longer due. */
static int write_batch(struct batch *batch, struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (batch->count == 0)
        return 0;
    if (store_begin(batch->store, &tx, err) < 0)
        return -1;
    if (put_all(batch, tx, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    if (store_commit(tx, err) < 0)
        return -1;
    for (size_t i = 0; i < batch->count; i++) {
        struct use_mark *const mark = batch->items[i].mark;
        (void)pthread_mutex_lock(&mark->mutex);
        mark->saved = batch->items[i].noted;
        (void)pthread_mutex_unlock(&mark->mutex);
    }
    batch->saved += batch->count;
    empty(batch);
    return 0;
}

/* Adds a version that was used since it was saved; a full batch is written. */
static int add(struct batch *batch, const struct version *version, struct kms_error *err)
{
    struct last_use *const use = &batch->uses[batch->count];
    struct use_mark *const mark = version->use;

    (void)pthread_mutex_lock(&mark->mutex);
    *use = mark->use;
    const uint64_t noted = mark->noted;
    const bool due = noted != mark->saved;
    (void)pthread_mutex_unlock(&mark->mutex);
    if (!due)
        return 0;

    batch->items[batch->count].mark = use_mark_ref(mark);
    batch->items[batch->count].noted = noted;
    batch->records[batch->count++] = (struct last_use_record){
        .version_id = version->record.id,
        .key_id = version->record.key_id,
        .operation = use->operation,
        .time_ms = use->time_ms,
        .event_id = use->event_id,
        .request_id = use->request_id,
    };
    return batch->count == BATCH ? write_batch(batch, err) : 0;
}

static int add_key(struct batch *batch, const struct key *key, struct kms_error *err)
{
    for (size_t i = 0; i < key->version_count; i++)
        if (add(batch, &key->versions[i], err) < 0)
            return -1;
    return 0;
}

/* All keys, page by page; a key made meanwhile is the next save's. */
static int walk(struct keyring *keyring, struct batch *batch, struct kms_error *err)
{
    struct key *page[PAGE];
    struct uuid last = { { 0 } }, *after = NULL;
    size_t count = 0;
    int result = 0;

    do {
        count = catalog_all(keyring->catalog, after, page, PAGE);
        for (size_t i = 0; i < count; i++) {
            last = page[i]->record.id;
            if (result == 0)
                result = add_key(batch, page[i], err);
            key_unref(page[i]);
        }
        after = &last;
    } while (result == 0 && count == PAGE);
    return result;
}

int last_use_save(struct keyring *keyring, size_t *ret_saved, struct kms_error *err)
{
    struct batch *const batch = calloc(1, sizeof(*batch));

    if (batch == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the last uses of keys");
    batch->store = keyring->store;
    const int result = walk(keyring, batch, err) < 0 || write_batch(batch, err) < 0 ? -1 : 0;
    empty(batch);
    *ret_saved = batch->saved;
    free(batch);
    return result;
}
