#include "hsmkms/http/client_crl.h"

#include <stdlib.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/base/span.h"

#define SERIAL_MOST 40 /* bytes; RFC 5280 section 4.1.2.2 allows 20 */

#define CRL_TIME_BITS                                                                              \
    ((unsigned)(GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE |                                     \
                GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED))

struct serial {
    uint8_t len, bytes[SERIAL_MOST]; /* without leading zeros */
};

struct crl {
    gnutls_x509_crl_t crl;
    uint64_t cas; /* bit i: the file's CA i signed it */
    int64_t from_ms, until_ms;
    struct serial *revoked; /* in order */
    size_t revoked_count;
};

struct client_crls {
    struct crl crls[CLIENT_CRLS_MOST];
    unsigned count;
};

int64_t client_from_ms(time_t first_second)
{
    return (int64_t)first_second * MS_PER_SECOND;
}

int64_t client_until_ms(time_t last_second)
{
    return ((int64_t)last_second + 1) * MS_PER_SECOND;
}

static int fail_file(struct kms_error *err, const char *path, const char *what)
{
    return kms_fail(err, KMS_ERR_CONFIG, "cannot use %s: %s", path, what);
}

/* Whether the key of this certificate signed the CRL, and might; not whether it is current. */
static bool is_signed_by(const struct crl *crl, gnutls_x509_crt_t ca)
{
    unsigned status = 0;

    if (gnutls_x509_crl_verify(crl->crl, &ca, 1, CLIENT_VERIFY_FLAGS, &status) < 0)
        return false;
    if (status & CRL_TIME_BITS)
        status &= ~(CRL_TIME_BITS | (unsigned)GNUTLS_CERT_INVALID);
    return status == 0;
}

static bool has_name_of(const struct crl *crl, gnutls_x509_crt_t ca)
{
    gnutls_datum_t issuer = { 0 }, subject = { 0 };

    const bool same =
        gnutls_x509_crl_get_raw_issuer_dn(crl->crl, &issuer) == 0 &&
        gnutls_x509_crt_get_raw_dn(ca, &subject) == 0 &&
        span_equal(span_of(issuer.data, issuer.size), span_of(subject.data, subject.size));
    gnutls_free(issuer.data);
    gnutls_free(subject.data);
    return same;
}

/*
 * Delta CRLs, CRLs for a part of the certificates and indirect ones carry critical extensions: who
 * does not know them must not conclude from such a CRL that a certificate is good (RFC 5280
 * section 5.2).
 */
static bool is_plain(gnutls_x509_crl_t crl)
{
    char oid[128];
    unsigned critical = 0;

    for (unsigned i = 0;; i++) {
        size_t len = sizeof(oid);
        const int code = gnutls_x509_crl_get_extension_info(crl, i, oid, &len, &critical);
        if (code == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return true;
        if (code < 0 || critical)
            return false;
    }
}

static bool set_serial(struct serial *ret, const uint8_t *bytes, size_t len)
{
    while (len && bytes[0] == 0) {
        bytes++;
        len--;
    }
    if (len > SERIAL_MOST)
        return false;
    *ret = (struct serial){ .len = (uint8_t)len };
    memcpy(ret->bytes, bytes, len);
    return true;
}

static int compare_serials(const void *a, const void *b)
{
    const struct serial *const x = a, *const y = b;

    return span_compare(span_of(x->bytes, x->len), span_of(y->bytes, y->len));
}

static bool load_revoked(struct crl *crl)
{
    gnutls_x509_crl_iter_t iter = NULL;
    const int count = gnutls_x509_crl_get_crt_count(crl->crl);
    bool good = count >= 0;

    if (good)
        crl->revoked = calloc((size_t)count + 1, sizeof(*crl->revoked));
    good = good && crl->revoked;
    while (good && crl->revoked_count < (size_t)count) {
        uint8_t bytes[SERIAL_MOST + 1];
        size_t len = sizeof(bytes);
        time_t when = 0;
        good = gnutls_x509_crl_iter_crt_serial(crl->crl, &iter, bytes, &len, &when) == 0 &&
               set_serial(&crl->revoked[crl->revoked_count], bytes, len);
        crl->revoked_count += good;
    }
    if (iter)
        gnutls_x509_crl_iter_deinit(iter);
    if (good)
        qsort(crl->revoked, crl->revoked_count, sizeof(*crl->revoked), compare_serials);
    return good;
}

static int take_crl(const struct client_cas *cas, struct crl *crl, const char *path,
                    struct kms_error *err)
{
    const time_t from = gnutls_x509_crl_get_this_update(crl->crl),
                 until = gnutls_x509_crl_get_next_update(crl->crl);
    const int algorithm = gnutls_x509_crl_get_signature_algorithm(crl->crl);
    bool is_named = false;

    if (from == (time_t)-1 || until == (time_t)-1)
        return fail_file(err, path, "a CRL in it has no next update");
    if (algorithm < 0 || !gnutls_sign_is_secure2((gnutls_sign_algorithm_t)algorithm,
                                                 GNUTLS_SIGN_FLAG_SECURE_FOR_CERTS))
        return fail_file(err, path, "a CRL in it has a weak signature");
    if (!is_plain(crl->crl))
        return fail_file(err, path, "a CRL in it is indirect, partial or a delta");
    crl->from_ms = client_from_ms(from);
    crl->until_ms = client_until_ms(until);
    for (unsigned i = 0; i < cas->count; i++) {
        if (!has_name_of(crl, cas->crts[i]))
            continue;
        is_named = true;
        if (is_signed_by(crl, cas->crts[i]))
            crl->cas |= UINT64_C(1) << i;
    }
    if (is_named && crl->cas == 0)
        return fail_file(err, path, "a CRL in it is not signed by the CA of that name");
    return load_revoked(crl) ? 0 : fail_file(err, path, "a CRL in it cannot be read");
}

static int load(struct client_crls *crls, const char *path, const struct client_cas *cas,
                struct kms_error *err)
{
    gnutls_x509_crl_t *list = NULL;
    unsigned count = 0;
    gnutls_datum_t pem = { 0 };
    int result = 0;

    int code = gnutls_load_file(path, &pem);
    if (code == 0)
        code = gnutls_x509_crl_list_import2(&list, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
    gnutls_free(pem.data);
    if (code < 0)
        return fail_file(err, path, gnutls_strerror(code));
    if (count > CLIENT_CRLS_MOST)
        result = fail_file(err, path, "too many CRLs");
    for (unsigned i = 0; i < count; i++) {
        if (result < 0) {
            gnutls_x509_crl_deinit(list[i]);
            continue;
        }
        struct crl *const crl = &crls->crls[crls->count++];
        crl->crl = list[i]; /* now owned by crls */
        result = take_crl(cas, crl, path, err);
    }
    gnutls_free(list);
    return result;
}

int client_crls_new(const char *path, const struct client_cas *cas, struct client_crls **ret,
                    struct kms_error *err)
{
    struct client_crls *const crls = calloc(1, sizeof(*crls));

    if (crls == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory reading CRLs");
    if (load(crls, path, cas, err) < 0) {
        client_crls_free(crls);
        return -1;
    }
    *ret = crls;
    return 0;
}

void client_crls_free(struct client_crls *crls)
{
    if (crls == NULL)
        return;
    for (unsigned i = 0; i < crls->count; i++) {
        gnutls_x509_crl_deinit(crls->crls[i].crl);
        free(crls->crls[i].revoked);
    }
    free(crls);
}

enum crl_answer client_crls_check(const struct client_crls *crls, gnutls_x509_crt_t crt,
                                  gnutls_x509_crt_t issuer, int ca, int64_t now_ms,
                                  int64_t *until_ms)
{
    enum crl_answer answer = CRL_MISSING;
    uint8_t bytes[SERIAL_MOST + 1];
    size_t len = sizeof(bytes);
    struct serial serial;
    int64_t latest_ms = 0;

    if (gnutls_x509_crt_get_serial(crt, bytes, &len) < 0 || !set_serial(&serial, bytes, len))
        return CRL_UNREADABLE;
    for (unsigned i = 0; i < crls->count; i++) {
        const struct crl *const crl = &crls->crls[i];
        if (ca >= 0 ? !(crl->cas >> ca & 1)
                    : !(has_name_of(crl, issuer) && is_signed_by(crl, issuer)))
            continue;
        if (bsearch(&serial, crl->revoked, crl->revoked_count, sizeof(serial), compare_serials))
            return CRL_REVOKED;
        if (now_ms >= crl->from_ms && crl->until_ms > latest_ms)
            latest_ms = crl->until_ms;
        answer = CRL_OLD;
    }
    if (now_ms >= latest_ms)
        return answer;
    if (latest_ms < *until_ms)
        *until_ms = latest_ms;
    return CRL_GOOD;
}
