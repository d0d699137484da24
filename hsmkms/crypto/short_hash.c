#include "hsmkms/crypto/short_hash.h"

#include <sodium.h>

_Static_assert(sizeof(struct short_hash_key) == crypto_shorthash_KEYBYTES, "a key of SipHash");

struct short_hash_key short_hash_key_random(void)
{
    struct short_hash_key key;

    randombytes_buf(key.bytes, sizeof(key.bytes));
    return key;
}

uint64_t short_hash(const struct short_hash_key *key, struct span bytes)
{
    uint64_t hash;

    _Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "64 bits");
    (void)crypto_shorthash((uint8_t *)&hash, bytes.ptr, bytes.len, key->bytes); /* cannot fail */
    return hash;
}
