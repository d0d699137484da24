#pragma once

/*
 * Several requests in the body of one: the items of batch_input. Each is prepared, authorized,
 * bound to its own context, run and recorded as if it had come alone; one that fails says so in its
 * place and the others are not touched by it. Knows no operation.
 *
 * A batch that is not well-formed is refused before anything is run. So is one with members beside
 * batch_input that belong into items, which Vault ignores: who sends a context wants it bound.
 *
 * Source: HashiCorp Vault HTTP API, Transit secrets engine: Encrypt, Decrypt and Rewrap Data.
 */

#include "hsmkms/doors/transit_call.h"

/* Each item waits for its record to be durable, and the batch holds its worker meanwhile. At 15 ms,
 * a slow disk, these are the 2 s that other requests wait for a worker (limits.queue_time). */
#define TRANSIT_BATCH_MAX 128

/* Whether a body says that it is a batch, well-formed or not. */
CHECKED bool transit_is_batch(const json_t *body);

/*
 * Prepares the one operation of a body, or runs those of a batch and writes their answer down.
 *
 * item     prepares the operation of one; the route's write makes data of its result
 * Errors:  VALIDATION (a malformed batch); those of an item when all fail alike and none is to
 *          blame for it: no permission, too many requests, the token out of reach
 * Threads: a service worker
 */
CHECKED int transit_prepare(struct transit_call *t, const json_t *body,
                            int (*item)(struct transit_call *t, const json_t *body,
                                        struct kms_error *err),
                            struct kms_error *err);
