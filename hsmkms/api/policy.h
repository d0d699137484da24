#pragma once

/* Key policy documents as far as they are looked at today. */

#include "hsmkms/api/op.h"

#define POLICY_BYTES_MAX 32768 /* AWS KMS Developer Guide, Quotas */

/* NULL passes. Errors: LIMIT_EXCEEDED, MALFORMED_POLICY (no JSON object). */
CHECKED int policy_check(const char *policy, struct kms_error *err);

/* The policy of a key that was given none; pretty-printed as AWS does. */
void policy_default(const struct keyring *keyring, struct buf *ret);
