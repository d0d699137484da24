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
#include "hsmkms/crypto/digest.h"
#include "hsmkms/iam/principal.h"
#include "hsmkms/store/schema.h"
#include "pkcs11/token.h"

#define ACCESS_KEY_ID_LEN     20 /* AKIA and 16 of A-Z2-7 */
#define ACCESS_KEY_SECRET_LEN 43 /* 256 random bits, base64 without padding */

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

/* Loads all access keys. Errors: INTEGRITY, INTERNAL. */
CHECKED int iam_open(const struct iam_config *config, struct iam **ret, struct kms_error *err);
void iam_close(struct iam *iam);

/*
 * Makes an access key for a user ("" for the account root) and returns its secret, the only time
 * it can be seen. At most two keys for one user.
 *
 * Errors:  LIMIT_EXCEEDED; VALIDATION (user name: 1..64 of [A-Za-z0-9+=,.@_-])
 */
CHECKED int access_key_create(struct iam *iam, const char *user_name, char ret_id[21],
                              struct secret *ret_secret, struct kms_error *err);

/* A disabled key is refused from the next request on. Errors: NOT_FOUND. */
CHECKED int access_key_set_active(struct iam *iam, const char *id, bool active,
                                  struct kms_error *err);

/* Calls each for every access key in order of id. */
typedef void access_key_each_fn(void *arg, const struct access_key_record *record);
void access_key_each(struct iam *iam, access_key_each_fn *each, void *arg);

/*
 * The day's signing key for a scope and the principal it belongs to. ret_key in its zero state,
 * SHA256_LEN bytes.
 *
 * Errors:  UNRECOGNIZED_CLIENT (unknown or inactive)
 */
struct signing_scope {
    struct span access_key_id, date /* YYYYMMDD */, region, service;
};
CHECKED int access_key_signing_key(struct iam *iam, const struct signing_scope *scope,
                                   struct secret *ret_key, struct principal *ret_principal,
                                   struct kms_error *err);
