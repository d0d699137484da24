/*
 * Wycheproof's vectors for keys that are no pair, imported into a real SoftHSM2 token, used there
 * and destroyed: AES-256-GCM and HMAC.
 */

#include "pkcs11/token_import.h"
#include "tests/support/token_rig.h"
#include "tests/support/wycheproof.h"

static struct token_rig rig;

/* A key of the token for as long as the vectors in a row want it; the zero state has none. */
struct held {
    struct buf value;
    struct uuid id;
    uint8_t canary[TOKEN_CANARY_LEN];
};

static void held_done(struct held *held)
{
    struct kms_error err = { 0 };

    if (held->value.len)
        CHECK_OK(token_key_destroy(rig.token, &held->id, &err), err);
    buf_done(&held->value);
}

/* Imports the value unless it is the one that is held; what is held then is destroyed. */
static void hold(struct held *held, enum token_kind kind, struct span value)
{
    struct kms_error err = { 0 };

    if (span_equal(buf_span(&held->value), value))
        return;
    held_done(held);
    *held = (struct held){ .id = uuid_random() };
    CHECK_OK(token_key_import(rig.token, kind, value, &held->id, "vector", &err), err);
    buf_append(&held->value, value);
    CHECK_OK(kind == TOKEN_AES_GCM
                 ? token_key_canary(rig.token, &held->id, held->canary, &err)
                 : token_mac_canary(rig.token, kind, &held->id, held->canary, &err),
             err);
}

static struct token_key name_of(const struct held *held)
{
    return (struct token_key){ held->id, SPAN_ARRAY(held->canary) };
}

/* --- AES-GCM ---------------------------------------------------------------------------------- */

struct gcm_vector {
    struct buf key, iv, aad, plain, sealed; /* sealed: ciphertext, then tag */
};

static void gcm_vector_done(struct gcm_vector *vector)
{
    buf_done(&vector->key);
    buf_done(&vector->iv);
    buf_done(&vector->aad);
    buf_done(&vector->plain);
    buf_done(&vector->sealed);
}

static void gcm_vector_read(const json_t *test, struct gcm_vector *ret)
{
    wycheproof_hex(&ret->key, test, "key");
    wycheproof_hex(&ret->iv, test, "iv");
    wycheproof_hex(&ret->aad, test, "aad");
    wycheproof_hex(&ret->plain, test, "msg");
    wycheproof_hex(&ret->sealed, test, "ct");
    wycheproof_hex(&ret->sealed, test, "tag");
}

/* Whether encryption gives exactly the vector's ciphertext and tag. */
static bool seals(const struct token_key *key, const struct gcm_vector *vector)
{
    struct kms_error err = { 0 };
    uint8_t sealed[TOKEN_GCM_MAX + TOKEN_TAG_LEN];

    CHECK_OK(token_encrypt(rig.token, key, vector->iv.ptr, buf_span(&vector->aad),
                           buf_span(&vector->plain), sealed, &err),
             err);
    return span_equal(span_of(sealed, vector->plain.len + TOKEN_TAG_LEN),
                      buf_span(&vector->sealed));
}

/* Whether decryption takes it, which has to give the vector's plaintext then. */
static bool opens(const struct wycheproof *run, const json_t *test, const struct token_key *key,
                  const struct gcm_vector *vector)
{
    struct kms_error err = { 0 };
    AUTO(secret) plain = { 0 };

    if (token_decrypt(rig.token, key, vector->iv.ptr, buf_span(&vector->aad),
                      buf_span(&vector->sealed), &plain, &err) < 0) {
        assert_string_equal(kms_err_name(err.code), kms_err_name(KMS_ERR_INVALID_CIPHERTEXT));
        CHECK(plain.ptr == NULL);
        return false;
    }
    if (!span_equal(secret_span(&plain), buf_span(&vector->plain)))
        wycheproof_fail(run, test, "gives another plaintext");
    return true;
}

/* NULL: the layer has a way to say it. */
static const char *beyond_gcm(const json_t *group, const struct gcm_vector *vector)
{
    if (vector->key.len != token_key_bytes(TOKEN_AES_GCM))
        return "other key sizes";
    if (vector->iv.len != TOKEN_IV_LEN)
        return "other IV sizes";
    if (wycheproof_bits(group, "tagSize") != 8 * TOKEN_TAG_LEN)
        return "other tag sizes";
    if (vector->plain.len == 0)
        return "empty plaintexts";
    return vector->plain.len > TOKEN_GCM_MAX ? "long plaintexts" : NULL;
}

static void run_gcm(struct wycheproof *run, void *arg, const json_t *group, const json_t *test)
{
    AUTO(gcm_vector) vector = { 0 };

    gcm_vector_read(test, &vector);
    const char *const reason = beyond_gcm(group, &vector);
    if (reason) {
        wycheproof_skip(run, reason);
        return;
    }
    hold(arg, TOKEN_AES_GCM, buf_span(&vector.key));
    const struct token_key key = name_of(arg);
    const bool opened = opens(run, test, &key, &vector);
    if (seals(&key, &vector) != opened)
        wycheproof_fail(run, test, "encryption and decryption disagree");
    wycheproof_judge(run, test, opened);
}

static void test_wycheproof_aes_gcm(void **state)
{
    AUTO(held) held = { 0 };

    (void)state;
    CHECK(wycheproof_walk("aes_gcm_test", run_gcm, &held).refused > 0);
}

/* --- HMAC ------------------------------------------------------------------------------------- */

static const struct {
    const char *file;
    enum token_kind kind;
} mac_suites[] = {
    { "hmac_sha224_test", TOKEN_HMAC_224 },
    { "hmac_sha256_test", TOKEN_HMAC_256 },
    { "hmac_sha384_test", TOKEN_HMAC_384 },
    { "hmac_sha512_test", TOKEN_HMAC_512 },
};

struct mac_run {
    enum token_kind kind;
    struct held held;
};

/* A shortened MAC is one that this layer refuses, so there the beginning of a whole one decides. */
static void run_mac_with(struct wycheproof *run, const json_t *test, const struct mac_run *with,
                         struct span message)
{
    const enum token_kind kind = with->kind;
    const struct token_key key = name_of(&with->held);
    struct kms_error err = { 0 };
    struct token_mac mac;
    bool verified = false;
    AUTO(buf) tag = { 0 };

    wycheproof_hex(&tag, test, "tag");
    CHECK_OK(token_mac(rig.token, kind, &key, message, &mac, &err), err);
    CHECK_OK(token_mac_verify(rig.token, kind, &key, message, buf_span(&tag), &verified, &err),
             err);
    assert_int_equal(mac.len, token_key_bytes(kind));
    CHECK(tag.len <= mac.len);
    const bool same = span_equal(buf_span(&tag), span_of(mac.bytes, tag.len));
    if (verified != (same && tag.len == mac.len))
        wycheproof_fail(run, test, "making and verifying disagree");
    wycheproof_judge(run, test, same);
}

static void run_mac(struct wycheproof *run, void *arg, const json_t *group, const json_t *test)
{
    struct mac_run *const with = arg;
    AUTO(buf) value = { 0 };
    AUTO(buf) message = { 0 };

    (void)group;
    wycheproof_hex(&value, test, "key");
    wycheproof_hex(&message, test, "msg");
    if (value.len != token_key_bytes(with->kind)) {
        wycheproof_skip(run, "other key sizes");
        return;
    }
    if (message.len > TOKEN_MESSAGE_MAX) {
        wycheproof_skip(run, "long messages");
        return;
    }
    hold(&with->held, with->kind, buf_span(&value));
    run_mac_with(run, test, with, buf_span(&message));
}

static void test_wycheproof_hmac(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mac_suites); i++) {
        struct mac_run with = { .kind = mac_suites[i].kind };

        CHECK(wycheproof_walk(mac_suites[i].file, run_mac, &with).refused > 0);
        held_done(&with.held);
    }
}

static void test_wycheproof_leaves_nothing(void **state)
{
    token_rig_is_empty(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wycheproof_aes_gcm),
        cmocka_unit_test(test_wycheproof_hmac),
        cmocka_unit_test(test_wycheproof_leaves_nothing),
    };

    return run_group(tests, ARRAY_LEN(tests), token_rig_up, token_rig_down, &rig);
}
