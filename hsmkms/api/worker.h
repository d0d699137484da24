#pragma once

/* What happens without a request: due rotations and deletions, budgets, token upkeep. */

#include "hsmkms/api/op.h"

/*
 * Looks at every key once and does what is due, each with an intent and a result in the audit
 * trail. Failures are logged and tried again in the next round. Beside a running worker deletions
 * that have not begun wait for a clock that ran evenly for keyring_limits.deletion_hold_s.
 * Returns how many keys were changed.
 */
size_t worker_round(struct api *api);
