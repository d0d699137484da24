#pragma once

/*
 * What http/ keeps per open connection, and the clock that closes connections whose request takes
 * too long. The library's own time-out is an idle one: a byte now and then defeats it.
 *
 * A request has the whole-request time from its first byte to its last, whichever comes first in
 * doubt: the TLS handshake counts as the beginning of the first one, and has its own, shorter time
 * from the moment when the connection was accepted. While a request is served there is no
 * deadline; its answer must be taken within the same time again. What is overdue gets shutdown(2),
 * and the library then ends the connection by itself.
 *
 * Threads: connection_opened, connection_closed and connection_enter in epoll workers.
 */

#include <netinet/in.h>
#include <stdatomic.h>

#include "hsmkms/http/client_trust.h"
#include "hsmkms/http/service.h"
#include "hsmkms/http/tls.h"

struct client_gate;
struct handshake_key;

enum connection_phase {
    CONNECTION_WAITS,    /* for the request line */
    CONNECTION_RECEIVES, /* the rest of the request */
    CONNECTION_SERVES,   /* suspended, or about to be */
    CONNECTION_SENDS,    /* the answer */
};

struct connection {
    struct connection *prev, *next; /* under the lock of struct connections */
    int fd;                         /* the library's; open until connection_closed() */
    char peer[INET6_ADDRSTRLEN];
    char tls_version[16], tls_cipher[48]; /* set with the first request */
    const struct tls_identity *identity;  /* what its handshake used, or NULL */
    struct handshake_key *handshake_key;  /* where the listener's key lies in a token, else NULL */

    /* the client's certificate, see client_gate.h */
    const struct client_gate *gate;   /* NULL: plain */
    struct client_cert *client;       /* what it says: one reference, or NULL */
    struct client_validity validity;  /* how long the judgement holds, */
    uint64_t judged_by;               /* and by which CAs and CRLs: tls_generation() */
    _Atomic int64_t handshake_due_us; /* 0: none is running */

    _Atomic int phase;
    _Atomic int64_t due_us;       /* of CONNECTION_RECEIVES and CONNECTION_SENDS */
    atomic_uint_fast64_t periods; /* how often CONNECTION_WAITS began */

    /* the watching thread's own */
    uint64_t period, bytes;
    int64_t begun_due_us; /* 0: no byte of this period's request has been seen */
    bool cut;
};

struct connections;

/* tick: called a few times per request_time, in the watching thread. */
CHECKED int connections_start(int64_t request_time_us, void (*tick)(void *arg), void *arg,
                              struct connections **ret, struct kms_error *err);

/* A new connection on fd, or NULL: out of memory. */
struct connection *connection_opened(struct connections *connections, int fd,
                                     const struct sockaddr *address);
void connection_closed(struct connections *connections, struct connection *connection);

void connection_enter(struct connections *connections, struct connection *connection,
                      enum connection_phase phase);

size_t connections_count(struct connections *connections);

/* Every connection is closed. Accepts NULL. */
void connections_stop(struct connections *connections);
