#pragma once

/*
 * The proof that one line belongs to the trail: the line, the hashes beside its way up the tree of
 * its checkpoint, and the signed checkpoint, as JSON. Shows nothing of other lines.
 */

#include "hsmkms/base/buf.h"

/*
 * ret      appended to: {"seq", "index", "leaves", "record", "path", "checkpoint"}; record and
 *          checkpoint are the exact bytes of their lines
 * Errors:  NOT_FOUND (no checkpoint covers the line); CONFIG (directory); INTEGRITY; INTERNAL
 */
CHECKED int audit_prove(const char *dir, uint64_t seq, struct buf *ret, struct kms_error *err);
