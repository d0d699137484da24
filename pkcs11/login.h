#pragma once

/*
 * The one login, and the rule that a wrong PIN costs at most one try. Before a try, a latch in
 * the state directory says which PIN is being tried and is made durable; a good login takes it
 * away, a bad one leaves it, and the same PIN is not tried again however often the service
 * starts. The latch holds a slow salted hash (Argon2id), so it does not give the PIN away.
 *
 * A new PIN in the file is the operator's answer to a failed one and is tried, unless the token
 * is one try from locking. Killed between a good login and taking the latch away: tried once
 * more, if the token's flags show no failed try; again and again where the PIN cannot lock.
 *
 * Source: PKCS #11 v2.40 section 5.6, C_Login; section 3.3 (CKF_USER_PIN_ flags).
 */

#include "pkcs11/session.h"

struct login {
    const char *pin_file; /* path of a file for its owner only, or "credential:NAME" */
    const char *state_dir;
    const char *name; /* of the token among those of this state_dir, "" for the one without */
    unsigned tries; /* C_Login calls so far */
};

/*
 * Logs the session's token in, unless it is already.
 *
 * Errors:  CONFIG (PIN file absent, empty or open to others; state directory); PIN_LATCHED;
 *          KEY_UNAVAILABLE
 */
CHECKED int login_user(struct login *login, struct session *session, struct kms_error *err);

/* CKR_OK and whether the user is logged in. */
CK_RV login_state(struct session *session, bool *ret);
