#include "hsmkms/http/handshake_key.h"

#include <stdlib.h>

#include "hsmkms/http/client_gate.h"

struct handshake_key {
    gnutls_privkey_t key; /* what GnuTLS signs with */
    struct connection *connection;
    gnutls_session_t session;
};

static int refuse(const struct handshake_key *handshake, int code)
{
    const struct client_gate *const gate = handshake->connection->gate;

    tls_key_failed(gate->tls);
    log_refusal(gate->log, LOG_LEVEL_ERROR, "tls-key-failed", "reason=\"%s\" peer=%s",
                gnutls_strerror(code), handshake->connection->peer);
    (void)gnutls_alert_send(handshake->session, GNUTLS_AL_FATAL, GNUTLS_A_INTERNAL_ERROR);
    return code;
}

/* GnuTLS computes the hash; algorithm says which, and for RSA that it is padded by PSS. */
static int sign_hash(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm, void *arg,
                     unsigned flags, const gnutls_datum_t *hash, gnutls_datum_t *ret)
{
    const struct handshake_key *const handshake = arg;
    gnutls_privkey_t const token_key = handshake->connection->identity->key;
    const int code = gnutls_privkey_sign_hash2(token_key, algorithm, flags, hash, ret);

    (void)key;
    return code < 0 ? refuse(handshake, code) : 0;
}

static int sign_data(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm, void *arg,
                     unsigned flags, const gnutls_datum_t *data, gnutls_datum_t *ret)
{
    const struct handshake_key *const handshake = arg;
    gnutls_privkey_t const token_key = handshake->connection->identity->key;
    const int code = gnutls_privkey_sign_data2(token_key, algorithm, flags, data, ret);

    (void)key;
    return code < 0 ? refuse(handshake, code) : 0;
}

/* What GnuTLS asks of a key that it does not hold; -1: not known. */
static int describe(gnutls_privkey_t key, unsigned what, void *arg)
{
    const struct handshake_key *const handshake = arg;
    gnutls_privkey_t const token_key = handshake->connection->identity->key;
    unsigned bits = 0;

    (void)key;
    const int kind = gnutls_privkey_get_pk_algorithm(token_key, &bits);
    if (what & GNUTLS_PRIVKEY_INFO_PK_ALGO)
        return kind;
    if (what & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS)
        return (int)bits;
    if (what & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO)
        return gnutls_sign_supports_pk_algorithm(GNUTLS_FLAGS_TO_SIGN_ALGO(what), kind) != 0;
    return -1;
}

int handshake_key_make(struct connection *connection, gnutls_session_t session)
{
    struct handshake_key *const handshake = calloc(1, sizeof(*handshake));

    if (handshake == NULL)
        return -1;
    handshake->connection = connection;
    handshake->session = session;
    if (gnutls_privkey_init(&handshake->key) < 0) {
        free(handshake);
        return -1;
    }
    connection->handshake_key = handshake;
    return gnutls_privkey_import_ext4(handshake->key, handshake, sign_data, sign_hash, NULL,
                                      NULL, describe, 0) < 0
               ? -1
               : 0;
}

gnutls_privkey_t handshake_key(const struct connection *connection)
{
    return connection->handshake_key->key;
}

void handshake_key_free(struct connection *connection)
{
    if (connection->handshake_key == NULL)
        return;
    gnutls_privkey_deinit(connection->handshake_key->key);
    free(connection->handshake_key);
    connection->handshake_key = NULL;
}
