#include "hsmkms/http/key_keeper.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define WAIT_LONGEST_S 60

struct key_keeper {
    struct key_keeper_config config;
    pthread_t thread;
    pthread_mutex_t lock; /* stopping */
    pthread_cond_t stopped;
    bool stopping;
    atomic_uint_fast64_t dealt_with; /* failures after which the key was loaded again */
};

/* False when it is time to end. */
static bool sleep_s(struct key_keeper *keeper, int seconds)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until); /* what a default condition waits on */
    until.tv_sec += seconds;
    (void)pthread_mutex_lock(&keeper->lock);
    int waited = 0;
    while (!keeper->stopping && waited == 0)
        waited = pthread_cond_timedwait(&keeper->stopped, &keeper->lock, &until);
    const bool goes_on = !keeper->stopping;
    (void)pthread_mutex_unlock(&keeper->lock);
    return goes_on;
}

static bool load(const struct key_keeper *keeper)
{
    struct kms_error err = { 0 };

    if (keeper->config.load(keeper->config.arg, &err) < 0) {
        log_error(keeper->config.log, LOG_LEVEL_ERROR, "tls-key-lost", &err);
        return false;
    }
    log_event(keeper->config.log, LOG_LEVEL_INFO, "tls-key-back", "by=reload");
    return true;
}

static void *keep(void *arg)
{
    struct key_keeper *const keeper = arg;
    int wait_s = 1;

    while (sleep_s(keeper, wait_s)) {
        const uint64_t failures = keeper->config.failures(keeper->config.arg);
        if (failures == atomic_load(&keeper->dealt_with))
            continue;
        if (load(keeper)) {
            atomic_store(&keeper->dealt_with, failures);
            wait_s = 1;
        } else {
            wait_s = wait_s * 2 < WAIT_LONGEST_S ? wait_s * 2 : WAIT_LONGEST_S;
        }
    }
    return NULL;
}

bool key_keeper_misses_key(const struct key_keeper *keeper)
{
    return keeper && keeper->config.failures(keeper->config.arg) != atomic_load(&keeper->dealt_with);
}

int key_keeper_start(const struct key_keeper_config *config, struct key_keeper **ret,
                     struct kms_error *err)
{
    struct key_keeper *const keeper = calloc(1, sizeof(*keeper));

    if (keeper == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a thread");
    keeper->config = *config;
    (void)pthread_mutex_init(&keeper->lock, NULL); /* cannot fail with default attributes */
    (void)pthread_cond_init(&keeper->stopped, NULL);
    if (pthread_create(&keeper->thread, NULL, keep, keeper) != 0) {
        free(keeper);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "cannot start the thread of the TLS key");
    }
    *ret = keeper;
    return 0;
}

void key_keeper_stop(struct key_keeper *keeper)
{
    if (keeper == NULL)
        return;
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    (void)pthread_cond_signal(&keeper->stopped);
    (void)pthread_mutex_unlock(&keeper->lock);
    (void)pthread_join(keeper->thread, NULL);
    (void)pthread_cond_destroy(&keeper->stopped);
    (void)pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}
