/*
 * Wycheproof's private keys, imported into a real SoftHSM2 token, used there and destroyed: ECDH
 * and RSA-OAEP as the vectors have it, and signatures, which OpenSSL verifies on the other side.
 */

#include "hsmkms/crypto/oaep.h"
#include "hsmkms/crypto/pkcs8_parse.h"
#include "hsmkms/crypto/rsa_numbers.h"
#include "hsmkms/crypto/spki.h"
#include "pkcs11/token_import.h"
#include "tests/support/token_rig.h"
#include "tests/support/wycheproof.h"

static struct token_rig rig;

/* A pair of the token for as long as the vectors in a row want it. */
struct held {
    enum token_kind kind;
    enum public_kind public_kind;
    enum token_use use;
    struct buf value, public_key; /* value: what it was made of; empty: no pair is held */
    struct uuid id;
};

static void drop(struct held *held)
{
    struct kms_error err = { 0 };

    if (held->value.len)
        CHECK_OK(token_key_destroy(rig.token, &held->id, &err), err);
    buf_done(&held->value);
    buf_done(&held->public_key);
}

static struct token_key name_of(const struct held *held)
{
    return (struct token_key){ held->id, buf_span(&held->public_key) };
}

/* held: has its value and public key. */
static void import(struct held *held, const struct token_private *numbers)
{
    const struct span public_key = buf_span(&held->public_key);
    struct kms_error err = { 0 };
    bool good = false;

    CHECK_OK(token_pair_try(rig.token, held->kind, held->use, numbers, public_key, &good, &err),
             err);
    CHECK(good);
    held->id = uuid_random();
    CHECK_OK(token_pair_import(rig.token, held->kind, held->use, numbers, public_key, &held->id,
                               "vector", &err),
             err);
}

/* Appends a number as long as a field: vectors have it as ASN.1 does, or shorter. */
static void append_scalar(struct buf *ret, struct span number, size_t len)
{
    static const uint8_t zeros[66];

    while (number.len > 0 && *number.ptr == 0)
        number = span_of(number.ptr + 1, number.len - 1);
    CHECK(number.len > 0 && number.len <= len && len <= sizeof(zeros));
    buf_append(ret, span_of(zeros, len - number.len));
    buf_append(ret, number);
}

/* Imports the vector's scalar unless it is the one that is held. */
static void hold_curve(struct held *held, const json_t *test, size_t field)
{
    struct kms_error err = { 0 };
    AUTO(buf) number = { 0 };
    AUTO(buf) scalar = { 0 };

    wycheproof_hex(&number, test, "private");
    append_scalar(&scalar, buf_span(&number), field);
    if (span_equal(buf_span(&held->value), buf_span(&scalar)))
        return;
    drop(held);
    CHECK_OK(curve_point_of(held->public_kind, buf_span(&scalar), &held->public_key, &err), err);
    const struct token_private numbers = { .scalar = buf_span(&scalar) };
    import(held, &numbers);
    held->value = buf_take(&scalar);
}

/* Imports the group's PKCS #8 unless it is the one that is held. */
static void hold_rsa(struct held *held, const json_t *group)
{
    struct private_numbers parts;
    struct kms_error err = { 0 };
    bool fit = false;
    AUTO(buf) der = { 0 };

    wycheproof_hex(&der, group, "privateKeyPkcs8");
    if (span_equal(buf_span(&held->value), buf_span(&der)))
        return;
    drop(held);
    CHECK_OK(pkcs8_parse(PUBLIC_RSA, buf_span(&der), &parts, &err), err);
    CHECK_OK(rsa_numbers_fit(&parts, &fit, &err), err);
    CHECK(fit);
    buf_append(&held->public_key, parts.modulus);
    buf_append(&held->public_key, parts.public_exponent);
    const struct token_private numbers = { .modulus = parts.modulus,
                                           .exponent = parts.exponent,
                                           .prime1 = parts.prime1,
                                           .prime2 = parts.prime2,
                                           .exponent1 = parts.exponent1,
                                           .exponent2 = parts.exponent2,
                                           .coefficient = parts.coefficient };
    import(held, &numbers);
    held->value = buf_take(&der);
}

/* --- agreeing --------------------------------------------------------------------------------- */

/* clang-format off */
static const struct curve_suite {
    const char *file;
    enum token_kind kind;
    enum public_kind public_kind;
    size_t field;
    enum { AS_POINT, AS_DER } form; /* of the other side's public key */
} agreement_suites[] = {
    { "ecdh_secp256r1_ecpoint_test", TOKEN_P256,      PUBLIC_P256,      32, AS_POINT },
    { "ecdh_secp384r1_ecpoint_test", TOKEN_P384,      PUBLIC_P384,      48, AS_POINT },
    { "ecdh_secp521r1_ecpoint_test", TOKEN_P521,      PUBLIC_P521,      66, AS_POINT },
    { "ecdh_secp256r1_test",         TOKEN_P256,      PUBLIC_P256,      32, AS_DER },
    { "ecdh_secp384r1_test",         TOKEN_P384,      PUBLIC_P384,      48, AS_DER },
    { "ecdh_secp521r1_test",         TOKEN_P521,      PUBLIC_P521,      66, AS_DER },
}, curve_signing_suites[] = { /* for their private keys */
    { "ecdh_secp256r1_ecpoint_test", TOKEN_P256,      PUBLIC_P256,      32, AS_POINT },
    { "ecdh_secp384r1_ecpoint_test", TOKEN_P384,      PUBLIC_P384,      48, AS_POINT },
    { "ecdh_secp521r1_ecpoint_test", TOKEN_P521,      PUBLIC_P521,      66, AS_POINT },
    { "ecdh_secp256k1_test",         TOKEN_SECP256K1, PUBLIC_SECP256K1, 32, AS_DER },
};
/* clang-format on */

struct curve_run {
    const struct curve_suite *suite;
    struct held held;
};

/* The other side's point. False: refused before the token is asked. */
static bool read_peer(const struct curve_suite *suite, const json_t *test, struct buf *ret)
{
    struct kms_error err = { 0 };
    AUTO(buf) bytes = { 0 };

    wycheproof_hex(&bytes, test, "public");
    if (suite->form == AS_POINT) {
        *ret = buf_take(&bytes);
        return true;
    }
    if (spki_parse_point(suite->public_kind, buf_span(&bytes), ret, &err) == 0)
        return true;
    assert_string_equal(kms_err_name(err.code), kms_err_name(KMS_ERR_VALIDATION));
    return false;
}

/* Whether the token takes the other side, which has to give the vector's secret then. */
static bool agrees(const struct wycheproof *run, const struct held *held, struct span peer,
                   const json_t *test)
{
    const struct token_key key = name_of(held);
    struct kms_error err = { 0 };
    AUTO(secret) shared = { 0 };
    AUTO(buf) expected = { 0 };

    if (token_agree(rig.token, held->kind, &key, peer, &shared, &err) < 0) {
        assert_string_equal(kms_err_name(err.code), kms_err_name(KMS_ERR_VALIDATION));
        CHECK(shared.ptr == NULL);
        return false;
    }
    wycheproof_hex(&expected, test, "shared");
    if (!span_equal(secret_span(&shared), buf_span(&expected)))
        wycheproof_fail(run, test, "gives another secret");
    return true;
}

static void run_agreement(struct wycheproof *run, void *arg, const json_t *group,
                          const json_t *test)
{
    struct curve_run *const with = arg;
    AUTO(buf) peer = { 0 };

    (void)group;
    hold_curve(&with->held, test, with->suite->field);
    wycheproof_judge(run, test,
                     read_peer(with->suite, test, &peer) &&
                         agrees(run, &with->held, buf_span(&peer), test));
}

static struct wycheproof walk_curve(const struct curve_suite *suite, enum token_use use,
                                    wycheproof_fn *each)
{
    struct curve_run with = { .suite = suite };

    with.held.kind = suite->kind;
    with.held.public_kind = suite->public_kind;
    with.held.use = use;
    const struct wycheproof ret = wycheproof_walk(suite->file, each, &with);
    drop(&with.held);
    return ret;
}

static void test_wycheproof_ecdh(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(agreement_suites); i++)
        CHECK(walk_curve(&agreement_suites[i], TOKEN_AGREES, run_agreement).refused > 0);
}

/* --- signing ---------------------------------------------------------------------------------- */

/* clang-format off */
static const struct signing {
    enum token_algorithm algorithm;
    enum signature_scheme scheme;
    enum hash hash;
} rsa_signing[] = {
    { TOKEN_RSA_PKCS1_SHA256, SIGNATURE_PKCS1, HASH_SHA256 },
    { TOKEN_RSA_PKCS1_SHA384, SIGNATURE_PKCS1, HASH_SHA384 },
    { TOKEN_RSA_PKCS1_SHA512, SIGNATURE_PKCS1, HASH_SHA512 },
    { TOKEN_RSA_PSS_SHA256,   SIGNATURE_PSS,   HASH_SHA256 },
    { TOKEN_RSA_PSS_SHA384,   SIGNATURE_PSS,   HASH_SHA384 },
    { TOKEN_RSA_PSS_SHA512,   SIGNATURE_PSS,   HASH_SHA512 },
};
/* clang-format on */

static bool verifies(const struct held *held, const struct signing *row, struct span digest,
                     const struct token_signature *signature)
{
    const struct public_key key = { held->public_kind, buf_span(&held->public_key) };
    struct span bytes = span_of(signature->bytes, signature->len);
    struct kms_error err = { 0 };
    bool ret = false;
    AUTO(buf) der = { 0 };

    if (row->scheme == SIGNATURE_ECDSA) {
        CHECK_OK(ecdsa_signature_der(bytes, &der, &err), err);
        bytes = buf_span(&der);
    }
    CHECK_OK(public_key_verify(&key, row->scheme, row->hash, digest, bytes, &ret, &err), err);
    return ret;
}

/* One signature: right for its digest, for no other, and not once a bit of it has changed. */
static void sign(const struct held *held, const struct signing *row, struct span message)
{
    const struct token_key key = name_of(held);
    struct token_signature signature;
    struct kms_error err = { 0 };
    struct hash_value digest;

    CHECK_OK(hash_of(row->hash, message, &digest, &err), err);
    CHECK_OK(token_sign(rig.token, held->kind, &key, row->algorithm, hash_span(&digest), &signature,
                        &err),
             err);
    CHECK(verifies(held, row, hash_span(&digest), &signature));
    digest.bytes[0] ^= 1;
    CHECK(!verifies(held, row, hash_span(&digest), &signature));
    digest.bytes[0] ^= 1;
    signature.bytes[signature.len - 1] ^= 1;
    CHECK(!verifies(held, row, hash_span(&digest), &signature));
}

static enum hash hash_for(enum token_kind kind)
{
    return kind == TOKEN_P384 ? HASH_SHA384 : kind == TOKEN_P521 ? HASH_SHA512 : HASH_SHA256;
}

static void run_curve_signing(struct wycheproof *run, void *arg, const json_t *group,
                              const json_t *test)
{
    struct curve_run *const with = arg;
    const struct signing row = { TOKEN_ECDSA, SIGNATURE_ECDSA, hash_for(with->suite->kind) };
    AUTO(buf) message = { 0 };

    (void)group;
    hold_curve(&with->held, test, with->suite->field);
    wycheproof_hex(&message, test, "public");
    sign(&with->held, &row, buf_span(&message));
    wycheproof_made(run);
}

static void test_wycheproof_ecdsa_signs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(curve_signing_suites); i++)
        (void)walk_curve(&curve_signing_suites[i], TOKEN_SIGNS, run_curve_signing);
}

/* The first vector of a group alone: all of a group have its key. */
static void run_rsa_signing(struct wycheproof *run, void *arg, const json_t *group,
                            const json_t *test)
{
    struct held *const held = arg;
    AUTO(buf) message = { 0 };

    if (json_array_get(json_object_get(group, "tests"), 0) != test) {
        wycheproof_skip(run, "of a key that has signed");
        return;
    }
    hold_rsa(held, group);
    wycheproof_hex(&message, test, "ct");
    for (size_t i = 0; i < ARRAY_LEN(rsa_signing); i++)
        sign(held, &rsa_signing[i], buf_span(&message));
    wycheproof_made(run);
}

static void test_wycheproof_rsa_signs(void **state)
{
    static const struct {
        const char *file; /* of RSAES-PKCS1-v1_5, for its private keys */
        enum token_kind kind;
    } suites[] = {
        { "rsa_pkcs1_2048_test", TOKEN_RSA_2048 },
        { "rsa_pkcs1_3072_test", TOKEN_RSA_3072 },
        { "rsa_pkcs1_4096_test", TOKEN_RSA_4096 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(suites); i++) {
        struct held held = { .kind = suites[i].kind,
                             .public_kind = PUBLIC_RSA,
                             .use = TOKEN_SIGNS };

        (void)wycheproof_walk(suites[i].file, run_rsa_signing, &held);
        drop(&held);
    }
}

/* --- decrypting ------------------------------------------------------------------------------- */

static const struct padding {
    const char *file;
    enum token_kind kind;
    enum token_algorithm algorithm;
    enum hash hash;
} padding_suites[] = {
    { "rsa_oaep_2048_sha1_mgf1sha1_test", TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA1, HASH_SHA1 },
    { "rsa_oaep_2048_sha256_mgf1sha256_test", TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA256, HASH_SHA256 },
    { "rsa_oaep_3072_sha256_mgf1sha256_test", TOKEN_RSA_3072, TOKEN_RSA_OAEP_SHA256, HASH_SHA256 },
    { "rsa_oaep_4096_sha256_mgf1sha256_test", TOKEN_RSA_4096, TOKEN_RSA_OAEP_SHA256, HASH_SHA256 },
};

struct padding_run {
    const struct padding *suite;
    struct held held;
};

/* In the token, or its bare operation and the end of OAEP outside. */
static int decrypt(const struct padding_run *with, struct span sealed, struct secret *ret,
                   struct kms_error *err)
{
    const struct padding *const suite = with->suite;
    const struct token_key key = name_of(&with->held);
    enum token_support support = TOKEN_LACKS;
    AUTO(secret) block = { 0 };

    CHECK_OK(token_supports(rig.token, suite->kind, suite->algorithm, &support, err), *err);
    if (support != TOKEN_BY_RAW)
        return token_rsa_decrypt(rig.token, suite->kind, &key, suite->algorithm, sealed, ret, err);
    if (token_rsa_raw(rig.token, suite->kind, &key, TOKEN_DECRYPTS, sealed, &block, err) < 0)
        return -1;
    return oaep_open(suite->hash, &block, ret, err);
}

static void run_padding(struct wycheproof *run, void *arg, const json_t *group, const json_t *test)
{
    struct padding_run *const with = arg;
    struct kms_error err = { 0 };
    AUTO(buf) label = { 0 };
    AUTO(buf) sealed = { 0 };
    AUTO(buf) expected = { 0 };
    AUTO(secret) plain = { 0 };

    wycheproof_hex(&label, test, "label");
    if (label.len) {
        wycheproof_skip(run, "labels");
        return;
    }
    hold_rsa(&with->held, group);
    wycheproof_hex(&sealed, test, "ct");
    wycheproof_hex(&expected, test, "msg");
    const bool opened = decrypt(with, buf_span(&sealed), &plain, &err) == 0;
    if (opened && !span_equal(secret_span(&plain), buf_span(&expected)))
        wycheproof_fail(run, test, "gives another plaintext");
    if (!opened)
        assert_string_equal(kms_err_name(err.code), kms_err_name(KMS_ERR_INVALID_CIPHERTEXT));
    wycheproof_judge(run, test, opened);
}

static void test_wycheproof_oaep_in_token(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(padding_suites); i++) {
        struct padding_run with = { .suite = &padding_suites[i] };

        with.held.kind = padding_suites[i].kind;
        with.held.public_kind = PUBLIC_RSA;
        with.held.use = TOKEN_DECRYPTS;
        CHECK(wycheproof_walk(padding_suites[i].file, run_padding, &with).refused > 0);
        drop(&with.held);
    }
}

static void test_wycheproof_leaves_nothing(void **state)
{
    token_rig_is_empty(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wycheproof_ecdh),
        cmocka_unit_test(test_wycheproof_ecdsa_signs),
        cmocka_unit_test(test_wycheproof_rsa_signs),
        cmocka_unit_test(test_wycheproof_oaep_in_token),
        cmocka_unit_test(test_wycheproof_leaves_nothing),
    };

    return run_group(tests, ARRAY_LEN(tests), token_rig_up, token_rig_down, &rig);
}
