#pragma once

/*
 * material.h for keys that are not symmetric: what their private halves and MAC keys do in the
 * token, what their public halves do outside. Such a key has one version.
 *
 * algorithm: one of the key's spec and usage. Threads: any. Errors: KEY_UNAVAILABLE, INTERNAL
 * beside those named.
 */

#include "hsmkms/keys/keyring.h"

/* Appends the DER of SubjectPublicKeyInfo. */
CHECKED int material_public(const struct key *key, struct buf *ret_der, struct kms_error *err);

/* What a message is signed as: its digest, or itself for algorithms that hash on their own. */
enum message_form { MESSAGE_WHOLE, MESSAGE_HASHED };

/*
 * Signs in the token and verifies outside before the signature is handed out: one that a fault has
 * spoilt could give the key away.
 *
 * message  as form says; MESSAGE_HASHED: as long as the algorithm's hash
 * ret      appended to: as clients expect it, ECDSA in DER
 */
CHECKED int material_sign(struct keyring *keyring, const struct key *key,
                          const struct algorithm *algorithm, enum message_form form,
                          struct span message, struct buf *ret, struct kms_error *err);

/* ret: whether it is a signature of this message. The token is not asked. */
CHECKED int material_verify(const struct key *key, const struct algorithm *algorithm,
                            enum message_form form, struct span message, struct span signature,
                            bool *ret, struct kms_error *err);

/* Bytes that an RSA key can encrypt at most. */
size_t material_pair_plain_max(const struct key *key, const struct algorithm *algorithm);

/* RSA. ret: appended to; the token is not asked. */
CHECKED int material_pair_encrypt(const struct key *key, const struct algorithm *algorithm,
                                  struct span plain, struct buf *ret, struct kms_error *err);

/* RSA. ret in its zero state. Errors: INVALID_CIPHERTEXT, without words, whatever is wrong. */
CHECKED int material_pair_decrypt(struct keyring *keyring, const struct key *key,
                                  const struct algorithm *algorithm, struct span sealed,
                                  struct secret *ret, struct kms_error *err);

/* The same for an RSA pair that is no key, but one under which clients wrap material. */
CHECKED int material_oaep_open(struct token *token, enum token_kind kind,
                               const struct token_key *token_key,
                               const struct algorithm *algorithm, struct span sealed,
                               struct secret *ret, struct kms_error *err);

/* peer: point of spki_parse_point for the key's curve. Errors: VALIDATION, without words. */
CHECKED int material_agree(struct keyring *keyring, const struct key *key, struct span peer,
                           struct secret *ret, struct kms_error *err);

CHECKED int material_mac(struct keyring *keyring, const struct key *key, struct span message,
                         struct token_mac *ret, struct kms_error *err);
CHECKED int material_mac_verify(struct keyring *keyring, const struct key *key,
                                struct span message, struct span mac, bool *ret,
                                struct kms_error *err);
