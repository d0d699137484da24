#include "hsmkms/keys/material.h"

#include "hsmkms/crypto/digest.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/lifecycle.h"

_Static_assert(ENVELOPE_NONCE_LEN == TOKEN_IV_LEN, "the blob's nonce is the token's IV");
_Static_assert(ENVELOPE_TAG_LEN == TOKEN_TAG_LEN, "the blob's tag is the token's");

/* What the ciphertext is bound to: everything the blob says about itself, then the context. */
static int bind(struct span header, struct span context, struct buf *ret_aad, struct kms_error *err)
{
    buf_append(ret_aad, header);
    buf_append(ret_aad, context);
    return buf_check(ret_aad, err);
}

/* Counts one encryption; at the end of a reserved block the next one is made durable first. */
static int spend(struct keyring *keyring, const struct key *key, const struct version *version,
                 struct kms_error *err)
{
    struct budget *const budget = version->budget;

    while (atomic_fetch_add(&budget->used, 1) >= atomic_load(&budget->reserved)) {
        atomic_fetch_sub(&budget->used, 1); /* not spent: there was nothing to spend */
        if (lifecycle_reserve_block(keyring, &key->record.id, &version->record.id, err) < 0)
            return -1;
    }
    return 0;
}

/* The finished bytes must open to what went in. */
static int read_back(struct token *token, const struct version *version, struct span blob,
                     struct span context, struct span plain, struct kms_error *err)
{
    const struct token_key token_key = version_token_key(version);
    struct envelope envelope;
    AUTO(buf) aad = { 0 };
    AUTO(secret) opened = { 0 };

    if (envelope_parse(blob, &envelope, err) < 0 || bind(envelope.header, context, &aad, err) < 0 ||
        token_decrypt(token, &token_key, envelope.nonce, buf_span(&aad), envelope.sealed, &opened,
                      err) < 0 ||
        !equal_ct(secret_span(&opened), plain)) {
        kms_error_clear(err);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a new blob of version %s does not open",
                               uuid_format(&version->record.id).text);
    }
    return 0;
}

/* Seals under a nonce that the token made for this call. */
static int seal(struct keyring *keyring, struct token *token, const struct key *key,
                const uint8_t nonce[ENVELOPE_NONCE_LEN], struct span context, struct span plain,
                struct buf *ret_blob, struct kms_error *err)
{
    const struct version *const version = key_current(key);
    const size_t start = ret_blob->len;
    AUTO(buf) aad = { 0 };

    if (version == NULL || !version_is_usable(version))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "key %s has no version to encrypt with",
                               uuid_format(&key->record.id).text);
    if (spend(keyring, key, version, err) < 0)
        return -1;

    AUTO(token_turn) turn = { 0 };
    token_turn_take(token, &turn); /* sealing and reading back in one go */
    const struct token_key token_key = version_token_key(version);
    struct envelope envelope = { .installation = keyring->installation,
                                 .key_id = *key_owner(key),
                                 .version_id = version->record.id };
    memcpy(envelope.nonce, nonce, ENVELOPE_NONCE_LEN);
    uint8_t *const room = buf_room(ret_blob, plain.len + ENVELOPE_OVERHEAD);
    if (buf_check(ret_blob, err) < 0)
        return -1;
    envelope_header(&envelope, plain.len, room);
    if (bind(span_of(room, ENVELOPE_HEADER_LEN), context, &aad, err) < 0 ||
        token_encrypt(token, &token_key, nonce, buf_span(&aad), plain, room + ENVELOPE_HEADER_LEN,
                      err) < 0)
        return -1;
    return read_back(token, version, span_of(ret_blob->ptr + start, plain.len + ENVELOPE_OVERHEAD),
                     context, plain, err);
}

int material_wrap(struct keyring *keyring, const struct key *key, struct span context,
                  struct span plain, struct buf *ret_blob, struct kms_error *err)
{
    uint8_t nonce[ENVELOPE_NONCE_LEN];
    AUTO(token_hold) held = { 0 };

    if (key_store_hold(keyring, key, &held, err) < 0 ||
        token_random(held.token, nonce, sizeof(nonce), err) < 0)
        return -1;
    return seal(keyring, held.token, key, nonce, context, plain, ret_blob, err);
}

int material_data_key(struct keyring *keyring, const struct key *key, struct span context,
                      size_t len, struct secret *ret_plain, struct buf *ret_blob,
                      struct kms_error *err)
{
    uint8_t nonce[ENVELOPE_NONCE_LEN];
    AUTO(secret) random = { 0 };
    AUTO(token_hold) held = { 0 };

    /* one call to the token's generator gives data key and nonce */
    if (key_store_hold(keyring, key, &held, err) < 0 ||
        secret_new(&random, len + sizeof(nonce), err) < 0 ||
        token_random(held.token, random.ptr, random.len, err) < 0)
        return -1;
    memcpy(nonce, random.ptr + len, sizeof(nonce));
    secret_shorten(&random, len);
    if (seal(keyring, held.token, key, nonce, context, secret_span(&random), ret_blob, err) < 0)
        return -1;
    *ret_plain = secret_take(&random);
    return 0;
}

int material_unwrap(struct keyring *keyring, const struct key *key, const struct envelope *envelope,
                    struct span context, struct secret *ret_plain, struct kms_error *err)
{
    const struct version *const version = key_version_find(key, &envelope->version_id);
    AUTO(buf) aad = { 0 };
    AUTO(token_hold) held = { 0 };

    if (version == NULL || !version_is_usable(version))
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    const struct token_key token_key = version_token_key(version);
    if (key_store_hold(keyring, key, &held, err) < 0 ||
        bind(envelope->header, context, &aad, err) < 0)
        return -1;
    return token_decrypt(held.token, &token_key, envelope->nonce, buf_span(&aad), envelope->sealed,
                         ret_plain, err);
}

int material_random(struct token *token, size_t len, struct secret *ret, struct kms_error *err)
{
    AUTO(secret) random = { 0 };

    if (secret_new(&random, len, err) < 0 || token_random(token, random.ptr, len, err) < 0)
        return -1;
    *ret = secret_take(&random);
    return 0;
}
