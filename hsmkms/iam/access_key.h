#pragma once

/*
 * Access keys: the credentials that sign requests. A secret is stored only wrapped by the token's
 * credential key; it is unwrapped once per day and scope to derive the day's signing key, which is
 * cached in locked memory, and wiped.
 *
 * Threads: any after iam_open.
 * Source:  AWS General Reference, Signature Version 4.
 */

#include "hsmkms/base/clock.h"
#include "hsmkms/iam/principal.h"
#include "hsmkms/iam/signing_key.h"
#include "hsmkms/store/schema.h"
#include "pkcs11/token.h"

#define ACCESS_KEY_ID_LEN     UNIQUE_ID_LEN /* AKIA and 16 of A-Z2-7 */
#define ACCESS_KEY_SECRET_LEN 43            /* 256 random bits, base64 without padding */
#define ACCESS_KEYS_PER_USER  2             /* active ones: one replaces the other without a gap */
#define ACCESS_KEYS_MAX       10000         /* of all users; disabled ones stay on record */

struct iam;

struct iam_config {
    struct token *token;
    struct store *store;
    const struct clock *clock;
    struct uuid installation, credential_key;
    struct span credential_canary; /* lives as long as the iam */
    const char *account;
    size_t signing_keys; /* most cached */
};

/* Loads all access keys; store_each's thread rules hold. Errors: INTEGRITY, INTERNAL. */
CHECKED int iam_open(const struct iam_config *config, struct iam **ret, struct kms_error *err);
void iam_close(struct iam *iam);

/*
 * Makes an access key for a user ("" for the account root) and returns its secret, the only time
 * it can be seen. At most two active keys for one user.
 *
 * ret_secret  in its zero state; ACCESS_KEY_SECRET_LEN characters, no NUL
 * Errors:     LIMIT_EXCEEDED; VALIDATION (user name: 1..64 of [A-Za-z0-9+=,.@_-]);
 *             KEY_UNAVAILABLE
 */
CHECKED int access_key_create(struct iam *iam, const char *user_name, char ret_id[21],
                              struct secret *ret_secret, struct kms_error *err);

/*
 * A disabled key is refused from the next request on.
 *
 * Errors:  NOT_FOUND; LIMIT_EXCEEDED (the user has two other active keys); KEY_UNAVAILABLE
 */
CHECKED int access_key_set_active(struct iam *iam, const char *id, bool active,
                                  struct kms_error *err);

/* Calls each for every access key in order of id; each must not call back into the iam. */
typedef void access_key_each_fn(void *arg, const struct access_key_record *record);
void access_key_each(struct iam *iam, access_key_each_fn *each, void *arg);

/*
 * The day's signing key for a scope and the principal it belongs to. ret_key in its zero state,
 * SHA256_LEN bytes. The scope's region and service are the caller's to check.
 *
 * Errors:  UNRECOGNIZED_CLIENT (unknown or inactive); KEY_UNAVAILABLE (not cached and the token is
 *          out of reach); INTERNAL (also a stored secret that does not open)
 */
CHECKED int access_key_signing_key(struct iam *iam, const struct signing_scope *scope,
                                   struct secret *ret_key, struct principal *ret_principal,
                                   struct kms_error *err);
