#pragma once

/*
 * Answers as JSON. Functions that return json_t give a new reference, or NULL for want of memory;
 * json_pack with "o" passes that NULL on, and op_answer() makes an error of it.
 *
 * Source: AWS KMS API Reference, response elements and KeyMetadata.
 */

#include "hsmkms/api/op.h"

/* Takes over result, NULL included. Errors: INTERNAL (out of memory). */
CHECKED int op_answer(struct op_call *c, json_t *result, struct kms_error *err);

/* Seconds since 1970 with milliseconds, as a real number. */
json_t *reply_time(int64_t ms);

json_t *reply_blob(struct span bytes);

/* Base64 of a secret; ret is a JSON string, whose memory jansson's allocators wipe. */
CHECKED int reply_secret(const struct secret *secret, json_t **ret, struct kms_error *err);

/* "SigningAlgorithms" and its neighbours, and the list of a key. */
const char *reply_algorithms_name(enum spec_usage usage);
json_t *reply_algorithms(const struct key *key);

CHECKED int reply_key_metadata(const struct keyring *keyring, const struct key *key, json_t **ret,
                               struct kms_error *err);

/* Adds ExpirationModel and ValidTo of imported material. */
void reply_expiration(json_t *object, const struct version *version);

/*
 * Writes down for the audit trail and the answer which version of c->key was used. Material of keys
 * that are not symmetric has no name.
 */
CHECKED int op_note_version(struct op_call *c, const struct uuid *version_id,
                            struct kms_error *err);

/* Material id of a version of a key. Errors: INTERNAL (it has no such version). */
CHECKED int reply_material(const struct key *key, const struct uuid *version_id, char ret[65],
                           struct kms_error *err);
