#include "hsmkms/keys/import_value.h"

#include <stdlib.h>

#include "hsmkms/crypto/rsa_numbers.h"
#include "hsmkms/keys/imported.h"

static const uint8_t exponent_65537[PUBLIC_EXPONENT_LEN] = { 1, 0, 1 };

static int incorrect(struct kms_error *err, const char *why)
{
    return kms_fail(err, KMS_ERR_INCORRECT_MATERIAL, "%s", why);
}

void import_value_done(struct import_value *value)
{
    secret_done(&value->bytes);
    buf_done(&value->public_key);
    *value = (struct import_value){ 0 };
}

/* --- reading ---------------------------------------------------------------------------------- */

static int read_rsa(const struct keyspec *spec, const struct private_numbers *numbers,
                    struct import_value *ret, struct kms_error *err)
{
    bool fit = false;

    if (numbers->modulus.len * 8 != keyspec_modulus_bits(spec) ||
        !(numbers->modulus.ptr[0] & 0x80) ||
        !span_equal(numbers->public_exponent, SPAN_ARRAY(exponent_65537)))
        return incorrect(err, "The key material has not the size or exponent of the key spec.");
    if (rsa_numbers_fit(numbers, &fit, err) < 0)
        return -1;
    if (!fit)
        return incorrect(err, "The numbers of the key material do not make a key pair.");
    ret->numbers = (struct token_private){ .modulus = numbers->modulus,
                                           .exponent = numbers->exponent,
                                           .prime1 = numbers->prime1,
                                           .prime2 = numbers->prime2,
                                           .exponent1 = numbers->exponent1,
                                           .exponent2 = numbers->exponent2,
                                           .coefficient = numbers->coefficient };
    buf_append(&ret->public_key, numbers->modulus);
    buf_append(&ret->public_key, numbers->public_exponent);
    return buf_check(&ret->public_key, err);
}

/* A point that came along is only kept if the token finds that it belongs to the scalar. */
static int read_curve(const struct keyspec *spec, const struct private_numbers *numbers,
                      struct import_value *ret, struct kms_error *err)
{
    ret->numbers = (struct token_private){ .scalar = numbers->scalar };
    if (numbers->point.len == 0)
        return curve_point_of(spec->public_kind, numbers->scalar, &ret->public_key, err);
    buf_append(&ret->public_key, numbers->point);
    return buf_check(&ret->public_key, err);
}

static int read_pair(const struct keyspec *spec, struct import_value *ret, struct kms_error *err)
{
    struct private_numbers numbers;

    if (pkcs8_parse(spec->public_kind, secret_span(&ret->bytes), &numbers, err) < 0)
        return -1;
    return spec->public_kind == PUBLIC_RSA ? read_rsa(spec, &numbers, ret, err)
                                           : read_curve(spec, &numbers, ret, err);
}

int import_value_read(const struct keyspec *spec, struct secret *bytes, struct import_value *ret,
                      struct kms_error *err)
{
    ret->bytes = secret_take(bytes);
    if (spec->type != SPEC_PAIR)
        return ret->bytes.len == token_key_bytes(spec->kind)
                   ? 0
                   : incorrect(err, "The key material has not the size that the key spec needs.");
    if (read_pair(spec, ret, err) == 0)
        return 0;
    if (err->code != KMS_ERR_VALIDATION)
        return -1;
    kms_error_clear(err);
    return incorrect(err, "The key material is not a private key of the key spec in PKCS #8.");
}

/* --- asking the token ------------------------------------------------------------------------- */

int import_value_try(struct token *token, const struct key *key, const struct import_value *value,
                     struct kms_error *err)
{
    bool good = true;

    if (key->spec->type == SPEC_PAIR &&
        token_pair_try(token, key->spec->kind, keyspec_token_use(key->usage), &value->numbers,
                       buf_span(&value->public_key), &good, err) < 0)
        return -1;
    return good ? 0 : incorrect(err, "The numbers of the key material do not make a key pair.");
}

/* The versions that could be the one. */
struct candidates {
    const struct version **versions;
    struct token_key *keys;
    size_t count;
};

static void candidates_done(struct candidates *candidates)
{
    free(candidates->versions);
    free(candidates->keys);
}

static int gather(const struct key *key, struct candidates *ret, struct kms_error *err)
{
    ret->versions = calloc(key->version_count + 1, sizeof(const struct version *));
    ret->keys = calloc(key->version_count + 1, sizeof(struct token_key));
    if (ret->versions == NULL || ret->keys == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a key");
    for (size_t i = 0; i < key->version_count; i++) {
        if (!version_is_known(&key->versions[i]))
            continue;
        ret->versions[ret->count] = &key->versions[i];
        ret->keys[ret->count++] = version_token_key(&key->versions[i]);
    }
    return 0;
}

/* Where the same public key is; count: nowhere. */
static size_t find_public(const struct candidates *candidates, struct span public_key)
{
    size_t place = 0;

    while (place < candidates->count && !span_equal(candidates->keys[place].canary, public_key))
        place++;
    return place;
}

int import_value_find(struct token *token, const struct key *key, const struct import_value *value,
                      const struct version **ret, struct kms_error *err)
{
    AUTO(candidates) candidates = { 0 };
    size_t place = 0;

    if (gather(key, &candidates, err) < 0)
        return -1;
    if (key->spec->type == SPEC_PAIR)
        place = find_public(&candidates, buf_span(&value->public_key));
    else if (token_key_match(token, key->spec->kind, secret_span(&value->bytes), candidates.keys,
                             candidates.count, &place, err) < 0)
        return -1;
    *ret = place < candidates.count ? candidates.versions[place] : NULL;
    return 0;
}

/* Verified as after an import. */
static int look_at(struct token *token, const struct key *key, const struct version *version,
                   struct kms_error *err)
{
    const struct version_record *const record = &version->record;

    if (key->spec->type != SPEC_PAIR)
        return token_import_verify(token, key->spec->kind, &record->id, err);
    return token_pair_import_verify(token, key->spec->kind, keyspec_token_use(key->usage),
                                    &record->id, buf_span(&record->public_key), err);
}

int import_all_present(struct token *token, const struct key *key, bool *ret, struct kms_error *err)
{
    *ret = true;
    for (size_t i = 0; *ret && i < key->version_count; i++) {
        if (!version_is_usable(&key->versions[i]) ||
            look_at(token, key, &key->versions[i], err) == 0)
            continue;
        if (err->code != KMS_ERR_NOT_FOUND)
            return -1;
        kms_error_clear(err);
        *ret = false;
    }
    return 0;
}
