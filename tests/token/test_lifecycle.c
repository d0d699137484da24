/* keys/ over a real token and a real database: every change, and its twins. */

#include <stdio.h>

#include "hsmkms/keys/lifecycle.h"
#include "tests/support/check.h"
#include "tests/support/keys_rig.h"

static struct keys_rig rig;

/* --- rotation --------------------------------------------------------------------------------- */

static void test_rotate_keeps_old_versions_opening(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id;
    struct buf blobs[4] = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(blobs); i++) {
        blobs[i] = keys_rig_wrap(&rig, &id, "data");
        CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err);
    }
    keys_rig_restart(&rig);
    for (size_t i = 0; i < ARRAY_LEN(blobs); i++) {
        keys_rig_opens(&rig, &blobs[i], "data");
        buf_done(&blobs[i]);
    }
    struct key *const rotated = keys_rig_key(&rig, &id);
    assert_int_equal(rotated->version_count, 5);
    assert_int_equal(key_current(rotated)->record.number, 5);
    key_unref(rotated);
    key_unref(key);
}

static void test_rotate_on_demand_26_times_is_refused(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);

    (void)state;
    for (int i = 0; i < 25; i++)
        CHECK_OK(lifecycle_rotate(&rig.keyring, &key->record.id, ROTATE_ON_DEMAND, &err), err);
    CHECK_FAILS(lifecycle_rotate(&rig.keyring, &key->record.id, ROTATE_ON_DEMAND, &err), err,
                KMS_ERR_LIMIT_EXCEEDED);
    struct key *const rotated = keys_rig_key(&rig, &key->record.id);
    assert_int_equal(rotated->version_count, 26);
    key_unref(rotated);
    key_unref(key);
}

static void test_automatic_rotation_when_due(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id;
    const int64_t start = rig.clock.fixed_ms;

    (void)state;
    CHECK_OK(lifecycle_enable_rotation(&rig.keyring, &id, 90, &err), err);
    struct key *enabled = keys_rig_key(&rig, &id);
    assert_int_equal(enabled->record.rotation_next_ms, start + 90 * MS_PER_DAY);
    rig.clock.fixed_ms = start + 90 * MS_PER_DAY - 1;
    assert_int_equal(lifecycle_due(&rig.keyring, enabled), DUE_NOTHING);
    CHECK_FAILS(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err, KMS_ERR_CONFLICT);
    rig.clock.fixed_ms++;
    assert_int_equal(lifecycle_due(&rig.keyring, enabled), DUE_ROTATION);
    key_unref(enabled);

    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_DUE, &err), err);
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_DUE, &err), err); /* due no longer */
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_BUDGET, &err), err);
    enabled = keys_rig_key(&rig, &id);
    assert_int_equal(enabled->version_count, 2);
    assert_int_equal(lifecycle_due(&rig.keyring, enabled), DUE_NOTHING);
    key_unref(enabled);

    /* a new period counts from the last rotation */
    CHECK_OK(lifecycle_enable_rotation(&rig.keyring, &id, 100, &err), err);
    enabled = keys_rig_key(&rig, &id);
    assert_int_equal(enabled->record.rotation_next_ms, start + 190 * MS_PER_DAY);
    key_unref(enabled);

    CHECK_OK(lifecycle_disable_rotation(&rig.keyring, &id, &err), err);
    rig.clock.fixed_ms = start + 3000 * MS_PER_DAY;
    enabled = keys_rig_key(&rig, &id);
    assert_int_equal(lifecycle_due(&rig.keyring, enabled), DUE_NOTHING);
    key_unref(enabled);
    rig.clock.fixed_ms = start;
    key_unref(key);
}

static void test_disabled_key_is_not_rotated(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);

    (void)state;
    CHECK_OK(lifecycle_set_enabled(&rig.keyring, &key->record.id, false, &err), err);
    CHECK_FAILS(lifecycle_rotate(&rig.keyring, &key->record.id, ROTATE_ON_DEMAND, &err), err,
                KMS_ERR_DISABLED);
    struct key *const disabled = keys_rig_key(&rig, &key->record.id);
    assert_int_equal(disabled->version_count, 1);
    key_unref(disabled);
    key_unref(key);
}

/* --- deletion --------------------------------------------------------------------------------- */

static void test_deletion_when_due_destroys_everything(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id;
    const int64_t start = rig.clock.fixed_ms;
    int64_t due_ms = 0;
    struct alias gone;

    (void)state;
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err);
    CHECK_OK(lifecycle_create_alias(&rig.keyring, "alias/short-lived", &id, &err), err);
    CHECK_OK(lifecycle_schedule_deletion(&rig.keyring, &id, 7, &due_ms, &err), err);
    assert_int_equal(due_ms, start + 7 * MS_PER_DAY);

    rig.clock.fixed_ms = due_ms - 1;
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err); /* not due: no effect */
    struct key *pending = keys_rig_key(&rig, &id);
    assert_int_equal(pending->state, KEY_PENDING_DELETION);
    key_unref(pending);

    rig.clock.fixed_ms = due_ms;
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err);
    rig.clock.fixed_ms = start;
    keys_rig_restart(&rig);
    struct key *const deleted = keys_rig_key(&rig, &id);
    assert_int_equal(deleted->state, KEY_DELETED);
    assert_int_equal(deleted->version_count, 2);
    for (size_t i = 0; i < deleted->version_count; i++)
        CHECK_FAILS(
            token_key_verify(rig.token, TOKEN_AES_GCM, &deleted->versions[i].record.id, &err), err,
            KMS_ERR_NOT_FOUND);
    CHECK(!catalog_alias(rig.keyring.catalog, "alias/short-lived", &gone));
    key_unref(deleted);
    key_unref(key);
}

static void test_cancelled_deletion_leaves_the_key_disabled(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    const struct uuid id = key->record.id;
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    int64_t due_ms = 0;

    (void)state;
    CHECK_FAILS(lifecycle_cancel_deletion(&rig.keyring, &id, &err), err, KMS_ERR_INVALID_STATE);
    CHECK_OK(lifecycle_schedule_deletion(&rig.keyring, &id, 30, &due_ms, &err), err);
    CHECK_FAILS(lifecycle_schedule_deletion(&rig.keyring, &id, 30, &due_ms, &err), err,
                KMS_ERR_INVALID_STATE);
    CHECK_OK(lifecycle_cancel_deletion(&rig.keyring, &id, &err), err);
    rig.clock.fixed_ms += 31 * MS_PER_DAY;
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err);
    rig.clock.fixed_ms -= 31 * MS_PER_DAY;
    struct key *const back = keys_rig_key(&rig, &id);
    assert_int_equal(back->state, KEY_DISABLED);
    key_unref(back);
    CHECK_OK(lifecycle_set_enabled(&rig.keyring, &id, true, &err), err);
    keys_rig_opens(&rig, &blob, "data");
    key_unref(key);
}

/* --- aliases, tags, managed keys -------------------------------------------------------------- */

static void test_aliases(void **state)
{
    struct kms_error err = { 0 };
    struct key *const one = keys_rig_make(&rig), *const two = keys_rig_make(&rig);
    const struct uuid *const first = &one->record.id, *const second = &two->record.id;
    struct alias alias;

    (void)state;
    CHECK_OK(lifecycle_create_alias(&rig.keyring, "alias/a", first, &err), err);
    CHECK_FAILS(lifecycle_create_alias(&rig.keyring, "alias/a", second, &err), err,
                KMS_ERR_ALREADY_EXISTS);
    CHECK_OK(lifecycle_update_alias(&rig.keyring, "alias/a", first, second, &err), err);
    keys_rig_restart(&rig);
    CHECK(catalog_alias(rig.keyring.catalog, "alias/a", &alias));
    CHECK(uuid_equal(&alias.key_id, second));
    CHECK_OK(lifecycle_delete_alias(&rig.keyring, "alias/a", second, &err), err);
    CHECK_FAILS(lifecycle_delete_alias(&rig.keyring, "alias/a", second, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_FAILS(lifecycle_update_alias(&rig.keyring, "alias/a", second, first, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_OK(lifecycle_create_alias(&rig.keyring, "alias/a", first, &err), err);
    CHECK_OK(lifecycle_delete_alias(&rig.keyring, "alias/a", first, &err), err);
    key_unref(one);
    key_unref(two);
}

/* What was allowed for one key is not done to another that the alias came to point at. */
static void test_alias_that_moved_meanwhile(void **state)
{
    struct kms_error err = { 0 };
    struct key *const one = keys_rig_make(&rig), *const two = keys_rig_make(&rig);
    const struct uuid *const first = &one->record.id, *const second = &two->record.id;
    struct alias alias;

    (void)state;
    CHECK_OK(lifecycle_create_alias(&rig.keyring, "alias/moved", second, &err), err);
    CHECK_FAILS(lifecycle_update_alias(&rig.keyring, "alias/moved", first, first, &err), err,
                KMS_ERR_DEPENDENCY_TIMEOUT);
    CHECK_FAILS(lifecycle_delete_alias(&rig.keyring, "alias/moved", first, &err), err,
                KMS_ERR_DEPENDENCY_TIMEOUT);
    keys_rig_restart(&rig);
    CHECK(catalog_alias(rig.keyring.catalog, "alias/moved", &alias));
    CHECK(uuid_equal(&alias.key_id, second));
    CHECK_OK(lifecycle_delete_alias(&rig.keyring, "alias/moved", second, &err), err);
    key_unref(one);
    key_unref(two);
}

static void test_51st_alias_and_tag_are_refused(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    char name[32], value[] = "v";

    (void)state;
    for (int i = 0; i <= 50; i++) {
        (void)snprintf(name, sizeof(name), "alias/many-%d", i);
        const int aliased = lifecycle_create_alias(&rig.keyring, name, &key->record.id, &err);
        assert_int_equal(aliased == 0, i < 50);
        if (aliased < 0)
            assert_int_equal(err.code, KMS_ERR_LIMIT_EXCEEDED);
        kms_error_clear(&err);
        const struct tag_record tag = { .tag_key = name, .tag_value = value };
        const int tagged = lifecycle_tag(&rig.keyring, &key->record.id, &tag, 1, &err);
        assert_int_equal(tagged == 0, i < 50);
        if (tagged < 0)
            assert_string_equal(err.message, "Too many tags");
        kms_error_clear(&err);
    }
    struct key *const tagged = keys_rig_key(&rig, &key->record.id);
    assert_int_equal(tagged->tag_count, 50);
    key_unref(tagged);
    key_unref(key);
}

static void test_tags_replace_and_vanish(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_make(&rig);
    char a[] = "a", b[] = "b", reserved[] = "AWS:x", one[] = "1", empty[] = "";
    const struct tag_record tags[] = { { .tag_key = a, .tag_value = one },
                                       { .tag_key = b, .tag_value = empty } };
    const struct tag_record twice[] = { tags[0], tags[0] };
    const struct tag_record bad = { .tag_key = reserved, .tag_value = one };
    const char *const remove[] = { "a", "not-there" };

    (void)state;
    CHECK_OK(lifecycle_tag(&rig.keyring, &key->record.id, tags, 2, &err), err);
    CHECK_FAILS(lifecycle_tag(&rig.keyring, &key->record.id, twice, 2, &err), err, KMS_ERR_TAG);
    CHECK_FAILS(lifecycle_tag(&rig.keyring, &key->record.id, &bad, 1, &err), err, KMS_ERR_TAG);
    CHECK_OK(lifecycle_untag(&rig.keyring, &key->record.id, remove, 2, &err), err);
    keys_rig_restart(&rig);
    struct key *const tagged = keys_rig_key(&rig, &key->record.id);
    assert_int_equal(tagged->tag_count, 1);
    assert_string_equal(tagged->tags[0].tag_key, "b");
    assert_string_equal(tagged->tags[0].tag_value, "");
    key_unref(tagged);
    key_unref(key);
}

static void test_managed_key_is_made_once(void **state)
{
    struct kms_error err = { 0 };
    struct key *first = NULL, *second = NULL;
    const size_t before = catalog_count(rig.keyring.catalog);

    (void)state;
    CHECK(keyring_alias_is_predefined("alias/aws/s3"));
    CHECK(!keyring_alias_is_predefined("alias/aws/s4"));
    CHECK(!keyring_alias_is_predefined("alias/s3"));
    CHECK_OK(lifecycle_managed_key(&rig.keyring, "alias/aws/s3", &first, &err), err);
    CHECK_OK(lifecycle_managed_key(&rig.keyring, "alias/aws/s3", &second, &err), err);
    CHECK(uuid_equal(&first->record.id, &second->record.id));
    CHECK(key_is_aws_managed(first) && first->record.rotation_enabled);
    assert_int_equal(catalog_count(rig.keyring.catalog), before);
    key_unref(first);
    key_unref(second);
}

static void test_key_quota(void **state)
{
    struct kms_error err = { 0 };
    struct key *key = NULL;

    (void)state;
    rig.keyring.limits.keys_most = (int64_t)catalog_count(rig.keyring.catalog);
    CHECK_FAILS(
        lifecycle_create(&rig.keyring, &(struct key_draft){ .description = "" }, &key, &err), err,
        KMS_ERR_LIMIT_EXCEEDED);
    rig.keyring.limits.keys_most = rig.limits.keys_most;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotate_keeps_old_versions_opening),
        cmocka_unit_test(test_rotate_on_demand_26_times_is_refused),
        cmocka_unit_test(test_automatic_rotation_when_due),
        cmocka_unit_test(test_disabled_key_is_not_rotated),
        cmocka_unit_test(test_deletion_when_due_destroys_everything),
        cmocka_unit_test(test_cancelled_deletion_leaves_the_key_disabled),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_alias_that_moved_meanwhile),
        cmocka_unit_test(test_51st_alias_and_tag_are_refused),
        cmocka_unit_test(test_tags_replace_and_vanish),
        cmocka_unit_test(test_managed_key_is_made_once),
        cmocka_unit_test(test_key_quota),
    };
    return run_group(tests, ARRAY_LEN(tests), keys_rig_up, keys_rig_down, &rig);
}
