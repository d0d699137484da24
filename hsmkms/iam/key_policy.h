#pragma once

/*
 * Key policies: the compiled policy of each key, and what is checked when one is written. The text
 * itself is part of the key's record; here it is kept ready to be asked.
 *
 * Threads: any after iam_open.
 * Source:  AWS KMS Developer Guide, Key policies in AWS KMS; AWS KMS API Reference, PutKeyPolicy.
 */

#include "hsmkms/iam/iam.h"

#define KEY_POLICY_MAX 32768 /* bytes, unless iam_config says otherwise */

CHECKED int key_policies_open(struct iam *iam, struct key_policies **ret, struct kms_error *err);
void key_policies_close(struct key_policies *policies); /* accepts NULL */

/* Which policy a key has that nobody wrote. */
enum key_policy_default {
    KEY_POLICY_CUSTOMER, /* the account, whole */
    KEY_POLICY_MANAGED,  /* keys behind alias/aws/: the account may use and read, nobody change */
};

/* The text of a default policy, as GetKeyPolicy shows it. */
void key_policy_default_text(const struct iam *iam, enum key_policy_default which, struct buf *ret);

/*
 * Checks a text that is to become a key's policy and compiles it.
 *
 * ret       a reference
 * ret_pins  JSON object {ARN: unique id} of the users and roles it names, and a NUL
 * Errors:   LIMIT_EXCEEDED (size), MALFORMED_POLICY
 */
CHECKED int key_policy_compile(struct iam *iam, const char *text, struct policy **ret,
                               struct buf *ret_pins, struct kms_error *err);

/*
 * What a key's policy is from now on.
 *
 * text, pins  as stored with the key; NULL: the default
 * Errors:     INTEGRITY (a stored text that does not compile); INTERNAL
 */
CHECKED int key_policy_set(struct iam *iam, const struct uuid *key_id,
                           enum key_policy_default which, const char *text, const char *pins,
                           struct kms_error *err);
void key_policy_drop(struct iam *iam, const struct uuid *key_id);

/* A reference; NULL: no such key. */
struct policy *key_policy_find(struct iam *iam, const struct uuid *key_id);
/* A reference: for a key that is still to be made. */
struct policy *key_policy_of_default(struct iam *iam, enum key_policy_default which);

/* The text as it is shown: principals that are gone stand there by their unique ids. */
CHECKED int key_policy_shown(struct iam *iam, const char *text, const char *pins, struct buf *ret,
                             struct kms_error *err);
