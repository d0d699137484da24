#include "hsmkms/crypto/key_unwrap.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#define BLOCK       8
#define WRAPPED_MAX 8192

/* Bytes that were wrapped; 0 when they do not belong to this key. */
static size_t open_into(EVP_CIPHER_CTX *ctx, struct span key, struct span wrapped, uint8_t *room)
{
    int len = 0, last = 0;

    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_DecryptInit_ex2(ctx, EVP_aes_256_wrap_pad(), key.ptr, NULL, NULL) != 1 ||
        EVP_DecryptUpdate(ctx, room, &len, wrapped.ptr, (int)wrapped.len) != 1 ||
        EVP_DecryptFinal_ex(ctx, room + len, &last) != 1)
        return 0;
    return (size_t)(len + last);
}

int key_unwrap(struct span key, struct span wrapped, struct secret *ret, struct kms_error *err)
{
    AUTO(secret) room = { 0 };

    if (key.len != KEY_UNWRAP_KEY_LEN || wrapped.len < 2 * BLOCK || wrapped.len > WRAPPED_MAX ||
        wrapped.len % BLOCK != 0)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    if (secret_new(&room, wrapped.len, err) < 0)
        return -1;
    EVP_CIPHER_CTX *const ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "OpenSSL: no cipher context");
    const size_t len = open_into(ctx, key, wrapped, room.ptr);
    EVP_CIPHER_CTX_free(ctx); /* wipes its key schedule */
    ERR_clear_error();
    if (len == 0)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    secret_shorten(&room, len);
    *ret = secret_take(&room);
    return 0;
}
