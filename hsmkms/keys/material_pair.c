#include "hsmkms/keys/material_pair.h"

#include "hsmkms/crypto/oaep.h"
#include "hsmkms/crypto/spki.h"
#include "hsmkms/keys/key_store.h"

/* The one version of a key that is not symmetric. */
static int only_version(const struct key *key, struct token_key *ret, struct kms_error *err)
{
    const struct version *const version = key_current(key);

    if (version == NULL || !version_is_usable(version))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "key %s has no version",
                               uuid_format(&key->record.id).text);
    *ret = version_token_key(version);
    return 0;
}

/* The same, with the token that holds it. */
static int hold_version(const struct keyring *keyring, const struct key *key, struct token_key *ret,
                        struct token_hold *ret_hold, struct kms_error *err)
{
    if (only_version(key, ret, err) < 0)
        return -1;
    return key_store_hold(keyring, key, ret_hold, err);
}

static int public_half(const struct key *key, struct public_key *ret, struct kms_error *err)
{
    struct token_key token_key;

    if (only_version(key, &token_key, err) < 0)
        return -1;
    *ret = (struct public_key){ key->spec->public_kind, token_key.canary };
    return 0;
}

int material_public(const struct key *key, struct buf *ret_der, struct kms_error *err)
{
    struct public_key half;

    if (public_half(key, &half, err) < 0)
        return -1;
    return spki_format(&half, ret_der, err);
}

/* --- signatures ------------------------------------------------------------------------------- */

/* What is signed: room holds a digest that was made here. */
static int signed_input(const struct algorithm *algorithm, enum message_form form,
                        struct span message, struct hash_value *room, struct span *ret,
                        struct kms_error *err)
{
    if (form == MESSAGE_HASHED || algorithm->hash == HASH_NONE) {
        *ret = message;
        return 0;
    }
    if (hash_of(algorithm->hash, message, room, err) < 0)
        return -1;
    *ret = hash_span(room);
    return 0;
}

static int in_clients_form(const struct algorithm *algorithm,
                           const struct token_signature *signature, struct buf *ret,
                           struct kms_error *err)
{
    const struct span bytes = span_of(signature->bytes, signature->len);

    if (algorithm->scheme == SIGNATURE_ECDSA)
        return ecdsa_signature_der(bytes, ret, err);
    buf_append(ret, bytes);
    return buf_check(ret, err);
}

int material_sign(struct keyring *keyring, const struct key *key,
                  const struct algorithm *algorithm, enum message_form form, struct span message,
                  struct buf *ret, struct kms_error *err)
{
    struct token_key token_key;
    struct token_signature signature;
    struct hash_value room;
    struct span input;
    AUTO(buf) made = { 0 };
    AUTO(token_hold) held = { 0 };
    bool good = false;

    if (hold_version(keyring, key, &token_key, &held, err) < 0 ||
        signed_input(algorithm, form, message, &room, &input, err) < 0 ||
        token_sign(held.token, key->spec->kind, &token_key, algorithm->token, input, &signature,
                   err) < 0 ||
        in_clients_form(algorithm, &signature, &made, err) < 0)
        return -1;
    const struct public_key half = { key->spec->public_kind, token_key.canary };
    if (public_key_verify(&half, algorithm->scheme, algorithm->hash, input, buf_span(&made), &good,
                          err) < 0)
        return -1;
    if (!good)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a new signature of version %s is none",
                               uuid_format(&token_key.id).text);
    buf_append(ret, buf_span(&made));
    return buf_check(ret, err);
}

int material_verify(const struct key *key, const struct algorithm *algorithm,
                    enum message_form form, struct span message, struct span signature, bool *ret,
                    struct kms_error *err)
{
    struct public_key half;
    struct hash_value room;
    struct span input;

    if (public_half(key, &half, err) < 0 ||
        signed_input(algorithm, form, message, &room, &input, err) < 0)
        return -1;
    return public_key_verify(&half, algorithm->scheme, algorithm->hash, input, signature, ret, err);
}

/* --- RSA encryption --------------------------------------------------------------------------- */

static size_t modulus_len(const struct key *key)
{
    const struct version *const version = key_current(key);

    return version ? version->record.public_key.len - PUBLIC_EXPONENT_LEN : 0;
}

size_t material_pair_plain_max(const struct key *key, const struct algorithm *algorithm)
{
    return public_key_oaep_max(modulus_len(key), algorithm->hash);
}

int material_pair_encrypt(const struct key *key, const struct algorithm *algorithm,
                          struct span plain, struct buf *ret, struct kms_error *err)
{
    struct public_key half;

    if (public_half(key, &half, err) < 0)
        return -1;
    return public_key_encrypt(&half, algorithm->hash, plain, ret, err);
}

/* The token does the operation, this process the padding. */
static int decrypt_by_raw(struct token *token, enum token_kind kind,
                          const struct token_key *token_key, const struct algorithm *algorithm,
                          struct span sealed, struct secret *ret, struct kms_error *err)
{
    AUTO(secret) encoded = { 0 };

    if (token_rsa_raw(token, kind, token_key, TOKEN_DECRYPTS, sealed, &encoded, err) < 0)
        return -1;
    return oaep_open(algorithm->hash, &encoded, ret, err);
}

int material_oaep_open(struct token *token, enum token_kind kind,
                       const struct token_key *token_key, const struct algorithm *algorithm,
                       struct span sealed, struct secret *ret, struct kms_error *err)
{
    enum token_support support = TOKEN_LACKS;
    int opened;

    if (token_supports(token, kind, algorithm->token, &support, err) < 0)
        return -1;
    if (support == TOKEN_BY_RAW)
        opened = decrypt_by_raw(token, kind, token_key, algorithm, sealed, ret, err);
    else
        opened = token_rsa_decrypt(token, kind, token_key, algorithm->token, sealed, ret, err);
    if (opened < 0 && err->code == KMS_ERR_INVALID_CIPHERTEXT)
        err->message[0] = '\0'; /* all faults alike */
    return opened;
}

int material_pair_decrypt(struct keyring *keyring, const struct key *key,
                          const struct algorithm *algorithm, struct span sealed,
                          struct secret *ret, struct kms_error *err)
{
    struct token_key token_key;
    AUTO(token_hold) held = { 0 };

    if (hold_version(keyring, key, &token_key, &held, err) < 0)
        return -1;
    return material_oaep_open(held.token, key->spec->kind, &token_key, algorithm, sealed, ret, err);
}

/* --- agreement and MACs ----------------------------------------------------------------------- */

int material_agree(struct keyring *keyring, const struct key *key, struct span peer,
                   struct secret *ret, struct kms_error *err)
{
    struct token_key token_key;
    AUTO(token_hold) held = { 0 };

    if (hold_version(keyring, key, &token_key, &held, err) < 0)
        return -1;
    const int agreed = token_agree(held.token, key->spec->kind, &token_key, peer, ret, err);
    if (agreed < 0 && err->code == KMS_ERR_VALIDATION)
        err->message[0] = '\0'; /* AWS says nothing about it */
    return agreed;
}

int material_mac(struct keyring *keyring, const struct key *key, struct span message,
                 struct token_mac *ret, struct kms_error *err)
{
    struct token_key token_key;
    AUTO(token_hold) held = { 0 };

    if (hold_version(keyring, key, &token_key, &held, err) < 0)
        return -1;
    return token_mac(held.token, key->spec->kind, &token_key, message, ret, err);
}

int material_mac_verify(struct keyring *keyring, const struct key *key, struct span message,
                        struct span mac, bool *ret, struct kms_error *err)
{
    struct token_key token_key;
    AUTO(token_hold) held = { 0 };

    if (hold_version(keyring, key, &token_key, &held, err) < 0)
        return -1;
    return token_mac_verify(held.token, key->spec->kind, &token_key, message, mac, ret, err);
}
