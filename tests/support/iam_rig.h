#pragma once

/*
 * A disposable SoftHSM2 token with the service's own keys, a database authenticated by it and the
 * whole iam on top: everything real, in a folder of its own under $TMPDIR.
 */

#include "hsmkms/iam/access_key.h"
#include "tests/support/softhsm.h"

#define RIG_ACCOUNT "111122223333"

struct iam_rig {
    struct softhsm softhsm;
    char database[300]; /* path; another one for each iam_rig_begin */
    unsigned databases;
    struct token *token;
    struct uuid installation, mac_key, credential_key;
    uint8_t canary[TOKEN_CANARY_LEN];
    struct clock clock;
    size_t signing_keys;
    struct store *store;
    struct iam *iam;
};

/* Makes the token; before any thread exists. Fails the test when it cannot. */
void iam_rig_up(struct iam_rig *rig);
void iam_rig_down(struct iam_rig *rig);

/* The same around a group of tests. */
int iam_rig_group_up(void **state);
int iam_rig_group_down(void **state);

/* Opens and closes database and iam, as a start and an end of the daemon would. */
CHECKED int iam_rig_open(struct iam_rig *rig, struct kms_error *err);
void iam_rig_close(struct iam_rig *rig);
void iam_rig_restart(struct iam_rig *rig); /* must succeed */

/* A new, empty database, opened. */
void iam_rig_begin(struct iam_rig *rig);

/* Makes a user unless there is one; must succeed. */
void iam_rig_user(struct iam_rig *rig, const char *account, const char *name);
