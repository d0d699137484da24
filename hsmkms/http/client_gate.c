#include "hsmkms/http/client_gate.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>

#include "hsmkms/http/client_cert.h"

struct connection *client_gate_connection(gnutls_session_t session)
{
    struct MHD_Connection *const mhd = gnutls_session_get_ptr(session); /* the library's own */

    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* What the certificate says that a session showed, good or not; NULL: nothing that can be read. */
static struct client_cert *shown_to(gnutls_session_t session, bool verified)
{
    unsigned count = 0;
    const gnutls_datum_t *const shown = gnutls_certificate_get_peers(session, &count);

    if (shown == NULL || count == 0)
        return NULL;
    return client_cert_new(span_of(shown[0].data, shown[0].size), verified);
}

/* What the operator must act upon is a warning; the rest anybody may cause. */
static void log_refused(const struct connection *connection, gnutls_session_t session,
                        const struct client_refusal *refusal, const char *when)
{
    struct client_cert *const shown = shown_to(session, false);

    log_refusal(connection->gate->log, refusal->operator_must_act ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
                "client-certificate-refused", "reason=%s when=%s peer=%s spki=%s", refusal->reason,
                when, connection->peer, shown ? client_cert_facts(shown)->spki_sha256 : "-");
    client_cert_unref(shown);
}

/* --- the handshake ---------------------------------------------------------------------------- */

/* By the CAs and CRLs that are present now. */
static const struct client_refusal *judge(struct connection *connection, gnutls_session_t session)
{
    const struct client_gate *const gate = connection->gate;
    unsigned count = 0;
    const gnutls_datum_t *const shown = gnutls_certificate_get_peers(session, &count);
    const struct tls_identity *const identity = tls_identity_take(gate->tls);

    const struct client_refusal *const refusal =
        client_trust_judge(identity->clients, shown, shown ? count : 0, clock_wall_ms(gate->clock),
                           &connection->validity);
    connection->judged_by = refusal ? 0 : identity->generation; /* refused: judged again */
    tls_identity_release(identity);
    return refusal;
}

/*
 * Reads the certificate before anything is computed with its key, so that one that cannot be
 * accepted costs little. Done once per connection.
 */
static const struct client_refusal *admit(struct connection *connection, gnutls_session_t session)
{
    const bool required = tls_clients(connection->gate->tls) == TLS_CLIENTS_REQUIRE;

    if (connection->client)
        return NULL;
    if (gnutls_certificate_get_peers(session, NULL) == NULL)
        return required ? &client_shows_none : NULL;

    const struct client_refusal *const refusal = required ? judge(connection, session) : NULL;
    if (refusal)
        return refusal;
    connection->client = shown_to(session, required);
    return connection->client ? NULL : &client_unusable;
}

/* TLS 1.2 knows no alert for a missing certificate (RFC 5246 section 7.4.6). */
static gnutls_alert_description_t alert_of(const struct client_refusal *refusal,
                                           gnutls_session_t session)
{
    const bool is_old = gnutls_protocol_get_version(session) < GNUTLS_TLS1_3;

    return is_old && refusal == &client_shows_none ? GNUTLS_A_HANDSHAKE_FAILURE : refusal->alert;
}

/* The library closes a failed connection without a word, so the alert is sent from here. */
static int admit_or_alert(gnutls_session_t session)
{
    struct connection *const connection = client_gate_connection(session);

    if (connection == NULL)
        return -1; /* out of memory when it began */
    const struct client_refusal *const refusal = admit(connection, session);
    if (refusal == NULL)
        return 0;
    log_refused(connection, session, refusal, "handshake");
    (void)gnutls_alert_send(session, GNUTLS_AL_FATAL, alert_of(refusal, session)); /* or not */
    return GNUTLS_E_CERTIFICATE_ERROR;
}

/*
 * Between a certificate and the proof that the client has its key; GnuTLS's own moment for
 * verification comes after the proof in TLS 1.3, and computes with the key before.
 */
static int on_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                      const gnutls_datum_t *message)
{
    struct connection *const connection = client_gate_connection(session);

    (void)message;
    if (connection == NULL || !incoming)
        return 0;
    if (type == GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY && when == GNUTLS_HOOK_PRE)
        return admit_or_alert(session);
    if (type == GNUTLS_HANDSHAKE_FINISHED && when == GNUTLS_HOOK_POST)
        atomic_store(&connection->handshake_due_us, 0); /* all that a client can delay is in */
    return 0;
}

void client_gate_begin(const struct client_gate *gate, struct connection *connection,
                       gnutls_session_t session)
{
    connection->gate = gate;
    atomic_store(&connection->handshake_due_us, clock_mono_us() + gate->handshake_us);
    gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_ANY, GNUTLS_HOOK_BOTH, on_message);
    if (tls_clients(gate->tls) == TLS_CLIENTS_OFF)
        return;
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST); /* we refuse by alert */
    gnutls_session_set_verify_function(session, admit_or_alert); /* also when none was shown */
}

/* --- requests --------------------------------------------------------------------------------- */

int client_gate_check(struct connection *connection, gnutls_session_t session,
                      struct kms_error *err)
{
    const struct client_gate *const gate = connection->gate;
    const struct client_refusal *refusal = NULL;

    if (gate == NULL || tls_clients(gate->tls) != TLS_CLIENTS_REQUIRE)
        return 0;
    if (connection->client == NULL)
        refusal = &client_shows_none; /* no handshake ends so */
    else if (connection->judged_by != tls_generation(gate->tls))
        refusal = judge(connection, session);
    if (refusal == NULL)
        refusal = client_trust_time(&connection->validity, clock_wall_ms(gate->clock));
    if (refusal == NULL)
        return 0;
    log_refused(connection, session, refusal, "request");
    return kms_fail(err, KMS_ERR_ACCESS_DENIED, "The client certificate is not accepted");
}
