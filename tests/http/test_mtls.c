/* Client certificates at the TLS listener: who gets in, what requests know of them, reload, time.
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/http/client_cert.h"
#include "tests/http/pki.h"
#include "tests/http/rig.h"

#define TLS12   "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define TLS13   "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define SLOWEST 30 /* seconds, far more than anything waited for here */

static const char *const versions[] = { TLS12, TLS13 };

struct fixture {
    char dir[64], ca[96], crl[96];
    struct pki_cert root, other, good, self, stranger;
    struct rig rig;
};

static void begin(struct fixture *f, const char *mode, const char *more)
{
    static const char *const uris[] = { "spiffe://example/gate", NULL };
    const char *const base = getenv("TMPDIR");
    char settings[512];

    (void)snprintf(f->dir, sizeof(f->dir), "%.40s/hsmkms-mtls-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->ca, sizeof(f->ca), "%s/ca.pem", f->dir);
    (void)snprintf(f->crl, sizeof(f->crl), "%s/crl.pem", f->dir);
    pki_make(&f->root, &(struct pki_plan){ .name = "root", .kind = PKI_CA });
    pki_make(&f->other, &(struct pki_plan){ .name = "other", .kind = PKI_CA });
    pki_make(&f->good, &(struct pki_plan){ .name = "good", .issuer = &f->root, .uris = uris });
    pki_make(&f->self, &(struct pki_plan){ .name = "self" });
    pki_make(&f->stranger, &(struct pki_plan){ .name = "stranger", .issuer = &f->other });
    pki_write(f->ca, (const struct pki_cert *const[]){ &f->root }, 1);
    pki_write_crls(f->crl, &(struct pki_crl){ .issuer = &f->root }, 1);
    if (strcmp(mode, "require") == 0)
        (void)snprintf(settings, sizeof(settings),
                       "[https]\nclient_certificates = require\nclient_ca = %s\n"
                       "client_crl = %s\n%s",
                       f->ca, f->crl, more);
    else
        (void)snprintf(settings, sizeof(settings), "[https]\nclient_certificates = %s\n%s", mode,
                       more);
    rig_start(&f->rig, settings);
}

static void end(struct fixture *f)
{
    struct pki_cert *const certs[] = { &f->root, &f->other, &f->good, &f->self, &f->stranger };

    rig_end(&f->rig);
    for (size_t i = 0; i < ARRAY_LEN(certs); i++)
        pki_done(certs[i]);
    (void)unlink(f->ca);
    (void)unlink(f->crl);
    assert_int_equal(rmdir(f->dir), 0);
}

/* Opens a connection with this certificate, or with none. */
static bool open_with(struct fixture *f, struct client *client, const char *priority,
                      struct pki_cert *cert)
{
    struct client_identity identity = { 0 };

    if (cert == NULL)
        return client_open(client, f->rig.tls_port, priority);
    identity = (struct client_identity){ &cert->crt, 1, cert->key };
    return client_open_as(client, f->rig.tls_port, priority, &identity);
}

/* What /client says, or an empty text: no service. */
static const char *asked(struct client *client)
{
    static struct reply reply;

    if (!client_post(client, "/client", "", "", &reply) || reply.status != 200)
        return "";
    return reply.body;
}

static const char *asked_as(struct fixture *f, const char *priority, struct pki_cert *cert)
{
    struct client client = { 0 };

    const char *const said = open_with(f, &client, priority, cert) ? asked(&client) : "";
    client_close(&client);
    return said;
}

static struct client_cert *facts_of(const struct pki_cert *leaf)
{
    gnutls_datum_t der = { 0 };

    assert_int_equal(gnutls_x509_crt_export2(leaf->crt, GNUTLS_X509_FMT_DER, &der), 0);
    struct client_cert *const cert = client_cert_new(span_of(der.data, der.size), false);
    gnutls_free(der.data);
    assert_non_null(cert);
    return cert;
}

/* Checks a line of /client: which listener, whether verified, whose key. */
static void check_said(const char *said, const char *word, const struct pki_cert *cert,
                       const char *rest)
{
    struct client_cert *const facts = facts_of(cert);
    char want[256];

    (void)snprintf(want, sizeof(want), "https|%s|%s|%s", word,
                   client_cert_facts(facts)->spki_sha256, rest);
    assert_string_equal(said, want);
    client_cert_unref(facts);
}

static void test_mtls_off_asks_for_nothing(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    begin(&f, "off", "");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        assert_string_equal(asked_as(&f, versions[i], NULL), "https|-||\n");
        assert_string_equal(asked_as(&f, versions[i], &f.good), "https|-||\n");
    }
    end(&f);
}

static void test_mtls_request_proves_keys(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    begin(&f, "request", "");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        assert_string_equal(asked_as(&f, versions[i], NULL), "https|-||\n");
        check_said(asked_as(&f, versions[i], &f.self), "-", &f.self, "CN=self\n");
        check_said(asked_as(&f, versions[i], &f.good), "-", &f.good,
                   "CN=good\nURI:spiffe://example/gate\n");
    }
    end(&f);
}

static void test_mtls_require(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    begin(&f, "require", "");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct pki_cert *const bad[] = { NULL, &f.self, &f.stranger };
        for (size_t j = 0; j < ARRAY_LEN(bad); j++)
            assert_string_equal(asked_as(&f, versions[i], bad[j]), "");
        check_said(asked_as(&f, versions[i], &f.good), "verified", &f.good,
                   "CN=good\nURI:spiffe://example/gate\n");
    }
    end(&f);
}

/* Neither the plain listener nor the one for health asks for anything. */
static void test_mtls_other_listeners(void **state)
{
    struct fixture f = { 0 };
    struct client client = { 0 };

    (void)state;
    begin(&f, "require", "");
    CHECK(client_open(&client, f.rig.port, NULL));
    assert_string_equal(asked(&client), "http|-||\n");
    client_close(&client);
    CHECK(client_open(&client, f.rig.ops_port, NULL));
    assert_string_equal(asked(&client), "ops|-||\n");
    client_close(&client);
    end(&f);
}

/* The alert that ends a refused handshake. */
static gnutls_alert_description_t alert_for(struct fixture *f, const char *priority,
                                            struct pki_cert *cert)
{
    struct client client = { 0 };
    char byte = 0;

    if (open_with(f, &client, priority, cert)) /* TLS 1.3: the client was done first */
        CHECK(gnutls_record_recv(client.tls, &byte, 1) < 0);
    const gnutls_alert_description_t alert = gnutls_alert_get(client.tls);
    client_close(&client);
    return alert;
}

/* Stops before the proof is sent; GnuTLS then goes on behind it. */
static int leave_out(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                     const gnutls_datum_t *message)
{
    bool *const left = gnutls_session_get_ptr(session);

    (void)type, (void)when, (void)message;
    if (incoming || *left)
        return 0;
    *left = true;
    return GNUTLS_E_AGAIN;
}

/* Shows a certificate and does not prove to have its key. True when that was possible. */
static bool is_served_without_proof(struct fixture *f, const char *priority)
{
    struct client client = { 0 };
    bool left = false;
    int code = 0;

    CHECK(client_open(&client, f->rig.tls_port, NULL));
    CHECK(gnutls_certificate_allocate_credentials(&client.credentials) == 0 &&
          gnutls_certificate_set_x509_key(client.credentials, &f->good.crt, 1, f->good.key) == 0 &&
          gnutls_init(&client.tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) == 0 &&
          gnutls_priority_set_direct(client.tls, priority, NULL) == 0 &&
          gnutls_credentials_set(client.tls, GNUTLS_CRD_CERTIFICATE, client.credentials) == 0);
    gnutls_session_set_ptr(client.tls, &left);
    gnutls_handshake_set_hook_function(client.tls, GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY,
                                       GNUTLS_HOOK_PRE, leave_out);
    gnutls_transport_set_int(client.tls, client.fd);
    for (int i = 0; i < 10 && (i == 0 || (code < 0 && !gnutls_error_is_fatal(code))); i++)
        code = gnutls_handshake(client.tls);
    CHECK(left);
    const bool served = code == 0 && *asked(&client);
    client_close(&client);
    return served;
}

/* A key that is too weak, or costs too much, is refused in every mode and before it is used. */
static void test_mtls_request_refuses_odd_keys(void **state)
{
    struct fixture f = { 0 };
    struct pki_cert weak = { 0 };

    (void)state;
    begin(&f, "request", "");
    pki_make(&weak, &(struct pki_plan){ .name = "weak", .rsa_bits = 1024 });
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        assert_string_equal(asked_as(&f, versions[i], &weak), "");
        assert_int_equal(alert_for(&f, versions[i], &weak), GNUTLS_A_BAD_CERTIFICATE);
    }
    pki_done(&weak);
    end(&f);
}

static void test_mtls_certificate_needs_its_proof(void **state)
{
    static const char *const modes[] = { "request", "require" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct fixture f = { 0 };
        begin(&f, modes[i], "");
        for (size_t j = 0; j < ARRAY_LEN(versions); j++) {
            CHECK(!is_served_without_proof(&f, versions[j]));
            CHECK(*asked_as(&f, versions[j], &f.good));
        }
        end(&f);
    }
}

static void test_mtls_refusals_are_alerts(void **state)
{
    struct fixture f = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    begin(&f, "require", "");
    assert_int_equal(alert_for(&f, TLS12, NULL), GNUTLS_A_HANDSHAKE_FAILURE);
    assert_int_equal(alert_for(&f, TLS13, NULL), GNUTLS_A_CERTIFICATE_REQUIRED);
    pki_write_crls(f.crl, &(struct pki_crl){ .issuer = &f.root, .revoked = &f.good }, 1);
    CHECK_OK(http_server_reload_tls(f.rig.server, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        assert_int_equal(alert_for(&f, versions[i], &f.stranger), GNUTLS_A_UNKNOWN_CA);
        assert_int_equal(alert_for(&f, versions[i], &f.good), GNUTLS_A_CERTIFICATE_REVOKED);
    }
    end(&f);
}

/* One that was let in is judged again by what a reload brought. */
static void test_mtls_reload_reaches_open_connections(void **state)
{
    struct fixture f = { 0 };
    struct client kept = { 0 }, idle = { 0 };
    struct reply reply = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    begin(&f, "require", "");
    CHECK(open_with(&f, &kept, TLS13, &f.good) && *asked(&kept));
    CHECK(open_with(&f, &idle, TLS12, &f.good) && *asked(&idle));

    /* the same files, and files that cannot be used: it goes on */
    CHECK_OK(http_server_reload_tls(f.rig.server, &err), err);
    CHECK(*asked(&kept));
    CHECK(truncate(f.crl, 20) == 0);
    CHECK_FAILS(http_server_reload_tls(f.rig.server, &err), err, KMS_ERR_CONFIG);
    CHECK(truncate(f.ca, 20) == 0);
    CHECK_FAILS(http_server_reload_tls(f.rig.server, &err), err, KMS_ERR_CONFIG);
    CHECK(*asked(&kept));
    CHECK(*asked_as(&f, TLS13, &f.good));

    /* another CA: the stranger is in, the others are out at their next request */
    pki_write(f.ca, (const struct pki_cert *const[]){ &f.other }, 1);
    pki_write_crls(f.crl, &(struct pki_crl){ .issuer = &f.other }, 1);
    CHECK_OK(http_server_reload_tls(f.rig.server, &err), err);
    CHECK(*asked_as(&f, TLS13, &f.stranger));
    assert_string_equal(asked_as(&f, TLS13, &f.good), "");
    CHECK(client_post(&kept, "/client", "", "", &reply));
    assert_int_equal(reply.status, 400);
    CHECK(strstr(reply.body, "AccessDeniedException") != NULL);
    CHECK(strstr(reply.head, "Connection: close") != NULL);
    CHECK(client_is_closed(&kept));
    assert_string_equal(asked(&idle), "");
    CHECK(client_is_closed(&idle));
    client_close(&kept);
    client_close(&idle);
    end(&f);
}

/* Two requests at once: the second is not served either. */
static void test_mtls_refused_connection_serves_no_more(void **state)
{
    static const char two[] = "POST /client HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
                              "POST /client HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    struct fixture f = { 0 };
    struct client client = { 0 };
    struct reply reply = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    begin(&f, "require", "");
    CHECK(open_with(&f, &client, TLS13, &f.good) && *asked(&client));
    pki_write_crls(f.crl, &(struct pki_crl){ .issuer = &f.root, .revoked = &f.good }, 1);
    CHECK_OK(http_server_reload_tls(f.rig.server, &err), err);
    CHECK(client_send_text(&client, two));
    CHECK(client_read(&client, &reply));
    assert_int_equal(reply.status, 400);
    CHECK(!client_read(&client, &reply));
    client_close(&client);
    end(&f);
}

static bool is_refused_within(struct client *client, int64_t end_us)
{
    while (clock_mono_us() < end_us) {
        if (!*asked(client))
            return true;
        (void)nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
    }
    return false;
}

/* A certificate, and a CRL, that last a few seconds; longer ones when the machine is slow. */
static void test_mtls_open_connection_outlives_its_certificate(void **state)
{
    struct fixture f = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    begin(&f, "require", "");
    for (int what = 0; what < 2; what++) {
        struct client client = { 0 };
        struct pki_cert leaf = { 0 };
        bool served = false;
        for (int seconds = 2; !served && seconds < SLOWEST; seconds *= 2) {
            const time_t until = time(NULL) + seconds;
            client_close(&client);
            pki_done(&leaf);
            pki_make(&leaf, &(struct pki_plan){
                                .name = "a", .issuer = &f.root, .until = what ? 0 : until });
            pki_write_crls(f.crl, &(struct pki_crl){ .issuer = &f.root, .until = what ? until : 0 },
                           1);
            CHECK_OK(http_server_reload_tls(f.rig.server, &err), err);
            served = open_with(&f, &client, TLS13, &leaf) && *asked(&client);
        }
        CHECK(served);
        CHECK(is_refused_within(&client, clock_mono_us() + 2 * SLOWEST * INT64_C(1000000)));
        CHECK(client_is_closed(&client));
        assert_string_equal(asked_as(&f, TLS13, &leaf), "");
        CHECK(!*asked_as(&f, TLS13, &f.good) == (what == 1)); /* an old CRL stops everybody */
        client_close(&client);
        pki_done(&leaf);
    }
    end(&f);
}

/* The server has stopped and all connections with it, but this door still works. */
static void *read_facts_late(void *arg)
{
    struct rig *const rig = arg;

    (void)nanosleep(&(struct timespec){ 0, 500000000 }, NULL);
    (void)pthread_mutex_lock(&rig->lock);
    assert_string_equal(http_exchange_request(rig->held[0])->client_cert.subject, "CN=good");
    (void)pthread_mutex_unlock(&rig->lock);
    rig_open_gate(rig);
    return NULL;
}

/* Facts live as long as the request, also when the connection does not. */
static void test_mtls_facts_outlive_the_connection(void **state)
{
    struct fixture f = { 0 };
    struct client client = { 0 };
    pthread_t later;

    (void)state;
    begin(&f, "require", "");
    CHECK(open_with(&f, &client, TLS13, &f.good));
    CHECK(client_send_text(&client, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    rig_wait_held(&f.rig, 1);
    client_close(&client);
    assert_int_equal(pthread_create(&later, NULL, read_facts_late, &f.rig), 0);
    rig_stop_server(&f.rig, 0);
    (void)pthread_join(later, NULL);
    end(&f);
}

/* Handshakes */

/* Silent, and a byte now and then: neither holds its place for long. */
static void test_mtls_slow_handshakes_are_cut(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    struct fixture f = { 0 };
    struct client silent = { 0 }, slow = { 0 }, plain = { 0 }, done = { 0 };
    struct reply reply = { 0 };
    const int64_t end_us = clock_mono_us() + SLOWEST * INT64_C(1000000);
    bool cut = false;

    (void)state;
    begin(&f, "off", "[limits]\nhandshake_time = 400\nrequest_time = 600000\nidle_time = 3600\n");
    CHECK(client_open(&silent, f.rig.tls_port, NULL));
    CHECK(client_open(&slow, f.rig.tls_port, NULL));
    CHECK(client_open(&plain, f.rig.port, NULL)); /* has no handshake to be late with */
    CHECK(client_open(&done, f.rig.tls_port, TLS13));
    for (size_t i = 0; !cut && clock_mono_us() < end_us; i++) {
        cut = !client_send(&slow, i < sizeof(hello) - 1 ? &hello[i] : "a", 1);
        (void)nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
    }
    CHECK(cut);
    CHECK(client_is_closed(&silent));
    CHECK(client_post(&plain, "/echo", "", "a", &reply));
    assert_int_equal(reply.status, 200);
    CHECK(client_post(&done, "/echo", "", "a", &reply));
    assert_int_equal(reply.status, 200);
    client_close(&silent);
    client_close(&slow);
    client_close(&plain);
    client_close(&done);
    end(&f);
}

/* Configurations that must not start */

static void test_mtls_settings(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "[https]\nport = 1\nclient_certificates = yes\n", "must be off, request or require" },
        { "[https]\nport = 1\nclient_certificates = require\n", "needs https.client_ca" },
        { "[https]\nport = 1\nclient_certificates = require\nclient_crl = /x\n",
          "needs https.client_ca" },
        { "[https]\nport = 1\nclient_ca = /x\n", "https.client_ca is used only with" },
        { "[https]\nport = 1\nclient_crl = /x\n", "https.client_crl is used only with" },
        { "[https]\nport = 1\nclient_certificates = request\nclient_ca = /x\n", "is used only" },
        { "[https]\nclient_certificates = request\n", "needs https.port" },
        { "[https]\nclient_certificates = require\nclient_ca = /x\n", "needs https.port" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(settings) settings = { 0 };
        struct kms_error err = { 0 };
        CHECK(settings_parse(span_text(rows[i].text), &settings, &err) < 0);
        assert_string_equal(kms_err_name(err.code), kms_err_name(KMS_ERR_CONFIG));
        if (strstr(err.message, rows[i].says) == NULL)
            fail_msg("%s: %s", rows[i].text, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mtls_off_asks_for_nothing),
        cmocka_unit_test(test_mtls_request_proves_keys),
        cmocka_unit_test(test_mtls_require),
        cmocka_unit_test(test_mtls_other_listeners),
        cmocka_unit_test(test_mtls_request_refuses_odd_keys),
        cmocka_unit_test(test_mtls_certificate_needs_its_proof),
        cmocka_unit_test(test_mtls_refusals_are_alerts),
        cmocka_unit_test(test_mtls_reload_reaches_open_connections),
        cmocka_unit_test(test_mtls_refused_connection_serves_no_more),
        cmocka_unit_test(test_mtls_open_connection_outlives_its_certificate),
        cmocka_unit_test(test_mtls_facts_outlive_the_connection),
        cmocka_unit_test(test_mtls_slow_handshakes_are_cut),
        cmocka_unit_test(test_mtls_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
