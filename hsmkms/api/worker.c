#include "hsmkms/api/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "hsmkms/api/audit_call.h"
#include "hsmkms/keys/lifecycle.h"

#define TICK_SECONDS 5  /* between token_tick() calls */
#define PAGE         64 /* keys held at a time */

struct worker {
    struct api *api;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards stop */
    pthread_cond_t wake;   /* on the monotonic clock */
    bool stop;
};

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
};

static int serve_duty(struct api *api, const struct key *key, enum due_kind kind,
                      struct kms_error *err)
{
    struct service_event event = { .name = duties[kind].event,
                                   .key_id = &key->record.id,
                                   .rotation_type = duties[kind].rotation_type };
    struct kms_error unrecorded = { 0 };

    if (audit_service_intent(api, &event, err) < 0)
        return -1;
    if (duties[kind].run(api->config.keyring, &key->record.id, err) < 0)
        event.failed = err;
    if (audit_service_result(api, &event, &unrecorded) < 0 && err->code == KMS_ERR_NONE)
        *err = unrecorded;
    return err->code == KMS_ERR_NONE ? 0 : -1;
}

static size_t serve_key(struct api *api, const struct key *key)
{
    const enum due_kind kind = lifecycle_due(api->config.keyring, key);
    struct kms_error err = { 0 };

    if (kind == DUE_NOTHING)
        return 0;
    if (serve_duty(api, key, kind, &err) == 0)
        return 1;
    log_error(api->config.log, LOG_LEVEL_WARN, duties[kind].event, &err);
    return 0;
}

size_t worker_round(struct api *api)
{
    struct key *page[PAGE];
    struct uuid after = { { 0 } };
    size_t count, changed = 0;
    bool first = true;

    do {
        count = catalog_all(api->config.keyring->catalog, first ? NULL : &after, page, PAGE);
        first = false;
        for (size_t i = 0; i < count; i++) {
            after = page[i]->record.id;
            changed += serve_key(api, page[i]);
            key_unref(page[i]);
        }
    } while (count == PAGE);
    return changed;
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

static void *work(void *arg)
{
    struct worker *const worker = arg;
    struct api *const api = worker->api;
    int64_t next_us = clock_mono_us(); /* the first round is at once */

    do {
        token_tick(api->config.keyring->token);
        if (clock_mono_us() < next_us)
            continue;
        (void)worker_round(api);
        next_us = clock_mono_us() + api->config.due_check_s * 1000000;
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
    if (start_thread(worker) != 0) {
        free(worker);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the background worker did not start");
    }
    api->worker = worker;
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
    pthread_cond_destroy(&worker->wake);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
    api->worker = NULL;
}
