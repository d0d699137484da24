#include "hsmkms/http/tls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "hsmkms/base/secret.h"

/*
 * TLS 1.3 and 1.2 with AEAD ciphers and ephemeral elliptic-curve key exchange; no renegotiation to
 * weaker ones, no RSA key exchange, no CBC, no SHA-1 signatures (RFC 9325 sections 3.1 and 4.2).
 */
static const char default_priority[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"
    ":-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD"
    ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"
    ":-SIGN-ALL:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SHA256"
    ":+SIGN-ECDSA-SECP384R1-SHA384:+SIGN-ECDSA-SHA384"
    ":+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:%SERVER_PRECEDENCE";

/* The longest handshake message: a chain of eight large RSA certificates is half of it. */
#define MESSAGE_MOST ((size_t)32768)

/* An identity and how many hold it. */
struct counted {
    struct tls_identity identity; /* first: what others see */
    atomic_uint refs;
};

struct tls {
    char *certificate_path, *key_path, *priority;
    struct side_token *key_token; /* NULL: the key is a file */
    atomic_uint_fast64_t key_failures;
    enum tls_clients clients;
    char *client_ca_path, *client_crl_path;
    atomic_uint_fast64_t generation;
    pthread_mutex_t lock;    /* present */
    struct counted *present; /* holds one reference */
};

void tls_identity_release(const struct tls_identity *identity)
{
    /* const for users, not for the count; every identity is a struct counted */
    struct counted *const counted = (void *)(uintptr_t)identity;

    if (counted == NULL || atomic_fetch_sub(&counted->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < counted->identity.chain_len; i++)
        gnutls_pcert_deinit(&counted->identity.chain[i]);
    if (counted->identity.key)
        gnutls_privkey_deinit(counted->identity.key);
    client_trust_free(counted->identity.clients);
    free(counted);
}

static int fail_file(struct kms_error *err, const char *what, const char *path, int code)
{
    return kms_fail(err, KMS_ERR_CONFIG, "cannot use %s %s: %s", what, path, gnutls_strerror(code));
}

static int load_chain(struct tls_identity *identity, const char *path, struct kms_error *err)
{
    gnutls_datum_t pem = { 0 };
    unsigned count = TLS_CHAIN_MAX;

    int code = gnutls_load_file(path, &pem);
    if (code == 0)
        code = gnutls_pcert_list_import_x509_raw(identity->chain, &count, &pem, GNUTLS_X509_FMT_PEM,
                                                 GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
    gnutls_free(pem.data);
    if (code < 0)
        return fail_file(err, "certificate", path, code);
    identity->chain_len = count;
    return 0;
}

static int load_key(struct tls_identity *identity, const char *path, struct kms_error *err)
{
    gnutls_datum_t pem = { 0 };

    int code = gnutls_load_file(path, &pem);
    if (code == 0)
        code = gnutls_privkey_init(&identity->key);
    if (code == 0)
        code = gnutls_privkey_import_x509_raw(identity->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (pem.data)
        secret_wipe(pem.data, pem.size);
    gnutls_free(pem.data);
    return code < 0 ? fail_file(err, "key", path, code) : 0;
}

/* The key must be the certificate's, and of a kind that the priorities can use. */
static int check_pair(const struct tls_identity *identity, struct kms_error *err)
{
    unsigned char ids[2][64];
    size_t lens[2] = { sizeof(ids[0]), sizeof(ids[1]) };
    gnutls_pubkey_t public = NULL;
    const int kind = gnutls_privkey_get_pk_algorithm(identity->key, NULL);

    if (kind != GNUTLS_PK_RSA && kind != GNUTLS_PK_ECDSA)
        return kms_fail(err, KMS_ERR_CONFIG, "the TLS key must be an RSA or EC key");
    int code = gnutls_pubkey_init(&public);
    if (code == 0)
        code = gnutls_pubkey_import_privkey(public, identity->key, 0, 0);
    if (code == 0)
        code = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, ids[0], &lens[0]);
    if (code == 0)
        code = gnutls_pubkey_get_key_id(identity->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, ids[1],
                                        &lens[1]);
    if (public)
        gnutls_pubkey_deinit(public);
    if (code < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot compare TLS key and certificate: %s",
                        gnutls_strerror(code));
    if (!span_equal(span_of(ids[0], lens[0]), span_of(ids[1], lens[1])))
        return kms_fail(err, KMS_ERR_CONFIG, "the TLS key does not belong to the certificate");
    return 0;
}

/* Key and certificate, proven to belong together. */
static int load_pair(struct tls_identity *identity, const struct tls *tls, struct kms_error *err)
{
    if (load_chain(identity, tls->certificate_path, err) < 0)
        return -1;
    identity->key_in_token = tls_token_is_uri(tls->key_path);
    if (identity->key_in_token)
        return tls_token_key(tls->key_token, tls->key_path, identity->chain[0].pubkey,
                             &identity->key, err);
    return load_key(identity, tls->key_path, err) < 0 ? -1 : check_pair(identity, err);
}

static int load_clients(struct tls_identity *identity, const struct tls *tls, struct kms_error *err)
{
    if (tls->clients != TLS_CLIENTS_REQUIRE)
        return 0;
    return client_trust_new(tls->client_ca_path, tls->client_crl_path, &identity->clients, err);
}

int tls_reload(struct tls *tls, struct kms_error *err)
{
    struct counted *const fresh = calloc(1, sizeof(*fresh));

    if (fresh == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory reading certificates");
    atomic_init(&fresh->refs, 1);
    if (load_pair(&fresh->identity, tls, err) < 0 || load_clients(&fresh->identity, tls, err) < 0) {
        tls_identity_release(&fresh->identity);
        return -1;
    }
    (void)pthread_mutex_lock(&tls->lock);
    struct counted *const old = tls->present;
    tls->present = fresh;
    fresh->identity.generation = atomic_fetch_add(&tls->generation, 1) + 1;
    (void)pthread_mutex_unlock(&tls->lock);
    if (old)
        tls_identity_release(&old->identity);
    return 0;
}

const struct tls_identity *tls_identity_take(struct tls *tls)
{
    (void)pthread_mutex_lock(&tls->lock);
    struct counted *const present = tls->present;
    (void)atomic_fetch_add(&present->refs, 1);
    (void)pthread_mutex_unlock(&tls->lock);
    return &present->identity;
}

static int check_priority(const char *priority, struct kms_error *err)
{
    gnutls_priority_t parsed = NULL;
    const char *where = NULL;

    if (gnutls_priority_init(&parsed, priority, &where) < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "https.priority is malformed at '%.40s'",
                        where ? where : "");
    gnutls_priority_deinit(parsed);
    return 0;
}

int tls_clients_parse(const char *word, enum tls_clients *ret, struct kms_error *err)
{
    static const char *const words[] = {
        [TLS_CLIENTS_OFF] = "off",
        [TLS_CLIENTS_REQUEST] = "request",
        [TLS_CLIENTS_REQUIRE] = "require",
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret = (enum tls_clients)i;
            return 0;
        }
    }
    return kms_fail(err, KMS_ERR_CONFIG,
                    "https.client_certificates must be off, request or require");
}

/*
 * What is signed with Ed25519 is a client's proof alone: keys that an application made for itself,
 * as clients of KES do. The server's own key is RSA or EC.
 */
static char *make_priority(const struct tls_config *config)
{
    const char *const more = config->clients == TLS_CLIENTS_OFF ? "" : ":+SIGN-EDDSA-ED25519";
    char *text = NULL;

    if (*config->priority)
        return strdup(config->priority);
    return asprintf(&text, "%s%s", default_priority, more) < 0 ? NULL : text;
}

static int copy_texts(struct tls *tls, const struct tls_config *config, struct kms_error *err)
{
    tls->certificate_path = strdup(config->certificate);
    tls->key_path = strdup(config->key);
    tls->priority = make_priority(config);
    tls->client_ca_path = strdup(config->client_ca);
    tls->client_crl_path = strdup(config->client_crl);
    if (!tls->certificate_path || !tls->key_path || !tls->priority || !tls->client_ca_path ||
        !tls->client_crl_path)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for TLS");
    return 0;
}

int tls_new(const struct tls_config *config, struct tls **ret, struct kms_error *err)
{
    struct tls *const tls = calloc(1, sizeof(*tls));

    if (tls == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for TLS");
    (void)pthread_mutex_init(&tls->lock, NULL); /* cannot fail with default attributes */
    tls->clients = config->clients;
    tls->key_token = config->key_token;
    if (copy_texts(tls, config, err) < 0 || check_priority(tls->priority, err) < 0 ||
        tls_reload(tls, err) < 0) {
        tls_free(tls);
        return -1;
    }
    *ret = tls;
    return 0;
}

uint64_t tls_generation(const struct tls *tls)
{
    return atomic_load(&tls->generation);
}

void tls_key_failed(struct tls *tls)
{
    (void)atomic_fetch_add(&tls->key_failures, 1);
}

uint64_t tls_key_failures(const struct tls *tls)
{
    return atomic_load(&tls->key_failures);
}

enum tls_clients tls_clients(const struct tls *tls)
{
    return tls->clients;
}

const char *tls_priority(const struct tls *tls)
{
    return tls->priority;
}

void tls_prepare(gnutls_session_t session)
{
    static unsigned char http11[] = "http/1.1";
    const gnutls_datum_t protocol = { http11, sizeof(http11) - 1 };

    (void)gnutls_alpn_set_protocols(session, &protocol, 1, 0); /* fails only without memory */
    gnutls_handshake_set_max_packet_length(session, MESSAGE_MOST);
}

void tls_describe(gnutls_session_t session, char ret_version[16], char ret_cipher[48])
{
    const char *version = gnutls_protocol_get_name(gnutls_protocol_get_version(session));
    const char *const cipher = gnutls_ciphersuite_get(session);

    if (version && strncmp(version, "TLS", 3) == 0)
        version += 3;
    (void)snprintf(ret_version, 16, "TLSv%s", version ? version : "?");
    (void)snprintf(ret_cipher, 48, "%s", cipher ? cipher : "?");
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    if (tls->present)
        tls_identity_release(&tls->present->identity);
    (void)pthread_mutex_destroy(&tls->lock);
    free(tls->certificate_path);
    free(tls->key_path);
    free(tls->priority);
    free(tls->client_ca_path);
    free(tls->client_crl_path);
    free(tls);
}
