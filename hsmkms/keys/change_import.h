#pragma once

/*
 * change.h for material that comes from outside: a version gets its token object from bytes in
 * locked memory, as intent-first as one that the token makes.
 *
 * Errors of all: KEY_UNAVAILABLE, INTEGRITY (the token made something else than was asked for),
 * INTERNAL.
 */

#include "hsmkms/keys/change.h"
#include "pkcs11/token_import.h"

/* What was taken out of its wrapping, as the token wants it. */
struct change_material {
    struct span value;                   /* of keys that are no pairs */
    const struct token_private *numbers; /* of pairs */
    struct span public_key;
    int64_t valid_to_ms;     /* 0: never expires */
    const char *description; /* NULL: as it was */
};

/* Writes into a record what a client says of its material. */
CHECKED int change_describe_import(struct version_record *record,
                                   const struct change_material *material, struct kms_error *err);

/* Makes the token object of a new version; what proves it goes into the record. */
CHECKED int change_import_object(const struct change *change,
                                 const struct change_material *material,
                                 struct version_record *record, struct kms_error *err);

/*
 * Brings back a version of change->next that is absent, or whose object the token has lost. These
 * are its bytes: somebody has seen to it. Its record becomes Usable and is staged. After a failure
 * it is durably what it was; what a crash leaves is Absent after the next start.
 */
CHECKED int change_restore_version(struct change *change, const struct uuid *id,
                                   const struct change_material *material, struct kms_error *err);

/* Stages an imported version of change->next as absent. Its object is the caller's to destroy. */
CHECKED int change_take_away(struct change *change, const struct uuid *id, struct kms_error *err);

/*
 * Makes the version that waits for a rotation the current one, and stages it.
 *
 * Errors:  INVALID_STATE (none waits)
 */
CHECKED int change_turn_to_waiting(struct change *change, const char *reason,
                                   struct kms_error *err);
