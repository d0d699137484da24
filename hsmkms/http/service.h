#pragma once

/*
 * From a complete request to its answer: the queue, the workers that serve from it, and the list
 * of what is still unanswered. A submitted exchange has a suspended connection; it is resumed by
 * the first answer, whoever gives it.
 *
 * Threads: service_submit in epoll workers; http_answer anywhere; the rest in the one thread that
 * starts and stops the server.
 */

#include "hsmkms/http/exchange.h"

struct service_config {
    struct queue_limits queue;
    size_t workers;
};

struct service_status {
    struct queue_status queue;
    uint64_t throttled;
};

struct service;

CHECKED int service_start(const struct service_config *config, struct service **ret,
                          struct kms_error *err);

/* Queues an exchange whose connection was just suspended; refuses it when there is no room. */
void service_submit(struct service *service, struct http_exchange *exchange);

/* The connection of a submitted exchange is done with it: answered and sent, or broken. */
void service_sent(struct service *service);

/* Refuses what waited too long while all workers were busy. Called by a clock. */
void service_tick(struct service *service);

/* Waits until every submitted exchange was answered, at most until until_us. */
void service_drain(struct service *service, int64_t until_us);

/*
 * Answers everything that is unanswered: what waits, and also what a door still works on (its own
 * answer is dropped when it comes). From here on submissions are refused. Returns when these
 * answers were sent, or at until_us.
 */
void service_close(struct service *service, int64_t until_us);

/* Closed. Waits for the workers and for every door to have answered, then frees. Accepts NULL. */
void service_stop(struct service *service);

struct service_status service_status(struct service *service);
