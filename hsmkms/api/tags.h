#pragma once

/* Rules of tags that hold for CreateKey and TagResource alike. */

#include "hsmkms/api/op.h"

#define TAGS_MOST 50 /* of a key; AWS KMS Developer Guide, Quotas */

/* Errors: TAG (a key twice, a reserved key, too many in one request). */
CHECKED int tags_check(const struct tag_list *tags, struct kms_error *err);
