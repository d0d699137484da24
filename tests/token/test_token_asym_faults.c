/* Pairs and MAC keys in SoftHSM behind a module that goes wrong on request (p11_faults.c). */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/asym_rig.h"
#include "tests/support/faults.h"

#define TEXT SPAN_LITERAL("attack at dawn")

struct fixture {
    struct asym_rig rig;
    struct asym_pair signs, agrees, decrypts;
    struct asym_mac_key mac;
    uint8_t sealed[256], shared[32];
};

static int setup_closed(void **state)
{
    struct fixture *const f = calloc(1, sizeof(*f));

    softhsm_init(&f->rig.softhsm);
    f->rig.config = faults_config(&f->rig.softhsm);
    faults_set("");
    *state = f;
    return 0;
}

static int setup(void **state)
{
    struct kms_error err = { 0 };
    AUTO(secret) shared = { 0 };

    (void)setup_closed(state);
    struct fixture *const f = *state;
    CHECK_OK(token_open(&f->rig.config, &f->rig.token, &err), err);
    f->signs = asym_make(&f->rig, TOKEN_P256, TOKEN_SIGNS);
    f->agrees = asym_make(&f->rig, TOKEN_P256, TOKEN_AGREES);
    f->decrypts = asym_make(&f->rig, TOKEN_RSA_2048, TOKEN_DECRYPTS);
    f->mac = asym_make_mac(&f->rig, TOKEN_HMAC_256);
    (void)asym_support(&f->rig, TOKEN_HMAC_256, TOKEN_MAC); /* probed before anything goes wrong */
    ossl_encrypt(&f->decrypts.public_key, TOKEN_RSA_OAEP_SHA1, TEXT, f->sealed);
    const struct token_key key = asym_key(&f->agrees);
    CHECK_OK(token_agree(f->rig.token, TOKEN_P256, &key, token_public_span(&f->signs.public_key),
                         &shared, &err),
             err);
    memcpy(f->shared, shared.ptr, sizeof(f->shared));
    return 0;
}

static int teardown(void **state)
{
    struct fixture *const f = *state;

    faults_set("");
    token_close(f->rig.token);
    softhsm_done(&f->rig.softhsm);
    free(f);
    return 0;
}

static int sign_one(struct fixture *f, struct kms_error *err)
{
    const struct token_key key = asym_key(&f->signs);
    static const uint8_t digest[32] = "digest";
    struct token_signature signature;

    if (token_sign(f->rig.token, TOKEN_P256, &key, TOKEN_ECDSA, SPAN_ARRAY(digest), &signature,
                   err) < 0)
        return -1;
    CHECK(ossl_verifies(&f->signs.public_key, TOKEN_ECDSA, SPAN_ARRAY(digest),
                        span_of(signature.bytes, signature.len)));
    return 0;
}

static int agree_one(struct fixture *f, struct kms_error *err)
{
    const struct token_key key = asym_key(&f->agrees);
    AUTO(secret) shared = { 0 };

    if (token_agree(f->rig.token, TOKEN_P256, &key, token_public_span(&f->signs.public_key),
                    &shared, err) < 0)
        return -1;
    CHECK_SPAN(secret_span(&shared), SPAN_ARRAY(f->shared));
    return 0;
}

static int decrypt_one(struct fixture *f, struct kms_error *err)
{
    const struct token_key key = asym_key(&f->decrypts);
    AUTO(secret) plain = { 0 };

    if (token_rsa_decrypt(f->rig.token, TOKEN_RSA_2048, &key, TOKEN_RSA_OAEP_SHA1,
                          SPAN_ARRAY(f->sealed), &plain, err) < 0)
        return -1;
    CHECK_SPAN(secret_span(&plain), TEXT);
    return 0;
}

static int mac_one(struct fixture *f, struct kms_error *err)
{
    const struct token_key key = asym_mac_name(&f->mac);
    struct token_mac mac;

    return token_mac(f->rig.token, TOKEN_HMAC_256, &key, TEXT, &mac, err);
}

static int all_of_it(struct fixture *f, struct kms_error *err)
{
    return sign_one(f, err) < 0 || agree_one(f, err) < 0 || decrypt_one(f, err) < 0 ||
                   mac_one(f, err) < 0
               ? -1
               : 0;
}

static void wait_recovered(struct fixture *f)
{
    struct kms_error err = { 0 };

    for (int i = 0; i < RECOVERY_TRIES; i++) {
        kms_error_clear(&err);
        if (all_of_it(f, &err) == 0)
            return;
        (void)usleep(10000);
    }
    fail_msg("the token did not come back: %s %s", err.message, err.detail);
}

static bool available(struct fixture *f)
{
    struct token_status status;

    token_status(f->rig.token, &status);
    return status.available;
}

/* One fault, at each call that a use of a key makes, of each kind that passes. */
static void test_faults_once(void **state)
{
    static const char *const functions[] = { "C_SignInit",         "C_Sign",      "C_DecryptInit",
                                             "C_Decrypt",          "C_DeriveKey", "C_DestroyObject",
                                             "C_GetAttributeValue" };
    static const char *const answers[] = { "0x5",  "0x6",  "0x30", "0x32", "0x60",
                                           "0x82", "0x90", "0xb3", "0xe0", "0x101" };
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    char rule[100];

    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        for (size_t a = 0; a < ARRAY_LEN(answers); a++) {
            (void)snprintf(rule, sizeof(rule), "%s times=1 rv=%s\n", functions[i], answers[a]);
            faults_set(rule);
            if (all_of_it(f, &err) < 0)
                fail_msg("%s: %s %s", rule, err.message, err.detail);
            CHECK(available(f));
        }
}

/* Handles that died mean nothing until the key behind the new ones has shown which it is. */
static void test_faults_stale_handles(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    for (int i = 0; i < 5; i++) {
        faults_set("handles stale\n");
        CHECK_OK(all_of_it(f, &err), err);
        faults_set("");
    }
    CHECK(available(f));
}

static void test_faults_login_lost(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    faults_set("login lost\n");
    CHECK_OK(all_of_it(f, &err), err);
    CHECK(available(f));
}

/* A token that answers nonsense: a key that cannot show what it is, is not used. */
static void test_faults_flipped_proof(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    faults_set("handles stale\nC_Sign flip\n");
    CHECK_FAILS(sign_one(f, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(mac_one(f, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    faults_set("");
    wait_recovered(f);
}

static void test_faults_that_last(void **state)
{
    static const char *const lasting[] = { "C_Sign rv=0x30\n",
                                           "C_Decrypt rv=0x5\nC_Encrypt rv=0x5\n",
                                           "C_DeriveKey rv=0x30\n", "C_SignInit rv=0xb3\n" };
    struct fixture *const f = *state;

    for (size_t i = 0; i < ARRAY_LEN(lasting); i++) {
        struct kms_error err = { 0 };

        faults_set(lasting[i]);
        CHECK_FAILS(all_of_it(f, &err), err, KMS_ERR_KEY_UNAVAILABLE);
        faults_set("");
        wait_recovered(f);
    }
}

/* A doubtful answer that passes is no bad ciphertext, and no bad point. */
static void test_faults_doubt_passes(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    faults_set("C_Decrypt times=2 rv=0x5\n");
    CHECK_OK(decrypt_one(f, &err), err);
    faults_set("C_DeriveKey times=2 rv=0x5\n");
    CHECK_OK(agree_one(f, &err), err);
    CHECK(available(f));
}

/* Making */

static void test_faults_generation_fails(void **state)
{
    static const char *const answers[] = { "0x5", "0x30", "0x31", "0xb3", "0x101" };
    struct fixture *const f = *state;
    const struct uuid id = uuid_random();
    struct token_public public_key = { .len = 7 };
    struct kms_error err = { 0 };
    char rule[100];

    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        (void)snprintf(rule, sizeof(rule), "C_GenerateKeyPair rv=%s\n", answers[i]);
        faults_set(rule);
        CHECK(token_pair_generate(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id, "x", &public_key,
                                  &err) < 0);
        kms_error_clear(&err);
        assert_int_equal(public_key.len, 7);
        faults_set("");
        CHECK_FAILS(token_pair_verify(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id,
                                      token_public_span(&f->signs.public_key), &err),
                    err, KMS_ERR_NOT_FOUND);
        wait_recovered(f);
    }
}

/* The call failed and made a pair all the same, as a crash would leave it. */
static void test_faults_interrupted_creation(void **state)
{
    struct fixture *const f = *state;
    const struct uuid id = uuid_random();
    struct token_public public_key, found;
    struct token_signature signature;
    static const uint8_t digest[32] = "digest";
    struct kms_error err = { 0 };

    faults_set("C_GenerateKeyPair fail-after\n");
    CHECK(token_pair_generate(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id, "x", &public_key, &err) <
          0);
    kms_error_clear(&err);
    faults_set("");
    wait_recovered(f);
    CHECK_OK(token_pair_public(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id, &found, &err), err);
    CHECK_OK(token_pair_verify(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id,
                               token_public_span(&found), &err),
             err);
    const struct token_key key = { id, token_public_span(&found) };
    CHECK_OK(token_sign(f->rig.token, TOKEN_P256, &key, TOKEN_ECDSA, SPAN_ARRAY(digest), &signature,
                        &err),
             err);
    CHECK(ossl_verifies(&found, TOKEN_ECDSA, SPAN_ARRAY(digest),
                        span_of(signature.bytes, signature.len)));
    CHECK_OK(token_key_destroy(f->rig.token, &id, &err), err);
    CHECK_FAILS(token_pair_public(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id, &found, &err), err,
                KMS_ERR_NOT_FOUND);
}

/* Every call of a creation, failed once: it says so, or it worked. */
static void test_faults_at_every_call_of_a_creation(void **state)
{
    static const char *const functions[] = {
        "C_GetAttributeValue", "C_SignInit",   "C_Sign",
        "C_CreateObject",      "C_VerifyInit", "C_Verify",
        "C_WrapKey",           "C_CopyObject", "C_SetAttributeValue"
    };
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    char rule[100];

    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        for (unsigned after = 0; after < 3; after++) {
            const struct uuid id = uuid_random();
            struct token_public public_key;

            (void)snprintf(rule, sizeof(rule), "%s after=%u times=1 rv=0x30\n", functions[i],
                           after);
            faults_set(rule);
            if (token_pair_generate(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id, "x", &public_key,
                                    &err) < 0)
                kms_error_clear(&err);
            faults_set("");
            wait_recovered(f);
            CHECK_OK(token_key_destroy(f->rig.token, &id, &err), err);
        }
}

static void *sign_slowly(void *arg)
{
    struct kms_error err = { 0 };

    (void)usleep(100000);
    return sign_one(arg, &err) == 0 ? NULL : (void *)(uintptr_t)(err.where ? err.where : "?");
}

/* Somebody's call hangs while a pair is made: its maker gives up, and nobody else is stopped. */
static void test_faults_hang_beside_a_creation(void **state)
{
    struct fixture *const f = *state;
    const struct uuid id = uuid_random();
    struct token_public public_key;
    struct kms_error err = { 0 };
    pthread_t thread;
    void *wrong = NULL;

    token_close(f->rig.token);
    f->rig.config.sessions = 2;
    f->rig.config.call_time_ms = 200;
    CHECK_OK(token_open(&f->rig.config, &f->rig.token, &err), err);
    CHECK_OK(all_of_it(f, &err), err);
    faults_set("C_GenerateKeyPair delay=400\nC_Sign delay=1500 times=1\n");
    assert_int_equal(pthread_create(&thread, NULL, sign_slowly, f), 0);
    CHECK_FAILS(
        token_pair_generate(f->rig.token, TOKEN_P256, TOKEN_SIGNS, &id, "x", &public_key, &err),
        err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_OK(mac_one(f, &err), err); /* on the other session, while the first one hangs */
    assert_int_equal(pthread_join(thread, &wrong), 0);
    if (wrong)
        fail_msg("the slow call failed at %s", (const char *)wrong);
    faults_set("");
    wait_recovered(f);
    CHECK_OK(token_key_destroy(f->rig.token, &id, &err), err);
}

/* Probing */

static enum token_support ask(struct fixture *f, enum token_kind kind,
                              enum token_algorithm algorithm, struct kms_error *err)
{
    enum token_support support = TOKEN_LACKS;

    (void)!token_supports(f->rig.token, kind, algorithm, &support, err);
    return support;
}

/* One fault while it is asked is no answer, or does not change it. */
static void test_faults_while_probing(void **state)
{
    static const char *const functions[] = {
        "C_GenerateKeyPair", "C_SignInit",          "C_Sign",        "C_VerifyInit",   "C_Verify",
        "C_CreateObject",    "C_GetAttributeValue", "C_OpenSession", "C_DestroyObject"
    };
    static const char *const answers[] = { "0x5", "0x30", "0xb3", "0x101", "0x31" };
    struct fixture *const f = *state;
    char rule[100];

    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        for (size_t a = 0; a < ARRAY_LEN(answers); a++) {
            struct kms_error err = { 0 };

            token_close(f->rig.token);
            CHECK_OK(token_open(&f->rig.config, &f->rig.token, &err), err);
            (void)snprintf(rule, sizeof(rule), "%s times=1 rv=%s\n", functions[i], answers[a]);
            faults_set(rule);
            const enum token_support first = ask(f, TOKEN_P384, TOKEN_ECDSA, &err);
            if (err.code == KMS_ERR_NONE && first != TOKEN_WITHIN)
                fail_msg("taken for an answer: %s", rule);
            faults_set("");
            wait_recovered(f);
            kms_error_clear(&err);
            assert_int_equal(ask(f, TOKEN_P384, TOKEN_ECDSA, &err), TOKEN_WITHIN);
        }
}

/* A token that always says no is believed, and asked once. */
static void test_faults_hidden_mechanisms(void **state)
{
    struct fixture *const f = *state;
    struct token_public public_key;
    const struct uuid id = uuid_random();
    struct kms_error err = { 0 };

    faults_set("C_GenerateKeyPair rv=0x70\n");
    assert_int_equal(ask(f, TOKEN_P521, TOKEN_ECDSA, &err), TOKEN_LACKS);
    assert_int_equal(err.code, KMS_ERR_NONE);
    faults_set("");
    assert_int_equal(ask(f, TOKEN_P521, TOKEN_ECDSA, &err), TOKEN_LACKS);
    CHECK_FAILS(
        token_pair_generate(f->rig.token, TOKEN_P521, TOKEN_SIGNS, &id, "x", &public_key, &err),
        err, KMS_ERR_UNSUPPORTED);
    faults_set("C_GenerateKeyPair rv=0x80000001\n"); /* some vendor's own */
    assert_int_equal(ask(f, TOKEN_P521, TOKEN_ECDH, &err), TOKEN_LACKS);
    assert_int_equal(err.code, KMS_ERR_NONE);
    CHECK(available(f));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_faults_once),
        TEST(test_faults_stale_handles),
        TEST(test_faults_login_lost),
        TEST(test_faults_flipped_proof),
        TEST(test_faults_that_last),
        TEST(test_faults_doubt_passes),
        TEST(test_faults_generation_fails),
        TEST(test_faults_interrupted_creation),
        TEST(test_faults_at_every_call_of_a_creation),
        TEST(test_faults_hang_beside_a_creation),
        TEST(test_faults_while_probing),
        TEST(test_faults_hidden_mechanisms),
    };

    return run_group(tests, ARRAY_LEN(tests), faults_up, faults_down, NULL);
}
