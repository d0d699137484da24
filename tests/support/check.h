#pragma once

/* What every test includes: cmocka, and CHECK for expressions. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

/*
 * Runs a program's tests between a set-up and a tear-down of them all, which find rig in *state, as
 * the tests do. Not zero when anything failed, the tear-down too, which cmocka's own result leaves
 * out.
 */
int run_group(const struct CMUnitTest *tests, size_t count, CMFixtureFunction set_up,
              CMFixtureFunction tear_down, void *rig);

#define CHECK(expression) assert_true(expression)

/* The call succeeded; else shows what it said. */
#define CHECK_OK(call, err)                                                                        \
    do {                                                                                           \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s %s at %s", #call, (err).message, (err).detail,                        \
                     (err).where ? (err).where : "?");                                             \
    } while (0)

/* The call failed with this row of errors.def; the error is clear again afterwards. */
#define CHECK_FAILS(call, err, expected)                                                           \
    do {                                                                                           \
        assert_int_not_equal((call), 0);                                                           \
        assert_string_equal(kms_err_name((err).code), kms_err_name(expected));                     \
        kms_error_clear(&(err));                                                                   \
    } while (0)

#define CHECK_SPAN(got, want)                                                                      \
    do {                                                                                           \
        const struct span got_span = (got), want_span = (want);                                    \
        assert_int_equal(got_span.len, want_span.len);                                             \
        assert_memory_equal(got_span.ptr, want_span.ptr, want_span.len);                           \
    } while (0)
