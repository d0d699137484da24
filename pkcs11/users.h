#pragma once

/*
 * Who uses which module: one list per function list that this process has started, so that the
 * first token of a module calls C_Initialize, the last one C_Finalize, and none is open twice.
 * What is started belongs to the process, as the standard has it; so this is the one place of the
 * token layer with a variable of its own.
 *
 * Threads: any; one mutex, held over C_Initialize and C_Finalize.
 * Source:  PKCS #11 v2.40, C_Initialize: once per process; section 6.7.4, logins are per token.
 */

#include "pkcs11/module.h"

/*
 * Counts a user; the first one calls C_Initialize.
 *
 * Errors: CONFIG (refused, or started with other init_args)
 */
CHECKED int module_users_add(struct module *module, void *init, struct kms_error *err);

/* Counts one less; the last one calls C_Finalize, if C_Initialize was ours. */
void module_users_drop(struct module *module);

/* Marks the module's slot as taken. Errors: CONFIG (another user has it). */
CHECKED int module_users_claim(struct module *module, struct kms_error *err);
