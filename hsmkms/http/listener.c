#include "hsmkms/http/listener.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "hsmkms/http/client_gate.h"
#include "hsmkms/http/handshake_key.h"
#include "hsmkms/http/request.h"

/*
 * Memory of a connection. An idle one costs its pool (all of it: the library clears it after each
 * request), 1 KiB of structs here and in the library, and with TLS 11 KiB of GnuTLS session. With
 * the default header limit the pool is 32 KiB.
 *
 * The pool holds the header block, the library's row per header and the answer's header.
 */
#define POOL_BESIDE_HEADERS ((size_t)16384)
#define POOL_LEAST          ((size_t)32768)

#define BACKLOG 1024

struct listener {
    struct listener_config config;
    struct client_gate gate; /* of a TLS listener */
    struct request_handler handler;
    struct MHD_Daemon *daemon;
    int fd;
};

/* The library's own words: what clients did wrong. For debugging only, there is one per scan. */
static void log_library(void *arg, const char *format, va_list args)
{
    const struct listener *const listener = arg;
    const struct log *const log = listener->config.shared->log;
    char text[256];

    if (log->level < LOG_LEVEL_DEBUG)
        return;
    (void)vsnprintf(text, sizeof(text), format, args);
    log_event(log, LOG_LEVEL_DEBUG, "http", "listener=%s text=\"%.*s\"", listener->config.name,
              (int)strcspn(text, "\n"), text);
}

/* The identity that is present now serves this connection to its end. */
static void begin_tls(const struct listener *listener, struct MHD_Connection *mhd,
                      struct connection *connection)
{
    gnutls_session_t const session =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;

    connection->identity = tls_identity_take(listener->config.tls);
    tls_prepare(session);
    client_gate_begin(&listener->gate, connection, session);
}

/* Begins and ends struct connection; the library calls it in the epoll worker. */
static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct listener *const listener = arg;
    struct listener_shared *const shared = listener->config.shared;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *const fd =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        const int number = fd->connect_fd; /* one struct serves both answers */
        const union MHD_ConnectionInfo *const address =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        *context = connection_opened(shared->connections, number, address->client_addr);
        if (listener->config.tls && *context)
            begin_tls(listener, mhd, *context);
        return;
    }
    if (*context)
        connection_closed(shared->connections, *context);
    (void)atomic_fetch_sub(&shared->open, 1);
}

/* GnuTLS asks for the certificate. */
static int on_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                          gnutls_pcert_st **ret_chain, unsigned *ret_len,
                          gnutls_ocsp_data_st **ret_ocsp, unsigned *ret_ocsp_len,
                          gnutls_privkey_t *ret_key, unsigned *ret_flags)
{
    struct connection *const connection = client_gate_connection(session);

    (void)info;
    if (connection == NULL || connection->identity == NULL)
        return -1; /* out of memory when it began */
    const bool in_token = connection->identity->key_in_token;
    if (in_token && connection->handshake_key == NULL && handshake_key_make(connection, session) < 0)
        return -1;
    *ret_chain = (gnutls_pcert_st *)(uintptr_t)connection->identity->chain; /* read only */
    *ret_len = connection->identity->chain_len;
    *ret_ocsp = NULL;
    *ret_ocsp_len = 0;
    *ret_key = in_token ? handshake_key(connection) : connection->identity->key;
    *ret_flags = 0; /* ours to free: the connection holds a reference */
    return 0;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
               127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static int bind_socket(const struct listener_config *config, const struct addrinfo *at, int *ret,
                       struct kms_error *err)
{
    static const int on = 1;
    const int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "%s: cannot make a socket: %s", config->name,
                        strerrordesc_np(errno));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* else bind says so */
    if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        const char *const reason = strerrordesc_np(errno);
        (void)close(fd);
        return kms_fail(err, KMS_ERR_CONFIG, "%s: cannot listen on %s port %d: %s", config->name,
                        config->address, (int)config->port, reason);
    }
    *ret = fd;
    return 0;
}

static int open_socket(const struct listener_config *config, int *ret, struct kms_error *err)
{
    const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                                    .ai_socktype = SOCK_STREAM };
    struct addrinfo *at = NULL;
    char port[16];

    (void)snprintf(port, sizeof(port), "%d", (int)config->port);
    if (getaddrinfo(config->address, port, &hints, &at) != 0)
        return kms_fail(err, KMS_ERR_CONFIG, "%s.address '%.60s' is not a numeric address",
                        config->name, config->address);
    int result = 0;
    if (config->loopback_only && !is_loopback(at->ai_addr))
        result = kms_fail(err, KMS_ERR_CONFIG,
                          "%s.address %s is no loopback address; only https may leave the machine",
                          config->name, config->address);
    if (result == 0)
        result = bind_socket(config, at, ret, err);
    freeaddrinfo(at);
    return result;
}

static size_t pool_size(const struct settings *settings)
{
    const size_t size = (size_t)settings->limits_header + POOL_BESIDE_HEADERS;

    return size > POOL_LEAST ? size : POOL_LEAST;
}

/*
 * The library's own limit of connections is per worker, and reaching it through
 * MHD_add_connection() blocks that worker for good (0.9.75 leaves a mutex locked). The acceptor
 * keeps the real limit; this one is never reached.
 */
static unsigned library_limit(const struct listener_config *config)
{
    return (unsigned)(config->shared->settings->limits_connections * 2 + 64) *
           config->epoll_workers;
}

static struct MHD_Daemon *start_daemon(struct listener *listener)
{
    const struct listener_config *const config = &listener->config;
    const struct settings *const s = config->shared->settings;
    struct request_handler *const handler = &listener->handler;
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
                           MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    /* clang-format off */
    const struct MHD_OptionItem options[] = {
        { MHD_OPTION_EXTERNAL_LOGGER,         (intptr_t)log_library,   listener },
        { MHD_OPTION_URI_LOG_CALLBACK,        (intptr_t)request_line,  handler },
        { MHD_OPTION_NOTIFY_COMPLETED,        (intptr_t)request_done,  handler },
        { MHD_OPTION_NOTIFY_CONNECTION,       (intptr_t)on_connection, listener },
        { MHD_OPTION_THREAD_POOL_SIZE,        config->epoll_workers,   NULL },
        { MHD_OPTION_STRICT_FOR_CLIENT,       1,                       NULL },
        { MHD_OPTION_SIGPIPE_HANDLED_BY_APP,  1,                       NULL },
        { MHD_OPTION_CONNECTION_LIMIT,        library_limit(config),   NULL },
        { MHD_OPTION_PER_IP_CONNECTION_LIMIT, s->limits_connections_per_address, NULL },
        { MHD_OPTION_CONNECTION_TIMEOUT,      s->limits_idle_time,     NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)pool_size(s),  NULL },
        { MHD_OPTION_END,                     0,                       NULL },
    };
    const struct MHD_OptionItem tls_options[] = { /* const cast: the library only reads the text */
        { MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(uintptr_t)on_certificate },
        { MHD_OPTION_HTTPS_PRIORITIES,     0, config->tls ? (void *)(uintptr_t)tls_priority(config->tls) : NULL },
        { MHD_OPTION_END,                  0, NULL },
    };
    /* clang-format on */

    return MHD_start_daemon(flags | (config->tls ? MHD_USE_TLS : 0), 0, NULL, NULL, request_part,
                            handler, MHD_OPTION_ARRAY, options, MHD_OPTION_ARRAY,
                            config->tls ? tls_options : &tls_options[2], MHD_OPTION_END);
}

int listener_start(const struct listener_config *config, struct listener **ret,
                   struct kms_error *err)
{
    struct listener *const listener = calloc(1, sizeof(*listener));

    if (listener == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a listener");
    listener->config = *config;
    listener->handler =
        (struct request_handler){ config->name, config->doors, config->service, config->shared };
    listener->gate = (struct client_gate){ config->tls, config->shared->clock, config->shared->log,
                                           config->shared->settings->limits_handshake_time * 1000 };
    listener->fd = -1;
    if (open_socket(config, &listener->fd, err) < 0) {
        listener_stop(listener);
        return -1;
    }
    listener->daemon = start_daemon(listener);
    if (listener->daemon == NULL) {
        listener_stop(listener);
        return kms_fail(err, KMS_ERR_CONFIG, "%s: cannot start its HTTP daemon", config->name);
    }
    *ret = listener;
    return 0;
}

int listener_fd(const struct listener *listener)
{
    return listener->fd;
}

void listener_add(struct listener *listener, int fd, const struct sockaddr *address, socklen_t len)
{
    (void)atomic_fetch_add(&listener->config.shared->open, 1);
    /* the library owns fd now and has closed it when it says no (too many from this address) */
    if (MHD_add_connection(listener->daemon, fd, address, len) != MHD_YES)
        (void)atomic_fetch_sub(&listener->config.shared->open, 1);
}

void listener_deafen(struct listener *listener)
{
    if (listener->fd >= 0)
        (void)close(listener->fd); /* nothing was written to it */
    listener->fd = -1;
}

void listener_stop(struct listener *listener)
{
    if (listener == NULL)
        return;
    listener_deafen(listener);
    if (listener->daemon)
        MHD_stop_daemon(listener->daemon);
    free(listener);
}

/*
 * Stands before libc's for the whole program. The library takes 128 events at a time; after a full
 * batch it asks for more before it works on what it has, and 0.9.75 lets that second call wait as
 * long as the first: with 128 requests at once on one worker, they and everybody else there wait
 * for the next event, or for the idle time, which then closes them. So after a full batch nobody
 * waits. To any other caller that is a time-out that comes early, once.
 */
int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
    static _Thread_local bool full;
    const int count = epoll_pwait(fd, events, most, full ? 0 : timeout_ms, NULL);

    full = count == most;
    return count;
}
