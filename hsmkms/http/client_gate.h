#pragma once

/*
 * Client certificates of one TLS listener: asks for them in the handshake, judges them there, and
 * looks at each request whether the judgement still holds. A client that is refused hears a TLS
 * alert and gets no further; one whose certificate runs out, is revoked by a reload or whose CRL
 * grows old while its connection is open is refused at its next request.
 *
 * Also says when a handshake has ended.
 *
 * Threads: the epoll worker that owns the connection.
 */

#include "hsmkms/base/clock.h"
#include "hsmkms/base/log.h"
#include "hsmkms/http/connection.h"

/* Borrowed by its connections: lives as long as the listener. */
struct client_gate {
    struct tls *tls;
    const struct clock *clock;
    const struct log *log;
    int64_t handshake_us; /* longest handshake */
};

/* Before the handshake. */
void client_gate_begin(const struct client_gate *gate, struct connection *connection,
                       gnutls_session_t session);

/* The connection that a session belongs to, NULL when there was no memory for it. */
struct connection *client_gate_connection(gnutls_session_t session);

/*
 * At each request, before anything of it is acted upon.
 * Errors: ACCESS_DENIED (written to the log here)
 */
CHECKED int client_gate_check(struct connection *connection, gnutls_session_t session,
                              struct kms_error *err);
