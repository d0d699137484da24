#include "pkcs11/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NAME_ROOM 300

ssize_t file_read_open(int fd, uint8_t *room, size_t size)
{
    size_t len = 0;
    uint8_t beyond;
    ssize_t got = 0;

    while (len < size && (got = read(fd, room + len, size - len)) > 0)
        len += (size_t)got;
    if (got >= 0 && len == size && read(fd, &beyond, 1) != 0) {
        errno = EFBIG;
        got = -1;
    }
    return got < 0 ? -1 : (ssize_t)len;
}

ssize_t file_read(const char *path, uint8_t *room, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -1;
    const ssize_t len = file_read_open(fd, room, size);
    const int saved = errno;
    (void)close(fd); /* read-only */
    errno = saved;
    return len;
}

int file_sync(int dir, const char *name)
{
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -1;
    const int synced = fsync(fd);
    const int saved = errno;
    (void)close(fd); /* what counts is the sync */
    errno = saved;
    return synced;
}

static int write_new(int dir, const char *name, struct span bytes)
{
    const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t done = 0;

    if (fd < 0)
        return -1;
    while (done < bytes.len) {
        const ssize_t put = write(fd, bytes.ptr + done, bytes.len - done);
        if (put < 0)
            break;
        done += (size_t)put;
    }
    const bool good = done == bytes.len && fsync(fd) == 0;
    const int saved = errno;
    (void)close(fd); /* synced already, or given up */
    errno = saved;
    return good ? 0 : -1;
}

static int replace_in(int dir, const char *name, struct span bytes)
{
    char temporary[NAME_ROOM];

    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", name) >= sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (write_new(dir, temporary, bytes) < 0 || renameat(dir, temporary, dir, name) < 0)
        return -1;
    return fsync(dir);
}

static int open_dir(const char *dir)
{
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int file_replace(const char *dir, const char *name, struct span bytes, struct kms_error *err)
{
    const int fd = open_dir(dir);
    const int done = fd < 0 ? -1 : replace_in(fd, name, bytes);
    const int saved = errno;

    if (fd >= 0)
        (void)close(fd); /* a directory */
    if (done < 0)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "cannot write %s/%s: %s", dir, name,
                               strerror(saved));
    return 0;
}

int file_remove(const char *dir, const char *name, struct kms_error *err)
{
    const int fd = open_dir(dir);
    const bool gone = fd >= 0 && (unlinkat(fd, name, 0) == 0 || errno == ENOENT) && fsync(fd) == 0;
    const int saved = errno;

    if (fd >= 0)
        (void)close(fd); /* a directory */
    if (!gone)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "cannot remove %s/%s: %s", dir, name,
                               strerror(saved));
    return 0;
}
