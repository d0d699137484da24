#pragma once

/*
 * Group commit: one thread takes everything that waits, has it written with one sync, and tells
 * each record's owner. While a sync runs the next group gathers, so groups grow with the load and
 * nobody waits for a timer.
 *
 * A record holds a place from committer_reserve() until its group is written, so the memory of the
 * queue is bounded and allocated once. While the trail is broken nothing is admitted and the thread
 * tries to recover on its own.
 *
 * Threads: all functions but _start and _stop may run in any thread.
 */

#include <pthread.h>

#include "hsmkms/audit/writer.h"

struct committer {
    struct writer writer; /* the thread's alone once it runs */
    pthread_t thread;
    pthread_mutex_t lock;                  /* guards everything below */
    pthread_cond_t wake;                   /* work, or stop; monotonic clock */
    struct audit_entry *waiting, *writing; /* places each; swapped when a group is taken */
    size_t places, taken, waiting_count;
    bool broken, stop;
    int64_t sync_begun_us; /* of the group being written; 0: none */
    struct audit_status status;
};

/*
 * Starts the thread. writer is taken over, also on failure.
 *
 * Errors:  INTERNAL (memory, threads)
 */
CHECKED int committer_start(struct committer *ret, struct writer *writer, size_t places,
                            struct kms_error *err);

/* Writes what waits, ends the thread, releases everything. */
void committer_stop(struct committer *committer);

/* As audit_reserve() and its neighbours. */
CHECKED int committer_reserve(struct committer *committer, struct kms_error *err);
void committer_release(struct committer *committer);
void committer_submit(struct committer *committer, struct buf record, audit_done_fn *done,
                      void *arg);
void committer_status(struct committer *committer, struct audit_status *ret);
