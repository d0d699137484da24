#include "hsmkms/keys/last_use.h"

#include <sqlite3.h>

#include "hsmkms/api/worker.h"
#include "tests/support/api_rig.h"
#include "tests/support/check.h"
#include "tests/support/fault_vfs.h"

/* When keys were last used: per version, in few transactions, and again after the next start. */

#define MANY 70 /* versions: more than one transaction takes */

static struct api_rig rig;

static struct key *key_of(const char *id)
{
    struct uuid uuid;

    CHECK(uuid_parse(span_text(id), &uuid));
    struct key *const key = catalog_find(rig.keyring.catalog, &uuid);
    CHECK(key != NULL);
    return key;
}

static void encrypt(const char *id)
{
    json_decref(rig_ok(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'eA=='}", id));
}

static size_t save(void)
{
    struct kms_error err = { 0 };
    size_t saved = 0;

    CHECK_OK(last_use_save(&rig.keyring, &saved, &err), err);
    return saved;
}

/* A keyring as the next start would read it; in place, because it points at itself. */
static void reopen(struct keyring *ret)
{
    const struct installation_record installation = { .id = rig.keyring.installation,
                                                      .account = rig.keyring.account };
    struct kms_error err = { 0 };
    unsigned strangers = 0;

    CHECK_OK(keyring_open(ret, rig.below.token, rig.below.store, &rig.clock, rig.keyring.limits,
                          &installation, "us-east-1", &strangers, &err),
             err);
}

static void test_nothing_used_nothing_written(void **state)
{
    const struct uuid_text id = rig_key(&rig);
    const uint64_t before = store_sequence(rig.below.store);
    struct key *const key = key_of(id.text);
    struct last_use use;

    (void)state;
    CHECK(!key_last_use(key, &use));
    assert_int_equal(save(), 0);
    assert_int_equal(store_sequence(rig.below.store), before);
    key_unref(key);
}

/* The hot path writes nothing; a save writes each version once, however often it was used. */
static void test_written_once(void **state)
{
    const struct uuid_text id = rig_key(&rig);
    const uint64_t before = store_sequence(rig.below.store);

    (void)state;
    encrypt(id.text);
    encrypt(id.text);
    assert_int_equal(store_sequence(rig.below.store), before);
    assert_int_equal(save(), 1);
    assert_int_equal(store_sequence(rig.below.store), before + 1);
    assert_int_equal(save(), 0);
    encrypt(id.text);
    assert_int_equal(save(), 1);
}

static void test_more_than_one_transaction(void **state)
{
    struct uuid_text ids[MANY];
    struct last_use use;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        ids[i] = rig_key(&rig);
        encrypt(ids[i].text);
    }
    const uint64_t before = store_sequence(rig.below.store);
    assert_int_equal(save(), MANY);
    assert_int_equal(store_sequence(rig.below.store), before + 2);

    struct keyring again;
    reopen(&again);
    for (size_t i = 0; i < MANY; i++) {
        struct uuid id;
        CHECK(uuid_parse(span_text(ids[i].text), &id));
        struct key *const key = catalog_find(again.catalog, &id);
        CHECK(key && key_last_use(key, &use));
        assert_string_equal(use.operation, "Encrypt");
        assert_int_equal(use.time_ms, clock_wall_ms(&rig.clock));
        key_unref(key);
    }
    keyring_close(&again);
    assert_int_equal(save(), 0);
}

/* An old version that decrypts is used; the one that took its place is not. */
static void test_versions_are_told_apart(void **state)
{
    const struct uuid_text id = rig_key(&rig);
    struct last_use old, new;

    (void)state;
    json_auto_t *sealed = rig_ok(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'eA=='}", id.text);
    json_decref(rig_ok(&rig, "RotateKeyOnDemand", "{'KeyId':'%s'}", id.text));
    json_decref(
        rig_ok(&rig, "Decrypt", "{'CiphertextBlob':'%s'}", text_of(sealed, "CiphertextBlob")));
    struct key *const key = key_of(id.text);
    assert_int_equal(key->version_count, 2);
    CHECK(use_mark_read(key->versions[0].use, &old));
    assert_string_equal(old.operation, "Decrypt");
    CHECK(!use_mark_read(key->versions[1].use, &new));
    CHECK(key_last_use(key, &new));
    assert_memory_equal(&old, &new, sizeof(old));
    key_unref(key);
}

/* Snapshots share the mark: what changes a key forgets nothing. */
static void test_changes_forget_nothing(void **state)
{
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    encrypt(id.text);
    json_decref(rig_ok(&rig, "DisableKey", "{'KeyId':'%s'}", id.text));
    json_auto_t *answer = rig_ok(&rig, "GetKeyLastUsage", "{'KeyId':'%s'}", id.text);
    check_names(answer, "[\"KeyId\",\"KeyLastUsage\",\"TrackingStartDate\",\"KeyCreationDate\"]");
    check_names(member(answer, "KeyLastUsage"),
                "[\"Operation\",\"Timestamp\",\"CloudTrailEventId\",\"KmsRequestId\"]");
    assert_string_equal(text_of(member(answer, "KeyLastUsage"), "Operation"), "Encrypt");
}

/* A key that is gone took nothing with it that the next start would miss. */
static void test_deleted_key(void **state)
{
    const int64_t now = rig.clock.fixed_ms;
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    encrypt(id.text);
    json_decref(
        rig_ok(&rig, "ScheduleKeyDeletion", "{'KeyId':'%s','PendingWindowInDays':7}", id.text));
    rig.clock.fixed_ms = now + 8 * MS_PER_DAY;
    CHECK(worker_round(rig.api) >= 1);
    rig_refused(&rig, KMS_ERR_NOT_FOUND, NULL, "GetKeyLastUsage", "{'KeyId':'%s'}", id.text);
    (void)save();
    struct keyring again;
    reopen(&again);
    keyring_close(&again);
    rig.clock.fixed_ms = now;
}

/* Calls go on while the marks are written; the last one is not lost. */
static void *encrypt_often(void *arg)
{
    struct outcome outcome;

    for (int i = 0; i < 50; i++) {
        outcome = rig_ask(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'eA=='}", (const char *)arg);
        outcome_done(&outcome);
    }
    return NULL;
}

static void test_saving_beside_calls(void **state)
{
    struct uuid_text id = rig_key(&rig);
    pthread_t threads[2];
    struct last_use told, written;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, encrypt_often, id.text) == 0);
    for (int i = 0; i < 20; i++)
        (void)save();
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    (void)save();

    struct keyring again;
    reopen(&again);
    struct key *const key = key_of(id.text);
    struct key *const read = catalog_find(again.catalog, &key->record.id);
    CHECK(read && key_last_use(key, &told) && key_last_use(read, &written));
    CHECK(uuid_equal(&told.event_id, &written.event_id));
    key_unref(read);
    key_unref(key);
    keyring_close(&again);
}

/* A disk that refuses: nothing is forgotten, and the next save writes it. */
static void test_full_disk(void **state)
{
    const struct uuid_text id = rig_key(&rig);
    struct kms_error err = { 0 };
    size_t saved = 7;

    (void)state;
    (void)save();
    encrypt(id.text);
    *fault_vfs_fault() = (struct fault){ .at = 1, .for_ever = true, .result = SQLITE_FULL };
    CHECK_FAILS(last_use_save(&rig.keyring, &saved, &err), err, KMS_ERR_INTERNAL);
    assert_int_equal(saved, 0);
    *fault_vfs_fault() = (struct fault){ 0 };
    assert_int_equal(save(), 1);
    assert_int_equal(save(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_used_nothing_written),
        cmocka_unit_test(test_written_once),
        cmocka_unit_test(test_more_than_one_transaction),
        cmocka_unit_test(test_versions_are_told_apart),
        cmocka_unit_test(test_changes_forget_nothing),
        cmocka_unit_test(test_deleted_key),
        cmocka_unit_test(test_saving_beside_calls),
        cmocka_unit_test(test_full_disk),
    };
    if (!fault_vfs_install())
        return 1;
    return run_group(tests, ARRAY_LEN(tests), api_rig_up, api_rig_down, &rig);
}
