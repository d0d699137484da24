#pragma once

/*
 * Counters of calls by operation and result, and how long they took. Threads: any; atomics.
 * Source: Prometheus, exposition formats.
 */

#include "hsmkms/api/op.h"

CHECKED int metrics_new(struct metrics **ret, struct kms_error *err);
void metrics_free(struct metrics *metrics);

/* op NULL: a request that is no operation. result NONE: success. */
void metrics_count(struct metrics *metrics, const struct op *op, enum kms_err result, int64_t us);

/* Appends the text form. */
void metrics_format(const struct metrics *metrics, struct buf *ret);
