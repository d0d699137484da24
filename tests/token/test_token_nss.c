/*
 * The token layer against NSS softokn, which does AES-GCM but gives away keys that are not
 * extractable: refused by default, usable when the operator accepts that.
 */

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/softhsm.h"

extern char **environ;

struct fixture {
    char dir[200], database[256], pin_file[256], state[256], init_args[600];
    struct token_config config;
};

static const uint8_t iv[TOKEN_IV_LEN] = "twelve bytes";
#define AAD        SPAN_LITERAL("aad")
#define PLAIN      SPAN_LITERAL("attack at dawn")
#define SEALED_LEN (sizeof("attack at dawn") - 1 + TOKEN_TAG_LEN)

/* Makes the database; certutil reads the PIN from the file. */
static bool make_database(const struct fixture *f)
{
    char where[300];
    int status = -1;
    pid_t pid = 0;

    (void)snprintf(where, sizeof(where), "sql:%s", f->database);
    const char *const args[] = { "certutil", "-N", "-d", where, "-f", f->pin_file, NULL };
    return posix_spawnp(&pid, "certutil", NULL, NULL, (char **)(uintptr_t)args, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int setup(void **state)
{
    struct fixture *const f = calloc(1, sizeof(*f));
    char pin[TEST_PIN_LEN + 1], line[TEST_PIN_LEN + 2];

    test_dir_make(f->dir, sizeof(f->dir));
    (void)snprintf(f->database, sizeof(f->database), "%s", f->dir);
    (void)snprintf(f->state, sizeof(f->state), "%s", f->dir);
    (void)snprintf(f->pin_file, sizeof(f->pin_file), "%s/pin", f->dir);
    (void)snprintf(
        f->init_args, sizeof(f->init_args),
        "configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=", f->database);
    test_pin_make(pin);
    test_file_write(f->pin_file, line, (size_t)snprintf(line, sizeof(line), "%s\n", pin));
    CHECK(make_database(f));
    f->config = (struct token_config){ .module = NSS_MODULE,
                                       .uri = "pkcs11:token=NSS%20Certificate%20DB",
                                       .init_args = f->init_args,
                                       .pin_file = f->pin_file,
                                       .state_dir = f->state,
                                       .sessions = 2,
                                       .copies = 16,
                                       .call_time_ms = 20000 };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *const f = *state;

    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static void test_nss_is_refused(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    struct token *token = NULL;

    CHECK(token_open(&f->config, &token, &err) < 0);
    assert_int_equal(err.code, KMS_ERR_TOKEN_UNSUITABLE);
    CHECK(strstr(err.message, "not extractable") != NULL);
}

static void test_nss_where_accepted(void **state)
{
    struct fixture *const f = *state;
    struct uuid id = uuid_random(), mac_id = uuid_random();
    uint8_t canary[TOKEN_CANARY_LEN], sealed[SEALED_LEN], mac[TOKEN_HMAC_LEN],
        none[TOKEN_CANARY_LEN];
    const struct token_key key = { id, SPAN_ARRAY(canary) };
    struct kms_error err = { 0 };
    struct token_status status;
    struct token *token = NULL;
    AUTO(secret) plain = { 0 };

    f->config.accept_extractable = true;
    CHECK_OK(token_open(&f->config, &token, &err), err);
    CHECK_OK(token_key_generate(token, TOKEN_AES_GCM, &id, "k", canary, &err), err);
    CHECK_OK(token_key_generate(token, TOKEN_HMAC, &mac_id, "m", none, &err), err);
    CHECK_OK(token_encrypt(token, &key, iv, AAD, PLAIN, sealed, &err), err);
    CHECK_OK(token_hmac(token, &mac_id, PLAIN, mac, &err), err);
    token_close(token);

    CHECK_OK(token_open(&f->config, &token, &err), err);
    CHECK_OK(token_decrypt(token, &key, iv, AAD, SPAN_ARRAY(sealed), &plain, &err), err);
    CHECK_SPAN(secret_span(&plain), PLAIN);
    sealed[0] ^= 1;
    CHECK(token_decrypt(token, &key, iv, AAD, SPAN_ARRAY(sealed), &plain, &err) < 0);
    assert_int_equal(err.code, KMS_ERR_INVALID_CIPHERTEXT);
    kms_error_clear(&err);
    token_status(token, &status);
    assert_string_equal(status.profile, "nss");
    CHECK(!status.enforces_extraction && !status.copies);
    assert_int_equal(status.keys, 2);
    assert_int_equal(status.errors, 0);
    CHECK_OK(token_key_destroy(token, &id, &err), err);
    CHECK_OK(token_probe(token, &err), err);
    token_close(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nss_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nss_where_accepted, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
