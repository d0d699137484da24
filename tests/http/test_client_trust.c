/* Whose client certificates are good: every kind of chain and CRL against client_trust_judge(). */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hsmkms/http/client_cert.h"
#include "hsmkms/http/client_trust.h"
#include "tests/http/pki.h"

struct fixture {
    char dir[64], ca[96], crl[96];
    struct pki_cert root, middle, other;
};

static int make_fixture(void **state)
{
    struct fixture *const f = calloc(1, sizeof(*f));
    const char *const base = getenv("TMPDIR");

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "%.40s/hsmkms-trust-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->ca, sizeof(f->ca), "%s/ca.pem", f->dir);
    (void)snprintf(f->crl, sizeof(f->crl), "%s/crl.pem", f->dir);
    pki_make(&f->root, &(struct pki_plan){ .name = "root", .kind = PKI_CA });
    pki_make(&f->middle,
             &(struct pki_plan){ .name = "middle", .kind = PKI_CA, .issuer = &f->root });
    pki_make(&f->other, &(struct pki_plan){ .name = "root", .kind = PKI_CA });
    pki_write(f->ca, (const struct pki_cert *const[]){ &f->root }, 1);
    *state = f;
    return 0;
}

static int drop_fixture(void **state)
{
    struct fixture *const f = *state;

    pki_done(&f->root);
    pki_done(&f->middle);
    pki_done(&f->other);
    (void)unlink(f->ca);
    (void)unlink(f->crl);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static int64_t now_ms(void)
{
    return (int64_t)time(NULL) * 1000;
}

/* "good", or the reason of the refusal. */
static const char *judged_at(const struct fixture *f, const char *crl, int64_t at_ms,
                             const struct pki_cert *const *chain, size_t count)
{
    struct client_trust *trust = NULL;
    struct client_validity validity = { 0 };
    struct kms_error err = { 0 };
    gnutls_datum_t der[16] = { 0 };

    assert_true(count <= ARRAY_LEN(der));
    CHECK_OK(client_trust_new(f->ca, crl, &trust, &err), err);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(gnutls_x509_crt_export2(chain[i]->crt, GNUTLS_X509_FMT_DER, &der[i]), 0);
    const struct client_refusal *const refusal =
        client_trust_judge(trust, der, (unsigned)count, at_ms, &validity);
    for (size_t i = 0; i < count; i++)
        gnutls_free(der[i].data);
    client_trust_free(trust);
    if (refusal == NULL)
        CHECK(client_trust_time(&validity, at_ms) == NULL);
    return refusal ? refusal->reason : "good";
}

/* A client's certificate of this kind, shown with these others. */
static void check_leaf(const struct fixture *f, const struct pki_plan *plan,
                       const struct pki_cert *middle, const char *want)
{
    struct pki_cert leaf = { 0 };

    pki_make(&leaf, plan);
    assert_string_equal(judged_at(f, "", now_ms(),
                                  (const struct pki_cert *const[]){ &leaf, middle },
                                  middle ? 2 : 1),
                        want);
    pki_done(&leaf);
}

static void test_trust_leaf_of_every_kind(void **state)
{
    const struct fixture *const f = *state;
    const time_t now = time(NULL);
    const struct {
        const char *want;
        struct pki_plan plan;
    } rows[] = {
        { "good", { .name = "a" } },
        { "good", { .name = "rsa", .rsa_bits = 2048 } },
        { "wrong-purpose", { .name = "server", .purpose = GNUTLS_KP_TLS_WWW_SERVER } },
        { "wrong-purpose", { .name = "any", .purpose = GNUTLS_KP_ANY } },
        { "wrong-purpose", { .name = "none", .purpose = "" } },
        { "wrong-purpose", { .name = "usage", .usage = GNUTLS_KEY_KEY_AGREEMENT } },
        { "expired", { .name = "old", .from = now - 2 * PKI_DAY, .until = now - 60 } },
        { "not-yet-valid", { .name = "new", .from = now + 3600, .until = now + PKI_DAY } },
        { "weak-algorithm", { .name = "rsa1024", .rsa_bits = 1024 } },
        { "weak-algorithm", { .name = "sha1", .sha1 = true } },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pki_plan plan = rows[i].plan;
        plan.issuer = &f->root;
        check_leaf(f, &plan, NULL, rows[i].want);
    }
}

static void test_trust_leaf_of_others(void **state)
{
    const struct fixture *const f = *state;
    struct pki_cert stranger = { 0 }, fake = { 0 };

    pki_make(&stranger, &(struct pki_plan){ .name = "stranger", .kind = PKI_CA });
    pki_make(&fake, &(struct pki_plan){ .name = "fake", .issuer = &f->root });
    check_leaf(f, &(struct pki_plan){ .name = "self" }, NULL, "unknown-ca");
    check_leaf(f, &(struct pki_plan){ .name = "root" }, NULL,
               "bad-signature"); /* named as the CA */
    check_leaf(f, &(struct pki_plan){ .name = "a", .issuer = &stranger }, NULL, "unknown-ca");
    check_leaf(f, &(struct pki_plan){ .name = "a", .issuer = &stranger }, &stranger, "unknown-ca");
    check_leaf(f, &(struct pki_plan){ .name = "a", .issuer = &f->other }, NULL, "bad-signature");
    check_leaf(f, &(struct pki_plan){ .name = "a", .issuer = &f->other }, &f->other,
               "bad-signature");
    /* a client that plays CA with its good certificate */
    check_leaf(f, &(struct pki_plan){ .name = "a", .issuer = &fake }, &fake, "ca-constraint");
    pki_done(&stranger);
    pki_done(&fake);
}

static void test_trust_intermediates(void **state)
{
    const struct fixture *const f = *state;
    const time_t now = time(NULL);
    const struct {
        const char *want;
        struct pki_plan plan;
    } rows[] = {
        { "good", { .name = "m", .kind = PKI_CA } },
        { "good", { .name = "m", .kind = PKI_CA, .path_len = 1 } },
        { "good", { .name = "m", .kind = PKI_CA, .purpose = GNUTLS_KP_TLS_WWW_CLIENT } },
        { "good", { .name = "m", .kind = PKI_CA, .purpose = GNUTLS_KP_ANY } },
        { "wrong-purpose", { .name = "m", .kind = PKI_CA, .purpose = GNUTLS_KP_TLS_WWW_SERVER } },
        { "ca-constraint", { .name = "m", .kind = PKI_CLIENT } },
        { "ca-constraint", { .name = "m", .kind = PKI_CA, .usage = GNUTLS_KEY_CRL_SIGN } },
        { "expired", { .name = "m", .kind = PKI_CA, .until = now - 60 } },
        { "not-yet-valid", { .name = "m", .kind = PKI_CA, .from = now + 3600 } },
        { "weak-algorithm", { .name = "m", .kind = PKI_CA, .sha1 = true } },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pki_cert middle = { 0 };
        struct pki_plan plan = rows[i].plan;
        plan.issuer = &f->root;
        pki_make(&middle, &plan);
        check_leaf(f, &(struct pki_plan){ .name = "a", .issuer = &middle }, &middle, rows[i].want);
        check_leaf(f, &(struct pki_plan){ .name = "a", .issuer = &middle }, NULL, "unknown-ca");
        pki_done(&middle);
    }
}

static void test_trust_path_length_and_order(void **state)
{
    struct fixture f = *(struct fixture *)*state;
    struct pki_cert strict = { 0 }, middle = { 0 }, low = { 0 }, leaf = { 0 }, direct = { 0 };
    const struct pki_cert *const chain[] = { &leaf, &low, &middle };
    const struct pki_cert *const shuffled[] = { &leaf, &middle, &f.other, &low, &f.root };
    const struct pki_cert *const below_strict[] = { &direct, &strict };
    const struct pki_cert *const first_middle[] = { &middle, &leaf, &low };

    pki_make(&middle, &(struct pki_plan){ .name = "m", .kind = PKI_CA, .issuer = &f.root });
    pki_make(&low, &(struct pki_plan){ .name = "low", .kind = PKI_CA, .issuer = &middle });
    pki_make(&leaf, &(struct pki_plan){ .name = "leaf", .issuer = &low });
    assert_string_equal(judged_at(&f, "", now_ms(), chain, 3), "good");
    assert_string_equal(judged_at(&f, "", now_ms(), shuffled, 5), "good");
    assert_string_equal(judged_at(&f, "", now_ms(), first_middle, 3), "wrong-purpose");
    assert_string_equal(judged_at(&f, "", now_ms(), chain, 2), "unknown-ca");
    assert_string_equal(judged_at(&f, "", now_ms(), chain, 0), "no-certificate");

    const struct pki_cert *const long_chain[9] = { &leaf, &low, &middle, &low, &low,
                                                   &low,  &low, &low,    &low };
    assert_string_equal(judged_at(&f, "", now_ms(), long_chain, 8), "good");
    assert_string_equal(judged_at(&f, "", now_ms(), long_chain, 9), "chain-too-long");

    /* pathLenConstraint 0: client certificates, and no CA below */
    pki_make(&strict, &(struct pki_plan){
                          .name = "strict", .kind = PKI_CA, .path_len = 1, .issuer = &f.root });
    pki_make(&direct, &(struct pki_plan){ .name = "direct", .issuer = &strict });
    assert_string_equal(judged_at(&f, "", now_ms(), below_strict, 2), "good");
    pki_done(&low);
    pki_done(&leaf);
    pki_make(&low, &(struct pki_plan){ .name = "low", .kind = PKI_CA, .issuer = &strict });
    pki_make(&leaf, &(struct pki_plan){ .name = "leaf", .issuer = &low });
    assert_string_equal(
        judged_at(&f, "", now_ms(), (const struct pki_cert *const[]){ &leaf, &low, &strict }, 3),
        "ca-constraint");
    /* also when it is a CA of the file that says so */
    pki_write(f.ca, (const struct pki_cert *const[]){ &strict }, 1);
    assert_string_equal(judged_at(&f, "", now_ms(), chain, 2), "ca-constraint");
    assert_string_equal(judged_at(&f, "", now_ms(), below_strict, 1), "good");
    pki_write(f.ca, (const struct pki_cert *const[]){ &f.root }, 1);
    pki_done(&strict);
    pki_done(&middle);
    pki_done(&low);
    pki_done(&leaf);
    pki_done(&direct);
}

/* An intermediate in the file is trusted by itself; two CAs of one name are told apart. */
static void test_trust_several_cas(void **state)
{
    struct fixture f = *(struct fixture *)*state;
    struct pki_cert a = { 0 }, b = { 0 }, c = { 0 };

    pki_make(&a, &(struct pki_plan){ .name = "a", .issuer = &f.middle });
    pki_make(&b, &(struct pki_plan){ .name = "b", .issuer = &f.root });
    pki_make(&c, &(struct pki_plan){ .name = "c", .issuer = &f.other });
    pki_write(f.ca, (const struct pki_cert *const[]){ &f.middle }, 1);
    assert_string_equal(judged_at(&f, "", now_ms(), (const struct pki_cert *const[]){ &a }, 1),
                        "good");
    assert_string_equal(judged_at(&f, "", now_ms(), (const struct pki_cert *const[]){ &b }, 1),
                        "unknown-ca");
    pki_write(f.ca, (const struct pki_cert *const[]){ &f.other, &f.root }, 2);
    assert_string_equal(judged_at(&f, "", now_ms(), (const struct pki_cert *const[]){ &b }, 1),
                        "good");
    assert_string_equal(judged_at(&f, "", now_ms(), (const struct pki_cert *const[]){ &c }, 1),
                        "good");
    pki_write(f.ca, (const struct pki_cert *const[]){ &f.root }, 1);
    pki_done(&a);
    pki_done(&b);
    pki_done(&c);
}

static void test_trust_times(void **state)
{
    const struct fixture *const f = *state;
    const time_t base = time(NULL) / 1000 * 1000;
    struct pki_cert leaf = { 0 };
    const struct pki_cert *const chain[] = { &leaf };
    const struct {
        int64_t at_ms;
        const char *want;
    } rows[] = {
        { base * INT64_C(1000) - 600001, "not-yet-valid" },
        { base * INT64_C(1000) - 600000, "good" }, /* both ends belong to it */
        { base * INT64_C(1000) + 600999, "good" },
        { base * INT64_C(1000) + 601000, "expired" },
        { INT64_MAX, "expired" },
        { 0, "not-yet-valid" },
    };

    pki_make(&leaf, &(struct pki_plan){
                        .name = "a", .issuer = &f->root, .from = base - 600, .until = base + 600 });
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(judged_at(f, "", rows[i].at_ms, chain, 1), rows[i].want);
    pki_done(&leaf);
}

static void test_trust_revocation(void **state)
{
    const struct fixture *const f = *state;
    const time_t now = time(NULL);
    struct pki_cert a = { 0 }, b = { 0 };
    const struct pki_crl clean = { .issuer = &f->root };
    const struct pki_crl revokes_a = { .issuer = &f->root, .revoked = &a };
    const struct pki_crl old = { .issuer = &f->root, .from = now - 7200, .until = now - 60 };
    const struct pki_crl old_a = { &f->root, &a, now - 7200, now - 60, NULL, false };
    const struct pki_crl early = { .issuer = &f->root, .from = now + 3600 };
    const struct pki_crl of_middle = { .issuer = &f->middle };
    const struct {
        struct pki_crl crls[2];
        size_t count;
        const char *a, *b;
    } rows[] = {
        { { clean }, 1, "good", "good" },
        { { revokes_a }, 1, "revoked", "good" },
        { { clean, revokes_a }, 2, "revoked", "good" },
        { { old }, 1, "crl-expired", "crl-expired" },
        { { old_a }, 1, "revoked", "crl-expired" },
        { { old_a, clean }, 2, "revoked", "good" }, /* what was revoked stays so */
        { { old, clean }, 2, "good", "good" },
        { { early }, 1, "crl-expired", "crl-expired" },
        { { of_middle }, 1, "no-crl", "no-crl" },
    };

    pki_make(&a, &(struct pki_plan){ .name = "a", .issuer = &f->root });
    pki_make(&b, &(struct pki_plan){ .name = "b", .issuer = &f->root });
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        pki_write_crls(f->crl, rows[i].crls, rows[i].count);
        assert_string_equal(
            judged_at(f, f->crl, now_ms(), (const struct pki_cert *const[]){ &a }, 1), rows[i].a);
        assert_string_equal(
            judged_at(f, f->crl, now_ms(), (const struct pki_cert *const[]){ &b }, 1), rows[i].b);
    }
    pki_done(&a);
    pki_done(&b);
}

static void test_trust_revocation_below_intermediates(void **state)
{
    const struct fixture *const f = *state;
    struct pki_cert a = { 0 }, twin = { 0 };
    const struct pki_cert *const chain[] = { &a, &f->middle };
    const struct {
        struct pki_crl crls[2];
        size_t count;
        const char *want;
    } rows[] = {
        { { { .issuer = &f->root }, { .issuer = &f->middle } }, 2, "good" },
        { { { .issuer = &f->root }, { .issuer = &f->middle, .revoked = &a } }, 2, "revoked" },
        { { { .issuer = &f->root, .revoked = &f->middle }, { .issuer = &f->middle } },
          2,
          "revoked" },
        { { { .issuer = &f->root } }, 1, "no-crl" },
        { { { .issuer = &f->middle } }, 1, "no-crl" },
        /* signed by somebody else: no CRL of that CA */
        { { { .issuer = &f->root }, { .issuer = &f->middle, .signer = &f->other } }, 2, "no-crl" },
        /* the serial number of a under another issuer */
        { { { .issuer = &f->root, .revoked = &twin }, { .issuer = &f->middle } }, 2, "good" },
    };

    pki_make(&a, &(struct pki_plan){ .name = "a", .issuer = &f->middle, .serial = "\x42\x42" });
    pki_make(&twin, &(struct pki_plan){ .name = "t", .issuer = &f->root, .serial = "\x42\x42" });
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        pki_write_crls(f->crl, rows[i].crls, rows[i].count);
        assert_string_equal(judged_at(f, f->crl, now_ms(), chain, 2), rows[i].want);
    }
    pki_done(&a);
    pki_done(&twin);
}

static void write_text(const char *path, const char *text)
{
    FILE *const file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void check_files(const struct fixture *f, const char *ca, const char *crl)
{
    struct client_trust *trust = NULL;
    struct kms_error err = { 0 };

    CHECK(client_trust_new(ca, crl, &trust, &err) < 0);
    CHECK(strstr(err.message, f->dir) != NULL); /* names the file */
    CHECK(err.code == KMS_ERR_CONFIG);
}

static void test_trust_refuses_files(void **state)
{
    const struct fixture *const f = *state;
    struct pki_cert leaf = { 0 }, usage = { 0 };
    char path[96];
    const struct pki_crl forged = { .issuer = &f->root, .signer = &f->other };
    const struct pki_crl weak = { .issuer = &f->root, .sha1 = true };

    (void)snprintf(path, sizeof(path), "%s/x.pem", f->dir);
    check_files(f, path, "");
    write_text(path, "");
    check_files(f, path, "");
    check_files(f, f->ca, path);
    write_text(path, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    check_files(f, path, "");
    write_text(path, "-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n");
    check_files(f, f->ca, path);
    pki_make(&leaf, &(struct pki_plan){ .name = "leaf", .issuer = &f->root });
    pki_write(path, (const struct pki_cert *const[]){ &f->root, &leaf }, 2);
    check_files(f, path, "");
    pki_make(&usage,
             &(struct pki_plan){ .name = "u", .kind = PKI_CA, .usage = GNUTLS_KEY_CRL_SIGN });
    pki_write(path, (const struct pki_cert *const[]){ &usage }, 1);
    check_files(f, path, "");
    pki_write_crls(path, &forged, 1);
    check_files(f, f->ca, path);
    pki_write_crls(path, &weak, 1);
    check_files(f, f->ca, path);
    check_files(f, f->ca, f->ca);
    assert_int_equal(unlink(path), 0);
    pki_done(&leaf);
    pki_done(&usage);
}

/* Facts */

static void test_client_cert_facts(void **state)
{
    static const char *const uris[] = { "spiffe://example/a", "arn:aws:iam::1:user/x", NULL };
    const struct fixture *const f = *state;
    struct pki_cert leaf = { 0 };
    gnutls_datum_t der = { 0 };

    pki_make(&leaf, &(struct pki_plan){ .name = "Gate, \"1\"", .issuer = &f->root, .uris = uris });
    assert_int_equal(gnutls_x509_crt_export2(leaf.crt, GNUTLS_X509_FMT_DER, &der), 0);
    struct client_cert *const cert = client_cert_new(span_of(der.data, der.size), true);
    CHECK(cert != NULL);
    const struct http_client_cert *const facts = client_cert_facts(cert);
    CHECK(facts->verified);
    assert_int_equal(strlen(facts->spki_sha256), 64);
    assert_string_equal(facts->subject, "CN=Gate\\, \\\"1\\\"");
    assert_int_equal(facts->san_count, 2);
    assert_string_equal(facts->sans[0], "URI:spiffe://example/a");
    assert_string_equal(facts->sans[1], "URI:arn:aws:iam::1:user/x");
    CHECK(client_cert_ref(cert) == cert);
    client_cert_unref(cert);
    assert_string_equal(facts->sans[0], "URI:spiffe://example/a");
    client_cert_unref(cert);
    client_cert_unref(NULL);

    for (size_t len = 0; len < der.size; len += 7) /* truncated anywhere */
        CHECK(client_cert_new(span_of(der.data, len), true) == NULL);
    gnutls_free(der.data);
    pki_done(&leaf);
}

static struct client_cert *facts_of(const struct pki_cert *leaf)
{
    gnutls_datum_t der = { 0 };

    assert_int_equal(gnutls_x509_crt_export2(leaf->crt, GNUTLS_X509_FMT_DER, &der), 0);
    struct client_cert *const cert = client_cert_new(span_of(der.data, der.size), false);
    gnutls_free(der.data);
    return cert;
}

static void test_client_cert_bounds(void **state)
{
    static char long_name[CLIENT_CERT_TEXT_LEN + 2];
    const char *many[CLIENT_CERT_SANS + 2] = { NULL };
    const char *const long_one[] = { long_name, NULL };
    struct pki_cert leaf = { 0 };
    struct client_cert *cert = NULL;

    (void)state;
    for (size_t i = 0; i < CLIENT_CERT_SANS; i++)
        many[i] = "urn:a";
    pki_make(&leaf, &(struct pki_plan){ .name = "64", .uris = many });
    cert = facts_of(&leaf);
    CHECK(cert != NULL && client_cert_facts(cert)->san_count == CLIENT_CERT_SANS);
    CHECK(!client_cert_facts(cert)->verified);
    client_cert_unref(cert);
    pki_done(&leaf);
    many[CLIENT_CERT_SANS] = "urn:a";
    pki_make(&leaf, &(struct pki_plan){ .name = "65", .uris = many });
    CHECK(facts_of(&leaf) == NULL);
    pki_done(&leaf);

    memset(long_name, 'a', sizeof(long_name) - 1);
    pki_make(&leaf, &(struct pki_plan){ .name = "long", .uris = long_one });
    CHECK(facts_of(&leaf) == NULL);
    pki_done(&leaf);
    pki_make(&leaf, &(struct pki_plan){ .name = "weak", .rsa_bits = 1024 });
    CHECK(facts_of(&leaf) == NULL);
    pki_done(&leaf);
}

/* An RSA key whose public exponent is as long as its modulus: the private one, exchanged. */
static gnutls_x509_privkey_t costly_key(void)
{
    gnutls_datum_t m, e, d, p, q, u, e1, e2;
    gnutls_x509_privkey_t plain = NULL, costly = NULL;

    assert_int_equal(gnutls_x509_privkey_init(&plain), 0);
    assert_int_equal(gnutls_x509_privkey_init(&costly), 0);
    assert_int_equal(gnutls_x509_privkey_generate(plain, GNUTLS_PK_RSA, 2048, 0), 0);
    assert_int_equal(gnutls_x509_privkey_export_rsa_raw2(plain, &m, &e, &d, &p, &q, &u, &e1, &e2),
                     0);
    assert_int_equal(gnutls_x509_privkey_import_rsa_raw2(costly, &m, &d, &e, &p, &q, &u, &e, &e),
                     0);
    const gnutls_datum_t *const parts[] = { &m, &e, &d, &p, &q, &u, &e1, &e2 };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        gnutls_free(parts[i]->data);
    gnutls_x509_privkey_deinit(plain);
    return costly;
}

static void test_client_cert_refuses_costly_keys(void **state)
{
    const struct fixture *const f = *state;
    struct pki_cert leaf = { 0 };

    pki_make(&leaf, &(struct pki_plan){ .name = "a", .issuer = &f->root, .key = costly_key() });
    CHECK(facts_of(&leaf) == NULL);
    pki_done(&leaf);
}

/* No byte of a certificate can change and leave it good. */
static void test_trust_changed_certificates(void **state)
{
    const struct fixture *const f = *state;
    struct client_trust *trust = NULL;
    struct client_validity validity = { 0 };
    struct kms_error err = { 0 };
    struct pki_cert leaf = { 0 };
    gnutls_datum_t der = { 0 };

    pki_make(&leaf, &(struct pki_plan){ .name = "a", .issuer = &f->root });
    assert_int_equal(gnutls_x509_crt_export2(leaf.crt, GNUTLS_X509_FMT_DER, &der), 0);
    CHECK_OK(client_trust_new(f->ca, "", &trust, &err), err);
    CHECK(client_trust_judge(trust, &der, 1, now_ms(), &validity) == NULL);
    for (unsigned i = 0; i < 8 * der.size; i++) {
        der.data[i / 8] ^= (unsigned char)(1u << i % 8);
        CHECK(client_trust_judge(trust, &der, 1, now_ms(), &validity) != NULL);
        client_cert_unref(client_cert_new(span_of(der.data, der.size), false));
        der.data[i / 8] ^= (unsigned char)(1u << i % 8);
    }
    CHECK(client_trust_judge(trust, &der, 1, now_ms(), &validity) == NULL);
    client_trust_free(trust);
    gnutls_free(der.data);
    pki_done(&leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trust_leaf_of_every_kind),
        cmocka_unit_test(test_trust_leaf_of_others),
        cmocka_unit_test(test_trust_intermediates),
        cmocka_unit_test(test_trust_path_length_and_order),
        cmocka_unit_test(test_trust_several_cas),
        cmocka_unit_test(test_trust_times),
        cmocka_unit_test(test_trust_revocation),
        cmocka_unit_test(test_trust_revocation_below_intermediates),
        cmocka_unit_test(test_trust_refuses_files),
        cmocka_unit_test(test_client_cert_facts),
        cmocka_unit_test(test_client_cert_bounds),
        cmocka_unit_test(test_client_cert_refuses_costly_keys),
        cmocka_unit_test(test_trust_changed_certificates),
    };
    return run_group(tests, ARRAY_LEN(tests), make_fixture, drop_fixture, NULL);
}
