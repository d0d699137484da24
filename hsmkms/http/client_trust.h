#pragma once

/*
 * Whose client certificates are good: CA certificates and CRLs from two files, read once, and the
 * judgement of a chain by them. Every certificate in the CA file is trusted by itself, also one
 * that another CA issued. With a CRL file every certificate below a trusted CA needs a CRL of its
 * issuer that is current; what no CRL covers is refused, and so is everything once they are old.
 *
 * Source: RFC 5280 sections 4.1.2.5, 4.2.1, 5 and 6.1; RFC 9325 section 7.5.
 * Threads: any; nothing changes after client_trust_new().
 */

#include <gnutls/x509.h>

#include "hsmkms/base/error.h"

#define CLIENT_CHAIN_MOST 8 /* certificates that a client may show */

/* Why a client is refused. */
struct client_refusal {
    const char *reason;               /* one word, for the log */
    gnutls_alert_description_t alert; /* what the client is told */
    bool operator_must_act;           /* a CRL is old or missing */
};

/* When a judgement holds: from_ms <= now < until_ms, and now < crls_until_ms. */
struct client_validity {
    int64_t from_ms, until_ms; /* all certificates of the path, the CA's among them */
    int64_t crls_until_ms;     /* INT64_MAX without CRLs */
};

struct client_trust;

/*
 * crl "": revocation is not checked.
 * Errors: CONFIG (unreadable, empty, not a CA, a weak or wrong signature on a CRL, a CRL of a kind
 *         that is not understood; message names the file)
 */
CHECKED int client_trust_new(const char *ca, const char *crl, struct client_trust **ret,
                             struct kms_error *err);
void client_trust_free(struct client_trust *trust); /* accepts NULL */

/*
 * Judges what a client showed: chain[0] is its own certificate, the others may help to reach a
 * trusted CA, in any order. NULL: good, and ret says for how long; else why not.
 */
const struct client_refusal *client_trust_judge(const struct client_trust *trust,
                                                const gnutls_datum_t *chain, unsigned count,
                                                int64_t now_ms, struct client_validity *ret);

/* What a time outside of the validity means. NULL: it is within. */
const struct client_refusal *client_trust_time(const struct client_validity *validity,
                                               int64_t now_ms);

/* For a client that showed no certificate, and for one whose cannot be used. */
extern const struct client_refusal client_shows_none, client_unusable;
