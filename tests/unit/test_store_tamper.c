/*
 * Everything a hand can do to the database file. Edits are made through sqlite3 or on the bytes,
 * on a copy; store_open must refuse, or where the bytes carried nothing, give equal records.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

#include "tests/support/check.h"
#include "tests/support/store_fixture.h"

enum { SEEDS = 6, DROPPED = 3 };

/* The untouched database and one written before it, as files; the copy under the knife. */
struct bench {
    struct store_fixture fixture;
    struct buf original, older, records;
    char copy[96], old[96];
};

static void write_both_states(struct bench *bench)
{
    struct kms_error err = { 0 };
    struct store *store = store_fixture_open(&bench->fixture);

    commit_seeds(store, 0, SEEDS - 1);
    store_close(store); /* the WAL goes into the file */
    read_file(bench->fixture.path, &bench->older);
    store = store_fixture_open(&bench->fixture);
    for (const struct table *const *table = schema_tables; *table; table++) {
        struct store_tx *tx = NULL;
        union any_record record = { 0 };
        fill_record(*table, 0, &record);
        CHECK_OK(store_begin(store, &tx, &err), err);
        CHECK_OK(store_put(tx, *table, &record, &err), err); /* seed 0 written once more */
        CHECK_OK(store_commit(tx, &err), err);
        record_done(*table, &record);
    }
    drop_seed(store, DROPPED);
    CHECK_OK(dump_store(store, &bench->records, &err), err);
    store_close(store);
    read_file(bench->fixture.path, &bench->original);
}

static int setup(void **state)
{
    struct bench *const bench = calloc(1, sizeof(*bench));

    store_fixture_init(&bench->fixture);
    (void)snprintf(bench->copy, sizeof(bench->copy), "%s/copy", bench->fixture.dir);
    (void)snprintf(bench->old, sizeof(bench->old), "%s/old", bench->fixture.dir);
    write_both_states(bench);
    write_file(bench->old, buf_span(&bench->older));
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *const bench = *state;

    remove_database(bench->copy);
    remove_database(bench->old);
    buf_done(&bench->original);
    buf_done(&bench->older);
    buf_done(&bench->records);
    store_fixture_done(&bench->fixture);
    free(bench);
    return 0;
}

static void fresh_copy(struct bench *bench)
{
    remove_database(bench->copy);
    write_file(bench->copy, buf_span(&bench->original));
}

static void run_sql(const struct bench *bench, const char *sql)
{
    sqlite3 *db = NULL;
    char *reason = NULL;

    CHECK(sqlite3_open(bench->copy, &db) == SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &reason) != SQLITE_OK)
        fail_msg("%s: %s", sql, reason);
    CHECK(sqlite3_close(db) == SQLITE_OK);
}

/* The copy must be refused, with these words in the message. */
static void expect_refusal(struct bench *bench, const char *what, const char *words)
{
    struct kms_error err = { 0 };
    struct store *const store = store_fixture_try(&bench->fixture, bench->copy, &err);

    if (store != NULL)
        fail_msg("not refused: %s", what);
    if (err.code != KMS_ERR_INTEGRITY || strstr(err.message, words) == NULL)
        fail_msg("%s: %s '%s' '%s', wanted '%s'", what, kms_err_name(err.code), err.message,
                 err.detail, words);
}

/* Refused in whatever way, or equal in every record. Returns true when refused. */
static bool refused_or_equal(struct bench *bench, const char *what, size_t where)
{
    struct kms_error err = { 0 };
    AUTO(buf) found = { 0 };
    struct store *const store = store_fixture_try(&bench->fixture, bench->copy, &err);

    if (store == NULL)
        return true;
    const int result = dump_store(store, &found, &err);
    store_close(store);
    if (result == 0 && !span_equal(buf_span(&found), buf_span(&bench->records)))
        fail_msg("%s at %zu: accepted, with other records", what, where);
    return result < 0;
}

static void test_tamper_nothing_is_accepted(void **state)
{
    struct bench *const bench = *state;

    fresh_copy(bench);
    CHECK(!refused_or_equal(bench, "no change", 0));
    run_sql(bench, "VACUUM"); /* other bytes, same rows */
    CHECK(!refused_or_equal(bench, "vacuum", 0));
}

/* ---- each column of each table ---------------------------------------------------------- */

static void edit_column(struct bench *bench, const char *table, const char *key, const char *column,
                        const char *value)
{
    char sql[512];

    fresh_copy(bench);
    (void)snprintf(sql, sizeof(sql), "UPDATE %s SET %s = %s WHERE %s = (SELECT max(%s) FROM %s)",
                   table, column, value, key, key, table);
    run_sql(bench, sql);
    expect_refusal(bench, sql, table);
}

/* A value of the same type, other than what is there. */
static const char *other_value(const struct column *column, char *text, size_t size)
{
    static const char *const forms[] = {
        [COLUMN_UUID] = "randomblob(16)",
        [COLUMN_TEXT] = "coalesce(%s || 'x', '')",
        [COLUMN_INT] = "%s / 2 + 7",
        [COLUMN_BLOB] = "CAST(%s || x'00' AS BLOB)",
    };

    const char *const form = forms[column->kind];
    const char *const place = strstr(form, "%s");
    if (place == NULL)
        return form;
    (void)snprintf(text, size, "%.*s%s%s", (int)(place - form), form, column->name, place + 2);
    return text;
}

static void test_tamper_each_column_of_each_table(void **state)
{
    static const char *const trailer[][2] = { { "row_sequence", "row_sequence + 1" },
                                              { "row_sequence", "-1" },
                                              { "dead", "1 - dead" },
                                              { "dead", "2" },
                                              { "mac", "randomblob(32)" },
                                              { "mac", "zeroblob(32)" },
                                              { "mac", "x''" } };
    struct bench *const bench = *state;
    char text[128];

    for (const struct table *const *t = schema_tables; *t; t++) {
        const char *const key = (*t)->columns[0].name;
        for (size_t i = 0; i < (*t)->column_count; i++)
            edit_column(bench, (*t)->name, key, (*t)->columns[i].name,
                        other_value(&(*t)->columns[i], text, sizeof(text)));
        for (size_t i = 0; i < ARRAY_LEN(trailer); i++)
            edit_column(bench, (*t)->name, key, trailer[i][0], trailer[i][1]);
    }
}

static void test_tamper_each_column_of_state_root(void **state)
{
    static const char *const edits[][2] = {
        { "sequence", "sequence + 1" },
        { "sequence", "sequence - 1" },
        { "sequence", "-1" },
        { "row_count", "row_count + 1" },
        { "row_count", "row_count - 1" },
        { "row_count", "0" },
        { "schema_version", "2" },
        { "schema_version", "0" },
        { "root", "randomblob(32)" },
        { "root", "x''" },
        { "root", "randomblob(31)" },
        { "mac", "randomblob(32)" },
        { "mac", "zeroblob(1000)" },
    };
    struct bench *const bench = *state;

    for (size_t i = 0; i < ARRAY_LEN(edits); i++)
        edit_column(bench, "state_root", "sequence", edits[i][0], edits[i][1]);
}

/* ---- values of a type that the column does not have ------------------------------------- */

/* The engine itself refuses such values; so its rules are loosened, and put back afterwards. */
static void edit_unchecked(struct bench *bench, const struct table *table, const char *column,
                           const char *value)
{
    char sql[1024];

    fresh_copy(bench);
    run_sql(bench, "CREATE TABLE kept AS SELECT name, sql FROM sqlite_schema;"
                   "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET"
                   " sql = replace(replace(replace(sql, 'STRICT, ', ''), ' NOT NULL,', ','),"
                   " ' NOT NULL)', ')')"
                   " WHERE name <> 'kept'");
    (void)snprintf(sql, sizeof(sql), "UPDATE %s SET %s = %s WHERE %s = (SELECT max(%s) FROM %s)",
                   table->name, column, value, table->columns[0].name, table->columns[0].name,
                   table->name);
    run_sql(bench, sql);
    run_sql(bench, "PRAGMA writable_schema = ON; UPDATE sqlite_schema AS s SET sql ="
                   " (SELECT sql FROM kept WHERE kept.name = s.name)"
                   " WHERE name <> 'kept'; DROP TABLE kept");
    expect_refusal(bench, sql, table->name);
}

static void test_tamper_types_are_not_coerced(void **state)
{
    static const char *const values[][4] = {
        [COLUMN_UUID] = { "7", "'0123456789abcdef'", "zeroblob(15)", "1.5" },
        [COLUMN_TEXT] = { "x'41'", "1.5", "zeroblob(100)", "CAST(x'410042' AS TEXT)" },
        [COLUMN_INT] = { "'abc'", "1.5", "x'07'", "NULL" },
        [COLUMN_BLOB] = { "7", "'text'", "NULL", "1.5" },
    };
    static const struct column trailer[] = { { "row_sequence", COLUMN_INT, 0 },
                                             { "dead", COLUMN_INT, 0 },
                                             { "mac", COLUMN_BLOB, 0 } };
    struct bench *const bench = *state;

    for (const struct table *const *t = schema_tables; *t; t++) {
        for (size_t i = 1; i < (*t)->column_count + ARRAY_LEN(trailer); i++) {
            const bool own = i < (*t)->column_count;
            const struct column *const column =
                own ? &(*t)->columns[i] : &trailer[i - (*t)->column_count];
            for (size_t k = 0; k < ARRAY_LEN(values[0]); k++)
                if (i >= (*t)->key_columns || strcmp(values[column->kind][k], "NULL") != 0)
                    edit_unchecked(bench, *t, column->name, values[column->kind][k]);
        }
    }
}

/* NULL for a text that is one, and the other way round, is covered above; length here. */
static void test_tamper_huge_values_are_refused(void **state)
{
    struct bench *const bench = *state;
    struct kms_error err = { 0 };

    fresh_copy(bench);
    run_sql(bench, "UPDATE access_key SET secret = zeroblob(3000000)");
    CHECK(store_fixture_try(&bench->fixture, bench->copy, &err) == NULL);
    assert_int_equal(err.code, KMS_ERR_INTEGRITY);
}

/* ---- rows, tables and what else SQL can do ---------------------------------------------- */

/* The state before is attached as "old". */
static void test_tamper_rows_and_schema(void **state)
{
    static const struct {
        const char *sql, *words;
    } rows[] = {
        /* rows taken away, added, exchanged */
        { "DELETE FROM alias WHERE name = 'key 00001'", "there are" },
        { "DELETE FROM tag", "there are" },
        { "DELETE FROM alias WHERE dead = 1", "there are" },
        { "UPDATE alias SET dead = 0 WHERE dead = 1", "alias 'key 00003'" },
        { "INSERT INTO alias SELECT 'new', region, key_id, created_ms, updated_ms, row_sequence, dead, mac"
          " FROM alias WHERE name = 'key 00001'",
          "alias 'new'" },
        { "INSERT INTO access_key SELECT 'new', name, name, key_id, 1, 1, 1, row_sequence, dead, "
          "mac"
          " FROM alias WHERE name = 'key 00001'",
          "access_key" },
        { "CREATE TEMP TABLE t AS SELECT * FROM alias; UPDATE alias SET"
          " (key_id, created_ms, updated_ms, row_sequence, dead, mac) ="
          " (SELECT key_id, created_ms, updated_ms, row_sequence, dead, mac FROM t"
          "  WHERE t.name IN ('key 00001', 'key 00002') AND t.name <> alias.name)"
          " WHERE name IN ('key 00001', 'key 00002')",
          "alias 'key 00001'" },
        { "UPDATE alias SET name = 'temporary' WHERE name = 'key 00001';"
          "UPDATE alias SET name = 'key 00001' WHERE name = 'key 00002';"
          "UPDATE alias SET name = 'key 00002' WHERE name = 'temporary'",
          "alias 'key 00001'" },

        /* older pieces put back */
        { "REPLACE INTO main.alias SELECT * FROM old.alias WHERE name = 'key 00000'", "older one" },
        { "REPLACE INTO main.alias SELECT * FROM old.alias WHERE name = 'key 00003'", "older one" },
        { "DELETE FROM main.state_root;"
          "INSERT INTO main.state_root SELECT * FROM old.state_root",
          "older one" },
        { "REPLACE INTO main.master_key SELECT * FROM old.master_key; DELETE FROM"
          " main.state_root; INSERT INTO main.state_root SELECT * FROM old.state_root",
          "older one" },

        /* the root */
        { "DELETE FROM state_root", "state_root" },
        { "INSERT INTO state_root SELECT sequence + 1, row_count, schema_version, root, mac"
          " FROM state_root",
          "state_root" },
        { "DROP TABLE state_root", "not those" },

        /* the schema */
        { "DROP TABLE tag", "not those" },
        { "CREATE TABLE extra (a)", "not those" },
        { "CREATE INDEX extra ON alias (key_id)", "not those" },
        { "CREATE VIEW extra AS SELECT 1", "not those" },
        { "CREATE TRIGGER extra AFTER INSERT ON alias BEGIN DELETE FROM tag; END", "not those" },
        { "CREATE TRIGGER extra AFTER UPDATE ON state_root BEGIN DELETE FROM tag; END",
          "not those" },
        { "ALTER TABLE alias ADD COLUMN extra INTEGER", "not those" },
        { "ALTER TABLE alias RENAME COLUMN created_ms TO made_ms", "not those" },
        { "ALTER TABLE tag RENAME TO tags; CREATE VIEW tag AS SELECT * FROM tags", "not those" },
        { "ALTER TABLE state_root RENAME TO r; CREATE VIEW state_root AS SELECT * FROM r",
          "not those" },
        { "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage ="
          " (SELECT rootpage FROM sqlite_schema WHERE name = 'alias') WHERE name = 'tag'",
          "" },
        { "PRAGMA user_version = 0", "schema" },
        { "PRAGMA user_version = 2", "schema" },
        { "PRAGMA user_version = -1", "schema" },
        { "PRAGMA user_version = 2; CREATE TABLE extra (a)", "not those" },
    };
    struct bench *const bench = *state;
    char sql[1024];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        fresh_copy(bench);
        (void)snprintf(sql, sizeof(sql), "ATTACH '%s' AS old; %s", bench->old, rows[i].sql);
        run_sql(bench, sql);
        expect_refusal(bench, sql, rows[i].words);
    }
}

static void test_tamper_other_mac_key_is_refused(void **state)
{
    struct bench *const bench = *state;

    fresh_copy(bench);
    bench->fixture.key = SPAN_LITERAL("another key");
    expect_refusal(bench, "another MAC key", "state_root");
}

/* While the service runs: seen by store_verify, and by store_each before that. */
static void test_tamper_while_open(void **state)
{
    static const char *const edits[] = { "UPDATE alias SET created_ms = 99",
                                         "DELETE FROM alias WHERE name = 'key 00001'" };
    struct bench *const bench = *state;

    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        struct kms_error err = { 0 };
        AUTO(buf) found = { 0 };
        fresh_copy(bench);
        struct store *const store = store_fixture_try(&bench->fixture, bench->copy, &err);
        CHECK(store != NULL);
        run_sql(bench, edits[i]);
        CHECK_FAILS(dump_store(store, &found, &err), err, KMS_ERR_INTEGRITY);
        CHECK_FAILS(store_verify(store, &err), err, KMS_ERR_INTEGRITY);
        store_close(store);
    }
}

/* Whole and authentic, only old: not to be seen from inside the file. The sequence tells. */
static void test_tamper_older_whole_database_shows_in_its_sequence(void **state)
{
    struct bench *const bench = *state;
    struct kms_error err = { 0 };

    struct store *store = store_fixture_try(&bench->fixture, bench->old, &err);
    CHECK(store != NULL);
    const uint64_t old = store_sequence(store);
    store_close(store);
    fresh_copy(bench);
    store = store_fixture_try(&bench->fixture, bench->copy, &err);
    CHECK(store != NULL && store_sequence(store) > old);
    store_close(store);
}

/* ---- bytes ------------------------------------------------------------------------------ */

static void test_tamper_truncated_file(void **state)
{
    struct bench *const bench = *state;
    const size_t len = bench->original.len;
    const size_t lengths[] = { len - 4096, len / 2, 4096, 4095, 100, 99, 1 };

    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        remove_database(bench->copy);
        write_file(bench->copy, span_of(bench->original.ptr, lengths[i]));
        if (!refused_or_equal(bench, "cut", lengths[i]))
            fail_msg("cut to %zu bytes: accepted", lengths[i]);
    }
    remove_database(bench->copy); /* the last byte may be one that is read as zero and was zero */
    write_file(bench->copy, span_of(bench->original.ptr, len - 1));
    (void)refused_or_equal(bench, "cut", len - 1);
}

static void test_tamper_one_byte_in_each_page(void **state)
{
    static const size_t offsets[] = { 0, 3, 5, 7, 24, 101, 2048, 4000, 4095 };
    struct bench *const bench = *state;
    size_t refused = 0;

    for (size_t page = 0; page < bench->original.len; page += 4096) {
        for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
            fresh_copy(bench);
            AUTO(buf) bytes = { 0 };
            buf_append(&bytes, buf_span(&bench->original));
            bytes.ptr[page + offsets[i]] ^= 0x21;
            write_file(bench->copy, buf_span(&bytes));
            refused += refused_or_equal(bench, "flipped", page + offsets[i]);
        }
    }
    CHECK(refused > bench->original.len / 4096);
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 8;
}

static void test_tamper_random_bytes(void **state)
{
    enum { ROUNDS = 400 };
    struct bench *const bench = *state;
    unsigned seed = 20261120;

    for (size_t round = 0; round < ROUNDS; round++) {
        AUTO(buf) bytes = { 0 };
        fresh_copy(bench);
        buf_append(&bytes, buf_span(&bench->original));
        for (size_t i = 0; i <= round % 16; i++) {
            /* every other round aims at page headers, cell pointers and the file header */
            size_t at = (next_random(&seed) << 12 ^ next_random(&seed)) % bytes.len;
            if (round % 2)
                at = at / 4096 * 4096 + at % 128;
            bytes.ptr[at] = (uint8_t)next_random(&seed);
        }
        write_file(bench->copy, buf_span(&bytes));
        (void)refused_or_equal(bench, "random bytes of round", round);
    }
}

/* ---- the write-ahead log ---------------------------------------------------------------- */

enum { COMMITS = 5 };

/* What the records were after each commit. */
struct history {
    struct buf after[COMMITS + 1];
};

static void expect_some_past(struct bench *bench, const struct history *history, size_t len)
{
    struct kms_error err = { 0 };
    AUTO(buf) found = { 0 };
    struct store *const store = store_fixture_try(&bench->fixture, bench->copy, &err);

    if (store == NULL)
        return;
    CHECK_OK(dump_store(store, &found, &err), err);
    const uint64_t sequence = store_sequence(store);
    CHECK(sequence <= COMMITS);
    if (!span_equal(buf_span(&found), buf_span(&history->after[sequence])))
        fail_msg("log of %zu bytes: records are not those of write %zu", len, (size_t)sequence);
    store_close(store);
}

/* A log cut or damaged anywhere gives one of the states that were, with its sequence, or none. */
static void test_tamper_log(void **state)
{
    struct bench *const bench = *state;
    struct history history = { 0 };
    struct kms_error err = { 0 };
    AUTO(buf) file = { 0 };
    AUTO(buf) log = { 0 };
    char name[128];

    remove_database(bench->copy);
    struct store *const store = store_fixture_try(&bench->fixture, bench->copy, &err);
    for (unsigned i = 0; i <= COMMITS; i++) {
        if (i > 0)
            commit_seeds(store, i / 2, i);
        CHECK_OK(dump_store(store, &history.after[i], &err), err);
    }
    read_file(bench->copy, &file);
    (void)snprintf(name, sizeof(name), "%s-wal", bench->copy);
    read_file(name, &log);
    store_close(store);
    for (size_t cut = 0; cut <= log.len; cut += log.len / 97) {
        remove_database(bench->copy);
        write_file(bench->copy, buf_span(&file));
        write_file(name, span_of(log.ptr, cut));
        expect_some_past(bench, &history, cut);

        remove_database(bench->copy);
        write_file(bench->copy, buf_span(&file));
        log.ptr[cut % log.len] ^= 0x40;
        write_file(name, buf_span(&log));
        log.ptr[cut % log.len] ^= 0x40;
        expect_some_past(bench, &history, cut);
    }
    for (size_t i = 0; i <= COMMITS; i++)
        buf_done(&history.after[i]);
}

#define TAMPER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TAMPER_TEST(test_tamper_nothing_is_accepted),
        TAMPER_TEST(test_tamper_each_column_of_each_table),
        TAMPER_TEST(test_tamper_each_column_of_state_root),
        TAMPER_TEST(test_tamper_types_are_not_coerced),
        TAMPER_TEST(test_tamper_huge_values_are_refused),
        TAMPER_TEST(test_tamper_rows_and_schema),
        TAMPER_TEST(test_tamper_other_mac_key_is_refused),
        TAMPER_TEST(test_tamper_while_open),
        TAMPER_TEST(test_tamper_older_whole_database_shows_in_its_sequence),
        TAMPER_TEST(test_tamper_truncated_file),
        TAMPER_TEST(test_tamper_one_byte_in_each_page),
        TAMPER_TEST(test_tamper_random_bytes),
        TAMPER_TEST(test_tamper_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
