#pragma once

/*
 * Keys whose value was made elsewhere: token objects as strict as those of token.h, but for what
 * no token can promise of them. Somebody else has the value, so CKA_LOCAL is false and what a token
 * says of CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE tells nothing.
 *
 * Values come in locked memory; the module makes an object of them (C_CreateObject) and nothing
 * here keeps a copy. Whoever calls wipes them.
 *
 * Threads and errors: as in token.h.
 *
 * Source: PKCS #11 Base Specification v2.40, sections 4.9 (private key objects), 4.10 (secret key
 * objects) and 5.7 (C_CreateObject).
 */

#include "pkcs11/token_asym.h"

/* Bytes of the value of a kind that is no pair. */
size_t token_key_bytes(enum token_kind kind);

/*
 * Which of some keys has this value, by their canaries: a session object of it is made, tried and
 * destroyed. No invocation of AES-GCM is spent, and no digest of the value exists.
 *
 * kind     no pair
 * value    token_key_bytes() bytes
 * known    with canaries, of the same kind
 * ret      the place of the first such key; count when there is none
 */
CHECKED int token_key_match(struct token *token, enum token_kind kind, struct span value,
                            const struct token_key *known, size_t count, size_t *ret,
                            struct kms_error *err);

/*
 * Makes a token object of a value, makes it durable and verifies it (token_import_verify). On
 * failure no usable key was announced; an object may remain and is found by token_inventory.
 * token_key_canary and token_mac_canary make its first canary.
 */
CHECKED int token_key_import(struct token *token, enum token_kind kind, struct span value,
                             const struct uuid *id, const char *label, struct kms_error *err);

/* As token_key_verify, for an object of token_key_import. */
CHECKED int token_import_verify(struct token *token, enum token_kind kind, const struct uuid *id,
                                struct kms_error *err);

/* Pairs */

/* The numbers of a private key, big-endian, in locked memory; borrowed. */
struct token_private {
    struct span modulus, exponent, prime1, prime2, exponent1, exponent2, coefficient; /* RSA */
    struct span scalar; /* curves of SEC 1: as long as the field */
};

/*
 * Whether these numbers and this public key are a pair: session objects of both are made, put to
 * work and destroyed.
 *
 * public_key  as in struct token_public
 * Errors:     UNSUPPORTED (no kind of pair, or one that has not this use)
 */
CHECKED int token_pair_try(struct token *token, enum token_kind kind, enum token_use use,
                           const struct token_private *numbers, struct span public_key, bool *ret,
                           struct kms_error *err);

/*
 * Makes both halves in the token, durable, and verifies them (token_pair_import_verify). On failure
 * as token_key_import.
 */
CHECKED int token_pair_import(struct token *token, enum token_kind kind, enum token_use use,
                              const struct token_private *numbers, struct span public_key,
                              const struct uuid *id, const char *label, struct kms_error *err);

/* As token_pair_verify, for a pair of token_pair_import. */
CHECKED int token_pair_import_verify(struct token *token, enum token_kind kind, enum token_use use,
                                     const struct uuid *id, struct span public_key,
                                     struct kms_error *err);
