/* The token layer against SoftHSM behind a module that goes wrong on request (p11_faults.c). */

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>

#include "hsmkms/base/clock.h"
#include "tests/support/check.h"
#include "tests/support/faults.h"

#define HOSTILE_STARTS 20
#define KILLED_STARTS  20

struct fixture {
    struct softhsm softhsm;
    struct token_config config;
    struct token *token;
    struct uuid id, mac_id;
    uint8_t canary[TOKEN_CANARY_LEN];
};

static const uint8_t iv[TOKEN_IV_LEN] = "twelve bytes";
#define AAD        SPAN_LITERAL("aad")
#define PLAIN      SPAN_LITERAL("attack at dawn")
#define SEALED_LEN (sizeof("attack at dawn") - 1 + TOKEN_TAG_LEN)

static void open_token(struct fixture *f)
{
    struct kms_error err = { 0 };

    CHECK_OK(token_open(&f->config, &f->token, &err), err);
}

static int setup_closed(void **state)
{
    struct fixture *const f = calloc(1, sizeof(*f));

    softhsm_init(&f->softhsm);
    f->config = faults_config(&f->softhsm);
    faults_set("");
    *state = f;
    return 0;
}

static void make_mac_key(struct fixture *f)
{
    struct kms_error err = { 0 };
    uint8_t none[TOKEN_CANARY_LEN];

    f->mac_id = uuid_random();
    CHECK_OK(token_key_generate(f->token, TOKEN_HMAC, &f->mac_id, "m", none, &err), err);
}

static int setup(void **state)
{
    struct kms_error err = { 0 };

    (void)setup_closed(state);
    struct fixture *const f = *state;
    open_token(f);
    f->id = uuid_random();
    CHECK_OK(token_key_generate(f->token, TOKEN_AES_GCM, &f->id, "k", f->canary, &err), err);
    make_mac_key(f);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *const f = *state;

    faults_set("");
    token_close(f->token);
    softhsm_done(&f->softhsm);
    free(f);
    return 0;
}

static int seal(struct fixture *f, uint8_t ret[SEALED_LEN], struct kms_error *err)
{
    const struct token_key key = { f->id, SPAN_ARRAY(f->canary) };

    return token_encrypt(f->token, &key, iv, AAD, PLAIN, ret, err);
}

static int unseal(struct fixture *f, const uint8_t sealed[SEALED_LEN], struct kms_error *err)
{
    const struct token_key key = { f->id, SPAN_ARRAY(f->canary) };
    AUTO(secret) plain = { 0 };

    if (token_decrypt(f->token, &key, iv, AAD, span_of(sealed, SEALED_LEN), &plain, err) < 0)
        return -1;
    CHECK_SPAN(secret_span(&plain), PLAIN);
    return 0;
}

/* Random bytes, an encryption, a decryption, a MAC: all that the data plane asks for. */
static int round_trip(struct fixture *f, struct kms_error *err)
{
    uint8_t sealed[SEALED_LEN], random[16], mac[TOKEN_HMAC_LEN];

    if (token_random(f->token, random, sizeof(random), err) < 0 || seal(f, sealed, err) < 0 ||
        unseal(f, sealed, err) < 0)
        return -1;
    return token_hmac(f->token, &f->mac_id, PLAIN, mac, err);
}

static struct token_status status(struct fixture *f)
{
    struct token_status now;

    token_status(f->token, &now);
    return now;
}

/* Works again within a bounded time. */
static void wait_recovered(struct fixture *f)
{
    struct kms_error err = { 0 };

    for (int i = 0; i < RECOVERY_TRIES; i++) {
        kms_error_clear(&err);
        if (round_trip(f, &err) == 0)
            return;
        (void)usleep(10000);
    }
    fail_msg("the token did not come back: %s %s", err.message, err.detail);
}

/* One PIN attempt per credential */

static void open_latched(struct fixture *f)
{
    struct kms_error err = { 0 };

    CHECK_FAILS(token_open(&f->config, &f->token, &err), err, KMS_ERR_PIN_LATCHED);
}

static void test_wrong_pin_costs_one_try(void **state)
{
    struct fixture *const f = *state;
    const unsigned before = faults_count("C_Login");

    faults_set("pin lock=3\n");
    softhsm_write_pin(&f->softhsm, "not the right PIN");
    for (int i = 0; i < HOSTILE_STARTS; i++)
        open_latched(f);
    assert_int_equal(faults_count("C_Login") - before, 1);
    softhsm_write_pin(&f->softhsm, f->softhsm.pin);
    open_token(f);
    assert_int_equal(faults_count("C_Login") - before, 2);
}

static void test_last_try_is_never_spent(void **state)
{
    struct fixture *const f = *state;
    const unsigned before = faults_count("C_Login");

    faults_set("pin lock=3\n");
    softhsm_write_pin(&f->softhsm, "wrong PIN one");
    open_latched(f);
    softhsm_write_pin(&f->softhsm, "wrong PIN two");
    open_latched(f);
    softhsm_write_pin(&f->softhsm, "wrong PIN three");
    open_latched(f);
    softhsm_write_pin(&f->softhsm, f->softhsm.pin);
    open_latched(f);
    assert_int_equal(faults_count("C_Login") - before, 2);
    faults_set(""); /* the operator has reset the token's counter */
    open_token(f);
}

static void test_low_tries_of_others_forbid(void **state)
{
    struct fixture *const f = *state;
    const unsigned before = faults_count("C_Login");
    char latch[300];

    softhsm_write_pin(&f->softhsm, "somebody else's mistake");
    open_latched(f);
    (void)snprintf(latch, sizeof(latch), "%s/pin-latch", f->softhsm.state);
    CHECK(unlink(latch) == 0);
    softhsm_write_pin(&f->softhsm, f->softhsm.pin);
    open_latched(f);
    assert_int_equal(faults_count("C_Login") - before, 1);
}

static void test_latch_does_not_hold_the_pin(void **state)
{
    struct fixture *const f = *state;
    char path[300], text[600] = { 0 };
    struct stat info;

    softhsm_write_pin(&f->softhsm, "wrong-but-close");
    open_latched(f);
    (void)snprintf(path, sizeof(path), "%s/pin-latch", f->softhsm.state);
    FILE *const file = fopen(path, "re");
    CHECK(file != NULL && fread(text, 1, sizeof(text) - 1, file) > 0);
    CHECK(fstat(fileno(file), &info) == 0 && (info.st_mode & 077) == 0);
    (void)fclose(file);
    CHECK(strstr(text, "wrong") == NULL);
    test_file_write(path, "nonsense", 8);
    softhsm_write_pin(&f->softhsm, f->softhsm.pin);
    open_latched(f);
}

/* A login that the token did not judge may be tried once more, and not again. */
static void test_login_not_judged(void **state)
{
    struct fixture *const f = *state;
    const unsigned before = faults_count("C_Login");
    struct kms_error err = { 0 };

    faults_set("maker Example\nC_Login rv=0x30\n");
    for (int i = 0; i < 2; i++)
        CHECK_FAILS(token_open(&f->config, &f->token, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    open_latched(f);
    assert_int_equal(faults_count("C_Login") - before, 2);
}

/* Where the PIN cannot lock, a service that is killed at every start still comes up in the end. */
static void test_login_not_judged_without_a_lock(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    faults_set("C_Login rv=0x30\n");
    for (int i = 0; i < 5; i++)
        CHECK_FAILS(token_open(&f->config, &f->token, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    faults_set("");
    CHECK_OK(token_open(&f->config, &f->token, &err), err);
}

/* The login is lost while running */

static void log_out(void)
{
    CK_FUNCTION_LIST *const p11 =
        p11_kit_module_load(SOFTHSM_MODULE, P11_KIT_MODULE_CRITICAL | P11_KIT_MODULE_UNMANAGED);
    CK_SLOT_ID slots[4];
    CK_ULONG count = 4;
    CK_SESSION_HANDLE session = 0;

    assert_int_equal(p11->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    assert_int_equal(
        p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
        CKR_OK);
    assert_int_equal(p11->C_Logout(session), CKR_OK);
    assert_int_equal(p11->C_CloseSession(session), CKR_OK);
}

static void test_lost_login_is_made_again(void **state)
{
    struct fixture *const f = *state;
    const unsigned before = faults_count("C_Login");
    struct kms_error err = { 0 };

    CHECK_OK(round_trip(f, &err), err);
    log_out();
    CHECK_OK(round_trip(f, &err), err);
    assert_int_equal(faults_count("C_Login") - before, 1);
    CHECK_OK(token_probe(f->token, &err), err);
}

static void test_lost_login_with_wrong_pin(void **state)
{
    struct fixture *const f = *state;
    const unsigned before = faults_count("C_Login");
    struct kms_error err = { 0 };

    softhsm_write_pin(&f->softhsm, "changed, and wrongly");
    CHECK_OK(round_trip(f, &err), err);
    log_out();
    for (int i = 0; i < 3; i++)
        CHECK_FAILS(round_trip(f, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    assert_int_equal(faults_count("C_Login") - before, 1);
    softhsm_write_pin(&f->softhsm, f->softhsm.pin);
    wait_recovered(f);
    CHECK(status(f).available);
}

/* Every answer of every function */

static const struct {
    CK_RV rv;
    enum kms_err once; /* of a call that meets it once; NONE: the caller notices nothing */
    enum kms_err twice;
} answers[] = {
    { CKR_GENERAL_ERROR, KMS_ERR_NONE, KMS_ERR_KEY_UNAVAILABLE },
    { CKR_FUNCTION_FAILED, KMS_ERR_NONE, KMS_ERR_KEY_UNAVAILABLE },
    { CKR_DEVICE_ERROR, KMS_ERR_NONE, KMS_ERR_KEY_UNAVAILABLE },
    { CKR_DEVICE_REMOVED, KMS_ERR_NONE, KMS_ERR_KEY_UNAVAILABLE },
    { CKR_TOKEN_NOT_PRESENT, KMS_ERR_NONE, KMS_ERR_KEY_UNAVAILABLE },
    { CKR_SESSION_HANDLE_INVALID, KMS_ERR_NONE, KMS_ERR_NONE },
    { CKR_SESSION_CLOSED, KMS_ERR_NONE, KMS_ERR_NONE },
    { CKR_OBJECT_HANDLE_INVALID, KMS_ERR_NONE, KMS_ERR_NONE },
    { CKR_KEY_HANDLE_INVALID, KMS_ERR_NONE, KMS_ERR_NONE },
    { CKR_USER_NOT_LOGGED_IN, KMS_ERR_NONE, KMS_ERR_NONE },
    { CKR_CRYPTOKI_NOT_INITIALIZED, KMS_ERR_NONE, KMS_ERR_KEY_UNAVAILABLE },
    { CKR_OPERATION_ACTIVE, KMS_ERR_NONE, KMS_ERR_INTERNAL },
    { CKR_BUFFER_TOO_SMALL, KMS_ERR_NONE, KMS_ERR_INTERNAL },
    { CKR_HOST_MEMORY, KMS_ERR_KEY_UNAVAILABLE, KMS_ERR_KEY_UNAVAILABLE },
    { CKR_DEVICE_MEMORY, KMS_ERR_KEY_UNAVAILABLE, KMS_ERR_KEY_UNAVAILABLE },
    { 0x80000017, KMS_ERR_NONE, KMS_ERR_KEY_UNAVAILABLE }, /* a vendor's own */
};

static void meet(struct fixture *f, const char *function, CK_RV rv, unsigned times,
                 enum kms_err expected)
{
    struct kms_error err = { 0 };
    char text[100];

    (void)snprintf(text, sizeof(text), "%s times=%u rv=0x%lx\n", function, times, (long)rv);
    faults_set(text);
    const int done = round_trip(f, &err);
    if ((done == 0 ? KMS_ERR_NONE : err.code) != expected)
        fail_msg("%s 0x%lx times %u: %s %s", function, (long)rv, times,
                 done ? kms_err_name(err.code) : "no error", err.detail);
    faults_set("");
    wait_recovered(f);
    assert_int_equal(status(f).sessions, 1);
}

static void test_every_answer_once(void **state)
{
    static const char *const functions[] = {
        "C_GenerateRandom", "C_EncryptInit", "C_Encrypt", "C_DecryptInit",
        "C_Decrypt",        "C_SignInit",    "C_Sign"
    };

    struct fixture *const f = *state;

    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        for (size_t k = 0; k < ARRAY_LEN(answers); k++)
            meet(f, functions[i], answers[k].rv, 1, answers[k].once);
    CHECK(status(f).sessions_replaced > 0);
    CHECK(status(f).available);
}

/* Codes that do not open the breaker; those that do take their second to close it. */
static void test_answers_twice(void **state)
{
    struct fixture *const f = *state;

    for (size_t k = 0; k < ARRAY_LEN(answers); k++)
        if (answers[k].twice != KMS_ERR_KEY_UNAVAILABLE || answers[k].once != KMS_ERR_NONE)
            meet(f, "C_EncryptInit", answers[k].rv, 2, answers[k].twice);
    meet(f, "C_EncryptInit", CKR_DEVICE_ERROR, 2, KMS_ERR_KEY_UNAVAILABLE);
    meet(f, "C_Encrypt", CKR_CRYPTOKI_NOT_INITIALIZED, 2, KMS_ERR_KEY_UNAVAILABLE);
}

/* What got lost is made anew three times, not for ever. */
static void test_lost_again_and_again(void **state)
{
    static const CK_RV lost[] = { CKR_SESSION_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID,
                                  CKR_USER_NOT_LOGGED_IN };
    struct fixture *const f = *state;

    for (size_t k = 0; k < ARRAY_LEN(lost); k++) {
        meet(f, "C_Encrypt", lost[k], 3, KMS_ERR_NONE);
        meet(f, "C_Encrypt", lost[k], 4, KMS_ERR_KEY_UNAVAILABLE);
    }
}

/* More than can wait to be closed, with nobody else to close them. */
static void test_many_lost_sessions(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];

    faults_set("C_Encrypt rv=0xb3 every=2\n");
    for (int i = 0; i < 600; i++)
        CHECK_OK(seal(f, sealed, &err), err);
    assert_int_equal(status(f).sessions, 1);
    CHECK(status(f).sessions_replaced >= 500 && status(f).available);
}

static void test_ciphertext_answers(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    CHECK_OK(round_trip(f, &err), err); /* the canary's turn is over */
    meet(f, "C_Decrypt", CKR_ENCRYPTED_DATA_INVALID, 1, KMS_ERR_INVALID_CIPHERTEXT);
    meet(f, "C_Decrypt", CKR_ENCRYPTED_DATA_LEN_RANGE, 1, KMS_ERR_INVALID_CIPHERTEXT);
    meet(f, "C_DecryptInit", CKR_ENCRYPTED_DATA_INVALID, 1, KMS_ERR_NONE);
    /* DecryptInit saw no ciphertext: its answer is no verdict, and costs the session */
    assert_int_equal(status(f).sessions_replaced, 1);
}

/* Who is to blame for a GENERAL_ERROR */

static void test_sick_token_is_not_a_bad_ciphertext(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];

    CHECK_OK(seal(f, sealed, &err), err);
    faults_set("C_Decrypt rv=0x5\n");
    CHECK_FAILS(unseal(f, sealed, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK(!status(f).available);

    const unsigned before = faults_count("C_DecryptInit");
    CHECK_FAILS(unseal(f, sealed, &err), err, KMS_ERR_KEY_UNAVAILABLE); /* fails at once */
    assert_int_equal(faults_count("C_DecryptInit"), before);
    faults_set("");
    wait_recovered(f);
    CHECK_OK(unseal(f, sealed, &err), err);
}

static void test_bad_ciphertexts_cost_no_session(void **state)
{
    struct fixture *const f = *state;
    const struct token_status before = status(f);
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];

    CHECK_OK(seal(f, sealed, &err), err);
    for (size_t i = 0; i < sizeof(sealed) * 8; i++) {
        sealed[i / 8] ^= (uint8_t)(1u << i % 8);
        CHECK_FAILS(unseal(f, sealed, &err), err, KMS_ERR_INVALID_CIPHERTEXT);
        sealed[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    CHECK_OK(unseal(f, sealed, &err), err);
    assert_int_equal(status(f).sessions_replaced, before.sessions_replaced);
    assert_int_equal(status(f).errors, before.errors);
}

static void test_random_faults_are_invisible(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    faults_set(
        "C_EncryptInit rv=0xb3 p=0.01\nC_Encrypt rv=0xb0 p=0.01\n"
        "C_DecryptInit rv=0x82 p=0.01\nC_Decrypt rv=0xb3 p=0.01\n"
        "C_SignInit rv=0xb0 p=0.01\nC_Sign rv=0xb3 p=0.01\nC_GenerateRandom rv=0xb3 p=0.01\n");
    for (int i = 0; i < 1000; i++) {
        CHECK_OK(round_trip(f, &err), err);
        CHECK_OK(token_probe(f->token, &err), err);
    }
    CHECK(status(f).sessions_replaced > 20);
}

/* The token fails, is well, and fails: the data was good all the time. */
static void test_passing_faults_do_not_condemn_data(void **state)
{
    static const char *const functions[] = { "C_Decrypt", "C_DecryptInit" };
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];
    char text[100];

    CHECK_OK(round_trip(f, &err), err); /* the canary's turn is over */
    CHECK_OK(seal(f, sealed, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        (void)snprintf(text, sizeof(text), "%s times=1 rv=0x5\n%s after=2 times=1 rv=0x5\n",
                       functions[i], functions[i]);
        faults_set(text);
        CHECK_OK(unseal(f, sealed, &err), err);
    }
}

/* A wrong answer without an error code: what fails says why all the same. */
static void test_wrong_bytes_have_a_reason(void **state)
{
    struct fixture *const f = *state;
    const struct uuid id = uuid_random();
    struct kms_error err = { 0 };
    uint8_t canary[TOKEN_CANARY_LEN];

    faults_set("C_Decrypt flip\n");
    CHECK(token_key_generate(f->token, TOKEN_AES_GCM, &id, "k", canary, &err) < 0);
    assert_int_equal(err.code, KMS_ERR_KEY_UNAVAILABLE);
    CHECK(strstr(err.detail, "canary") && !strstr(err.detail, "CKR_OK"));
    kms_error_clear(&err);
    faults_set("");
    wait_recovered(f);
    faults_set("C_Decrypt flip\n");
    CHECK(token_probe(f->token, &err) < 0);
    assert_int_equal(err.code, KMS_ERR_KEY_UNAVAILABLE);
    CHECK(strstr(err.detail, "health") && !strstr(err.detail, "CKR_OK"));
    CHECK(!status(f).available);
    faults_set("");
    wait_recovered(f);
    CHECK_OK(token_key_destroy(f->token, &id, &err), err);
}

/* Handles, keys, random bytes */

static void test_stale_handles_are_found_again(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    for (int i = 0; i < 40; i++)
        CHECK_OK(round_trip(f, &err), err);
    assert_int_equal(status(f).keys_copied, 1);
    faults_set("handles stale\n");
    CHECK_OK(round_trip(f, &err), err);
    CHECK_OK(token_probe(f->token, &err), err);
    CHECK_OK(token_key_verify(f->token, TOKEN_AES_GCM, &f->id, &err), err);
}

static void test_recycled_handle_is_noticed(void **state)
{
    struct fixture *const f = *state;
    const struct uuid other = uuid_random();
    struct kms_error err = { 0 };
    uint8_t canary[TOKEN_CANARY_LEN];

    CHECK_OK(token_key_generate(f->token, TOKEN_AES_GCM, &other, "k", canary, &err), err);
    memcpy(f->canary, canary, sizeof(canary)); /* the object's id now names another key */
    CHECK_FAILS(round_trip(f, &err), err, KMS_ERR_KEY_UNAVAILABLE);
}

static void test_generate_faults(void **state)
{
    struct fixture *const f = *state;
    const struct uuid id = uuid_random();
    uint8_t canary[TOKEN_CANARY_LEN];
    struct kms_error err = { 0 };

    faults_set("C_GenerateKey rv=0x30 times=1\n");
    CHECK_FAILS(token_key_generate(f->token, TOKEN_AES_GCM, &id, "k", canary, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    CHECK(status(f).available);
    faults_set("C_GenerateKey fail-after times=1\n");
    CHECK_FAILS(token_key_generate(f->token, TOKEN_AES_GCM, &id, "k", canary, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    assert_int_equal(softhsm_keys(f->token), 3); /* the keys of the fixture and the orphan */
    CHECK_OK(token_key_destroy(f->token, &id, &err), err);
    faults_set("C_Encrypt flip times=1\n");
    CHECK(token_key_generate(f->token, TOKEN_AES_GCM, &id, "k", canary, &err) < 0);
    kms_error_clear(&err);
    faults_set("");
    wait_recovered(f);
    CHECK_OK(token_key_destroy(f->token, &id, &err), err);
    CHECK_OK(token_key_generate(f->token, TOKEN_AES_GCM, &id, "k", canary, &err), err);
}

static void test_constant_random_stops(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    struct token *second = NULL;
    uint8_t sealed[SEALED_LEN], random[8];

    CHECK_OK(seal(f, sealed, &err), err);
    faults_set("C_GenerateRandom constant\n");
    CHECK_OK(token_random(f->token, random, sizeof(random), &err), err);
    CHECK_FAILS(token_random(f->token, random, sizeof(random), &err), err, KMS_ERR_KEY_UNAVAILABLE);
    faults_set("");
    CHECK_FAILS(token_random(f->token, random, sizeof(random), &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(seal(f, sealed, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_probe(f->token, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_OK(unseal(f, sealed, &err), err);
    CHECK(!status(f).available);

    token_close(f->token);
    f->token = NULL;
    faults_set("C_GenerateRandom constant\n");
    CHECK_FAILS(token_open(&f->config, &second, &err), err, KMS_ERR_TOKEN_UNSUITABLE);
}

/* Start */

static void test_no_gcm_is_unsuitable(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    faults_set("mechanism hide=CKM_AES_GCM\n");
    CHECK(token_open(&f->config, &f->token, &err) < 0);
    assert_int_equal(err.code, KMS_ERR_TOKEN_UNSUITABLE);
    CHECK(strstr(err.message, "AES-GCM") != NULL);
}

static void test_few_sessions(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    f->config.sessions = 16;
    faults_set("sessions limit=5\n");
    open_token(f);
    assert_int_equal(status(f).sessions, 3); /* beside the owner's and the manager's */
    f->id = uuid_random();
    CHECK_OK(token_key_generate(f->token, TOKEN_AES_GCM, &f->id, "k", f->canary, &err), err);
    make_mac_key(f);
    CHECK_OK(round_trip(f, &err), err);
    faults_set("sessions limit=5\nC_Encrypt rv=0xb3 times=1\n");
    CHECK_OK(round_trip(f, &err), err); /* replaced although there is no room for one more */
}

/* SoftHSM's login window */

static off_t size_of(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 ? info.st_size : -1;
}

static void test_guard_restores_after_a_kill(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    char record[300];

    softhsm_record_path(&f->softhsm, record, sizeof(record));
    token_close(f->token);
    f->token = NULL;
    CHECK(truncate(record, 0) == 0); /* what a kill in the middle of a login leaves */
    open_token(f);
    CHECK(size_of(record) > 0);
    CHECK_OK(round_trip(f, &err), err);

    token_close(f->token);
    f->token = NULL;
    CHECK(unlink(record) == 0);
    open_token(f);
    CHECK_OK(round_trip(f, &err), err);
}

/* Starts that are killed anywhere on their way; the next start always finds its token. */
static void test_guard_survives_kills(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };

    for (unsigned i = 0; i < KILLED_STARTS; i++) {
        token_close(f->token);
        f->token = NULL;
        const pid_t child = fork(); /* no thread and no token is alive here */
        CHECK(child >= 0);
        if (child == 0) {
            struct token *token = NULL;
            _exit(token_open(&f->config, &token, &err) == 0 ? 0 : 1);
        }
        (void)usleep(i * 3000);
        CHECK(kill(child, SIGKILL) == 0);
        CHECK(waitpid(child, NULL, 0) == child);
        open_token(f);
        CHECK_OK(round_trip(f, &err), err);
    }
}

static void test_guard_restores_after_login(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    char record[300], text[400];

    softhsm_record_path(&f->softhsm, record, sizeof(record));
    token_close(f->token);
    f->token = NULL;
    (void)snprintf(text, sizeof(text), "C_Login truncate=%s\n", record); /* a full disk does it */
    faults_set(text);
    open_token(f);
    CHECK(size_of(record) > 0);
    CHECK_OK(round_trip(f, &err), err);
}

/* Slow and absent tokens */

static void *one_round_trip(void *arg)
{
    struct kms_error err = { 0 };

    return round_trip(arg, &err) == 0 ? NULL : arg;
}

static void test_slow_call_shows(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    pthread_t thread;
    bool seen = false;
    void *failed = NULL;

    token_close(f->token);
    f->config.call_time_ms = 50;
    open_token(f);
    faults_set("C_Encrypt delay=600 times=1\n");
    assert_int_equal(pthread_create(&thread, NULL, one_round_trip, f), 0);
    for (int i = 0; i < RECOVERY_TRIES && !seen; i++) {
        seen = status(f).slowest_us > 50000;
        (void)usleep(1000);
    }
    CHECK(seen);
    assert_int_equal(pthread_join(thread, &failed), 0);
    CHECK(failed == NULL);
    CHECK_OK(round_trip(f, &err), err);
    assert_int_equal(status(f).slowest_us, 0);
}

/* One call hangs: the other session goes on serving, also when somebody wants to be alone. */
static void test_hung_call_stops_nobody_else(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    pthread_t thread;
    void *failed = NULL;

    token_close(f->token);
    f->config.call_time_ms = 50;
    f->config.sessions = 2;
    open_token(f);
    CHECK_OK(round_trip(f, &err), err);
    const unsigned before = faults_count("C_Encrypt");
    faults_set("C_Encrypt delay=1500 times=1\n");
    assert_int_equal(pthread_create(&thread, NULL, one_round_trip, f), 0);
    for (int i = 0; i < RECOVERY_TRIES && faults_count("C_Encrypt") == before; i++)
        (void)usleep(1000);
    CHECK_OK(round_trip(f, &err), err);
    CHECK_FAILS(token_key_verify(f->token, TOKEN_AES_GCM, &f->id, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    token_tick(f->token);
    CHECK_OK(round_trip(f, &err), err);
    CHECK(status(f).slowest_us > 0);
    assert_int_equal(pthread_join(thread, &failed), 0);
    CHECK(failed == NULL);
    CHECK_OK(token_key_verify(f->token, TOKEN_AES_GCM, &f->id, &err), err);
}

/* A key is disabled while a call hangs: its copy goes out of use, and nobody waits. */
static void test_forget_beside_a_hung_call(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    pthread_t thread;
    void *failed = NULL;

    token_close(f->token);
    f->config.call_time_ms = 50;
    f->config.sessions = 2;
    open_token(f);
    for (int i = 0; i < 40; i++)
        CHECK_OK(round_trip(f, &err), err);
    assert_int_equal(status(f).keys_copied, 1);
    const unsigned before = faults_count("C_Encrypt");
    faults_set("C_Encrypt delay=3000 times=1\n");
    assert_int_equal(pthread_create(&thread, NULL, one_round_trip, f), 0);
    for (int i = 0;
         i < RECOVERY_TRIES && (faults_count("C_Encrypt") == before || status(f).slowest_us == 0);
         i++)
        (void)usleep(1000);
    token_key_forget(f->token, &f->id);
    CHECK_OK(round_trip(f, &err), err);
    CHECK(status(f).slowest_us > 0); /* the other one hangs still */
    assert_int_equal(pthread_join(thread, &failed), 0);
    CHECK(failed == NULL);
    token_tick(f->token);
    assert_int_equal(status(f).keys_copied, 0);
}

/* The token's directory disappears and returns. */
static void test_token_removed_and_inserted(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    char record[300], away[300];

    CHECK_OK(round_trip(f, &err), err);
    softhsm_record_path(&f->softhsm, record, sizeof(record));
    *strrchr(record, '/') = '\0';
    (void)snprintf(away, sizeof(away), "%s/away", f->softhsm.dir);
    CHECK(rename(record, away) == 0);
    CHECK_FAILS(round_trip(f, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK(rename(away, record) == 0);
    wait_recovered(f);
}

/* Gone until the module is started again, as some modules want it. */
static void test_absent_token_comes_back(void **state)
{
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    const unsigned starts = faults_count("C_Initialize");

    faults_set("C_EncryptInit rv=0x32\nC_GetSessionInfo rv=0x32 times=1\n");
    CHECK_FAILS(round_trip(f, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK(!status(f).available);
    for (int i = 0; i < RECOVERY_TRIES && faults_count("C_GetSessionInfo") == 0; i++)
        (void)usleep(1000);
    (void)usleep(1100000); /* the first probe comes after a second and meets the fault */
    token_tick(f->token);
    CHECK(!status(f).available);
    faults_set("");
    wait_recovered(f);
    CHECK(faults_count("C_Initialize") > starts);
    CHECK(status(f).available);
}

int main(void)
{
#define CLOSED(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)
#define OPEN(name)   cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CLOSED(test_wrong_pin_costs_one_try),
        CLOSED(test_last_try_is_never_spent),
        CLOSED(test_low_tries_of_others_forbid),
        CLOSED(test_latch_does_not_hold_the_pin),
        CLOSED(test_login_not_judged),
        CLOSED(test_login_not_judged_without_a_lock),
        OPEN(test_lost_login_is_made_again),
        OPEN(test_lost_login_with_wrong_pin),
        OPEN(test_every_answer_once),
        OPEN(test_answers_twice),
        OPEN(test_lost_again_and_again),
        OPEN(test_many_lost_sessions),
        OPEN(test_ciphertext_answers),
        OPEN(test_sick_token_is_not_a_bad_ciphertext),
        OPEN(test_bad_ciphertexts_cost_no_session),
        OPEN(test_passing_faults_do_not_condemn_data),
        OPEN(test_wrong_bytes_have_a_reason),
        OPEN(test_random_faults_are_invisible),
        OPEN(test_stale_handles_are_found_again),
        OPEN(test_recycled_handle_is_noticed),
        OPEN(test_generate_faults),
        OPEN(test_constant_random_stops),
        CLOSED(test_no_gcm_is_unsuitable),
        CLOSED(test_few_sessions),
        OPEN(test_guard_restores_after_a_kill),
        OPEN(test_guard_survives_kills),
        OPEN(test_guard_restores_after_login),
        OPEN(test_slow_call_shows),
        OPEN(test_hung_call_stops_nobody_else),
        OPEN(test_forget_beside_a_hung_call),
        OPEN(test_token_removed_and_inserted),
        OPEN(test_absent_token_comes_back),
    };
    return run_group(tests, ARRAY_LEN(tests), faults_up, faults_down, NULL);
}
