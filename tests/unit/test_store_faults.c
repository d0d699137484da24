/*
 * Every write, sync and truncation that a commit makes fails once, in turn, in several ways. A
 * commit that was acknowledged is there; one that was refused is not; the store goes on, or says
 * that it cannot.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sqlite3.h>

#include "tests/support/check.h"
#include "tests/support/fault_vfs.h"
#include "tests/support/store_fixture.h"

enum { CALLS_MAX = 500 };

struct outcome {
    int committed, refused, out_of_service;
};

static void no_fault(void)
{
    *fault_vfs_fault() = (struct fault){ 0 };
}

/* A new row of every table. Returns what store_commit said. */
static int commit_some(struct store *store, struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (store_begin(store, &tx, err) < 0)
        return -1;
    for (const struct table *const *table = schema_tables; *table; table++) {
        struct kms_error staging = { 0 };
        union any_record record = { 0 };
        fill_record(*table, 2, &record);
        CHECK_OK(store_put(tx, *table, &record, &staging), staging);
        record_done(*table, &record);
    }
    return store_commit(tx, err);
}

static void dump_again(struct store_fixture *fixture, struct buf *ret)
{
    struct kms_error err = { 0 };
    struct store *const store = store_fixture_open(fixture);

    CHECK_OK(dump_store(store, ret, &err), err);
    store_close(store);
}

/* A store holding seeds 0 and 1. */
static struct store *start(struct store_fixture *fixture, struct buf *ret_before)
{
    struct kms_error err = { 0 };

    remove_database(fixture->path);
    struct store *const store = store_fixture_open(fixture);
    commit_seeds(store, 0, 1);
    CHECK_OK(dump_store(store, ret_before, &err), err);
    return store;
}

/* After the fault is gone: it goes on from what it said, or refuses because that was wrong. */
static bool goes_on(struct store *store, const struct buf *expected)
{
    struct kms_error err = { 0 };
    AUTO(buf) found = { 0 };

    if (store_verify(store, &err) < 0) {
        assert_int_equal(err.code, KMS_ERR_INTERNAL);
        return false;
    }
    CHECK_OK(dump_store(store, &found, &err), err);
    CHECK_SPAN(buf_span(&found), buf_span(expected));
    drop_seed(store, 0);
    CHECK_OK(store_verify(store, &err), err);
    commit_seeds(store, 0, 0);
    return true;
}

/* One commit with one fault. Returns false when the commit made fewer calls than fault->at. */
static bool commit_with(struct store_fixture *fixture, const struct fault *fault,
                        const struct buf *after, struct outcome *outcome)
{
    struct kms_error err = { 0 };
    AUTO(buf) before = { 0 };
    AUTO(buf) found = { 0 };
    struct store *const store = start(fixture, &before);

    *fault_vfs_fault() = *fault;
    const int result = commit_some(store, &err);
    const bool reached = fault_vfs_fault()->calls >= fault->at;
    no_fault();

    const struct buf *const said = result == 0 ? after : &before;
    if (result < 0)
        assert_int_equal(err.code, KMS_ERR_INTERNAL);
    outcome->committed += result == 0;
    outcome->refused += result < 0;
    const bool on = goes_on(store, said);
    store_close(store);
    dump_again(fixture, &found);
    if (on) {
        CHECK_SPAN(buf_span(&found), buf_span(said));
    } else { /* refused without an answer from the disk; it may be there, whole */
        outcome->out_of_service++;
        CHECK(result < 0);
        CHECK(span_equal(buf_span(&found), buf_span(after)) ||
              span_equal(buf_span(&found), buf_span(&before)));
    }
    return reached;
}

static void test_store_commit_with_each_call_failing(void **state)
{
    static const struct fault kinds[] = {
        { .result = SQLITE_FULL },
        { .result = SQLITE_FULL, .for_ever = true },
        { .result = SQLITE_IOERR_WRITE },
        { .result = SQLITE_IOERR_WRITE, .for_ever = true },
        { .result = SQLITE_IOERR_FSYNC, .after_work = true },
        { .result = SQLITE_IOERR_FSYNC, .after_work = true, .for_ever = true },
    };
    struct store_fixture fixture;
    AUTO(buf) after = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    CHECK(fault_vfs_install());
    store_fixture_init(&fixture);
    struct store *const store = start(&fixture, &after);
    CHECK_OK(commit_some(store, &err), err);
    CHECK_OK(dump_store(store, &after, &err), err);
    store_close(store);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct outcome outcome = { 0 };
        struct fault fault = kinds[i];
        for (fault.at = 1; commit_with(&fixture, &fault, &after, &outcome); fault.at++)
            CHECK(fault.at < CALLS_MAX);
        print_message("fault %d%s%s: %d calls, %d committed, %d refused, %d of them to restart\n",
                      fault.result, fault.for_ever ? " for ever" : "",
                      fault.after_work ? " after work" : "", fault.at - 1, outcome.committed,
                      outcome.refused, outcome.out_of_service);
        CHECK(fault.at > 10 && outcome.refused > 0);
    }
    store_fixture_done(&fixture);
}

/* The first open of a new database fails at each call: the next open finds nothing, or all. */
static void test_store_create_with_each_call_failing(void **state)
{
    struct store_fixture fixture;
    int at = 0;
    bool reached = true;

    (void)state;
    CHECK(fault_vfs_install());
    store_fixture_init(&fixture);
    while (reached) {
        struct kms_error err = { 0 };
        remove_database(fixture.path);
        *fault_vfs_fault() = (struct fault){ .at = ++at, .result = SQLITE_FULL, .for_ever = true };
        struct store *store = store_fixture_try(&fixture, fixture.path, &err);
        reached = fault_vfs_fault()->calls >= at;
        no_fault();
        store_close(store);
        store = store_fixture_open(&fixture);
        assert_int_equal(store_sequence(store), 0);
        commit_seeds(store, 0, 0);
        store_close(store);
        CHECK(at < CALLS_MAX);
    }
    CHECK(at > 3);
    store_fixture_done(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_commit_with_each_call_failing),
        cmocka_unit_test(test_store_create_with_each_call_failing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
