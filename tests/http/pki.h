#pragma once

/* Certificates, chains and CRLs of all kinds, good and bad, made for one test. */

#include <time.h>

#include <gnutls/x509.h>

#include "tests/support/check.h"

#define PKI_DAY 86400

/* What to make. The zero state of each field is the ordinary choice for a client's certificate. */
struct pki_plan {
    const char *name;              /* common name */
    const struct pki_cert *issuer; /* NULL: itself */
    enum { PKI_CLIENT, PKI_CA } kind;
    int path_len;        /* of a CA, 0: none given, else one more than the number */
    const char *purpose; /* OID; NULL: clientAuth, "": none; a CA has one only when it is set */
    unsigned usage;      /* 0: digital signature; keyCertSign and cRLSign for a CA */
    time_t from, until;  /* 0: an hour ago, in a day */
    gnutls_x509_privkey_t key; /* NULL: a new one; else taken over */
    unsigned rsa_bits;         /* 0: P-256 */
    bool sha1;                 /* signed with it */
    const char *serial;        /* two bytes; NULL: of its own */
    const char *const *uris;   /* alternative names, NULL-ended; NULL: none */
};

struct pki_cert {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
};

void pki_make(struct pki_cert *ret, const struct pki_plan *plan);
void pki_done(struct pki_cert *cert);

/* Writes count certificates as one PEM file. */
void pki_write(const char *path, const struct pki_cert *const *certs, size_t count);

struct pki_crl {
    const struct pki_cert *issuer;
    const struct pki_cert *revoked; /* NULL: nobody */
    time_t from, until;             /* 0: an hour ago, in a day */
    const struct pki_cert *signer;  /* NULL: the issuer */
    bool sha1;
};

void pki_write_crls(const char *path, const struct pki_crl *crls, size_t count);
