/* Access keys at rest: what the database tells of their secrets, and who may change a row. */

#include <stdio.h>

#include <sqlite3.h>

#include "tests/support/access_keys.h"

#define TENANT "444455556666"

static struct iam_rig rig;

static int begin(void **state)
{
    (void)state;
    rig.signing_keys = 64;
    iam_rig_begin(&rig);
    return 0;
}

static bool file_has(const char *path, struct span needle)
{
    FILE *const file = fopen(path, "rb");
    uint8_t chunk[4096];
    AUTO(buf) all = { 0 };

    if (file == NULL)
        return false;
    for (size_t len; (len = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        buf_append(&all, span_of(chunk, len));
    (void)fclose(file);
    return all.len && memmem(all.ptr, all.len, needle.ptr, needle.len) != NULL;
}

static void test_secret_is_not_in_the_database(void **state)
{
    static const char *const suffixes[] = { "", "-wal", "-shm" };
    char id[21], path[320];
    bool id_seen = false;
    AUTO(secret) secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, &secret);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", rig.database, suffixes[i]);
        CHECK(!file_has(path, secret_span(&secret)));
        CHECK(!file_has(path, span_of(secret.ptr, 12))); /* nor a part of it */
        id_seen |= file_has(path, span_text(id));
    }
    CHECK(id_seen); /* these are the right files */
}

static void test_restart_keeps_keys(void **state)
{
    char id[21], other[21];
    AUTO(secret) secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, &secret);
    access_keys_create(&rig, "", other, NULL);
    iam_rig_restart(&rig);
    access_keys_signs(&rig, id, &secret);
    access_keys_refused(&rig, "AKIAAAAAAAAAAAAAAAAA", KMS_ERR_UNRECOGNIZED_CLIENT);
}

static void sql(const char *text)
{
    sqlite3 *db = NULL;

    CHECK(sqlite3_open(rig.database, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK);
    assert_int_equal(sqlite3_changes(db), 1);
    CHECK(sqlite3_close(db) == SQLITE_OK);
}

static void test_edited_row_is_refused(void **state)
{
    static const char *const edits[] = {
        "UPDATE access_key SET owner = 'AIDAAAAAAAAAAAAAAAAA'",
        "UPDATE access_key SET active = 0",
        "UPDATE access_key SET owner = account",
        "UPDATE access_key SET account = '" TENANT "'",
        "UPDATE access_key SET serial = serial + 1",
        "UPDATE access_key SET secret = zeroblob(71)",
        "DELETE FROM access_key",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        struct kms_error err = { 0 };
        char id[21];
        iam_rig_begin(&rig);
        access_keys_create(&rig, "alice", id, NULL);
        iam_rig_close(&rig);
        sql(edits[i]);
        CHECK_FAILS(iam_rig_open(&rig, &err), err, KMS_ERR_INTEGRITY);
        iam_rig_close(&rig);
    }
}

/* What access_key_each passed by, for one id. */
struct pick {
    const char *id;
    struct access_key_record record;
};

static void pick_one(void *arg, const struct access_key_record *record)
{
    struct pick *const pick = arg;
    struct kms_error err = { 0 };

    if (strcmp(record->id, pick->id) == 0)
        CHECK_OK(record_copy(&access_key_table, record, &pick->record, &err), err);
}

static void put(const struct access_key_record *record)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;

    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    CHECK_OK(store_put(tx, &access_key_table, record, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
}

/* Each change has a serial of its own, and the secret is wrapped anew for it. */
static void test_change_renews_serial_and_wrapping(void **state)
{
    struct kms_error err = { 0 };
    char id[21];

    (void)state;
    access_keys_create(&rig, "alice", id, NULL);
    struct pick before = { .id = id }, after = { .id = id };
    access_key_each(rig.iam, pick_one, &before);
    CHECK_OK(access_key_set_active(rig.iam, id, false, &err), err);
    access_key_each(rig.iam, pick_one, &after);
    assert_int_equal(before.record.serial, 1);
    assert_int_equal(after.record.serial, 2);
    assert_int_equal(after.record.created_ms, before.record.created_ms);
    assert_int_equal(after.record.secret.len, before.record.secret.len);
    assert_memory_not_equal(after.record.secret.ptr, before.record.secret.ptr, TOKEN_IV_LEN);
    record_done(&access_key_table, &before.record);
    record_done(&access_key_table, &after.record);
}

/* Somebody who may write authentic rows still cannot give alice's key to bob's id. */
static void test_wrapped_secret_moved_to_another_row(void **state)
{
    char alice[21], bob[21];
    AUTO(secret) secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", alice, &secret);
    access_keys_create(&rig, "bob", bob, NULL);
    struct pick from = { .id = alice }, to = { .id = bob };
    access_key_each(rig.iam, pick_one, &from);
    access_key_each(rig.iam, pick_one, &to);

    const struct buf own = to.record.secret;
    to.record.secret = from.record.secret;
    put(&to.record);
    to.record.secret = own;
    iam_rig_restart(&rig);
    access_keys_refused(&rig, bob, KMS_ERR_INTERNAL);
    access_keys_signs(&rig, alice, &secret);

    from.record.serial++; /* nor does an older secret open under a newer serial */
    put(&from.record);
    iam_rig_restart(&rig);
    access_keys_refused(&rig, alice, KMS_ERR_INTERNAL);
    record_done(&access_key_table, &from.record);
    record_done(&access_key_table, &to.record);
}

/* Nor can he make bob the owner of alice's key. */
static void test_wrapped_secret_under_another_owner(void **state)
{
    char id[21], bob_id[21];
    AUTO(secret) secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, &secret);
    access_keys_create(&rig, "bob", bob_id, NULL);
    struct pick alice = { .id = id }, bob = { .id = bob_id };
    access_key_each(rig.iam, pick_one, &alice);
    access_key_each(rig.iam, pick_one, &bob);
    char *const owner = alice.record.owner;
    alice.record.owner = bob.record.owner;
    put(&alice.record);
    alice.record.owner = owner;
    iam_rig_restart(&rig);
    access_keys_refused(&rig, id, KMS_ERR_INTERNAL);
    put(&alice.record);
    iam_rig_restart(&rig);
    access_keys_signs(&rig, id, &secret);
    record_done(&access_key_table, &alice.record);
    record_done(&access_key_table, &bob.record);
}

static void test_open_refuses_records_that_contradict_themselves(void **state)
{
    static const struct {
        const char *account, *owner;
    } rows[] = { { "11112222333", "11112222333" },
                 { RIG_ACCOUNT, TENANT },
                 { RIG_ACCOUNT, "AROAAAAAAAAAAAAAAAAA" },
                 { RIG_ACCOUNT, "" } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        char id[21];
        iam_rig_begin(&rig);
        access_keys_create(&rig, "alice", id, NULL);
        struct pick pick = { .id = id };
        access_key_each(rig.iam, pick_one, &pick);
        struct access_key_record bad = pick.record; /* its texts are borrowed */
        bad.account = (char *)rows[i].account;
        bad.owner = (char *)rows[i].owner;
        put(&bad);
        record_done(&access_key_table, &pick.record);
        iam_rig_close(&rig);
        CHECK_FAILS(iam_rig_open(&rig, &err), err, KMS_ERR_INTEGRITY);
        iam_rig_close(&rig);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_secret_is_not_in_the_database),
        TEST(test_restart_keeps_keys),
        TEST(test_edited_row_is_refused),
        TEST(test_change_renews_serial_and_wrapping),
        TEST(test_wrapped_secret_moved_to_another_row),
        TEST(test_wrapped_secret_under_another_owner),
        TEST(test_open_refuses_records_that_contradict_themselves),
    };
    return run_group(tests, ARRAY_LEN(tests), iam_rig_group_up, iam_rig_group_down, &rig);
}
