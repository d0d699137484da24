#pragma once

/*
 * The keyrings of all regions that one service serves, and what is to be found across them. A key
 * belongs to one region; related multi-Region keys are several records, one per region, that share
 * a family, with it the name, the versions and how these rotate.
 *
 * Any keyring of the service may stand for all of them. Threads: any, after keyring_open.
 */

#include "hsmkms/keys/keyring.h"

/* The keyring of a region, NULL: it is not served. A name that is NULL or "": the first. */
struct keyring *keyring_in(const struct keyring *keyring, const char *region);

/* The keyring that a key belongs to; of what is left of a region no longer served: the first. */
struct keyring *keyring_of(const struct keyring *keyring, const struct key *key);

/* The keyring of the region that an ARN names; the first where it names none that is served. */
struct keyring *keyring_named(const struct keyring *keyring, const char *identifier);

/* A key of any region by the id of its record, in any state: a reference, or NULL. */
struct key *keyring_find(const struct keyring *keyring, const struct uuid *id);

/* Visible customer keys of all regions. */
size_t keyring_count(const struct keyring *keyring);

/* Whether a blank-separated list of names can be served. Errors: CONFIG. */
CHECKED int regions_check(const char *regions, struct kms_error *err);

/* For keyring_open: makes the keyrings behind the first. Errors: CONFIG, INTERNAL. */
CHECKED int regions_open(struct keyring *home, const char *regions, struct kms_error *err);
void regions_close(struct keyring *home);

/*
 * For keyring_open, behind the keys: gives a version to its key, or to all of its family that are
 * not gone; they share its budget.
 *
 * Errors: INTEGRITY (of a key that is unknown)
 */
CHECKED int regions_load_version(struct keyring *home, const struct version_record *version,
                                 struct kms_error *err);
