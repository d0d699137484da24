#include "hsmkms/http/service.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <microhttpd.h>
#include <utlist.h>

#include "hsmkms/base/clock.h"

struct service {
    struct queue *queue;
    pthread_t *threads;
    size_t thread_count;
    atomic_uint_fast64_t throttled;

    pthread_mutex_t lock;       /* everything below, and the links of held exchanges */
    pthread_cond_t less;        /* one of the counts went down */
    struct http_exchange *held; /* unanswered */
    size_t held_count;          /* submitted, connection suspended */
    size_t owed;                /* answers that doors still have to give */
    size_t unsent;              /* submitted, connection not done with it */
};

static const struct {
    enum kms_err code;
    const char *message;
} overdue = { KMS_ERR_THROTTLING, "Rate exceeded" },
  stopping = { KMS_ERR_DEPENDENCY_TIMEOUT, "The service is stopping" };

/* First answer: the exchange leaves the list and its connection goes on; it may be gone then. */
static void resume(struct service *service, struct http_exchange *exchange)
{
    (void)pthread_mutex_lock(&service->lock);
    DL_DELETE(service->held, exchange);
    (void)pthread_mutex_unlock(&service->lock);
    (void)MHD_resume_connection(exchange->connection);
}

/* Counts a resumed connection, or an answer that a door gave, or both. */
static void count_down(struct service *service, size_t resumed, size_t given)
{
    (void)pthread_mutex_lock(&service->lock);
    service->held_count -= resumed;
    service->owed -= given;
    (void)pthread_cond_broadcast(&service->less);
    (void)pthread_mutex_unlock(&service->lock);
}

void http_answer(struct http_exchange *exchange, const struct http_answer *answer)
{
    struct service *const service = exchange->service;
    const bool first = exchange_settle(exchange, answer);

    if (first) {
        resume(service, exchange);
    } else {
        struct http_answer late = *answer;
        answer_drop(&late);
    }
    exchange_unref(exchange); /* the door's reference */
    count_down(service, first, 1);
}

/* Ends an exchange that no door has seen. */
static void refuse(struct http_exchange *exchange, enum kms_err code, const char *message)
{
    struct kms_error err = { 0 };
    struct http_answer answer = { 0 };

    (void)kms_fail(&err, code, "%s", message);
    exchange_refusal(exchange, &err, &answer);
    atomic_store(&exchange->refused, true);
    http_answer(exchange, &answer);
}

static void throttle(struct service *service, struct http_exchange *exchange)
{
    (void)atomic_fetch_add(&service->throttled, 1);
    refuse(exchange, overdue.code, overdue.message);
}

static void *work(void *arg)
{
    struct service *const service = arg;
    struct queue_item *item = NULL;
    enum queue_turn turn = QUEUE_WORK;

    while ((turn = queue_pop(service->queue, &item)) != QUEUE_CLOSED) {
        struct http_exchange *const exchange = (void *)item; /* its first member */
        if (turn == QUEUE_OVERDUE)
            throttle(service, exchange);
        else
            exchange->door->door->serve(exchange->door->ctx, exchange);
    }
    return NULL;
}

int service_start(const struct service_config *config, struct service **ret, struct kms_error *err)
{
    struct service *const service = calloc(1, sizeof(*service));

    if (service == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory starting workers");
    (void)pthread_mutex_init(&service->lock, NULL); /* cannot fail with default attributes */
    (void)pthread_cond_init(&service->less, NULL);
    if (queue_new(&config->queue, &service->queue, err) < 0) {
        service_stop(service);
        return -1;
    }
    service->threads = calloc(config->workers, sizeof(*service->threads));
    if (service->threads == NULL) {
        service_stop(service);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory starting workers");
    }
    while (service->thread_count < config->workers) {
        pthread_t *const thread = &service->threads[service->thread_count];
        if (pthread_create(thread, NULL, work, service) != 0) {
            queue_close(service->queue);
            service_stop(service);
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "cannot start a worker thread");
        }
        service->thread_count++;
    }
    *ret = service;
    return 0;
}

void service_submit(struct service *service, struct http_exchange *exchange)
{
    const int64_t now_us = clock_mono_us();

    exchange->service = service;
    exchange_ref(exchange); /* the door's, until its http_answer */
    (void)pthread_mutex_lock(&service->lock);
    DL_APPEND(service->held, exchange);
    service->held_count++;
    service->owed++;
    service->unsent++;
    (void)pthread_mutex_unlock(&service->lock);

    if (!queue_push(service->queue, &exchange->waiting, exchange->claim, now_us))
        throttle(service, exchange);
}

void service_sent(struct service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    service->unsent--;
    (void)pthread_cond_broadcast(&service->less);
    (void)pthread_mutex_unlock(&service->lock);
}

void service_tick(struct service *service)
{
    struct queue_item *item = NULL;

    while ((item = queue_take_due(service->queue, clock_mono_us())) != NULL)
        throttle(service, (void *)item);
}

/* Waits until *count is 0, at most until until_us. The caller holds the lock. */
static void wait_for_none(struct service *service, const size_t *count, int64_t until_us)
{
    while (*count) {
        const int64_t left_us = until_us - clock_mono_us();
        struct timespec until;

        if (left_us <= 0)
            return;
        (void)clock_gettime(CLOCK_REALTIME, &until); /* what a default condition waits on */
        const int64_t ns = until.tv_nsec + left_us % 1000000 * 1000;
        until.tv_sec += left_us / 1000000 + ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        (void)pthread_cond_timedwait(&service->less, &service->lock, &until);
    }
}

void service_drain(struct service *service, int64_t until_us)
{
    (void)pthread_mutex_lock(&service->lock);
    wait_for_none(service, &service->unsent, until_us);
    (void)pthread_mutex_unlock(&service->lock);
}

/* One held exchange that has no answer yet, now settled with a refusal; NULL: none. */
static struct http_exchange *settle_one_held(struct service *service)
{
    struct http_exchange *exchange = NULL;
    struct kms_error err = { 0 };

    (void)kms_fail(&err, stopping.code, "%s", stopping.message);
    (void)pthread_mutex_lock(&service->lock);
    DL_FOREACH(service->held, exchange)
    {
        struct http_answer answer = { 0 };
        if (atomic_load(&exchange->settled))
            continue; /* its door is just about to resume it */
        exchange_refusal(exchange, &err, &answer);
        if (exchange_settle(exchange, &answer))
            break; /* still suspended, so the connection keeps it alive until we resume it */
        answer_drop(&answer);
    }
    (void)pthread_mutex_unlock(&service->lock);
    return exchange;
}

void service_close(struct service *service, int64_t until_us)
{
    struct queue_item *item = NULL;
    struct http_exchange *exchange = NULL;

    queue_close(service->queue);
    while ((item = queue_take_due(service->queue, INT64_MAX)) != NULL)
        refuse((void *)item, stopping.code, stopping.message);
    while ((exchange = settle_one_held(service)) != NULL) {
        resume(service, exchange);
        count_down(service, 1, 0);
    }

    (void)pthread_mutex_lock(&service->lock);
    while (service->held_count) /* answered, resumed in a moment by another thread */
        (void)pthread_cond_wait(&service->less, &service->lock);
    wait_for_none(service, &service->unsent, until_us);
    (void)pthread_mutex_unlock(&service->lock);
}

void service_stop(struct service *service)
{
    if (service == NULL)
        return;
    for (size_t i = 0; i < service->thread_count; i++)
        (void)pthread_join(service->threads[i], NULL);
    (void)pthread_mutex_lock(&service->lock);
    while (service->owed)
        (void)pthread_cond_wait(&service->less, &service->lock);
    (void)pthread_mutex_unlock(&service->lock);
    queue_free(service->queue);
    (void)pthread_cond_destroy(&service->less);
    (void)pthread_mutex_destroy(&service->lock);
    free(service->threads);
    free(service);
}

struct service_status service_status(struct service *service)
{
    return (struct service_status){ queue_status(service->queue),
                                    atomic_load(&service->throttled) };
}
