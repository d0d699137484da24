#include "hsmkms/doors/door_health.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hsmkms/doors/health_stores.h"

#define BUDGET_ROWS_MAX 1000 /* lines of one scrape */

/* What a probe of the token found; one probe answers for cache_ms. */
struct probe {
    bool known, good;
    int64_t at_us;
};

struct door_health {
    struct door_health_config config;
    _Atomic(struct http_server *) server;
    pthread_mutex_t lock; /* guards probe and probing, never held over a token call */
    struct probe probe;
    bool probing;
    struct health_stores *stores;
};

int door_health_new(const struct door_health_config *config, struct door_health **ret,
                    struct kms_error *err)
{
    struct door_health *const health = calloc(1, sizeof(*health));

    if (health == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the health door");
    if (health_stores_new(config->keyring, config->cache_ms, &health->stores, err) < 0) {
        free(health);
        return -1;
    }
    health->config = *config;
    (void)pthread_mutex_init(&health->lock, NULL); /* cannot fail for a default mutex */
    *ret = health;
    return 0;
}

void door_health_free(struct door_health *health)
{
    if (health == NULL)
        return;
    (void)pthread_mutex_destroy(&health->lock);
    health_stores_free(health->stores);
    free(health);
}

void door_health_set_server(struct door_health *health, struct http_server *server)
{
    atomic_store(&health->server, server);
}

/* Health */

/* True when this thread is the one to probe; else ret is what the last probe found. */
static bool probe_is_due(struct door_health *health, struct probe *ret)
{
    pthread_mutex_lock(&health->lock);
    const int64_t age_us = clock_mono_us() - health->probe.at_us;
    const bool fresh = health->probe.known && age_us < health->config.cache_ms * 1000;
    const bool due = !fresh && !(health->probing && health->probe.known);
    if (due)
        health->probing = true;
    *ret = health->probe;
    pthread_mutex_unlock(&health->lock);
    return due;
}

static bool token_answers(struct door_health *health)
{
    struct probe probe;
    struct kms_error unused = { 0 };

    if (!probe_is_due(health, &probe))
        return probe.good;

    probe.good = token_probe(health->config.token, &unused) == 0;
    probe.known = true;
    probe.at_us = clock_mono_us();
    pthread_mutex_lock(&health->lock);
    health->probe = probe;
    health->probing = false;
    pthread_mutex_unlock(&health->lock);
    return probe.good;
}

/* Each part says "ok" or what is wrong with it. */

static const char *token_health(struct door_health *health)
{
    struct token_status status;

    token_status(health->config.token, &status);
    if (!status.available)
        return "unavailable";
    if (status.slowest_us > 0)
        return "slow";
    return token_answers(health) ? "ok" : "probe failed";
}

bool door_health_token(struct door_health *health)
{
    return strcmp(token_health(health), "ok") == 0;
}

static const char *audit_health(struct door_health *health)
{
    struct audit_status status;

    audit_status(health->config.audit, &status);
    return status.healthy ? "ok" : "write failed";
}

static const char *http_health(struct door_health *health)
{
    struct http_server *const server = atomic_load(&health->server);
    struct http_status status;

    if (server == NULL)
        return "not serving";
    http_server_status(server, &status);
    return status.tls_key_missing ? "no TLS key" : "ok";
}

static const struct {
    const char *name;
    const char *(*judge)(struct door_health *health);
} parts[] = {
    { "token", token_health },
    { "audit", audit_health },
    { "http", http_health },
};

bool door_health_is_good(struct door_health *health)
{
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strcmp(parts[i].judge(health), "ok") != 0)
            return false;
    return true;
}

static int write_health(struct door_health *health, struct buf *ret)
{
    const char *said[ARRAY_LEN(parts)];
    bool good = true;

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        said[i] = parts[i].judge(health);
        good = good && strcmp(said[i], "ok") == 0;
    }
    buf_printf(ret, "{\"status\":\"%s\"", good ? "ok" : "unavailable");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        buf_printf(ret, ",\"%s\":\"%s\"", parts[i].name, said[i]);
    health_stores_write(health->stores, ret);
    buf_text(ret, "}\n");
    return good ? 200 : 503;
}

/* Metrics */

/* What one scrape reads beside what api_metrics() writes: requests, and the health of the trail as
 * operations see it. A name must be written once. */
struct readings {
    struct audit_status audit;
    struct http_status http;
};

/* clang-format off */
#define READ(member)                                                                               \
    static double read_##member(const struct readings *r)

READ(audit_group_most)   { return (double)r->audit.largest_group; }
READ(http_connections)   { return (double)r->http.connections; }
READ(http_queued)        { return (double)r->http.queued; }
READ(http_queued_most)   { return (double)r->http.queued_most; }
READ(http_requests)      { return (double)r->http.requests; }
READ(http_refused)       { return (double)r->http.refused; }
READ(http_throttled)     { return (double)r->http.throttled; }
READ(tls_key_failures)   { return (double)r->http.tls_key_failures; }

static const struct {
    const char *name, *type, *help;
    double (*read)(const struct readings *readings);
} metrics[] = {
    { "hsmkms_audit_largest_group",           "gauge",   "Most records in one commit", read_audit_group_most },
    { "hsmkms_http_connections",              "gauge",   "Open connections", read_http_connections },
    { "hsmkms_http_queued",                   "gauge",   "Requests waiting for a worker", read_http_queued },
    { "hsmkms_http_queued_most",              "gauge",   "Most requests that ever waited", read_http_queued_most },
    { "hsmkms_http_requests_total",           "counter", "Requests", read_http_requests },
    { "hsmkms_http_refused_total",            "counter", "Requests refused by limits or framing", read_http_refused },
    { "hsmkms_http_throttled_total",          "counter", "Requests refused by a full queue", read_http_throttled },
    { "hsmkms_tls_key_failures_total",        "counter", "TLS handshakes that the token of the TLS key did not sign", read_tls_key_failures },
};

#define COUNT(member)                                                                              \
    static double count_##member(const struct token_status *t)

COUNT(available)        { return t->available; }
COUNT(calls)            { return (double)t->calls; }
COUNT(errors)           { return (double)t->errors; }
COUNT(replaced)         { return t->sessions_replaced; }
COUNT(sessions)         { return t->sessions; }
COUNT(keys)             { return t->keys; }
COUNT(copies)           { return t->keys_copied; }
COUNT(ignored)          { return t->objects_ignored; }
COUNT(slowest)          { return (double)t->slowest_us / 1e6; }

/* Of each token: the service's own without a label, those of custom key stores with one. */
static const struct {
    const char *name, *type, *help;
    health_stores_read_fn *read;
} token_metrics[] = {
    { "hsmkms_token_available",               "gauge",   "1 while the token answers", count_available },
    { "hsmkms_token_calls_total",             "counter", "PKCS#11 functions called", count_calls },
    { "hsmkms_token_errors_total",            "counter", "PKCS#11 calls that failed", count_errors },
    { "hsmkms_token_sessions_replaced_total", "counter", "Sessions that were replaced", count_replaced },
    { "hsmkms_token_sessions",                "gauge",   "Open token sessions", count_sessions },
    { "hsmkms_token_keys",                    "gauge",   "Keys with a cached handle", count_keys },
    { "hsmkms_token_keys_copied",             "gauge",   "Keys with a session copy", count_copies },
    { "hsmkms_token_objects_ignored",         "gauge",   "Token objects that are not ours", count_ignored },
    { "hsmkms_token_slow_call_seconds",       "gauge",   "Age of the longest running slow call, 0: none", count_slowest },
};
/* clang-format on */

static void take_readings(struct door_health *health, struct readings *ret)
{
    struct http_server *const server = atomic_load(&health->server);

    *ret = (struct readings){ 0 };
    audit_status(health->config.audit, &ret->audit);
    if (server)
        http_server_status(server, &ret->http);
}

static void write_header(struct buf *ret, const char *name, const char *type, const char *help)
{
    buf_printf(ret, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Encryptions that a key's current version has left before it refuses. */
static bool budget_left(const struct keyring *keyring, const struct key *key, int64_t *ret)
{
    const struct version *const version = key_current(key);

    if (key->state != KEY_ENABLED || version == NULL || version->budget == NULL)
        return false;
    *ret = keyring->limits.gcm_refuse - (int64_t)atomic_load(&version->budget->used);
    return true;
}

/* One gauge of a key; related multi-Region keys are told apart. */
static void write_budget(struct buf *ret, const char *name, const struct key *key, int64_t left)
{
    buf_printf(ret, "%s{key=\"%s\"", name, key_name(key).text);
    if (key_is_multi_region(key))
        buf_printf(ret, ",region=\"%s\"", key->record.region);
    buf_printf(ret, "} %" PRId64 "\n", left);
}

/* What the rows of all regions have in common. */
struct budget_rows {
    size_t count;
    int64_t least;
};

static void write_region_budgets(struct keyring *keyring, const char *name,
                                 struct budget_rows *rows, struct buf *ret)
{
    struct key *page[64];
    struct uuid after;
    size_t count;
    int64_t left;

    for (const struct uuid *from = NULL;
         (count = catalog_all(keyring->catalog, from, page, ARRAY_LEN(page))) > 0; from = &after) {
        for (size_t i = 0; i < count; i++) {
            after = page[i]->record.id;
            if (budget_left(keyring, page[i], &left)) {
                rows->least = left < rows->least ? left : rows->least;
                if (rows->count++ < BUDGET_ROWS_MAX)
                    write_budget(ret, name, page[i], left);
            }
            key_unref(page[i]);
        }
    }
}

/* Of all keys the smallest, and that of the first BUDGET_ROWS_MAX keys one by one. */
static void write_budgets(struct keyring *keyring, struct buf *ret)
{
    static const char name[] = "hsmkms_key_gcm_invocations_left";
    struct budget_rows rows = { .least = keyring->limits.gcm_refuse };

    write_header(ret, name, "gauge", "Encryptions left under the current version of a key");
    for (; keyring; keyring = keyring->next)
        write_region_budgets(keyring, name, &rows, ret);
    write_header(ret, "hsmkms_gcm_invocations_left_least", "gauge", "The smallest of them");
    buf_printf(ret, "hsmkms_gcm_invocations_left_least %" PRId64 "\n", rows.least);
}

static void write_tokens(struct door_health *health, struct buf *ret)
{
    struct token_status status;

    token_status(health->config.token, &status);
    for (size_t i = 0; i < ARRAY_LEN(token_metrics); i++) {
        const char *const name = token_metrics[i].name;
        write_header(ret, name, token_metrics[i].type, token_metrics[i].help);
        buf_printf(ret, "%s %.15g\n", name, token_metrics[i].read(&status));
        health_stores_samples(health->stores, name, token_metrics[i].read, ret);
    }
}

static int write_metrics(struct door_health *health, struct buf *ret)
{
    struct readings readings;

    take_readings(health, &readings);
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        write_header(ret, metrics[i].name, metrics[i].type, metrics[i].help);
        buf_printf(ret, "%s %.15g\n", metrics[i].name, metrics[i].read(&readings));
    }
    write_tokens(health, ret);
    write_budgets(health->config.keyring, ret);
    api_metrics(health->config.api, ret);
    return 200;
}

/* The door */

static int write_not_found(struct door_health *health, struct buf *ret)
{
    (void)health;
    buf_text(ret, "not found\n");
    return 404;
}

static const struct page {
    const char *target, *content_type;
    int (*write)(struct door_health *health, struct buf *ret); /* returns the status */
} pages[] = {
    { "/health", "application/json", write_health },
    { "/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics },
};

static const struct page not_found = { "", "text/plain", write_not_found };

static const struct page *find_page(const struct http_request *request)
{
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        if (strcmp(request->method, "GET") == 0 && strcmp(request->target, pages[i].target) == 0)
            return &pages[i];
    return &not_found;
}

/* Without memory there is no body, and no health either. */
static void answer_text(int status, const char *content_type, struct buf *text,
                        struct http_answer *ret)
{
    *ret = (struct http_answer){ .status = text->failed ? 503 : status,
                                 .content_type = content_type,
                                 .free_body = free };
    if (text->failed)
        return;
    const struct buf taken = buf_take(text); /* now owned by the answer */
    ret->body = (char *)taken.ptr;
    ret->body_len = taken.len;
}

static void serve(void *ctx, struct http_exchange *exchange)
{
    const struct page *const page = find_page(http_exchange_request(exchange));
    struct http_answer answer;
    AUTO(buf) text = { 0 };

    const int status = page->write(ctx, &text);
    answer_text(status, page->content_type, &text, &answer);
    http_answer(exchange, &answer);
}

static bool recognise(const struct http_request *request)
{
    (void)request;
    return true;
}

static void refuse(void *ctx, const struct kms_error *err, struct http_answer *ret)
{
    AUTO(buf) text = { 0 };

    (void)ctx;
    buf_printf(&text, "%s\n", kms_err_name(err->code));
    answer_text(kms_err_status(err->code), not_found.content_type, &text, ret);
}

static void claim(const struct http_request *request, char ret[64])
{
    (void)request;
    ret[0] = '\0';
}

const struct door door_health = {
    .name = "health",
    .recognise = recognise,
    .serve = serve,
    .refuse = refuse,
    .claim = claim,
};
