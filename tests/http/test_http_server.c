/* Time and load: deadlines, the queue, stopping, TLS. */

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/x509.h>

#include "hsmkms/base/clock.h"
#include "tests/http/rig.h"

#define TLS_ANY   "NORMAL"
#define POST      "POST /echo HTTP/1.1\r\nHost: h\r\n"
#define SLOWEST_S 30 /* far more than any limit set here: a deadline that works is well before */

static void sleep_ms(long ms)
{
    (void)nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static struct http_status status_of(struct rig *rig)
{
    struct http_status status = { 0 };

    http_server_status(rig->server, &status);
    return status;
}

/* Deadlines. request_time = 400 ms, idle_time = 3600 s */

static const char short_time[] = "[limits]\nrequest_time = 400\nidle_time = 3600\n";

/* Sends a byte every 50 ms, which no idle time-out would notice, until the server has enough. */
static bool trickle_is_cut(struct client *client, const char *before, char byte)
{
    const int64_t end_us = clock_mono_us() + SLOWEST_S * INT64_C(1000000);

    if (!client_send_text(client, before))
        return false;
    while (clock_mono_us() < end_us) {
        if (!client_send(client, &byte, 1))
            return true;
        sleep_ms(50);
    }
    return false;
}

static void test_http_slow_requests_are_cut(void **state)
{
    static const struct {
        const char *what, *before;
        char byte;
    } rows[] = {
        { "request line", "POST /", 'a' },
        { "header", POST "X-A: ", 'a' },
        { "body", POST "Content-Length: 8000\r\n\r\n", 'a' },
        { "chunk size", POST "Transfer-Encoding: chunked\r\n\r\n", '0' },
    };
    static const char *const priorities[] = { NULL, TLS_ANY };
    struct rig rig = { 0 };

    (void)state;
    rig_start(&rig, short_time);
    for (size_t i = 0; i < ARRAY_LEN(rows) * 2; i++) {
        struct client client = { 0 };
        CHECK(client_open(&client, i % 2 ? rig.tls_port : rig.port, priorities[i % 2]));
        if (!trickle_is_cut(&client, rows[i / 2].before, rows[i / 2].byte))
            fail_msg("slow %s was not cut", rows[i / 2].what);
        client_close(&client);
    }
    rig_end(&rig);
}

static void test_http_stalled_requests_are_cut(void **state)
{
    static const char *const rows[] = { POST, POST "Content-Length: 5\r\n\r\na" };
    struct rig rig = { 0 };
    struct client client = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, short_time);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK(client_open(&client, rig.port, NULL));
        CHECK(client_post(&client, "/echo", "", "first", &reply)); /* also after a good one */
        CHECK(client_send_text(&client, rows[i]));
        CHECK(client_is_closed(&client));
        client_close(&client);
    }
    rig_end(&rig);
}

/* A connection that says nothing, and a request that is being served, have no such deadline. */
static void test_http_deadline_spares_idle_and_served(void **state)
{
    struct rig rig = { 0 };
    struct client idle = { 0 }, served = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, short_time);
    CHECK(client_open(&idle, rig.port, NULL));
    CHECK(client_post(&idle, "/echo", "", "a", &reply));
    CHECK(client_open(&served, rig.port, NULL));
    CHECK(client_send_text(&served, "POST /hold HTTP/1.1\r\nHost: h\r\n"
                                    "Content-Length: 1\r\n\r\na"));
    rig_wait_held(&rig, 1);
    sleep_ms(1500);
    rig_open_gate(&rig);
    CHECK(client_read(&served, &reply));
    assert_int_equal(reply.status, 200);
    CHECK(client_post(&idle, "/echo", "", "b", &reply));
    assert_int_equal(reply.status, 200);
    client_close(&idle);
    client_close(&served);
    rig_end(&rig);
}

static void test_http_idle_time(void **state)
{
    struct rig rig = { 0 };
    struct client client = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[limits]\nidle_time = 1\n");
    CHECK(client_open(&client, rig.port, NULL));
    CHECK(client_post(&client, "/echo", "", "a", &reply));
    CHECK(client_is_closed(&client));
    client_close(&client);
    rig_end(&rig);
}

/* The client is gone before the answer; the exchange is freed all the same (ASan would tell). */
static void test_http_client_leaves_while_held(void **state)
{
    struct rig rig = { 0 };
    struct client client = { 0 };

    (void)state;
    rig_start(&rig, "");
    for (size_t i = 0; i < 20; i++) {
        CHECK(client_open(&client, i % 2 ? rig.tls_port : rig.port, i % 2 ? TLS_ANY : NULL));
        CHECK(client_send_text(&client, "POST /hold HTTP/1.1\r\nHost: h\r\n"
                                        "Content-Length: 1\r\n\r\na"));
        rig_wait_held(&rig, i + 1);
        client_close(&client);
    }
    rig_open_gate(&rig);
    for (int i = 0; i < SLOWEST_S * 100 && status_of(&rig).connections; i++)
        sleep_ms(10);
    assert_int_equal(status_of(&rig).connections, 0);
    rig_end(&rig);
}

/* Stopping */

#define CROWD 200

static void open_crowd(struct rig *rig, struct client *crowd)
{
    for (size_t i = 0; i < CROWD; i++) {
        const bool tls = i % 4 == 0;
        CHECK(client_open(&crowd[i], tls ? rig->tls_port : rig->port, tls ? TLS_ANY : NULL));
        CHECK(client_send_text(&crowd[i], "POST /hold HTTP/1.1\r\nHost: h\r\n"
                                          "Content-Length: 1\r\n\r\na"));
    }
    rig_wait_held(rig, CROWD);
}

/* Doors that do not answer do not keep the clients: they get a 503, and the late answers go. */
static void *open_gate_later(void *arg)
{
    sleep_ms(1500);
    rig_open_gate(arg);
    return NULL;
}

static void test_http_stop_with_200_suspended(void **state)
{
    struct rig rig = { 0 };
    static struct client crowd[CROWD];
    struct reply reply = { 0 };
    pthread_t later;

    (void)state;
    rig_start(&rig, "");
    open_crowd(&rig, crowd);
    assert_int_equal(pthread_create(&later, NULL, open_gate_later, &rig), 0);
    rig_stop_server(&rig, 100);
    (void)pthread_join(later, NULL);
    for (size_t i = 0; i < CROWD; i++) {
        CHECK(client_read(&crowd[i], &reply));
        assert_int_equal(reply.status, 503);
        CHECK(strstr(reply.head, "Connection: close"));
        CHECK(client_is_closed(&crowd[i]));
        client_close(&crowd[i]);
    }
    rig_end(&rig);
}

static void test_http_stop_drains_running_requests(void **state)
{
    struct rig rig = { 0 };
    static struct client crowd[CROWD];
    struct reply reply = { 0 };
    pthread_t later;

    (void)state;
    rig_start(&rig, "");
    open_crowd(&rig, crowd);
    assert_int_equal(pthread_create(&later, NULL, open_gate_later, &rig), 0);
    rig_stop_server(&rig, SLOWEST_S * 1000);
    (void)pthread_join(later, NULL);
    for (size_t i = 0; i < CROWD; i++) {
        CHECK(client_read(&crowd[i], &reply));
        assert_int_equal(reply.status, 200);
        client_close(&crowd[i]);
    }
    rig_end(&rig);
}

static void test_http_stop_refuses_what_waits(void **state)
{
    struct rig rig = { 0 };
    struct client running = { 0 }, waiting = { 0 };
    struct reply reply = { 0 };
    pthread_t later;

    (void)state;
    rig_start(&rig, "[service]\nworkers = 1\n[limits]\nqueue_time = 60000\n");
    CHECK(client_open(&running, rig.port, NULL));
    CHECK(client_open(&waiting, rig.port, NULL));
    CHECK(client_send_text(&running, "GET /block HTTP/1.1\r\nHost: h\r\n\r\n"));
    rig_wait_blocked(&rig, 1);
    CHECK(client_send_text(&waiting, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"));
    while (status_of(&rig).queued == 0)
        sleep_ms(1);
    assert_int_equal(pthread_create(&later, NULL, open_gate_later, &rig), 0);
    rig_stop_server(&rig, 0);
    (void)pthread_join(later, NULL);
    CHECK(client_read(&waiting, &reply));
    assert_int_equal(reply.status, 503);
    CHECK(client_read(&running, &reply));
    assert_int_equal(reply.status, 503);
    client_close(&running);
    client_close(&waiting);
    rig_end(&rig);
}

/* The queue */

static void test_http_full_queue_throttles(void **state)
{
    struct rig rig = { 0 };
    struct client blocker = { 0 }, waiting[2] = { 0 }, extra = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[service]\nworkers = 1\n[limits]\nqueue = 2\nqueue_time = 60000\n");
    CHECK(client_open(&blocker, rig.port, NULL));
    CHECK(client_send_text(&blocker, "GET /block HTTP/1.1\r\nHost: h\r\n\r\n"));
    rig_wait_blocked(&rig, 1);
    for (size_t i = 0; i < 2; i++) {
        CHECK(client_open(&waiting[i], rig.port, NULL));
        CHECK(client_send_text(&waiting[i], "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"));
        while (status_of(&rig).queued <= i)
            sleep_ms(1);
    }
    CHECK(client_open(&extra, rig.port, NULL));
    for (size_t i = 0; i < 3; i++) { /* answered at once, on a connection that stays */
        CHECK(client_post(&extra, "/echo", "", "a", &reply));
        assert_int_equal(reply.status, 400);
        assert_string_equal(reply.body,
                            "{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}");
    }
    assert_int_equal(status_of(&rig).throttled, 3);
    assert_int_equal(status_of(&rig).queued_most, 2);
    rig_open_gate(&rig);
    CHECK(client_read(&blocker, &reply));
    for (size_t i = 0; i < 2; i++) {
        CHECK(client_read(&waiting[i], &reply));
        assert_int_equal(reply.status, 200);
        client_close(&waiting[i]);
    }
    client_close(&blocker);
    client_close(&extra);
    rig_end(&rig);
}

/* All workers are stuck; who waits is told so in time. */
static void test_http_overdue_in_queue_throttles(void **state)
{
    struct rig rig = { 0 };
    struct client blocker = { 0 }, waiting = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[service]\nworkers = 1\n[limits]\nqueue_time = 50\nrequest_time = 1000\n");
    CHECK(client_open(&blocker, rig.port, NULL));
    CHECK(client_send_text(&blocker, "GET /block HTTP/1.1\r\nHost: h\r\n\r\n"));
    rig_wait_blocked(&rig, 1);
    CHECK(client_open(&waiting, rig.port, NULL));
    CHECK(client_post(&waiting, "/echo", "", "a", &reply));
    assert_int_equal(reply.status, 400);
    CHECK(strstr(reply.body, "ThrottlingException"));
    client_close(&waiting);
    client_close(&blocker);
    rig_end(&rig);
}

/* One claimant fills its part of the queue; another one is served beside it. */
static void test_http_claimants_are_bounded_each(void **state)
{
    struct rig rig = { 0 };
    struct client blocker = { 0 }, greedy[3] = { 0 }, modest = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[service]\nworkers = 1\n"
                    "[limits]\nqueue = 8\nqueue_per_principal = 2\nqueue_time = 60000\n");
    CHECK(client_open(&blocker, rig.port, NULL));
    CHECK(client_send_text(&blocker, "GET /block HTTP/1.1\r\nHost: h\r\n\r\n"));
    rig_wait_blocked(&rig, 1);
    for (size_t i = 0; i < 2; i++) {
        CHECK(client_open(&greedy[i], rig.port, NULL));
        CHECK(client_send_text(&greedy[i], "GET /echo HTTP/1.1\r\nHost: h\r\n"
                                           "X-Claim: greedy\r\n\r\n"));
        while (status_of(&rig).queued <= i)
            sleep_ms(1);
    }
    CHECK(client_open(&greedy[2], rig.port, NULL));
    CHECK(client_post(&greedy[2], "/echo", "X-Claim: greedy\r\n", "a", &reply));
    assert_int_equal(reply.status, 400);
    CHECK(client_open(&modest, rig.port, NULL));
    CHECK(client_send_text(&modest, "GET /echo HTTP/1.1\r\nHost: h\r\nX-Claim: modest\r\n\r\n"));
    while (status_of(&rig).queued < 3)
        sleep_ms(1);
    rig_open_gate(&rig);
    CHECK(client_read(&modest, &reply));
    assert_int_equal(reply.status, 200);
    for (size_t i = 0; i < 3; i++)
        client_close(&greedy[i]);
    client_close(&blocker);
    client_close(&modest);
    rig_end(&rig);
}

/* Health must be told while every service worker is stuck. */
static void test_http_ops_answers_beside_stuck_workers(void **state)
{
    struct rig rig = { 0 };
    struct client blocker = { 0 }, ops = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[service]\nworkers = 1\n[limits]\nqueue = 1\nqueue_time = 60000\n");
    CHECK(client_open(&blocker, rig.port, NULL));
    CHECK(client_send_text(&blocker, "GET /block HTTP/1.1\r\nHost: h\r\n\r\n"));
    rig_wait_blocked(&rig, 1);
    CHECK(client_open(&ops, rig.ops_port, NULL));
    CHECK(client_post(&ops, "/echo", "", "health", &reply));
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "health");
    client_close(&ops);
    client_close(&blocker);
    rig_end(&rig);
}

/* Connections */

static void test_http_connection_limit_leaves_room_again(void **state)
{
    struct rig rig = { 0 };
    struct client clients[5] = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[limits]\nconnections = 4\n");
    for (size_t round = 0; round < 10; round++) {
        for (size_t i = 0; i < 4; i++) {
            CHECK(client_open(&clients[i], rig.port, NULL));
            CHECK(client_post(&clients[i], "/echo", "", "a", &reply));
        }
        CHECK(client_open(&clients[4], rig.port, NULL)); /* in the backlog */
        CHECK(client_send_text(&clients[4], "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"));
        client_close(&clients[0]);
        CHECK(client_read(&clients[4], &reply));
        assert_int_equal(reply.status, 200);
        for (size_t i = 1; i < 5; i++)
            client_close(&clients[i]);
    }
    rig_end(&rig);
}

static void test_http_limit_per_address(void **state)
{
    struct rig rig = { 0 };
    struct client clients[5] = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[limits]\nconnections_per_address = 4\n");
    for (size_t i = 0; i < 4; i++) {
        CHECK(client_open(&clients[i], rig.port, NULL));
        CHECK(client_post(&clients[i], "/echo", "", "a", &reply));
    }
    CHECK(client_open(&clients[4], rig.port, NULL));
    CHECK(client_is_closed(&clients[4]));
    for (size_t i = 0; i < 5; i++)
        client_close(&clients[i]);
    rig_end(&rig);
}

/* TLS */

static void test_http_tls_versions(void **state)
{
    static const struct {
        const char *what, *priority, *seen; /* seen NULL: refused */
    } rows[] = {
        { "1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.3", "|TLSv1.3|TLS_AES_256_GCM_SHA384\n" },
        { "1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2",
          "|TLSv1.2|TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n" },
        { "1.2 chacha", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+CHACHA20-POLY1305",
          "|TLSv1.2|TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\n" },
        { "1.1", "LEGACY:-VERS-ALL:+VERS-TLS1.1", NULL },
        { "1.0", "LEGACY:-VERS-ALL:+VERS-TLS1.0", NULL },
        { "1.2 CBC", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-CBC:+SHA1:+SHA384", NULL },
        { "1.2 CCM", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-CCM", NULL },
        { "1.2 RSA exchange", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", NULL },
    };
    struct rig rig = { 0 };

    (void)state;
    rig_start(&rig, "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client client = { 0 };
        struct reply reply = { 0 };
        const bool open = client_open(&client, rig.tls_port, rows[i].priority);
        if (open != (rows[i].seen != NULL))
            fail_msg("TLS %s: %s", rows[i].what, open ? "accepted" : "refused");
        if (open && (!client_post(&client, "/seen", "", "", &reply) ||
                     strstr(reply.body, rows[i].seen) == NULL))
            fail_msg("TLS %s: %s", rows[i].what, reply.body);
        client_close(&client);
    }
    rig_end(&rig);
}

/* The common name of the certificate that a connection was shown. */
static void shown_name(struct client *client, char ret[64])
{
    unsigned count = 0;
    size_t len = 64;
    gnutls_x509_crt_t crt = NULL;
    const gnutls_datum_t *const chain = gnutls_certificate_get_peers(client->tls, &count);

    CHECK(chain != NULL && count == 1);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_import(crt, chain, GNUTLS_X509_FMT_DER), 0);
    assert_int_equal(
        gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, ret, &len), 0);
    gnutls_x509_crt_deinit(crt);
}

static void check_shown(struct rig *rig, struct client *client, const char *name)
{
    char shown[64] = { 0 };

    CHECK(client_open(client, rig->tls_port, TLS_ANY));
    shown_name(client, shown);
    assert_string_equal(shown, name);
}

static void test_http_reload_certificate(void **state)
{
    struct rig rig = { 0 };
    struct client before = { 0 }, after = { 0 };
    struct reply reply = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    rig_start(&rig, "");
    check_shown(&rig, &before, "first.test");
    rig_make_certificate(&rig, "second.test");
    CHECK_OK(http_server_reload_tls(rig.server, &err), err);
    check_shown(&rig, &after, "second.test");
    CHECK(client_post(&before, "/echo", "", "a", &reply)); /* goes on */
    assert_int_equal(reply.status, 200);
    client_close(&before);
    client_close(&after);

    /* a bad pair, and no file at all: the last good one stays */
    CHECK(truncate(rig.key, 100) == 0);
    CHECK_FAILS(http_server_reload_tls(rig.server, &err), err, KMS_ERR_CONFIG);
    CHECK(unlink(rig.certificate) == 0);
    CHECK_FAILS(http_server_reload_tls(rig.server, &err), err, KMS_ERR_CONFIG);
    check_shown(&rig, &after, "second.test");
    client_close(&after);
    rig_end(&rig);
}

static void test_http_alpn_is_http11(void **state)
{
    static unsigned char h2[] = "h2", h11[] = "http/1.1";
    const gnutls_datum_t offered[] = { { h2, 2 }, { h11, 8 } };
    struct rig rig = { 0 };
    gnutls_datum_t chosen = { 0 };
    struct client client = { 0 };

    (void)state;
    rig_start(&rig, "");
    CHECK(client_open_alpn(&client, rig.tls_port, TLS_ANY, offered, 2));
    assert_int_equal(gnutls_alpn_get_selected_protocol(client.tls, &chosen), 0);
    CHECK_SPAN(span_of(chosen.data, chosen.size), SPAN_LITERAL("http/1.1"));
    client_close(&client);
    rig_end(&rig);
}

/* Configurations that must not start */

static void test_http_start_refuses(void **state)
{
    static const char *const rows[] = {
        "[http]\nport = 1\naddress = 0.0.0.0\n",
        "[http]\nport = 1\naddress = ::\n",
        "[http]\nport = 1\naddress = localhost\n",
        "[https]\nport = 1\ncertificate = /nowhere\nkey = /nowhere\n",
        "[https]\nport = 1\n",
    };
    const struct clock clock = { 0 };
    const struct log log = { LOG_LEVEL_ERROR };
    const struct http_door none[] = { { NULL, NULL } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct settings settings = { 0 };
        struct kms_error err = { 0 };
        struct http_server *server = NULL;
        CHECK_OK(settings_parse(span_text(rows[i]), &settings, &err), err);
        const struct http_config config = { &settings, &clock, &log, none, none, none, none, NULL };
        CHECK_FAILS(http_server_start(&config, &server, &err), err, KMS_ERR_CONFIG);
        settings_done(&settings);
    }
}

static void test_http_start_refuses_taken_port(void **state)
{
    struct rig rig = { 0 };
    struct kms_error err = { 0 };
    struct http_server *second = NULL;

    (void)state;
    rig_start(&rig, "");
    const struct http_config config = { &rig.settings, &rig.clock, &rig.log, rig.doors,
                                        rig.doors,     rig.doors,  rig.doors,
                                        NULL };
    CHECK_FAILS(http_server_start(&config, &second, &err), err, KMS_ERR_CONFIG);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_slow_requests_are_cut),
        cmocka_unit_test(test_http_stalled_requests_are_cut),
        cmocka_unit_test(test_http_deadline_spares_idle_and_served),
        cmocka_unit_test(test_http_idle_time),
        cmocka_unit_test(test_http_client_leaves_while_held),
        cmocka_unit_test(test_http_stop_with_200_suspended),
        cmocka_unit_test(test_http_stop_drains_running_requests),
        cmocka_unit_test(test_http_stop_refuses_what_waits),
        cmocka_unit_test(test_http_full_queue_throttles),
        cmocka_unit_test(test_http_overdue_in_queue_throttles),
        cmocka_unit_test(test_http_claimants_are_bounded_each),
        cmocka_unit_test(test_http_ops_answers_beside_stuck_workers),
        cmocka_unit_test(test_http_connection_limit_leaves_room_again),
        cmocka_unit_test(test_http_limit_per_address),
        cmocka_unit_test(test_http_tls_versions),
        cmocka_unit_test(test_http_reload_certificate),
        cmocka_unit_test(test_http_alpn_is_http11),
        cmocka_unit_test(test_http_start_refuses),
        cmocka_unit_test(test_http_start_refuses_taken_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
