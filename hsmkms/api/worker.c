#include "hsmkms/api/worker.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "hsmkms/api/audit_call.h"
#include "hsmkms/api/last_use.h"
#include "hsmkms/api/notary.h"
#include "hsmkms/keys/import.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/regions.h"

#define US_PER_SECOND INT64_C(1000000)
#define TICK_SECONDS  5                    /* between token_tick() calls */
#define PAGE          64                   /* keys held at a time */
#define STEP_MS       (60 * MS_PER_SECOND) /* what the wall clock may be set by unnoticed */

struct worker {
    struct api *api;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards stop */
    pthread_cond_t wake;   /* on the monotonic clock */
    bool stop;
    int64_t offset_ms;     /* wall clock minus monotonic clock, when it ran evenly from */
    int64_t even_since_us; /* the start, or the last step of the wall clock */
    int64_t next_store_us; /* when last uses are written next */
};

static int64_t clock_offset_ms(const struct api *api)
{
    return clock_wall_ms(api->config.clock) - clock_mono_us() / 1000;
}

static void trust_clock_from_now(struct worker *worker)
{
    worker->offset_ms = clock_offset_ms(worker->api);
    worker->even_since_us = clock_mono_us();
}

/*
 * A clock that is slewed moves both clocks; one that is set, in one step or in many, was wrong
 * before or is wrong now.
 */
static void watch_clock(struct worker *worker)
{
    const int64_t step_ms = clock_offset_ms(worker->api) - worker->offset_ms;

    if (step_ms < STEP_MS && step_ms > -STEP_MS)
        return;
    trust_clock_from_now(worker);
    log_event(worker->api->config.log, LOG_LEVEL_WARN, "clock-stepped",
              "ms=%" PRId64 " advice=\"due deletions wait for keys.deletion_hold again\"", step_ms);
}

static int rotate_due(struct keyring *keyring, const struct uuid *id, struct kms_error *err)
{
    return lifecycle_rotate(keyring, id, ROTATE_DUE, err);
}

static int rotate_budget(struct keyring *keyring, const struct uuid *id, struct kms_error *err)
{
    return lifecycle_rotate(keyring, id, ROTATE_BUDGET, err);
}

/* How each kind of due thing is called in the audit trail, and what does it. */
static const struct {
    const char *event, *rotation_type;
    int (*run)(struct keyring *keyring, const struct uuid *id, struct kms_error *err);
} duties[] = {
    [DUE_NOTHING] = { NULL, NULL, NULL },
    [DUE_ROTATION] = { "RotateKey", "AUTOMATIC", rotate_due },
    [DUE_BUDGET_ROTATION] = { "RotateKey", "AUTOMATIC", rotate_budget },
    [DUE_DELETION] = { "DeleteKey", NULL, lifecycle_delete_due },
    [DUE_EXPIRY] = { "DeleteExpiredKeyMaterial", NULL, import_expire },
};

/* Nobody decides about the key any more. */
static int forget_key(struct api *api, const struct uuid *id, struct kms_error *err)
{
    key_policy_drop(api->config.iam, id);
    return grants_drop_key(api->config.iam, id, err);
}

static int serve_duty(struct api *api, const struct key *key, enum due_kind kind,
                      struct kms_error *err)
{
    struct service_event event = { .name = duties[kind].event,
                                   .key_id = &key->record.id,
                                   .rotation_type = duties[kind].rotation_type };
    struct kms_error unrecorded = { 0 };

    if (audit_service_intent(api, &event, err) < 0)
        return -1;
    struct keyring *const keyring = keyring_of(api->config.keyring, key);
    if (duties[kind].run(keyring, &key->record.id, err) < 0 ||
        (kind == DUE_DELETION && forget_key(api, &key->record.id, err) < 0))
        event.failed = err;
    if (audit_service_result(api, &event, &unrecorded) < 0 && err->code == KMS_ERR_NONE)
        *err = unrecorded;
    return err->code == KMS_ERR_NONE ? 0 : -1;
}

/*
 * What is destroyed does not come back when the clock turns out to have been wrong. The clock is
 * looked at after it was believed, so that no step lies in between.
 */
static bool is_held(struct api *api, const struct key *key, enum due_kind kind)
{
    struct worker *const worker = api->worker;

    if (worker == NULL || (kind != DUE_DELETION && kind != DUE_EXPIRY) ||
        key->state == KEY_DELETING)
        return false;
    watch_clock(worker);
    return clock_mono_us() - worker->even_since_us <
           api->config.keyring->limits.deletion_hold_s * US_PER_SECOND;
}

static size_t serve_key(struct api *api, const struct key *key)
{
    const enum due_kind kind = lifecycle_due(api->config.keyring, key);
    struct kms_error err = { 0 };

    if (kind == DUE_NOTHING || is_held(api, key, kind))
        return 0;
    if (serve_duty(api, key, kind, &err) == 0)
        return 1;
    log_error(api->config.log, LOG_LEVEL_WARN, duties[kind].event, &err);
    return 0;
}

/* Pairs that no import token names any more. */
static void expire_wrappings(struct api *api)
{
    struct kms_error err = { 0 };

    if (wrapping_overdue(api->config.keyring) && wrapping_expire(api->config.keyring, &err) < 0)
        log_error(api->config.log, LOG_LEVEL_WARN, "wrapping-pair", &err);
}

static size_t serve_region(struct api *api, const struct keyring *keyring)
{
    struct key *page[PAGE];
    struct uuid after = { { 0 } };
    size_t count, changed = 0;
    bool first = true;

    do {
        count = catalog_all(keyring->catalog, first ? NULL : &after, page, PAGE);
        first = false;
        for (size_t i = 0; i < count; i++) {
            after = page[i]->record.id;
            changed += serve_key(api, page[i]);
            key_unref(page[i]);
        }
    } while (count == PAGE);
    return changed;
}

size_t worker_round(struct api *api)
{
    size_t changed = 0;

    expire_wrappings(api);
    for (const struct keyring *each = api->config.keyring; each; each = each->next)
        changed += serve_region(api, each);
    return changed;
}

/* Signs the audit trail when it is time; what fails now is tried again at the next tick. */
static void sign_trail(struct api *api)
{
    struct kms_error err = { 0 };

    if (api->config.notary && notary_due(api->config.notary) &&
        notary_sign(api->config.notary, &err) < 0)
        log_error(api->config.log, LOG_LEVEL_ERROR, "checkpoint", &err);
}

/* Waits until the next tick; true when it is time to stop. */
static bool wait_tick(struct worker *worker)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TICK_SECONDS;
    pthread_mutex_lock(&worker->mutex);
    while (!worker->stop && pthread_cond_timedwait(&worker->wake, &worker->mutex, &until) == 0)
        ;
    const bool stop = worker->stop;
    pthread_mutex_unlock(&worker->mutex);
    return stop;
}

/* What was noted since it was last written; at the first tick there is nothing yet. */
static void store_uses(struct worker *worker)
{
    if (clock_mono_us() < worker->next_store_us)
        return;
    last_use_store(worker->api);
    worker->next_store_us =
        clock_mono_us() + worker->api->config.last_use_save_s * US_PER_SECOND;
}

static void tick(void *arg, const char *cluster, struct token *token)
{
    (void)arg;
    (void)cluster;
    token_tick(token);
}

static void *work(void *arg)
{
    struct worker *const worker = arg;
    struct api *const api = worker->api;
    int64_t next_us = clock_mono_us(); /* the first round is at once */

    do {
        watch_clock(worker);
        token_tick(api->config.keyring->token);
        key_store_each(api->config.keyring, tick, NULL);
        sign_trail(api);
        store_uses(worker);
        if (clock_mono_us() < next_us)
            continue;
        (void)worker_round(api);
        next_us = clock_mono_us() + api->config.due_check_s * US_PER_SECOND;
    } while (!wait_tick(worker));
    return NULL;
}

static int start_thread(struct worker *worker)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&worker->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return pthread_create(&worker->thread, NULL, work, worker);
}

int api_worker_start(struct api *api, struct kms_error *err)
{
    struct worker *const worker = calloc(1, sizeof(*worker));

    if (worker == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the worker");
    worker->api = api;
    trust_clock_from_now(worker);
    api->worker = worker; /* the thread looks there */
    if (start_thread(worker) != 0) {
        api->worker = NULL;
        free(worker);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the background worker did not start");
    }
    return 0;
}

void api_worker_stop(struct api *api)
{
    struct worker *const worker = api->worker;

    if (worker == NULL)
        return;
    pthread_mutex_lock(&worker->mutex);
    worker->stop = true;
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->mutex);
    pthread_join(worker->thread, NULL);
    last_use_store(api); /* of the last calls */
    pthread_cond_destroy(&worker->wake);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
    api->worker = NULL;
}
