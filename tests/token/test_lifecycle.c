/* keys/ over a real token and a real database: every change, its twins, and what crashes leave. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/material.h"
#include "tests/support/check.h"
#include "tests/support/keys_rig.h"

static struct keys_rig rig;

static struct key *make_key(void)
{
    struct kms_error err = { 0 };
    struct key *key = NULL;

    CHECK_OK(lifecycle_create(&rig.keyring, &(struct key_draft){ .description = "" }, &key, &err),
             err);
    return key;
}

static struct buf wrap(const struct uuid *id, const char *plain)
{
    struct kms_error err = { 0 };
    struct buf blob = { 0 };
    struct key *const key = keys_rig_key(&rig, id);

    CHECK_OK(material_wrap(&rig.keyring, key, SPAN_LITERAL("\0\0"), span_text(plain), &blob, &err),
             err);
    key_unref(key);
    return blob;
}

/* Opens a blob under the newest snapshot; gives the error's code. */
static enum kms_err unwrap(struct span blob, struct span context, const char *expected)
{
    struct kms_error err = { 0 };
    struct envelope envelope;
    AUTO(secret) plain = { 0 };

    if (envelope_parse(blob, &envelope, &err) < 0)
        return err.code;
    struct key *const key = keys_rig_key(&rig, &envelope.key_id);
    if (material_unwrap(&rig.keyring, key, &envelope, context, &plain, &err) == 0)
        CHECK_SPAN(secret_span(&plain), span_text(expected));
    key_unref(key);
    return err.code;
}

static void check_opens(const struct buf *blob, const char *expected)
{
    assert_int_equal(unwrap(buf_span(blob), SPAN_LITERAL("\0\0"), expected), KMS_ERR_NONE);
}

/* --- material --------------------------------------------------------------------------------- */

static void test_wrap_opens_again_and_differs_each_time(void **state)
{
    struct key *const key = make_key();
    AUTO(buf) first = wrap(&key->record.id, "data");
    AUTO(buf) second = wrap(&key->record.id, "data");

    (void)state;
    assert_int_equal(first.len, 4 + ENVELOPE_OVERHEAD);
    CHECK(!span_equal(buf_span(&first), buf_span(&second)));
    check_opens(&first, "data");
    assert_int_equal(unwrap(buf_span(&first), SPAN_LITERAL("\0\1\0\1a\0\1b"), ""),
                     KMS_ERR_INVALID_CIPHERTEXT);
    key_unref(key);
}

static void test_unwrap_refuses_each_changed_byte_and_loses_no_session(void **state)
{
    struct key *const key = make_key();
    AUTO(buf) blob = wrap(&key->record.id, "data");
    struct token_status before, after;

    (void)state;
    token_status(rig.token, &before);
    for (size_t i = 0; i < blob.len; i++) {
        blob.ptr[i] ^= 1;
        const bool names_key = i >= 24 && i < 40; /* another key: not this function's case */
        if (!names_key)
            assert_int_equal(unwrap(buf_span(&blob), SPAN_LITERAL("\0\0"), "data"),
                             KMS_ERR_INVALID_CIPHERTEXT);
        blob.ptr[i] ^= 1;
    }
    token_status(rig.token, &after);
    assert_int_equal(before.sessions_replaced, after.sessions_replaced);
    check_opens(&blob, "data");
    key_unref(key);
}

static void test_unwrap_refuses_a_blob_of_another_installation(void **state)
{
    struct key *const key = make_key();
    const struct uuid own = rig.keyring.installation;

    (void)state;
    rig.keyring.installation = uuid_random();
    AUTO(buf) foreign = wrap(&key->record.id, "data");
    rig.keyring.installation = own;
    /* the header says who made it and is bound: changing it back does not open the blob either */
    memcpy(foreign.ptr + 8, own.bytes, sizeof(own.bytes));
    assert_int_equal(unwrap(buf_span(&foreign), SPAN_LITERAL("\0\0"), "data"),
                     KMS_ERR_INVALID_CIPHERTEXT);
    key_unref(key);
}

static void test_data_key_is_what_the_blob_holds(void **state)
{
    static const size_t lengths[] = { 1, 16, 32, 1024 };
    struct key *const key = make_key();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct kms_error err = { 0 };
        struct envelope envelope;
        AUTO(secret) plain = { 0 };
        AUTO(secret) opened = { 0 };
        AUTO(buf) blob = { 0 };
        CHECK_OK(material_data_key(&rig.keyring, key, SPAN_LITERAL("\0\0"), lengths[i], &plain,
                                   &blob, &err),
                 err);
        assert_int_equal(plain.len, lengths[i]);
        CHECK_OK(envelope_parse(buf_span(&blob), &envelope, &err), err);
        CHECK_OK(material_unwrap(&rig.keyring, key, &envelope, SPAN_LITERAL("\0\0"), &opened, &err),
                 err);
        CHECK_SPAN(secret_span(&opened), secret_span(&plain));
    }
    key_unref(key);
}

/* --- budget ----------------------------------------------------------------------------------- */

static int64_t reserved_in_database(const struct uuid *version);

static void test_budget_reserves_ahead_rotates_and_refuses(void **state)
{
    struct key *const key = make_key();
    struct kms_error err = { 0 };
    AUTO(buf) blob = { 0 };
    int64_t done = 1; /* the canary */

    (void)state;
    while (material_wrap(&rig.keyring, key, SPAN_LITERAL("\0\0"), SPAN_LITERAL("x"), &blob, &err) ==
           0) {
        buf_clear(&blob);
        done++;
        CHECK(reserved_in_database(&key->versions[0].record.id) >= done);
        assert_int_equal(lifecycle_due(&rig.keyring, key),
                         done >= rig.limits.gcm_rotate ? DUE_BUDGET_ROTATION : DUE_NOTHING);
    }
    assert_int_equal(err.code, KMS_ERR_INTERNAL);
    assert_int_equal(done, rig.limits.gcm_refuse);
    kms_error_clear(&err);
    CHECK_OK(lifecycle_rotate(&rig.keyring, &key->record.id, ROTATE_BUDGET, &err), err);
    AUTO(buf) again = wrap(&key->record.id, "y");
    check_opens(&again, "y");
    key_unref(key);
}

static void test_budget_smaller_than_a_block_refuses_too(void **state)
{
    const struct keyring_limits limits = rig.keyring.limits;
    struct kms_error err = { 0 };
    AUTO(buf) blob = { 0 };
    int64_t done = 1; /* the canary */

    (void)state;
    rig.keyring.limits.gcm_refuse = 8;
    struct key *const key = make_key();
    while (material_wrap(&rig.keyring, key, SPAN_LITERAL("\0\0"), SPAN_LITERAL("x"), &blob, &err) ==
           0)
        done++;
    assert_int_equal(err.code, KMS_ERR_INTERNAL);
    assert_int_equal(done, 8);
    rig.keyring.limits = limits;
    key_unref(key);
}

static void test_budget_after_restart_starts_beyond_what_may_have_been_used(void **state)
{
    struct key *key = make_key();
    const struct uuid id = key->record.id;

    (void)state;
    for (int i = 0; i < 5; i++) {
        AUTO(buf) blob = wrap(&id, "x");
    }
    const long long reserved = atomic_load(&key->versions[0].budget->reserved);
    key_unref(key);
    keys_rig_restart(&rig);
    key = keys_rig_key(&rig, &id);
    assert_int_equal(atomic_load(&key->versions[0].budget->used), reserved);
    AUTO(buf) blob = wrap(&id, "x");
    assert_int_equal(atomic_load(&key->versions[0].budget->reserved),
                     reserved + rig.limits.gcm_block);
    key_unref(key);
}

static void *spend_some(void *arg)
{
    for (int i = 0; i < 50; i++) {
        struct buf blob = wrap(arg, "x");
        buf_done(&blob);
    }
    return NULL;
}

static void test_budget_of_four_threads_is_exact(void **state)
{
    struct key *const key = make_key();
    struct uuid id = key->record.id;
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, spend_some, &id) == 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    assert_int_equal(atomic_load(&key->versions[0].budget->used), 1 + 4 * 50);
    CHECK(atomic_load(&key->versions[0].budget->reserved) >= 201);
    key_unref(key);
}

/* --- rotation --------------------------------------------------------------------------------- */

static void test_rotate_keeps_old_versions_opening(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = make_key();
    const struct uuid id = key->record.id;
    struct buf blobs[4] = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(blobs); i++) {
        blobs[i] = wrap(&id, "data");
        CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err);
    }
    keys_rig_restart(&rig);
    for (size_t i = 0; i < ARRAY_LEN(blobs); i++) {
        check_opens(&blobs[i], "data");
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
    struct key *const key = make_key();

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
    struct key *const key = make_key();
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
    struct key *const key = make_key();

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
    struct key *const key = make_key();
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
    struct key *const key = make_key();
    const struct uuid id = key->record.id;
    AUTO(buf) blob = wrap(&id, "data");
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
    check_opens(&blob, "data");
    key_unref(key);
}

/* --- aliases, tags, managed keys -------------------------------------------------------------- */

static void test_aliases(void **state)
{
    struct kms_error err = { 0 };
    struct key *const one = make_key(), *const two = make_key();
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
    struct key *const one = make_key(), *const two = make_key();
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
    struct key *const key = make_key();
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
    struct key *const key = make_key();
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

/* --- what crashes leave ----------------------------------------------------------------------- */

/* Rows as they are at a kill between the intent and the end. */
struct leftover {
    struct uuid key_id, version_id;
};

static struct leftover leave_creating(void)
{
    struct kms_error err = { 0 };
    struct leftover left = { uuid_random(), uuid_random() };
    struct store_tx *tx = NULL;
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

    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    CHECK_OK(store_put(tx, &key_table, &key, &err), err);
    CHECK_OK(store_put(tx, &version_table, &version, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
    return left;
}

static void make_object(const struct uuid *id)
{
    struct kms_error err = { 0 };
    uint8_t canary[TOKEN_CANARY_LEN];
    char label[64];

    (void)snprintf(label, sizeof(label), "hsmkms:kv:%s", uuid_format(id).text);
    CHECK_OK(token_key_generate(rig.token, TOKEN_AES_GCM, id, label, canary, &err), err);
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
    make_object(&left.version_id);
    keys_rig_restart(&rig);
    struct key *const key = keys_rig_key(&rig, &left.key_id);
    assert_int_equal(key->state, KEY_ENABLED);
    AUTO(buf) blob = wrap(&left.key_id, "data");
    check_opens(&blob, "data");
    keys_rig_restart(&rig);
    check_opens(&blob, "data");
    key_unref(key);
}

static void test_killed_rotation_is_finished_and_old_blobs_open(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = make_key();
    const struct uuid id = key->record.id, version_id = uuid_random();
    AUTO(buf) old = wrap(&id, "data");
    char creating[] = "Creating", reason[] = "ON_DEMAND";
    const struct version_record version = { .id = version_id,
                                            .key_id = id,
                                            .number = 2,
                                            .state = creating,
                                            .reason = reason,
                                            .created_ms = rig.clock.fixed_ms };
    struct store_tx *tx = NULL;

    (void)state;
    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    CHECK_OK(store_put(tx, &version_table, &version, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
    make_object(&version_id);
    keys_rig_restart(&rig);
    struct key *const rotated = keys_rig_key(&rig, &id);
    CHECK(uuid_equal(&rotated->record.current_version, &version_id));
    assert_int_equal(rotated->record.rotations_on_demand, 1);
    assert_int_equal(rotated->record.rotation_last_ms, rig.clock.fixed_ms);
    check_opens(&old, "data");
    key_unref(rotated);
    key_unref(key);
}

static void test_killed_rotation_before_a_good_one_does_not_take_its_place(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = make_key();
    const struct uuid id = key->record.id, version_id = uuid_random();
    char creating[] = "Creating", reason[] = "ON_DEMAND";
    const struct version_record version = { .id = version_id,
                                            .key_id = id,
                                            .number = 2,
                                            .state = creating,
                                            .reason = reason,
                                            .created_ms = rig.clock.fixed_ms };
    struct store_tx *tx = NULL;

    (void)state;
    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    CHECK_OK(store_put(tx, &version_table, &version, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
    make_object(&version_id);
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
    struct key *const key = make_key();
    const struct uuid id = key->record.id, version_id = uuid_random();
    const int64_t start = rig.clock.fixed_ms;
    char creating[] = "Creating", reason[] = "ON_DEMAND";
    const struct version_record version = {
        .id = version_id, .key_id = id, .number = 2, .state = creating, .reason = reason
    };
    struct store_tx *tx = NULL;
    int64_t due_ms = 0;

    (void)state;
    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    CHECK_OK(store_put(tx, &version_table, &version, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
    make_object(&version_id);
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
    struct key *const key = make_key();
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
    make_object(&stranger);
    keys_rig_restart(&rig);
    assert_int_equal(rig.strangers, before + 1);
    CHECK_OK(token_key_verify(rig.token, TOKEN_AES_GCM, &stranger, &err), err);
}

static int take_reserved(void *arg, const void *record, struct kms_error *err)
{
    const struct version_record *const version = record;
    struct version_record *const wanted = arg;

    (void)err;
    if (uuid_equal(&version->id, &wanted->id))
        wanted->reserved = version->reserved;
    return 0;
}

static int64_t reserved_in_database(const struct uuid *version)
{
    struct kms_error err = { 0 };
    struct version_record wanted = { .id = *version };

    CHECK_OK(store_each(rig.store, &version_table, take_reserved, &wanted, &err), err);
    return wanted.reserved;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrap_opens_again_and_differs_each_time),
        cmocka_unit_test(test_unwrap_refuses_each_changed_byte_and_loses_no_session),
        cmocka_unit_test(test_unwrap_refuses_a_blob_of_another_installation),
        cmocka_unit_test(test_data_key_is_what_the_blob_holds),
        cmocka_unit_test(test_budget_reserves_ahead_rotates_and_refuses),
        cmocka_unit_test(test_budget_smaller_than_a_block_refuses_too),
        cmocka_unit_test(test_budget_after_restart_starts_beyond_what_may_have_been_used),
        cmocka_unit_test(test_budget_of_four_threads_is_exact),
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
