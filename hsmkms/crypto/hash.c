#include "hsmkms/crypto/hash.h"

#include <assert.h>

#include <openssl/evp.h>

static const struct {
    const char *name;
    size_t len;
} hashes[HASHES] = {
    [HASH_NONE] = { NULL, 0 },        [HASH_SHA1] = { "SHA1", 20 },
    [HASH_SHA224] = { "SHA224", 28 }, [HASH_SHA256] = { "SHA256", 32 },
    [HASH_SHA384] = { "SHA384", 48 }, [HASH_SHA512] = { "SHA512", 64 },
};

size_t hash_len(enum hash hash)
{
    return hashes[hash].len;
}

const char *hash_name(enum hash hash)
{
    assert(hash > HASH_NONE && hash < HASHES);
    return hashes[hash].name;
}

int hash_of(enum hash hash, struct span bytes, struct hash_value *ret, struct kms_error *err)
{
    struct hash_value value = { .len = hash_len(hash) };

    if (EVP_Q_digest(NULL, hash_name(hash), NULL, bytes.ptr, bytes.len, value.bytes, NULL) != 1)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "OpenSSL: %s failed", hash_name(hash));
    *ret = value;
    return 0;
}
