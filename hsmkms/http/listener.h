#pragma once

/*
 * One address that is listened on: its socket, its HTTP daemon (epoll workers), its doors. Turns
 * what the daemon calls back with into exchanges, and exchanges' answers into responses.
 *
 * Connections are accepted by our own thread (acceptor.h) and handed to the daemon.
 */

#include "hsmkms/http/connection.h"

/* What the listeners of one server share. */
struct listener_shared {
    const struct settings *settings;
    const struct clock *clock;
    const struct log *log;
    struct connections *connections;
    atomic_size_t open;   /* accepted and not closed */
    atomic_bool stopping; /* every answer closes its connection */
    atomic_bool stopped;  /* no request is submitted any more */
    atomic_uint_fast64_t requests, refused;
};

struct listener_config {
    const char *name;    /* "https": the settings section, for messages */
    const char *address; /* numeric */
    int64_t port;
    bool loopback_only;
    unsigned epoll_workers;
    struct tls *tls; /* NULL: plain */
    const struct http_door *doors;
    struct service *service;
    struct listener_shared *shared;
};

struct listener;

/* Errors: CONFIG (address, port in use, loopback) */
CHECKED int listener_start(const struct listener_config *config, struct listener **ret,
                           struct kms_error *err);

int listener_fd(const struct listener *listener);

/* Takes over a freshly accepted socket; refuses it by closing when there are too many. */
void listener_add(struct listener *listener, int fd, const struct sockaddr *address, socklen_t len);

/* No more accepts. Open connections go on. */
void listener_deafen(struct listener *listener);

/* No connection is suspended. Closes what is open. Accepts NULL. */
void listener_stop(struct listener *listener);
