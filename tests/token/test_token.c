/* The token layer against a real SoftHSM token. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>

#include "tests/support/check.h"
#include "tests/support/softhsm.h"

#define CALLS 300 /* per thread; enough to make copies of every key */

struct fixture {
    struct softhsm softhsm;
    struct token_config config;
    struct token *token;
};

static int setup(void **state)
{
    struct fixture *const f = calloc(1, sizeof(*f));
    struct kms_error err = { 0 };

    softhsm_init(&f->softhsm);
    f->config = softhsm_config(&f->softhsm);
    CHECK_OK(token_open(&f->config, &f->token, &err), err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *const f = *state;

    token_close(f->token);
    softhsm_done(&f->softhsm);
    free(f);
    return 0;
}

/* A key as the floors above keep it. */
struct made_key {
    struct uuid id;
    uint8_t canary[TOKEN_CANARY_LEN];
};

static struct token_key named(const struct made_key *made)
{
    return (struct token_key){ made->id, SPAN_ARRAY(made->canary) };
}

static struct made_key make(struct token *token, enum token_kind kind)
{
    struct made_key made = { .id = uuid_random() };
    struct kms_error err = { 0 };

    CHECK_OK(token_key_generate(token, kind, &made.id, "hsmkms:test", made.canary, &err), err);
    return made;
}

static const uint8_t iv[TOKEN_IV_LEN] = "twelve bytes";
#define AAD        SPAN_LITERAL("aad")
#define PLAIN      SPAN_LITERAL("attack at dawn")
#define SEALED_LEN (sizeof("attack at dawn") - 1 + TOKEN_TAG_LEN)

static void seal(struct token *token, const struct made_key *key, uint8_t ret[SEALED_LEN])
{
    const struct token_key name = named(key);
    struct kms_error err = { 0 };

    CHECK_OK(token_encrypt(token, &name, iv, AAD, PLAIN, ret, &err), err);
}

static void test_token_round_trip(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM);
    const struct token_key name = named(&key);
    struct kms_error err = { 0 };
    AUTO(secret) plain = { 0 };
    uint8_t sealed[SEALED_LEN];

    seal(f->token, &key, sealed);
    CHECK_OK(token_decrypt(f->token, &name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err), err);
    CHECK_SPAN(secret_span(&plain), PLAIN);
}

static void test_token_sizes(void **state)
{
    static const size_t sizes[] = { 1, 15, 16, 17, 4096, TOKEN_GCM_MAX };
    static uint8_t plain[TOKEN_GCM_MAX], sealed[TOKEN_GCM_MAX + TOKEN_TAG_LEN];
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM);
    const struct token_key name = named(&key);
    struct kms_error err = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const struct span in = span_of(plain, sizes[i]);
        AUTO(secret) out = { 0 };

        memset(plain, (int)i, sizeof(plain));
        CHECK_OK(token_encrypt(f->token, &name, iv, span_of(NULL, 0), in, sealed, &err), err);
        CHECK_OK(token_decrypt(f->token, &name, iv, span_of(NULL, 0),
                               span_of(sealed, sizes[i] + TOKEN_TAG_LEN), &out, &err),
                 err);
        CHECK_SPAN(secret_span(&out), in);
    }
}

/* Every byte of a ciphertext, its tag, IV and AAD matters, and no lie costs a session. */
static void test_token_decrypt_tampered(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM),
                          other = make(f->token, TOKEN_AES_GCM);
    const struct token_key name = named(&key), other_name = named(&other);
    struct token_status before, after;
    struct kms_error err = { 0 };
    AUTO(secret) plain = { 0 };
    uint8_t sealed[SEALED_LEN], bad_iv[TOKEN_IV_LEN];

    seal(f->token, &key, sealed);
    token_status(f->token, &before);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 0x10;
        CHECK_FAILS(token_decrypt(f->token, &name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err), err,
                    KMS_ERR_INVALID_CIPHERTEXT);
        sealed[i] ^= 0x10;
    }
    for (size_t i = 0; i < sizeof(iv); i++) {
        memcpy(bad_iv, iv, sizeof(iv));
        bad_iv[i] ^= 1;
        CHECK_FAILS(token_decrypt(f->token, &name, bad_iv, AAD, SPAN_ARRAY(sealed), &plain, &err),
                    err, KMS_ERR_INVALID_CIPHERTEXT);
    }
    CHECK_FAILS(token_decrypt(f->token, &name, iv, PLAIN, SPAN_ARRAY(sealed), &plain, &err), err,
                KMS_ERR_INVALID_CIPHERTEXT);
    CHECK_FAILS(token_decrypt(f->token, &other_name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err),
                err, KMS_ERR_INVALID_CIPHERTEXT);
    CHECK_FAILS(
        token_decrypt(f->token, &name, iv, AAD, span_of(sealed, TOKEN_TAG_LEN + 1), &plain, &err),
        err, KMS_ERR_INVALID_CIPHERTEXT);
    CHECK_OK(token_decrypt(f->token, &name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err), err);
    token_status(f->token, &after);
    assert_int_equal(after.sessions_replaced, before.sessions_replaced);
    assert_int_equal(after.errors, before.errors);
    CHECK(after.available);
}

static void test_token_unknown_key(void **state)
{
    struct fixture *const f = *state;
    const struct token_key name = { .id = uuid_random() };
    struct kms_error err = { 0 };
    AUTO(secret) plain = { 0 };
    uint8_t sealed[SEALED_LEN] = { 0 }, mac[TOKEN_HMAC_LEN];

    CHECK_FAILS(token_encrypt(f->token, &name, iv, AAD, PLAIN, sealed, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_decrypt(f->token, &name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_hmac(f->token, &name.id, AAD, mac, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_key_verify(f->token, TOKEN_AES_GCM, &name.id, &err), err, KMS_ERR_NOT_FOUND);
}

/* A canary of another key must keep a key from being used under a wrong name. */
static void test_token_wrong_canary(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM),
                          other = make(f->token, TOKEN_AES_GCM);
    const struct token_key mixed = { key.id, SPAN_ARRAY(other.canary) };
    const struct token_key right = named(&key);
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];

    CHECK_FAILS(token_encrypt(f->token, &mixed, iv, AAD, PLAIN, sealed, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    CHECK_OK(token_encrypt(f->token, &right, iv, AAD, PLAIN, sealed, &err), err);
}

static void test_token_new_canary(void **state)
{
    struct fixture *const f = *state;
    struct made_key key = make(f->token, TOKEN_AES_GCM);
    const struct uuid absent = uuid_random();
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN], old[TOKEN_CANARY_LEN];

    memcpy(old, key.canary, sizeof(old));
    CHECK_OK(token_key_canary(f->token, &key.id, key.canary, &err), err);
    assert_memory_not_equal(old, key.canary, sizeof(old));
    seal(f->token, &key, sealed);
    CHECK_FAILS(token_key_canary(f->token, &absent, old, &err), err, KMS_ERR_KEY_UNAVAILABLE);
}

/* Another user of the token within this process: it shares the login. */
struct other {
    CK_FUNCTION_LIST *p11;
    CK_SESSION_HANDLE session;
};

static struct other other_open(void)
{
    const int how = P11_KIT_MODULE_CRITICAL | P11_KIT_MODULE_UNMANAGED;
    struct other other = { .p11 = p11_kit_module_load(SOFTHSM_MODULE, how) };
    CK_SLOT_ID slots[4];
    CK_ULONG count = 4;

    assert_int_equal(other.p11->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    assert_int_equal(other.p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
                                              NULL, &other.session),
                     CKR_OK);
    return other;
}

static void other_close(const struct other *other)
{
    assert_int_equal(other->p11->C_CloseSession(other->session), CKR_OK);
}

/* Strict but for one thing: it can be extracted. */
static void make_weak_key(const struct uuid *id)
{
    const struct other other = other_open();
    CK_MECHANISM make_aes = { CKM_AES_KEY_GEN, NULL, 0 };
    CK_BBOOL yes = CK_TRUE;
    CK_ULONG len = 32;
    CK_OBJECT_HANDLE made;
    CK_ATTRIBUTE want[] = {
        { CKA_VALUE_LEN, &len, sizeof(len) },
        { CKA_TOKEN, &yes, sizeof(yes) },
        { CKA_PRIVATE, &yes, sizeof(yes) },
        { CKA_SENSITIVE, &yes, sizeof(yes) },
        { CKA_EXTRACTABLE, &yes, sizeof(yes) },
        { CKA_ENCRYPT, &yes, sizeof(yes) },
        { CKA_DECRYPT, &yes, sizeof(yes) },
        { CKA_ID, (void *)(uintptr_t)id->bytes, sizeof(id->bytes) }, /* only read */
    };

    assert_int_equal(
        other.p11->C_GenerateKey(other.session, &make_aes, want, ARRAY_LEN(want), &made), CKR_OK);
    other_close(&other);
}

static void destroy_elsewhere(const struct uuid *id)
{
    const struct other other = other_open();
    CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE found;
    CK_ULONG count = 0;
    CK_ATTRIBUTE want[] = {
        { CKA_TOKEN, &yes, sizeof(yes) },
        { CKA_ID, (void *)(uintptr_t)id->bytes, sizeof(id->bytes) }, /* only read */
    };

    assert_int_equal(other.p11->C_FindObjectsInit(other.session, want, ARRAY_LEN(want)), CKR_OK);
    assert_int_equal(other.p11->C_FindObjects(other.session, &found, 1, &count), CKR_OK);
    assert_int_equal(other.p11->C_FindObjectsFinal(other.session), CKR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(other.p11->C_DestroyObject(other.session, found), CKR_OK);
    other_close(&other);
}

/* A canary is a promise about a key, so there is none for a key that must not be used. */
static void test_token_no_canary_for_faulty_keys(void **state)
{
    struct fixture *const f = *state;
    const struct made_key twice = make(f->token, TOKEN_AES_GCM);
    const struct uuid weak = uuid_random();
    uint8_t canary[TOKEN_CANARY_LEN] = { 0 };
    static const uint8_t untouched[TOKEN_CANARY_LEN];
    struct token_status status;
    struct kms_error err = { 0 };

    make_weak_key(&weak);
    make_weak_key(&twice.id);
    CHECK_FAILS(token_key_canary(f->token, &weak, canary, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_key_canary(f->token, &twice.id, canary, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    assert_memory_equal(canary, untouched, sizeof(canary));
    token_status(f->token, &status);
    assert_int_equal(status.errors, 0);
    CHECK(status.available);
}

static void test_token_hmac(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_HMAC), other = make(f->token, TOKEN_HMAC);
    static const uint8_t none[TOKEN_CANARY_LEN];
    uint8_t first[TOKEN_HMAC_LEN], again[TOKEN_HMAC_LEN], second[TOKEN_HMAC_LEN];
    const struct token_key as_cipher = { .id = key.id };
    struct kms_error err = { 0 };

    assert_memory_equal(key.canary, none, sizeof(none));
    CHECK_OK(token_hmac(f->token, &key.id, PLAIN, first, &err), err);
    CHECK_OK(token_hmac(f->token, &key.id, PLAIN, again, &err), err);
    CHECK_OK(token_hmac(f->token, &other.id, PLAIN, second, &err), err);
    assert_memory_equal(first, again, sizeof(first));
    assert_memory_not_equal(first, second, sizeof(first));
    CHECK_OK(token_hmac(f->token, &key.id, span_of(NULL, 0), again, &err), err);
    CHECK(token_encrypt(f->token, &as_cipher, iv, AAD, PLAIN, (uint8_t[SEALED_LEN]){ 0 }, &err) <
          0);
}

static void test_token_random(void **state)
{
    static uint8_t first[700], second[700];
    struct fixture *const f = *state;
    struct kms_error err = { 0 };
    unsigned counts[256] = { 0 };

    CHECK_OK(token_random(f->token, first, sizeof(first), &err), err);
    CHECK_OK(token_random(f->token, second, sizeof(second), &err), err);
    assert_memory_not_equal(first, second, sizeof(first));
    CHECK_OK(token_random(f->token, first, 1, &err), err);
    for (size_t i = 0; i < sizeof(second); i++)
        counts[second[i]]++;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        CHECK(counts[i] < 32);
}

static void test_token_copies(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM);
    const struct token_key name = named(&key);
    struct token_status status;
    struct kms_error err = { 0 };
    AUTO(secret) plain = { 0 };
    uint8_t sealed[SEALED_LEN];

    for (int i = 0; i < 40; i++)
        seal(f->token, &key, sealed);
    token_status(f->token, &status);
    CHECK(status.copies);
    assert_int_equal(status.keys_copied, 1);
    token_key_forget(f->token, &key.id);
    token_tick(f->token);
    token_status(f->token, &status);
    assert_int_equal(status.keys_copied, 0);
    CHECK_OK(token_decrypt(f->token, &name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err), err);
    for (int i = 0; i < 40; i++)
        seal(f->token, &key, sealed);
    token_status(f->token, &status);
    assert_int_equal(status.keys_copied, 1);
}

/* The copy outlives its original until it is forgotten; from then on it is not used once. */
static void test_token_forget_works_at_once(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM),
                          other = make(f->token, TOKEN_AES_GCM);
    const struct token_key name = named(&key);
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];

    for (int i = 0; i < 40; i++)
        seal(f->token, &key, sealed);
    destroy_elsewhere(&key.id);
    seal(f->token, &key, sealed);
    token_key_forget(f->token, &key.id);
    CHECK_FAILS(token_encrypt(f->token, &name, iv, AAD, PLAIN, sealed, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    token_key_forget(f->token, &key.id);
    seal(f->token, &other, sealed);
}

/* More hot keys than places: copies come and go, answers stay right. */
static void test_token_copies_limit(void **state)
{
    struct fixture *const f = *state;
    struct made_key keys[6];
    struct token_status status;
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];

    token_close(f->token);
    f->config.copies = 2;
    CHECK_OK(token_open(&f->config, &f->token, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        keys[i] = make(f->token, TOKEN_AES_GCM);
    for (int round = 0; round < 100; round++)
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            const struct token_key name = named(&keys[i]);
            AUTO(secret) plain = { 0 };

            seal(f->token, &keys[i], sealed);
            CHECK_OK(token_decrypt(f->token, &name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err),
                     err);
        }
    token_status(f->token, &status);
    assert_int_equal(status.keys_copied, 2);
    assert_int_equal(status.errors, 0);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        CHECK_OK(token_key_destroy(f->token, &keys[i].id, &err), err);
    token_status(f->token, &status);
    assert_int_equal(status.keys_copied, 0);
    assert_int_equal(status.keys, 0);
}

static void test_token_destroy(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM);
    const struct token_key name = named(&key);
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN];

    for (int i = 0; i < 40; i++)
        seal(f->token, &key, sealed); /* so that a copy exists, which must go too */
    CHECK_OK(token_key_destroy(f->token, &key.id, &err), err);
    CHECK_OK(token_key_destroy(f->token, &key.id, &err), err);
    CHECK_FAILS(token_encrypt(f->token, &name, iv, AAD, PLAIN, sealed, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
}

struct listing {
    const struct uuid *wanted;
    unsigned count, matches;
    char label[80];
};

static int list_one(void *arg, const struct uuid *id, const char *label, struct kms_error *err)
{
    struct listing *const listing = arg;

    listing->count++;
    if (uuid_equal(id, listing->wanted)) {
        listing->matches++;
        (void)snprintf(listing->label, sizeof(listing->label), "%s", label);
    }
    return listing->count > 100 ? kms_fail(err, KMS_ERR_CONFLICT, "enough") : 0;
}

static void test_token_reopen_and_inventory(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM), mac = make(f->token, TOKEN_HMAC);
    struct listing listing = { .wanted = &key.id };
    struct token_status status;
    struct kms_error err = { 0 };
    AUTO(secret) plain = { 0 };
    const struct token_key name = named(&key);
    uint8_t sealed[SEALED_LEN];

    seal(f->token, &key, sealed);
    token_close(f->token);
    CHECK_OK(token_open(&f->config, &f->token, &err), err);
    CHECK_OK(token_decrypt(f->token, &name, iv, AAD, SPAN_ARRAY(sealed), &plain, &err), err);
    CHECK_OK(token_inventory(f->token, list_one, &listing, &err), err);
    assert_int_equal(listing.count, 2);
    assert_int_equal(listing.matches, 1);
    assert_string_equal(listing.label, "hsmkms:test");
    listing.count = 100;
    CHECK_FAILS(token_inventory(f->token, list_one, &listing, &err), err, KMS_ERR_CONFLICT);
    token_status(f->token, &status);
    assert_int_equal(status.keys, 2);
    CHECK_OK(token_key_verify(f->token, TOKEN_HMAC, &mac.id, &err), err);
    CHECK_FAILS(token_key_verify(f->token, TOKEN_AES_GCM, &mac.id, &err), err, KMS_ERR_INTEGRITY);
}

static uint64_t calls_made(struct token *token)
{
    struct token_status status;

    token_status(token, &status);
    return status.calls;
}

/* A start wants the inventory several times: one search serves all, until something changes. */
static void test_token_inventory_searches_again_after_a_change(void **state)
{
    struct fixture *const f = *state;
    const struct made_key key = make(f->token, TOKEN_AES_GCM);
    struct kms_error err = { 0 };

    assert_int_equal(softhsm_keys(f->token), 1);
    uint64_t calls = calls_made(f->token);
    assert_int_equal(softhsm_keys(f->token), 1);
    CHECK(calls_made(f->token) == calls);
    (void)make(f->token, TOKEN_HMAC);
    assert_int_equal(softhsm_keys(f->token), 2);
    CHECK_OK(token_key_destroy(f->token, &key.id, &err), err);
    assert_int_equal(softhsm_keys(f->token), 1);
    token_tick(f->token);
    calls = calls_made(f->token);
    assert_int_equal(softhsm_keys(f->token), 1);
    CHECK(calls_made(f->token) > calls);
}

static void test_token_status_and_probe(void **state)
{
    struct fixture *const f = *state;
    struct token_status status;
    struct kms_error err = { 0 };

    CHECK_OK(token_probe(f->token, &err), err);
    token_tick(f->token);
    token_status(f->token, &status);
    assert_string_equal(status.label, TEST_LABEL);
    assert_string_equal(status.profile, "softhsm");
    CHECK(status.enforces_extraction && status.available && status.calls > 0);
    assert_int_equal(status.sessions, 4);
    assert_int_equal(status.errors, 0);
    assert_int_equal(status.slowest_us, 0);
}

static void open_fails(struct fixture *f, const struct token_config *config, enum kms_err expected)
{
    struct kms_error err = { 0 };
    struct token *token = NULL;

    token_close(f->token);
    f->token = NULL;
    CHECK_FAILS(token_open(config, &token, &err), err, expected);
    CHECK(token == NULL);
}

static void test_token_open_refuses(void **state)
{
    struct fixture *const f = *state;
    struct token_config config = f->config;

    config.uri = "pkcs11:token=another";
    open_fails(f, &config, KMS_ERR_TOKEN_MISSING);
    config.uri = "not a uri";
    open_fails(f, &config, KMS_ERR_CONFIG);
    config.uri = "pkcs11:token=" TEST_LABEL "?pin-value=1234";
    open_fails(f, &config, KMS_ERR_CONFIG);
    config = f->config;
    config.module = "/nonexistent.so";
    open_fails(f, &config, KMS_ERR_CONFIG);
    config = f->config;
    config.pin_file = "/nonexistent/pin";
    open_fails(f, &config, KMS_ERR_CONFIG);
    config.pin_file = "credential:pin";
    open_fails(f, &config, KMS_ERR_CONFIG);
    config = f->config;
    softhsm_write_pin(&f->softhsm, "");
    open_fails(f, &config, KMS_ERR_CONFIG);
}

/* Who can read the PIN file can use every key. */
static void test_token_open_wants_a_private_pin(void **state)
{
    static const mode_t open_to_others[] = { 0640, 0604, 0620, 0601, 0644 };
    struct fixture *const f = *state;
    struct token_config config = f->config;
    struct kms_error err = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(open_to_others); i++) {
        CHECK(chmod(f->softhsm.pin_file, open_to_others[i]) == 0);
        open_fails(f, &config, KMS_ERR_CONFIG);
    }
    CHECK(chmod(f->softhsm.pin_file, 0400) == 0);
    CHECK_OK(token_open(&config, &f->token, &err), err);

    char fifo[300];
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", f->softhsm.dir);
    CHECK(mkfifo(fifo, 0600) == 0);
    config.pin_file = fifo; /* nobody writes to it, and nobody waits for that */
    open_fails(f, &config, KMS_ERR_CONFIG);
    config.pin_file = f->softhsm.state; /* a directory */
    open_fails(f, &config, KMS_ERR_CONFIG);
}

static void test_token_pin_from_credential(void **state)
{
    struct fixture *const f = *state;
    struct token_config config = f->config;
    struct kms_error err = { 0 };

    token_close(f->token);
    f->token = NULL;
    config.pin_file = "credential:pin";
    CHECK(chmod(f->softhsm.pin_file, 0440) == 0); /* as systemd shows it, for an access list */
    CHECK(setenv("CREDENTIALS_DIRECTORY", f->softhsm.dir, 1) == 0);
    CHECK_OK(token_open(&config, &f->token, &err), err);
    CHECK(unsetenv("CREDENTIALS_DIRECTORY") == 0);
}

/* Threads */

struct crowd {
    struct token *token;
    const struct made_key *keys;
    size_t count;
};

static void *use_keys(void *arg)
{
    const struct crowd *const crowd = arg;
    struct kms_error err = { 0 };
    uint8_t sealed[SEALED_LEN], own_iv[TOKEN_IV_LEN];

    for (int i = 0; i < CALLS; i++) {
        const struct token_key name = named(&crowd->keys[(size_t)i % crowd->count]);
        AUTO(secret) plain = { 0 };

        if (token_random(crowd->token, own_iv, sizeof(own_iv), &err) < 0 ||
            token_encrypt(crowd->token, &name, own_iv, AAD, PLAIN, sealed, &err) < 0 ||
            token_decrypt(crowd->token, &name, own_iv, AAD, SPAN_ARRAY(sealed), &plain, &err) < 0 ||
            !span_equal(secret_span(&plain), PLAIN))
            return (void *)(err.where ? err.where : "wrong plaintext");
    }
    return NULL;
}

static void test_token_threads(void **state)
{
    struct fixture *const f = *state;
    const struct made_key keys[3] = { make(f->token, TOKEN_AES_GCM), make(f->token, TOKEN_AES_GCM),
                                      make(f->token, TOKEN_AES_GCM) };
    const struct crowd crowd = { f->token, keys, ARRAY_LEN(keys) };
    struct token_status status;
    struct kms_error err = { 0 };
    pthread_t threads[4];

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_keys, (void *)&crowd), 0);
    for (int i = 0; i < 10; i++) {
        const struct made_key passing = make(f->token, TOKEN_AES_GCM);
        CHECK_OK(token_key_destroy(f->token, &passing.id, &err), err);
        token_tick(f->token);
        token_status(f->token, &status);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        if (wrong)
            fail_msg("a thread failed at %s", (const char *)wrong);
    }
    token_status(f->token, &status);
    assert_int_equal(status.errors, 0);
    assert_int_equal(status.sessions_replaced, 0);
    assert_int_equal(status.keys, ARRAY_LEN(keys));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_token_round_trip),
        TEST(test_token_sizes),
        TEST(test_token_decrypt_tampered),
        TEST(test_token_unknown_key),
        TEST(test_token_wrong_canary),
        TEST(test_token_new_canary),
        TEST(test_token_no_canary_for_faulty_keys),
        TEST(test_token_hmac),
        TEST(test_token_random),
        TEST(test_token_copies),
        TEST(test_token_forget_works_at_once),
        TEST(test_token_copies_limit),
        TEST(test_token_destroy),
        TEST(test_token_reopen_and_inventory),
        TEST(test_token_inventory_searches_again_after_a_change),
        TEST(test_token_status_and_probe),
        TEST(test_token_open_refuses),
        TEST(test_token_open_wants_a_private_pin),
        TEST(test_token_pin_from_credential),
        TEST(test_token_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
