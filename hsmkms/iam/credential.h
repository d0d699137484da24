#pragma once

/*
 * An access key's secret as it lies in the database: AES-256-GCM in the token under the credential
 * key, bound to the installation and to its row, so that it opens nowhere else. Knows one record at
 * a time; keeps nothing.
 */

#include "hsmkms/iam/access_key.h"

/* IV, then ciphertext and tag. */
#define CREDENTIAL_LEN (TOKEN_IV_LEN + ACCESS_KEY_SECRET_LEN + TOKEN_TAG_LEN)

/*
 * Wraps a secret for a record; its id, account, owner and serial must be set and are bound.
 *
 * secret   ACCESS_KEY_SECRET_LEN bytes
 * ret      CREDENTIAL_LEN bytes are appended; caller owns it
 * Errors:  KEY_UNAVAILABLE, INTERNAL
 */
CHECKED int credential_seal(const struct iam_config *config, const struct access_key_record *record,
                            struct span secret, struct buf *ret, struct kms_error *err);

/*
 * Unwraps a record's secret. ret in its zero state.
 *
 * Errors:  KEY_UNAVAILABLE; INTERNAL (also when it does not open: the fault is ours, not the
 *          caller's)
 */
CHECKED int credential_open(const struct iam_config *config, const struct access_key_record *record,
                            struct secret *ret, struct kms_error *err);
