#pragma once

/*
 * Signs the audit trail by a key pair of the token, and keeps in the database how far: the trail
 * cannot lose its end, nor its checkpoints, without the database knowing.
 *
 * Threads: one at a time: the worker while it runs, whoever opens and closes before and after.
 */

#include "hsmkms/audit/audit.h"
#include "hsmkms/base/clock.h"
#include "hsmkms/store/schema.h"
#include "pkcs11/token_asym.h"

struct notary;

struct notary_config {
    struct token *token;
    struct store *store;
    struct audit *audit;
    const struct clock *clock;
    const char *dir;                          /* of the trail; borrowed for the call */
    struct installation_record *installation; /* audit_checkpoint is kept up to date */
    int64_t records, seconds;
};

/* Makes the pair. Errors: TOKEN_UNSUITABLE (no signatures with P-256); those of the token. */
CHECKED int notary_make_key(struct token *token, struct installation_record *installation,
                            const char *label, struct kms_error *err);

/* Takes up a pair that an interrupted init made. */
CHECKED int notary_find_key(struct token *token, const struct uuid *id,
                            struct installation_record *installation, struct kms_error *err);

/*
 * Compares trail, checkpoints and database, and sees that the key signs.
 *
 * Errors:  INTEGRITY (lines or checkpoints are missing, or not those that were signed); ROLLBACK
 *          (a checkpoint was signed when the database was newer); TOKEN_UNSUITABLE;
 *          KEY_UNAVAILABLE
 */
CHECKED int notary_open(const struct notary_config *config, struct notary **ret,
                        struct kms_error *err);

bool notary_due(struct notary *notary);

/* Signs what is new. Errors: INTEGRITY; KEY_UNAVAILABLE; INTERNAL. */
CHECKED int notary_sign(struct notary *notary, struct kms_error *err);

/* Accepts NULL. */
void notary_close(struct notary *notary);
