#pragma once

/*
 * What waits for a worker: bounded, fair between claimants, never longer than its due time.
 * Claimants take turns; within one claimant first come, first served. The items belong to the
 * caller and carry their own links, so that nothing is allocated but one row per waiting claimant.
 *
 * Threads: every function may run in any thread.
 */

#include "hsmkms/base/error.h"

#define QUEUE_CLAIM_LEN 64 /* with its NUL */

struct queue_claimant;

/* Zeroed by the caller; a member of what is queued. */
struct queue_item {
    struct queue_item *prev, *next;   /* in its claimant's line */
    struct queue_item *older, *newer; /* in arrival order over all */
    struct queue_claimant *claimant;
    int64_t due_us;
};

struct queue_limits {
    size_t most;              /* items */
    size_t most_per_claimant; /* of them */
    int64_t wait_us;          /* longest wait */
};

struct queue_status {
    size_t depth, deepest;
};

enum queue_turn {
    QUEUE_WORK,    /* do it */
    QUEUE_OVERDUE, /* waited too long */
    QUEUE_CLOSED,  /* queue_close() was called; no item */
};

struct queue;

CHECKED int queue_new(const struct queue_limits *limits, struct queue **ret, struct kms_error *err);

/* False when the queue or the claimant's part of it is full, or the queue is closed. */
CHECKED bool queue_push(struct queue *queue, struct queue_item *item,
                        const char claim[QUEUE_CLAIM_LEN], int64_t now_us);

/* Waits for an item, or for the end. */
enum queue_turn queue_pop(struct queue *queue, struct queue_item **ret);

/* An item that is due at now_us or earlier, the oldest first, or NULL. INT64_MAX takes any. */
struct queue_item *queue_take_due(struct queue *queue, int64_t now_us);

/* No more pushes; every queue_pop() ends. What waits stays, for queue_take_due(). */
void queue_close(struct queue *queue);

struct queue_status queue_status(struct queue *queue);

/* Closed and empty, and no thread is inside. Accepts NULL. */
void queue_free(struct queue *queue);
