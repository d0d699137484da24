#pragma once

/* What successful cryptographic calls leave behind for GetKeyLastUsage. */

#include "hsmkms/api/op.h"

/*
 * Notes that a call used its key, or its keys, if its row says so. For the gate, once the
 * operation has done its work; the record of it is about to be made durable.
 */
void last_use_note(const struct op_call *c);

/* Writes to the database what was noted since it was last written; failures are logged. */
void last_use_store(struct api *api);
