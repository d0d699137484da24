#pragma once

/*
 * A token beside the one with the master keys, with which another library of this process works by
 * itself (GnuTLS signs TLS handshakes in it). What decides about safety stays here: C_Initialize
 * with OS locking before the other library sees the module, one login under the same PIN rule as
 * the master token's (login.h), C_Finalize after the other library has ended. It finds the token
 * logged in (a login belongs to process and token) and never sees the PIN.
 *
 * The module may be the master token's own, for another token in it. C_Finalize would then take
 * away the sessions of both, and old session numbers would come to mean new sessions; so from
 * side_token_open() on a module that is used twice is not started again before it is closed.
 *
 * Threads: side_token_ready any, one at a time waits for the other; the rest at start and end.
 * Source:  PKCS #11 v2.40 sections 5.4 (C_Initialize), 5.6 (C_Login).
 */

#include "pkcs11/token.h"

struct side_token;

struct side_token_config {
    const char *module;    /* exact path, beginning with '/' */
    const char *uri;       /* RFC 7512: exactly one token that is not master, and an object in it */
    const char *pin_file;  /* as in struct token_config */
    const char *state_dir; /* the PIN latch and the guard's copies: not that of master */
    struct token *master;  /* NULL: none; is closed after this one */
};

/*
 * Before the other library uses the module and before other threads use master.
 *
 * Errors:  CONFIG (module, URI, PIN file; the URI names the master token, no object, or brings a
 *          PIN); TOKEN_MISSING (no or several tokens match); PIN_LATCHED
 */
CHECKED int side_token_open(const struct side_token_config *config, struct side_token **ret,
                            struct kms_error *err);

/*
 * Logs in again if the login was lost.
 * Errors: CONFIG; KEY_UNAVAILABLE (the token is gone); PIN_LATCHED
 */
CHECKED int side_token_ready(struct side_token *side, struct kms_error *err);

void side_token_close(struct side_token *side); /* accepts NULL */
