#include "hsmkms/crypto/oaep.h"

#define BLOCK_MAX 512 /* RSA-4096 */

/* --- words without branches: all ones for true, 0 for false ------------------------------------ */

static size_t mask_zero(size_t value)
{
    return (size_t)0 - ((~value & (value - 1)) >> (8 * sizeof(value) - 1));
}

static size_t mask_equal(size_t a, size_t b)
{
    return mask_zero(a ^ b);
}

/* --- MGF1 (RFC 8017, appendix B.2.1) ----------------------------------------------------------- */

/* target ^= MGF1(seed) */
static int unmask(enum hash hash, struct span seed, uint8_t *target, size_t len,
                  struct kms_error *err)
{
    AUTO(secret) input = { 0 };
    AUTO(secret) output = { 0 };
    const size_t step = hash_len(hash);

    if (secret_new(&input, seed.len + 4, err) < 0 ||
        secret_new(&output, sizeof(struct hash_value), err) < 0)
        return -1;
    memcpy(input.ptr, seed.ptr, seed.len);
    struct hash_value *const value = (void *)output.ptr;
    for (size_t done = 0, counter = 0; done < len; done += step, counter++) {
        input.ptr[seed.len + 2] = (uint8_t)(counter >> 8);
        input.ptr[seed.len + 3] = (uint8_t)counter;
        if (hash_of(hash, secret_span(&input), value, err) < 0)
            return -1;
        for (size_t i = 0; i < step && done + i < len; i++)
            target[done + i] ^= value->bytes[i];
    }
    return 0;
}

/* --- the padding ------------------------------------------------------------------------------- */

/* lHash || PS || 01 || M. Where M begins; *ret_bad is not 0 when the padding is none. */
static size_t find_message(struct span db, struct span label_hash, size_t *ret_bad)
{
    size_t bad = 0, found = 0, start = 0;

    for (size_t i = 0; i < label_hash.len; i++)
        bad |= db.ptr[i] ^ label_hash.ptr[i];
    for (size_t i = label_hash.len; i < db.len; i++) {
        const size_t one = mask_equal(db.ptr[i], 1);
        const size_t zero = mask_zero(db.ptr[i]);
        start |= ~found & one & (i + 1);
        bad |= ~found & ~one & ~zero;
        found |= one;
    }
    *ret_bad |= bad | ~found;
    return start;
}

int oaep_open(enum hash hash, const struct secret *encoded, struct secret *ret,
              struct kms_error *err)
{
    const size_t len = hash_len(hash);
    struct hash_value label_hash;
    AUTO(secret) block = { 0 };

    if (encoded->len > BLOCK_MAX || encoded->len < 2 * len + 2)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    if (hash_of(hash, span_of("", 0), &label_hash, err) < 0 ||
        secret_copy(&block, secret_span(encoded), err) < 0)
        return -1;

    uint8_t *const seed = block.ptr + 1, *const db = seed + len;
    const size_t db_len = block.len - 1 - len;
    if (unmask(hash, span_of(db, db_len), seed, len, err) < 0 ||
        unmask(hash, span_of(seed, len), db, db_len, err) < 0)
        return -1;
    size_t bad = block.ptr[0];
    const size_t start = find_message(span_of(db, db_len), hash_span(&label_hash), &bad);
    if (bad)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    if (start == db_len)
        return 0;
    return secret_copy(ret, span_of(db + start, db_len - start), err);
}
