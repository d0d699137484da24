#pragma once

/*
 * A directory over a real SoftHSM2 token and a real database, with a clock that a test sets; and
 * its whole content as text, so that two states can be compared.
 */

#include "hsmkms/iam/directory.h"
#include "tests/support/softhsm.h"

#define RIG_OWNER  "111122223333" /* owns the keys */
#define RIG_TENANT "444455556666"

struct directory_rig {
    struct softhsm softhsm;
    char database[300]; /* path; another one for each directory_rig_begin */
    unsigned databases;
    struct token *token;
    struct uuid mac_key;
    struct clock clock;
    struct store *store;
    struct directory *directory;
};

/* Makes the token; before any thread exists. Fails the test when it cannot. */
int directory_rig_up(void **state);
int directory_rig_down(void **state);

CHECKED int directory_rig_open(struct directory_rig *rig, struct kms_error *err);
void directory_rig_close(struct directory_rig *rig);

/* A new, empty database, opened. */
void directory_rig_begin(struct directory_rig *rig);

/* Closes and opens store and directory; the content must be the same. */
void directory_rig_restart(struct directory_rig *rig);

/* Appends everything the directory shows, in order. */
void directory_rig_dump(struct directory_rig *rig, struct buf *ret);

/* What the tests do most; each must succeed. */
void rig_user(struct directory_rig *rig, const char *account, const char *name);
void rig_role(struct directory_rig *rig, const char *account, const char *name, const char *trust);
struct identity_name user_name(const char *account, const char *name);
struct identity_name role_name(const char *account, const char *name);

#define ALLOW(action, resource)                                                                    \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"" action        \
    "\",\"Resource\":\"" resource "\"}]}"
#define TRUST(principal)                                                                           \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":"     \
    "\"" principal "\"},\"Action\":\"sts:AssumeRole\"}]}"

/* Do the policies of a user or role, as they are now, allow an action on a key of the owner? The
 * boundary counts. */
bool rig_allows(struct directory_rig *rig, const struct identity_name *name, const char *action);

/* Does the trust policy of a role name this user, as both are now? */
bool rig_trusts(struct directory_rig *rig, const char *account, const char *role,
                const char *user_account, const char *user);
