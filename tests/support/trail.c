#include "tests/support/trail.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/check.h"

void trail_init(struct trail *trail, int64_t segment_bytes)
{
    const char *const parent = getenv("TMPDIR");

    *trail = (struct trail){ 0 };
    (void)snprintf(trail->dir, sizeof(trail->dir), "%s/hsmkms-audit-XXXXXX",
                   parent ? parent : "/tmp");
    CHECK(mkdtemp(trail->dir) != NULL);
    trail->config = (struct audit_config){ trail->dir, segment_bytes, 3600, 64 };
}

void trail_open(struct trail *trail)
{
    struct kms_error err = { 0 };

    CHECK_OK(audit_open(&trail->config, &trail->audit, &trail->tail, &err), err);
}

void trail_close(struct trail *trail)
{
    audit_close(trail->audit);
    trail->audit = NULL;
}

void trail_done(struct trail *trail)
{
    DIR *const dir = opendir(trail->dir);
    const struct dirent *entry;

    trail_close(trail);
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            CHECK(unlinkat(dirfd(dir), entry->d_name, 0) == 0);
    (void)closedir(dir);
    CHECK(rmdir(trail->dir) == 0);
}

struct buf trail_record(unsigned number)
{
    struct buf record = { 0 };

    buf_printf(&record, "{\"eventName\":\"Encrypt\",\"number\":%u}", number);
    return record;
}

void trail_write(struct trail *trail, unsigned count)
{
    struct kms_error err = { 0 };

    for (unsigned i = 1; i <= count; i++)
        CHECK_OK(audit_write(trail->audit, trail_record(i), &err), err);
}

struct trail_path trail_segment(const struct trail *trail, uint64_t first)
{
    struct trail_path made;

    (void)snprintf(made.text, sizeof(made.text), "%s/audit-%020" PRIu64 ".jsonl", trail->dir,
                   first);
    return made;
}

struct buf trail_read_file(const char *path)
{
    struct stat file;
    struct buf content = { 0 };
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0 && fstat(fd, &file) == 0);
    if (file.st_size > 0)
        CHECK(read(fd, buf_room(&content, (size_t)file.st_size), (size_t)file.st_size) ==
              file.st_size);
    (void)close(fd);
    return content;
}

void trail_write_file(const char *path, struct span bytes)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    CHECK(write(fd, bytes.ptr, bytes.len) == (ssize_t)bytes.len);
    (void)close(fd);
}

int trail_verify(const struct trail *trail, struct audit_tail *ret, struct kms_error *err)
{
    return audit_verify(trail->dir, NULL, NULL, ret, err);
}

void trail_pause_ms(long ms)
{
    (void)nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

struct audit_status trail_status(const struct trail *trail)
{
    struct audit_status status;

    audit_status(trail->audit, &status);
    return status;
}

bool trail_becomes_healthy(const struct trail *trail)
{
    for (int i = 0; i < 600 && !trail_status(trail).healthy; i++)
        trail_pause_ms(50);
    return trail_status(trail).healthy;
}

void trail_check(const struct trail *trail, uint64_t seq)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    CHECK_OK(trail_verify(trail, &tail, &err), err);
    assert_int_equal(tail.seq, seq);
}

void trail_count_durable(void *arg, bool durable)
{
    struct trail_counts *const counts = arg;

    if (durable)
        atomic_fetch_add(&counts->durable, 1);
    else
        atomic_fetch_add(&counts->lost, 1);
}
