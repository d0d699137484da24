/*
 * Many keep-alive connections at once, each answered from another thread: nobody is forgotten and
 * nobody starves. The library had faults of that kind: a ready connection is skipped while another
 * one is being suspended, and a full batch of events waits for one more.
 */

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hsmkms/base/clock.h"
#include "tests/http/rig.h"

#define CONNECTIONS_MOST 256
#define SHARE_OF_MEDIAN  20 /* the slowest connection has at least 1/20 of the median's requests */

/* Sanitizers cost 5 to 15 times as much. */
#ifdef HSMKMS_SANITIZED
#define REQUESTS 8000
#else
#define REQUESTS 60000
#endif

struct load {
    int port;
    const char *priority, *path;
    atomic_long left; /* requests to make in all */
    pthread_barrier_t ready;
};

struct one {
    struct load *load;
    pthread_t thread;
    size_t done, wrong;
    int64_t slowest_us;
};

static void *run_one(void *arg)
{
    struct one *const one = arg;
    struct load *const load = one->load;
    struct client client = { 0 };
    struct reply reply = { 0 };
    char body[32];

    const bool open = client_open(&client, load->port, load->priority);
    (void)pthread_barrier_wait(&load->ready);
    while (open && one->wrong == 0 && atomic_fetch_sub(&load->left, 1) > 0) {
        const int64_t begun_us = clock_mono_us();
        (void)snprintf(body, sizeof(body), "%p %zu", arg, one->done);
        if (!client_post(&client, load->path, "", body, &reply) || reply.status != 200 ||
            strcmp(reply.body, body) != 0)
            one->wrong++;
        else
            one->done++;
        const int64_t took_us = clock_mono_us() - begun_us;
        if (took_us > one->slowest_us)
            one->slowest_us = took_us;
    }
    one->wrong += !open;
    client_close(&client);
    return NULL;
}

static int compare_done(const void *a, const void *b)
{
    const struct one *const x = a, *const y = b;

    return (x->done > y->done) - (x->done < y->done);
}

static void run(struct rig *rig, const char *path, const char *priority, unsigned connections)
{
    static struct one ones[CONNECTIONS_MOST];
    struct load load = { .port = priority ? rig->tls_port : rig->port,
                         .priority = priority,
                         .path = path };
    pthread_attr_t small;
    size_t done = 0, wrong = 0;
    int64_t slowest_us = 0;

    atomic_init(&load.left, REQUESTS);
    (void)pthread_barrier_init(&load.ready, NULL, connections + 1);
    (void)pthread_attr_init(&small);
    (void)pthread_attr_setstacksize(&small, 1 << 20);
    for (unsigned i = 0; i < connections; i++) {
        ones[i] = (struct one){ .load = &load };
        assert_int_equal(pthread_create(&ones[i].thread, &small, run_one, &ones[i]), 0);
    }
    (void)pthread_barrier_wait(&load.ready);
    const int64_t begun_us = clock_mono_us();
    for (unsigned i = 0; i < connections; i++) {
        (void)pthread_join(ones[i].thread, NULL);
        done += ones[i].done;
        wrong += ones[i].wrong;
        slowest_us = ones[i].slowest_us > slowest_us ? ones[i].slowest_us : slowest_us;
    }
    const int64_t took_us = clock_mono_us() - begun_us;
    (void)pthread_attr_destroy(&small);
    (void)pthread_barrier_destroy(&load.ready);

    qsort(ones, connections, sizeof(ones[0]), compare_done);
    const size_t least = ones[0].done, median = ones[connections / 2].done;
    (void)printf("%s %s c=%u: %.0f/s, slowest %.1f ms, per connection %zu / %zu / %zu\n",
                 priority ? "TLS" : "plain", path, connections,
                 (double)done * 1e6 / (double)took_us, (double)slowest_us / 1e3, least, median,
                 ones[connections - 1].done);
    assert_int_equal(wrong, 0);
    assert_int_equal(done, REQUESTS);
    CHECK(least * SHARE_OF_MEDIAN >= median);
}

static void stress(const char *priority)
{
    static const unsigned connections[] = { 16, 64, 256 };
    static const char *const paths[] = { "/slow", "/echo" };
    struct rig rig = { 0 };

    rig_start(&rig, "[limits]\nqueue_time = 60000\n");
    for (size_t i = 0; i < ARRAY_LEN(connections); i++)
        for (size_t j = 0; j < ARRAY_LEN(paths); j++)
            run(&rig, paths[j], priority, connections[i]);
    rig_end(&rig);
}

static void test_http_stress_plain(void **state)
{
    (void)state;
    stress(NULL);
}

static void test_http_stress_tls(void **state)
{
    (void)state;
    stress("NORMAL");
}

/*
 * The other fault: as many ready connections as the library takes at a time. The listener for
 * operators has one worker; it is halted while they all send.
 */
static void test_http_full_batch_of_events(void **state)
{
    enum { BATCH = 128 };
    static struct client clients[BATCH], staller;
    struct rig rig = { 0 };
    struct reply reply;
    char text[64], byte = 0;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rig_start(&rig, "");
    for (size_t i = 0; i < BATCH; i++) {
        assert_true(client_open(&clients[i], rig.ops_port, NULL));
        assert_true(client_post(&clients[i], "/echo", "", "x", &reply));
    }
    assert_true(client_open(&staller, rig.ops_port, NULL));
    (void)snprintf(text, sizeof(text), "GET /stall?%d HTTP/1.1\r\nHost: x\r\n\r\n", pair[1]);
    assert_true(client_send_text(&staller, text));
    assert_int_equal(read(pair[0], &byte, 1), 1);
    for (size_t i = 0; i < BATCH; i++)
        assert_true(client_send_text(&clients[i], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_int_equal(write(pair[0], &byte, 1), 1);

    assert_true(client_read(&staller, &reply));
    for (size_t i = 0; i < BATCH; i++) {
        assert_true(client_read(&clients[i], &reply));
        client_close(&clients[i]);
    }
    client_close(&staller);
    rig_end(&rig);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_stress_plain),
        cmocka_unit_test(test_http_stress_tls),
        cmocka_unit_test(test_http_full_batch_of_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
