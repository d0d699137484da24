#pragma once

/* What the files behind token_asym.h share. */

#include "pkcs11/work.h"

/*
 * What is known of keys of this kind and use; probes when nothing is.
 *
 * Errors:  UNSUPPORTED (no kind of token_asym.h, or one that has not this use); KEY_UNAVAILABLE
 */
CHECKED int pair_known(struct token *token, enum token_kind kind, enum token_use use,
                       const struct pair_probe **ret, struct kms_error *err);

/* UNSUPPORTED unless the answer of token_supports is the wanted one. */
CHECKED int pair_need(struct token *token, enum token_kind kind, enum token_algorithm algorithm,
                      struct kms_error *err);

/* KEY_UNAVAILABLE where the canary cannot be a public key of this kind. */
CHECKED int pair_named(const struct token_key *key, const struct pair *pair, struct kms_error *err);

/* What run and prove want to know of a pair; struct work.more. */
struct pair_work {
    enum token_kind kind;
    enum token_use use;
    const struct pair *pair;
    const struct algorithm *algorithm;
    size_t len; /* of output, in or out */
};

/* A work that runs with this pair's private key. more stays the caller's. */
struct work pair_work(const struct token_key *key, struct pair_work *more, struct span input,
                      uint8_t *output);

/* KEY_UNAVAILABLE where the token's generator repeats itself: signatures need good numbers. */
CHECKED int pair_random(const struct token *token, struct kms_error *err);
