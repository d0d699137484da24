#include "hsmkms/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsmkms/audit/committer.h"
#include "hsmkms/audit/walk.h"
#include "hsmkms/base/encode.h"

#define US_PER_SECOND INT64_C(1000000)

struct audit {
    int dir_fd; /* locked: one process writes a trail */
    struct committer committer;
};

static int bad_dir(const char *dir, const char *why, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_CONFIG, "audit directory %s: %s", dir, why);
}

/* Makes the directory when it is missing and puts its name on disk; then opens it. */
static int open_dir(const char *dir, struct kms_error *err)
{
    const bool made = mkdir(dir, 0700) == 0;
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return bad_dir(dir, strerrordesc_np(errno), err);
    const int above = made ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    const bool synced = !made || (above >= 0 && fsync(above) == 0);
    if (above >= 0)
        (void)close(above); /* read-only */
    if (!synced) {
        (void)bad_dir(dir, strerrordesc_np(errno), err);
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* The directory is ours alone: nobody else may write there, and no second process does. */
static int claim_dir(const char *dir, int fd, struct kms_error *err)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return bad_dir(dir, strerrordesc_np(errno), err);
    if (status.st_mode & (S_IWGRP | S_IWOTH))
        return bad_dir(dir, "others may write to it", err);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return bad_dir(
            dir, errno == EWOULDBLOCK ? "another process uses it" : strerrordesc_np(errno), err);
    return 0;
}

/*
 * Walks the newest segment; when no whole line is in it yet, the one before too. What lies before
 * that is proved by its last line alone.
 */
static int walk_newest(struct walk *walk, int dir_fd, const struct segment_list *list,
                       struct walked *ret, struct kms_error *err)
{
    const size_t newest = list->count - 1;
    struct walked walked = { 0 };

    if (newest > 0 && walk_start_after(walk, dir_fd, list->first[newest - 1], err) < 0)
        return -1;
    if (walk_named(walk, dir_fd, list->first[newest], 0, &walked, err) < 0)
        return -1;
    if (walked.lines == 0 && newest > 0) {
        const size_t from = newest - 1;
        walk->chain = (struct chain){ 0 };
        if (from > 0 && walk_start_after(walk, dir_fd, list->first[from - 1], err) < 0)
            return -1;
        if (walk_named(walk, dir_fd, list->first[from], 0, &walked, err) < 0 ||
            walk_must_be_whole(list->first[from], &walked, err) < 0 ||
            walk_named(walk, dir_fd, list->first[newest], 0, &walked, err) < 0)
            return -1;
    }
    *ret = walked;
    return 0;
}

/* Finds the end of the trail and opens the segment to go on with, cut to its whole lines. */
static int open_end(int dir_fd, struct writer *writer, struct audit_tail *ret,
                    struct kms_error *err)
{
    AUTO(segment_list) list = { 0 };
    struct walk walk = { 0 };
    struct walked walked = { 0 };

    if (segment_list_load(dir_fd, &list, err) < 0)
        return -1;
    if (list.count == 0) {
        if (segment_create(dir_fd, 1, &writer->segment, err) < 0)
            return -1;
    } else if (walk_newest(&walk, dir_fd, &list, &walked, err) < 0 ||
               segment_open(dir_fd, list.first[list.count - 1], walked.size, &writer->segment,
                            err) < 0) {
        return -1;
    }
    writer->chain = walk.chain;
    *ret = (struct audit_tail){ .seq = walk.chain.seq,
                                .state_sequence = walk.chain.state_sequence,
                                .segments = list.count ? list.count : 1,
                                .cut = walked.end == WALK_TORN };
    hex_format(ret->head, SPAN_ARRAY(walk.chain.head));
    return 0;
}

static int start(struct audit *audit, const struct audit_config *config, struct audit_tail *ret,
                 struct kms_error *err)
{
    struct writer writer = { .segment.fd = -1,
                             .segment_bytes = config->segment_bytes,
                             .segment_us = config->segment_seconds * US_PER_SECOND };
    struct audit_tail tail = { 0 };

    if (claim_dir(config->dir, audit->dir_fd, err) < 0 ||
        open_end(audit->dir_fd, &writer, &tail, err) < 0 ||
        committer_start(&audit->committer, &writer, config->queue, err) < 0)
        return -1;
    *ret = tail;
    return 0;
}

int audit_open(const struct audit_config *config, struct audit **ret, struct audit_tail *ret_tail,
               struct kms_error *err)
{
    const int dir_fd = open_dir(config->dir, err);

    if (dir_fd < 0)
        return -1;
    struct audit *const audit = calloc(1, sizeof(*audit));
    if (audit == NULL) {
        (void)close(dir_fd);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory opening the audit trail");
    }
    audit->dir_fd = dir_fd;
    if (start(audit, config, ret_tail, err) < 0) {
        (void)close(dir_fd);
        free(audit);
        return -1;
    }
    *ret = audit;
    return 0;
}

void audit_close(struct audit *audit)
{
    if (audit == NULL)
        return;
    committer_stop(&audit->committer);
    (void)close(audit->dir_fd); /* and with it the lock */
    free(audit);
}

int audit_reserve(struct audit *audit, struct kms_error *err)
{
    return committer_reserve(&audit->committer, err);
}

void audit_release(struct audit *audit)
{
    committer_release(&audit->committer);
}

void audit_submit(struct audit *audit, struct buf record, audit_done_fn *done, void *arg)
{
    committer_submit(&audit->committer, record, done, arg);
}

void audit_status(struct audit *audit, struct audit_status *ret)
{
    committer_status(&audit->committer, ret);
}

/* A thread that waits for its record. */
struct waiter {
    sem_t done;
    bool durable;
};

static void wake_waiter(void *arg, bool durable)
{
    struct waiter *const waiter = arg;

    waiter->durable = durable;
    (void)sem_post(&waiter->done); /* the waiter may be gone after this */
}

int audit_write(struct audit *audit, struct buf record, struct kms_error *err)
{
    struct waiter waiter = { 0 };

    if (audit_reserve(audit, err) < 0) {
        buf_done(&record);
        return -1;
    }
    (void)sem_init(&waiter.done, 0, 0);
    audit_submit(audit, record, wake_waiter, &waiter);
    while (sem_wait(&waiter.done) < 0 && errno == EINTR)
        ;
    (void)sem_destroy(&waiter.done);
    if (!waiter.durable)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "an audit record could not be written");
    return 0;
}
