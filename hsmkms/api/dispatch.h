#pragma once

/* The gate that all calls pass, and the only caller of an operation's run: see api_call_run(). */

#include "hsmkms/api/op.h"

/*
 * Takes a request through decoding, resolving, authorization, state, checks and dry run, and ends
 * with a place in the audit queue and, for a change, a durable intent.
 *
 * Errors:  everything that refuses a request before its work begins
 */
CHECKED int dispatch_gate(struct op_call *c, struct kms_error *err);

/* Releases keys and request, not the call. */
void dispatch_release(struct op_call *c);
