#pragma once

/*
 * Every change to a key, each one whole or not at all: create, rotate, enable, disable, schedule,
 * cancel, delete, describe, alias, tag, policy. What touches the token is intent-first: a record
 * in state Creating (or Deleting) is durable before the token object is made (or destroyed), and
 * the next start finishes what a crash left behind.
 *
 * The key is looked up again and its state checked under the change lock, so that a decision
 * taken on an older snapshot cannot do harm. arn texts follow AWS.
 *
 * Threads: any; changes run one after the other.
 * Errors:  NOT_FOUND, DISABLED, INVALID_STATE, LIMIT_EXCEEDED, UNSUPPORTED as each operation of the
 *          AWS KMS API Reference documents; KEY_UNAVAILABLE, INTERNAL.
 */

#include "hsmkms/keys/keyring.h"

struct key_draft {
    const char *key_store;   /* id of a connected custom key store; NULL: the service's own token */
    const char *spec;        /* a row of keyspec.h; NULL: SYMMETRIC_DEFAULT */
    enum spec_usage usage;   /* one that the spec allows */
    const char *description; /* "" for none */
    const char *policy;      /* NULL: the default policy */
    const char *policy_pins; /* whom it names, for whoever decides by it; NULL: nobody */
    bool multi_region;       /* the primary of a new family */
    bool external;           /* material comes later: import.h */
    bool aws_managed;        /* rotates yearly, belongs to an alias/aws/ name */
    const struct tag_record *tags;
    size_t tag_count;
};

/* Makes a key with one verified version. ret: a reference to the Enabled or PendingImport key. */
CHECKED int lifecycle_create(struct keyring *keyring, const struct key_draft *draft,
                             struct key **ret, struct kms_error *err);

/* The managed key behind alias/aws/SERVICE; made, with its alias, when it does not exist yet. */
CHECKED int lifecycle_managed_key(struct keyring *keyring, const char *alias, struct key **ret,
                                  struct kms_error *err);

enum rotation_cause { ROTATE_ON_DEMAND, ROTATE_DUE, ROTATE_BUDGET };

/*
 * Makes a new version and lets it encrypt; the older ones go on decrypting. Does nothing when what
 * was due is so no longer.
 */
CHECKED int lifecycle_rotate(struct keyring *keyring, const struct uuid *id,
                             enum rotation_cause cause, struct kms_error *err);

CHECKED int lifecycle_set_enabled(struct keyring *keyring, const struct uuid *id, bool enabled,
                                  struct kms_error *err);

/* ret_due_ms: 0 for a multi-Region primary with replicas, which waits for the last to be gone. */
CHECKED int lifecycle_schedule_deletion(struct keyring *keyring, const struct uuid *id,
                                        int64_t days, int64_t *ret_due_ms, struct kms_error *err);
CHECKED int lifecycle_cancel_deletion(struct keyring *keyring, const struct uuid *id,
                                      struct kms_error *err);

/*
 * Destroys every token object of a key whose deletion is due, then turns its rows to tombstones.
 * What other multi-Region keys share with it stays.
 */
CHECKED int lifecycle_delete_due(struct keyring *keyring, const struct uuid *id,
                                 struct kms_error *err);

CHECKED int lifecycle_set_description(struct keyring *keyring, const struct uuid *id,
                                      const char *text, struct kms_error *err);
CHECKED int lifecycle_set_policy(struct keyring *keyring, const struct uuid *id, const char *policy,
                                 const char *policy_pins, struct kms_error *err);

/* period_days 0: the period it had, or 365. */
CHECKED int lifecycle_enable_rotation(struct keyring *keyring, const struct uuid *id,
                                      int64_t period_days, struct kms_error *err);
CHECKED int lifecycle_disable_rotation(struct keyring *keyring, const struct uuid *id,
                                       struct kms_error *err);

CHECKED int lifecycle_create_alias(struct keyring *keyring, const char *name, const struct uuid *id,
                                   struct kms_error *err);

/*
 * from: the key that the alias pointed at when the change was allowed. Where it points at another
 * one by now the caller has to ask again: DEPENDENCY_TIMEOUT, which clients repeat by themselves.
 */
CHECKED int lifecycle_update_alias(struct keyring *keyring, const char *name,
                                   const struct uuid *from, const struct uuid *id,
                                   struct kms_error *err);
CHECKED int lifecycle_delete_alias(struct keyring *keyring, const char *name,
                                   const struct uuid *from, struct kms_error *err);

/* Adds tags or replaces their values; most 50 in all. Errors: TAG. */
CHECKED int lifecycle_tag(struct keyring *keyring, const struct uuid *id,
                          const struct tag_record *tags, size_t count, struct kms_error *err);
CHECKED int lifecycle_untag(struct keyring *keyring, const struct uuid *id,
                            const char *const *tag_keys, size_t count, struct kms_error *err);

/* What the clock or the GCM budget asks for; the worker audits each and calls the function. */
enum due_kind { DUE_NOTHING, DUE_ROTATION, DUE_BUDGET_ROTATION, DUE_DELETION, DUE_EXPIRY };
enum due_kind lifecycle_due(const struct keyring *keyring, const struct key *key);

/*
 * Makes the next block of GCM invocations of a version durable before it is used.
 * Errors: INTERNAL, and from gcm_refuse on.
 */
CHECKED int lifecycle_reserve_block(struct keyring *keyring, const struct uuid *key_id,
                                    const struct uuid *version_id, struct kms_error *err);
