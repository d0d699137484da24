#include "hsmkms/http/client_trust.h"

#include <stdlib.h>
#include <string.h>

#include "hsmkms/base/attrs.h"
#include "hsmkms/http/client_crl.h"

struct client_trust {
    struct client_cas cas;
    struct client_crls *crls; /* NULL: revocation is not checked */
};

/* What a client showed, and how much of its beginning leads to a CA of ours. */
struct path {
    gnutls_x509_crt_t crts[CLIENT_CHAIN_MOST];
    unsigned shown, len;
};

/* clang-format off */
static const struct client_refusal
    too_long      = { "chain-too-long", GNUTLS_A_BAD_CERTIFICATE,         false },
    unknown_ca    = { "unknown-ca",     GNUTLS_A_UNKNOWN_CA,              false },
    not_issued    = { "bad-signature",  GNUTLS_A_BAD_CERTIFICATE,         false },
    may_not_issue = { "ca-constraint",  GNUTLS_A_BAD_CERTIFICATE,         false },
    weak          = { "weak-algorithm", GNUTLS_A_BAD_CERTIFICATE,         false },
    odd_extension = { "critical-extension", GNUTLS_A_UNSUPPORTED_CERTIFICATE, false },
    wrong_purpose = { "wrong-purpose",  GNUTLS_A_UNSUPPORTED_CERTIFICATE, false },
    not_yet_valid = { "not-yet-valid",  GNUTLS_A_CERTIFICATE_EXPIRED,     false },
    expired       = { "expired",        GNUTLS_A_CERTIFICATE_EXPIRED,     false },
    revoked       = { "revoked",        GNUTLS_A_CERTIFICATE_REVOKED,     false },
    no_crl        = { "no-crl",         GNUTLS_A_CERTIFICATE_UNKNOWN,     true },
    crl_expired   = { "crl-expired",    GNUTLS_A_CERTIFICATE_UNKNOWN,     true };

const struct client_refusal
    client_shows_none = { "no-certificate", GNUTLS_A_CERTIFICATE_REQUIRED, false },
    client_unusable   = { "unusable",       GNUTLS_A_BAD_CERTIFICATE,      false };
/* clang-format on */

/* --- the files -------------------------------------------------------------------------------- */

static int fail_file(struct kms_error *err, const char *path, const char *what)
{
    return kms_fail(err, KMS_ERR_CONFIG, "cannot use %s: %s", path, what);
}

static bool may(gnutls_x509_crt_t crt, unsigned use)
{
    unsigned usage = 0;
    const int code = gnutls_x509_crt_get_key_usage(crt, &usage, NULL);

    return code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE || (code == 0 && (usage & use) != 0);
}

static int load_cas(struct client_trust *trust, const char *path, struct kms_error *err)
{
    gnutls_datum_t pem = { 0 };

    int code = gnutls_load_file(path, &pem);
    if (code == 0)
        code = gnutls_x509_crt_list_import2(&trust->cas.crts, &trust->cas.count, &pem,
                                            GNUTLS_X509_FMT_PEM, 0);
    gnutls_free(pem.data);
    if (code < 0)
        return fail_file(err, path, gnutls_strerror(code));
    if (trust->cas.count > CLIENT_CAS_MOST)
        return fail_file(err, path, "too many certificates");
    for (unsigned i = 0; i < trust->cas.count; i++)
        if (gnutls_x509_crt_get_ca_status(trust->cas.crts[i], NULL) <= 0 ||
            !may(trust->cas.crts[i], GNUTLS_KEY_KEY_CERT_SIGN))
            return fail_file(err, path, "a certificate in it is not a CA's");
    return 0;
}

int client_trust_new(const char *ca, const char *crl, struct client_trust **ret,
                     struct kms_error *err)
{
    struct client_trust *const trust = calloc(1, sizeof(*trust));

    if (trust == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory reading client CAs");
    if (load_cas(trust, ca, err) < 0 ||
        (*crl && client_crls_new(crl, &trust->cas, &trust->crls, err) < 0)) {
        client_trust_free(trust);
        return -1;
    }
    *ret = trust;
    return 0;
}

void client_trust_free(struct client_trust *trust)
{
    if (trust == NULL)
        return;
    for (unsigned i = 0; i < trust->cas.count; i++)
        gnutls_x509_crt_deinit(trust->cas.crts[i]);
    gnutls_free(trust->cas.crts);
    client_crls_free(trust->crls);
    free(trust);
}

/* --- judging a chain -------------------------------------------------------------------------- */

static void path_done(struct path *path)
{
    for (unsigned i = 0; i < path->shown; i++)
        gnutls_x509_crt_deinit(path->crts[i]);
    *path = (struct path){ 0 };
}

static const struct client_refusal *read_path(struct path *path, const gnutls_datum_t *chain,
                                              unsigned count)
{
    if (count == 0)
        return &client_shows_none;
    if (count > CLIENT_CHAIN_MOST)
        return &too_long;
    while (path->shown < count) {
        if (gnutls_x509_crt_init(&path->crts[path->shown]) < 0)
            return &client_unusable;
        path->shown++; /* to be released from here on */
        if (gnutls_x509_crt_import(path->crts[path->shown - 1], &chain[path->shown - 1],
                                   GNUTLS_X509_FMT_DER) < 0)
            return &client_unusable;
    }
    path->len = 1;
    return NULL;
}

static bool names_a_ca(const struct client_trust *trust, gnutls_x509_crt_t crt)
{
    for (unsigned i = 0; i < trust->cas.count; i++)
        if (gnutls_x509_crt_check_issuer(crt, trust->cas.crts[i]))
            return true;
    return false;
}

/* Puts what was shown in order, by names, up to the first certificate that names a CA of ours. */
static const struct client_refusal *order_path(const struct client_trust *trust, struct path *path)
{
    while (!names_a_ca(trust, path->crts[path->len - 1])) {
        unsigned next = path->len;
        while (next < path->shown &&
               !gnutls_x509_crt_check_issuer(path->crts[path->len - 1], path->crts[next]))
            next++;
        if (next >= path->shown)
            return &unknown_ca;
        gnutls_x509_crt_t const issuer = path->crts[next];
        path->crts[next] = path->crts[path->len];
        path->crts[path->len++] = issuer;
    }
    return NULL;
}

static const struct client_refusal *refusal_of(unsigned status)
{
    static const struct {
        unsigned bits;
        const struct client_refusal *refusal;
    } rows[] = {
        { GNUTLS_CERT_SIGNATURE_FAILURE, &not_issued },
        { GNUTLS_CERT_INSECURE_ALGORITHM, &weak },
        { GNUTLS_CERT_SIGNER_NOT_CA | GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, &may_not_issue },
        { GNUTLS_CERT_UNKNOWN_CRIT_EXTENSIONS, &odd_extension },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (status & rows[i].bits)
            return rows[i].refusal;
    return &not_issued;
}

/* Signatures, constraints and algorithms of the path below one of our CAs. */
static const struct client_refusal *verify_path(const struct client_trust *trust,
                                                const struct path *path, unsigned *ret_ca)
{
    const struct client_refusal *refusal = &unknown_ca;

    for (unsigned i = 0; i < trust->cas.count; i++) {
        unsigned status = 0;
        if (!gnutls_x509_crt_check_issuer(path->crts[path->len - 1], trust->cas.crts[i]))
            continue;
        if (gnutls_x509_crt_list_verify(path->crts, path->len, &trust->cas.crts[i], 1, NULL, 0,
                                        CLIENT_VERIFY_FLAGS, &status) < 0)
            return &client_unusable;
        if (status == 0) {
            *ret_ca = i;
            return NULL;
        }
        refusal = refusal_of(status);
    }
    return refusal;
}

/* The extension must be there and name the purpose itself; "any" is not a decision. */
static bool is_for_clients(gnutls_x509_crt_t crt)
{
    char oid[128];

    for (unsigned i = 0;; i++) {
        size_t len = sizeof(oid);
        if (gnutls_x509_crt_get_key_purpose_oid(crt, i, oid, &len, NULL) < 0)
            return false;
        if (strcmp(oid, GNUTLS_KP_TLS_WWW_CLIENT) == 0)
            return true;
    }
}

static const struct client_refusal *check_purpose(const struct path *path)
{
    if (!is_for_clients(path->crts[0]) || !may(path->crts[0], GNUTLS_KEY_DIGITAL_SIGNATURE))
        return &wrong_purpose;
    for (unsigned i = 1; i < path->len; i++) /* a CA without the extension issues for everything */
        if (!gnutls_x509_crt_check_key_purpose(path->crts[i], GNUTLS_KP_TLS_WWW_CLIENT, 0))
            return &wrong_purpose;
    return NULL;
}

/* A date that cannot be read is never reached. */
static void narrow(struct client_validity *validity, gnutls_x509_crt_t crt)
{
    const time_t from = gnutls_x509_crt_get_activation_time(crt),
                 until = gnutls_x509_crt_get_expiration_time(crt);
    const int64_t from_ms = from == (time_t)-1 ? INT64_MAX : client_from_ms(from);
    const int64_t until_ms = until == (time_t)-1 ? 0 : client_until_ms(until);

    if (from_ms > validity->from_ms)
        validity->from_ms = from_ms;
    if (until_ms < validity->until_ms)
        validity->until_ms = until_ms;
}

static const struct client_refusal *check_revocations(const struct client_trust *trust,
                                                      const struct path *path, unsigned ca,
                                                      int64_t now_ms, int64_t *until_ms)
{
    static const struct client_refusal *const refusals[] = {
        [CRL_GOOD] = NULL,
        [CRL_REVOKED] = &revoked,
        [CRL_MISSING] = &no_crl,
        [CRL_OLD] = &crl_expired,
        [CRL_UNREADABLE] = &client_unusable,
    };
    const struct client_refusal *refusal = NULL;

    for (unsigned i = 0; trust->crls && refusal == NULL && i < path->len; i++) {
        const bool is_last = i + 1 == path->len;
        refusal = refusals[client_crls_check(trust->crls, path->crts[i],
                                             is_last ? trust->cas.crts[ca] : path->crts[i + 1],
                                             is_last ? (int)ca : -1, now_ms, until_ms)];
    }
    return refusal;
}

const struct client_refusal *client_trust_time(const struct client_validity *validity,
                                               int64_t now_ms)
{
    if (now_ms < validity->from_ms)
        return &not_yet_valid;
    if (now_ms >= validity->until_ms)
        return &expired;
    return now_ms < validity->crls_until_ms ? NULL : &crl_expired;
}

static const struct client_refusal *judge(const struct client_trust *trust, struct path *path,
                                          int64_t now_ms, struct client_validity *validity)
{
    const struct client_refusal *refusal = order_path(trust, path);
    unsigned ca = 0;

    if (refusal == NULL)
        refusal = verify_path(trust, path, &ca);
    if (refusal == NULL)
        refusal = check_purpose(path);
    if (refusal)
        return refusal;
    narrow(validity, trust->cas.crts[ca]);
    for (unsigned i = 0; i < path->len; i++)
        narrow(validity, path->crts[i]);
    refusal = client_trust_time(validity, now_ms);
    if (refusal)
        return refusal;
    return check_revocations(trust, path, ca, now_ms, &validity->crls_until_ms);
}

const struct client_refusal *client_trust_judge(const struct client_trust *trust,
                                                const gnutls_datum_t *chain, unsigned count,
                                                int64_t now_ms, struct client_validity *ret)
{
    struct client_validity validity = { INT64_MIN, INT64_MAX, INT64_MAX };
    struct path path = { 0 };
    const struct client_refusal *refusal = read_path(&path, chain, count);

    if (refusal == NULL)
        refusal = judge(trust, &path, now_ms, &validity);
    path_done(&path);
    if (refusal == NULL)
        *ret = validity;
    return refusal;
}
