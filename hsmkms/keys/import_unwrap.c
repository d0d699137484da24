#include "hsmkms/keys/import_unwrap.h"

#include "hsmkms/crypto/key_unwrap.h"
#include "hsmkms/keys/material_pair.h"

/* clang-format off */
static const struct wrapping_algorithm algorithms[] = {
    { "RSAES_OAEP_SHA_1",         "RSAES_OAEP_SHA_1",   false },
    { "RSAES_OAEP_SHA_256",       "RSAES_OAEP_SHA_256", false },
    { "RSA_AES_KEY_WRAP_SHA_1",   "RSAES_OAEP_SHA_1",   true },
    { "RSA_AES_KEY_WRAP_SHA_256", "RSAES_OAEP_SHA_256", true },
};
/* clang-format on */

const struct wrapping_algorithm *wrapping_algorithm_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if (strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

const struct wrapping_algorithm *wrapping_algorithm_at(uint8_t number)
{
    return number < ARRAY_LEN(algorithms) ? &algorithms[number] : NULL;
}

uint8_t wrapping_algorithm_number(const struct wrapping_algorithm *algorithm)
{
    return (uint8_t)(algorithm - algorithms);
}

static int bad_wrapping(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
}

static int open_oaep(struct keyring *keyring, const struct wrapping_pair *pair,
                     const struct wrapping_algorithm *algorithm, struct span sealed,
                     struct secret *ret, struct kms_error *err)
{
    const struct token_key token_key = wrapping_token_key(pair);
    const struct algorithm *const oaep =
        keyspec_algorithm(pair->spec, USAGE_ENCRYPT_DECRYPT, algorithm->oaep);

    if (material_oaep_open(keyring->token, pair->spec->kind, &token_key, oaep, sealed, ret, err) < 0)
        return -1;
    if (ret->len == 0) { /* an empty message, where the token may have left room */
        secret_done(ret);
        return bad_wrapping(err);
    }
    return 0;
}

int import_unwrap(struct keyring *keyring, const struct wrapping_pair *pair,
                  const struct wrapping_algorithm *algorithm, struct span sealed,
                  struct secret *ret, struct kms_error *err)
{
    const size_t modulus_len = token_public_modulus(&pair->public_key).len;
    AUTO(secret) aes_key = { 0 };

    if (!algorithm->two_layers)
        return open_oaep(keyring, pair, algorithm, sealed, ret, err);
    if (sealed.len <= modulus_len)
        return bad_wrapping(err);
    if (open_oaep(keyring, pair, algorithm, span_of(sealed.ptr, modulus_len), &aes_key, err) < 0)
        return -1;
    return key_unwrap(secret_span(&aes_key),
                      span_of(sealed.ptr + modulus_len, sealed.len - modulus_len), ret, err);
}
