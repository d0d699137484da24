#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/store_fixture.h"

static int setup(void **state)
{
    struct store_fixture *const fixture = calloc(1, sizeof(*fixture));

    store_fixture_init(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    store_fixture_done(*state);
    free(*state);
    return 0;
}

static void dump(struct store *store, struct buf *ret)
{
    struct kms_error err = { 0 };

    CHECK_OK(dump_store(store, ret, &err), err);
}

/* ---- what goes in comes out ------------------------------------------------------------- */

static void test_store_round_trip_of_every_table(void **state)
{
    enum { SEEDS = 40 };
    AUTO(buf) expected = { 0 };
    AUTO(buf) found = { 0 };
    struct store *store = store_fixture_open(*state);

    commit_seeds(store, 0, SEEDS - 1);
    for (const struct table *const *table = schema_tables; *table; table++) {
        for (unsigned seed = 0; seed < SEEDS; seed++) { /* keys ascend with the seed */
            union any_record record = { 0 };
            struct row row = { 0 };
            fill_record(*table, seed, &record);
            row_from_record(*table, &record, &row);
            row_bytes(*table, &row, &expected);
            record_done(*table, &record);
        }
    }
    dump(store, &found);
    CHECK_SPAN(buf_span(&found), buf_span(&expected));
    store_close(store);

    store = store_fixture_open(*state);
    dump(store, &found);
    CHECK_SPAN(buf_span(&found), buf_span(&expected));
    assert_int_equal(store_sequence(store), 1);
    assert_int_equal(store_next_sequence(store), 2);
    store_close(store);
}

static void test_store_new_is_empty_and_private(void **state)
{
    struct store_fixture *const fixture = *state;
    struct store *const store = store_fixture_open(fixture);
    AUTO(buf) found = { 0 };
    struct stat about;

    dump(store, &found);
    assert_int_equal(found.len, 0);
    assert_int_equal(store_sequence(store), 0);
    CHECK(stat(fixture->path, &about) == 0);
    assert_int_equal(about.st_mode & 0777, 0600);
    store_close(store);
    store_close(NULL);
}

static void test_store_rollback_leaves_nothing(void **state)
{
    struct kms_error err = { 0 };
    struct store *store = store_fixture_open(*state);
    struct store_tx *tx = NULL;
    struct alias_record alias = { .name = (char[]){ "alias/a" }, .region = (char[]){ "r" } };
    AUTO(buf) found = { 0 };

    CHECK_OK(store_begin(store, &tx, &err), err);
    CHECK_OK(store_put(tx, &alias_table, &alias, &err), err);
    store_rollback(tx);
    CHECK_OK(store_begin(store, &tx, &err), err);
    CHECK_OK(store_commit(tx, &err), err); /* nothing staged: nothing written */
    assert_int_equal(store_sequence(store), 0);
    store_close(store);
    store = store_fixture_open(*state);
    dump(store, &found);
    assert_int_equal(found.len, 0);
    store_close(store);
}

static void test_store_drop_leaves_a_tombstone(void **state)
{
    struct kms_error err = { 0 };
    struct store *store = store_fixture_open(*state);
    AUTO(buf) empty_again = { 0 };
    AUTO(buf) before = { 0 };
    AUTO(buf) after = { 0 };

    commit_seeds(store, 1, 1);
    dump(store, &before);
    drop_seed(store, 1);
    drop_seed(store, 2); /* never was there: a tombstone all the same */
    dump(store, &empty_again);
    assert_int_equal(empty_again.len, 0);
    store_close(store);
    store = store_fixture_open(*state);
    CHECK_OK(store_verify(store, &err), err);
    commit_seeds(store, 1, 1); /* back to life */
    dump(store, &after);
    CHECK_SPAN(buf_span(&after), buf_span(&before));
    store_close(store);
}

static void test_store_later_put_of_one_transaction_counts(void **state)
{
    struct kms_error err = { 0 };
    struct store *store = store_fixture_open(*state);
    struct store_tx *tx = NULL;
    struct alias_record alias = { .name = (char[]){ "alias/a" }, .region = (char[]){ "r" }, .created_ms = 1 };
    AUTO(buf) found = { 0 };
    AUTO(buf) again = { 0 };

    CHECK_OK(store_begin(store, &tx, &err), err);
    CHECK_OK(store_put(tx, &alias_table, &alias, &err), err);
    CHECK_OK(store_drop(tx, &alias_table, &alias, &err), err);
    alias.created_ms = 2;
    CHECK_OK(store_put(tx, &alias_table, &alias, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
    dump(store, &found);
    CHECK(found.len > 0);
    store_close(store);
    store = store_fixture_open(*state);
    dump(store, &again);
    CHECK_SPAN(buf_span(&again), buf_span(&found));
    store_close(store);
}

static void test_store_refuses_a_record_too_large_to_read_back(void **state)
{
    struct kms_error err = { 0 };
    struct store *const store = store_fixture_open(*state);
    struct store_tx *tx = NULL;
    struct access_key_record record = { .id = (char[]){ "A" } };

    CHECK(buf_room(&record.secret, DB_VALUE_MAX) != NULL);
    CHECK_OK(store_begin(store, &tx, &err), err);
    CHECK_FAILS(store_put(tx, &access_key_table, &record, &err), err, KMS_ERR_INTERNAL);
    store_rollback(tx);
    buf_done(&record.secret);
    store_close(store);
}

/* Every commit's root, kept incrementally, is what a scan of all rows finds. */
static void test_store_incremental_root_equals_rebuilt(void **state)
{
    struct kms_error err = { 0 };
    struct store *const store = store_fixture_open(*state);

    for (unsigned i = 0; i < 60; i++) {
        commit_seeds(store, i * 7 % 20, i * 7 % 20 + i % 3);
        if (i % 4 == 3)
            drop_seed(store, i * 5 % 23);
        CHECK_OK(store_verify(store, &err), err);
    }
    assert_int_equal(store_sequence(store), 75);
    store_close(store);
}

static int refuse_second(void *arg, const void *record, struct kms_error *err)
{
    (void)record;
    if (++*(int *)arg == 2)
        return kms_fail(err, KMS_ERR_CONFLICT, "enough");
    return 0;
}

static void test_store_each_stops_at_the_first_failure(void **state)
{
    struct kms_error err = { 0 };
    struct store *const store = store_fixture_open(*state);
    int count = 0;

    commit_seeds(store, 0, 4);
    CHECK_FAILS(store_each(store, &alias_table, refuse_second, &count, &err), err,
                KMS_ERR_CONFLICT);
    assert_int_equal(count, 2);
    store_close(store);
}

/* ---- the MAC key ------------------------------------------------------------------------ */

static int refuse_to_sign(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN],
                          struct kms_error *err)
{
    (void)data;
    (void)ret;
    if (--*(int *)ctx < 0)
        return kms_fail(err, KMS_ERR_KEY_UNAVAILABLE, "no token");
    memset(ret, 0x5a, STORE_MAC_LEN); /* the same for all: enough for this test */
    return 0;
}

/* Fails at each of the MACs in turn; whatever is refused has changed nothing. */
static void test_store_commit_without_mac_changes_nothing(void **state)
{
    struct store_fixture *const fixture = *state;
    struct kms_error err = { 0 };
    int left = 1000;
    struct store *store = NULL;
    struct store_tx *tx = NULL;

    CHECK_OK(store_open(fixture->path, schema_tables, (struct store_mac){ refuse_to_sign, &left },
                        &store, &err),
             err);
    commit_seeds(store, 1, 1);
    for (int allowed = 0; allowed < 3; allowed++) {
        struct alias_record alias = { .name = (char[]){ "alias/a" }, .region = (char[]){ "r" } };
        CHECK_OK(store_begin(store, &tx, &err), err);
        CHECK_OK(store_drop(tx, &alias_table, &alias, &err), err);
        CHECK_OK(store_put(tx, &alias_table, &alias, &err), err);
        left = allowed;
        CHECK_FAILS(store_commit(tx, &err), err, KMS_ERR_KEY_UNAVAILABLE);
        left = 1000;
        assert_int_equal(store_sequence(store), 1);
        CHECK_OK(store_verify(store, &err), err);
    }
    commit_seeds(store, 2, 2);
    CHECK_OK(store_verify(store, &err), err);
    store_close(store);
}

static void test_store_open_costs_one_mac_per_row(void **state)
{
    struct store_fixture *const fixture = *state;
    struct store *store = store_fixture_open(fixture);

    commit_seeds(store, 0, 9);
    store_close(store);
    fixture->signed_count = 0;
    store = store_fixture_open(fixture);
    size_t tables = 0;
    while (schema_tables[tables])
        tables++;
    assert_int_equal(fixture->signed_count, 10 * tables + 1); /* and one for the root */
    store_close(store);
}

/* ---- several threads -------------------------------------------------------------------- */

struct writer {
    struct store *store;
    char name[16];
    bool good;
};

static void *write_aliases(void *arg)
{
    struct writer *const writer = arg;
    struct alias_record alias = { .name = writer->name, .region = (char[]){ "r" } };

    writer->good = true;
    for (int i = 0; i < 25 && writer->good; i++) {
        struct kms_error err = { 0 };
        struct store_tx *tx = NULL;
        alias.created_ms = i;
        writer->good = store_begin(writer->store, &tx, &err) == 0;
        if (writer->good && i % 5 == 4)
            store_rollback(tx);
        else if (writer->good)
            writer->good =
                store_put(tx, &alias_table, &alias, &err) == 0 && store_commit(tx, &err) == 0;
        (void)store_sequence(writer->store);
    }
    return NULL;
}

static void test_store_takes_one_writer_at_a_time(void **state)
{
    struct kms_error err = { 0 };
    struct store *const store = store_fixture_open(*state);
    struct writer writers[4] = { 0 };
    pthread_t threads[ARRAY_LEN(writers)];

    for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
        writers[i].store = store;
        (void)snprintf(writers[i].name, sizeof(writers[i].name), "alias/%zu", i);
        CHECK(pthread_create(&threads[i], NULL, write_aliases, &writers[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(writers[i].good);
    }
    assert_int_equal(store_sequence(store), ARRAY_LEN(writers) * 20);
    CHECK_OK(store_verify(store, &err), err);
    store_close(store);
}

/* ---- other processes, full disks, sudden death ------------------------------------------ */

static void test_store_refuses_to_write_after_a_stranger(void **state)
{
    struct kms_error err = { 0 };
    struct store *const ours = store_fixture_open(*state), *const theirs =
                                                               store_fixture_open(*state);
    struct store_tx *tx = NULL;
    struct alias_record alias = { .name = (char[]){ "alias/a" }, .region = (char[]){ "r" } };

    commit_seeds(theirs, 1, 1);
    CHECK_OK(store_begin(ours, &tx, &err), err);
    CHECK_OK(store_put(tx, &alias_table, &alias, &err), err);
    CHECK_FAILS(store_commit(tx, &err), err, KMS_ERR_INTEGRITY);
    CHECK_FAILS(store_begin(ours, &tx, &err), err, KMS_ERR_INTERNAL);
    CHECK_FAILS(store_verify(ours, &err), err, KMS_ERR_INTERNAL);
    store_close(ours);
    CHECK_OK(store_verify(theirs, &err), err);
    store_close(theirs);
}

/* Runs work in a child that has opened nothing; returns its exit code. */
static int in_child(int (*work)(struct store_fixture *fixture), struct store_fixture *fixture)
{
    int status = 0;
    const pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        _exit(work(fixture));
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int put_large(struct store *store, int64_t created_ms, struct kms_error *err)
{
    struct store_tx *tx = NULL;
    struct access_key_record record = { .id = (char[]){ "LARGE" }, .created_ms = created_ms };

    if (buf_room(&record.secret, 400000) == NULL || store_begin(store, &tx, err) < 0)
        return -1;
    memset(record.secret.ptr, 7, record.secret.len);
    if (store_put(tx, &access_key_table, &record, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    buf_done(&record.secret);
    return store_commit(tx, err);
}

/* Returns the number of the first step that went wrong, 0 for none. */
static int write_against_a_limit(struct store_fixture *fixture)
{
    struct kms_error err = { 0 };
    struct store *store = NULL;
    struct rlimit limit;

    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || getrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 1;
    const rlim_t unlimited = limit.rlim_cur;
    if (store_open(fixture->path, schema_tables, fixture->mac, &store, &err) < 0 ||
        store_verify(store, &err) < 0)
        return 2;
    const uint64_t before = store_sequence(store);
    limit.rlim_cur = 100000; /* the next large write ends in the middle */
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 3;
    if (put_large(store, 1, &err) == 0 || err.code != KMS_ERR_INTERNAL)
        return 4;
    kms_error_clear(&err);
    if (store_sequence(store) != before)
        return 5;
    limit.rlim_cur = unlimited;
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || store_verify(store, &err) < 0)
        return 6;
    if (put_large(store, 2, &err) < 0 || store_sequence(store) != before + 1 ||
        store_verify(store, &err) < 0)
        return 7;
    store_close(store);
    return 0;
}

static void test_store_survives_a_file_size_limit(void **state)
{
    struct kms_error err = { 0 };
    struct store *store = store_fixture_open(*state);

    commit_seeds(store, 0, 3);
    store_close(store);
    assert_int_equal(in_child(write_against_a_limit, *state), 0);
    store = store_fixture_open(*state);
    CHECK_OK(store_verify(store, &err), err);
    store_close(store);
}

/* Commits for ever, telling after each; 4 bytes per acknowledgement. */
static void commit_until_killed(struct store_fixture *fixture, int tell)
{
    struct kms_error err = { 0 };
    struct store *store = NULL;

    if (store_open(fixture->path, schema_tables, fixture->mac, &store, &err) < 0)
        _exit(1);
    for (;;) {
        struct store_tx *tx = NULL;
        char name[32], region[] = "r";
        const struct alias_record alias = { .name = name, .region = region };
        const uint32_t number = (uint32_t)store_next_sequence(store);
        (void)snprintf(name, sizeof(name), "alias/%08u", (unsigned)number);
        if (store_begin(store, &tx, &err) < 0 ||
            store_put(tx, &alias_table, &alias, &err) < 0 ||
            store_commit(tx, &err) < 0 || write(tell, &number, 4) != 4)
            _exit(2);
    }
}

/* Lets a child commit some times, kills it, and returns the last number it acknowledged. */
static uint32_t commit_and_kill(struct store_fixture *fixture, int commits)
{
    uint32_t last = 0;
    int ends[2], status = 0;

    CHECK(pipe(ends) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)close(ends[0]);
        commit_until_killed(fixture, ends[1]);
    }
    (void)close(ends[1]);
    for (int i = 0; i < commits; i++)
        CHECK(read(ends[0], &last, 4) == 4);
    CHECK(kill(child, SIGKILL) == 0);
    while (read(ends[0], &last, 4) == 4)
        ; /* what it told before it died */
    (void)close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    return last;
}

struct numbering {
    uint32_t next;
};

static int check_number(void *arg, const void *record, struct kms_error *err)
{
    struct numbering *const numbering = arg;
    const struct alias_record *const alias = record;
    char name[32];

    (void)snprintf(name, sizeof(name), "alias/%08u", (unsigned)numbering->next++);
    if (strcmp(alias->name, name) != 0)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "%s is missing", name);
    return 0;
}

static void test_store_keeps_what_it_acknowledged_before_kill(void **state)
{
    struct kms_error err = { 0 };

    for (int round = 0; round < 8; round++) {
        struct numbering numbering = { .next = 1 };
        const uint32_t acknowledged = commit_and_kill(*state, 3 + round * 5);
        struct store *const store = store_fixture_open(*state);
        CHECK_OK(store_each(store, &alias_table, check_number, &numbering, &err), err);
        CHECK(numbering.next - 1 >= acknowledged);
        assert_int_equal(store_sequence(store), numbering.next - 1);
        store_close(store);
    }
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_store_round_trip_of_every_table),
        STORE_TEST(test_store_new_is_empty_and_private),
        STORE_TEST(test_store_rollback_leaves_nothing),
        STORE_TEST(test_store_drop_leaves_a_tombstone),
        STORE_TEST(test_store_later_put_of_one_transaction_counts),
        STORE_TEST(test_store_refuses_a_record_too_large_to_read_back),
        STORE_TEST(test_store_incremental_root_equals_rebuilt),
        STORE_TEST(test_store_each_stops_at_the_first_failure),
        STORE_TEST(test_store_commit_without_mac_changes_nothing),
        STORE_TEST(test_store_open_costs_one_mac_per_row),
        STORE_TEST(test_store_takes_one_writer_at_a_time),
        STORE_TEST(test_store_refuses_to_write_after_a_stranger),
        STORE_TEST(test_store_survives_a_file_size_limit),
        STORE_TEST(test_store_keeps_what_it_acknowledged_before_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
