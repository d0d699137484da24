#pragma once

/*
 * Listeners, limits, deadlines, framing: what arrives here leaves as one struct http_request, or
 * is refused. Knows no dialect and no key. Only this folder includes microhttpd.h and gnutls.h.
 *
 * A request is suspended when its last byte is in, queued, worked on by a service worker in its
 * door, and resumed with an answer. No handler blocks an epoll worker.
 */

#include "hsmkms/base/clock.h"
#include "hsmkms/base/log.h"
#include "hsmkms/base/secret.h"
#include "hsmkms/base/settings.h"

struct side_token;

struct http_header {
    const char *name;  /* as it arrived; an RFC 9110 token */
    const char *value; /* trimmed at both ends */
};

/*
 * What the certificate of a TLS client says. The client holds the certificate's key in every case;
 * whether a configured CA vouches for the rest is what verified tells. Without it, only the key
 * means something: names are whatever the client wrote.
 */
struct http_client_cert {
    bool verified;           /* chain, dates, purpose and revocation are good */
    const char *spki_sha256; /* of the DER SubjectPublicKeyInfo, 64 hex digits; "": no certificate */
    const char *subject;     /* RFC 4514 text, "" when the certificate has none */
    const char *const *sans; /* "URI:...", "DNS:...", "IP:...", "email:...", in its order */
    size_t san_count;
};

struct http_request {
    const char *method;
    const char *target; /* raw, undecoded, "/..." */
    const struct http_header *headers;
    size_t header_count;
    struct span body;   /* private; wiped when the request ends */
    int64_t received_ms; /* wall time when the headers were complete */
    const char *peer;   /* address without port */
    const char *tls_version, *tls_cipher; /* "" when the connection is plain */
    const char *listener; /* "https", "http" "kes" or "ops": the listener it came by */
    struct http_client_cert client_cert;
};

/* The only value of a header (name in lower case), or NULL when it is absent. */
const char *http_header_find(const struct http_request *request, const char *name);

/*
 * An exchange: one request and its answer. A door must end each one by exactly one http_answer,
 * from any thread.
 */
struct http_exchange;

const struct http_request *http_exchange_request(const struct http_exchange *exchange);

/* A door's own state of this exchange: size bytes, zeroed, freed (and wiped) with it. */
void *http_exchange_state(struct http_exchange *exchange);

struct http_answer {
    int status;
    const char *content_type; /* constant */
    char *body;               /* owned; released by free_body after it was sent */
    size_t body_len;
    void (*free_body)(void *body);
    const char *request_id_header; /* name of the header that carries the request id, or NULL */
    char request_id[40];
};
void http_answer(struct http_exchange *exchange, const struct http_answer *answer);

/* One dialect; http/ calls, doors/ implement. See doors/door.h for the rows. */
struct door {
    const char *name;
    size_t state_size;

    /* In the epoll worker, before the body: true when this request is this door's. */
    bool (*recognise)(const struct http_request *request);

    /*
     * In a service worker: authenticate, decode, run; ends in http_answer now or later.
     */
    void (*serve)(void *ctx, struct http_exchange *exchange);

    /* In any thread: an answer in this dialect for an error of http/ itself (limits, queue). */
    void (*refuse)(void *ctx, const struct kms_error *err, struct http_answer *ret);

    /* For fairness in the queue: who asks, before authentication; "" when unknown. */
    void (*claim)(const struct http_request *request, char ret[64]);
};

struct http_door {
    const struct door *door;
    void *ctx;
};

struct http_server;

/* Doors of a listener, ended by a NULL door; the first that recognises a request serves it. */
struct http_config {
    const struct settings *settings;
    const struct clock *clock;
    const struct log *log;
    const struct http_door *https_doors, *http_doors; /* on the listeners of these names */
    const struct http_door *ops_doors;     /* on the ops listener */
    const struct http_door *kes_doors;     /* on the kes listener; NULL: there is none */
    struct side_token *key_token;          /* where https.key is when it is a URI, else NULL */
};

/*
 * Starts the listeners that have a port, the queue and its workers.
 * Errors: CONFIG (port in use, certificate, client CA or CRL, plain listener off loopback);
 *         KEY_UNAVAILABLE, PIN_LATCHED (the token of the TLS key)
 */
CHECKED int http_server_start(const struct http_config *config, struct http_server **ret,
                              struct kms_error *err);

/*
 * Stops accepting, lets running requests end for at most drain_ms, answers the rest, stops.
 * Every suspended connection is resumed before its daemon is stopped. Returns when the last serve()
 * has returned and every door has answered; answers after drain_ms are dropped.
 */
void http_server_stop(struct http_server *server, int64_t drain_ms);

/*
 * Reads certificate, key (in a token: finds it anew), client CAs and CRLs again.
 * Errors: CONFIG, KEY_UNAVAILABLE, PIN_LATCHED; then those of a listener all stay as they are.
 */
CHECKED int http_server_reload_tls(struct http_server *server, struct kms_error *err);

struct http_status {
    size_t connections, queued, queued_most;
    uint64_t requests, refused, throttled;
    uint64_t tls_key_failures; /* handshakes that the token did not sign */
    bool tls_key_missing;      /* since the last of them it was not found again */
};
void http_server_status(struct http_server *server, struct http_status *ret);
