#include "pkcs11/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "pkcs11/files.h"

#define RECORD        "token.object"
#define COPY_PREFIX   "softhsm-"
#define RECORD_MAX    65536
#define SPACE_MIN     (1024 * 1024) /* bytes free, or the login is not tried */
#define LOCK_TRIES    600
#define LOCK_WAIT_MS  50
#define SYSTEM_CONFIG "/etc/softhsm/softhsm2.conf"
#define USER_CONFIG   "/.config/softhsm2/softhsm2.conf"
#define SERIAL_LEN    16

static int fail(struct kms_error *err, const char *what, const char *path)
{
    return kms_fail_detail(err, KMS_ERR_CONFIG, "SoftHSM guard: %s %s: %s", what, path,
                           strerror(errno));
}

/* Where the tokens are: SoftHSM's own order of configuration files. */

static FILE *open_config(void)
{
    const char *const named = getenv("SOFTHSM2_CONF"); /* before threads, and never set by us */
    const char *const home = getenv("HOME");
    char path[PATH_MAX];

    if (named)
        return fopen(named, "re");
    if (home) {
        (void)snprintf(path, sizeof(path), "%s" USER_CONFIG, home);
        FILE *const file = fopen(path, "re");
        if (file)
            return file;
    }
    return fopen(SYSTEM_CONFIG, "re");
}

static char *tokens_dir(FILE *config)
{
    char line[PATH_MAX + 64], path[PATH_MAX];
    char *found = NULL;

    while (found == NULL && fgets(line, sizeof(line), config))
        if (sscanf(line, " directories.tokendir = %4095[^\n]", path) == 1) {
            size_t len = strlen(path);
            while (len && (path[len - 1] == ' ' || path[len - 1] == '\t' || path[len - 1] == '\r'))
                path[--len] = '\0';
            found = strdup(path);
        }
    return found;
}

static int find_tokens(struct guard *guard, struct kms_error *err)
{
    FILE *const config = open_config();

    if (config == NULL)
        return fail(err, "no configuration", "(SOFTHSM2_CONF)");
    guard->tokens = tokens_dir(config);
    (void)fclose(config); /* read-only */
    if (guard->tokens == NULL)
        return kms_fail_detail(err, KMS_ERR_CONFIG,
                               "SoftHSM guard: configuration without directories.tokendir");
    return 0;
}

static int lock_tokens(struct guard *guard, struct kms_error *err)
{
    guard->lock = open(guard->tokens, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (guard->lock < 0)
        return fail(err, "cannot open", guard->tokens);
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(guard->lock, LOCK_EX | LOCK_NB) == 0)
            return 0;
        (void)nanosleep(&(struct timespec){ .tv_nsec = LOCK_WAIT_MS * 1000000L }, NULL);
    }
    return fail(err, "another start holds", guard->tokens);
}

void guard_leave(struct guard *guard)
{
    if (guard->on && guard->lock >= 0) {
        (void)close(guard->lock); /* which unlocks */
        guard->lock = -1;
    }
}

/* The record and its copy */

static void record_path(const struct guard *guard, const char *token, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s/" RECORD, guard->tokens, token);
}

static void copy_name(const char *token, char name[NAME_MAX])
{
    (void)snprintf(name, NAME_MAX, COPY_PREFIX "%.200s", token);
}

static void copy_path(const struct guard *guard, const char *token, char path[PATH_MAX])
{
    char name[NAME_MAX];

    copy_name(token, name);
    (void)snprintf(path, PATH_MAX, "%s/%s", guard->state_dir, name);
}

/* Puts the record of one token back when it is shorter than our copy of it. */
static int restore(const struct guard *guard, const char *token, struct kms_error *err)
{
    static const size_t max = RECORD_MAX;
    char path[PATH_MAX], dir[PATH_MAX];
    AUTO(secret) live = { 0 }, copy = { 0 };

    if (secret_new(&live, max, err) < 0 || secret_new(&copy, max, err) < 0)
        return -1;
    copy_path(guard, token, path);
    const ssize_t copy_len = file_read(path, copy.ptr, max);
    if (copy_len <= 0)
        return 0; /* nothing to put back */
    record_path(guard, token, path);
    const ssize_t live_len = file_read(path, live.ptr, max);
    if (live_len >= copy_len || (live_len < 0 && errno != ENOENT))
        return 0;
    (void)snprintf(dir, sizeof(dir), "%s/%s", guard->tokens, token);
    if (access(dir, F_OK) != 0)
        return 0; /* the token itself was removed, which is somebody's decision */
    return file_replace(dir, RECORD, span_of(copy.ptr, (size_t)copy_len), err);
}

static int restore_all(const struct guard *guard, struct kms_error *err)
{
    DIR *const dir = opendir(guard->tokens);
    const struct dirent *entry;
    int done = 0;

    if (dir == NULL)
        return fail(err, "cannot open", guard->tokens);
    while (done == 0 && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            done = restore(guard, entry->d_name, err);
    (void)closedir(dir); /* read-only */
    return done;
}

int guard_enter(struct guard *guard, const char *state_dir, struct kms_error *err)
{
    *guard = (struct guard){ .on = true, .state_dir = state_dir, .lock = -1, .watch = -1 };
    (void)pthread_mutex_init(&guard->mutex, NULL);
    if (find_tokens(guard, err) < 0 || lock_tokens(guard, err) < 0)
        return -1;
    return restore_all(guard, err);
}

/* A serial number is the last 16 digits of the directory's name, which is a UUID. */
static bool has_serial(const char *name, const CK_TOKEN_INFO *token)
{
    char digits[64];
    size_t len = 0;

    for (; *name && len < sizeof(digits); name++)
        if (*name != '-')
            digits[len++] = *name;
    return len >= SERIAL_LEN &&
           memcmp(digits + len - SERIAL_LEN, token->serialNumber, SERIAL_LEN) == 0;
}

static int find_token(struct guard *guard, const struct module *module, struct kms_error *err)
{
    DIR *const dir = opendir(guard->tokens);
    const struct dirent *entry;

    if (dir == NULL)
        return fail(err, "cannot open", guard->tokens);
    while (guard->token == NULL && (entry = readdir(dir)))
        if (has_serial(entry->d_name, &module->token))
            guard->token = strdup(entry->d_name);
    (void)closedir(dir); /* read-only */
    if (guard->token == NULL)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "SoftHSM guard: no token %.16s in %s",
                               (const char *)module->token.serialNumber, guard->tokens);
    return 0;
}

static int watch_token(struct guard *guard, struct kms_error *err)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", guard->tokens, guard->token);
    guard->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (guard->watch < 0 || inotify_add_watch(guard->watch, path, IN_CREATE | IN_DELETE) < 0)
        return fail(err, "cannot watch", path);
    return 0;
}

/* The token was found, so its record can be read by SoftHSM: worth keeping. */
static int copy_record(const struct guard *guard, struct kms_error *err)
{
    AUTO(secret) live = { 0 }, copy = { 0 };
    char path[PATH_MAX], name[NAME_MAX];

    if (secret_new(&live, RECORD_MAX, err) < 0 || secret_new(&copy, RECORD_MAX, err) < 0)
        return -1;
    record_path(guard, guard->token, path);
    const ssize_t len = file_read(path, live.ptr, live.len);
    if (len <= 0)
        return fail(err, "cannot read", path);
    copy_name(guard->token, name);
    if (file_replace(guard->state_dir, name, span_of(live.ptr, (size_t)len), err) < 0)
        return -1;
    copy_path(guard, guard->token, path);
    if (file_read(path, copy.ptr, copy.len) != len || memcmp(copy.ptr, live.ptr, (size_t)len) != 0)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "SoftHSM guard: the copy %s is not the same",
                               path);
    return 0;
}

int guard_before_login(struct guard *guard, const struct module *module, struct kms_error *err)
{
    struct statvfs disk;

    if (!guard->on)
        return 0;
    if (guard->lock < 0 && lock_tokens(guard, err) < 0)
        return -1;
    if (guard->token == NULL && (find_token(guard, module, err) < 0 || watch_token(guard, err) < 0))
        return -1;
    if (statvfs(guard->tokens, &disk) != 0)
        return fail(err, "cannot ask the disk of", guard->tokens);
    if (disk.f_bavail * disk.f_frsize < SPACE_MIN)
        return kms_fail_detail(err, KMS_ERR_CONFIG,
                               "SoftHSM guard: disk of %s is full; a login could lose the token",
                               guard->tokens);
    return copy_record(guard, err);
}

int guard_after_login(struct guard *guard, struct kms_error *err)
{
    char path[PATH_MAX];

    if (!guard->on)
        return 0;
    if (restore(guard, guard->token, err) < 0)
        return -1;
    record_path(guard, guard->token, path);
    if (file_sync(AT_FDCWD, path) < 0)
        return fail(err, "cannot sync", path);
    return 0;
}

/* Durability */

static int sync_events(int dir, const char *events, size_t len)
{
    size_t at = 0;

    while (at < len) {
        struct inotify_event event;

        memcpy(&event, events + at, sizeof(event)); /* the buffer is not aligned for it */
        const char *const name = events + at + sizeof(event);
        at += sizeof(event) + event.len;
        if (event.mask & IN_Q_OVERFLOW) {
            if (syncfs(dir) < 0)
                return -1;
        } else if ((event.mask & IN_CREATE) && event.len && file_sync(dir, name) < 0 &&
                   errno != ENOENT) {
            return -1;
        }
    }
    return 0;
}

static int sync_new(const struct guard *guard, int dir)
{
    char events[4096];
    ssize_t len;

    while ((len = read(guard->watch, events, sizeof(events))) > 0)
        if (sync_events(dir, events, (size_t)len) < 0)
            return -1;
    return len < 0 && errno != EAGAIN ? -1 : fsync(dir);
}

int guard_sync(struct guard *guard, struct kms_error *err)
{
    char path[PATH_MAX];

    if (!guard->on)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/%s", guard->tokens, guard->token);
    /* whoever comes second waits until the files it may have made are synced by the first */
    (void)pthread_mutex_lock(&guard->mutex);
    const int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int synced = dir < 0 ? -1 : sync_new(guard, dir);
    const int saved = errno;
    if (dir >= 0)
        (void)close(dir); /* a directory */
    (void)pthread_mutex_unlock(&guard->mutex);
    if (synced < 0)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "cannot sync %s: %s", path,
                               strerror(saved));
    return 0;
}

void guard_close(struct guard *guard)
{
    if (!guard->on)
        return;
    guard_leave(guard);
    if (guard->watch >= 0)
        (void)close(guard->watch); /* nothing to lose */
    (void)pthread_mutex_destroy(&guard->mutex);
    free(guard->tokens);
    free(guard->token);
    *guard = (struct guard){ 0 };
}
