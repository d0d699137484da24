/*
 * Pairs of the token: what it can do, making them, signing, and everything a pair must refuse.
 * OpenSSL checks what comes out.
 */

#include <stdio.h>

#include <p11-kit/p11-kit.h>

#include "pkcs11/state.h"
#include "tests/support/asym_rig.h"

#define TEXT SPAN_LITERAL("attack at dawn")

/* What the token cannot do, for whoever reads the test's output. */
static void print_support(struct asym_rig *rig, enum token_algorithm algorithm)
{
    static const char *const marks[] = { "LACKS", "raw", "yes" };

    printf("  %-18s", token_algorithm_name(algorithm));
    for (enum token_kind kind = TOKEN_HMAC_224; kind < TOKEN_KINDS; kind++) {
        const struct pair *const pair = pair_of(kind);
        const bool fits =
            pair ? algorithm_fits(algorithm_of(algorithm), pair) : algorithm == TOKEN_MAC;

        if (fits)
            printf(" %s:%s", token_kind_name(kind), marks[asym_support(rig, kind, algorithm)]);
    }
    printf("\n");
}

static void print_refusals(struct asym_rig *rig)
{
    FOR_KINDS(kind)
    {
        for (enum token_use use = 0; use < TOKEN_USES; use++) {
            const struct pair_memory *const memory = &rig->token->pairs[kind][use];

            for (enum pair_try i = 0; memory->known && i < PAIR_TRIES; i++)
                if (asym_can(rig, kind, use) && !memory->probe.refuses[i])
                    printf("  %s that %s: does not refuse pair_try %d\n", token_kind_name(kind),
                           token_use_name(use), (int)i);
        }
    }
}

static void test_asym_capabilities(void **state)
{
    struct asym_rig *const rig = *state;
    struct token_status status;

    token_status(rig->token, &status);
    printf("%s:\n", status.profile);
    for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++)
        print_support(rig, i);
    print_refusals(rig);
    assert_int_equal(asym_support(rig, TOKEN_P256, TOKEN_RSA_PSS_SHA256), TOKEN_LACKS);
    assert_int_equal(asym_support(rig, TOKEN_HMAC_256, TOKEN_ECDSA), TOKEN_LACKS);
    assert_int_equal(asym_support(rig, TOKEN_AES_GCM, TOKEN_MAC), TOKEN_LACKS);
    assert_int_equal(asym_support(rig, TOKEN_HMAC, TOKEN_MAC), TOKEN_LACKS);
    assert_int_equal(asym_support(rig, TOKEN_SECP256K1, TOKEN_ECDH), TOKEN_LACKS);
    token_status(rig->token, &status);
    assert_int_equal(status.keys, 0); /* nothing of it stays */
    assert_int_equal(status.errors, 0);
    CHECK(status.available);
}

/* What this project was built against; another token may do more. */
static void test_asym_known_token(void **state)
{
    struct asym_rig *const rig = *state;

#ifdef ASYM_ON_NSS
    assert_int_equal(asym_support(rig, TOKEN_EDWARDS25519, TOKEN_ED25519), TOKEN_LACKS);
    assert_int_equal(asym_support(rig, TOKEN_SECP256K1, TOKEN_ECDSA), TOKEN_LACKS);
    assert_int_equal(asym_support(rig, TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA256), TOKEN_WITHIN);
#else
    /* everything that must be refused is */
    FOR_KINDS(kind)
    {
        for (enum token_use use = 0; use < TOKEN_USES; use++)
            for (enum pair_try i = 0; rig->token->pairs[kind][use].known && i < PAIR_TRIES; i++)
                CHECK(rig->token->pairs[kind][use].probe.refuses[i]);
    }
    assert_int_equal(asym_support(rig, TOKEN_EDWARDS25519, TOKEN_ED25519), TOKEN_WITHIN);
    assert_int_equal(asym_support(rig, TOKEN_SECP256K1, TOKEN_ECDSA), TOKEN_WITHIN);
#endif
    for (enum token_kind kind = TOKEN_P256; kind <= TOKEN_P521; kind++) {
        assert_int_equal(asym_support(rig, kind, TOKEN_ECDSA), TOKEN_WITHIN);
        assert_int_equal(asym_support(rig, kind, TOKEN_ECDH), TOKEN_WITHIN);
    }
    for (enum token_algorithm i = TOKEN_RSA_PKCS1_SHA256; i <= TOKEN_RSA_PSS_SHA512; i++)
        assert_int_equal(asym_support(rig, TOKEN_RSA_4096, i), TOKEN_WITHIN);
    assert_int_equal(asym_support(rig, TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA1), TOKEN_WITHIN);
    CHECK(asym_support(rig, TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA256) != TOKEN_LACKS);
}

static void test_asym_every_kind_generates(void **state)
{
    struct asym_rig *const rig = *state;
    struct kms_error err = { 0 };

    FOR_KINDS(kind)
    {
        for (enum token_use use = 0; use < TOKEN_USES; use++) {
            struct token_public again = { 0 };

            if (!asym_can(rig, kind, use))
                continue;
            const struct asym_pair *const pair = asym_pair(rig, kind, use);
            EVP_PKEY_free(ossl_public(&pair->public_key));
            CHECK_OK(token_pair_public(rig->token, kind, use, &pair->id, &again, &err), err);
            CHECK_SPAN(token_public_span(&again), token_public_span(&pair->public_key));
            CHECK_OK(token_pair_verify(rig->token, kind, use, &pair->id, token_public_span(&again),
                                       &err),
                     err);
        }
    }
}

/* A kind and a use that do not go together. */
static void test_asym_generate_refuses(void **state)
{
    static const struct {
        enum token_kind kind;
        enum token_use use;
    } rows[] = {
        { TOKEN_RSA_2048, TOKEN_AGREES },     { TOKEN_P256, TOKEN_DECRYPTS },
        { TOKEN_SECP256K1, TOKEN_AGREES },    { TOKEN_EDWARDS25519, TOKEN_DECRYPTS },
        { TOKEN_EDWARDS25519, TOKEN_AGREES },
    };
    struct asym_rig *const rig = *state;
    const struct uuid id = uuid_random();
    struct kms_error err = { 0 };
    struct token_public none;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_FAILS(
            token_pair_generate(rig->token, rows[i].kind, rows[i].use, &id, "x", &none, &err), err,
            KMS_ERR_UNSUPPORTED);
    FOR_KINDS(kind)
    {
        if (pair_of(kind)->uses[TOKEN_SIGNS] && !asym_can(rig, kind, TOKEN_SIGNS))
            CHECK_FAILS(token_pair_generate(rig->token, kind, TOKEN_SIGNS, &id, "x", &none, &err),
                        err, KMS_ERR_UNSUPPORTED);
    }
    CHECK_FAILS(token_pair_verify(rig->token, TOKEN_P256, TOKEN_SIGNS, &id, TEXT, &err), err,
                KMS_ERR_NOT_FOUND);
}

/* Signing */

static void sign_and_verify(struct asym_rig *rig, enum token_kind kind,
                            enum token_algorithm algorithm)
{
    const struct asym_pair *const pair = asym_pair(rig, kind, TOKEN_SIGNS);
    const struct token_key key = asym_key(pair);
    struct token_signature signature;
    struct kms_error err = { 0 };
    uint8_t room[64];

    for (int i = 0; i < 8; i++) {
        const struct span input =
            ossl_digest(kind, algorithm, span_of("abcdefghi", (size_t)i + 1), room);

        CHECK_OK(token_sign(rig->token, kind, &key, algorithm, input, &signature, &err), err);
        const struct span made = span_of(signature.bytes, signature.len);
        CHECK(ossl_verifies(&pair->public_key, algorithm, input, made));
        signature.bytes[signature.len - 1] ^= 1;
        CHECK(!ossl_verifies(&pair->public_key, algorithm, input, made));
    }
}

static void test_asym_signatures_verify(void **state)
{
    struct asym_rig *const rig = *state;

    FOR_KINDS(kind)
    {
        for (enum token_algorithm i = TOKEN_RSA_PKCS1_SHA256; i <= TOKEN_ED25519; i++)
            if (asym_support(rig, kind, i) == TOKEN_WITHIN)
                sign_and_verify(rig, kind, i);
    }
}

/* One number in 256 has a zero in front, which must stay. */
static void test_asym_short_numbers(void **state)
{
    struct asym_rig *const rig = *state;
    const struct asym_pair *const pair = asym_pair(rig, TOKEN_P256, TOKEN_SIGNS);
    const struct token_key key = asym_key(pair);
    struct token_signature signature = { 0 };
    struct kms_error err = { 0 };
    uint8_t digest[32] = { 0 };
    unsigned shorts = 0;

    for (int i = 0; i < 20000 && shorts < 2; i++) {
        CHECK_OK(token_sign(rig->token, TOKEN_P256, &key, TOKEN_ECDSA, SPAN_ARRAY(digest),
                            &signature, &err),
                 err);
        assert_int_equal(signature.len, 64);
        if (signature.bytes[0] == 0 || signature.bytes[32] == 0) {
            shorts++;
            CHECK(ossl_verifies(&pair->public_key, TOKEN_ECDSA, SPAN_ARRAY(digest),
                                span_of(signature.bytes, signature.len)));
        }
    }
    CHECK(shorts > 0);
}

static void test_asym_ed25519_lengths(void **state)
{
    static const size_t lengths[] = { 0, 1, 31, 32, 33, 4096, TOKEN_MESSAGE_MAX };
    static uint8_t message[TOKEN_MESSAGE_MAX + 1] = "m";
    struct asym_rig *const rig = *state;
    struct token_signature signature;
    struct kms_error err = { 0 };

    if (!asym_can(rig, TOKEN_EDWARDS25519, TOKEN_SIGNS))
        return;
    const struct asym_pair *const pair = asym_pair(rig, TOKEN_EDWARDS25519, TOKEN_SIGNS);
    const struct token_key key = asym_key(pair);
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        const struct span input = span_of(message, lengths[i]);

        CHECK_OK(token_sign(rig->token, TOKEN_EDWARDS25519, &key, TOKEN_ED25519, input, &signature,
                            &err),
                 err);
        CHECK(ossl_verifies(&pair->public_key, TOKEN_ED25519, input,
                            span_of(signature.bytes, signature.len)));
    }
    CHECK_FAILS(token_sign(rig->token, TOKEN_EDWARDS25519, &key, TOKEN_ED25519, SPAN_ARRAY(message),
                           &signature, &err),
                err, KMS_ERR_VALIDATION);
}

static void test_asym_wrong_digest_lengths(void **state)
{
    static const size_t lengths[] = { 0, 1, 20, 28, 31, 32, 33, 47, 48, 49, 63, 64, 65, 72 };
    static const uint8_t digest[72] = { 1 };
    struct asym_rig *const rig = *state;
    struct token_signature signature;
    struct kms_error err = { 0 };

    FOR_KINDS(kind)
    {
        for (enum token_algorithm a = TOKEN_RSA_PKCS1_SHA256; a <= TOKEN_ECDSA; a++) {
            if (asym_support(rig, kind, a) != TOKEN_WITHIN)
                continue;
            const struct token_key key = asym_key(asym_pair(rig, kind, TOKEN_SIGNS));
            uint8_t room[64];
            const size_t right = ossl_digest(kind, a, TEXT, room).len;
            for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
                if (lengths[i] != right)
                    CHECK_FAILS(token_sign(rig->token, kind, &key, a, span_of(digest, lengths[i]),
                                           &signature, &err),
                                err, KMS_ERR_VALIDATION);
        }
    }
}

/* An algorithm of another kind of key, or one that does not sign. */
static void test_asym_sign_wrong_algorithm(void **state)
{
    static const uint8_t digest[32] = { 1 };
    static const struct {
        enum token_kind kind;
        enum token_algorithm algorithm;
    } rows[] = {
        { TOKEN_P256, TOKEN_RSA_PSS_SHA256 },
        { TOKEN_P256, TOKEN_ED25519 },
        { TOKEN_P256, TOKEN_ECDH },
        { TOKEN_RSA_2048, TOKEN_ECDSA },
        { TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA1 },
        { TOKEN_RSA_2048, TOKEN_MAC },
    };
    struct asym_rig *const rig = *state;
    struct token_signature signature;
    struct kms_error err = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct token_key key = asym_key(asym_pair(rig, rows[i].kind, TOKEN_SIGNS));

        CHECK_FAILS(token_sign(rig->token, rows[i].kind, &key, rows[i].algorithm,
                               SPAN_ARRAY(digest), &signature, &err),
                    err, KMS_ERR_UNSUPPORTED);
    }
}

/* What a pair must refuse */

/* Each pair of the rig, used for what another pair of its kind is for. */
static void test_asym_cross_use(void **state)
{
    static const uint8_t digest[64] = { 1 };
    struct asym_rig *const rig = *state;
    struct token_signature signature;
    struct token_status before, after;
    struct kms_error err = { 0 };
    AUTO(secret) out = { 0 };
    uint8_t sealed[256] = { 0, 1 };

    token_status(rig->token, &before);
    for (enum token_kind kind = TOKEN_P256; kind <= TOKEN_P521; kind++) {
        const struct token_key agrees = asym_key(asym_pair(rig, kind, TOKEN_AGREES));
        const struct token_key signs = asym_key(asym_pair(rig, kind, TOKEN_SIGNS));
        const size_t len = kind == TOKEN_P256 ? 32 : kind == TOKEN_P384 ? 48 : 64;

        CHECK(token_sign(rig->token, kind, &agrees, TOKEN_ECDSA, span_of(digest, len), &signature,
                         &err) < 0);
        kms_error_clear(&err);
#ifndef ASYM_ON_NSS /* which lets any curve key agree */
        CHECK(token_agree(rig->token, kind, &signs, agrees.canary, &out, &err) < 0);
        kms_error_clear(&err);
#endif
        (void)signs;
    }
    const struct token_key signs = asym_key(asym_pair(rig, TOKEN_RSA_2048, TOKEN_SIGNS));
    const struct token_key decrypts = asym_key(asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS));
    CHECK(token_rsa_decrypt(rig->token, TOKEN_RSA_2048, &signs, TOKEN_RSA_OAEP_SHA1,
                            SPAN_ARRAY(sealed), &out, &err) < 0);
    CHECK(err.code != KMS_ERR_INVALID_CIPHERTEXT);
    kms_error_clear(&err);
    CHECK(token_sign(rig->token, TOKEN_RSA_2048, &decrypts, TOKEN_RSA_PKCS1_SHA256,
                     span_of(digest, 32), &signature, &err) < 0);
    kms_error_clear(&err);
    CHECK(out.ptr == NULL);
    token_status(rig->token, &after);
    CHECK(after.available);
}

/* Another public key, another kind of key or none at all under the id. */
static void test_asym_wrong_canary(void **state)
{
    static const uint8_t digest[32] = { 1 };
    struct asym_rig *const rig = *state;
    const struct asym_pair pair = asym_make(rig, TOKEN_P256, TOKEN_SIGNS),
                           other = asym_make(rig, TOKEN_P256, TOKEN_SIGNS),
                           agrees = asym_make(rig, TOKEN_P256, TOKEN_AGREES),
                           agrees_too = asym_make(rig, TOKEN_P256, TOKEN_AGREES),
                           rsa = asym_make(rig, TOKEN_RSA_2048, TOKEN_SIGNS);
    const struct asym_mac_key mac = asym_make_mac(rig, TOKEN_HMAC_256),
                              mac_too = asym_make_mac(rig, TOKEN_HMAC_256);
    const struct token_key names[] = {
        { pair.id, token_public_span(&other.public_key) },
        { agrees.id, token_public_span(&pair.public_key) },
        { rsa.id, token_public_span(&pair.public_key) },
        { mac.id, token_public_span(&pair.public_key) },
        { uuid_random(), token_public_span(&pair.public_key) },
        { pair.id, TEXT },
    };
    const struct token_key
        wrong_agree = { agrees.id, token_public_span(&agrees_too.public_key) },
        wrong_rsa = { rsa.id,
                      token_public_span(&asym_pair(rig, TOKEN_RSA_2048, TOKEN_SIGNS)->public_key) },
        wrong_mac = { mac.id, SPAN_ARRAY(mac_too.canary) };
    struct token_signature signature;
    struct kms_error err = { 0 };
    AUTO(secret) out = { 0 };
    struct token_mac made;

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        CHECK_FAILS(token_sign(rig->token, TOKEN_P256, &names[i], TOKEN_ECDSA, SPAN_ARRAY(digest),
                               &signature, &err),
                    err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_agree(rig->token, TOKEN_P256, &wrong_agree,
                            token_public_span(&pair.public_key), &out, &err),
                err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_sign(rig->token, TOKEN_RSA_2048, &wrong_rsa, TOKEN_RSA_PSS_SHA256,
                           SPAN_ARRAY(digest), &signature, &err),
                err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_mac(rig->token, TOKEN_HMAC_256, &wrong_mac, TEXT, &made, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    const struct token_key right = asym_key(&pair);
    CHECK_OK(token_sign(rig->token, TOKEN_P256, &right, TOKEN_ECDSA, SPAN_ARRAY(digest), &signature,
                        &err),
             err);
}

/* A caller's mistake about the kind of a key in use harms nobody else. */
static void test_asym_wrong_kind(void **state)
{
    static const uint8_t digest[64] = { 1 };
    struct asym_rig *const rig = *state;
    const struct token_key key = asym_key(asym_pair(rig, TOKEN_P256, TOKEN_SIGNS)),
                           rsa = asym_key(asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS));
    struct token_signature signature;
    struct token_status status;
    struct kms_error err = { 0 };
    AUTO(secret) out = { 0 };

    CHECK_OK(token_sign(rig->token, TOKEN_P256, &key, TOKEN_ECDSA, span_of(digest, 32), &signature,
                        &err),
             err);
    CHECK_FAILS(token_sign(rig->token, TOKEN_P384, &key, TOKEN_ECDSA, span_of(digest, 48),
                           &signature, &err),
                err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_rsa_decrypt(rig->token, TOKEN_RSA_3072, &rsa, TOKEN_RSA_OAEP_SHA1,
                                  SPAN_ARRAY(digest), &out, &err),
                err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_agree(rig->token, TOKEN_P384, &key, key.canary, &out, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    token_status(rig->token, &status);
    CHECK(status.available);
}

static void test_asym_verify_finds_the_wrong_key(void **state)
{
    struct asym_rig *const rig = *state;
    const struct asym_pair pair = asym_make(rig, TOKEN_P256, TOKEN_SIGNS),
                           other = asym_make(rig, TOKEN_P256, TOKEN_SIGNS);
    const struct span key = token_public_span(&pair.public_key);
    struct token_public got;
    struct kms_error err = { 0 };

    CHECK_FAILS(token_pair_verify(rig->token, TOKEN_P256, TOKEN_SIGNS, &pair.id,
                                  token_public_span(&other.public_key), &err),
                err, KMS_ERR_INTEGRITY);
    CHECK_FAILS(token_pair_verify(rig->token, TOKEN_P256, TOKEN_AGREES, &pair.id, key, &err), err,
                KMS_ERR_INTEGRITY);
    CHECK_FAILS(token_pair_verify(rig->token, TOKEN_P384, TOKEN_SIGNS, &pair.id, key, &err), err,
                KMS_ERR_INTEGRITY);
    CHECK_FAILS(token_pair_verify(rig->token, TOKEN_RSA_2048, TOKEN_SIGNS, &pair.id, key, &err),
                err, KMS_ERR_INTEGRITY);
    CHECK_FAILS(token_pair_public(rig->token, TOKEN_P384, TOKEN_SIGNS, &pair.id, &got, &err), err,
                KMS_ERR_INTEGRITY);
    CHECK_OK(token_pair_verify(rig->token, TOKEN_P256, TOKEN_SIGNS, &pair.id, key, &err), err);
}

static void test_asym_destroyed(void **state)
{
    static const uint8_t digest[32] = { 1 };
    struct asym_rig *const rig = *state;
    const struct asym_pair pair = asym_make(rig, TOKEN_P256, TOKEN_SIGNS);
    const struct token_key key = asym_key(&pair);
    struct token_signature signature;
    struct token_status before, after;
    struct token_public got;
    struct kms_error err = { 0 };

    CHECK_OK(
        token_sign(rig->token, TOKEN_P256, &key, TOKEN_ECDSA, SPAN_ARRAY(digest), &signature, &err),
        err);
    token_status(rig->token, &before);
    CHECK_OK(token_key_destroy(rig->token, &pair.id, &err), err);
    CHECK_OK(token_key_destroy(rig->token, &pair.id, &err), err);
    token_status(rig->token, &after);
    assert_int_equal(after.keys, before.keys - 1);
    CHECK_FAILS(
        token_sign(rig->token, TOKEN_P256, &key, TOKEN_ECDSA, SPAN_ARRAY(digest), &signature, &err),
        err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_pair_public(rig->token, TOKEN_P256, TOKEN_SIGNS, &pair.id, &got, &err), err,
                KMS_ERR_NOT_FOUND);
}

/* A second key under an id is never chosen between. */
static void test_asym_id_twice(void **state)
{
    static const uint8_t digest[32] = { 1 };
    struct asym_rig *const rig = *state;
    const struct asym_pair pair = asym_make(rig, TOKEN_P256, TOKEN_SIGNS);
    const struct token_key key = asym_key(&pair);
    uint8_t none[TOKEN_CANARY_LEN];
    struct token_signature signature;
    struct kms_error err = { 0 };

    CHECK_OK(token_key_generate(rig->token, TOKEN_HMAC, &pair.id, "m", none, &err), err);
    token_close(rig->token);
    CHECK_OK(token_open(&rig->config, &rig->token, &err), err);
    CHECK_FAILS(
        token_sign(rig->token, TOKEN_P256, &key, TOKEN_ECDSA, SPAN_ARRAY(digest), &signature, &err),
        err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK_FAILS(token_pair_verify(rig->token, TOKEN_P256, TOKEN_SIGNS, &pair.id, key.canary, &err),
                err, KMS_ERR_INTEGRITY);
    CHECK_OK(token_key_destroy(rig->token, &pair.id, &err), err);
}

struct seen_id {
    const struct uuid *wanted;
    unsigned matches;
};

static int list_one(void *arg, const struct uuid *id, const char *label, struct kms_error *err)
{
    struct seen_id *const listing = arg;

    (void)err;
    if (uuid_equal(id, listing->wanted)) {
        listing->matches++;
        assert_string_equal(label, "hsmkms:pair");
    }
    return 0;
}

/* The public half is not listed, and everything is found again at the next start. */
static void test_asym_reopen_and_inventory(void **state)
{
    static const uint8_t digest[32] = { 1 };
    struct asym_rig *const rig = *state;
    const struct asym_pair pair = asym_make(rig, TOKEN_P256, TOKEN_SIGNS);
    const struct token_key key = asym_key(&pair);
    struct seen_id listing = { .wanted = &pair.id };
    struct token_signature signature;
    struct token_status status;
    struct kms_error err = { 0 };

    token_close(rig->token);
    CHECK_OK(token_open(&rig->config, &rig->token, &err), err);
    CHECK_OK(
        token_sign(rig->token, TOKEN_P256, &key, TOKEN_ECDSA, SPAN_ARRAY(digest), &signature, &err),
        err);
    CHECK(ossl_verifies(&pair.public_key, TOKEN_ECDSA, SPAN_ARRAY(digest),
                        span_of(signature.bytes, signature.len)));
    CHECK_OK(token_inventory(rig->token, list_one, &listing, &err), err);
    assert_int_equal(listing.matches, 1);
    token_status(rig->token, &status);
    assert_int_equal(status.objects_ignored, 0);
}

/* Whoever is logged in beside us gets nothing out either. Learnt refusals are tried by verify. */
static void test_asym_extraction(void **state)
{
    struct asym_rig *const rig = *state;

    FOR_KINDS(kind)
    {
        for (enum token_use use = 0; use < TOKEN_USES; use++) {
            if (!asym_can(rig, kind, use))
                continue;
            const struct asym_pair *const pair = asym_pair(rig, kind, use);
            const struct object *const object = object_lookup(&rig->token->cache, &pair->id);
            uint8_t part[600];
            CK_ATTRIBUTE want = { kind <= TOKEN_RSA_4096 ? CKA_PRIVATE_EXPONENT : CKA_VALUE, part,
                                  sizeof(part) };
            CHECK(P11_TRY(&rig->token->manage, C_GetAttributeValue, object->handle, &want, 1) !=
                  CKR_OK);
#ifndef ASYM_ON_NSS
            CHECK(strict_wrap(&rig->token->manage, object->handle, rig->token->probe.wrapper) !=
                  CKR_OK);
#endif
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asym_capabilities),
        cmocka_unit_test(test_asym_known_token),
        cmocka_unit_test(test_asym_every_kind_generates),
        cmocka_unit_test(test_asym_generate_refuses),
        cmocka_unit_test(test_asym_signatures_verify),
        cmocka_unit_test(test_asym_short_numbers),
        cmocka_unit_test(test_asym_ed25519_lengths),
        cmocka_unit_test(test_asym_wrong_digest_lengths),
        cmocka_unit_test(test_asym_sign_wrong_algorithm),
        cmocka_unit_test(test_asym_cross_use),
        cmocka_unit_test(test_asym_wrong_canary),
        cmocka_unit_test(test_asym_wrong_kind),
        cmocka_unit_test(test_asym_verify_finds_the_wrong_key),
        cmocka_unit_test(test_asym_destroyed),
        cmocka_unit_test(test_asym_id_twice),
        cmocka_unit_test(test_asym_reopen_and_inventory),
        cmocka_unit_test(test_asym_extraction),
    };

    return run_group(tests, ARRAY_LEN(tests), asym_setup, asym_teardown, NULL);
}
