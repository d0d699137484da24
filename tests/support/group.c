#include "tests/support/check.h"

static struct {
    CMFixtureFunction set_up, tear_down;
    void *rig;
    bool ended; /* by a tear-down that found nothing wrong */
} group;

static int begin(void **state)
{
    *state = group.rig;
    return group.set_up(state);
}

static int end(void **state)
{
    const int failed = group.tear_down(state);

    group.ended = failed == 0;
    return failed;
}

int run_group(const struct CMUnitTest *tests, size_t count, CMFixtureFunction set_up,
              CMFixtureFunction tear_down, void *rig)
{
    group.set_up = set_up;
    group.tear_down = tear_down;
    group.rig = rig;
    const int failed = _cmocka_run_group_tests("tests", tests, count, begin, end);
    return failed ? failed : !group.ended;
}
