#include "hsmkms/crypto/public_key.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "hsmkms/crypto/openssl_key.h"

/* --- verifying -------------------------------------------------------------------------------- */

static bool prepare_rsa(EVP_PKEY_CTX *ctx, enum signature_scheme scheme, enum hash hash)
{
    const EVP_MD *const md = EVP_get_digestbyname(hash_name(hash));
    const int padding = scheme == SIGNATURE_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;

    if (EVP_PKEY_CTX_set_rsa_padding(ctx, padding) != 1 ||
        EVP_PKEY_CTX_set_signature_md(ctx, md) != 1)
        return false;
    return scheme != SIGNATURE_PSS ||
           (EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/* 1: is a signature; 0: is none; -1: could not be asked. */
static int verify_digest(EVP_PKEY *key, enum signature_scheme scheme, enum hash hash,
                         struct span digest, struct span signature)
{
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    int result = -1;

    if (ctx && EVP_PKEY_verify_init(ctx) == 1 &&
        (scheme == SIGNATURE_ECDSA || prepare_rsa(ctx, scheme, hash)))
        result = EVP_PKEY_verify(ctx, signature.ptr, signature.len, digest.ptr, digest.len) == 1;
    EVP_PKEY_CTX_free(ctx);
    return result;
}

static int verify_message(EVP_PKEY *key, struct span message, struct span signature)
{
    EVP_MD_CTX *const ctx = EVP_MD_CTX_new();
    int result = -1;

    if (ctx && EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1)
        result =
            EVP_DigestVerify(ctx, signature.ptr, signature.len, message.ptr, message.len) == 1;
    EVP_MD_CTX_free(ctx);
    return result;
}

int public_key_verify(const struct public_key *key, enum signature_scheme scheme, enum hash hash,
                      struct span input, struct span signature, bool *ret, struct kms_error *err)
{
    EVP_PKEY *const made = openssl_key_of(key);

    if (made == NULL)
        return openssl_failed(err, "a public key");
    const int result = scheme == SIGNATURE_ED25519
                           ? verify_message(made, input, signature)
                           : verify_digest(made, scheme, hash, input, signature);
    EVP_PKEY_free(made);
    if (result < 0)
        return openssl_failed(err, "verifying");
    ERR_clear_error(); /* what was wrong with a signature is nobody's business */
    *ret = result == 1;
    return 0;
}

/* --- encrypting ------------------------------------------------------------------------------- */

static bool encrypt_oaep(EVP_PKEY *key, enum hash hash, struct span plain, uint8_t *ret, size_t len)
{
    const EVP_MD *const md = EVP_get_digestbyname(hash_name(hash));
    EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    size_t written = len;

    const bool done = ctx && EVP_PKEY_encrypt_init(ctx) == 1 &&
                      EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
                      EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) == 1 &&
                      EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 &&
                      EVP_PKEY_encrypt(ctx, ret, &written, plain.ptr, plain.len) == 1 &&
                      written == len;
    EVP_PKEY_CTX_free(ctx);
    return done;
}

int public_key_encrypt(const struct public_key *key, enum hash hash, struct span plain,
                       struct buf *ret, struct kms_error *err)
{
    const size_t len = key->bytes.len - PUBLIC_EXPONENT_LEN;
    uint8_t *const room = buf_room(ret, len);

    if (buf_check(ret, err) < 0)
        return -1;
    EVP_PKEY *const made = openssl_key_of(key);
    const bool done = made && encrypt_oaep(made, hash, plain, room, len);
    EVP_PKEY_free(made);
    return done ? 0 : openssl_failed(err, "encrypting");
}

/* --- signatures of tokens --------------------------------------------------------------------- */

int ecdsa_signature_der(struct span r_and_s, struct buf *ret, struct kms_error *err)
{
    const int half = (int)(r_and_s.len / 2);
    ECDSA_SIG *const pair = ECDSA_SIG_new();
    BIGNUM *const r = BN_bin2bn(r_and_s.ptr, half, NULL);
    BIGNUM *const s = BN_bin2bn(r_and_s.ptr + half, half, NULL);

    if (pair == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(pair);
        return openssl_failed(err, "a signature");
    }
    const int len = i2d_ECDSA_SIG(pair, NULL); /* r and s are owned by the pair now */
    uint8_t *room = len > 0 ? buf_room(ret, (size_t)len) : NULL;
    const bool done = room && i2d_ECDSA_SIG(pair, &room) == len;
    ECDSA_SIG_free(pair);
    if (buf_check(ret, err) < 0)
        return -1;
    return done ? 0 : openssl_failed(err, "a signature");
}
