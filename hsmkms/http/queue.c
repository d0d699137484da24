#include "hsmkms/http/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1 /* a table that cannot grow does not end the process */
#include <uthash.h>
#include <utlist.h>

#include "hsmkms/base/clock.h"

/* Exists while it has something waiting. */
struct queue_claimant {
    char name[QUEUE_CLAIM_LEN];
    struct queue_item *line; /* oldest first */
    size_t count;
    struct queue_claimant *prev, *next; /* turns */
    UT_hash_handle hh;
};

struct queue {
    struct queue_limits limits;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t some;
    struct queue_claimant *by_name;
    struct queue_claimant *turns; /* the first one is next */
    struct queue_item *arrivals;  /* oldest first */
    struct queue_status status;
    bool closed;
};

int queue_new(const struct queue_limits *limits, struct queue **ret, struct kms_error *err)
{
    struct queue *const queue = calloc(1, sizeof(*queue));

    if (queue == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a queue");
    queue->limits = *limits;
    (void)pthread_mutex_init(&queue->lock, NULL); /* cannot fail with default attributes */
    (void)pthread_cond_init(&queue->some, NULL);
    *ret = queue;
    return 0;
}

/* Under the lock. NULL: out of memory. */
static struct queue_claimant *claimant_get(struct queue *queue, const char *name)
{
    struct queue_claimant *claimant = NULL;
    const size_t len = strnlen(name, QUEUE_CLAIM_LEN - 1);

    HASH_FIND(hh, queue->by_name, name, len, claimant);
    if (claimant)
        return claimant;
    claimant = calloc(1, sizeof(*claimant));
    if (claimant == NULL)
        return NULL;
    memcpy(claimant->name, name, len);
    HASH_ADD_KEYPTR(hh, queue->by_name, claimant->name, len, claimant);
    if (claimant->hh.tbl == NULL) { /* no memory: it was not added */
        free(claimant);
        return NULL;
    }
    DL_APPEND(queue->turns, claimant);
    return claimant;
}

/* Under the lock: takes an item out of every list. */
static void remove_item(struct queue *queue, struct queue_item *item)
{
    struct queue_claimant *const claimant = item->claimant;

    DL_DELETE(claimant->line, item);
    DL_DELETE2(queue->arrivals, item, older, newer);
    item->claimant = NULL;
    queue->status.depth--;
    if (--claimant->count == 0) {
        DL_DELETE(queue->turns, claimant);
        HASH_DEL(queue->by_name, claimant);
        free(claimant);
    }
}

/* Under the lock. */
static bool push(struct queue *queue, struct queue_item *item, const char *claim, int64_t now_us)
{
    if (queue->closed || queue->status.depth >= queue->limits.most)
        return false;
    struct queue_claimant *const claimant = claimant_get(queue, claim);
    if (claimant == NULL || claimant->count >= queue->limits.most_per_claimant)
        return false; /* a new claimant is never full: the limit is 1 or more */

    item->claimant = claimant;
    item->due_us = now_us + queue->limits.wait_us;
    DL_APPEND(claimant->line, item);
    DL_APPEND2(queue->arrivals, item, older, newer);
    claimant->count++;
    if (++queue->status.depth > queue->status.deepest)
        queue->status.deepest = queue->status.depth;
    return true;
}

bool queue_push(struct queue *queue, struct queue_item *item, const char claim[QUEUE_CLAIM_LEN],
                int64_t now_us)
{
    (void)pthread_mutex_lock(&queue->lock);
    const bool pushed = push(queue, item, claim, now_us);
    if (pushed)
        (void)pthread_cond_signal(&queue->some);
    (void)pthread_mutex_unlock(&queue->lock);
    return pushed;
}

/* Under the lock, not empty: the oldest item of the claimant whose turn it is. */
static struct queue_item *next_in_turn(struct queue *queue)
{
    struct queue_claimant *const claimant = queue->turns;
    struct queue_item *const item = claimant->line;

    if (claimant->next) {
        DL_DELETE(queue->turns, claimant);
        DL_APPEND(queue->turns, claimant);
    }
    remove_item(queue, item);
    return item;
}

enum queue_turn queue_pop(struct queue *queue, struct queue_item **ret)
{
    struct queue_item *item = NULL;

    (void)pthread_mutex_lock(&queue->lock);
    while (queue->turns == NULL && !queue->closed)
        (void)pthread_cond_wait(&queue->some, &queue->lock);
    if (!queue->closed)
        item = next_in_turn(queue);
    (void)pthread_mutex_unlock(&queue->lock);

    if (item == NULL)
        return QUEUE_CLOSED;
    *ret = item;
    return item->due_us <= clock_mono_us() ? QUEUE_OVERDUE : QUEUE_WORK;
}

struct queue_item *queue_take_due(struct queue *queue, int64_t now_us)
{
    (void)pthread_mutex_lock(&queue->lock);
    struct queue_item *item = queue->arrivals;
    if (item && item->due_us > now_us)
        item = NULL;
    if (item)
        remove_item(queue, item);
    (void)pthread_mutex_unlock(&queue->lock);
    return item;
}

void queue_close(struct queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    (void)pthread_cond_broadcast(&queue->some);
    (void)pthread_mutex_unlock(&queue->lock);
}

struct queue_status queue_status(struct queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    const struct queue_status status = queue->status;
    (void)pthread_mutex_unlock(&queue->lock);
    return status;
}

void queue_free(struct queue *queue)
{
    if (queue == NULL)
        return;
    assert(queue->arrivals == NULL);
    (void)pthread_cond_destroy(&queue->some);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}
