#include "hsmkms/crypto/aead.h"

#include <limits.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

struct cipher {
    EVP_CIPHER_CTX *ctx;
};

static void cipher_done(struct cipher *cipher)
{
    EVP_CIPHER_CTX_free(cipher->ctx);
}

static int fail(struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "AES-GCM failed in OpenSSL");
}

/* Keyed, with the IV set and the AAD taken in. */
static int cipher_init(struct cipher *ret, struct span key, const uint8_t *iv, struct span aad,
                       bool encrypt, struct kms_error *err)
{
    int len = 0;

    if (key.len != AEAD_KEY_LEN || aad.len > INT_MAX)
        return fail(err);
    ret->ctx = EVP_CIPHER_CTX_new();
    if (ret->ctx == NULL ||
        EVP_CipherInit_ex(ret->ctx, EVP_aes_256_gcm(), NULL, key.ptr, iv, encrypt) != 1 ||
        (aad.len && EVP_CipherUpdate(ret->ctx, NULL, &len, aad.ptr, (int)aad.len) != 1))
        return fail(err);
    return 0;
}

int aead_seal(struct span key, struct span aad, struct span plain, struct buf *ret,
              struct kms_error *err)
{
    AUTO(cipher) cipher = { 0 };
    int len = 0, rest = 0;

    if (plain.len > INT_MAX / 2)
        return fail(err);
    uint8_t *const iv = buf_room(ret, AEAD_IV_LEN + plain.len + AEAD_TAG_LEN);
    if (buf_check(ret, err) < 0)
        return -1;
    uint8_t *const sealed = iv + AEAD_IV_LEN;
    if (RAND_bytes(iv, AEAD_IV_LEN) != 1)
        return fail(err);
    if (cipher_init(&cipher, key, iv, aad, true, err) < 0)
        return -1;
    if (EVP_CipherUpdate(cipher.ctx, sealed, &len, plain.ptr, (int)plain.len) != 1 ||
        EVP_CipherFinal_ex(cipher.ctx, sealed + len, &rest) != 1 ||
        EVP_CIPHER_CTX_ctrl(cipher.ctx, EVP_CTRL_GCM_GET_TAG, AEAD_TAG_LEN,
                            sealed + plain.len) != 1)
        return fail(err);
    return 0;
}

int aead_open(struct span key, struct span aad, struct span sealed, struct secret *ret,
              struct kms_error *err)
{
    AUTO(cipher) cipher = { 0 };
    AUTO(secret) plain = { 0 };
    uint8_t tag[AEAD_TAG_LEN];
    int len = 0, rest = 0;

    if (sealed.len <= AEAD_IV_LEN + AEAD_TAG_LEN || sealed.len > INT_MAX / 2)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    const size_t plain_len = sealed.len - AEAD_IV_LEN - AEAD_TAG_LEN;
    const uint8_t *const body = sealed.ptr + AEAD_IV_LEN;
    memcpy(tag, body + plain_len, sizeof(tag));
    if (secret_new(&plain, plain_len, err) < 0 ||
        cipher_init(&cipher, key, sealed.ptr, aad, false, err) < 0)
        return -1;
    if (EVP_CipherUpdate(cipher.ctx, plain.ptr, &len, body, (int)plain_len) != 1 ||
        EVP_CIPHER_CTX_ctrl(cipher.ctx, EVP_CTRL_GCM_SET_TAG, AEAD_TAG_LEN, tag) != 1)
        return fail(err);
    if (EVP_CipherFinal_ex(cipher.ctx, plain.ptr + len, &rest) != 1)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    *ret = secret_take(&plain);
    return 0;
}
