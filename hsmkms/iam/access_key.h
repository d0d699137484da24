#pragma once

/*
 * Access keys: the long-term credentials that sign requests. A secret is stored only wrapped by
 * the token's credential key, bound to its owner; it is unwrapped once per day and scope to derive
 * the day's signing key, which is cached in locked memory, and wiped.
 *
 * Threads: any after iam_open.
 * Source:  AWS General Reference, Signature Version 4; AWS IAM API Reference, CreateAccessKey.
 */

#include "hsmkms/iam/iam.h"

#define ACCESS_KEY_ID_LEN     UNIQUE_ID_LEN /* AKIA and 16 of A-Z2-7 */
#define ACCESS_KEY_SECRET_LEN 43            /* 256 random bits, base64 without padding */
#define ACCESS_KEYS_PER_USER  2             /* active ones: one replaces the other without a gap */
#define ACCESS_KEYS_MAX       10000         /* of all owners; disabled ones stay until deleted */

/* Errors: INTEGRITY, INTERNAL. directory is open. */
CHECKED int access_keys_open(struct iam *iam, struct access_keys **ret, struct kms_error *err);
void access_keys_close(struct access_keys *keys); /* accepts NULL */

/*
 * Makes an access key for a user ("" for the root of the account) and returns its secret, the only
 * time it can be seen. At most two active keys for one user.
 *
 * ret_secret  in its zero state; ACCESS_KEY_SECRET_LEN characters, no NUL
 * Errors:     NOT_FOUND (no such user or account); LIMIT_EXCEEDED; KEY_UNAVAILABLE
 */
CHECKED int access_key_create(struct iam *iam, const char *account, const char *user_name,
                              char ret_id[ACCESS_KEY_ID_LEN + 1], struct secret *ret_secret,
                              struct kms_error *err);

/*
 * A disabled key is refused from the next request on.
 *
 * Errors:  NOT_FOUND; LIMIT_EXCEEDED (the user has two other active keys); KEY_UNAVAILABLE
 */
CHECKED int access_key_set_active(struct iam *iam, const char *id, bool active,
                                  struct kms_error *err);

/* Errors: NOT_FOUND; CONFLICT (it is active: disable it first). */
CHECKED int access_key_delete(struct iam *iam, const char *id, struct kms_error *err);

/* Whether a user has access keys, active or not; unique_id of the user. */
bool access_key_owned(struct iam *iam, const char *unique_id);

/* Calls each for every access key in order of id; each must not call back into the iam. */
typedef void access_key_each_fn(void *arg, const struct access_key_record *record);
void access_key_each(struct iam *iam, access_key_each_fn *each, void *arg);

/*
 * iam_signing_key() for an access key id that begins with AKIA: claim->session_token is empty.
 * Errors: UNRECOGNIZED_CLIENT (unknown, inactive, its user is disabled or gone, root is disabled)
 */
CHECKED int access_key_signing_key(struct iam *iam, const struct credential_claim *claim,
                                   struct secret *ret_key, struct principal *ret_principal,
                                   struct kms_error *err);
