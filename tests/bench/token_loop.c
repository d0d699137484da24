/*
 * What the token itself needs for a data key: random bytes, one encryption, one decryption (the
 * read-back), in as many threads as asked for, nothing else around it.
 *
 *   token_loop --config FILE [--threads N] [--seconds N]      reads [token] and [service]
 *
 * Prints one line of JSON.
 */

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/base/settings.h"
#include "pkcs11/token.h"

#define DATA_KEY_LEN 32
#define AAD_LEN      75 /* a blob's header and an empty context */
#define THREADS_MAX  64

struct loop {
    struct token *token;
    struct token_key key;
    uint8_t canary[TOKEN_CANARY_LEN];
    int64_t end_us;
    atomic_long done;
};

static int data_key(const struct loop *loop, struct kms_error *err)
{
    static const uint8_t aad[AAD_LEN];
    uint8_t random[DATA_KEY_LEN + TOKEN_IV_LEN], sealed[DATA_KEY_LEN + TOKEN_TAG_LEN];
    const uint8_t *const iv = random + DATA_KEY_LEN;
    AUTO(secret) opened = { 0 };

    if (token_random(loop->token, random, sizeof(random), err) < 0 ||
        token_encrypt(loop->token, &loop->key, iv, SPAN_ARRAY(aad), span_of(random, DATA_KEY_LEN),
                      sealed, err) < 0)
        return -1;
    return token_decrypt(loop->token, &loop->key, iv, SPAN_ARRAY(aad), SPAN_ARRAY(sealed), &opened,
                         err);
}

static void *work(void *arg)
{
    struct loop *const loop = arg;
    struct kms_error err = { 0 };

    while (clock_mono_us() < loop->end_us) {
        if (data_key(loop, &err) < 0) {
            (void)fprintf(stderr, "token_loop: %s %s\n", err.message, err.detail);
            exit(1); /* a benchmark with errors measures nothing */
        }
        atomic_fetch_add(&loop->done, 1);
    }
    return NULL;
}

static void run(struct loop *loop, unsigned threads, int64_t seconds)
{
    pthread_t ids[THREADS_MAX];
    const int64_t start_us = clock_mono_us();

    loop->end_us = start_us + seconds * 1000000;
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, loop) != 0)
            exit(1);
    for (unsigned i = 0; i < threads; i++)
        (void)pthread_join(ids[i], NULL);
    const double elapsed = (double)(clock_mono_us() - start_us) / 1e6;
    (void)printf("{\"threads\": %u, \"rate\": %.0f}\n", threads,
                 (double)atomic_load(&loop->done) / elapsed);
}

static int open_token(const struct settings *settings, struct loop *loop, struct kms_error *err)
{
    const struct token_config config = {
        .module = settings->token_module,
        .uri = settings->token_uri,
        .init_args = settings->token_init_args,
        .pin_file = settings->token_pin_file,
        .state_dir = settings->service_state_dir,
        .sessions = (unsigned)settings->service_workers,
        .copies = (unsigned)settings->token_copies,
        .call_time_ms = (unsigned)settings->token_call_time,
        .accept_extractable = settings->token_accept_extractable,
    };

    if (token_open(&config, &loop->token, err) < 0)
        return -1;
    loop->key = (struct token_key){ uuid_random(), SPAN_ARRAY(loop->canary) };
    return token_key_generate(loop->token, TOKEN_AES_GCM, &loop->key.id, "bench", loop->canary,
                              err);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "threads", required_argument, NULL, 't' },
                                             { "seconds", required_argument, NULL, 's' },
                                             { 0 } };
    const char *config = "";
    unsigned threads = 1;
    int64_t seconds = 3;
    struct kms_error err = { 0 };
    AUTO(settings) settings = { 0 };
    struct loop loop = { 0 };

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'c')
            config = optarg;
        else if (option == 't')
            threads = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 's')
            seconds = strtoll(optarg, NULL, 10);
        else
            return 2;
    }
    if (threads < 1 || threads > THREADS_MAX)
        return 2;
    if (settings_load(config, &settings, &err) < 0 || open_token(&settings, &loop, &err) < 0) {
        (void)fprintf(stderr, "token_loop: %s %s\n", err.message, err.detail);
        return 1;
    }
    run(&loop, threads, seconds);
    const int gone = token_key_destroy(loop.token, &loop.key.id, &err);
    token_close(loop.token);
    return gone < 0;
}
