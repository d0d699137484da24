#pragma once

/*
 * What was in a wrapping, as the token wants it: the bytes of a symmetric or MAC key, or the
 * numbers of a private key, read in place. The bytes stay in locked memory until _done wipes them.
 *
 * Source: AWS KMS Developer Guide, Requirements for imported key material.
 */

#include "hsmkms/keys/change_import.h"

struct import_value {
    struct secret bytes;
    struct token_private numbers; /* of pairs; borrowed from bytes */
    struct buf public_key;        /* of pairs, as in struct token_public */
};
void import_value_done(struct import_value *value);

/*
 * bytes    moved into ret, whatever happens
 * ret      in its zero state
 * Errors:  INCORRECT_MATERIAL (no key of this spec); INTERNAL
 */
CHECKED int import_value_read(const struct keyspec *spec, struct secret *bytes,
                              struct import_value *ret, struct kms_error *err);

/* Errors: INCORRECT_MATERIAL (the token finds that the numbers of a pair are none). */
CHECKED int import_value_try(struct token *token, const struct key *key,
                             const struct import_value *value, struct kms_error *err);

/*
 * The version that has this value among all that the key has or had; NULL: none. For other keys
 * than pairs the token is asked.
 */
CHECKED int import_value_find(struct token *token, const struct key *key,
                              const struct import_value *value, const struct version **ret,
                              struct kms_error *err);

/* Whether the token has an object for every version that should have one. */
CHECKED int import_all_present(struct token *token, const struct key *key, bool *ret,
                               struct kms_error *err);
