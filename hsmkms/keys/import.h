#pragma once

/*
 * Key material that clients bring: parameters to wrap it, taking it in, taking it away, letting it
 * expire, turning to the next one. Like lifecycle.h each is whole or not at all, and intent-first
 * where it touches the token.
 *
 * The bytes live in locked memory from the moment the wrapping is off until the token has made its
 * object of them, and are wiped then. Whether two materials are the same is asked of the token,
 * by the canary of a version: no digest of any material is stored.
 *
 * Threads: any. Errors: those of lifecycle.h, beside those named.
 *
 * Source: AWS KMS Developer Guide, Importing key material for AWS KMS keys; AWS KMS API Reference,
 * GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial.
 */

#include "hsmkms/keys/keyring.h"

/* Whether keys of this spec can get their material from outside. */
bool import_offers(const struct keyspec *spec);

struct import_parameters {
    struct buf token, public_key; /* public_key: DER of SubjectPublicKeyInfo */
    int64_t valid_to_ms;
};
void import_parameters_done(struct import_parameters *parameters);

/*
 * algorithm, spec  as in WrappingAlgorithm and WrappingKeySpec
 * ret              in its zero state
 * Errors:          UNSUPPORTED
 */
CHECKED int import_parameters(struct keyring *keyring, const struct key *key, const char *algorithm,
                              const char *spec, struct import_parameters *ret,
                              struct kms_error *err);

enum import_type { IMPORT_BY_HISTORY, IMPORT_NEW, IMPORT_EXISTING };

struct import_draft {
    struct span token, sealed;
    enum import_type type;   /* IMPORT_BY_HISTORY: new for a key that never had any */
    int64_t valid_to_ms;     /* 0: never expires */
    const char *description; /* NULL: as it was */
    const char *material_id; /* NULL: not said */
};

struct material_name {
    char text[65]; /* KeyMaterialId */
};

/*
 * Takes material in. New material of a key that has some waits for a rotation.
 *
 * Errors:  INVALID_IMPORT_TOKEN, EXPIRED_IMPORT_TOKEN; INVALID_CIPHERTEXT (the wrapping);
 *          INCORRECT_MATERIAL (its size, or not what it has to be the same as); INVALID_STATE
 */
CHECKED int import_material(struct keyring *keyring, const struct uuid *id,
                            const struct import_draft *draft, struct material_name *ret,
                            struct kms_error *err);

/*
 * Takes material away, the current one when material_id is NULL. What is away already is no error.
 *
 * ret      "" for a key that has none
 * Errors:  NOT_FOUND (no such material)
 */
CHECKED int import_delete(struct keyring *keyring, const struct uuid *id, const char *material_id,
                          struct material_name *ret, struct kms_error *err);

/* Takes away what is past its time. */
CHECKED int import_expire(struct keyring *keyring, const struct uuid *id, struct kms_error *err);
