#pragma once

/*
 * Amazon resource names: six fields between the first five colons; the last may hold more colons.
 * Source: AWS General Reference, Amazon Resource Names.
 */

#include "hsmkms/base/span.h"

enum arn_field {
    ARN_PREFIX, /* "arn" */
    ARN_PARTITION,
    ARN_SERVICE,
    ARN_REGION,
    ARN_ACCOUNT,
    ARN_RESOURCE,
    ARN_FIELDS
};

struct arn {
    struct span fields[ARN_FIELDS];
};

/* Splits; false for fewer fields or another prefix. The fields point into text. */
CHECKED bool arn_split(struct span text, struct arn *ret);

/* 12 digits. */
CHECKED bool account_id_valid(struct span text);
