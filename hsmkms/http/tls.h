#pragma once

/*
 * The server's certificate and key and whose clients it trusts, replaceable while connections use
 * the old ones, and what TLS we speak. A handshake takes a reference to the identity it began with
 * and drops it when its connection closes.
 *
 * Threads: any.
 */

#include <gnutls/abstract.h>

#include "hsmkms/base/settings.h"
#include "hsmkms/http/client_trust.h"
#include "hsmkms/http/tls_token.h"

#define TLS_CHAIN_MAX 8 /* certificates in the file: the server's, then its issuers */

/* https.client_certificates */
enum tls_clients {
    TLS_CLIENTS_OFF,     /* never asked for a certificate */
    TLS_CLIENTS_REQUEST, /* asked; who shows one proves to hold its key, nothing more */
    TLS_CLIENTS_REQUIRE, /* without a good one there is no service */
};

struct tls_identity {
    gnutls_pcert_st chain[TLS_CHAIN_MAX];
    unsigned chain_len;
    gnutls_privkey_t key;
    bool key_in_token;            /* a signature can fail: see handshake_key.h */
    struct client_trust *clients; /* with TLS_CLIENTS_REQUIRE, else NULL */
    uint64_t generation;          /* 1, and one more with each reload */
};

struct tls;

/* Texts are borrowed for the call. */
struct tls_config {
    const char *certificate, *key; /* PEM files; key: or a PKCS#11 URI */
    struct side_token *key_token;  /* where the key lies that a URI names */
    const char *priority;          /* "": ours */
    enum tls_clients clients;
    const char *client_ca, *client_crl; /* PEM files, with TLS_CLIENTS_REQUIRE; crl "": none */
};

/* "off", "request" or "require". Errors: CONFIG. */
CHECKED int tls_clients_parse(const char *word, enum tls_clients *ret, struct kms_error *err);

/*
 * Errors: CONFIG (message names the file or the setting); of a key in a token also those of
 *         tls_token_key()
 */
CHECKED int tls_new(const struct tls_config *config, struct tls **ret, struct kms_error *err);

/* Reads all files again and finds the token's key anew. Errors: as tls_new(); the old identity
 * stays. */
CHECKED int tls_reload(struct tls *tls, struct kms_error *err);

/* A reference to the present identity. */
const struct tls_identity *tls_identity_take(struct tls *tls);
void tls_identity_release(const struct tls_identity *identity); /* accepts NULL */

/* Of the present identity. */
uint64_t tls_generation(const struct tls *tls);

/* A handshake got no signature from the token. How often: tls_key_failures(). */
void tls_key_failed(struct tls *tls);
uint64_t tls_key_failures(const struct tls *tls);

enum tls_clients tls_clients(const struct tls *tls);

/* The GnuTLS priority string in use. */
const char *tls_priority(const struct tls *tls);

/* Before the handshake: HTTP/1.1 is all that ALPN offers, and messages have a size. */
void tls_prepare(gnutls_session_t session);

/* After the handshake, as AWS logs them: "TLSv1.3", "TLS_AES_256_GCM_SHA384". */
void tls_describe(gnutls_session_t session, char ret_version[16], char ret_cipher[48]);

void tls_free(struct tls *tls); /* accepts NULL */
