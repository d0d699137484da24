#include "hsmkms/http/connection.h"

#include <arpa/inet.h>
#include <assert.h>
#include <linux/tcp.h> /* struct tcp_info with tcpi_bytes_received */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include <utlist.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/http/client_cert.h"
#include "hsmkms/http/handshake_key.h"

#define TICKS_PER_REQUEST_TIME 8
#define TICK_LONGEST_US        INT64_C(500000)

struct connections {
    int64_t request_time_us;
    void (*tick)(void *arg);
    void *tick_arg;
    pthread_t thread;

    pthread_mutex_t lock; /* everything below, and the links of connections */
    pthread_cond_t stopped;
    bool stopping;
    struct connection *open;
    size_t count;
};

/* Bytes that ever arrived on a socket; 0 when the kernel does not say. */
static uint64_t bytes_received(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_received;
}

/*
 * The library does not tell when the first byte of a request line arrives, so the socket is
 * asked. What has arrived at the first look of a period counts as the previous request: a client
 * that stops within that moment is idle to us, one that goes on is seen at its next byte.
 */
static void look_for_first_byte(struct connection *c, int64_t now_us, int64_t request_time_us)
{
    const uint64_t period = atomic_load(&c->periods); /* first: bytes of a later one do no harm */
    const uint64_t bytes = bytes_received(c->fd);

    if (period != c->period) {
        c->period = period;
        c->bytes = bytes;
        c->begun_due_us = 0;
    } else if (bytes != c->bytes && c->begun_due_us == 0) {
        c->begun_due_us = now_us + request_time_us;
    }
}

static bool is_overdue(struct connection *c, int64_t now_us, int64_t request_time_us)
{
    const int phase = atomic_load(&c->phase);
    const int64_t handshake_due_us = atomic_load(&c->handshake_due_us);

    if (handshake_due_us && now_us > handshake_due_us)
        return true;
    if (phase == CONNECTION_WAITS)
        look_for_first_byte(c, now_us, request_time_us);
    if (phase == CONNECTION_SERVES)
        return false;
    if (phase == CONNECTION_SENDS)
        return now_us > atomic_load(&c->due_us);
    if (c->period == atomic_load(&c->periods) && c->begun_due_us && now_us > c->begun_due_us)
        return true;
    return phase == CONNECTION_RECEIVES && now_us > atomic_load(&c->due_us);
}

/* Under the lock, so that no fd is closed and reused meanwhile. */
static void cut_overdue(struct connections *connections)
{
    const int64_t now_us = clock_mono_us();
    struct connection *c = NULL;

    DL_FOREACH(connections->open, c)
    {
        if (c->cut || !is_overdue(c, now_us, connections->request_time_us))
            continue;
        c->cut = true;
        (void)shutdown(c->fd, SHUT_RDWR); /* fails when the peer was faster */
    }
}

static void *watch(void *arg)
{
    struct connections *const connections = arg;
    int64_t tick_us = connections->request_time_us / TICKS_PER_REQUEST_TIME;

    if (tick_us > TICK_LONGEST_US)
        tick_us = TICK_LONGEST_US;
    (void)pthread_mutex_lock(&connections->lock);
    while (!connections->stopping) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until); /* what a default condition waits on */
        const int64_t ns = until.tv_nsec + tick_us * 1000;
        until.tv_sec += ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        (void)pthread_cond_timedwait(&connections->stopped, &connections->lock, &until);
        cut_overdue(connections);
        (void)pthread_mutex_unlock(&connections->lock);
        connections->tick(connections->tick_arg);
        (void)pthread_mutex_lock(&connections->lock);
    }
    (void)pthread_mutex_unlock(&connections->lock);
    return NULL;
}

int connections_start(int64_t request_time_us, void (*tick)(void *arg), void *arg,
                      struct connections **ret, struct kms_error *err)
{
    struct connections *const connections = calloc(1, sizeof(*connections));

    if (connections == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for connections");
    connections->request_time_us = request_time_us;
    connections->tick = tick;
    connections->tick_arg = arg;
    (void)pthread_mutex_init(&connections->lock, NULL); /* cannot fail with default attributes */
    (void)pthread_cond_init(&connections->stopped, NULL);
    if (pthread_create(&connections->thread, NULL, watch, connections) != 0) {
        free(connections);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "cannot start the watching thread");
    }
    *ret = connections;
    return 0;
}

static void format_peer(const struct sockaddr *address, char ret[INET6_ADDRSTRLEN])
{
    const void *bytes = NULL;

    if (address->sa_family == AF_INET)
        bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    else if (address->sa_family == AF_INET6)
        bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (bytes)
        (void)inet_ntop(address->sa_family, bytes, ret, INET6_ADDRSTRLEN); /* room is enough */
}

struct connection *connection_opened(struct connections *connections, int fd,
                                     const struct sockaddr *address)
{
    struct connection *const connection = calloc(1, sizeof(*connection));

    if (connection == NULL)
        return NULL;
    connection->fd = fd;
    if (address)
        format_peer(address, connection->peer);
    (void)pthread_mutex_lock(&connections->lock);
    DL_APPEND(connections->open, connection);
    connections->count++;
    (void)pthread_mutex_unlock(&connections->lock);
    return connection;
}

void connection_closed(struct connections *connections, struct connection *connection)
{
    (void)pthread_mutex_lock(&connections->lock);
    DL_DELETE(connections->open, connection);
    connections->count--;
    (void)pthread_mutex_unlock(&connections->lock);
    handshake_key_free(connection);
    tls_identity_release(connection->identity);
    client_cert_unref(connection->client);
    free(connection);
}

void connection_enter(struct connections *connections, struct connection *connection,
                      enum connection_phase phase)
{
    if (phase == CONNECTION_RECEIVES || phase == CONNECTION_SENDS)
        atomic_store(&connection->due_us, clock_mono_us() + connections->request_time_us);
    if (phase == CONNECTION_WAITS)
        (void)atomic_fetch_add(&connection->periods, 1);
    atomic_store(&connection->phase, phase);
}

size_t connections_count(struct connections *connections)
{
    (void)pthread_mutex_lock(&connections->lock);
    const size_t count = connections->count;
    (void)pthread_mutex_unlock(&connections->lock);
    return count;
}

void connections_stop(struct connections *connections)
{
    if (connections == NULL)
        return;
    (void)pthread_mutex_lock(&connections->lock);
    connections->stopping = true;
    (void)pthread_cond_signal(&connections->stopped);
    (void)pthread_mutex_unlock(&connections->lock);
    (void)pthread_join(connections->thread, NULL);
    assert(connections->open == NULL);
    (void)pthread_cond_destroy(&connections->stopped);
    (void)pthread_mutex_destroy(&connections->lock);
    free(connections);
}
