#pragma once

/*
 * Whether a key may do what an operation wants of it: its usage and its algorithms, refused in AWS's
 * words. key NULL stands for a managed key that is still to be made, which is symmetric.
 *
 * Source: AWS KMS API Reference, InvalidKeyUsageException.
 */

#include "hsmkms/api/op.h"

/* Errors: INVALID_KEY_USAGE. arn: of the key, for the text. */
CHECKED int usage_check(const struct op_call *c, const struct key *key, const char *arn,
                        enum spec_usage usage, struct kms_error *err);

/*
 * The key has the usage already.
 *
 * Errors:  INVALID_KEY_USAGE; UNSUPPORTED (an algorithm of the spec that this service has not)
 */
CHECKED int usage_algorithm(const struct key *key, enum spec_usage usage, const char *name,
                            const struct algorithm **ret, struct kms_error *err);

static inline bool usage_is_symmetric(const struct key *key)
{
    return key == NULL || keyspec_is_symmetric(key->spec);
}
