#pragma once

/* clang-format off */
/*
 * What a crash left behind, brought to an end: records against the token's inventory, once at
 * start, before threads exist.
 *
 *   token object   record           what is done
 *   ------------   --------------   -------------------------------------------------------------
 *   present        Creating         verified, then finished: the version becomes usable. It may
 *                                   have encrypted something if the database is older than it seems
 *   absent         Creating         Aborted
 *   any            Creating, of a   Destroyed: the deletion did not know of it
 *                  Deleted key
 *   absent         Usable           the key is Unavailable until the object is back; never made anew
 *   present        Destroyed        destroyed again: the token had brought it back
 *   any            Creating, of     Destroyed, and Absent again: the client has the bytes and was
 *                  material that    told nothing
 *                  was there before
 *   present        Absent           destroyed again
 *   any            key Deleting     left to the worker, which resumes the deletion
 *   present        none             never touched; counted
 *
 * Errors: KEY_UNAVAILABLE (an object cannot be looked at just now: nothing is decided without it)
 */
/* clang-format on */

#include "hsmkms/keys/keyring.h"

CHECKED int reconcile(struct keyring *keyring, unsigned *ret_strangers, struct kms_error *err);
