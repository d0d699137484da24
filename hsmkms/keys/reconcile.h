#pragma once

/* clang-format off */
/*
 * What a crash left behind, brought to an end: records against a token's inventory.
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
 * Done for the service's own token and its keys at start, and for the token of a custom key store
 * and its keys whenever that is connected, which may be at any time.
 *
 * Errors: KEY_UNAVAILABLE (an object cannot be looked at just now: nothing is decided without it)
 */
/* clang-format on */

#include "hsmkms/keys/keyring.h"

/* A token and whose keys are in it. */
struct reconciled {
    struct token *token;
    const char *store; /* id of a custom key store; NULL: keys of none */
};

CHECKED int reconcile(struct keyring *keyring, const struct reconciled *of, unsigned *ret_strangers,
                      struct kms_error *err);

/* Counts the usable versions whose object the token does not hold; changes nothing. */
CHECKED int reconcile_missing(struct keyring *keyring, const struct reconciled *of, size_t *ret,
                              struct kms_error *err);
