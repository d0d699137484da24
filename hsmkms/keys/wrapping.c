#include "hsmkms/keys/wrapping.h"

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/keys/keyring.h"

#define GIVEN_OUT_MS MS_PER_DAY
#define KEPT_MS      (2 * MS_PER_DAY + MS_PER_DAY / 24) /* and a day of the last import token */

static int64_t age_ms(const struct keyring *keyring, const struct wrapping_pair *pair)
{
    return clock_wall_ms(keyring->clock) - pair->created_ms;
}

static void wrapping_record_done(struct wrapping_record *record)
{
    record_done(&wrapping_table, record);
}

#define AUTO_RECORD __attribute__((cleanup(wrapping_record_done))) struct wrapping_record

/* --- rows ------------------------------------------------------------------------------------- */

typedef int stage_fn(struct store_tx *tx, const struct table *table, const void *record,
                     struct kms_error *err);

/* Puts or drops one row. */
static int write_row(struct keyring *keyring, stage_fn *stage, const struct wrapping_record *record,
                     struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (store_begin(keyring->store, &tx, err) < 0)
        return -1;
    if (stage(tx, &wrapping_table, record, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

static int draft(const struct keyring *keyring, const struct keyspec *spec,
                 struct wrapping_record *ret, struct kms_error *err)
{
    ret->id = uuid_random();
    ret->created_ms = clock_wall_ms(keyring->clock);
    if (record_set_text(&ret->spec, spec->name, err) < 0)
        return -1;
    return record_set_text(&ret->state, "Creating", err);
}

/* --- making ----------------------------------------------------------------------------------- */

/* The newest of a spec that is still given out. */
static bool find_current(struct keyring *keyring, const struct keyspec *spec,
                         struct wrapping_pair *ret)
{
    struct wrappings *const wrappings = &keyring->home->wrappings;
    bool found = false;

    (void)pthread_mutex_lock(&wrappings->mutex);
    for (size_t i = wrappings->count; i > 0 && !found; i--) {
        const struct wrapping_pair *const pair = &wrappings->pairs[i - 1];
        found = pair->spec == spec && age_ms(keyring, pair) < GIVEN_OUT_MS;
        if (found)
            *ret = *pair;
    }
    (void)pthread_mutex_unlock(&wrappings->mutex);
    return found;
}

static int add(struct keyring *keyring, const struct wrapping_pair *pair, struct kms_error *err)
{
    struct wrappings *const wrappings = &keyring->home->wrappings;
    int added = 0;

    (void)pthread_mutex_lock(&wrappings->mutex);
    if (wrappings->count < WRAPPING_PAIRS_MAX)
        wrappings->pairs[wrappings->count++] = *pair;
    else
        added = kms_fail_detail(err, KMS_ERR_INTERNAL, "more wrapping pairs than are ever kept");
    (void)pthread_mutex_unlock(&wrappings->mutex);
    return added;
}

/* The token's object goes, then its row: what fails is done again at the next start. */
static int destroy(struct keyring *keyring, const struct uuid *id, struct kms_error *err)
{
    const struct wrapping_record record = { .id = *id };

    if (token_key_destroy(keyring->token, id, err) < 0)
        return -1;
    return write_row(keyring, store_drop, &record, err);
}

static int make_pair(struct keyring *keyring, struct wrapping_record *record,
                     struct wrapping_pair *ret, struct kms_error *err)
{
    char label[64];

    (void)snprintf(label, sizeof(label), "hsmkms:import:%s", uuid_format(&record->id).text);
    if (token_pair_generate(keyring->token, ret->spec->kind, TOKEN_DECRYPTS, &record->id, label,
                            &ret->public_key, err) < 0 ||
        record_set_text(&record->state, "Usable", err) < 0)
        return -1;
    buf_append(&record->public_key, token_public_span(&ret->public_key));
    if (buf_check(&record->public_key, err) < 0 || write_row(keyring, store_put, record, err) < 0)
        return -1;
    return add(keyring, ret, err);
}

/* making is held. */
static int make(struct keyring *keyring, const struct keyspec *spec, struct wrapping_pair *ret,
                struct kms_error *err)
{
    AUTO_RECORD record = { 0 };
    struct kms_error ignored = { 0 };

    if (draft(keyring, spec, &record, err) < 0 || write_row(keyring, store_put, &record, err) < 0)
        return -1;
    *ret = (struct wrapping_pair){ .id = record.id, .spec = spec, .created_ms = record.created_ms };
    if (make_pair(keyring, &record, ret, err) == 0)
        return 0;
    if (destroy(keyring, &record.id, &ignored) < 0)
        return -1; /* the next start tries again */
    return -1;
}

int wrapping_current(struct keyring *keyring, const char *spec_name, struct wrapping_pair *ret,
                     struct kms_error *err)
{
    const struct keyspec *const spec = keyspec_find(spec_name);
    bool supported = false;

    if (spec == NULL || keyspec_modulus_bits(spec) == 0)
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "Wrapping key spec %s is not supported.",
                        spec_name);
    if (keyspec_supported(keyring->token, spec, USAGE_ENCRYPT_DECRYPT, &supported, err) < 0)
        return -1;
    if (!supported)
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "Wrapping key spec %s is not supported.",
                        spec_name);
    if (find_current(keyring, spec, ret))
        return 0;
    (void)pthread_mutex_lock(&keyring->home->wrappings.making);
    const int made = find_current(keyring, spec, ret) ? 0 : make(keyring, spec, ret, err);
    (void)pthread_mutex_unlock(&keyring->home->wrappings.making);
    return made;
}

bool wrapping_find(struct keyring *keyring, const struct uuid *id, struct wrapping_pair *ret)
{
    struct wrappings *const wrappings = &keyring->home->wrappings;
    bool found = false;

    (void)pthread_mutex_lock(&wrappings->mutex);
    for (size_t i = 0; i < wrappings->count && !found; i++) {
        found = uuid_equal(&wrappings->pairs[i].id, id);
        if (found)
            *ret = wrappings->pairs[i];
    }
    (void)pthread_mutex_unlock(&wrappings->mutex);
    return found;
}

/* --- the end of a pair ------------------------------------------------------------------------ */

/* The oldest, when it is overdue: pairs stand in the order in which they were made. */
static bool find_overdue(struct keyring *keyring, struct uuid *ret)
{
    struct wrappings *const wrappings = &keyring->home->wrappings;

    (void)pthread_mutex_lock(&wrappings->mutex);
    const bool found = wrappings->count && age_ms(keyring, &wrappings->pairs[0]) >= KEPT_MS;
    if (found)
        *ret = wrappings->pairs[0].id;
    (void)pthread_mutex_unlock(&wrappings->mutex);
    return found;
}

bool wrapping_overdue(struct keyring *keyring)
{
    struct uuid id;

    return find_overdue(keyring, &id);
}

static void forget_oldest(struct wrappings *wrappings)
{
    (void)pthread_mutex_lock(&wrappings->mutex);
    wrappings->count--;
    memmove(&wrappings->pairs[0], &wrappings->pairs[1],
            wrappings->count * sizeof(wrappings->pairs[0]));
    (void)pthread_mutex_unlock(&wrappings->mutex);
}

int wrapping_expire(struct keyring *keyring, struct kms_error *err)
{
    struct uuid id;
    int done = 0;

    (void)pthread_mutex_lock(&keyring->home->wrappings.making);
    while (done == 0 && find_overdue(keyring, &id)) {
        done = destroy(keyring, &id, err);
        if (done == 0)
            forget_oldest(&keyring->home->wrappings);
    }
    (void)pthread_mutex_unlock(&keyring->home->wrappings.making);
    return done;
}

/* --- start and stop --------------------------------------------------------------------------- */

/* What the rows say; the unfinished ones are ended behind the walk, which must not write. */
struct loading {
    struct keyring *keyring;
    bool present[WRAPPING_PAIRS_MAX]; /* of the pairs of the keyring, in their order */
    struct uuid unfinished[WRAPPING_PAIRS_MAX];
    size_t unfinished_count;
};

static int corrupt(const struct wrapping_record *record, struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTEGRITY, "wrapping pair %s is not as one is written",
                           uuid_format(&record->id).text);
}

static int load_pair(void *arg, const void *row, struct kms_error *err)
{
    const struct wrapping_record *const record = row;
    struct loading *const loading = arg;
    const struct keyspec *const spec = record->spec ? keyspec_find(record->spec) : NULL;
    struct wrapping_pair pair = { .id = record->id,
                                  .spec = spec,
                                  .created_ms = record->created_ms };

    if (spec == NULL || record->state == NULL || record->public_key.len > TOKEN_PUBLIC_MAX)
        return corrupt(record, err);
    if (strcmp(record->state, "Usable") == 0 && record->public_key.len) {
        pair.public_key.kind = spec->kind;
        pair.public_key.len = record->public_key.len;
        memcpy(pair.public_key.bytes, record->public_key.ptr, record->public_key.len);
        return add(loading->keyring, &pair, err);
    }
    if (loading->unfinished_count == WRAPPING_PAIRS_MAX)
        return corrupt(record, err);
    loading->unfinished[loading->unfinished_count++] = record->id;
    return 0;
}

static int see_object(void *arg, const struct uuid *id, const char *label, struct kms_error *err)
{
    struct loading *const loading = arg;
    const struct wrappings *const wrappings = &loading->keyring->wrappings;

    (void)label;
    (void)err;
    for (size_t i = 0; i < wrappings->count; i++)
        loading->present[i] = loading->present[i] || uuid_equal(&wrappings->pairs[i].id, id);
    return 0;
}

/* A token from an older backup may lack a pair: nobody gets it any more. */
static int drop_lost(struct loading *loading, struct kms_error *err)
{
    struct wrappings *const wrappings = &loading->keyring->wrappings;
    size_t kept = 0;

    if (wrappings->count == 0)
        return 0;
    if (token_inventory(loading->keyring->token, see_object, loading, err) < 0)
        return -1;
    for (size_t i = 0; i < wrappings->count; i++) {
        if (loading->present[i])
            wrappings->pairs[kept++] = wrappings->pairs[i];
        else if (destroy(loading->keyring, &wrappings->pairs[i].id, err) < 0)
            return -1;
    }
    wrappings->count = kept;
    return 0;
}

static int by_age(const void *a, const void *b)
{
    const struct wrapping_pair *const one = a, *const other = b;

    return (one->created_ms > other->created_ms) - (one->created_ms < other->created_ms);
}

int wrappings_open(struct keyring *keyring, struct kms_error *err)
{
    struct wrappings *const wrappings = &keyring->home->wrappings;
    struct loading loading = { .keyring = keyring };

    (void)pthread_mutex_init(&wrappings->making, NULL);
    (void)pthread_mutex_init(&wrappings->mutex, NULL);
    if (store_each(keyring->store, &wrapping_table, load_pair, &loading, err) < 0)
        return -1;
    qsort(wrappings->pairs, wrappings->count, sizeof(wrappings->pairs[0]), by_age);
    for (size_t i = 0; i < loading.unfinished_count; i++)
        if (destroy(keyring, &loading.unfinished[i], err) < 0)
            return -1;
    return drop_lost(&loading, err);
}

void wrappings_close(struct keyring *keyring)
{
    (void)pthread_mutex_destroy(&keyring->home->wrappings.making);
    (void)pthread_mutex_destroy(&keyring->home->wrappings.mutex);
}
