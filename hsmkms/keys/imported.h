#pragma once

/*
 * What is special about a key whose material clients bring (Origin EXTERNAL): pure questions about
 * a snapshot. Such a key may have several materials, a version each. One that was imported and not
 * yet rotated to is the newest and encrypts nothing; all others have to be there for the key to
 * work at all.
 *
 * Source: AWS KMS Developer Guide, Importing key material for AWS KMS keys.
 */

#include "hsmkms/keys/key.h"

#define ORIGIN_HERE     "AWS_KMS"
#define ORIGIN_EXTERNAL "EXTERNAL"

bool key_is_external(const struct key *key);

/* True for material that was deleted or expired and may be imported again. */
bool version_is_absent(const struct version *version);

/* True for material that is or was part of the key: usable or absent. */
bool version_is_known(const struct version *version);

/* The version that waits for a rotation, usable or absent; NULL: none. */
const struct version *key_waiting_version(const struct key *key);

/*
 * True when no material is missing, but for one that waits for a rotation; false before the first.
 */
bool key_is_complete(const struct key *key);

bool version_is_expired(const struct version *version, int64_t now_ms);

/* True when material that the key cannot do without is past its time, and not yet taken away. */
bool key_is_expired(const struct key *key, int64_t now_ms);

/* The version with this KeyMaterialId, known; NULL: none. */
const struct version *key_material_find(const struct key *key, const char *material_id);
