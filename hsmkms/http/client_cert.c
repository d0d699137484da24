#include "hsmkms/http/client_cert.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

#include "hsmkms/base/encode.h"

#define RSA_BITS_LEAST    2048u
#define RSA_BITS_MOST     8192u
#define RSA_EXPONENT_MOST 8u /* bytes */
#define SPKI_HASH_LEN     32

struct client_cert {
    struct http_client_cert facts;
    atomic_uint refs;
    char spki_sha256[2 * SPKI_HASH_LEN + 1];
    char subject[CLIENT_CERT_TEXT_LEN];
    char *sans[CLIENT_CERT_SANS];
};

/*
 * GnuTLS puts no bound on RSA numbers, and a public exponent as long as its modulus makes one
 * verification of a stranger's signature last for minutes.
 */
static bool has_ordinary_key(gnutls_x509_crt_t crt)
{
    unsigned bits = 0;
    gnutls_datum_t modulus = { 0 }, exponent = { 0 };
    const int kind = gnutls_x509_crt_get_pk_algorithm(crt, &bits);

    if (kind == GNUTLS_PK_ECDSA || kind == GNUTLS_PK_EDDSA_ED25519)
        return true; /* a curve that GnuTLS knows */
    if (kind != GNUTLS_PK_RSA && kind != GNUTLS_PK_RSA_PSS)
        return false; /* the priorities offer no signature for it */
    if (gnutls_x509_crt_get_pk_rsa_raw(crt, &modulus, &exponent) < 0)
        return false;
    const bool ordinary = bits >= RSA_BITS_LEAST && bits <= RSA_BITS_MOST &&
                          exponent.size <= RSA_EXPONENT_MOST + 1; /* a zero byte for the sign */
    gnutls_free(modulus.data);
    gnutls_free(exponent.data);
    return ordinary;
}

static bool take_spki(struct client_cert *cert, gnutls_x509_crt_t crt)
{
    uint8_t hash[SPKI_HASH_LEN];
    size_t len = sizeof(hash);

    if (gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, hash, &len) < 0)
        return false;
    hex_format(cert->spki_sha256, span_of(hash, len));
    return true;
}

static bool take_subject(struct client_cert *cert, gnutls_x509_crt_t crt)
{
    gnutls_datum_t text = { 0 };
    const int code = gnutls_x509_crt_get_dn3(crt, &text, 0);

    if (code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return true; /* an empty subject: names are in the extension */
    if (code < 0)
        return false;
    const bool fits = text.size < sizeof(cert->subject) && !memchr(text.data, '\0', text.size);
    if (fits)
        memcpy(cert->subject, text.data, text.size);
    gnutls_free(text.data);
    return fits;
}

/* "IP:192.0.2.1", "IP:2001:db8::1"; false when it is no single address. */
static bool format_address(const uint8_t *bytes, size_t len, char text[INET6_ADDRSTRLEN])
{
    if (len != 4 && len != 16)
        return false;
    return inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, INET6_ADDRSTRLEN) != NULL;
}

/* Adds a name of a kind that policies know; other kinds are passed over. */
static bool add_san(struct client_cert *cert, unsigned kind, const uint8_t *name, size_t len)
{
    static const char *const prefixes[] = {
        [GNUTLS_SAN_DNSNAME] = "DNS",
        [GNUTLS_SAN_RFC822NAME] = "email",
        [GNUTLS_SAN_URI] = "URI",
        [GNUTLS_SAN_IPADDRESS] = "IP",
    };
    char address[INET6_ADDRSTRLEN];
    char *text = NULL;

    if (kind >= ARRAY_LEN(prefixes) || prefixes[kind] == NULL)
        return true;
    if (kind == GNUTLS_SAN_IPADDRESS) {
        if (!format_address(name, len, address))
            return false;
        name = (const uint8_t *)address;
        len = strlen(address);
    }
    if (memchr(name, '\0', len) || cert->facts.san_count == CLIENT_CERT_SANS ||
        asprintf(&text, "%s:%.*s", prefixes[kind], (int)len, (const char *)name) < 0)
        return false;
    cert->sans[cert->facts.san_count++] = text;
    return true;
}

static bool take_sans(struct client_cert *cert, gnutls_x509_crt_t crt)
{
    for (unsigned i = 0;; i++) {
        uint8_t name[CLIENT_CERT_TEXT_LEN];
        size_t len = sizeof(name);
        unsigned kind = 0;
        const int code = gnutls_x509_crt_get_subject_alt_name2(crt, i, name, &len, &kind, NULL);
        if (code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return true;
        if (code < 0 || i == CLIENT_CERT_SANS || !add_san(cert, kind, name, len))
            return false;
    }
}

static bool take_facts(struct client_cert *cert, struct span der)
{
    /* const cast: GnuTLS only reads it */
    const gnutls_datum_t bytes = { (void *)(uintptr_t)der.ptr, (unsigned)der.len };
    gnutls_x509_crt_t crt = NULL;

    if (gnutls_x509_crt_init(&crt) < 0)
        return false;
    const bool taken = gnutls_x509_crt_import(crt, &bytes, GNUTLS_X509_FMT_DER) == 0 &&
                       has_ordinary_key(crt) && take_spki(cert, crt) && take_subject(cert, crt) &&
                       take_sans(cert, crt);
    gnutls_x509_crt_deinit(crt);
    return taken;
}

struct client_cert *client_cert_new(struct span der, bool verified)
{
    struct client_cert *const cert = calloc(1, sizeof(*cert));

    if (cert == NULL)
        return NULL;
    atomic_init(&cert->refs, 1);
    cert->facts.verified = verified;
    cert->facts.spki_sha256 = cert->spki_sha256;
    cert->facts.subject = cert->subject;
    cert->facts.sans = (const char *const *)cert->sans;
    if (take_facts(cert, der))
        return cert;
    client_cert_unref(cert);
    return NULL;
}

const struct http_client_cert *client_cert_facts(const struct client_cert *cert)
{
    return &cert->facts;
}

struct client_cert *client_cert_ref(struct client_cert *cert)
{
    if (cert)
        (void)atomic_fetch_add(&cert->refs, 1);
    return cert;
}

void client_cert_unref(struct client_cert *cert)
{
    if (cert == NULL || atomic_fetch_sub(&cert->refs, 1) != 1)
        return;
    for (size_t i = 0; i < cert->facts.san_count; i++)
        free(cert->sans[i]);
    free(cert);
}
