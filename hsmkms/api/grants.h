#pragma once

/*
 * What the grant operations share with each other and with the gate. Knows requests and answers;
 * what a grant means is in hsmkms/iam/grant.h.
 */

#include "hsmkms/api/facts.h"

/* A row for AWS services as principals, which are refused with a text of their own. */
#define SERVICE_PRINCIPAL_ROW(name, place)                                                         \
    { name, OPTIONAL, place, 1, 128, .log = LOGGED, .pattern = &pattern_service }

/* Errors: UNSUPPORTED, naming the member. */
CHECKED int grants_no_service(const char *member, struct kms_error *err);

/* A member that is needed and not there, by its path in messages. Errors: VALIDATION. */
CHECKED int grants_absent(const char *path, struct kms_error *err);

/* The constraint that a request asks for, as texts; pairs borrowed from the request. */
struct wanted_constraint {
    enum grant_constraint kind;
    struct condition_pair pairs[GRANT_PAIRS_MAX];
    size_t count;
};
void grants_constraint(const struct request_constraints *constraints, struct wanted_constraint *ret);

/* "EncryptionContextSubset" or "EncryptionContextEquals"; NULL without a constraint. */
const char *grants_constraint_name(enum grant_constraint kind);

/* Refuses what is no grant id. Errors: INVALID_GRANT_ID. */
CHECKED int grants_check_id(const char *id, struct kms_error *err);

/*
 * What conditions can ask about the grant that a call is about, or that a CreateGrant asks for:
 * its constraint as encryption context, and whether an AWS service asked for it, which is never.
 */
void grants_add_facts(const struct op_call *c, struct facts *ret);
