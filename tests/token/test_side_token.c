/* A second token beside that of the master keys: both in one SoftHSM, behind p11_faults.c. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkcs11/side_token.h"
#include "tests/support/check.h"
#include "tests/support/faults.h"

#define SIDE_LABEL "side"
#define SIDE_URI   "pkcs11:token=" SIDE_LABEL ";object=https"

struct fixture {
    struct softhsm softhsm;
    char pin[TEST_PIN_LEN + 1], pin_file[256], state[256];
    struct token_config config;
    struct side_token_config side_config;
    struct token *token;
    struct side_token *side;
};

/* A token with another PIN in the same SoftHSM. */
static void make_side_token(const struct fixture *f)
{
    struct softhsm other = f->softhsm;

    memcpy(other.pin, f->pin, sizeof(other.pin));
    softhsm_add(&other, SOFTHSM_MODULE, SIDE_LABEL);
}

static void write_pin(const struct fixture *f, const char *pin)
{
    test_file_write(f->pin_file, pin, strlen(pin));
    CHECK(chmod(f->pin_file, 0600) == 0);
}

static int setup(void **state)
{
    struct fixture *const f = calloc(1, sizeof(*f));
    struct kms_error err = { 0 };

    softhsm_init(&f->softhsm);
    test_pin_make(f->pin);
    make_side_token(f);
    (void)snprintf(f->pin_file, sizeof(f->pin_file), "%s/side-pin", f->softhsm.dir);
    (void)snprintf(f->state, sizeof(f->state), "%s/side-state", f->softhsm.dir);
    CHECK(mkdir(f->state, 0700) == 0);
    write_pin(f, f->pin);
    faults_set("");
    f->config = faults_config(&f->softhsm);
    f->config.sessions = 4;
    CHECK_OK(token_open(&f->config, &f->token, &err), err);
    f->side_config = (struct side_token_config){ .module = P11_FAULTS_SO,
                                                 .uri = SIDE_URI,
                                                 .pin_file = f->pin_file,
                                                 .state_dir = f->state,
                                                 .master = f->token };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *const f = *state;

    faults_set("");
    side_token_close(f->side);
    token_close(f->token);
    softhsm_done(&f->softhsm);
    free(f);
    return 0;
}

static void test_side_token_open_logs_in_once(void **state)
{
    struct fixture *const f = *state;
    const unsigned logins = faults_count("C_Login"), starts = faults_count("C_Initialize");
    struct kms_error err = { 0 };

    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    for (int i = 0; i < 3; i++)
        CHECK_OK(side_token_ready(f->side, &err), err);
    assert_int_equal(faults_count("C_Login"), logins + 1);
    CHECK_OK(token_probe(f->token, &err), err);
    side_token_close(f->side);
    f->side = NULL;
    CHECK_OK(token_probe(f->token, &err), err);
    CHECK(faults_count("C_Initialize") <= starts + 1); /* which said that it is initialised */
}

static void test_side_token_open_refuses(void **state)
{
    static const struct {
        const char *module, *uri;
        enum kms_err expected;
    } rows[] = {
        { P11_FAULTS_SO, "pkcs11:token=" TEST_LABEL ";object=https", KMS_ERR_CONFIG },
        { SOFTHSM_MODULE, "pkcs11:token=" TEST_LABEL ";object=https", KMS_ERR_CONFIG },
        { P11_FAULTS_SO, "pkcs11:object=https", KMS_ERR_TOKEN_MISSING }, /* both */
        { P11_FAULTS_SO, "pkcs11:token=none;object=https", KMS_ERR_TOKEN_MISSING },
        { P11_FAULTS_SO, "pkcs11:token=" SIDE_LABEL, KMS_ERR_CONFIG },
        { P11_FAULTS_SO, SIDE_URI "?pin-value=1234", KMS_ERR_CONFIG },
        { P11_FAULTS_SO, SIDE_URI "?pin-source=file:/x", KMS_ERR_CONFIG },
        { P11_FAULTS_SO, SIDE_URI "?module-path=/x.so", KMS_ERR_CONFIG },
        { P11_FAULTS_SO, SIDE_URI ";strange=1", KMS_ERR_CONFIG },
        { P11_FAULTS_SO, "pkcs11:token", KMS_ERR_CONFIG },
        { P11_FAULTS_SO, "", KMS_ERR_CONFIG },
        { "libsofthsm2.so", SIDE_URI, KMS_ERR_CONFIG },
        { "/nonexistent.so", SIDE_URI, KMS_ERR_CONFIG },
    };
    struct fixture *const f = *state;
    const unsigned logins = faults_count("C_Login");
    struct kms_error err = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        f->side_config.module = rows[i].module;
        f->side_config.uri = rows[i].uri;
        CHECK_FAILS(side_token_open(&f->side_config, &f->side, &err), err, rows[i].expected);
        CHECK(f->side == NULL);
    }
    assert_int_equal(faults_count("C_Login"), logins);
    CHECK_OK(token_probe(f->token, &err), err);
}

/* One try, and no word about the master token's PIN. */
static void test_side_token_wrong_pin_is_latched(void **state)
{
    struct fixture *const f = *state;
    const unsigned logins = faults_count("C_Login");
    struct kms_error err = { 0 };

    write_pin(f, "wrong");
    for (int i = 0; i < 4; i++)
        CHECK_FAILS(side_token_open(&f->side_config, &f->side, &err), err, KMS_ERR_PIN_LATCHED);
    assert_int_equal(faults_count("C_Login"), logins + 1);
    write_pin(f, f->pin);
    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    CHECK_OK(token_probe(f->token, &err), err);
}

static void test_side_token_ready_after_a_lost_login(void **state)
{
    struct fixture *const f = *state;
    const unsigned logins = faults_count("C_Login");
    struct kms_error err = { 0 };

    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    faults_set(
        "C_GetSessionInfo rv=0xb3 times=1\n"); /* the session is gone, and with it the login */
    CHECK_OK(side_token_ready(f->side, &err), err);
    faults_set("C_OpenSession rv=0xe0 times=1\nC_GetSessionInfo rv=0xb3 times=1\n");
    CHECK_FAILS(side_token_ready(f->side, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    faults_set("");
    CHECK_OK(side_token_ready(f->side, &err), err);
    CHECK(faults_count("C_Login") <= logins + 3);
}

static bool comes_back(struct fixture *f)
{
    for (int i = 0; i < RECOVERY_TRIES; i++) {
        struct kms_error err = { 0 };
        struct token_status status;

        token_tick(f->token);
        token_status(f->token, &status);
        if (status.available && token_probe(f->token, &err) == 0)
            return true;
        (void)usleep(10000);
    }
    return false;
}

/* The master token recovers, which would otherwise end in C_Finalize, under sessions not its own.
 */
static void test_shared_module_is_not_finalised(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    const unsigned ends = faults_count("C_Finalize"), logins = faults_count("C_Login");
    faults_set("C_EncryptInit rv=0x32\nC_DecryptInit rv=0x32\n");
    CHECK_FAILS(token_probe(f->token, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    (void)usleep(1100000); /* the first probe comes after a second and meets the fault */
    token_tick(f->token);
    faults_set("");
    CHECK(comes_back(f));
    assert_int_equal(faults_count("C_Finalize"), ends);
    CHECK_OK(side_token_ready(f->side, &err), err);
    CHECK(faults_count("C_Login") <= logins + 1); /* the master's own */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_side_token_open_logs_in_once),    TEST(test_side_token_open_refuses),
        TEST(test_side_token_wrong_pin_is_latched), TEST(test_side_token_ready_after_a_lost_login),
        TEST(test_shared_module_is_not_finalised),
    };
    return run_group(tests, ARRAY_LEN(tests), faults_up, faults_down, NULL);
}
