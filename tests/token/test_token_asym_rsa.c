/* RSA decryption: OAEP in the token or raw with OpenSSL's padding; every bad ciphertext is alike.
 */

#define OPENSSL_SUPPRESS_DEPRECATED    /* the padding alone, without an RSA operation, has no newer \
                                          name */

#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "tests/support/asym_rig.h"

#define TEXT SPAN_LITERAL("attack at dawn")

static const struct oaep {
    enum token_algorithm algorithm;
    const EVP_MD *(*hash)(void);
    size_t hash_len;
} oaeps[] = {
    { TOKEN_RSA_OAEP_SHA1, EVP_sha1, 20 },
    { TOKEN_RSA_OAEP_SHA256, EVP_sha256, 32 },
};

/* Opens in the token, or raw there and the rest as the floors above would do it. */
static int unseal(struct asym_rig *rig, enum token_kind kind, const struct oaep *oaep,
                  struct span sealed, struct secret *ret, struct kms_error *err)
{
    const struct token_key key = asym_key(asym_pair(rig, kind, TOKEN_DECRYPTS));
    AUTO(secret) padded = { 0 }, plain = { 0 };

    if (asym_support(rig, kind, oaep->algorithm) == TOKEN_WITHIN)
        return token_rsa_decrypt(rig->token, kind, &key, oaep->algorithm, sealed, ret, err);
    if (token_rsa_raw(rig->token, kind, &key, TOKEN_DECRYPTS, sealed, &padded, err) < 0)
        return -1;
    CHECK(secret_new(&plain, padded.len, err) == 0);
    const int len =
        RSA_padding_check_PKCS1_OAEP_mgf1(plain.ptr, (int)plain.len, padded.ptr, (int)padded.len,
                                          (int)padded.len, NULL, 0, oaep->hash(), oaep->hash());
    if (len < 0)
        return kms_fail_detail(err, KMS_ERR_INVALID_CIPHERTEXT, "padding");
    secret_shorten(&plain, (size_t)len);
    *ret = secret_take(&plain);
    return 0;
}

static size_t modulus_len(enum token_kind kind)
{
    return kind == TOKEN_RSA_2048 ? 256 : kind == TOKEN_RSA_3072 ? 384 : 512;
}

static void test_rsa_oaep_opens(void **state)
{
    static const uint8_t message[TOKEN_RSA_MAX] = "message";
    struct asym_rig *const rig = *state;
    uint8_t sealed[TOKEN_RSA_MAX];
    struct kms_error err = { 0 };

    for (enum token_kind kind = TOKEN_RSA_2048; kind <= TOKEN_RSA_4096; kind++)
        for (size_t o = 0; o < ARRAY_LEN(oaeps); o++) {
            const size_t most = modulus_len(kind) - 2 * oaeps[o].hash_len - 2;
            const size_t lengths[] = { 0, 1, 32, most - 1, most };

            for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
                const struct span plain = span_of(message, lengths[i]);
                AUTO(secret) opened = { 0 };

                ossl_encrypt(&asym_pair(rig, kind, TOKEN_DECRYPTS)->public_key, oaeps[o].algorithm,
                             plain, sealed);
                CHECK_OK(
                    unseal(rig, kind, &oaeps[o], span_of(sealed, modulus_len(kind)), &opened, &err),
                    err);
                CHECK_SPAN(secret_span(&opened), plain);
            }
        }
}

static void must_not_open(struct asym_rig *rig, const struct oaep *oaep, struct span sealed)
{
    struct kms_error err = { 0 };
    AUTO(secret) opened = { 0 };

    CHECK(unseal(rig, TOKEN_RSA_2048, oaep, sealed, &opened, &err) < 0);
    assert_int_equal(err.code, KMS_ERR_INVALID_CIPHERTEXT);
    assert_string_equal(err.message, ""); /* the same words for all: none */
    CHECK(opened.ptr == NULL);
}

static void test_rsa_oaep_tampered(void **state)
{
    struct asym_rig *const rig = *state;
    struct token_status before, after;
    uint8_t sealed[256 + 1];

    (void)asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS);
    for (size_t o = 0; o < ARRAY_LEN(oaeps); o++) {
        (void)asym_support(rig, TOKEN_RSA_2048, oaeps[o].algorithm);
        ossl_encrypt(&asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS)->public_key,
                     oaeps[o].algorithm, TEXT, sealed);
        token_status(rig->token, &before);
        for (size_t i = 0; i < 256; i += 17) {
            sealed[i] ^= 0x40;
            must_not_open(rig, &oaeps[o], span_of(sealed, 256));
            sealed[i] ^= 0x40;
        }
        must_not_open(rig, &oaeps[o], span_of(sealed, 0));
        must_not_open(rig, &oaeps[o], span_of(sealed, 1));
        must_not_open(rig, &oaeps[o], span_of(sealed, 255));
        must_not_open(rig, &oaeps[o], span_of(sealed, 257));
        /* the other hash, which has another label digest */
        must_not_open(rig, &oaeps[1 - o], span_of(sealed, 256));
        token_status(rig->token, &after);
        assert_int_equal(after.sessions_replaced, before.sessions_replaced);
        assert_int_equal(after.errors, before.errors);
        CHECK(after.available);
    }
}

/* Numbers at the edge: 0, 1, modulus - 1, modulus, modulus + 1, all ones. */
static void test_rsa_edge_numbers(void **state)
{
    struct asym_rig *const rig = *state;
    const struct span n =
        token_public_modulus(&asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS)->public_key);
    uint8_t number[256] = { 0 };

    for (size_t o = 0; o < ARRAY_LEN(oaeps); o++) {
        memset(number, 0, sizeof(number));
        must_not_open(rig, &oaeps[o], SPAN_ARRAY(number));
        number[255] = 1;
        must_not_open(rig, &oaeps[o], SPAN_ARRAY(number));
        memcpy(number, n.ptr, n.len);
        must_not_open(rig, &oaeps[o], SPAN_ARRAY(number));
        number[255] = (uint8_t)(number[255] - 1); /* a modulus is odd */
        must_not_open(rig, &oaeps[o], SPAN_ARRAY(number));
        number[255] = (uint8_t)(number[255] + 1);
        number[254] = (uint8_t)(number[254] | 1);
        number[253] = 0xff;
        number[0] = 0xff;
        must_not_open(rig, &oaeps[o], SPAN_ARRAY(number));
        memset(number, 0xff, sizeof(number));
        must_not_open(rig, &oaeps[o], SPAN_ARRAY(number));
    }
}

/* Encoded messages that are wrong in one thing each, encrypted by the bare public operation. */
struct bad_padding {
    const char *what;
    size_t at; /* byte of EM, or of DB where in_db */
    bool in_db;
    uint8_t value;
};

static void mask(uint8_t *bytes, size_t len, const uint8_t *seed, size_t seed_len,
                 const EVP_MD *hash)
{
    uint8_t stream[TOKEN_RSA_MAX];

    CHECK(PKCS1_MGF1(stream, (long)len, seed, (long)seed_len, hash) == 0);
    for (size_t i = 0; i < len; i++)
        bytes[i] ^= stream[i];
}

/* RFC 8017, section 7.1.1, with one byte changed before masking. */
static void encode(uint8_t em[256], const struct oaep *oaep, const struct bad_padding *bad)
{
    const size_t h = oaep->hash_len, db_len = 256 - 1 - h;
    uint8_t *const seed = em + 1, *const db = em + 1 + h;

    memset(em, 0, 256);
    CHECK(RAND_bytes(seed, (int)h) == 1);
    CHECK(EVP_Digest("", 0, db, NULL, oaep->hash(), NULL) == 1);
    memcpy(db + db_len - TEXT.len, TEXT.ptr, TEXT.len);
    db[db_len - TEXT.len - 1] = 1;
    if (bad && bad->in_db)
        db[bad->at] = (uint8_t)(db[bad->at] ^ bad->value);
    mask(db, db_len, seed, h, oaep->hash());
    mask(seed, h, db, db_len, oaep->hash());
    if (bad && !bad->in_db)
        em[bad->at] ^= bad->value;
}

static void encrypt_raw(const struct token_public *key, const uint8_t em[256], uint8_t ret[256])
{
    EVP_PKEY *const pkey = ossl_public(key);
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new(pkey, NULL);
    size_t len = 256;

    CHECK(EVP_PKEY_encrypt_init(ctx) == 1);
    CHECK(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1);
    CHECK(EVP_PKEY_encrypt(ctx, ret, &len, em, 256) == 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

static void test_rsa_oaep_bad_paddings(void **state)
{
    struct asym_rig *const rig = *state;
    const struct token_public *const key =
        &asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS)->public_key;
    uint8_t em[256], sealed[256];
    struct kms_error err = { 0 };

    for (size_t o = 0; o < ARRAY_LEN(oaeps); o++) {
        const size_t h = oaeps[o].hash_len, db_len = 256 - 1 - h;
        const struct bad_padding rows[] = {
            { "first byte 1, what Manger asks", 0, false, 1 },
            { "first byte 2", 0, false, 2 },
            { "seed", 1, false, 1 },
            { "label digest, first byte", 0, true, 1 },
            { "label digest, last byte", h - 1, true, 0x80 },
            { "padding not zero", h, true, 2 },
            { "padding not zero before the end", db_len - TEXT.len - 2, true, 0x10 },
            { "no separator", db_len - TEXT.len - 1, true, 1 },
            { "another separator", db_len - TEXT.len - 1, true, 3 },
        };
        AUTO(secret) opened = { 0 };

        encode(em, &oaeps[o], NULL);
        encrypt_raw(key, em, sealed);
        CHECK_OK(unseal(rig, TOKEN_RSA_2048, &oaeps[o], SPAN_ARRAY(sealed), &opened, &err), err);
        CHECK_SPAN(secret_span(&opened), TEXT);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            encode(em, &oaeps[o], &rows[i]);
            em[0] &= 0x3f; /* stays below the modulus */
            encrypt_raw(key, em, sealed);
            must_not_open(rig, &oaeps[o], SPAN_ARRAY(sealed));
        }
    }
}

/* Raw is for what the token cannot pad, and for nothing else. */
static void test_rsa_raw_only_where_needed(void **state)
{
    struct asym_rig *const rig = *state;
    const struct token_key signs = asym_key(asym_pair(rig, TOKEN_RSA_2048, TOKEN_SIGNS)),
                           decrypts = asym_key(asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS)),
                           curve = asym_key(asym_pair(rig, TOKEN_P256, TOKEN_SIGNS));
    uint8_t input[256] = { 0, 1 };
    struct kms_error err = { 0 };
    AUTO(secret) out = { 0 };

    CHECK_FAILS(token_rsa_raw(rig->token, TOKEN_RSA_2048, &signs, TOKEN_SIGNS, SPAN_ARRAY(input),
                              &out, &err),
                err, KMS_ERR_UNSUPPORTED); /* both tokens pad all signatures */
    CHECK_FAILS(
        token_rsa_raw(rig->token, TOKEN_P256, &curve, TOKEN_SIGNS, SPAN_ARRAY(input), &out, &err),
        err, KMS_ERR_UNSUPPORTED);
    if (asym_support(rig, TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA256) == TOKEN_BY_RAW) {
        CHECK_FAILS(token_rsa_decrypt(rig->token, TOKEN_RSA_2048, &decrypts, TOKEN_RSA_OAEP_SHA256,
                                      SPAN_ARRAY(input), &out, &err),
                    err, KMS_ERR_UNSUPPORTED);
        CHECK_FAILS(token_rsa_raw(rig->token, TOKEN_RSA_2048, &decrypts, TOKEN_DECRYPTS,
                                  span_of(input, 255), &out, &err),
                    err, KMS_ERR_INVALID_CIPHERTEXT);
        CHECK_FAILS(token_rsa_raw(rig->token, TOKEN_RSA_2048, &decrypts, TOKEN_DECRYPTS,
                                  span_of(decrypts.canary.ptr, 256), &out, &err),
                    err, KMS_ERR_INVALID_CIPHERTEXT);
    } else {
        CHECK_FAILS(token_rsa_raw(rig->token, TOKEN_RSA_2048, &decrypts, TOKEN_DECRYPTS,
                                  SPAN_ARRAY(input), &out, &err),
                    err, KMS_ERR_UNSUPPORTED);
    }
    CHECK_FAILS(token_rsa_decrypt(rig->token, TOKEN_RSA_2048, &decrypts, TOKEN_RSA_PSS_SHA256,
                                  SPAN_ARRAY(input), &out, &err),
                err, KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(token_rsa_decrypt(rig->token, TOKEN_P256, &curve, TOKEN_RSA_OAEP_SHA1,
                                  SPAN_ARRAY(input), &out, &err),
                err, KMS_ERR_UNSUPPORTED);
}

/* One result in 256 begins with a zero more, which must not get lost. */
static void test_rsa_raw_keeps_zeros(void **state)
{
    struct asym_rig *const rig = *state;
    const struct asym_pair *const pair = asym_pair(rig, TOKEN_RSA_2048, TOKEN_DECRYPTS);
    const struct token_key key = asym_key(pair);
    uint8_t plain[256] = { 0 }, sealed[256];
    struct kms_error err = { 0 };

    if (asym_support(rig, TOKEN_RSA_2048, TOKEN_RSA_OAEP_SHA256) != TOKEN_BY_RAW)
        return;
    for (size_t zeros = 0; zeros < 256; zeros += 15) {
        AUTO(secret) opened = { 0 };

        memset(plain, 0, sizeof(plain));
        memset(plain + zeros, 0x21, sizeof(plain) - zeros);
        encrypt_raw(&pair->public_key, plain, sealed);
        CHECK_OK(token_rsa_raw(rig->token, TOKEN_RSA_2048, &key, TOKEN_DECRYPTS, SPAN_ARRAY(sealed),
                               &opened, &err),
                 err);
        CHECK_SPAN(secret_span(&opened), SPAN_ARRAY(plain));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rsa_oaep_opens),
        cmocka_unit_test(test_rsa_oaep_tampered),
        cmocka_unit_test(test_rsa_edge_numbers),
        cmocka_unit_test(test_rsa_oaep_bad_paddings),
        cmocka_unit_test(test_rsa_raw_only_where_needed),
        cmocka_unit_test(test_rsa_raw_keeps_zeros),
    };

    return run_group(tests, ARRAY_LEN(tests), asym_setup, asym_teardown, NULL);
}
