/*
 * Key material in use, over a real token and a real database: blobs, data keys, and the budget of
 * nonces.
 */

#include <pthread.h>

#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/material.h"
#include "tests/support/check.h"
#include "tests/support/keys_rig.h"

static struct keys_rig rig;

/* --- material --------------------------------------------------------------------------------- */

static void test_wrap_opens_again_and_differs_each_time(void **state)
{
    struct key *const key = keys_rig_make(&rig);
    AUTO(buf) first = keys_rig_wrap(&rig, &key->record.id, "data");
    AUTO(buf) second = keys_rig_wrap(&rig, &key->record.id, "data");

    (void)state;
    assert_int_equal(first.len, 4 + ENVELOPE_OVERHEAD);
    CHECK(!span_equal(buf_span(&first), buf_span(&second)));
    keys_rig_opens(&rig, &first, "data");
    assert_int_equal(keys_rig_unwrap(&rig, buf_span(&first), SPAN_LITERAL("\0\1\0\1a\0\1b"), ""),
                     KMS_ERR_INVALID_CIPHERTEXT);
    key_unref(key);
}

static void test_unwrap_refuses_each_changed_byte_and_loses_no_session(void **state)
{
    struct key *const key = keys_rig_make(&rig);
    AUTO(buf) blob = keys_rig_wrap(&rig, &key->record.id, "data");
    struct token_status before, after;

    (void)state;
    token_status(rig.token, &before);
    for (size_t i = 0; i < blob.len; i++) {
        blob.ptr[i] ^= 1;
        const bool names_key = i >= 24 && i < 40; /* another key: not this function's case */
        if (!names_key)
            assert_int_equal(keys_rig_unwrap(&rig, buf_span(&blob), SPAN_LITERAL("\0\0"), "data"),
                             KMS_ERR_INVALID_CIPHERTEXT);
        blob.ptr[i] ^= 1;
    }
    token_status(rig.token, &after);
    assert_int_equal(before.sessions_replaced, after.sessions_replaced);
    keys_rig_opens(&rig, &blob, "data");
    key_unref(key);
}

static void test_unwrap_refuses_a_blob_of_another_installation(void **state)
{
    struct key *const key = keys_rig_make(&rig);
    const struct uuid own = rig.keyring.installation;

    (void)state;
    rig.keyring.installation = uuid_random();
    AUTO(buf) foreign = keys_rig_wrap(&rig, &key->record.id, "data");
    rig.keyring.installation = own;
    /* the header says who made it and is bound: changing it back does not open the blob either */
    memcpy(foreign.ptr + 8, own.bytes, sizeof(own.bytes));
    assert_int_equal(keys_rig_unwrap(&rig, buf_span(&foreign), SPAN_LITERAL("\0\0"), "data"),
                     KMS_ERR_INVALID_CIPHERTEXT);
    key_unref(key);
}

static void test_data_key_is_what_the_blob_holds(void **state)
{
    static const size_t lengths[] = { 1, 16, 32, 1024 };
    struct key *const key = keys_rig_make(&rig);

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

static void test_budget_reserves_ahead_rotates_and_refuses(void **state)
{
    struct key *const key = keys_rig_make(&rig);
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
    AUTO(buf) again = keys_rig_wrap(&rig, &key->record.id, "y");
    keys_rig_opens(&rig, &again, "y");
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
    struct key *const key = keys_rig_make(&rig);
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
    struct key *key = keys_rig_make(&rig);
    const struct uuid id = key->record.id;

    (void)state;
    for (int i = 0; i < 5; i++) {
        AUTO(buf) blob = keys_rig_wrap(&rig, &id, "x");
    }
    const long long reserved = atomic_load(&key->versions[0].budget->reserved);
    key_unref(key);
    keys_rig_restart(&rig);
    key = keys_rig_key(&rig, &id);
    assert_int_equal(atomic_load(&key->versions[0].budget->used), reserved);
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "x");
    assert_int_equal(atomic_load(&key->versions[0].budget->reserved),
                     reserved + rig.limits.gcm_block);
    key_unref(key);
}

static void *spend_some(void *arg)
{
    for (int i = 0; i < 50; i++) {
        struct buf blob = keys_rig_wrap(&rig, arg, "x");
        buf_done(&blob);
    }
    return NULL;
}

static void test_budget_of_four_threads_is_exact(void **state)
{
    struct key *const key = keys_rig_make(&rig);
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
    };
    return run_group(tests, ARRAY_LEN(tests), keys_rig_up, keys_rig_down, &rig);
}
