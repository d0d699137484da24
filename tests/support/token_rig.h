#pragma once

/* One SoftHSM token for all tests of a program, which leave it empty. */

#include "tests/support/softhsm.h"

struct token_rig {
    struct softhsm softhsm;
    struct token *token;
};

/* For run_group(). */
int token_rig_up(void **state);
int token_rig_down(void **state);

/* Fails the test when a key has stayed in the token. */
void token_rig_is_empty(const struct token_rig *rig);
