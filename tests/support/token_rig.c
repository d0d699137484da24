#include "tests/support/token_rig.h"

#include "tests/support/check.h"

int token_rig_up(void **state)
{
    struct token_rig *const rig = *state;

    rig->token = softhsm_open(&rig->softhsm);
    return 0;
}

int token_rig_down(void **state)
{
    struct token_rig *const rig = *state;

    token_close(rig->token);
    softhsm_done(&rig->softhsm);
    return 0;
}

void token_rig_is_empty(const struct token_rig *rig)
{
    struct token_status status;

    token_status(rig->token, &status);
    assert_int_equal(status.keys, 0);
}
