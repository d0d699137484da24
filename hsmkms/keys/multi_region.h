#pragma once

/*
 * What makes and leads a family of multi-Region keys. A replica is a record of its own in another
 * region: policy, tags, aliases, grants, description and state are its own, versions and rotation
 * are the family's. Nothing is made in the token, so each change is one transaction, whole or not
 * at all: the states Creating and Updating that AWS shows meanwhile do not occur.
 *
 * Threads: any; changes run one after the other.
 * Source:  AWS KMS Developer Guide, Multi-Region keys in AWS KMS.
 */

#include "hsmkms/keys/keyring.h"

struct replica_draft {
    const char *region;
    const char *description;       /* "" for none */
    const char *policy;            /* NULL: the default policy */
    const char *policy_pins;       /* whom it names; NULL: nobody */
    const struct tag_record *tags; /* checked */
    size_t tag_count;
};

/*
 * Makes a replica of an enabled primary.
 *
 * keyring  of the primary's region
 * ret      a reference to the Enabled replica
 * Errors:  as key_may; UNSUPPORTED (no primary, a region that is not served); VALIDATION (its own
 *          region); ALREADY_EXISTS; LIMIT_EXCEEDED
 */
CHECKED int multi_region_replicate(struct keyring *keyring, const struct uuid *id,
                                   const struct replica_draft *draft, struct key **ret,
                                   struct kms_error *err);

/* The same refusals for a snapshot, before anything is written down. */
CHECKED int multi_region_may_replicate(const struct keyring *keyring, const struct key *key,
                                       const char *region, struct kms_error *err);

/*
 * Lets the replica of a region lead, and makes the primary its replica. Both must be enabled.
 *
 * heir    the replica for which it was allowed; where another one is there by now the caller has to
 *         ask again: DEPENDENCY_TIMEOUT, which clients repeat by themselves. NULL: none was found
 * Errors: as key_may; UNSUPPORTED (no primary); VALIDATION (it is there); NOT_FOUND (no replica)
 */
CHECKED int multi_region_move_primary(struct keyring *keyring, const struct uuid *id,
                                      const char *region, const struct uuid *heir,
                                      struct kms_error *err);

/* The same refusals for a snapshot, before anything is written down. */
CHECKED int multi_region_may_move(const struct keyring *keyring, const struct key *key,
                                  const char *region, struct kms_error *err);

/* The key of a family in a region, that clients can see: a reference, or NULL. */
struct key *multi_region_member(const struct keyring *keyring, const struct uuid *family);
