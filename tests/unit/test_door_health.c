/* The health door over a real audit trail and a token that says what a test wants. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hsmkms/doors/door_health.h"
#include "hsmkms/http/exchange.h"
#include "tests/support/check.h"
#include "tests/support/trail.h"

/* What stands in for the token, the operations and the server */

struct token {
    struct token_status status;
    bool probe_fails;
    unsigned probes;
};

int token_probe(struct token *token, struct kms_error *err)
{
    token->probes++;
    return token->probe_fails ? kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "gone") : 0;
}

void token_status(struct token *token, struct token_status *ret)
{
    *ret = token->status;
}

void token_close(struct token *token)
{
    (void)token; /* the only one is the fixture's */
}

void api_metrics(struct api *api, struct buf *ret)
{
    (void)api;
    buf_text(ret, "# TYPE hsmkms_requests_total counter\n");
}

struct http_server {
    struct http_status status;
};

void http_server_status(struct http_server *server, struct http_status *ret)
{
    *ret = server->status;
}

static struct {
    int status;
    char body[32768];
} answered;

void http_answer(struct http_exchange *exchange, const struct http_answer *answer)
{
    (void)exchange;
    answered.status = answer->status;
    CHECK(answer->body_len < sizeof(answered.body));
    memcpy(answered.body, answer->body, answer->body_len);
    answered.body[answer->body_len] = '\0';
    answer->free_body(answer->body);
}

/* Fixture */

struct fixture {
    struct token token;
    struct http_server server;
    struct keyring keyring;
    struct trail trail;
    struct door_health *health;
};

static void set_up(struct fixture *f, int64_t cache_ms)
{
    struct kms_error err = { 0 };

    *f = (struct fixture){ .token.status.available = true,
                           .keyring.limits.gcm_refuse = 1000,
                           .keyring.catalog = catalog_new() };
    trail_init(&f->trail, 65536);
    trail_open(&f->trail);
    const struct door_health_config config = {
        .token = &f->token, .audit = f->trail.audit, .keyring = &f->keyring, .cache_ms = cache_ms
    };
    CHECK_OK(door_health_new(&config, &f->health, &err), err);
    door_health_set_server(f->health, &f->server);
}

static void tear_down(struct fixture *f)
{
    door_health_free(f->health);
    trail_done(&f->trail);
    catalog_free(f->keyring.catalog);
}

static void request(struct fixture *f, const char *method, const char *target)
{
    struct http_exchange exchange = { .request = { .method = method, .target = target } };

    CHECK(door_health.recognise(&exchange.request));
    door_health.serve(f->health, &exchange);
}

static void expect_health(struct fixture *f, int status, const char *body)
{
    request(f, "GET", "/health");
    assert_string_equal(answered.body, body);
    assert_int_equal(answered.status, status);
}

#define GREEN "{\"status\":\"ok\",\"token\":\"ok\",\"audit\":\"ok\",\"http\":\"ok\"}\n"
#define RED(token, http)                                                                           \
    "{\"status\":\"unavailable\",\"token\":\"" token "\",\"audit\":\"ok\",\"http\":\"" http "\"}"  \
    "\n"

/* Health */

static void test_health_each_part(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 0);
    expect_health(&f, 200, GREEN);
    f.token.probe_fails = true;
    expect_health(&f, 503, RED("probe failed", "ok"));
    f.token.status.slowest_us = 6000000;
    expect_health(&f, 503, RED("slow", "ok"));
    f.token.status.available = false;
    expect_health(&f, 503, RED("unavailable", "ok"));
    f.token = (struct token){ .status.available = true };
    expect_health(&f, 200, GREEN);
    door_health_set_server(f.health, NULL);
    expect_health(&f, 503, RED("ok", "not serving"));
    tear_down(&f);
}

static void test_health_one_probe_answers_for_a_while(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 60000);
    expect_health(&f, 200, GREEN);
    f.token.probe_fails = true;
    expect_health(&f, 200, GREEN); /* what the first probe found */
    assert_int_equal(f.token.probes, 1);
    f.token.status.available = false;
    expect_health(&f, 503, RED("unavailable", "ok")); /* what costs nothing is never cached */
    tear_down(&f);

    set_up(&f, 0);
    expect_health(&f, 200, GREEN);
    expect_health(&f, 200, GREEN);
    assert_int_equal(f.token.probes, 2);
    tear_down(&f);
}

/* Metrics */

static size_t count_of(const char *line)
{
    size_t count = 0;

    for (const char *found = answered.body; (found = strstr(found, line)); found++)
        count++;
    return count;
}

/* Each line is a comment or "name value", each family is announced once and has a sample. */
static void check_exposition(void)
{
    char name[128], announced[160], type[16];
    const char *rest;

    for (const char *line = answered.body; *line; line = rest + 1) {
        rest = strchr(line, '\n');
        CHECK(rest != NULL); /* also the last line ends */
        if (sscanf(line, "# TYPE %127s %15s", name, type) == 2) {
            (void)snprintf(announced, sizeof(announced), "# TYPE %s ", name);
            assert_int_equal(count_of(announced), 1);
            CHECK(!strcmp(type, "gauge") || !strcmp(type, "counter"));
        } else if (*line != '#') {
            double value;
            CHECK(sscanf(line, "%127[a-z_0-9] %lf\n", name, &value) == 2);
        }
    }
}

static void test_metrics(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, 0);
    trail_write(&f.trail, 3);
    f.token.status.keys = 123456789;
    f.token.status.slowest_us = 1500000;
    f.server.status.throttled = 7;
    request(&f, "GET", "/metrics");
    assert_int_equal(answered.status, 200);
    check_exposition();
    CHECK(count_of("\nhsmkms_token_keys 123456789\n") == 1);
    CHECK(count_of("\nhsmkms_token_slow_call_seconds 1.5\n") == 1);
    CHECK(count_of("\nhsmkms_audit_largest_group 1\n") == 1);
    CHECK(count_of("\nhsmkms_http_throttled_total 7\n") == 1);
    CHECK(count_of("\nhsmkms_gcm_invocations_left_least 1000\n") == 1);
    CHECK(count_of("hsmkms_requests_total") == 1); /* what the operations wrote themselves */
    assert_int_equal(f.token.probes, 0);
    tear_down(&f);
}

/* Everything else */

static void test_other_requests_are_not_found(void **state)
{
    static const char *const rows[][2] = { { "GET", "/" },         { "GET", "/health/" },
                                           { "GET", "/health?x" }, { "POST", "/health" },
                                           { "PUT", "/metrics" },  { "GET", "//health" } };
    struct fixture f;

    (void)state;
    set_up(&f, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        request(&f, rows[i][0], rows[i][1]);
        assert_int_equal(answered.status, 404);
        assert_string_equal(answered.body, "not found\n");
    }
    tear_down(&f);
}

static void test_refusals_are_plain_text(void **state)
{
    const struct kms_error err = { .code = KMS_ERR_THROTTLING, .message = "m" };
    struct http_answer answer;

    (void)state;
    door_health.refuse(NULL, &err, &answer);
    assert_int_equal(answer.status, 400);
    CHECK_SPAN(span_of(answer.body, answer.body_len), SPAN_LITERAL("ThrottlingException\n"));
    answer.free_body(answer.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_each_part),
        cmocka_unit_test(test_health_one_probe_answers_for_a_while),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_other_requests_are_not_found),
        cmocka_unit_test(test_refusals_are_plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
