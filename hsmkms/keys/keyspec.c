#include "hsmkms/keys/keyspec.h"

#include <assert.h>
#include <string.h>

/* clang-format off */
/* Names as in EncryptionAlgorithm, SigningAlgorithm, MacAlgorithm, KeyAgreementAlgorithm. */
static const struct algorithm
    symmetric    = { .name = "SYMMETRIC_DEFAULT" },
    oaep_sha1    = { .name = "RSAES_OAEP_SHA_1",   TOKEN_RSA_OAEP_SHA1,   HASH_SHA1 },
    oaep_sha256  = { .name = "RSAES_OAEP_SHA_256", TOKEN_RSA_OAEP_SHA256, HASH_SHA256 },
    pss_sha256   = { .name = "RSASSA_PSS_SHA_256", TOKEN_RSA_PSS_SHA256,  HASH_SHA256, SIGNATURE_PSS },
    pss_sha384   = { .name = "RSASSA_PSS_SHA_384", TOKEN_RSA_PSS_SHA384,  HASH_SHA384, SIGNATURE_PSS },
    pss_sha512   = { .name = "RSASSA_PSS_SHA_512", TOKEN_RSA_PSS_SHA512,  HASH_SHA512, SIGNATURE_PSS },
    pkcs1_sha256 = { .name = "RSASSA_PKCS1_V1_5_SHA_256", TOKEN_RSA_PKCS1_SHA256, HASH_SHA256, SIGNATURE_PKCS1 },
    pkcs1_sha384 = { .name = "RSASSA_PKCS1_V1_5_SHA_384", TOKEN_RSA_PKCS1_SHA384, HASH_SHA384, SIGNATURE_PKCS1 },
    pkcs1_sha512 = { .name = "RSASSA_PKCS1_V1_5_SHA_512", TOKEN_RSA_PKCS1_SHA512, HASH_SHA512, SIGNATURE_PKCS1 },
    ecdsa_sha256 = { .name = "ECDSA_SHA_256", TOKEN_ECDSA, HASH_SHA256, SIGNATURE_ECDSA },
    ecdsa_sha384 = { .name = "ECDSA_SHA_384", TOKEN_ECDSA, HASH_SHA384, SIGNATURE_ECDSA },
    ecdsa_sha512 = { .name = "ECDSA_SHA_512", TOKEN_ECDSA, HASH_SHA512, SIGNATURE_ECDSA },
    ed25519      = { .name = "ED25519_SHA_512", TOKEN_ED25519, HASH_NONE, SIGNATURE_ED25519, INPUT_RAW },
    ed25519_ph   = { .name = "ED25519_PH_SHA_512", TOKEN_ED25519, HASH_SHA512, SIGNATURE_ED25519, INPUT_DIGEST, .unoffered = true },
    ecdh         = { .name = "ECDH", TOKEN_ECDH },
    hmac_sha224  = { .name = "HMAC_SHA_224", TOKEN_MAC, HASH_SHA224 },
    hmac_sha256  = { .name = "HMAC_SHA_256", TOKEN_MAC, HASH_SHA256 },
    hmac_sha384  = { .name = "HMAC_SHA_384", TOKEN_MAC, HASH_SHA384 },
    hmac_sha512  = { .name = "HMAC_SHA_512", TOKEN_MAC, HASH_SHA512 },
    ml_dsa       = { .name = "ML_DSA_SHAKE_256", .unoffered = true },
    ml_kem       = { .name = "ML_KEM", .unoffered = true },
    sm2_pke      = { .name = "SM2PKE", .unoffered = true },
    sm2_dsa      = { .name = "SM2DSA", .unoffered = true };

#define ENCRYPTS(...) [USAGE_ENCRYPT_DECRYPT] = { __VA_ARGS__ }
#define SIGNS(...)    [USAGE_SIGN_VERIFY] = { __VA_ARGS__ }
#define MACS(...)     [USAGE_GENERATE_VERIFY_MAC] = { __VA_ARGS__ }
#define AGREES(...)   [USAGE_KEY_AGREEMENT] = { __VA_ARGS__ }
#define SEALS(...)    [USAGE_ENCAPSULATE_DECAPSULATE] = { __VA_ARGS__ }

#define RSA_ALGORITHMS \
    { ENCRYPTS(&oaep_sha1, &oaep_sha256), \
      SIGNS(&pkcs1_sha256, &pkcs1_sha384, &pkcs1_sha512, &pss_sha256, &pss_sha384, &pss_sha512) }

const struct keyspec keyspecs[] = {
    { "SYMMETRIC_DEFAULT", SPEC_AES,  TOKEN_AES_GCM,   0,                { ENCRYPTS(&symmetric) } },
    { "RSA_2048",          SPEC_PAIR, TOKEN_RSA_2048,  PUBLIC_RSA,       RSA_ALGORITHMS },
    { "RSA_3072",          SPEC_PAIR, TOKEN_RSA_3072,  PUBLIC_RSA,       RSA_ALGORITHMS },
    { "RSA_4096",          SPEC_PAIR, TOKEN_RSA_4096,  PUBLIC_RSA,       RSA_ALGORITHMS },
    { "ECC_NIST_P256",     SPEC_PAIR, TOKEN_P256,      PUBLIC_P256,      { SIGNS(&ecdsa_sha256), AGREES(&ecdh) } },
    { "ECC_NIST_P384",     SPEC_PAIR, TOKEN_P384,      PUBLIC_P384,      { SIGNS(&ecdsa_sha384), AGREES(&ecdh) } },
    { "ECC_NIST_P521",     SPEC_PAIR, TOKEN_P521,      PUBLIC_P521,      { SIGNS(&ecdsa_sha512), AGREES(&ecdh) } },
    { "ECC_SECG_P256K1",   SPEC_PAIR, TOKEN_SECP256K1, PUBLIC_SECP256K1, { SIGNS(&ecdsa_sha256) } },
    { "ECC_NIST_EDWARDS25519", SPEC_PAIR, TOKEN_EDWARDS25519, PUBLIC_ED25519, { SIGNS(&ed25519, &ed25519_ph) } },
    { "HMAC_224",          SPEC_MAC,  TOKEN_HMAC_224,  0,                { MACS(&hmac_sha224) } },
    { "HMAC_256",          SPEC_MAC,  TOKEN_HMAC_256,  0,                { MACS(&hmac_sha256) } },
    { "HMAC_384",          SPEC_MAC,  TOKEN_HMAC_384,  0,                { MACS(&hmac_sha384) } },
    { "HMAC_512",          SPEC_MAC,  TOKEN_HMAC_512,  0,                { MACS(&hmac_sha512) } },
    { "ML_DSA_44",         SPEC_UNOFFERED, 0,          0,                { SIGNS(&ml_dsa) } },
    { "ML_DSA_65",         SPEC_UNOFFERED, 0,          0,                { SIGNS(&ml_dsa) } },
    { "ML_DSA_87",         SPEC_UNOFFERED, 0,          0,                { SIGNS(&ml_dsa) } },
    { "ML_KEM_512",        SPEC_UNOFFERED, 0,          0,                { SEALS(&ml_kem) } },
    { "ML_KEM_768",        SPEC_UNOFFERED, 0,          0,                { SEALS(&ml_kem) } },
    { "ML_KEM_1024",       SPEC_UNOFFERED, 0,          0,                { SEALS(&ml_kem) } },
    { "SM2",               SPEC_UNOFFERED, 0,          0,                { ENCRYPTS(&sm2_pke), SIGNS(&sm2_dsa), AGREES(&ecdh) } },
};
/* clang-format on */

const size_t keyspec_count = ARRAY_LEN(keyspecs);

static const char *const usage_texts[SPEC_USAGES] = {
    [USAGE_ENCRYPT_DECRYPT] = "ENCRYPT_DECRYPT",
    [USAGE_SIGN_VERIFY] = "SIGN_VERIFY",
    [USAGE_GENERATE_VERIFY_MAC] = "GENERATE_VERIFY_MAC",
    [USAGE_KEY_AGREEMENT] = "KEY_AGREEMENT",
    [USAGE_ENCAPSULATE_DECAPSULATE] = "ENCAPSULATE_DECAPSULATE",
};

const struct keyspec *keyspec_find(const char *name)
{
    for (size_t i = 0; i < keyspec_count; i++)
        if (strcmp(keyspecs[i].name, name) == 0)
            return &keyspecs[i];
    return NULL;
}

const char *spec_usage_text(enum spec_usage usage)
{
    assert(usage < SPEC_USAGES);
    return usage_texts[usage];
}

bool spec_usage_parse(const char *text, enum spec_usage *ret)
{
    for (enum spec_usage usage = 0; usage < SPEC_USAGES; usage++) {
        if (strcmp(text, usage_texts[usage]) == 0) {
            *ret = usage;
            return true;
        }
    }
    return false;
}

bool keyspec_allows(const struct keyspec *spec, enum spec_usage usage)
{
    return spec->algorithms[usage][0] != NULL;
}

const struct algorithm *keyspec_algorithm(const struct keyspec *spec, enum spec_usage usage,
                                          const char *name)
{
    for (const struct algorithm *const *row = spec->algorithms[usage]; *row; row++)
        if (strcmp((*row)->name, name) == 0)
            return *row;
    return NULL;
}

unsigned keyspec_modulus_bits(const struct keyspec *spec)
{
    static const unsigned bits[TOKEN_KINDS] = { [TOKEN_RSA_2048] = 2048,
                                                [TOKEN_RSA_3072] = 3072,
                                                [TOKEN_RSA_4096] = 4096 };
    return bits[spec->kind];
}

enum token_use keyspec_token_use(enum spec_usage usage)
{
    static const enum token_use uses[SPEC_USAGES] = { [USAGE_ENCRYPT_DECRYPT] = TOKEN_DECRYPTS,
                                                      [USAGE_SIGN_VERIFY] = TOKEN_SIGNS,
                                                      [USAGE_KEY_AGREEMENT] = TOKEN_AGREES };
    return uses[usage];
}

/* Paddings of decryption can be undone outside; signatures are the token's or nobody's. */
static bool is_enough(enum spec_usage usage, enum token_support support)
{
    return support == TOKEN_WITHIN || (support == TOKEN_BY_RAW && usage == USAGE_ENCRYPT_DECRYPT);
}

/* The least that a token can do of the algorithms that a usage needs; LACKS < BY_RAW < WITHIN. */
static int least_support(struct token *token, const struct keyspec *spec, enum spec_usage usage,
                         enum token_support *ret, struct kms_error *err)
{
    *ret = TOKEN_WITHIN;
    for (const struct algorithm *const *row = spec->algorithms[usage]; *row; row++) {
        enum token_support support = TOKEN_LACKS;

        if ((*row)->unoffered)
            continue;
        if (token_supports(token, spec->kind, (*row)->token, &support, err) < 0)
            return -1;
        if (support < *ret)
            *ret = support;
    }
    return 0;
}

int keyspec_supported(struct token *token, const struct keyspec *spec, enum spec_usage usage,
                      bool *ret, struct kms_error *err)
{
    const bool offered = spec->type != SPEC_UNOFFERED && keyspec_allows(spec, usage);
    enum token_support least = TOKEN_WITHIN;

    /* a token that lacks AES is not opened */
    if (offered && spec->type != SPEC_AES && least_support(token, spec, usage, &least, err) < 0)
        return -1;
    *ret = offered && is_enough(usage, least);
    return 0;
}

int keyspec_pads_outside(struct token *token, const struct keyspec *spec, enum spec_usage usage,
                         bool *ret, struct kms_error *err)
{
    enum token_support least = TOKEN_WITHIN;

    if (spec->type == SPEC_PAIR && least_support(token, spec, usage, &least, err) < 0)
        return -1;
    *ret = least == TOKEN_BY_RAW;
    return 0;
}
