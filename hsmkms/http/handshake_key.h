#pragma once

/*
 * The key of one TLS handshake, where the listener's key lies in a token: asks the token, and when
 * that fails tells the client by a TLS alert (internal_error, RFC 8446 section 6.2), the operator by
 * the log and struct tls by tls_key_failed(). Without it a failed connection ends without a word.
 *
 * The signature is made in the epoll worker of the connection: GnuTLS 3.7 cannot wait for one. A
 * token that takes long holds up the handshakes and requests of that worker, which is why it is not
 * the token of the master keys.
 *
 * Threads: the epoll worker that owns the connection.
 */

#include "hsmkms/http/connection.h"

/*
 * Makes connection->handshake_key, released with the connection, for a session that was begun by
 * client_gate_begin(). Returns -1 without memory.
 */
CHECKED int handshake_key_make(struct connection *connection, gnutls_session_t session);

/* The key to give to GnuTLS. */
gnutls_privkey_t handshake_key(const struct connection *connection);

/* Accepts a connection that has none. */
void handshake_key_free(struct connection *connection);
