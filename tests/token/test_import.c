/* Imported material over a real token and a real database: its states, time, and crashes. */

#include <pthread.h>
#include <stdio.h>

#include "hsmkms/crypto/spki.h"
#include "hsmkms/keys/change_import.h"
#include "hsmkms/keys/import.h"
#include "hsmkms/keys/import_token.h"
#include "hsmkms/keys/imported.h"
#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/material.h"
#include "tests/support/check.h"
#include "tests/support/keys_rig.h"

static struct keys_rig rig;

/* Three values that clients could have. */
static const uint8_t values[3][32] = { { 1, 1 }, { 2, 2 }, { 3, 3 } };

static struct uuid make_key(void)
{
    const struct key_draft draft = { .description = "", .external = true };
    struct kms_error err = { 0 };
    struct key *key = NULL;

    CHECK_OK(lifecycle_create(&rig.keyring, &draft, &key, &err), err);
    assert_int_equal(key->state, KEY_PENDING_IMPORT);
    assert_int_equal(key->version_count, 0);
    const struct uuid id = key->record.id;
    key_unref(key);
    return id;
}

/* What a client does: asks for parameters, wraps, keeps both. */
struct parcel {
    struct buf token, sealed;
};

static void parcel_done(struct parcel *parcel)
{
    buf_done(&parcel->token);
    buf_done(&parcel->sealed);
}

static struct parcel pack(const struct uuid *id, struct span value)
{
    struct kms_error err = { 0 };
    struct wrapping_pair pair;
    struct parcel parcel = { 0 };
    AUTO(import_parameters) parameters = { 0 };
    struct key *const key = keys_rig_key(&rig, id);

    CHECK_OK(
        import_parameters(&rig.keyring, key, "RSAES_OAEP_SHA_256", "RSA_2048", &parameters, &err),
        err);
    CHECK_OK(wrapping_current(&rig.keyring, "RSA_2048", &pair, &err), err);
    const struct public_key half = { PUBLIC_RSA, token_public_span(&pair.public_key) };
    CHECK_OK(public_key_encrypt(&half, HASH_SHA256, value, &parcel.sealed, &err), err);
    parcel.token = buf_take(&parameters.token);
    key_unref(key);
    return parcel;
}

static enum kms_err bring(const struct uuid *id, struct span value, enum import_type type,
                          int64_t valid_to_ms)
{
    struct kms_error err = { 0 };
    struct material_name name;
    AUTO(parcel) parcel = pack(id, value);
    const struct import_draft draft = { .token = buf_span(&parcel.token),
                                        .sealed = buf_span(&parcel.sealed),
                                        .type = type,
                                        .valid_to_ms = valid_to_ms };

    if (import_material(&rig.keyring, id, &draft, &name, &err) == 0)
        assert_int_equal(strlen(name.text), 64);
    return err.code;
}

static void bring_first(const struct uuid *id)
{
    assert_int_equal(bring(id, SPAN_ARRAY(values[0]), IMPORT_BY_HISTORY, 0), KMS_ERR_NONE);
    assert_int_equal(keys_rig_state(&rig, id), KEY_ENABLED);
}

static void take_away(const struct uuid *id)
{
    struct kms_error err = { 0 };
    struct material_name name;

    CHECK_OK(import_delete(&rig.keyring, id, NULL, &name, &err), err);
    assert_int_equal(keys_rig_state(&rig, id), KEY_PENDING_IMPORT);
}

static bool opens(const struct buf *blob)
{
    struct kms_error err = { 0 };
    struct envelope envelope;
    AUTO(secret) plain = { 0 };

    CHECK_OK(envelope_parse(buf_span(blob), &envelope, &err), err);
    struct key *const key = keys_rig_key(&rig, &envelope.key_id);
    const bool opened =
        material_unwrap(&rig.keyring, key, &envelope, SPAN_LITERAL("\0\0"), &plain, &err) == 0;
    key_unref(key);
    return opened;
}

/* --- what the token holds --------------------------------------------------------------------- */

struct search {
    struct uuid id;
    bool found;
};

static int look(void *arg, const struct uuid *id, const char *label, struct kms_error *err)
{
    struct search *const search = arg;

    (void)label;
    (void)err;
    search->found = search->found || uuid_equal(id, &search->id);
    return 0;
}

static bool in_token(const struct uuid *id)
{
    struct kms_error err = { 0 };
    struct search search = { *id, false };

    CHECK_OK(token_inventory(rig.token, look, &search, &err), err);
    return search.found;
}

static struct uuid version_of(const struct uuid *id, size_t place)
{
    struct key *const key = keys_rig_key(&rig, id);

    CHECK(place < key->version_count);
    const struct uuid version = key->versions[place].record.id;
    key_unref(key);
    return version;
}

static void test_object_comes_and_goes_with_the_material(void **state)
{
    const struct uuid id = make_key();

    (void)state;
    bring_first(&id);
    const struct uuid version = version_of(&id, 0);
    CHECK(in_token(&version));
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    take_away(&id);
    CHECK(!in_token(&version));
    CHECK(!opens(&blob));
    assert_int_equal(bring(&id, SPAN_ARRAY(values[1]), IMPORT_BY_HISTORY, 0),
                     KMS_ERR_INCORRECT_MATERIAL);
    CHECK(!in_token(&version));
    bring_first(&id);
    CHECK(in_token(&version));
    CHECK(opens(&blob));
}

/* What was spent of AES-GCM under a key stays spent when its material comes back. */
static void test_invocations_outlive_the_absence(void **state)
{
    const struct uuid id = make_key();

    (void)state;
    bring_first(&id);
    for (int i = 0; i < 5; i++) {
        AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
        CHECK(opens(&blob));
    }
    struct key *const before = keys_rig_key(&rig, &id);
    const int64_t used = atomic_load(&before->versions[0].budget->used);
    key_unref(before);
    take_away(&id);
    bring_first(&id);
    struct key *const after = keys_rig_key(&rig, &id);
    CHECK(used >= 6 && atomic_load(&after->versions[0].budget->used) == used);
    CHECK(after->versions[0].record.reserved >= used);
    key_unref(after);
}

/* A budget that is used up rotates no key of which the client alone has the material. */
static void test_used_up_budget_makes_nothing(void **state)
{
    const struct uuid id = make_key();

    (void)state;
    bring_first(&id);
    struct key *const key = keys_rig_key(&rig, &id);
    atomic_store(&key->versions[0].budget->used, rig.limits.gcm_rotate);
    atomic_store(&key->versions[0].budget->reserved, rig.limits.gcm_rotate);
    assert_int_equal(lifecycle_due(&rig.keyring, key), DUE_NOTHING);
    key_unref(key);
}

/* --- time ------------------------------------------------------------------------------------- */

static void test_expiry(void **state)
{
    const int64_t begun_ms = rig.clock.fixed_ms;
    const struct uuid id = make_key();
    struct kms_error err = { 0 };

    (void)state;
    assert_int_equal(bring(&id, SPAN_ARRAY(values[0]), IMPORT_NEW, begun_ms + MS_PER_DAY),
                     KMS_ERR_NONE);
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    const struct uuid version = version_of(&id, 0);
    rig.clock.fixed_ms = begun_ms + MS_PER_DAY - 1;
    struct key *const key = keys_rig_key(&rig, &id);
    assert_int_equal(lifecycle_due(&rig.keyring, key), DUE_NOTHING);
    CHECK(!key_is_expired(key, rig.clock.fixed_ms));
    rig.clock.fixed_ms = begun_ms + MS_PER_DAY;
    assert_int_equal(lifecycle_due(&rig.keyring, key), DUE_EXPIRY);
    CHECK(key_is_expired(key, rig.clock.fixed_ms));
    key_unref(key);
    CHECK_OK(import_expire(&rig.keyring, &id, &err), err);
    CHECK_OK(import_expire(&rig.keyring, &id, &err), err); /* nothing is left to do */
    assert_int_equal(keys_rig_state(&rig, &id), KEY_PENDING_IMPORT);
    CHECK(!in_token(&version));
    bring_first(&id);
    CHECK(opens(&blob));
    rig.clock.fixed_ms = begun_ms;
}

static void test_wrapping_pairs_are_renewed_and_destroyed(void **state)
{
    const int64_t begun_ms = rig.clock.fixed_ms;
    struct wrapping_pair first, same, second;
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(wrapping_current(&rig.keyring, "RSA_2048", &first, &err), err);
    keys_rig_restart(&rig);
    CHECK_OK(wrapping_current(&rig.keyring, "RSA_2048", &same, &err), err);
    CHECK(uuid_equal(&first.id, &same.id));
    rig.clock.fixed_ms = first.created_ms + MS_PER_DAY;
    CHECK_OK(wrapping_current(&rig.keyring, "RSA_2048", &second, &err), err);
    CHECK(!uuid_equal(&first.id, &second.id));
    CHECK(wrapping_find(&rig.keyring, &first.id, &same)); /* tokens may still name it */
    rig.clock.fixed_ms = first.created_ms + 2 * MS_PER_DAY;
    CHECK(!wrapping_overdue(&rig.keyring));
    rig.clock.fixed_ms = first.created_ms + 2 * MS_PER_DAY + MS_PER_DAY / 24;
    CHECK(wrapping_overdue(&rig.keyring));
    CHECK_OK(wrapping_expire(&rig.keyring, &err), err);
    CHECK(!in_token(&first.id) && in_token(&second.id));
    CHECK(!wrapping_find(&rig.keyring, &first.id, &same));
    keys_rig_restart(&rig);
    CHECK(!wrapping_find(&rig.keyring, &first.id, &same));
    CHECK(wrapping_find(&rig.keyring, &second.id, &same));
    CHECK_FAILS(wrapping_current(&rig.keyring, "SM2", &same, &err), err, KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(wrapping_current(&rig.keyring, "ECC_NIST_P256", &same, &err), err,
                KMS_ERR_UNSUPPORTED);
    rig.clock.fixed_ms = begun_ms;
}

static void test_import_token_is_for_one_key_and_one_day(void **state)
{
    const int64_t begun_ms = rig.clock.fixed_ms;
    const struct uuid id = make_key(), other = make_key();
    AUTO(parcel) parcel = pack(&id, SPAN_ARRAY(values[0]));
    const struct span bytes = buf_span(&parcel.token);
    struct kms_error err = { 0 };
    struct import_token token;

    (void)state;
    CHECK_OK(import_token_open(&rig.keyring, bytes, &id, &token, &err), err);
    CHECK_FAILS(import_token_open(&rig.keyring, bytes, &other, &token, &err), err,
                KMS_ERR_INVALID_IMPORT_TOKEN);
    for (size_t i = 0; i < bytes.len; i++) {
        parcel.token.ptr[i] ^= 1;
        CHECK_FAILS(import_token_open(&rig.keyring, bytes, &id, &token, &err), err,
                    KMS_ERR_INVALID_IMPORT_TOKEN);
        parcel.token.ptr[i] ^= 1;
        CHECK_FAILS(import_token_open(&rig.keyring, span_of(bytes.ptr, i), &id, &token, &err), err,
                    KMS_ERR_INVALID_IMPORT_TOKEN);
    }
    rig.clock.fixed_ms = begun_ms + IMPORT_TOKEN_LIFE_MS - 1;
    CHECK_OK(import_token_open(&rig.keyring, bytes, &id, &token, &err), err);
    rig.clock.fixed_ms++;
    CHECK_FAILS(import_token_open(&rig.keyring, bytes, &id, &token, &err), err,
                KMS_ERR_EXPIRED_IMPORT_TOKEN);
    rig.clock.fixed_ms = begun_ms;
}

/* --- what crashes leave ----------------------------------------------------------------------- */

static void make_object(const struct uuid *id, struct span value)
{
    struct kms_error err = { 0 };
    char label[64];

    (void)snprintf(label, sizeof(label), "hsmkms:kv:%s", uuid_format(id).text);
    CHECK_OK(token_key_import(rig.token, TOKEN_AES_GCM, value, id, label, &err), err);
}

/* An import that was announced and came no further. */
static struct uuid leave_importing(const struct uuid *key_id, int64_t number)
{
    char creating[] = "Creating", imported[] = "Host";
    const struct version_record version = { .id = uuid_random(),
                                            .key_id = *key_id,
                                            .number = number,
                                            .state = creating,
                                            .imported = imported,
                                            .valid_to_ms = rig.clock.fixed_ms + MS_PER_DAY };

    keys_rig_put(&rig, &version_table, &version);
    return version.id;
}

static void test_killed_before_the_object(void **state)
{
    const struct uuid id = make_key();

    (void)state;
    (void)leave_importing(&id, 1);
    keys_rig_restart(&rig);
    keys_rig_restart(&rig); /* and stays so */
    assert_int_equal(keys_rig_state(&rig, &id), KEY_PENDING_IMPORT);
    bring_first(&id);
}

static void test_killed_after_the_object(void **state)
{
    const struct uuid id = make_key();
    const struct uuid version = leave_importing(&id, 1);

    (void)state;
    make_object(&version, SPAN_ARRAY(values[0]));
    keys_rig_restart(&rig);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_ENABLED);
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    keys_rig_restart(&rig);
    CHECK(opens(&blob));
    struct key *const key = keys_rig_key(&rig, &id);
    assert_int_equal(key->versions[0].record.valid_to_ms, rig.clock.fixed_ms + MS_PER_DAY);
    key_unref(key);
}

/* An object that is not what an import makes is never put to use. */
static void test_killed_with_a_strange_object(void **state)
{
    const struct uuid id = make_key();
    const struct uuid version = leave_importing(&id, 1);
    struct kms_error err = { 0 };
    uint8_t canary[TOKEN_CANARY_LEN];

    (void)state;
    CHECK_OK(token_key_generate(rig.token, TOKEN_AES_GCM, &version, "hsmkms:kv:x", canary, &err),
             err);
    keys_rig_restart(&rig);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_PENDING_IMPORT);
}

static void test_killed_import_of_the_next_material(void **state)
{
    const struct uuid id = make_key();
    struct kms_error err = { 0 };

    (void)state;
    bring_first(&id);
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    const struct uuid first = version_of(&id, 0), next = leave_importing(&id, 2);
    make_object(&next, SPAN_ARRAY(values[1]));
    keys_rig_restart(&rig);
    struct key *const key = keys_rig_key(&rig, &id);
    CHECK(uuid_equal(&key->record.current_version, &first)); /* it waits, as it would have */
    CHECK(key_waiting_version(key) && uuid_equal(&key_waiting_version(key)->record.id, &next));
    key_unref(key);
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err);
    CHECK(opens(&blob));
    CHECK_FAILS(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err,
                KMS_ERR_INVALID_STATE);
}

/* The row of a version that is there, in another state. */
static void set_state(const struct uuid *id, const char *state)
{
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_key(&rig, id);
    struct version_record record = { 0 };

    CHECK_OK(record_copy(&version_table, &key->versions[0].record, &record, &err), err);
    CHECK_OK(record_set_text(&record.state, state, &err), err);
    keys_rig_put(&rig, &version_table, &record);
    version_record_done(&record);
    key_unref(key);
}

/* Killed between the row and the object, on the way in (again) and on the way out. */
static void test_killed_while_material_comes_back_or_goes(void **state)
{
    static const char *const states[] = { "Creating", "Absent" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        const struct uuid id = make_key();
        bring_first(&id);
        AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
        const struct uuid version = version_of(&id, 0);
        take_away(&id);
        set_state(&id, states[i]);
        make_object(&version, SPAN_ARRAY(values[0]));
        keys_rig_restart(&rig);
        assert_int_equal(keys_rig_state(&rig, &id), KEY_PENDING_IMPORT);
        CHECK(!in_token(&version));
        assert_int_equal(bring(&id, SPAN_ARRAY(values[1]), IMPORT_BY_HISTORY, 0),
                         KMS_ERR_INCORRECT_MATERIAL);
        bring_first(&id);
        CHECK(opens(&blob));
    }
}

/* A token that came from an older backup: the bytes of the client heal the key. */
static void test_lost_object_comes_back_by_an_import(void **state)
{
    const struct uuid id = make_key();
    struct kms_error err = { 0 };

    (void)state;
    bring_first(&id);
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    assert_int_equal(bring(&id, SPAN_ARRAY(values[1]), IMPORT_NEW, 0), KMS_ERR_NONE);
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err);
    const struct uuid lost[] = { version_of(&id, 0), version_of(&id, 1) };
    for (size_t i = 0; i < 2; i++)
        CHECK_OK(token_key_destroy(rig.token, &lost[i], &err), err);
    keys_rig_restart(&rig);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_UNAVAILABLE);
    assert_int_equal(bring(&id, SPAN_ARRAY(values[2]), IMPORT_BY_HISTORY, 0),
                     KMS_ERR_INCORRECT_MATERIAL);
    assert_int_equal(bring(&id, SPAN_ARRAY(values[0]), IMPORT_BY_HISTORY, 0), KMS_ERR_NONE);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_UNAVAILABLE);
    assert_int_equal(bring(&id, SPAN_ARRAY(values[1]), IMPORT_BY_HISTORY, 0), KMS_ERR_NONE);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_ENABLED);
    CHECK(opens(&blob));
    keys_rig_restart(&rig);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_ENABLED);
    CHECK(opens(&blob));
}

/* Killed while that is going on: the key waits for its material. */
static void test_killed_while_a_lost_object_comes_back(void **state)
{
    const struct uuid id = make_key();

    (void)state;
    bring_first(&id);
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    set_state(&id, "Creating");
    keys_rig_restart(&rig);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_PENDING_IMPORT);
    bring_first(&id);
    CHECK(opens(&blob));
}

static void test_killed_while_a_wrapping_pair_is_made(void **state)
{
    char spec[] = "RSA_2048", creating[] = "Creating";
    const struct wrapping_record record = {
        .id = uuid_random(), .spec = spec, .state = creating, .created_ms = rig.clock.fixed_ms
    };
    struct token_public unused;
    struct wrapping_pair pair;
    struct kms_error err = { 0 };

    (void)state;
    keys_rig_put(&rig, &wrapping_table, &record);
    CHECK_OK(token_pair_generate(rig.token, TOKEN_RSA_2048, TOKEN_DECRYPTS, &record.id,
                                 "hsmkms:import:x", &unused, &err),
             err);
    keys_rig_restart(&rig);
    CHECK(!in_token(&record.id));
    CHECK(!wrapping_find(&rig.keyring, &record.id, &pair));
}

/* A token that came from an older backup: the next client gets a pair that is there. */
static void test_lost_wrapping_pair_is_given_to_nobody(void **state)
{
    struct wrapping_pair lost, next;
    struct kms_error err = { 0 };
    const struct uuid id = make_key();

    (void)state;
    CHECK_OK(wrapping_current(&rig.keyring, "RSA_2048", &lost, &err), err);
    CHECK_OK(token_key_destroy(rig.token, &lost.id, &err), err);
    keys_rig_restart(&rig);
    CHECK(!wrapping_find(&rig.keyring, &lost.id, &next));
    CHECK_OK(wrapping_current(&rig.keyring, "RSA_2048", &next, &err), err);
    CHECK(!uuid_equal(&lost.id, &next.id));
    bring_first(&id);
}

/* --- many at once ----------------------------------------------------------------------------- */

struct importer {
    pthread_t thread;
    struct uuid id;
    unsigned wrong;
};

/* Brings its material, uses it, takes it away; and asks for a pair that nobody has made yet. */
static void *come_and_go(void *arg)
{
    struct importer *const self = arg;
    struct kms_error err = { 0 };
    struct wrapping_pair pair;

    if (wrapping_current(&rig.keyring, "RSA_3072", &pair, &err) < 0)
        self->wrong++;
    for (int i = 0; i < 4; i++) {
        bring_first(&self->id);
        AUTO(buf) blob = keys_rig_wrap(&rig, &self->id, "data");
        self->wrong += !opens(&blob);
        take_away(&self->id);
        self->wrong += opens(&blob);
    }
    return NULL;
}

static void test_many_importers(void **state)
{
    struct importer importers[4] = { 0 };
    struct wrapping_pair pair;
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(importers); i++)
        importers[i].id = make_key();
    for (size_t i = 0; i < ARRAY_LEN(importers); i++)
        assert_int_equal(pthread_create(&importers[i].thread, NULL, come_and_go, &importers[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(importers); i++) {
        assert_int_equal(pthread_join(importers[i].thread, NULL), 0);
        assert_int_equal(importers[i].wrong, 0);
    }
    CHECK_OK(wrapping_current(&rig.keyring, "RSA_3072", &pair, &err), err);
    size_t pairs = 0;
    for (size_t i = 0; i < rig.keyring.wrappings.count; i++)
        pairs += rig.keyring.wrappings.pairs[i].spec == pair.spec;
    assert_int_equal(pairs, 1); /* made once, however many asked */
}

/* --- deletion of the key ---------------------------------------------------------------------- */

static void test_deletion_takes_all_materials(void **state)
{
    const int64_t begun_ms = rig.clock.fixed_ms;
    const struct uuid id = make_key();
    struct kms_error err = { 0 };
    int64_t due_ms = 0;

    (void)state;
    bring_first(&id);
    assert_int_equal(bring(&id, SPAN_ARRAY(values[1]), IMPORT_NEW, 0), KMS_ERR_NONE);
    assert_int_equal(bring(&id, SPAN_ARRAY(values[2]), IMPORT_NEW, 0), KMS_ERR_INVALID_STATE);
    const struct uuid versions[] = { version_of(&id, 0), version_of(&id, 1) };
    CHECK_OK(lifecycle_schedule_deletion(&rig.keyring, &id, 7, &due_ms, &err), err);
    rig.clock.fixed_ms = due_ms;
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_DELETED);
    CHECK(!in_token(&versions[0]) && !in_token(&versions[1]));
    keys_rig_restart(&rig);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_DELETED);
    rig.clock.fixed_ms = begun_ms;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrapping_pairs_are_renewed_and_destroyed), /* before there are any */
        cmocka_unit_test(test_object_comes_and_goes_with_the_material),
        cmocka_unit_test(test_invocations_outlive_the_absence),
        cmocka_unit_test(test_used_up_budget_makes_nothing),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_import_token_is_for_one_key_and_one_day),
        cmocka_unit_test(test_killed_before_the_object),
        cmocka_unit_test(test_killed_after_the_object),
        cmocka_unit_test(test_killed_with_a_strange_object),
        cmocka_unit_test(test_killed_import_of_the_next_material),
        cmocka_unit_test(test_killed_while_material_comes_back_or_goes),
        cmocka_unit_test(test_lost_object_comes_back_by_an_import),
        cmocka_unit_test(test_killed_while_a_lost_object_comes_back),
        cmocka_unit_test(test_killed_while_a_wrapping_pair_is_made),
        cmocka_unit_test(test_lost_wrapping_pair_is_given_to_nobody),
        cmocka_unit_test(test_many_importers),
        cmocka_unit_test(test_deletion_takes_all_materials),
    };
    return run_group(tests, ARRAY_LEN(tests), keys_rig_up, keys_rig_down, &rig);
}
