#pragma once

/*
 * Whom a grant names: texts of a request become principals that exist, pinned to their unique ids.
 *
 * Source: AWS KMS API Reference, CreateGrant, GranteePrincipal and RetiringPrincipal.
 */

#include "hsmkms/iam/directory.h"

struct grant_principal {
    char arn[IDENTITY_ARN_MAX];
    char unique_id[UNIQUE_ID_LEN + 1]; /* of a user, a role, a session's role; "" for others */
};

/*
 * An account (12 digits or its root's ARN), user, role, session of a role or federated user.
 * Errors: INVALID_ARN
 */
CHECKED int grant_principal_find(struct directory *directory, const char *text,
                                 struct grant_principal *ret, struct kms_error *err);
