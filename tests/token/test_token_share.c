/* Several tokens in one process: of one module, and of two. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/softhsm.h"

#define OTHER "hsmkms-other"

struct fixture {
    struct softhsm softhsm;
    struct token_config config, other_config; /* of one module */
    struct token *token, *other;
};

static void set_up(struct fixture *f)
{
    *f = (struct fixture){ 0 };
    softhsm_init(&f->softhsm);
    softhsm_add(&f->softhsm, SOFTHSM_MODULE, OTHER);
    f->config = softhsm_config(&f->softhsm);
    f->other_config = f->config;
    f->other_config.uri = "pkcs11:token=" OTHER;
    f->other_config.name = "other";
}

static void open_both(struct fixture *f)
{
    struct kms_error err = { 0 };

    CHECK_OK(token_open(&f->config, &f->token, &err), err);
    CHECK_OK(token_open(&f->other_config, &f->other, &err), err);
}

static void close_token(struct token **token)
{
    token_close(*token);
    *token = NULL;
}

static void tear_down(struct fixture *f)
{
    close_token(&f->other);
    close_token(&f->token);
    softhsm_done(&f->softhsm);
}

static struct uuid make_key(struct token *token, uint8_t ret_canary[TOKEN_CANARY_LEN])
{
    const struct uuid id = uuid_random();
    struct kms_error err = { 0 };

    CHECK_OK(token_key_generate(token, TOKEN_AES_GCM, &id, "shared", ret_canary, &err), err);
    return id;
}

/* 0 when the key encrypts and what it made opens again. */
static int use_key(struct token *token, const struct uuid *id, const uint8_t *canary,
                   struct kms_error *err)
{
    const struct token_key key = { *id, span_of(canary, TOKEN_CANARY_LEN) };
    static const uint8_t plain[] = "sixteen bytes...";
    uint8_t iv[TOKEN_IV_LEN], sealed[sizeof(plain) + TOKEN_TAG_LEN];
    AUTO(secret) opened = { 0 };

    if (token_random(token, iv, sizeof(iv), err) < 0 ||
        token_encrypt(token, &key, iv, (struct span){ 0 }, SPAN_ARRAY(plain), sealed, err) < 0 ||
        token_decrypt(token, &key, iv, (struct span){ 0 }, SPAN_ARRAY(sealed), &opened, err) < 0)
        return -1;
    assert_memory_equal(opened.ptr, plain, sizeof(plain));
    return 0;
}

static void check_key(struct token *token, const struct uuid *id, const uint8_t *canary)
{
    struct kms_error err = { 0 };

    CHECK_OK(use_key(token, id, canary, &err), err);
}

static void test_each_has_its_own_keys(void **state)
{
    uint8_t canary[TOKEN_CANARY_LEN], other_canary[TOKEN_CANARY_LEN];
    struct kms_error err = { 0 };
    struct fixture f;

    (void)state;
    set_up(&f);
    open_both(&f);
    const struct uuid id = make_key(f.token, canary);
    const struct uuid other_id = make_key(f.other, other_canary);
    check_key(f.token, &id, canary);
    check_key(f.other, &other_id, other_canary);
    CHECK_FAILS(use_key(f.token, &other_id, other_canary, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(use_key(f.other, &id, canary, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    tear_down(&f);
}

/* Whichever is closed first, the other one goes on; the last one ends the module. */
static void test_either_may_be_closed_first(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        uint8_t canary[TOKEN_CANARY_LEN], other_canary[TOKEN_CANARY_LEN];
        struct kms_error err = { 0 };
        struct fixture f;

        set_up(&f);
        open_both(&f);
        const struct uuid id = make_key(f.token, canary);
        const struct uuid other_id = make_key(f.other, other_canary);
        close_token(first ? &f.other : &f.token);
        check_key(first ? f.token : f.other, first ? &id : &other_id,
                  first ? canary : other_canary);
        if (first)
            CHECK_OK(token_open(&f.other_config, &f.other, &err), err);
        else
            CHECK_OK(token_open(&f.config, &f.token, &err), err);
        check_key(f.token, &id, canary);
        check_key(f.other, &other_id, other_canary);
        tear_down(&f);
    }
}

static void test_one_token_is_open_once(void **state)
{
    struct kms_error err = { 0 };
    struct token *second = NULL;
    struct fixture f;

    (void)state;
    set_up(&f);
    open_both(&f);
    CHECK_FAILS(token_open(&f.other_config, &second, &err), err, KMS_ERR_CONFIG);
    CHECK_FAILS(token_open(&f.config, &second, &err), err, KMS_ERR_CONFIG);
    CHECK_OK(token_probe(f.token, &err), err);
    CHECK_OK(token_probe(f.other, &err), err);
    tear_down(&f);
}

static void test_one_module_has_one_set_of_arguments(void **state)
{
    struct kms_error err = { 0 };
    struct fixture f;

    (void)state;
    set_up(&f);
    CHECK_OK(token_open(&f.config, &f.token, &err), err);
    f.other_config.init_args = "something else";
    CHECK_FAILS(token_open(&f.other_config, &f.other, &err), err, KMS_ERR_CONFIG);
    CHECK_OK(token_probe(f.token, &err), err);
    tear_down(&f);
}

static void test_a_missing_one_leaves_the_other_alone(void **state)
{
    uint8_t canary[TOKEN_CANARY_LEN];
    struct kms_error err = { 0 };
    struct fixture f;

    (void)state;
    set_up(&f);
    CHECK_OK(token_open(&f.config, &f.token, &err), err);
    const struct uuid id = make_key(f.token, canary);
    f.other_config.uri = "pkcs11:token=nobody";
    CHECK_FAILS(token_open(&f.other_config, &f.other, &err), err, KMS_ERR_TOKEN_MISSING);
    f.other_config.uri = "pkcs11:"; /* fits both */
    CHECK_FAILS(token_open(&f.other_config, &f.other, &err), err, KMS_ERR_TOKEN_MISSING);
    f.other_config.uri = "pkcs11:token=" OTHER;
    CHECK_OK(token_open(&f.other_config, &f.other, &err), err);
    check_key(f.token, &id, canary);
    tear_down(&f);
}

static bool has_latch(const struct fixture *f, const char *name)
{
    char path[400];

    (void)snprintf(path, sizeof(path), "%s/%s", f->softhsm.state, name);
    return access(path, F_OK) == 0;
}

/* A wrong PIN is latched for its own token and no other. */
static void test_latches_are_apart(void **state)
{
    char path[400], wrong[TEST_PIN_LEN + 1];
    struct kms_error err = { 0 };
    struct fixture f;

    (void)state;
    set_up(&f);
    test_pin_make(wrong);
    (void)snprintf(path, sizeof(path), "%s/wrong-pin", f.softhsm.dir);
    test_file_write(path, wrong, TEST_PIN_LEN);
    f.other_config.pin_file = path;
    CHECK_OK(token_open(&f.config, &f.token, &err), err);
    CHECK_FAILS(token_open(&f.other_config, &f.other, &err), err, KMS_ERR_PIN_LATCHED);
    CHECK(has_latch(&f, "pin-latch-other") && !has_latch(&f, "pin-latch"));
    CHECK_FAILS(token_open(&f.other_config, &f.other, &err), err, KMS_ERR_PIN_LATCHED);
    CHECK_OK(token_probe(f.token, &err), err);

    f.other_config.pin_file = f.softhsm.pin_file; /* another PIN is tried */
    CHECK_OK(token_open(&f.other_config, &f.other, &err), err);
    CHECK(!has_latch(&f, "pin-latch-other"));
    tear_down(&f);
}

/* A token of another module comes and goes without the first one noticing. */
static void test_two_modules(void **state)
{
    uint8_t canary[TOKEN_CANARY_LEN], other_canary[TOKEN_CANARY_LEN];
    char module[300];
    struct kms_error err = { 0 };
    struct fixture f;

    (void)state;
    set_up(&f);
    softhsm_copy_module(&f.softhsm, module, sizeof(module));
    f.other_config.module = module;
    open_both(&f);
    const struct uuid id = make_key(f.token, canary);
    const struct uuid other_id = make_key(f.other, other_canary);
    check_key(f.token, &id, canary);
    for (int i = 0; i < 3; i++) {
        close_token(&f.other);
        check_key(f.token, &id, canary);
        CHECK_OK(token_open(&f.other_config, &f.other, &err), err);
        check_key(f.other, &other_id, other_canary);
    }
    tear_down(&f);
}

/* --- beside each other ------------------------------------------------------------------------ */

#define ROUNDS 60

struct load {
    struct token *token;
    struct uuid id;
    uint8_t canary[TOKEN_CANARY_LEN];
    bool makes; /* and destroys keys, else uses one */
    unsigned failed;
};

static void *work(void *arg)
{
    struct load *const load = arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct kms_error err = { 0 };
        const struct uuid id = uuid_random();
        uint8_t canary[TOKEN_CANARY_LEN];
        if (!load->makes) {
            load->failed += use_key(load->token, &load->id, load->canary, &err) < 0;
            continue;
        }
        load->failed +=
            token_key_generate(load->token, TOKEN_AES_GCM, &id, "load", canary, &err) < 0 ||
            use_key(load->token, &id, canary, &err) < 0 ||
            token_key_destroy(load->token, &id, &err) < 0;
    }
    return NULL;
}

/* Keys are made and destroyed in both tokens of a module while both are used. */
static void test_both_at_once(void **state)
{
    struct load loads[8] = { 0 };
    pthread_t threads[ARRAY_LEN(loads)];
    struct fixture f;

    (void)state;
    set_up(&f);
    open_both(&f);
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        loads[i].token = i % 2 ? f.other : f.token;
        loads[i].makes = i < 4;
        loads[i].id = make_key(loads[i].token, loads[i].canary);
    }
    for (size_t i = 0; i < ARRAY_LEN(loads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &loads[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(loads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(loads); i++)
        assert_int_equal(loads[i].failed, 0);
    tear_down(&f);
}

/* A token is opened and closed again and again while the other one of its module is used. */
static void test_coming_and_going_beside_use(void **state)
{
    struct load loads[3] = { 0 };
    pthread_t threads[ARRAY_LEN(loads)];
    struct kms_error err = { 0 };
    struct fixture f;

    (void)state;
    set_up(&f);
    CHECK_OK(token_open(&f.config, &f.token, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        loads[i] = (struct load){ .token = f.token, .makes = i == 0 };
        loads[i].id = make_key(f.token, loads[i].canary);
        assert_int_equal(pthread_create(&threads[i], NULL, work, &loads[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        CHECK_OK(token_open(&f.other_config, &f.other, &err), err);
        close_token(&f.other);
    }
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(loads[i].failed, 0);
    }
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_has_its_own_keys),
        cmocka_unit_test(test_either_may_be_closed_first),
        cmocka_unit_test(test_one_token_is_open_once),
        cmocka_unit_test(test_one_module_has_one_set_of_arguments),
        cmocka_unit_test(test_a_missing_one_leaves_the_other_alone),
        cmocka_unit_test(test_latches_are_apart),
        cmocka_unit_test(test_two_modules),
        cmocka_unit_test(test_both_at_once),
        cmocka_unit_test(test_coming_and_going_beside_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
