#include "hsmkms/crypto/openssl_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

static const char *const curves[PUBLIC_KINDS] = {
    [PUBLIC_P256] = "P-256",
    [PUBLIC_P384] = "P-384",
    [PUBLIC_P521] = "P-521",
    [PUBLIC_SECP256K1] = "secp256k1",
};

const char *openssl_curve(enum public_kind kind)
{
    return curves[kind];
}

int openssl_failed(struct kms_error *err, const char *what)
{
    char reason[120] = "no reason";
    const unsigned long code = ERR_peek_last_error();

    if (code)
        ERR_error_string_n(code, reason, sizeof(reason));
    ERR_clear_error();
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "OpenSSL: %s: %s", what, reason);
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;

    if (ctx && params && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params); /* key stays NULL */
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static EVP_PKEY *rsa_key(struct span bytes)
{
    const size_t len = bytes.len - PUBLIC_EXPONENT_LEN;
    BIGNUM *const n = BN_bin2bn(bytes.ptr, (int)len, NULL);
    BIGNUM *const e = BN_bin2bn(bytes.ptr + len, PUBLIC_EXPONENT_LEN, NULL);
    OSSL_PARAM_BLD *const builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;

    if (n && e && builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY *const key = key_from("RSA", params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *curve_key(enum public_kind kind, struct span point)
{
    /* both are only read */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curves[kind], 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point.ptr, point.len),
        OSSL_PARAM_construct_end()
    };
    return key_from("EC", params);
}

EVP_PKEY *openssl_key_of(const struct public_key *key)
{
    const struct span bytes = key->bytes;

    if (key->kind == PUBLIC_ED25519)
        return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, bytes.ptr, bytes.len);
    if (key->kind == PUBLIC_RSA)
        return bytes.len > PUBLIC_EXPONENT_LEN ? rsa_key(bytes) : NULL;
    return curve_key(key->kind, bytes);
}
