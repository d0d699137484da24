#pragma once

/*
 * What serving and making an installation have in common; for kms.c and kms_init.c alone. Each
 * opens its part into struct kms, where kms_done() finds it. Errors are those of kms_open().
 */

#include "hsmkms/kms.h"

/* Labels of the service's own token objects. */
#define LABEL_META_MAC   "hsmkms:meta-mac"
#define LABEL_CREDENTIAL "hsmkms:cred-wrap:1"
#define LABEL_AUDIT      "hsmkms:audit-sign:1"

/* They and the key versions, as the token's inventory shows them. */
struct own_objects {
    struct uuid meta_mac, credential, audit;
    unsigned meta_macs, credentials, audits, versions;
};

/* The first region name: what ARNs carry. */
struct arn_text kms_region(const struct settings *settings);

/* One process at a time works in a state directory; it is made when it is missing. */
CHECKED int kms_lock_state_dir(struct kms *kms, struct kms_error *err);

CHECKED int kms_open_token(struct kms *kms, struct kms_error *err);

/* Errors: INTEGRITY (the keys of more than one installation). */
CHECKED int kms_find_own_objects(struct kms *kms, struct own_objects *ret, struct kms_error *err);

bool kms_has_database(const struct kms *kms);

/* Opens the database, or makes it; installation.meta_mac_key is set. */
CHECKED int kms_open_store(struct kms *kms, struct kms_error *err);

/* Reads the record of the installation; its id stays nil where there is none. */
CHECKED int kms_read_installation(struct kms *kms, struct kms_error *err);

CHECKED int kms_open_trail(struct kms *kms, struct audit_tail *ret, struct kms_error *err);

/* As notary_open(). */
CHECKED int kms_open_notary(struct kms *kms, struct kms_error *err);
CHECKED int kms_open_iam(struct kms *kms, struct kms_error *err);
