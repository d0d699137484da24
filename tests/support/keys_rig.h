#pragma once

/*
 * Keys over a real SoftHSM2 token and a real database, with a clock that a test sets. A restart
 * closes and opens the keyring and the database; the token stays, as in a process it is opened
 * once.
 */

#include "hsmkms/keys/keyring.h"
#include "tests/support/softhsm.h"

struct keys_rig {
    struct softhsm softhsm;
    struct token *token;
    struct uuid mac_key;
    struct installation_record installation;
    struct clock clock;
    struct keyring_limits limits;
    struct store *store;
    struct keyring keyring;
    unsigned strangers;  /* of the last start */
    const char *regions; /* that the next start serves; NULL: us-east-1 */
};

/* Makes token and database and opens both; ends the test program when it cannot. */
int keys_rig_up(void **state);
int keys_rig_down(void **state);

void keys_rig_stop(struct keys_rig *rig);
CHECKED int keys_rig_start(struct keys_rig *rig, struct kms_error *err);
void keys_rig_restart(struct keys_rig *rig); /* must succeed */

/* The newest snapshot of a key that the catalog must have, a reference; its state. */
struct key *keys_rig_key(const struct keys_rig *rig, const struct uuid *id);
enum key_state keys_rig_state(const struct keys_rig *rig, const struct uuid *id);

/* A new key for encryption, a reference. */
struct key *keys_rig_make(struct keys_rig *rig);

/* The blob of a text under the newest snapshot of a key and an empty context. */
struct buf keys_rig_wrap(struct keys_rig *rig, const struct uuid *id, const char *plain);

/* Opens a blob under the newest snapshot of its key: KMS_ERR_NONE when it holds this text, else the
 * error's code. keys_rig_opens: it must, with an empty context. */
enum kms_err keys_rig_unwrap(struct keys_rig *rig, struct span blob, struct span context,
                             const char *expected);
void keys_rig_opens(struct keys_rig *rig, const struct buf *blob, const char *expected);

/* What a kill leaves: one row as it is, the object of a key version without its row. */
void keys_rig_put(struct keys_rig *rig, const struct table *table, const void *record);
void keys_rig_object(struct keys_rig *rig, const struct uuid *version_id);

/* The row of a rotation that was announced and came no further: version 2, on demand. */
void keys_rig_leave_rotation(struct keys_rig *rig, const struct uuid *key_id,
                             const struct uuid *version_id);
