#pragma once

/*
 * How many requests an account may make in a second, by kinds of operation as AWS KMS counts them.
 * A kind is counted for all its operations together (cryptography, by the kind of key) or for each
 * of them. Nothing is limited unless it was set: the queue in front of the operations is bounded
 * and fair already, and a gateway must not be throttled by a number that nobody chose.
 *
 * Each count is one atomic number, the time at which an even flow of requests would have reached
 * it (generic cell rate algorithm, ITU-T I.371): a second's worth may come at once. A request
 * counts when its key was found, before it is decided, allowed or not.
 *
 * Threads: any; no lock.
 * Source:  AWS KMS Developer Guide, Request quotas.
 */

#include "hsmkms/api/op.h"

struct rates;

CHECKED int rates_new(const struct rate_limits *limits, struct rates **ret, struct kms_error *err);
void rates_free(struct rates *rates); /* accepts NULL */

/* Counts a request with its keys for the caller's account. Errors: THROTTLING. */
CHECKED int rates_count(struct rates *rates, const struct op_call *c, struct kms_error *err);

/*
 * One count: true, and counted, while a second's worth is not used up. due_ns begins with 0; times
 * are of the monotonic clock. For rates.c and its test.
 */
CHECKED bool rate_take(atomic_llong *due_ns, int64_t now_ns, int64_t per_second);
