#include "hsmkms/http/acceptor.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long to leave clients in the backlog when there is no room or no descriptor. */
#define PAUSE_MS 20

struct acceptor {
    struct listener *listeners[ACCEPTOR_LISTENERS];
    size_t count;
    struct listener_shared *shared;
    int stop_fd; /* readable: stop */
    pthread_t thread;
};

static bool is_full(const struct acceptor *acceptor)
{
    return atomic_load(&acceptor->shared->open) >=
           (size_t)acceptor->shared->settings->limits_connections;
}

/* Takes what waits on one listener. False: there is no room for more. */
static bool accept_waiting(struct acceptor *acceptor, struct listener *listener)
{
    while (!is_full(acceptor)) {
        struct sockaddr_storage address = { 0 };
        socklen_t len = sizeof(address);
        const int fd = accept4(listener_fd(listener), (struct sockaddr *)&address, &len,
                               SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            listener_add(listener, fd, (struct sockaddr *)&address, len);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            return false;
        else if (errno == EAGAIN)
            return true;
        /* else the client went away in the backlog */
    }
    return false;
}

static void *accept_all(void *arg)
{
    struct acceptor *const acceptor = arg;
    struct pollfd fds[1 + ACCEPTOR_LISTENERS] = { { .fd = acceptor->stop_fd, .events = POLLIN } };
    bool room = true;

    for (size_t i = 0; i < acceptor->count; i++)
        fds[1 + i] = (struct pollfd){ .fd = listener_fd(acceptor->listeners[i]), .events = POLLIN };
    for (;;) {
        /* without room only the stop is listened to, for a moment */
        const int ready = poll(fds, room ? 1 + acceptor->count : 1, room ? -1 : PAUSE_MS);
        if (fds[0].revents)
            return NULL;
        room = true;
        for (size_t i = 0; ready >= 0 && i < acceptor->count; i++)
            room = accept_waiting(acceptor, acceptor->listeners[i]) && room;
    }
}

int acceptor_start(struct listener *const *listeners, size_t count, struct listener_shared *shared,
                   struct acceptor **ret, struct kms_error *err)
{
    struct acceptor *const acceptor = calloc(1, sizeof(*acceptor));

    assert(count <= ACCEPTOR_LISTENERS);
    if (acceptor == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the acceptor");
    for (size_t i = 0; i < count; i++)
        acceptor->listeners[i] = listeners[i];
    acceptor->count = count;
    acceptor->shared = shared;
    acceptor->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (acceptor->stop_fd < 0 ||
        pthread_create(&acceptor->thread, NULL, accept_all, acceptor) != 0) {
        if (acceptor->stop_fd >= 0)
            (void)close(acceptor->stop_fd); /* nothing in it */
        free(acceptor);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "cannot start the acceptor");
    }
    *ret = acceptor;
    return 0;
}

void acceptor_stop(struct acceptor *acceptor)
{
    if (acceptor == NULL)
        return;
    (void)eventfd_write(acceptor->stop_fd, 1); /* cannot fail from 0 */
    (void)pthread_join(acceptor->thread, NULL);
    (void)close(acceptor->stop_fd); /* nothing is lost with it */
    free(acceptor);
}
