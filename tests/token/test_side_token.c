/* A second token beside that of the master keys: both in one SoftHSM, behind p11_faults.c. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>

#include "pkcs11/side_token.h"
#include "tests/support/check.h"
#include "tests/support/softhsm.h"

#define SIDE_LABEL     "side"
#define SIDE_URI       "pkcs11:token=" SIDE_LABEL ";object=https"
#define RECOVERY_TRIES 1500 /* of 10 ms */

struct fixture {
    struct softhsm softhsm;
    char pin[TEST_PIN_LEN + 1], pin_file[256], state[256], rules[256];
    struct token_config config;
    struct side_token_config side_config;
    struct token *token;
    struct side_token *side;
};

static char counts_path[256]; /* one for the program: the module opens it once */

static void rules(const struct fixture *f, const char *text)
{
    char next[300];

    (void)snprintf(next, sizeof(next), "%s.new", f->rules);
    test_file_write(next, text, strlen(text));
    CHECK(rename(next, f->rules) == 0);
}

static unsigned count_of(const char *function)
{
    char name[40], line[80];
    unsigned count = 0, found = 0;
    FILE *const file = fopen(counts_path, "re");

    if (file == NULL)
        return 0; /* the module was not loaded yet */
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "%39s %u", name, &count) == 2 && strcmp(name, function) == 0)
            found = count;
    (void)fclose(file);
    return found;
}

/* The slot that SoftHSM keeps free for a token to be made in is its last. */
static void make_side_token(const struct fixture *f)
{
    CK_FUNCTION_LIST *const p11 =
        p11_kit_module_load(SOFTHSM_MODULE, P11_KIT_MODULE_CRITICAL | P11_KIT_MODULE_UNMANAGED);
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    const CK_UTF8CHAR_PTR so_pin = (CK_UTF8CHAR_PTR)(uintptr_t)f->softhsm.so_pin;
    CK_UTF8CHAR label[32];
    CK_SLOT_ID slots[8];
    CK_ULONG count = ARRAY_LEN(slots);
    CK_SESSION_HANDLE session = 0;

    memset(label, ' ', sizeof(label));
    memcpy(label, SIDE_LABEL, strlen(SIDE_LABEL));
    CHECK(p11 && p11->C_Initialize(&args) == CKR_OK);
    CHECK(p11->C_GetSlotList(CK_TRUE, slots, &count) == CKR_OK && count == 2);
    CHECK(p11->C_InitToken(slots[1], so_pin, TEST_PIN_LEN, label) == CKR_OK);
    CHECK(p11->C_OpenSession(slots[1], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session) ==
          CKR_OK);
    CHECK(p11->C_Login(session, CKU_SO, so_pin, TEST_PIN_LEN) == CKR_OK);
    CHECK(p11->C_InitPIN(session, (CK_UTF8CHAR_PTR)(uintptr_t)f->pin, TEST_PIN_LEN) == CKR_OK);
    CHECK(p11->C_Finalize(NULL) == CKR_OK);
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
    (void)snprintf(f->rules, sizeof(f->rules), "%s/rules", f->softhsm.dir);
    CHECK(mkdir(f->state, 0700) == 0);
    write_pin(f, f->pin);
    CHECK(setenv("P11_FAULTS_FILE", f->rules, 1) == 0);
    rules(f, "");
    f->config = softhsm_config(&f->softhsm);
    f->config.module = P11_FAULTS_SO;
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

    rules(f, "");
    side_token_close(f->side);
    token_close(f->token);
    softhsm_done(&f->softhsm);
    free(f);
    return 0;
}

static void test_side_token_open_logs_in_once(void **state)
{
    struct fixture *const f = *state;
    const unsigned logins = count_of("C_Login"), starts = count_of("C_Initialize");
    struct kms_error err = { 0 };

    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    for (int i = 0; i < 3; i++)
        CHECK_OK(side_token_ready(f->side, &err), err);
    assert_int_equal(count_of("C_Login"), logins + 1);
    CHECK_OK(token_probe(f->token, &err), err);
    side_token_close(f->side);
    f->side = NULL;
    CHECK_OK(token_probe(f->token, &err), err);
    CHECK(count_of("C_Initialize") <= starts + 1); /* which said that it is initialised */
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
    const unsigned logins = count_of("C_Login");
    struct kms_error err = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        f->side_config.module = rows[i].module;
        f->side_config.uri = rows[i].uri;
        CHECK_FAILS(side_token_open(&f->side_config, &f->side, &err), err, rows[i].expected);
        CHECK(f->side == NULL);
    }
    assert_int_equal(count_of("C_Login"), logins);
    CHECK_OK(token_probe(f->token, &err), err);
}

/* One try, and no word about the master token's PIN. */
static void test_side_token_wrong_pin_is_latched(void **state)
{
    struct fixture *const f = *state;
    const unsigned logins = count_of("C_Login");
    struct kms_error err = { 0 };

    write_pin(f, "wrong");
    for (int i = 0; i < 4; i++)
        CHECK_FAILS(side_token_open(&f->side_config, &f->side, &err), err, KMS_ERR_PIN_LATCHED);
    assert_int_equal(count_of("C_Login"), logins + 1);
    write_pin(f, f->pin);
    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    CHECK_OK(token_probe(f->token, &err), err);
}

static void test_side_token_ready_after_a_lost_login(void **state)
{
    struct fixture *const f = *state;
    const unsigned logins = count_of("C_Login");
    struct kms_error err = { 0 };

    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    rules(f, "C_GetSessionInfo rv=0xb3 times=1\n"); /* the session is gone, and with it the login */
    CHECK_OK(side_token_ready(f->side, &err), err);
    rules(f, "C_OpenSession rv=0xe0 times=1\nC_GetSessionInfo rv=0xb3 times=1\n");
    CHECK_FAILS(side_token_ready(f->side, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    rules(f, "");
    CHECK_OK(side_token_ready(f->side, &err), err);
    CHECK(count_of("C_Login") <= logins + 3);
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

/* The master token recovers, which would otherwise end in C_Finalize, under sessions not its own. */
static void test_shared_module_is_not_finalised(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    CHECK_OK(side_token_open(&f->side_config, &f->side, &err), err);
    const unsigned ends = count_of("C_Finalize"), logins = count_of("C_Login");
    rules(f, "C_EncryptInit rv=0x32\nC_DecryptInit rv=0x32\n");
    CHECK_FAILS(token_probe(f->token, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    (void)usleep(1100000); /* the first probe comes after a second and meets the fault */
    token_tick(f->token);
    rules(f, "");
    CHECK(comes_back(f));
    assert_int_equal(count_of("C_Finalize"), ends);
    CHECK_OK(side_token_ready(f->side, &err), err);
    CHECK(count_of("C_Login") <= logins + 1); /* the master's own */
}

int main(void)
{
    char dir[200];

    test_dir_make(dir, sizeof(dir));
    (void)snprintf(counts_path, sizeof(counts_path), "%s/counts", dir);
    if (setenv("P11_FAULTS_MODULE", SOFTHSM_MODULE, 1) != 0 ||
        setenv("P11_FAULTS_COUNTS", counts_path, 1) != 0)
        return 1;

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_side_token_open_logs_in_once),
        TEST(test_side_token_open_refuses),
        TEST(test_side_token_wrong_pin_is_latched),
        TEST(test_side_token_ready_after_a_lost_login),
        TEST(test_shared_module_is_not_finalised),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_dir_remove(dir);
    return failed;
}
