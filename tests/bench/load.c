/*
 * Load generator: keep-alive connections that each send one request after the other, plain or
 * TLS, with TCP_NODELAY (a TLS 1.3 client with Nagle waits 40 ms for its first answer). Sends
 * either a fixed request read from a file, or KMS requests signed with SigV4 once per second: the
 * same call in the same second has the same signature.
 *
 *   load --port N [--host A] [--tls] [--connections N] [--threads N] [--requests N | --seconds N]
 *        { --request FILE | --credentials FILE --operation NAME --body FILE [--region NAME] }
 *
 * FILE of --credentials: access key id and secret on two lines; they never appear in argv.
 * Prints one line of JSON. Exit code 1 when an answer was not 200 or a connection broke.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "hsmkms/base/buf.h"
#include "hsmkms/base/clock.h"
#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/digest.h"

#define HISTOGRAM_US 200000 /* one bucket per microsecond; slower ones share the last */
#define ROOM         16384
#define EVENTS       64

struct plan {
    const char *host, *operation, *region;
    int port;
    bool tls;
    unsigned connections, threads;
    int64_t requests, seconds;
    struct buf request, body; /* request: as read from the file */
    char key_id[129], secret[129];
    SSL_CTX *ssl;
    atomic_int_fast64_t left; /* requests still to be begun */
    int64_t end_us;
};

struct link {
    int fd;
    SSL *ssl;
    struct buf request;
    int64_t signed_s; /* second that the signature is of */
    char room[ROOM];
    size_t len;
    int64_t begun_us;
    uint64_t done;
    int broken; /* errno of the last read that gave nothing; 0: the end */
    bool busy;
};

struct team {
    struct plan *plan;
    pthread_t thread;
    struct link *links;
    unsigned count;
    uint32_t *histogram;
    uint64_t errors;
    int64_t slowest_us;
};

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "load: %s: %s\n", what, why);
    exit(2);
}

/* Requests */

static void hmac(struct span key, const char *text, uint8_t ret[SHA256_LEN])
{
    struct kms_error err = { 0 };

    if (hmac_sha256(key, span_text(text), ret, &err) < 0)
        die("hmac", err.detail);
}

static void sha_hex(struct span bytes, char ret[SHA256_HEX_LEN + 1])
{
    struct kms_error err = { 0 };
    uint8_t digest[SHA256_LEN];

    if (sha256_of(bytes, digest, &err) < 0)
        die("sha256", err.detail);
    hex_format(ret, SPAN_ARRAY(digest));
}

/* AWS IAM User Guide, Create a signed AWS API request. */
static void signature(const struct plan *plan, const char *date, const char *canonical,
                      char ret[SHA256_HEX_LEN + 1])
{
    uint8_t key[SHA256_LEN];
    char hash[SHA256_HEX_LEN + 1], day[9] = { 0 };
    AUTO(buf) text = { 0 };

    memcpy(day, date, 8);
    sha_hex(span_text(canonical), hash);
    buf_printf(&text, "AWS4%s", plan->secret);
    buf_u8(&text, 0);
    hmac(span_text((const char *)text.ptr), day, key);
    hmac(SPAN_ARRAY(key), plan->region, key);
    hmac(SPAN_ARRAY(key), "kms", key);
    hmac(SPAN_ARRAY(key), "aws4_request", key);
    buf_clear(&text);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/kms/aws4_request\n%s", date, day, plan->region,
               hash);
    buf_u8(&text, 0);
    hmac(SPAN_ARRAY(key), (const char *)text.ptr, key);
    hex_format(ret, SPAN_ARRAY(key));
}

static void sign(const struct plan *plan, int64_t now_s, struct buf *ret)
{
    static const char names[] = "content-type;host;x-amz-date;x-amz-target";
    const struct clock_text date = clock_compact(now_s * MS_PER_SECOND);
    char payload[SHA256_HEX_LEN + 1], proof[SHA256_HEX_LEN + 1];
    AUTO(buf) canonical = { 0 };

    sha_hex(buf_span(&plan->body), payload);
    buf_printf(&canonical,
               "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:%s:%d\nx-amz-date:%s\n"
               "x-amz-target:TrentService.%s\n\n%s\n%s",
               plan->host, plan->port, date.text, plan->operation, names, payload);
    buf_u8(&canonical, 0);
    signature(plan, date.text, (const char *)canonical.ptr, proof);
    buf_clear(ret);
    buf_printf(ret,
               "POST / HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/x-amz-json-1.1\r\n"
               "X-Amz-Date: %s\r\nX-Amz-Target: TrentService.%s\r\nContent-Length: %zu\r\n"
               "Authorization: AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/kms/aws4_request, "
               "SignedHeaders=%s, Signature=%s\r\n\r\n",
               plan->host, plan->port, date.text, plan->operation, plan->body.len, plan->key_id,
               date.text, plan->region, names, proof);
    buf_append(ret, buf_span(&plan->body));
}

/* Connections */

static void open_link(const struct plan *plan, struct link *link)
{
    static const int on = 1;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)plan->port) };

    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, plan->host, &at.sin_addr) != 1 || link->fd < 0 ||
        setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        connect(link->fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        die("connect", strerror(errno));
    if (plan->ssl) {
        link->ssl = SSL_new(plan->ssl);
        if (link->ssl == NULL || SSL_set_fd(link->ssl, link->fd) != 1 ||
            SSL_connect(link->ssl) != 1)
            die("TLS handshake", plan->host);
    }
    if (fcntl(link->fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl", strerror(errno));
}

/* Requests are far smaller than a socket's buffer, so a short write is an error. */
static bool send_request(struct team *team, struct link *link)
{
    struct plan *const plan = team->plan;
    const struct buf *request = &plan->request;

    link->busy = false;
    if (plan->seconds ? clock_mono_us() >= plan->end_us : atomic_fetch_sub(&plan->left, 1) <= 0)
        return true;
    if (plan->operation) {
        const int64_t now_s = clock_wall_ms(&(struct clock){ 0 }) / MS_PER_SECOND;
        if (now_s != link->signed_s)
            sign(plan, now_s, &link->request);
        link->signed_s = now_s;
        request = &link->request;
    }
    link->busy = true;
    link->begun_us = clock_mono_us();
    const ssize_t sent = link->ssl ? SSL_write(link->ssl, request->ptr, (int)request->len)
                                   : send(link->fd, request->ptr, request->len, MSG_NOSIGNAL);
    return sent == (ssize_t)request->len;
}

/* Length of the complete response at the front of the room, 0: not complete. */
static size_t response_len(const struct link *link, int *ret_status)
{
    const char *const end = memmem(link->room, link->len, "\r\n\r\n", 4);

    if (end == NULL)
        return 0;
    const size_t head = (size_t)(end - link->room) + 4;
    const char *at = memmem(link->room, head, "Content-Length:", 15);
    const size_t len = head + (at ? (size_t)strtoul(at + 15, NULL, 10) : 0);
    *ret_status = head > 12 ? atoi(link->room + 9) : 0;
    return len <= link->len ? len : 0;
}

static void count(struct team *team, struct link *link, int status)
{
    const int64_t took_us = clock_mono_us() - link->begun_us;

    team->histogram[took_us < HISTOGRAM_US ? took_us : HISTOGRAM_US - 1]++;
    if (took_us > team->slowest_us)
        team->slowest_us = took_us;
    link->done++;
    if (status == 200)
        return;
    if (team->errors++ == 0)
        (void)fprintf(stderr, "load: first error: %.*s\n", (int)link->len, link->room);
}

/* 1: read something; 0: nothing more now; -1: the connection broke. */
static int receive(struct link *link)
{
    char *const at = link->room + link->len;
    const size_t room = sizeof(link->room) - link->len;
    const ssize_t got =
        link->ssl ? SSL_read(link->ssl, at, (int)room) : recv(link->fd, at, room, 0);

    if (got > 0) {
        link->len += (size_t)got;
        return 1;
    }
    link->broken = got < 0 ? errno : 0;
    if (link->ssl)
        return SSL_get_error(link->ssl, (int)got) == SSL_ERROR_WANT_READ ? 0 : -1;
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

/* False: the connection is of no more use. */
static bool on_readable(struct team *team, struct link *link)
{
    int result = 0;

    while ((result = receive(link)) > 0) {
        int status = 0;
        const size_t len = response_len(link, &status);
        if (len == 0)
            continue;
        count(team, link, status);
        link->len = 0; /* one response per request, nothing behind it */
        if (!send_request(team, link))
            return false;
        if (!link->busy)
            return true;
    }
    return result == 0;
}

static void *run_team(void *arg)
{
    struct team *const team = arg;
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    unsigned busy = 0;

    for (unsigned i = 0; i < team->count; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &team->links[i] };
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, team->links[i].fd, &event);
        if (!send_request(team, &team->links[i]))
            die("send", strerror(errno));
        busy += team->links[i].busy;
    }
    while (busy) {
        struct epoll_event events[EVENTS];
        const int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct link *const link = events[i].data.ptr;
            const bool was_busy = link->busy;
            if (was_busy && on_readable(team, link) && link->busy)
                continue;
            if (was_busy && link->busy) {
                if (team->errors++ == 0)
                    (void)fprintf(stderr,
                                  "load: a connection broke after %" PRIu64 " answers, %" PRId64
                                  " us after a request: %s\n",
                                  link->done, clock_mono_us() - link->begun_us,
                                  link->broken ? strerror(link->broken) : "it was closed");
                link->busy = false;
            }
            busy -= was_busy;
            (void)epoll_ctl(epoll, EPOLL_CTL_DEL, link->fd, NULL);
        }
    }
    (void)close(epoll);
    return NULL;
}

/* The report */

static int64_t percentile(const uint32_t *histogram, uint64_t total, double part)
{
    const uint64_t rank = (uint64_t)((double)total * part);
    uint64_t seen = 0;

    for (int64_t us = 0; us < HISTOGRAM_US; us++)
        if ((seen += histogram[us]) > rank)
            return us;
    return HISTOGRAM_US;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t report(const struct plan *plan, struct team *teams, const struct link *links,
                       int64_t took_us)
{
    uint64_t *const each = calloc(plan->connections, sizeof(*each));
    uint64_t total = 0, errors = 0;
    int64_t slowest_us = 0;

    if (each == NULL)
        die("report", "out of memory");
    for (unsigned i = 0; i < plan->threads; i++) {
        errors += teams[i].errors;
        slowest_us = teams[i].slowest_us > slowest_us ? teams[i].slowest_us : slowest_us;
        for (size_t us = 0; i > 0 && us < HISTOGRAM_US; us++)
            teams[0].histogram[us] += teams[i].histogram[us];
    }
    for (unsigned i = 0; i < plan->connections; i++)
        total += each[i] = links[i].done;
    qsort(each, plan->connections, sizeof(*each), compare_u64);
    (void)printf("{\"rate\": %.0f, \"p50_us\": %" PRId64 ", \"p99_us\": %" PRId64
                 ", \"max_us\": %" PRId64 ", \"requests\": %" PRIu64 ", \"errors\": %" PRIu64
                 ", \"connections\": %u, \"per_connection_min\": %" PRIu64
                 ", \"per_connection_median\": %" PRIu64 ", \"per_connection_max\": %" PRIu64 "}\n",
                 (double)total * 1e6 / (double)took_us, percentile(teams[0].histogram, total, 0.5),
                 percentile(teams[0].histogram, total, 0.99), slowest_us, total, errors,
                 plan->connections, each[0], each[plan->connections / 2],
                 each[plan->connections - 1]);
    free(each);
    return errors;
}

static uint64_t run(struct plan *plan)
{
    struct link *const links = calloc(plan->connections, sizeof(*links));
    struct team *const teams = calloc(plan->threads, sizeof(*teams));
    unsigned given = 0;

    if (links == NULL || teams == NULL)
        die("start", "out of memory");
    for (unsigned i = 0; i < plan->connections; i++)
        open_link(plan, &links[i]);
    const int64_t begun_us = clock_mono_us();
    plan->end_us = begun_us + plan->seconds * 1000000;
    for (unsigned i = 0; i < plan->threads; i++) {
        const unsigned share = (plan->connections - given) / (plan->threads - i);
        teams[i] = (struct team){ .plan = plan,
                                  .links = links + given,
                                  .count = share,
                                  .histogram = calloc(HISTOGRAM_US, sizeof(uint32_t)) };
        given += share;
        if (teams[i].histogram == NULL ||
            pthread_create(&teams[i].thread, NULL, run_team, &teams[i]) != 0)
            die("start", "cannot start a thread");
    }
    for (unsigned i = 0; i < plan->threads; i++)
        (void)pthread_join(teams[i].thread, NULL);
    const uint64_t errors = report(plan, teams, links, clock_mono_us() - begun_us);
    for (unsigned i = 0; i < plan->threads; i++)
        free(teams[i].histogram);
    for (unsigned i = 0; i < plan->connections; i++) {
        SSL_free(links[i].ssl);
        (void)close(links[i].fd);
        buf_done(&links[i].request);
    }
    free(links);
    free(teams);
    return errors;
}

/* Arguments */

static void read_file(const char *path, struct buf *ret)
{
    FILE *const file = fopen(path, "re");
    char room[4096];
    size_t got = 0;

    if (file == NULL)
        die(path, strerror(errno));
    while ((got = fread(room, 1, sizeof(room), file)) > 0)
        buf_append(ret, span_of(room, got));
    (void)fclose(file); /* read-only */
}

static void read_credentials(struct plan *plan, const char *path)
{
    FILE *const file = fopen(path, "re");

    if (file == NULL || fscanf(file, "%128s %128s", plan->key_id, plan->secret) != 2)
        die(path, "must hold an access key id and its secret");
    (void)fclose(file); /* read-only */
}

static void take_option(struct plan *plan, int option, const char *value)
{
    /* clang-format off */
    switch (option) {
    case 'h': plan->host = value; break;
    case 'p': plan->port = atoi(value); break;
    case 't': plan->tls = true; break;
    case 'c': plan->connections = (unsigned)atoi(value); break;
    case 'j': plan->threads = (unsigned)atoi(value); break;
    case 'n': plan->requests = atoll(value); break;
    case 's': plan->seconds = atoll(value); break;
    case 'r': read_file(value, &plan->request); break;
    case 'k': read_credentials(plan, value); break;
    case 'o': plan->operation = value; break;
    case 'b': read_file(value, &plan->body); break;
    case 'g': plan->region = value; break;
    default: die("usage", "see the comment at the top of load.c");
    }
    /* clang-format on */
}

int main(int argc, char **argv)
{
    /* clang-format off */
    static const struct option options[] = {
        { "host", 1, NULL, 'h' },        { "port", 1, NULL, 'p' },
        { "tls", 0, NULL, 't' },         { "connections", 1, NULL, 'c' },
        { "threads", 1, NULL, 'j' },     { "requests", 1, NULL, 'n' },
        { "seconds", 1, NULL, 's' },     { "request", 1, NULL, 'r' },
        { "credentials", 1, NULL, 'k' }, { "operation", 1, NULL, 'o' },
        { "body", 1, NULL, 'b' },        { "region", 1, NULL, 'g' },
        { NULL, 0, NULL, 0 },
    };
    /* clang-format on */
    struct plan plan = { .host = "127.0.0.1",
                         .region = "us-east-1",
                         .connections = 16,
                         .threads = 1,
                         .requests = 10000 };
    int option = 0;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        take_option(&plan, option, optarg);
    if (plan.port <= 0 || plan.connections == 0 || plan.threads == 0 ||
        plan.threads > plan.connections || (plan.request.len == 0) == (plan.operation == NULL) ||
        (plan.operation && (plan.body.len == 0 || plan.key_id[0] == '\0')))
        die("usage", "see the comment at the top of load.c");
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (plan.tls && (plan.ssl = SSL_CTX_new(TLS_client_method())) == NULL)
        die("TLS", "cannot make a context");
    atomic_init(&plan.left, plan.requests);
    const uint64_t errors = run(&plan);
    SSL_CTX_free(plan.ssl);
    buf_done(&plan.request);
    buf_done(&plan.body);
    return errors != 0;
}
