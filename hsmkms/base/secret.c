#include "hsmkms/base/secret.h"

#include <assert.h>

#include <openssl/crypto.h>

/* No secret is smaller than a cache line apart from its neighbours. */
#define SECRET_HEAP_MIN_BLOCK 64

int secret_heap_open(size_t bytes, struct kms_error *err)
{
    /* 1 = locked; 2 = usable but not locked, which is not what was asked for */
    if (CRYPTO_secure_malloc_init(bytes, SECRET_HEAP_MIN_BLOCK) != 1)
        return kms_fail_detail(err, KMS_ERR_CONFIG,
                               "cannot lock %zu bytes of memory; raise RLIMIT_MEMLOCK", bytes);
    return 0;
}

int secret_new(struct secret *ret, size_t len, struct kms_error *err)
{
    assert(ret->ptr == NULL && len > 0);
    uint8_t *const ptr = OPENSSL_secure_zalloc(len);
    if (ptr == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "secure heap is full (%zu bytes)", len);
    *ret = (struct secret){ ptr, len };
    return 0;
}

int secret_copy(struct secret *ret, struct span bytes, struct kms_error *err)
{
    if (secret_new(ret, bytes.len, err) < 0)
        return -1;
    memcpy(ret->ptr, bytes.ptr, bytes.len);
    return 0;
}

void secret_shorten(struct secret *secret, size_t len)
{
    assert(len <= secret->len);
    OPENSSL_cleanse(secret->ptr + len, secret->len - len);
    secret->len = len;
}

struct secret secret_take(struct secret *from)
{
    const struct secret taken = *from;

    *from = (struct secret){ 0 };
    return taken;
}

void secret_done(struct secret *secret)
{
    /* The heap wipes whole blocks by their real size, also after secret_shorten(); the ordinary
     * heap that tests use does not, hence the first line. */
    OPENSSL_cleanse(secret->ptr, secret->len);
    OPENSSL_secure_clear_free(secret->ptr, secret->len);
    *secret = (struct secret){ 0 };
}

void secret_wipe(void *ptr, size_t len)
{
    OPENSSL_cleanse(ptr, len);
}
