#include "hsmkms/audit/committer.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "hsmkms/base/clock.h"

#define PROBE_EVERY_NS INT64_C(250000000) /* while broken */
#define STALL_US       INT64_C(2000000)   /* a sync longer than this is as good as a failed one */

static bool is_healthy(const struct committer *c)
{
    return !c->broken && (c->sync_begun_us == 0 || clock_mono_us() - c->sync_begun_us < STALL_US);
}

static void sleep_until_probe(struct committer *c)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PROBE_EVERY_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&c->wake, &c->lock, &until);
}

/* Tries to write again; the lock is not held while the disk is asked. */
static void probe(struct committer *c)
{
    (void)pthread_mutex_unlock(&c->lock);
    const bool good = writer_recover(&c->writer);
    (void)pthread_mutex_lock(&c->lock);
    c->broken = !good;
}

/* Waits, with the lock held, until there is work or the end. */
static void wait_for_work(struct committer *c)
{
    while (c->waiting_count == 0 && !c->stop) {
        if (!c->broken) {
            (void)pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        sleep_until_probe(c);
        if (c->waiting_count == 0 && !c->stop)
            probe(c);
    }
}

/* Takes everything that waits; the caller holds the lock. */
static size_t take_group(struct committer *c)
{
    struct audit_entry *const group = c->waiting;
    const size_t count = c->waiting_count;

    c->waiting = c->writing;
    c->writing = group;
    c->waiting_count = 0;
    c->sync_begun_us = clock_mono_us();
    return count;
}

/* Notes how a group ended and gives its places back; the caller holds the lock. */
static void note_group(struct committer *c, size_t count)
{
    c->sync_begun_us = 0;
    c->broken = c->writer.broken;
    c->taken -= count;
    c->status.seq = c->writer.chain.seq;
    memcpy(c->status.head, c->writer.chain.head, SHA256_LEN);
    c->status.groups += !c->broken;
    if (!c->broken && count > c->status.largest_group)
        c->status.largest_group = count;
}

static void *run(void *arg)
{
    struct committer *const c = arg;

    (void)pthread_mutex_lock(&c->lock);
    for (wait_for_work(c); c->waiting_count > 0; wait_for_work(c)) {
        const size_t count = take_group(c);
        (void)pthread_mutex_unlock(&c->lock);

        writer_commit(&c->writer, c->writing, count);

        (void)pthread_mutex_lock(&c->lock);
        note_group(c, count);
        (void)pthread_mutex_unlock(&c->lock);
        for (size_t i = 0; i < count; i++) {
            buf_done(&c->writing[i].record);
            c->writing[i].done(c->writing[i].arg, c->writing[i].durable);
        }
        (void)pthread_mutex_lock(&c->lock);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void init_locks(struct committer *c)
{
    pthread_condattr_t attributes;

    /* none of these fails with these arguments on Linux */
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static void free_all(struct committer *c)
{
    writer_done(&c->writer);
    free(c->waiting);
    free(c->writing);
    (void)pthread_cond_destroy(&c->wake);
    (void)pthread_mutex_destroy(&c->lock);
}

/* Signals stay with the program's own threads: none interrupts a write, and a file size limit
 * shows as EFBIG. */
static int start_thread(struct committer *c)
{
    sigset_t all, before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int result = pthread_create(&c->thread, NULL, run, c);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

int committer_start(struct committer *ret, struct writer *writer, size_t places,
                    struct kms_error *err)
{
    *ret = (struct committer){ .writer = *writer, .places = places };
    *writer = (struct writer){ .segment.fd = -1 };
    ret->status.seq = ret->writer.chain.seq;
    memcpy(ret->status.head, ret->writer.chain.head, SHA256_LEN);
    init_locks(ret);
    ret->waiting = calloc(places, sizeof(*ret->waiting));
    ret->writing = calloc(places, sizeof(*ret->writing));
    if (ret->waiting == NULL || ret->writing == NULL || start_thread(ret) != 0) {
        free_all(ret);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the audit committer cannot be started");
    }
    return 0;
}

void committer_stop(struct committer *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->stop = true;
    (void)pthread_cond_signal(&c->wake);
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_join(c->thread, NULL);
    free_all(c);
}

int committer_reserve(struct committer *c, struct kms_error *err)
{
    (void)pthread_mutex_lock(&c->lock);
    const bool healthy = is_healthy(c), room = c->taken < c->places;
    c->taken += healthy && room;
    (void)pthread_mutex_unlock(&c->lock);

    if (!healthy)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the audit trail cannot be written");
    if (!room)
        return kms_fail(err, KMS_ERR_THROTTLING, "Rate exceeded");
    return 0;
}

void committer_release(struct committer *c)
{
    (void)pthread_mutex_lock(&c->lock);
    assert(c->taken > 0);
    c->taken--;
    (void)pthread_mutex_unlock(&c->lock);
}

void committer_submit(struct committer *c, struct buf record, audit_done_fn *done, void *arg)
{
    (void)pthread_mutex_lock(&c->lock);
    assert(c->waiting_count < c->taken); /* every submit has a place of its own */
    c->waiting[c->waiting_count++] = (struct audit_entry){ record, done, arg, false };
    if (c->waiting_count == 1)
        (void)pthread_cond_signal(&c->wake); /* a longer queue has woken it already */
    (void)pthread_mutex_unlock(&c->lock);
}

void committer_status(struct committer *c, struct audit_status *ret)
{
    (void)pthread_mutex_lock(&c->lock);
    *ret = c->status;
    ret->healthy = is_healthy(c);
    ret->queued = c->waiting_count;
    (void)pthread_mutex_unlock(&c->lock);
}
