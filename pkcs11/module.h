#pragma once

/*
 * One PKCS#11 module, loaded by its exact path and initialised once, and the one slot in it whose
 * token a PKCS#11 URI (RFC 7512) names. Knows no sessions and no keys.
 *
 * The module is never unloaded: libraries that modules pull in register exit handlers, and a
 * second load after dlclose() is a known way to crash.
 *
 * C_Initialize and C_Finalize are calls of a process, not of a token: tokens of one module share
 * them and are counted (users.h).
 */

#include <p11-kit/p11-kit.h>

#include "hsmkms/base/error.h"
#include "pkcs11/mech.h"

struct module {
    CK_FUNCTION_LIST *list;
    const char *path, *init_args, *uri; /* borrowed for the life of the module */
    bool started;                       /* counted as a user of what C_Initialize started */
    bool found;                         /* slot is the one that the URI names */
    CK_SLOT_ID slot;
    CK_INFO info;
    CK_TOKEN_INFO token;
    const struct profile *profile;
    struct module *next_user; /* of the same function list; for users.c alone */
};

/* Loads; calls nothing in it yet. Errors: CONFIG. */
CHECKED int module_load(struct module *ret, const char *path, const char *init_args,
                        const char *uri, struct kms_error *err);

/*
 * C_Initialize with OS locking unless another token did, C_GetInfo, profile. From here until
 * module_stop() the struct stays where it is.
 *
 * Errors: CONFIG (also: init_args are not those it was started with); KEY_UNAVAILABLE
 */
CHECKED int module_start(struct module *module, struct kms_error *err);

/*
 * C_Finalize, if C_Initialize was ours and no other token uses the module. All sessions are closed.
 */
void module_stop(struct module *module);

/*
 * Finds the slot. Another process that rewrites its token can hide it for a moment, and modules
 * list tokens only when they start: none found means stop, wait and start again, a few times;
 * which a module that others use does not notice.
 *
 * Errors:  CONFIG (the URI, or a token that is open already); TOKEN_MISSING (none or several match)
 */
CHECKED int module_find_token(struct module *module, struct kms_error *err);

/* Reads the token's flags anew. */
CHECKED int module_token_flags(const struct module *module, CK_FLAGS *ret, struct kms_error *err);
