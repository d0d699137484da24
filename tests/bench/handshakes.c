/*
 * Full TLS handshakes with a listener, one after the other in some threads: connect, handshake,
 * close. No session is resumed and no request is sent; the server's signature is most of the work.
 *
 *   handshakes --port N --ca FILE [--threads N] [--seconds N]
 *
 * Prints one line of JSON. Exit code 1 when a handshake failed.
 */

#include <arpa/inet.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "hsmkms/base/clock.h"

#define THREADS_MAX 64
#define KEPT        100000 /* times per thread that percentiles are made of */

struct plan {
    int port;
    int64_t end_us;
    SSL_CTX *ssl;
};

struct runner {
    const struct plan *plan;
    pthread_t thread;
    uint64_t done, errors;
    uint32_t *took_us;
};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "handshakes: %s\n", what);
    exit(2);
}

/* A reset instead of a farewell, so that no port stays taken for a minute. */
static int open_socket(const struct plan *plan)
{
    static const int on = 1;
    static const struct linger none = { .l_onoff = 1, .l_linger = 0 };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)plan->port) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)) != 0 ||
        connect(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        die("cannot connect");
    return fd;
}

static bool shake_hands(const struct plan *plan)
{
    const int fd = open_socket(plan);
    SSL *const ssl = SSL_new(plan->ssl);
    const bool good = ssl && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1;

    SSL_free(ssl);
    (void)close(fd); /* nothing was written that matters */
    return good;
}

static void *run(void *arg)
{
    struct runner *const runner = arg;

    for (int64_t begun_us; (begun_us = clock_mono_us()) < runner->plan->end_us; runner->done++) {
        runner->errors += !shake_hands(runner->plan);
        if (runner->done < KEPT)
            runner->took_us[runner->done] = (uint32_t)(clock_mono_us() - begun_us);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* The runners' times come one behind the other. */
static uint64_t report(const struct runner *runners, int threads, uint32_t *all, double seconds)
{
    uint64_t done = 0, errors = 0;
    size_t kept = 0;

    for (int i = 0; i < threads; i++) {
        const size_t count = runners[i].done < KEPT ? (size_t)runners[i].done : KEPT;
        memmove(all + kept, runners[i].took_us, count * sizeof(*all));
        kept += count;
        done += runners[i].done;
        errors += runners[i].errors;
    }
    if (kept == 0)
        die("not one handshake");
    qsort(all, kept, sizeof(*all), compare);
    (void)printf("{\"rate\": %.0f, \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32
                 ", \"max_us\": %" PRIu32 ", \"errors\": %" PRIu64 "}\n",
                 (double)done / seconds, all[kept / 2], all[kept * 99 / 100], all[kept - 1],
                 errors);
    return errors;
}

static uint64_t measure(struct plan *plan, int threads, int seconds)
{
    struct runner runners[THREADS_MAX] = { 0 };
    uint32_t *const all = calloc((size_t)threads * KEPT, sizeof(*all));
    const int64_t begun_us = clock_mono_us();

    if (all == NULL)
        die("out of memory");
    plan->end_us = begun_us + (int64_t)seconds * 1000000;
    for (int i = 0; i < threads; i++) {
        runners[i].plan = plan;
        runners[i].took_us = all + (size_t)i * KEPT;
        if (pthread_create(&runners[i].thread, NULL, run, &runners[i]) != 0)
            die("cannot start a thread");
    }
    for (int i = 0; i < threads; i++)
        (void)pthread_join(runners[i].thread, NULL);
    const uint64_t errors =
        report(runners, threads, all, (double)(clock_mono_us() - begun_us) / 1e6);
    free(all);
    return errors;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "port", 1, NULL, 'p' },
                                             { "ca", 1, NULL, 'a' },
                                             { "threads", 1, NULL, 'j' },
                                             { "seconds", 1, NULL, 's' },
                                             { NULL, 0, NULL, 0 } };
    struct plan plan = { 0 };
    const char *ca = NULL;
    int threads = 8, seconds = 5;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'p')
            plan.port = atoi(optarg);
        else if (option == 'a')
            ca = optarg;
        else if (option == 'j')
            threads = atoi(optarg);
        else if (option == 's')
            seconds = atoi(optarg);
        else
            die("see the comment at the top of handshakes.c");
    }
    if (plan.port <= 0 || ca == NULL || threads < 1 || threads > THREADS_MAX || seconds < 1)
        die("see the comment at the top of handshakes.c");
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    plan.ssl = SSL_CTX_new(TLS_client_method());
    if (plan.ssl == NULL || SSL_CTX_load_verify_locations(plan.ssl, ca, NULL) != 1)
        die("cannot read the CA");
    SSL_CTX_set_verify(plan.ssl, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_session_cache_mode(plan.ssl, SSL_SESS_CACHE_OFF);
    const uint64_t errors = measure(&plan, threads, seconds);
    SSL_CTX_free(plan.ssl);
    return errors != 0;
}
