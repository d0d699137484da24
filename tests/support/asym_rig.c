#include "tests/support/asym_rig.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

/* Tokens */

#ifdef ASYM_ON_NSS

extern char **environ;

/* certutil reads the PIN from the file. */
static void make_database(const struct softhsm *s)
{
    char where[300];
    int status = -1;
    pid_t pid = 0;

    (void)snprintf(where, sizeof(where), "sql:%s", s->dir);
    const char *const args[] = { "certutil", "-N", "-d", where, "-f", s->pin_file, NULL };
    CHECK(posix_spawnp(&pid, "certutil", NULL, NULL, (char **)(uintptr_t)args, environ) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void token_begin(struct asym_rig *rig)
{
    struct softhsm *const s = &rig->softhsm;

    test_dir_make(s->dir, sizeof(s->dir));
    (void)snprintf(s->state, sizeof(s->state), "%s", s->dir);
    (void)snprintf(s->pin_file, sizeof(s->pin_file), "%s/pin", s->dir);
    test_pin_make(s->pin);
    softhsm_write_pin(s, s->pin);
    make_database(s);
    (void)snprintf(
        rig->init_args, sizeof(rig->init_args),
        "configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=", s->dir);
    rig->config = (struct token_config){ .module = ASYM_ON_NSS,
                                         .uri = "pkcs11:token=NSS%20Certificate%20DB",
                                         .init_args = rig->init_args,
                                         .pin_file = s->pin_file,
                                         .state_dir = s->state,
                                         .sessions = 4,
                                         .call_time_ms = 60000,
                                         .accept_extractable = true };
}

#else

/*
 * SoftHSM 2.6.1 loses the name of the curve, some 60 bytes, each time it loads an Ed25519 key. Its
 * part of the stack shows only to the slow way of unwinding.
 */
#ifdef __SANITIZE_ADDRESS__
const char *__asan_default_options(void);
const char *__lsan_default_suppressions(void);

const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void)
{
    return "leak:libsofthsm2.so";
}
#endif

static void token_begin(struct asym_rig *rig)
{
    softhsm_init(&rig->softhsm);
    rig->config = softhsm_config(&rig->softhsm);
    rig->config.call_time_ms = 60000; /* RSA-4096 under a sanitizer */
}

#endif

int asym_setup(void **state)
{
    struct asym_rig *const rig = calloc(1, sizeof(*rig));
    struct kms_error err = { 0 };

    token_begin(rig);
    CHECK_OK(token_open(&rig->config, &rig->token, &err), err);
    *state = rig;
    return 0;
}

int asym_teardown(void **state)
{
    struct asym_rig *const rig = *state;

    token_close(rig->token);
    test_dir_remove(rig->softhsm.dir);
    free(rig);
    return 0;
}

struct asym_pair asym_make(struct asym_rig *rig, enum token_kind kind, enum token_use use)
{
    struct asym_pair pair = { .made = true, .id = uuid_random() };
    struct kms_error err = { 0 };

    CHECK_OK(
        token_pair_generate(rig->token, kind, use, &pair.id, "hsmkms:pair", &pair.public_key, &err),
        err);
    return pair;
}

const struct asym_pair *asym_pair(struct asym_rig *rig, enum token_kind kind, enum token_use use)
{
    if (!rig->pairs[kind][use].made)
        rig->pairs[kind][use] = asym_make(rig, kind, use);
    return &rig->pairs[kind][use];
}

struct asym_mac_key asym_make_mac(struct asym_rig *rig, enum token_kind kind)
{
    struct asym_mac_key key = { .id = uuid_random() };
    struct kms_error err = { 0 };

    CHECK_OK(token_key_generate(rig->token, kind, &key.id, "hsmkms:mac", key.canary, &err), err);
    return key;
}

struct token_key asym_key(const struct asym_pair *pair)
{
    return (struct token_key){ pair->id, token_public_span(&pair->public_key) };
}

struct token_key asym_mac_name(const struct asym_mac_key *key)
{
    return (struct token_key){ key->id, SPAN_ARRAY(key->canary) };
}

enum token_support asym_support(struct asym_rig *rig, enum token_kind kind,
                                enum token_algorithm algorithm)
{
    enum token_support support = TOKEN_LACKS;
    struct kms_error err = { 0 };

    CHECK_OK(token_supports(rig->token, kind, algorithm, &support, &err), err);
    return support;
}

bool asym_can(struct asym_rig *rig, enum token_kind kind, enum token_use use)
{
    static const struct {
        enum token_algorithm first, last;
    } of_use[TOKEN_USES] = { { TOKEN_RSA_PKCS1_SHA256, TOKEN_ED25519 },
                             { TOKEN_RSA_OAEP_SHA1, TOKEN_RSA_OAEP_SHA256 },
                             { TOKEN_ECDH, TOKEN_ECDH } };

    for (enum token_algorithm i = of_use[use].first; i <= of_use[use].last; i++)
        if (asym_support(rig, kind, i) != TOKEN_LACKS)
            return true;
    return false;
}

/* OpenSSL */

static const char *group_of(enum token_kind kind)
{
    switch (kind) {
    case TOKEN_P256:
        return "prime256v1";
    case TOKEN_P384:
        return "secp384r1";
    case TOKEN_P521:
        return "secp521r1";
    default:
        return "secp256k1";
    }
}

static bool is_rsa(enum token_kind kind)
{
    return kind >= TOKEN_RSA_2048 && kind <= TOKEN_RSA_4096;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *const params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *made = NULL;

    CHECK(params && ctx && EVP_PKEY_fromdata_init(ctx) == 1);
    (void)EVP_PKEY_fromdata(ctx, &made, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    return made;
}

static EVP_PKEY *curve_public(enum token_kind kind, struct span point)
{
    OSSL_PARAM_BLD *const build = OSSL_PARAM_BLD_new();

    CHECK(OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group_of(kind), 0));
    CHECK(OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.ptr, point.len));
    return from_params("EC", build);
}

static EVP_PKEY *rsa_public(const struct token_public *key)
{
    const struct span n = token_public_modulus(key), e = token_public_exponent(key);
    OSSL_PARAM_BLD *const build = OSSL_PARAM_BLD_new();
    BIGNUM *const modulus = BN_bin2bn(n.ptr, (int)n.len, NULL);
    BIGNUM *const exponent = BN_bin2bn(e.ptr, (int)e.len, NULL);

    CHECK(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus));
    CHECK(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent));
    EVP_PKEY *const made = from_params("RSA", build);
    BN_free(modulus);
    BN_free(exponent);
    return made;
}

EVP_PKEY *ossl_public(const struct token_public *key)
{
    const struct span point = token_public_point(key);
    EVP_PKEY *made;

    if (is_rsa(key->kind))
        made = rsa_public(key);
    else if (key->kind == TOKEN_EDWARDS25519)
        made = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, point.ptr, point.len);
    else
        made = curve_public(key->kind, point);
    CHECK(made != NULL);
    return made;
}

static const EVP_MD *hash_of(enum token_kind kind, enum token_algorithm algorithm)
{
    switch (algorithm) {
    case TOKEN_RSA_PKCS1_SHA256:
    case TOKEN_RSA_PSS_SHA256:
    case TOKEN_RSA_OAEP_SHA256:
        return EVP_sha256();
    case TOKEN_RSA_PKCS1_SHA384:
    case TOKEN_RSA_PSS_SHA384:
        return EVP_sha384();
    case TOKEN_RSA_PKCS1_SHA512:
    case TOKEN_RSA_PSS_SHA512:
        return EVP_sha512();
    case TOKEN_RSA_OAEP_SHA1:
        return EVP_sha1();
    default:
        return kind == TOKEN_P384 ? EVP_sha384() : kind == TOKEN_P521 ? EVP_sha512() : EVP_sha256();
    }
}

struct span ossl_digest(enum token_kind kind, enum token_algorithm algorithm, struct span text,
                        uint8_t room[64])
{
    unsigned len = 0;

    if (algorithm == TOKEN_ED25519)
        return text;
    CHECK(EVP_Digest(text.ptr, text.len, room, &len, hash_of(kind, algorithm), NULL) == 1);
    return span_of(room, len);
}

/* r and s as ECDSA-Sig-Value of RFC 3279, which OpenSSL reads. */
static size_t ecdsa_der(struct span signature, uint8_t *room)
{
    const int half = (int)(signature.len / 2);
    ECDSA_SIG *const sig = ECDSA_SIG_new();

    CHECK(ECDSA_SIG_set0(sig, BN_bin2bn(signature.ptr, half, NULL),
                         BN_bin2bn(signature.ptr + half, half, NULL)) == 1);
    const int len = i2d_ECDSA_SIG(sig, &room);
    ECDSA_SIG_free(sig);
    CHECK(len > 0);
    return (size_t)len;
}

static bool ed25519_verifies(EVP_PKEY *key, struct span input, struct span signature)
{
    EVP_MD_CTX *const ctx = EVP_MD_CTX_new();

    CHECK(EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1);
    const bool good =
        EVP_DigestVerify(ctx, signature.ptr, signature.len, input.ptr, input.len) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static bool digest_verifies(EVP_PKEY *key, enum token_kind kind, enum token_algorithm algorithm,
                            struct span input, struct span signature)
{
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new(key, NULL);
    const bool pss = algorithm >= TOKEN_RSA_PSS_SHA256 && algorithm <= TOKEN_RSA_PSS_SHA512;

    CHECK(EVP_PKEY_verify_init(ctx) == 1);
    if (is_rsa(kind))
        CHECK(EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) ==
              1);
    if (pss)
        CHECK(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
    CHECK(EVP_PKEY_CTX_set_signature_md(ctx, hash_of(kind, algorithm)) == 1);
    const bool good = EVP_PKEY_verify(ctx, signature.ptr, signature.len, input.ptr, input.len) == 1;
    EVP_PKEY_CTX_free(ctx);
    return good;
}

bool ossl_verifies(const struct token_public *key, enum token_algorithm algorithm,
                   struct span input, struct span signature)
{
    EVP_PKEY *const pkey = ossl_public(key);
    uint8_t der[2 * 66 + 16];
    bool good;

    if (algorithm == TOKEN_ED25519)
        good = ed25519_verifies(pkey, input, signature);
    else if (algorithm == TOKEN_ECDSA)
        good = digest_verifies(pkey, key->kind, algorithm, input,
                               span_of(der, ecdsa_der(signature, der)));
    else
        good = digest_verifies(pkey, key->kind, algorithm, input, signature);
    EVP_PKEY_free(pkey);
    return good;
}

void ossl_encrypt(const struct token_public *key, enum token_algorithm algorithm, struct span plain,
                  uint8_t *ret)
{
    EVP_PKEY *const pkey = ossl_public(key);
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new(pkey, NULL);
    size_t len = token_public_modulus(key).len;

    CHECK(EVP_PKEY_encrypt_init(ctx) == 1);
    CHECK(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1);
    CHECK(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, hash_of(key->kind, algorithm)) == 1);
    CHECK(EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, hash_of(key->kind, algorithm)) == 1);
    CHECK(EVP_PKEY_encrypt(ctx, ret, &len, plain.ptr, plain.len) == 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
}

EVP_PKEY *ossl_curve_pair(enum token_kind kind, uint8_t *ret_point, size_t len)
{
    EVP_PKEY *const made = EVP_EC_gen(group_of(kind));
    size_t got = 0;

    CHECK(made != NULL);
    CHECK(EVP_PKEY_get_octet_string_param(made, OSSL_PKEY_PARAM_PUB_KEY, ret_point, len, &got) ==
          1);
    assert_int_equal(got, len);
    return made;
}

size_t ossl_agree(EVP_PKEY *own, const struct token_public *peer, uint8_t *ret_x)
{
    EVP_PKEY *const other = ossl_public(peer);
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new(own, NULL);
    size_t len = 66;

    CHECK(EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, other) == 1);
    CHECK(EVP_PKEY_derive(ctx, ret_x, &len) == 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(other);
    return len;
}
