#include "hsmkms/audit/segment.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsmkms/base/clock.h"

#define NAME_BEGIN  "audit-"
#define NAME_END    ".jsonl"
#define NAME_DIGITS 20

/* What segment_recover() writes to see whether the disk takes bytes again. */
#define PROBE_BYTES 16384

static int failed(struct kms_error *err, const char *what, uint64_t first)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "%s of %s: %s", what, segment_name(first).text,
                           strerrordesc_np(errno));
}

struct segment_name segment_name(uint64_t first)
{
    struct segment_name made;

    (void)snprintf(made.text, sizeof(made.text), NAME_BEGIN "%0*" PRIu64 NAME_END, NAME_DIGITS,
                   first);
    return made;
}

/* The number in a segment's name; false for any other spelling. */
static bool name_parse(const char *name, uint64_t *ret)
{
    char *end = NULL;

    errno = 0;
    const unsigned long long first = strtoull(name + sizeof(NAME_BEGIN) - 1, &end, 10);
    if (errno || first == 0 || strcmp(segment_name(first).text, name) != 0)
        return false;
    *ret = first;
    return true;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static int list_read(DIR *dir, struct buf *ret, struct kms_error *err)
{
    const struct dirent *entry;
    uint64_t first = 0;

    errno = 0;
    while ((entry = readdir(dir)) != NULL) { // NOLINT(concurrency-mt-unsafe): a stream of our own
        if (strncmp(entry->d_name, NAME_BEGIN, sizeof(NAME_BEGIN) - 1) != 0)
            continue;
        if (!name_parse(entry->d_name, &first))
            return kms_fail(err, KMS_ERR_INTEGRITY, "%.60s is no name of a segment", entry->d_name);
        buf_append(ret, span_of(&first, sizeof(first)));
    }
    if (errno)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "reading the audit directory: %s",
                               strerrordesc_np(errno));
    return buf_check(ret, err);
}

int segment_list_load(int dir_fd, struct segment_list *ret, struct kms_error *err)
{
    AUTO(buf) numbers = { 0 };
    const int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *const dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL) {
        const int number = errno;
        if (fd >= 0)
            (void)close(fd); /* read-only */
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "opening the audit directory: %s",
                               strerrordesc_np(number));
    }
    const int result = list_read(dir, &numbers, err);
    (void)closedir(dir); /* read-only */
    if (result < 0)
        return -1;

    ret->count = numbers.len / sizeof(*ret->first);
    ret->first = (uint64_t *)(void *)buf_take(&numbers).ptr; /* malloc aligns for any type */
    if (ret->count)
        qsort(ret->first, ret->count, sizeof(*ret->first), compare_numbers);
    return 0;
}

void segment_list_done(struct segment_list *list)
{
    free(list->first);
    *list = (struct segment_list){ 0 };
}

int segment_open_to_read(int dir_fd, uint64_t first, struct kms_error *err)
{
    const int fd =
        openat(dir_fd, segment_name(first).text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s cannot be opened: %s", segment_name(first).text,
                        strerrordesc_np(errno));
    return fd;
}

int segment_create(int dir_fd, uint64_t first, struct segment *ret, struct kms_error *err)
{
    const struct segment_name name = segment_name(first);
    const int fd = openat(dir_fd, name.text,
                          O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return failed(err, "creation", first);
    if (fsync(dir_fd) < 0) {
        (void)failed(err, "sync of the name", first);
        (void)close(fd);                      /* nothing was written */
        (void)unlinkat(dir_fd, name.text, 0); /* else the next creation says so */
        return -1;
    }
    *ret = (struct segment){ dir_fd, fd, first, 0, clock_mono_us() };
    return 0;
}

/* Opens the file of a segment and cuts it to its size; a file that is shorter is not ours. */
static int open_and_cut(struct segment *segment, struct kms_error *err)
{
    struct stat file;

    segment->fd = openat(segment->dir_fd, segment_name(segment->first).text,
                         O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (segment->fd < 0 || fstat(segment->fd, &file) < 0)
        return failed(err, "opening", segment->first);
    if (!S_ISREG(file.st_mode) || file.st_size < segment->size)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "%s has lost lines",
                               segment_name(segment->first).text);
    if (ftruncate(segment->fd, segment->size) < 0 || fdatasync(segment->fd) < 0)
        return failed(err, "cutting", segment->first);
    return 0;
}

int segment_open(int dir_fd, uint64_t first, int64_t size, struct segment *ret,
                 struct kms_error *err)
{
    struct segment opened = { dir_fd, -1, first, size, clock_mono_us() };

    if (open_and_cut(&opened, err) < 0) {
        segment_done(&opened);
        return -1;
    }
    *ret = opened;
    return 0;
}

static int write_and_sync(const struct segment *segment, struct span bytes, struct kms_error *err)
{
    while (bytes.len > 0) {
        const ssize_t written = write(segment->fd, bytes.ptr, bytes.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return failed(err, "writing", segment->first);
        bytes = span_of(bytes.ptr + written, bytes.len - (size_t)written);
    }
    if (fdatasync(segment->fd) < 0)
        return failed(err, "sync", segment->first);
    return 0;
}

/* The file still has its name and exactly the bytes that we wrote. */
static int check_ours(const struct segment *segment, int64_t size, struct kms_error *err)
{
    struct stat file;

    if (fstat(segment->fd, &file) < 0)
        return failed(err, "looking at the size", segment->first);
    if (file.st_size != size || file.st_nlink == 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "%s was changed by somebody else",
                               segment_name(segment->first).text);
    return 0;
}

int segment_append(struct segment *segment, struct span bytes, struct kms_error *err)
{
    const int64_t size = segment->size + (int64_t)bytes.len;

    if (write_and_sync(segment, bytes, err) < 0 || check_ours(segment, size, err) < 0)
        return -1;
    segment->size = size;
    return 0;
}

int segment_recover(struct segment *segment, struct kms_error *err)
{
    static const uint8_t zeros[PROBE_BYTES]; /* no newline: a torn line, should we die here */

    segment_done(segment);
    if (open_and_cut(segment, err) < 0 || write_and_sync(segment, SPAN_ARRAY(zeros), err) < 0)
        return -1;
    if (ftruncate(segment->fd, segment->size) < 0 || fdatasync(segment->fd) < 0)
        return failed(err, "cutting", segment->first);
    return 0;
}

void segment_discard(struct segment *segment)
{
    assert(segment->size == 0);
    if (unlinkat(segment->dir_fd, segment_name(segment->first).text, 0) < 0 && errno != ENOENT)
        return;
    segment_done(segment);
    segment->first = 0;
}

void segment_done(struct segment *segment)
{
    if (segment->fd >= 0)
        (void)close(segment->fd); /* what counts was synced */
    segment->fd = -1;
}
