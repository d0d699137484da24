#pragma once

/* What happens without a request: due rotations and deletions, budgets, token upkeep. */

#include "hsmkms/api/op.h"

/*
 * Looks at every key once and does what is due, each with an intent and a result in the audit
 * trail. Failures are logged and tried again in the next round.
 * Returns how many keys were changed.
 */
size_t worker_round(struct api *api);
