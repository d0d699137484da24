#pragma once

/*
 * Revocation lists from one file, read once: which CA signed each, how long it is current, and the
 * serial numbers in it. Knows CAs as their certificates; whom to trust is client_trust.h's.
 *
 * Source: RFC 5280 sections 5 and 6.3.
 * Threads: any; nothing changes after client_crls_new().
 */

#include <gnutls/x509.h>

#include "hsmkms/base/error.h"

#define CLIENT_CRLS_MOST 64
#define CLIENT_CAS_MOST  64

/* Of verifying certificates and CRLs: dates are ours to check, by the service's clock. */
#define CLIENT_VERIFY_FLAGS                                                                        \
    ((unsigned)(GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DO_NOT_ALLOW_SAME |              \
                GNUTLS_VERIFY_DO_NOT_ALLOW_X509_V1_CA_CRT) |                                       \
     (unsigned)GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM))

struct client_crls;

/* Some CA certificates; a CRL that one of them signed is verified when it is read. */
struct client_cas {
    gnutls_x509_crt_t *crts;
    unsigned count; /* at most CLIENT_CAS_MOST */
};

/*
 * Errors: CONFIG (unreadable, empty, signed by another key than that of the CA it names, weakly
 *         signed, without a next update, indirect, partial, delta; message names the file)
 */
CHECKED int client_crls_new(const char *path, const struct client_cas *cas,
                            struct client_crls **ret, struct kms_error *err);
void client_crls_free(struct client_crls *crls); /* accepts NULL */

enum crl_answer {
    CRL_GOOD,       /* at *until_ms a newer CRL is needed; it is only ever made earlier */
    CRL_REVOKED,    /* a current or an older CRL says so */
    CRL_MISSING,    /* no CRL of this issuer */
    CRL_OLD,        /* none that is current */
    CRL_UNREADABLE, /* the certificate has no proper serial number */
};

/* One certificate. ca: index of its issuer among the CAs, or -1 when it is none of them. */
enum crl_answer client_crls_check(const struct client_crls *crls, gnutls_x509_crt_t crt,
                                  gnutls_x509_crt_t issuer, int ca, int64_t now_ms,
                                  int64_t *until_ms);

/* Times of certificates and CRLs: whole seconds, both ends of a validity belong to it. */
int64_t client_from_ms(time_t first_second);
int64_t client_until_ms(time_t last_second);
