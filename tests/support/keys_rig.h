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
