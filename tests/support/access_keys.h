#pragma once

/* What tests of access keys do most: make one, and see whether it signs. */

#include "tests/support/check.h"
#include "tests/support/iam_rig.h"

#define ACCESS_KEYS_DATE "20261120"

/* A new access key of a user of the rig's account ("": its root), who is made if there is none; its
 * secret only where asked for. */
void access_keys_create(struct iam_rig *rig, const char *user_name, char ret_id[21],
                        struct secret *ret_secret);

/* What a request signed by this key at this date says. */
struct credential_claim access_keys_claim(const char *id, const char *date);
CHECKED int access_keys_signing_key(struct iam_rig *rig, const char *id, const char *date,
                                    struct secret *ret, struct kms_error *err);

/* The signing key of an access key is the one that its secret gives; or there is none. */
void access_keys_signs(struct iam_rig *rig, const char *id, const struct secret *secret);
void access_keys_refused(struct iam_rig *rig, const char *id, enum kms_err expected);
