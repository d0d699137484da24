#include "tests/http/pki.h"

#include <stdio.h>
#include <string.h>

static void make_key(gnutls_x509_privkey_t *ret, unsigned rsa_bits)
{
    assert_int_equal(gnutls_x509_privkey_init(ret), 0);
    assert_int_equal(gnutls_x509_privkey_generate(
                         *ret, rsa_bits ? GNUTLS_PK_RSA : GNUTLS_PK_ECDSA,
                         rsa_bits ? rsa_bits : GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
}

static void set_names(gnutls_x509_crt_t crt, const struct pki_plan *plan)
{
    static uint16_t last = 256;
    const unsigned char next[] = { (unsigned char)(last >> 8), (unsigned char)(last & 255) };

    last++;
    assert_int_equal(
        gnutls_x509_crt_set_serial(crt, plan->serial ? plan->serial : (const void *)next, 2), 0);
    assert_int_equal(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, plan->name,
                                                   (unsigned)strlen(plan->name)),
                     0);
    for (size_t i = 0; plan->uris && plan->uris[i]; i++)
        assert_int_equal(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_URI, plan->uris[i],
                                                              (unsigned)strlen(plan->uris[i]),
                                                              GNUTLS_FSAN_APPEND),
                         0);
}

static void set_uses(gnutls_x509_crt_t crt, const struct pki_plan *plan)
{
    const bool ca = plan->kind == PKI_CA;
    const char *purpose = plan->purpose;
    unsigned usage = plan->usage;

    if (purpose == NULL)
        purpose = ca ? "" : GNUTLS_KP_TLS_WWW_CLIENT;
    if (usage == 0)
        usage = ca ? GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN : GNUTLS_KEY_DIGITAL_SIGNATURE;
    assert_int_equal(gnutls_x509_crt_set_basic_constraints(crt, ca, plan->path_len - 1), 0);
    assert_int_equal(gnutls_x509_crt_set_key_usage(crt, usage), 0);
    if (*purpose)
        assert_int_equal(gnutls_x509_crt_set_key_purpose_oid(crt, purpose, 0), 0);
}

static void set_key_id(gnutls_x509_crt_t crt)
{
    unsigned char id[20];
    size_t len = sizeof(id);

    assert_int_equal(gnutls_x509_crt_get_key_id(crt, 0, id, &len), 0);
    assert_int_equal(gnutls_x509_crt_set_subject_key_id(crt, id, len), 0);
}

void pki_make(struct pki_cert *ret, const struct pki_plan *plan)
{
    const time_t now = time(NULL);

    ret->key = plan->key;
    if (ret->key == NULL)
        make_key(&ret->key, plan->rsa_bits);
    assert_int_equal(gnutls_x509_crt_init(&ret->crt), 0);
    assert_int_equal(gnutls_x509_crt_set_version(ret->crt, 3), 0);
    set_names(ret->crt, plan);
    set_uses(ret->crt, plan);
    assert_int_equal(
        gnutls_x509_crt_set_activation_time(ret->crt, plan->from ? plan->from : now - 3600), 0);
    assert_int_equal(
        gnutls_x509_crt_set_expiration_time(ret->crt, plan->until ? plan->until : now + PKI_DAY),
        0);
    assert_int_equal(gnutls_x509_crt_set_key(ret->crt, ret->key), 0);
    set_key_id(ret->crt);

    const struct pki_cert *const issuer = plan->issuer ? plan->issuer : ret;
    assert_int_equal(gnutls_x509_crt_sign2(ret->crt, issuer->crt, issuer->key,
                                           plan->sha1 ? GNUTLS_DIG_SHA1 : GNUTLS_DIG_SHA256, 0),
                     0);
}

void pki_done(struct pki_cert *cert)
{
    if (cert->crt)
        gnutls_x509_crt_deinit(cert->crt);
    if (cert->key)
        gnutls_x509_privkey_deinit(cert->key);
    *cert = (struct pki_cert){ 0 };
}

void pki_write(const char *path, const struct pki_cert *const *certs, size_t count)
{
    FILE *const file = fopen(path, "we");

    assert_non_null(file);
    for (size_t i = 0; i < count; i++) {
        gnutls_datum_t pem = { 0 };
        assert_int_equal(gnutls_x509_crt_export2(certs[i]->crt, GNUTLS_X509_FMT_PEM, &pem), 0);
        assert_int_equal(fwrite(pem.data, 1, pem.size, file), pem.size);
        gnutls_free(pem.data);
    }
    assert_int_equal(fclose(file), 0);
}

static void write_crl(FILE *file, const struct pki_crl *plan)
{
    gnutls_x509_crl_t crl = NULL;
    gnutls_datum_t pem = { 0 };
    const time_t now = time(NULL);
    const struct pki_cert *const signer = plan->signer ? plan->signer : plan->issuer;

    assert_int_equal(gnutls_x509_crl_init(&crl), 0);
    assert_int_equal(gnutls_x509_crl_set_version(crl, 2), 0);
    assert_int_equal(gnutls_x509_crl_set_this_update(crl, plan->from ? plan->from : now - 3600), 0);
    assert_int_equal(
        gnutls_x509_crl_set_next_update(crl, plan->until ? plan->until : now + PKI_DAY), 0);
    if (plan->revoked)
        assert_int_equal(gnutls_x509_crl_set_crt(crl, plan->revoked->crt, now - 1800), 0);
    assert_int_equal(gnutls_x509_crl_sign2(crl, plan->issuer->crt, signer->key,
                                           plan->sha1 ? GNUTLS_DIG_SHA1 : GNUTLS_DIG_SHA256, 0),
                     0);
    assert_int_equal(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem), 0);
    assert_int_equal(fwrite(pem.data, 1, pem.size, file), pem.size);
    gnutls_free(pem.data);
    gnutls_x509_crl_deinit(crl);
}

void pki_write_crls(const char *path, const struct pki_crl *crls, size_t count)
{
    FILE *const file = fopen(path, "we");

    assert_non_null(file);
    for (size_t i = 0; i < count; i++)
        write_crl(file, &crls[i]);
    assert_int_equal(fclose(file), 0);
}
