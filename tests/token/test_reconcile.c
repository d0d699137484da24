/*
 * What crashes leave of keys, over a real token and a real database, and what the next start makes
 * of it.
 */

#include "hsmkms/keys/lifecycle.h"
#include "tests/support/check.h"
#include "tests/support/keys_rig.h"

static struct keys_rig rig;

/* Rows as they are at a kill between the intent and the end. */
struct leftover {
    struct uuid key_id, version_id;
};

static struct leftover leave_creating(void)
{
    struct leftover left = { uuid_random(), uuid_random() };
    char manager[] = "CUSTOMER", spec[] = "SYMMETRIC_DEFAULT", usage[] = "ENCRYPT_DECRYPT",
         origin[] = "AWS_KMS", creating[] = "Creating", description[] = "";
    const struct key_record key = { .id = left.key_id,
                                    .manager = manager,
                                    .spec = spec,
                                    .usage = usage,
                                    .origin = origin,
                                    .state = creating,
                                    .description = description };
    const struct version_record version = {
        .id = left.version_id, .key_id = left.key_id, .number = 1, .state = creating
    };

    keys_rig_put(&rig, &key_table, &key);
    keys_rig_put(&rig, &version_table, &version);
    return left;
}

static void test_killed_before_the_object_is_aborted(void **state)
{
    const struct leftover left = leave_creating();

    (void)state;
    keys_rig_restart(&rig);
    keys_rig_restart(&rig); /* and stays so */
    struct key *const key = keys_rig_key(&rig, &left.key_id);
    assert_int_equal(key->state, KEY_ABORTED);
    CHECK(!key_visible(key));
    key_unref(key);
}

static void test_killed_after_the_object_is_finished(void **state)
{
    const struct leftover left = leave_creating();

    (void)state;
    keys_rig_object(&rig, &left.version_id);
    keys_rig_restart(&rig);
    struct key *const key = keys_rig_key(&rig, &left.key_id);
    assert_int_equal(key->state, KEY_ENABLED);
    AUTO(buf) blob = keys_rig_wrap(&rig, &left.key_id, "data");
    keys_rig_opens(&rig, &blob, "data");
    keys_rig_restart(&rig);
    keys_rig_opens(&rig, &blob, "data");
    key_unref(key);
}

static void test_killed_rotation_is_finished_and_old_blobs_open(void **state)
{
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id, version_id = uuid_random();
    AUTO(buf) old = keys_rig_wrap(&rig, &id, "data");

    (void)state;
    keys_rig_leave_rotation(&rig, &id, &version_id);
    keys_rig_object(&rig, &version_id);
    keys_rig_restart(&rig);
    struct key *const rotated = keys_rig_key(&rig, &id);
    CHECK(uuid_equal(&rotated->record.current_version, &version_id));
    assert_int_equal(rotated->record.rotations_on_demand, 1);
    assert_int_equal(rotated->record.rotation_last_ms, rig.clock.fixed_ms);
    keys_rig_opens(&rig, &old, "data");
    key_unref(rotated);
    key_unref(key);
}

static void test_killed_rotation_before_a_good_one_does_not_take_its_place(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id, version_id = uuid_random();

    (void)state;
    keys_rig_leave_rotation(&rig, &id, &version_id);
    keys_rig_object(&rig, &version_id);
    rig.clock.fixed_ms++;
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err);
    struct key *const before = keys_rig_key(&rig, &id);
    keys_rig_restart(&rig);
    struct key *const after = keys_rig_key(&rig, &id);
    assert_int_equal(after->version_count, 3); /* it may have encrypted: it goes on decrypting */
    CHECK(version_is_usable(key_version_find(after, &version_id)));
    CHECK(uuid_equal(&after->record.current_version, &before->record.current_version));
    key_unref(after);
    key_unref(before);
    key_unref(key);
}

static void test_killed_rotation_of_a_key_deleted_since_leaves_no_object(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id, version_id = uuid_random();
    const int64_t start = rig.clock.fixed_ms;
    int64_t due_ms = 0;

    (void)state;
    keys_rig_leave_rotation(&rig, &id, &version_id);
    keys_rig_object(&rig, &version_id);
    CHECK_OK(lifecycle_schedule_deletion(&rig.keyring, &id, 7, &due_ms, &err), err);
    rig.clock.fixed_ms = due_ms;
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err);
    rig.clock.fixed_ms = start;
    keys_rig_restart(&rig);
    struct key *const gone = keys_rig_key(&rig, &id);
    assert_int_equal(gone->state, KEY_DELETED);
    assert_string_equal(key_version_find(gone, &version_id)->record.state, "Destroyed");
    CHECK_FAILS(token_key_verify(rig.token, TOKEN_AES_GCM, &version_id, &err), err,
                KMS_ERR_NOT_FOUND);
    key_unref(gone);
    key_unref(key);
}

static void test_lost_object_makes_the_key_unavailable_not_gone(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id;

    (void)state;
    CHECK_OK(token_key_destroy(rig.token, &key->versions[0].record.id, &err), err);
    keys_rig_restart(&rig);
    struct key *const lost = keys_rig_key(&rig, &id);
    assert_int_equal(lost->state, KEY_UNAVAILABLE);
    CHECK_FAILS(key_may(lost, KEY_USE_CRYPTO, "ARN", &err), err, KMS_ERR_INVALID_STATE);
    assert_string_equal(lost->record.state, "Enabled"); /* it comes back with its object */
    key_unref(lost);
    key_unref(key);
}

static void test_unknown_objects_are_counted_and_left_alone(void **state)
{
    struct kms_error err = { 0 };
    const struct uuid stranger = uuid_random();
    const unsigned before = rig.strangers;

    (void)state;
    keys_rig_object(&rig, &stranger);
    keys_rig_restart(&rig);
    assert_int_equal(rig.strangers, before + 1);
    CHECK_OK(token_key_verify(rig.token, TOKEN_AES_GCM, &stranger, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_before_the_object_is_aborted),
        cmocka_unit_test(test_killed_after_the_object_is_finished),
        cmocka_unit_test(test_killed_rotation_is_finished_and_old_blobs_open),
        cmocka_unit_test(test_killed_rotation_before_a_good_one_does_not_take_its_place),
        cmocka_unit_test(test_killed_rotation_of_a_key_deleted_since_leaves_no_object),
        cmocka_unit_test(test_lost_object_makes_the_key_unavailable_not_gone),
        cmocka_unit_test(test_unknown_objects_are_counted_and_left_alone),
    };
    return run_group(tests, ARRAY_LEN(tests), keys_rig_up, keys_rig_down, &rig);
}
