#include "hsmkms/admin/socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_CHUNK          4096
#define BACKLOG             16
#define ACCEPT_PAUSE_NS     50000000L /* 50 ms */
#define POLL_CONNECTIONS    2         /* descriptors before those of the connections */
#define MICROSECONDS_IN_1MS INT64_C(1000)

/* Bytes on their way out; they may carry a secret. */
struct answer {
    uint8_t *ptr; /* NULL: there is none yet */
    size_t len, sent;
};

struct connection {
    bool open;
    int fd;
    uid_t uid;
    int64_t deadline_us;
    struct buf line; /* what has arrived */
    struct answer answer;
};

struct admin {
    struct admin_config config;
    struct sockaddr_un address;
    int listener, stop; /* stop: an eventfd; readable when the thread must end */
    pthread_t thread;
    struct connection connections[ADMIN_CONNECTIONS]; /* the thread's own */
};

/* --- answers ---------------------------------------------------------------------------------- */

static void answer_done(struct answer *answer)
{
    if (answer->ptr)
        secret_wipe(answer->ptr, answer->len);
    free(answer->ptr);
    *answer = (struct answer){ 0 };
}

/* At final size from the start: a buffer that grows leaves copies behind. */
static bool answer_encode(struct answer *ret, const json_t *json)
{
    const size_t len = json ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;

    if (len == 0 || (ret->ptr = malloc(len + 1)) == NULL)
        return false;
    (void)json_dumpb(json, (char *)ret->ptr, len, JSON_COMPACT); /* the same length again */
    ret->ptr[len] = '\n';
    ret->len = len + 1;
    return true;
}

static void connection_close(struct connection *connection)
{
    (void)close(connection->fd);
    buf_done(&connection->line);
    answer_done(&connection->answer);
    *connection = (struct connection){ 0 };
}

static void renew_deadline(struct connection *connection)
{
    connection->deadline_us = clock_mono_us() + ADMIN_DEADLINE_MS * MICROSECONDS_IN_1MS;
}

static void send_answer(struct connection *connection)
{
    struct answer *const answer = &connection->answer;

    while (answer->sent < answer->len) {
        const ssize_t sent = send(connection->fd, answer->ptr + answer->sent,
                                  answer->len - answer->sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return; /* goes on when the client has read */
        if (sent < 0)
            break;
        answer->sent += (size_t)sent;
    }
    connection_close(connection);
}

/* Takes json over; NULL closes the connection without a word. */
static void answer_with(struct connection *connection, json_t *json)
{
    const bool good = answer_encode(&connection->answer, json);

    json_decref(json);
    if (!good) {
        connection_close(connection);
        return;
    }
    renew_deadline(connection);
    send_answer(connection);
}

static void refuse(const struct admin *admin, struct connection *connection, enum kms_err code,
                   const char *why)
{
    struct kms_error err = { 0 };

    (void)kms_fail(&err, code, "%s", why);
    log_event(admin->config.log, LOG_LEVEL_WARN, "admin_refused", "uid=%u reason=\"%s\"",
              (unsigned)connection->uid, why);
    answer_with(connection, admin_error_answer(&err));
}

/* --- requests --------------------------------------------------------------------------------- */

static void run(const struct admin *admin, struct connection *connection, size_t line_len)
{
    const struct admin_outcome outcome = admin_run(&admin->config.services, connection->uid,
                                                   span_of(connection->line.ptr, line_len));

    log_event(admin->config.log, LOG_LEVEL_INFO, "admin", "command=\"%s\" uid=%u result=%s",
              outcome.command, (unsigned)connection->uid,
              outcome.code == KMS_ERR_NONE ? "ok" : kms_err_name(outcome.code));
    answer_with(connection, outcome.answer);
}

/* Looks at what has arrived: runs a whole line, refuses what cannot become one. */
static void look_for_line(const struct admin *admin, struct connection *connection)
{
    const struct buf *const line = &connection->line;
    const uint8_t *const end = memchr(line->ptr, '\n', line->len);
    const size_t len = end ? (size_t)(end - line->ptr) : line->len;

    if (len > ADMIN_LINE_MAX)
        refuse(admin, connection, KMS_ERR_BODY_TOO_LARGE, "the line is too long");
    else if (end && len + 1 != line->len)
        refuse(admin, connection, KMS_ERR_SERIALIZATION, "there is more than one line");
    else if (end)
        run(admin, connection, len);
}

static void receive(const struct admin *admin, struct connection *connection)
{
    uint8_t chunk[READ_CHUNK];
    const ssize_t len = recv(connection->fd, chunk, sizeof(chunk), 0);

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len > 0)
        buf_append(&connection->line, span_of(chunk, (size_t)len));
    if (len <= 0 || connection->line.failed)
        connection_close(connection); /* gone before the end of its line, or no memory for it */
    else
        look_for_line(admin, connection);
}

/* --- connections ------------------------------------------------------------------------------ */

static struct connection *free_place(struct admin *admin)
{
    for (size_t i = 0; i < ADMIN_CONNECTIONS; i++)
        if (!admin->connections[i].open)
            return &admin->connections[i];
    return NULL;
}

/* The kernel tells who connected; the file mode says the same to everybody else beforehand. */
static bool may_connect(int fd, uid_t *ret_uid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    *ret_uid = peer.uid;
    return peer.uid == 0 || peer.uid == geteuid();
}

static void accept_one(struct admin *admin, struct connection *place)
{
    uid_t uid = (uid_t)-1;
    const int fd = accept4(admin->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) /* no descriptor free */
            (void)nanosleep(&(struct timespec){ .tv_nsec = ACCEPT_PAUSE_NS }, NULL);
        return;
    }
    const bool welcome = may_connect(fd, &uid);
    *place = (struct connection){ .open = true, .fd = fd, .uid = uid };
    renew_deadline(place);
    if (!welcome)
        refuse(admin, place, KMS_ERR_ACCESS_DENIED, "only root and the daemon's user may ask");
}

static void serve_connection(struct admin *admin, struct connection *connection, short events)
{
    if (events && connection->answer.ptr)
        send_answer(connection);
    else if (events)
        receive(admin, connection);
    else if (clock_mono_us() >= connection->deadline_us)
        connection_close(connection);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* What to wait for; a place that is free has fd -1, which poll(2) passes over. */
static void list_events(struct admin *admin,
                        struct pollfd fds[POLL_CONNECTIONS + ADMIN_CONNECTIONS])
{
    fds[0] = (struct pollfd){ .fd = admin->stop, .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = free_place(admin) ? admin->listener : -1, .events = POLLIN };
    for (size_t i = 0; i < ADMIN_CONNECTIONS; i++) {
        const struct connection *const connection = &admin->connections[i];
        fds[POLL_CONNECTIONS + i] =
            (struct pollfd){ .fd = connection->open ? connection->fd : -1,
                             .events = connection->answer.ptr ? POLLOUT : POLLIN };
    }
}

/* Milliseconds to the next deadline; -1: none. */
static int next_deadline(const struct admin *admin)
{
    int64_t next_us = INT64_MAX;

    for (size_t i = 0; i < ADMIN_CONNECTIONS; i++)
        if (admin->connections[i].open && admin->connections[i].deadline_us < next_us)
            next_us = admin->connections[i].deadline_us;
    if (next_us == INT64_MAX)
        return -1;
    const int64_t left_us = next_us - clock_mono_us();
    return left_us > 0 ? (int)(left_us / MICROSECONDS_IN_1MS) + 1 : 0;
}

static void *serve(void *arg)
{
    struct admin *const admin = arg;
    struct pollfd fds[POLL_CONNECTIONS + ADMIN_CONNECTIONS];

    for (;;) {
        list_events(admin, fds);
        if (poll(fds, ARRAY_LEN(fds), next_deadline(admin)) < 0)
            continue; /* EINTR; memory that comes back */
        if (fds[0].revents)
            break;
        for (size_t i = 0; i < ADMIN_CONNECTIONS; i++)
            if (admin->connections[i].open)
                serve_connection(admin, &admin->connections[i], fds[POLL_CONNECTIONS + i].revents);
        if (fds[1].revents)
            accept_one(admin, free_place(admin)); /* there was a place, and none was taken since */
    }
    for (size_t i = 0; i < ADMIN_CONNECTIONS; i++)
        if (admin->connections[i].open)
            connection_close(&admin->connections[i]);
    return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static int fail_errno(struct kms_error *err, const char *what, const char *path)
{
    return kms_fail(err, KMS_ERR_CONFIG, "%s %s: %s", what, path, strerrordesc_np(errno));
}

/* Removes what a daemon left that did not end in order; anything else at this path stays. */
static int remove_leftover(const struct sockaddr_un *address, struct kms_error *err)
{
    struct stat there;

    if (lstat(address->sun_path, &there) != 0)
        return errno == ENOENT ? 0 : fail_errno(err, "cannot look at", address->sun_path);
    if (!S_ISSOCK(there.st_mode))
        return kms_fail(err, KMS_ERR_CONFIG, "%s exists and is no socket", address->sun_path);

    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool alive =
        fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
                    errno != ECONNREFUSED);
    if (fd >= 0)
        (void)close(fd);
    if (alive)
        return kms_fail(err, KMS_ERR_CONFIG, "%s is in use by another process", address->sun_path);
    return unlink(address->sun_path) == 0 ? 0 : fail_errno(err, "cannot remove", address->sun_path);
}

/* The mode is set before the name exists, so there is no moment in which others could connect. */
static int listen_at(struct admin *admin, struct kms_error *err)
{
    const struct sockaddr *const address = (const struct sockaddr *)&admin->address;
    const char *const path = admin->config.path;

    admin->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (admin->listener < 0 || fchmod(admin->listener, S_IRUSR | S_IWUSR) != 0)
        return fail_errno(err, "cannot make a socket for", path);
    if (bind(admin->listener, address, sizeof(admin->address)) != 0)
        return fail_errno(err, "cannot bind", path);
    if (listen(admin->listener, BACKLOG) != 0)
        return fail_errno(err, "cannot listen on", path);
    return 0;
}

/* Signals are for the main thread. */
static int start_thread(struct admin *admin, struct kms_error *err)
{
    sigset_t all, before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&admin->thread, NULL, serve, admin);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no thread for the administration socket");
    return 0;
}

static void admin_free(struct admin *admin)
{
    if (admin->listener >= 0)
        (void)close(admin->listener);
    if (admin->stop >= 0)
        (void)close(admin->stop);
    free(admin);
}

static int begin(struct admin *admin, struct kms_error *err)
{
    const size_t len = strlen(admin->config.path);

    if (len == 0 || len >= sizeof(admin->address.sun_path))
        return kms_fail(err, KMS_ERR_CONFIG, "the path of a socket has 1 to %zu characters",
                        sizeof(admin->address.sun_path) - 1);
    memcpy(admin->address.sun_path, admin->config.path, len);
    admin->config.path = admin->address.sun_path; /* the caller's may go */
    admin->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (admin->stop < 0)
        return fail_errno(err, "no eventfd for", admin->config.path);
    if (remove_leftover(&admin->address, err) < 0 || listen_at(admin, err) < 0)
        return -1;
    return start_thread(admin, err);
}

int admin_start(const struct admin_config *config, struct admin **ret, struct kms_error *err)
{
    struct admin *const admin = calloc(1, sizeof(*admin));

    if (admin == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the admin socket");
    admin->config = *config;
    admin->address.sun_family = AF_UNIX;
    admin->listener = admin->stop = -1;
    if (begin(admin, err) < 0) {
        admin_free(admin);
        return -1;
    }
    *ret = admin;
    return 0;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL)
        return;
    (void)eventfd_write(admin->stop, 1);
    (void)pthread_join(admin->thread, NULL);
    (void)unlink(admin->address.sun_path);
    admin_free(admin);
}
