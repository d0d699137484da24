#include "tests/http/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/x509.h>

#include "hsmkms/base/buf.h"

#define PATIENCE_S 30

/* The door */

struct door_state {
    uint64_t mark; /* must be zero at first */
};

static void answer_text(struct http_exchange *exchange, int status, const void *text, size_t len)
{
    struct http_answer answer = { .status = status,
                                  .content_type = "application/x-amz-json-1.1",
                                  .body = malloc(len + 1),
                                  .body_len = len,
                                  .free_body = free,
                                  .request_id_header = "x-amzn-RequestId",
                                  .request_id = "00000000-0000-4000-8000-000000000000" };

    assert_non_null(answer.body);
    if (len)
        memcpy(answer.body, text, len);
    http_answer(exchange, &answer);
}

static void echo(struct http_exchange *exchange)
{
    const struct http_request *const request = http_exchange_request(exchange);

    answer_text(exchange, 200, request->body.ptr, request->body.len);
}

static void list_seen(struct http_exchange *exchange)
{
    const struct http_request *const request = http_exchange_request(exchange);
    AUTO(buf) text = { 0 };

    buf_printf(&text, "%s|%s|%s|%s|%s\n", request->method, request->target, request->peer,
               request->tls_version, request->tls_cipher);
    for (size_t i = 0; i < request->header_count; i++)
        buf_printf(&text, "%s=[%s]\n", request->headers[i].name, request->headers[i].value);
    answer_text(exchange, 200, text.ptr, text.len);
}

static void list_client(struct http_exchange *exchange)
{
    const struct http_request *const request = http_exchange_request(exchange);
    const struct http_client_cert *const cert = &request->client_cert;
    AUTO(buf) text = { 0 };

    buf_printf(&text, "%s|%s|%s|%s\n", request->listener, cert->verified ? "verified" : "-",
               cert->spki_sha256, cert->subject);
    for (size_t i = 0; i < cert->san_count; i++)
        buf_printf(&text, "%s\n", cert->sans[i]);
    answer_text(exchange, 200, text.ptr, text.len);
}

static void park(struct rig *rig, struct http_exchange *exchange, struct http_exchange **list,
                 size_t *count)
{
    (void)pthread_mutex_lock(&rig->lock);
    assert_true(*count < RIG_HELD_MOST);
    list[(*count)++] = exchange;
    (void)pthread_cond_broadcast(&rig->changed);
    (void)pthread_mutex_unlock(&rig->lock);
}

static void block(struct rig *rig)
{
    (void)pthread_mutex_lock(&rig->lock);
    rig->blocked++;
    (void)pthread_cond_broadcast(&rig->changed);
    while (!rig->gate_open)
        (void)pthread_cond_wait(&rig->changed, &rig->lock);
    rig->blocked--;
    (void)pthread_mutex_unlock(&rig->lock);
}

static bool path_is(const struct http_request *request, const char *path)
{
    const size_t len = strlen(path);

    return strncmp(request->target, path, len) == 0 &&
           (request->target[len] == '\0' || request->target[len] == '?');
}

static void serve(void *ctx, struct http_exchange *exchange)
{
    struct rig *const rig = ctx;
    const struct http_request *const request = http_exchange_request(exchange);
    struct door_state *const state = http_exchange_state(exchange);

    assert_int_equal(state->mark, 0);
    state->mark = UINT64_MAX;
    if (path_is(request, "/slow")) {
        park(rig, exchange, rig->slow, &rig->slow_count);
    } else if (path_is(request, "/hold")) {
        park(rig, exchange, rig->held, &rig->held_count);
    } else if (path_is(request, "/seen")) {
        list_seen(exchange);
    } else if (path_is(request, "/client")) {
        list_client(exchange);
    } else {
        if (path_is(request, "/block"))
            block(rig);
        echo(exchange);
    }
}

/* In the epoll worker, which does nothing else meanwhile: says so on a descriptor and waits there.
 */
static void stall(const char *target)
{
    const int fd = atoi(target + sizeof("/stall?") - 1);
    char byte = 0;

    assert_int_equal(write(fd, &byte, 1), 1);
    assert_int_equal(read(fd, &byte, 1), 1);
}

static bool recognise(const struct http_request *request)
{
    static const char *const paths[] = { "/",      "/echo", "/slow",  "/hold",
                                         "/block", "/seen", "/client" };

    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (path_is(request, paths[i]))
            return true;
    if (path_is(request, "/stall"))
        stall(request->target);
    return false;
}

static void refuse(void *ctx, const struct kms_error *err, struct http_answer *ret)
{
    char *const body = malloc(256);

    (void)ctx;
    assert_non_null(body);
    (void)snprintf(body, 256, "{\"__type\":\"%s\",\"message\":\"%.120s\"}", kms_err_name(err->code),
                   err->message);
    *ret = (struct http_answer){ .status = kms_err_status(err->code),
                                 .content_type = "application/x-amz-json-1.1",
                                 .body = body,
                                 .body_len = strlen(body),
                                 .free_body = free,
                                 .request_id_header = "x-amzn-RequestId",
                                 .request_id = "11111111-1111-4111-8111-111111111111" };
}

static void claim(const struct http_request *request, char ret[64])
{
    const char *const name = http_header_find(request, "x-claim");

    (void)snprintf(ret, 64, "%s", name ? name : "");
}

static const struct door test_door = { "test", sizeof(struct door_state), recognise, serve, refuse,
                                       claim };

/* Answers what is slow a moment later, in the order of arrival, from a thread that is no worker. */
static void *answer_slow(void *arg)
{
    struct rig *const rig = arg;

    (void)pthread_mutex_lock(&rig->lock);
    while (!rig->ending || rig->slow_count) {
        const size_t count = rig->slow_count;
        if (count == 0) {
            (void)pthread_cond_wait(&rig->changed, &rig->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&rig->lock);
        (void)nanosleep(&(struct timespec){ 0, 100000 }, NULL);
        for (size_t i = 0; i < count; i++)
            echo(rig->slow[i]); /* only this thread takes from the front */
        (void)pthread_mutex_lock(&rig->lock);
        rig->slow_count -= count;
        memmove(rig->slow, rig->slow + count, rig->slow_count * sizeof(rig->slow[0]));
    }
    (void)pthread_mutex_unlock(&rig->lock);
    return NULL;
}

/* Start and end */

static int free_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)close(fd);
    return ntohs(at.sin_port);
}

static void write_pem(const char *path, const gnutls_datum_t *pem)
{
    FILE *const file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(pem->data, 1, pem->size, file), pem->size);
    assert_int_equal(fclose(file), 0);
    gnutls_free(pem->data);
}

void rig_make_certificate(const struct rig *rig, const char *name)
{
    gnutls_x509_privkey_t key = NULL;
    gnutls_x509_crt_t crt = NULL;
    gnutls_datum_t pem = { 0 };
    const time_t now = time(NULL);

    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_set_version(crt, 3), 0);
    assert_int_equal(gnutls_x509_crt_set_serial(crt, "\x01", 1), 0);
    assert_int_equal(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                                   (unsigned)strlen(name)),
                     0);
    assert_int_equal(gnutls_x509_crt_set_activation_time(crt, now - 3600), 0);
    assert_int_equal(gnutls_x509_crt_set_expiration_time(crt, now + 86400), 0);
    assert_int_equal(gnutls_x509_crt_set_key(crt, key), 0);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    write_pem(rig->certificate, &pem);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem), 0);
    write_pem(rig->key, &pem);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static void make_folder(struct rig *rig)
{
    const char *const base = getenv("TMPDIR");

    (void)snprintf(rig->dir, sizeof(rig->dir), "%.40s/hsmkms-http-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(rig->dir));
    (void)snprintf(rig->certificate, sizeof(rig->certificate), "%s/cert.pem", rig->dir);
    (void)snprintf(rig->key, sizeof(rig->key), "%s/key.pem", rig->dir);
    rig_make_certificate(rig, "first.test");
}

void rig_start(struct rig *rig, const char *extra_settings)
{
    struct kms_error err = { 0 };
    AUTO(buf) text = { 0 };

    make_folder(rig);
    rig->port = free_port();
    rig->tls_port = free_port();
    rig->ops_port = free_port();
    buf_printf(&text,
               "[https]\nport = %d\ncertificate = %s\nkey = %s\n[http]\nport = %d\n"
               "[ops]\nport = %d\n%s",
               rig->tls_port, rig->certificate, rig->key, rig->port, rig->ops_port, extra_settings);
    CHECK_OK(settings_parse(buf_span(&text), &rig->settings, &err), err);
    rig->log.level = getenv("HSMKMS_TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR;
    rig->doors[0] = (struct http_door){ &test_door, rig };
    (void)pthread_mutex_init(&rig->lock, NULL);
    (void)pthread_cond_init(&rig->changed, NULL);
    assert_int_equal(pthread_create(&rig->answerer, NULL, answer_slow, rig), 0);

    const struct http_config config = { .settings = &rig->settings,
                                        .clock = &rig->clock,
                                        .log = &rig->log,
                                        .https_doors = rig->doors,
                                        .http_doors = rig->doors,
                                        .ops_doors = rig->doors,
                                        .kes_doors = rig->doors };
    CHECK_OK(http_server_start(&config, &rig->server, &err), err);
}

void rig_open_gate(struct rig *rig)
{
    (void)pthread_mutex_lock(&rig->lock);
    rig->gate_open = true;
    (void)pthread_cond_broadcast(&rig->changed);
    while (rig->held_count) {
        struct http_exchange *const exchange = rig->held[--rig->held_count];
        (void)pthread_mutex_unlock(&rig->lock);
        echo(exchange);
        (void)pthread_mutex_lock(&rig->lock);
    }
    (void)pthread_mutex_unlock(&rig->lock);
}

void rig_stop_server(struct rig *rig, int64_t drain_ms)
{
    if (rig->server)
        http_server_stop(rig->server, drain_ms);
    rig->server = NULL;
}

void rig_end(struct rig *rig)
{
    rig_open_gate(rig);
    rig_stop_server(rig, 1000);
    (void)pthread_mutex_lock(&rig->lock);
    rig->ending = true;
    (void)pthread_cond_broadcast(&rig->changed);
    (void)pthread_mutex_unlock(&rig->lock);
    (void)pthread_join(rig->answerer, NULL);
    (void)pthread_cond_destroy(&rig->changed);
    (void)pthread_mutex_destroy(&rig->lock);
    settings_done(&rig->settings);
    (void)unlink(rig->certificate);
    (void)unlink(rig->key);
    (void)rmdir(rig->dir);
}

static void wait_for(struct rig *rig, const size_t *count, size_t want)
{
    (void)pthread_mutex_lock(&rig->lock);
    while (*count < want) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += PATIENCE_S;
        if (pthread_cond_timedwait(&rig->changed, &rig->lock, &until) != 0)
            fail_msg("only %zu of %zu requests arrived", *count, want);
    }
    (void)pthread_mutex_unlock(&rig->lock);
}

void rig_wait_held(struct rig *rig, size_t count)
{
    wait_for(rig, &rig->held_count, count);
}

void rig_wait_blocked(struct rig *rig, size_t count)
{
    wait_for(rig, &rig->blocked, count);
}

/* The client */

static bool handshake(struct client *client, const char *priority, const gnutls_datum_t *protocols,
                      unsigned count, const struct client_identity *identity)
{
    int code = gnutls_certificate_allocate_credentials(&client->credentials);

    if (code == 0 && identity)
        code = gnutls_certificate_set_x509_key(client->credentials, identity->chain,
                                               (int)identity->count, identity->key);
    if (code == 0)
        code = gnutls_init(&client->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
    if (code == 0)
        code = gnutls_priority_set_direct(client->tls, priority, NULL);
    if (code == 0)
        code = gnutls_credentials_set(client->tls, GNUTLS_CRD_CERTIFICATE, client->credentials);
    if (code == 0 && count)
        code = gnutls_alpn_set_protocols(client->tls, protocols, count, 0);
    if (code < 0)
        return false;
    gnutls_transport_set_int(client->tls, client->fd);
    do
        code = gnutls_handshake(client->tls);
    while (code < 0 && !gnutls_error_is_fatal(code) && code != GNUTLS_E_AGAIN);
    return code == 0;
}

bool client_open(struct client *client, int port, const char *priority)
{
    return client_open_alpn(client, port, priority, NULL, 0);
}

static bool connect_to(struct client *client, int port)
{
    static const int on = 1;
    const struct timeval patience = { PATIENCE_S, 0 };
    const struct sockaddr_in at = { .sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    *client = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    if (client->fd < 0)
        return false;
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return connect(client->fd, (const struct sockaddr *)&at, sizeof(at)) == 0;
}

bool client_open_alpn(struct client *client, int port, const char *priority,
                      const gnutls_datum_t *protocols, unsigned count)
{
    return connect_to(client, port) &&
           (priority == NULL || handshake(client, priority, protocols, count, NULL));
}

bool client_open_as(struct client *client, int port, const char *priority,
                    const struct client_identity *identity)
{
    return connect_to(client, port) && handshake(client, priority, NULL, 0, identity);
}

void client_close(struct client *client)
{
    if (client->tls)
        gnutls_deinit(client->tls);
    if (client->credentials)
        gnutls_certificate_free_credentials(client->credentials);
    if (client->fd >= 0)
        (void)close(client->fd);
    *client = (struct client){ .fd = -1 };
}

bool client_send(struct client *client, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len) {
        const ssize_t sent = client->tls ? gnutls_record_send(client->tls, at, len)
                                         : send(client->fd, at, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

bool client_send_text(struct client *client, const char *text)
{
    return client_send(client, text, strlen(text));
}

static ssize_t receive(struct client *client, void *room, size_t len)
{
    return client->tls ? gnutls_record_recv(client->tls, room, len)
                       : recv(client->fd, room, len, 0);
}

/* Reads until the room holds an empty line; returns its end, 0 when the connection ends. */
static size_t read_head(struct client *client)
{
    for (;;) {
        const char *const end = memmem(client->room, client->len, "\r\n\r\n", 4);
        if (end)
            return (size_t)(end - client->room) + 4;
        if (client->len == sizeof(client->room))
            return 0;
        const ssize_t got =
            receive(client, client->room + client->len, sizeof(client->room) - client->len);
        if (got <= 0)
            return 0;
        client->len += (size_t)got;
    }
}

static void eat(struct client *client, size_t len)
{
    client->len -= len;
    memmove(client->room, client->room + len, client->len);
}

static bool read_body(struct client *client, struct reply *ret, size_t len)
{
    size_t done = 0;

    ret->body_len = len;
    while (done < len) {
        if (client->len == 0) {
            const ssize_t got = receive(client, client->room, sizeof(client->room));
            if (got <= 0)
                return false;
            client->len = (size_t)got;
        }
        const size_t now = client->len < len - done ? client->len : len - done;
        for (size_t i = 0; i < now && done + i < sizeof(ret->body) - 1; i++)
            ret->body[done + i] = client->room[i];
        eat(client, now);
        done += now;
    }
    return true;
}

bool client_read(struct client *client, struct reply *ret)
{
    const size_t end = read_head(client);

    *ret = (struct reply){ 0 };
    if (end == 0 || end >= sizeof(ret->head))
        return false;
    memcpy(ret->head, client->room, end);
    eat(client, end);
    ret->status = atoi(ret->head + strlen("HTTP/1.1 "));
    if (ret->status == 100)
        return true;
    const char *const length = strcasestr(ret->head, "\r\nContent-Length:");
    return read_body(client, ret,
                     length ? (size_t)atol(length + strlen("\r\nContent-Length:")) : 0);
}

bool client_is_closed(struct client *client)
{
    char room[4096];
    ssize_t got = 0;

    while ((got = receive(client, room, sizeof(room))) > 0)
        ;
    return got == 0 || client->tls || errno != EAGAIN;
}

bool client_post(struct client *client, const char *path, const char *headers, const char *body,
                 struct reply *ret)
{
    AUTO(buf) text = { 0 };

    buf_printf(&text, "POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", path,
               headers, strlen(body), body);
    return client_send(client, text.ptr, text.len) && client_read(client, ret);
}
