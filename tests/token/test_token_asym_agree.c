/* ECDH in the token against OpenSSL on the other side, and points that are none. */

#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include "pkcs11/pair.h"
#include "tests/support/asym_rig.h"

#define POINT_MAX        133
#define FOR_CURVES(kind) for (enum token_kind kind = TOKEN_P256; kind <= TOKEN_P521; kind++)

static size_t point_len(enum token_kind kind)
{
    return pair_public_len(pair_of(kind));
}

static int agree(struct asym_rig *rig, enum token_kind kind, struct span peer, struct secret *ret,
                 struct kms_error *err)
{
    const struct token_key key = asym_key(asym_pair(rig, kind, TOKEN_AGREES));

    return token_agree(rig->token, kind, &key, peer, ret, err);
}

static void agree_with(struct asym_rig *rig, enum token_kind kind, EVP_PKEY *peer,
                       const uint8_t *point)
{
    uint8_t x[66];
    const size_t len = ossl_agree(peer, &asym_pair(rig, kind, TOKEN_AGREES)->public_key, x);
    struct kms_error err = { 0 };
    AUTO(secret) shared = { 0 };

    CHECK_OK(agree(rig, kind, span_of(point, point_len(kind)), &shared, &err), err);
    CHECK_SPAN(secret_span(&shared), span_of(x, len));
}

static void test_agree_equals_openssl(void **state)
{
    struct asym_rig *const rig = *state;
    uint8_t point[POINT_MAX];

    FOR_CURVES(kind)
    {
        for (int i = 0; i < 10; i++) {
            EVP_PKEY *const peer = ossl_curve_pair(kind, point, point_len(kind));

            agree_with(rig, kind, peer, point);
            EVP_PKEY_free(peer);
        }
    }
}

/* A secret with a zero in front keeps it: it is as long as the field. */
static void test_agree_short_secrets(void **state)
{
    struct asym_rig *const rig = *state;
    uint8_t point[POINT_MAX], x[66];

    FOR_CURVES(kind)
    {
        const struct asym_pair *const pair = asym_pair(rig, kind, TOKEN_AGREES);
        bool found = false;

        /* P-521's first byte is 0 or 1 */
        for (int i = 0; i < 5000 && !found; i++) {
            EVP_PKEY *const peer = ossl_curve_pair(kind, point, point_len(kind));

            (void)ossl_agree(peer, &pair->public_key, x);
            found = x[0] == 0 && (kind != TOKEN_P521 || x[1] < 0x20);
            if (found)
                agree_with(rig, kind, peer, point);
            EVP_PKEY_free(peer);
        }
        CHECK(found);
    }
}

static void refuses(struct asym_rig *rig, enum token_kind kind, struct span peer)
{
    struct kms_error err = { 0 };
    AUTO(secret) shared = { 0 };

    CHECK_FAILS(agree(rig, kind, peer, &shared, &err), err, KMS_ERR_VALIDATION);
    CHECK(shared.ptr == NULL);
}

/* Forms that are no uncompressed point of this length, the identity among them. */
static void test_agree_wrong_forms(void **state)
{
    struct asym_rig *const rig = *state;
    uint8_t point[POINT_MAX + 1] = { 0 };

    FOR_CURVES(kind)
    {
        const size_t len = point_len(kind);

        EVP_PKEY_free(ossl_curve_pair(kind, point, len));
        refuses(rig, kind, span_of(point, 0));
        refuses(rig, kind, span_of(point, len - 1));
        refuses(rig, kind, span_of(point, len + 1));
        refuses(rig, kind, span_of("", 1)); /* the identity of SEC 1: one zero byte */
        for (int first = 0; first < 256; first++)
            if (first != 4) { /* compressed and hybrid forms, and all others */
                point[0] = (uint8_t)first;
                refuses(rig, kind, span_of(point, len));
            }
        point[0] = 2;
        refuses(rig, kind, span_of(point, 1 + len / 2));
    }
}

static void test_agree_points_off_the_curve(void **state)
{
    struct asym_rig *const rig = *state;
    uint8_t good[POINT_MAX], point[POINT_MAX];
    struct token_status before, after;

    FOR_CURVES(kind)
    {
        const size_t len = point_len(kind), field = (len - 1) / 2;

        EVP_PKEY *const peer = ossl_curve_pair(kind, good, len);
        agree_with(rig, kind, peer, good);
        token_status(rig->token, &before);
        for (size_t i = 1; i < len; i += 7) {
            memcpy(point, good, len);
            point[i] ^= 1;
            refuses(rig, kind, span_of(point, len));
        }
        memset(point + 1, 0, len - 1); /* 0, 0 */
        refuses(rig, kind, span_of(point, len));
        memset(point + 1, 0xff, len - 1); /* beyond the field */
        refuses(rig, kind, span_of(point, len));
        memcpy(point, good, len);
        memset(point + 1, 0xff, field);
        refuses(rig, kind, span_of(point, len));
        memcpy(point + 1, good + 1 + field, field); /* Y, X */
        memcpy(point + 1 + field, good + 1, field);
        refuses(rig, kind, span_of(point, len));
        memset(point + 1, 0, field); /* X = 0 with another's Y */
        refuses(rig, kind, span_of(point, len));
        token_status(rig->token, &after);
        assert_int_equal(after.sessions_replaced, before.sessions_replaced);
        assert_int_equal(after.errors, before.errors);
        CHECK(after.available);
        EVP_PKEY_free(peer);
    }
}

/* Points of other curves, one of them with a field of the same length. */
static void test_agree_wrong_curve(void **state)
{
    static const enum token_kind curves[] = { TOKEN_P256, TOKEN_P384, TOKEN_P521, TOKEN_SECP256K1 };
    struct asym_rig *const rig = *state;
    uint8_t point[POINT_MAX];

    FOR_CURVES(kind)
    {
        for (size_t i = 0; i < ARRAY_LEN(curves); i++)
            if (curves[i] != kind) {
                EVP_PKEY_free(ossl_curve_pair(curves[i], point, point_len(curves[i])));
                refuses(rig, kind, span_of(point, point_len(curves[i])));
            }
    }
}

/* Both sides in the token. */
static void test_agree_between_two_pairs(void **state)
{
    struct asym_rig *const rig = *state;
    const struct asym_pair *const one = asym_pair(rig, TOKEN_P384, TOKEN_AGREES);
    const struct asym_pair two = asym_make(rig, TOKEN_P384, TOKEN_AGREES);
    const struct token_key one_key = asym_key(one), two_key = asym_key(&two);
    AUTO(secret) here = { 0 }, there = { 0 };
    struct kms_error err = { 0 };

    CHECK_OK(token_agree(rig->token, TOKEN_P384, &one_key, two_key.canary, &here, &err), err);
    CHECK_OK(token_agree(rig->token, TOKEN_P384, &two_key, one_key.canary, &there, &err), err);
    CHECK_SPAN(secret_span(&here), secret_span(&there));
}

/* Kinds that cannot agree. */
static void test_agree_unsupported(void **state)
{
    struct asym_rig *const rig = *state;
    const struct token_key key = asym_key(asym_pair(rig, TOKEN_P256, TOKEN_AGREES));
    AUTO(secret) shared = { 0 };
    struct kms_error err = { 0 };

    CHECK_FAILS(token_agree(rig->token, TOKEN_RSA_2048, &key, key.canary, &shared, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(token_agree(rig->token, TOKEN_SECP256K1, &key, key.canary, &shared, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(token_agree(rig->token, TOKEN_EDWARDS25519, &key, key.canary, &shared, &err), err,
                KMS_ERR_UNSUPPORTED);
}

/* No secret stays behind in the token: nothing readable is left, by any session. */
static void test_agree_leaves_nothing(void **state)
{
    struct asym_rig *const rig = *state;
    const unsigned before = softhsm_keys(rig->token);

    test_agree_equals_openssl(state);
    assert_int_equal(softhsm_keys(rig->token), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agree_equals_openssl),
        cmocka_unit_test(test_agree_short_secrets),
        cmocka_unit_test(test_agree_wrong_forms),
        cmocka_unit_test(test_agree_points_off_the_curve),
        cmocka_unit_test(test_agree_wrong_curve),
        cmocka_unit_test(test_agree_between_two_pairs),
        cmocka_unit_test(test_agree_unsupported),
        cmocka_unit_test(test_agree_leaves_nothing),
    };

    return run_group(tests, ARRAY_LEN(tests), asym_setup, asym_teardown, NULL);
}
