/* Pairs, MAC keys and AES keys used by many threads while others are made and destroyed. */

#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/asym_rig.h"

#ifdef ASYM_ON_NSS /* its database is asked for the key each time */
#define ROUNDS 8
#else
#define ROUNDS 30 /* per thread; each signs, agrees, decrypts and makes MACs */
#endif

#define TEXT SPAN_LITERAL("attack at dawn")

static const uint8_t iv[TOKEN_IV_LEN] = "twelve bytes";

struct crowd {
    struct asym_rig *rig;
    const struct asym_pair *signs, *rsa, *agrees, *decrypts;
    struct asym_mac_key mac;
    struct uuid aes;
    uint8_t canary[TOKEN_CANARY_LEN];
    uint8_t sealed[256], shared[32];
    _Atomic bool stop;
    _Atomic unsigned encrypted;
};

static bool signs_well(const struct crowd *crowd, const struct asym_pair *pair,
                       enum token_algorithm algorithm, struct kms_error *err)
{
    const struct token_key key = asym_key(pair);
    struct token_signature signature;
    uint8_t digest[32] = "digest";

    return token_sign(crowd->rig->token, pair->public_key.kind, &key, algorithm, SPAN_ARRAY(digest),
                      &signature, err) == 0 &&
           ossl_verifies(&pair->public_key, algorithm, SPAN_ARRAY(digest),
                         span_of(signature.bytes, signature.len));
}

static bool agrees_well(const struct crowd *crowd, struct kms_error *err)
{
    const struct token_key key = asym_key(crowd->agrees);
    AUTO(secret) shared = { 0 };

    return token_agree(crowd->rig->token, TOKEN_P256, &key,
                       token_public_span(&crowd->signs->public_key), &shared, err) == 0 &&
           span_equal(secret_span(&shared), SPAN_ARRAY(crowd->shared));
}

static bool decrypts_well(const struct crowd *crowd, struct kms_error *err)
{
    const struct token_key key = asym_key(crowd->decrypts);
    AUTO(secret) plain = { 0 };

    return token_rsa_decrypt(crowd->rig->token, TOKEN_RSA_2048, &key, TOKEN_RSA_OAEP_SHA1,
                             SPAN_ARRAY(crowd->sealed), &plain, err) == 0 &&
           span_equal(secret_span(&plain), TEXT);
}

static bool macs_well(const struct crowd *crowd, struct kms_error *err)
{
    const struct token_key key = asym_mac_name(&crowd->mac);
    struct token_mac mac;
    bool good = false;

    return token_mac(crowd->rig->token, TOKEN_HMAC_384, &key, TEXT, &mac, err) == 0 &&
           token_mac_verify(crowd->rig->token, TOKEN_HMAC_384, &key, TEXT,
                            span_of(mac.bytes, mac.len), &good, err) == 0 &&
           good;
}

static bool refuses_well(const struct crowd *crowd, struct kms_error *err)
{
    const struct token_key key = asym_key(crowd->decrypts);
    AUTO(secret) plain = { 0 };
    uint8_t sealed[256];

    memcpy(sealed, crowd->sealed, sizeof(sealed));
    sealed[200] ^= 1;
    const bool refused =
        token_rsa_decrypt(crowd->rig->token, TOKEN_RSA_2048, &key, TOKEN_RSA_OAEP_SHA1,
                          SPAN_ARRAY(sealed), &plain, err) < 0 &&
        err->code == KMS_ERR_INVALID_CIPHERTEXT;
    if (refused)
        kms_error_clear(err);
    return refused;
}

static void *use_keys(void *arg)
{
    const struct crowd *const crowd = arg;
    static _Thread_local struct kms_error err;

    for (int i = 0; i < ROUNDS; i++)
        if (!signs_well(crowd, crowd->signs, TOKEN_ECDSA, &err) || !agrees_well(crowd, &err) ||
            !signs_well(crowd, crowd->rsa, TOKEN_RSA_PSS_SHA256, &err) ||
            !decrypts_well(crowd, &err) || !refuses_well(crowd, &err) || !macs_well(crowd, &err))
            return (void *)(uintptr_t)(err.where ? err.where : "a wrong result");
    return NULL;
}

static void crowd_make(struct crowd *ret, struct asym_rig *rig)
{
    struct kms_error err = { 0 };
    AUTO(secret) shared = { 0 };

    *ret = (struct crowd){ .rig = rig,
                           .signs = asym_pair(rig, TOKEN_P256, TOKEN_SIGNS),
                           .rsa = asym_pair(rig, TOKEN_RSA_2048, TOKEN_SIGNS),
                           .agrees = asym_pair(rig, TOKEN_P256, TOKEN_AGREES),
                           .decrypts = asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS),
                           .mac = asym_make_mac(rig, TOKEN_HMAC_384),
                           .aes = uuid_random() };
    const struct token_key agrees = asym_key(ret->agrees);
    ossl_encrypt(&ret->decrypts->public_key, TOKEN_RSA_OAEP_SHA1, TEXT, ret->sealed);
    CHECK_OK(token_agree(rig->token, TOKEN_P256, &agrees,
                         token_public_span(&ret->signs->public_key), &shared, &err),
             err);
    memcpy(ret->shared, shared.ptr, sizeof(ret->shared));
    CHECK_OK(token_key_generate(rig->token, TOKEN_AES_GCM, &ret->aes, "k", ret->canary, &err), err);
}

static void join_all(const pthread_t *threads, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *wrong = NULL;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        if (wrong)
            fail_msg("a thread failed at %s", (const char *)wrong);
    }
}

static void test_asym_threads(void **state)
{
    static const enum token_kind passing_kinds[] = { TOKEN_P256, TOKEN_P384, TOKEN_P521 };
    struct asym_rig *const rig = *state;
    struct token_status before, after;
    struct kms_error err = { 0 };
    struct crowd crowd;
    pthread_t threads[4];

    crowd_make(&crowd, rig);
    (void)asym_can(rig, TOKEN_P384, TOKEN_AGREES);
    token_status(rig->token, &before);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_keys, &crowd), 0);
    for (int i = 0; i < 9; i++) {
        const struct asym_pair passing =
            asym_make(rig, passing_kinds[i % 3], i % 2 ? TOKEN_SIGNS : TOKEN_AGREES);
        const struct asym_mac_key mac = asym_make_mac(rig, TOKEN_HMAC_512);

        CHECK_OK(token_key_destroy(rig->token, &passing.id, &err), err);
        CHECK_OK(token_key_destroy(rig->token, &mac.id, &err), err);
        token_tick(rig->token);
    }
    join_all(threads, ARRAY_LEN(threads));
    token_status(rig->token, &after);
    assert_int_equal(after.errors, before.errors);
    assert_int_equal(after.sessions_replaced, before.sessions_replaced);
    assert_int_equal(after.keys, before.keys);
}

/* The first question about a kind, from everywhere at once, after a start. */
static void *ask(void *arg)
{
    struct asym_rig *const rig = arg;
    struct kms_error err = { 0 };

    for (enum token_kind kind = TOKEN_HMAC_224; kind < TOKEN_KINDS; kind++) {
        for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++) {
            enum token_support support;

            if (token_supports(rig->token, kind, i, &support, &err) < 0)
                return (void *)(uintptr_t) "token_supports";
        }
    }
    return NULL;
}

static void test_asym_threads_ask(void **state)
{
    struct asym_rig *const rig = *state;
    struct kms_error err = { 0 };
    pthread_t threads[3];

    token_close(rig->token);
    CHECK_OK(token_open(&rig->config, &rig->token, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, rig), 0);
    join_all(threads, ARRAY_LEN(threads));
}

static void *encrypt_on(void *arg)
{
    struct crowd *const crowd = arg;
    const struct token_key key = { crowd->aes, SPAN_ARRAY(crowd->canary) };
    struct kms_error err = { 0 };
    uint8_t sealed[14 + TOKEN_TAG_LEN];

    while (!atomic_load(&crowd->stop)) {
        if (token_encrypt(crowd->rig->token, &key, iv, TEXT, TEXT, sealed, &err) < 0)
            return (void *)(uintptr_t)err.where;
        atomic_fetch_add(&crowd->encrypted, 1);
    }
    return NULL;
}

/* A large pair takes seconds; nobody who uses a key waits for it. */
static void test_asym_long_generation_stops_nobody(void **state)
{
    struct asym_rig *const rig = *state;
    struct kms_error err = { 0 };
    struct crowd crowd;
    pthread_t thread;

    crowd_make(&crowd, rig);
    (void)asym_can(rig, TOKEN_RSA_4096, TOKEN_SIGNS);
    assert_int_equal(pthread_create(&thread, NULL, encrypt_on, &crowd), 0);
    const struct asym_pair pair = asym_make(rig, TOKEN_RSA_4096, TOKEN_SIGNS);
    const unsigned meanwhile = atomic_load(&crowd.encrypted);
    atomic_store(&crowd.stop, true);
    join_all(&thread, 1);
    CHECK(meanwhile > 50);
    CHECK_OK(token_key_destroy(rig->token, &pair.id, &err), err);
}

/* While one pair is made others queue up, and each gets its own. */
static void *make_pairs(void *arg)
{
    struct asym_rig *const rig = arg;
    struct kms_error err = { 0 };

    for (int i = 0; i < 3; i++) {
        const struct uuid id = uuid_random();
        const struct token_key key = { id, { 0 } };
        struct token_public public_key;

        if (token_pair_generate(rig->token, TOKEN_RSA_2048, TOKEN_SIGNS, &id, "hsmkms:pair",
                                &public_key, &err) < 0 ||
            token_key_destroy(rig->token, &key.id, &err) < 0)
            return (void *)(uintptr_t)err.where;
    }
    return NULL;
}

static void test_asym_threads_generate(void **state)
{
    struct asym_rig *const rig = *state;
    pthread_t threads[3];

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_pairs, rig), 0);
    join_all(threads, ARRAY_LEN(threads));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asym_threads),
        cmocka_unit_test(test_asym_threads_ask),
        cmocka_unit_test(test_asym_long_generation_stops_nobody),
        cmocka_unit_test(test_asym_threads_generate),
    };

    return run_group(tests, ARRAY_LEN(tests), asym_setup, asym_teardown, NULL);
}
