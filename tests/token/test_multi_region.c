/* Multi-Region keys over a real token and a real database: what is shared, what is not, and that
 * material lives as long as one key of its family. */

#include <stdio.h>

#include "hsmkms/keys/change.h"
#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/material.h"
#include "hsmkms/keys/material_pair.h"
#include "hsmkms/keys/multi_region.h"
#include "hsmkms/keys/regions.h"
#include "tests/support/check.h"
#include "tests/support/keys_rig.h"

#define HOME   "us-east-1"
#define SECOND "eu-west-1"
#define THIRD  "ap-south-1"

static struct keys_rig rig;

static struct keyring *at(const char *region)
{
    struct keyring *const keyring = keyring_in(&rig.keyring, region);

    CHECK(keyring != NULL);
    return keyring;
}

/* The id of a new family, whose primary is at home. */
static struct uuid make_family(const char *spec, enum spec_usage usage)
{
    struct kms_error err = { 0 };
    struct key *key = NULL;

    CHECK_OK(lifecycle_create(
                 at(HOME),
                 &(struct key_draft){
                     .spec = spec, .usage = usage, .description = "", .multi_region = true },
                 &key, &err),
             err);
    CHECK(key_is_primary(key));
    const struct uuid family = key->record.family;
    key_unref(key);
    return family;
}

/* The newest snapshot of a family's key in a region, also of one that is gone. */
static struct key *member(const char *region, const struct uuid *family)
{
    struct key *const key = catalog_find_family(at(region)->catalog, family);

    CHECK(key != NULL);
    return key;
}

static struct uuid id_of(const char *region, const struct uuid *family)
{
    struct key *const key = member(region, family);
    const struct uuid id = key->record.id;

    key_unref(key);
    return id;
}

static enum key_state state_of(const char *region, const struct uuid *family)
{
    struct key *const key = member(region, family);
    const enum key_state state = key->state;

    key_unref(key);
    return state;
}

static void replicate(const char *from, const char *to, const struct uuid *family)
{
    const struct uuid id = id_of(from, family);
    struct kms_error err = { 0 };
    struct key *replica = NULL;

    CHECK_OK(multi_region_replicate(at(from), &id,
                                    &(struct replica_draft){ .region = to, .description = "" },
                                    &replica, &err),
             err);
    CHECK(key_is_replica(replica) && replica->state == KEY_ENABLED);
    key_unref(replica);
}

static struct uuid make_pair_of_regions(void)
{
    const struct uuid family = make_family(NULL, USAGE_ENCRYPT_DECRYPT);

    replicate(HOME, SECOND, &family);
    return family;
}

static struct buf wrap(const char *region, const struct uuid *family)
{
    struct kms_error err = { 0 };
    struct buf blob = { 0 };
    struct key *const key = member(region, family);

    CHECK_OK(
        material_wrap(at(region), key, SPAN_LITERAL("\0\0"), SPAN_LITERAL("data"), &blob, &err),
        err);
    key_unref(key);
    return blob;
}

static void check_opens(const char *region, const struct buf *blob)
{
    struct kms_error err = { 0 };
    struct envelope envelope;
    AUTO(secret) plain = { 0 };

    CHECK_OK(envelope_parse(buf_span(blob), &envelope, &err), err);
    struct key *const key = catalog_find_owner(at(region)->catalog, &envelope.key_id);
    CHECK(key != NULL);
    CHECK_OK(material_unwrap(at(region), key, &envelope, SPAN_LITERAL("\0\0"), &plain, &err), err);
    CHECK_SPAN(secret_span(&plain), SPAN_LITERAL("data"));
    key_unref(key);
}

/* Schedules a deletion, and lets the clock and the worker go on until it is carried out. */
static void delete_at(const char *region, const struct uuid *family)
{
    const struct uuid id = id_of(region, family);
    struct kms_error err = { 0 };
    int64_t due_ms = 0;

    CHECK_OK(lifecycle_schedule_deletion(at(region), &id, 7, &due_ms, &err), err);
    CHECK(due_ms > 0);
    rig.clock.fixed_ms = due_ms;
    CHECK_OK(lifecycle_delete_due(at(region), &id, &err), err);
    assert_int_equal(state_of(region, family), KEY_DELETED);
}

static int look_up(const struct uuid *version)
{
    struct kms_error err = { 0 };

    return token_key_verify(rig.token, TOKEN_AES_GCM, version, &err);
}

/* --- regions ---------------------------------------------------------------------------------- */

static void test_region_lists(void **state)
{
    static const struct {
        const char *regions;
        bool served;
    } cases[] = {
        { "a", true },
        { "  a   b ", true },
        { "", false },
        { "   ", false },
        { "a b a", false },
        { "a a", false },
        { "a aa", true },
        { "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", true },
        { "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", false },
        { "b123456789012345678901234567890123456789012345678901234567890123", false },
        { "b12345678901234567890123456789012345678901234567890123456789012", true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kms_error err = { 0 };
        const bool served = regions_check(cases[i].regions, &err) == 0;
        if (served != cases[i].served)
            fail_msg("'%s': %s", cases[i].regions, err.message);
        CHECK(served || err.code == KMS_ERR_CONFIG);
    }
}

static void test_keyrings_are_found_by_region(void **state)
{
    (void)state;
    CHECK(keyring_in(&rig.keyring, NULL) == &rig.keyring);
    CHECK(keyring_in(&rig.keyring, "") == &rig.keyring);
    CHECK(keyring_in(at(THIRD), HOME) == &rig.keyring);
    CHECK(keyring_in(&rig.keyring, "us-west-2") == NULL);
    CHECK(keyring_in(&rig.keyring, "us-east-10") == NULL);
    CHECK(keyring_named(&rig.keyring, "arn:aws:kms:" THIRD ":111122223333:alias/x") == at(THIRD));
    CHECK(keyring_named(at(THIRD), "alias/x") == &rig.keyring);
    CHECK(keyring_named(at(THIRD), "arn:aws:kms:us-west-2:111122223333:alias/x") == &rig.keyring);
    CHECK(keyring_named(at(THIRD), "arn:" THIRD) == &rig.keyring);
}

static void test_keys_of_a_region_that_is_not_served_stop_the_start(void **state)
{
    struct kms_error err = { 0 };
    struct key *key = NULL;

    (void)state;
    CHECK_OK(lifecycle_create(at(THIRD), &(struct key_draft){ .description = "" }, &key, &err),
             err);
    const struct uuid id = key->record.id;
    key_unref(key);
    keys_rig_stop(&rig);
    rig.regions = HOME " " SECOND;
    CHECK_FAILS(keys_rig_start(&rig, &err), err, KMS_ERR_CONFIG);
    keys_rig_stop(&rig);
    rig.regions = SECOND " " HOME " " THIRD; /* which is the first makes no difference to keys */
    kms_error_clear(&err);
    CHECK_OK(keys_rig_start(&rig, &err), err);
    key = catalog_find(at(THIRD)->catalog, &id);
    CHECK(key != NULL && key->state == KEY_ENABLED);
    key_unref(key);
    keys_rig_stop(&rig);
    rig.regions = HOME " " SECOND " " THIRD;
    CHECK_OK(keys_rig_start(&rig, &err), err);
}

/* --- what is shared --------------------------------------------------------------------------- */

static void test_names(void **state)
{
    const struct uuid family = make_pair_of_regions();
    struct kms_error err = { 0 };
    struct key *const here = member(HOME, &family), *const there = member(SECOND, &family);
    struct key *found = NULL;
    char arn[100];

    (void)state;
    CHECK(!uuid_equal(&here->record.id, &there->record.id));
    assert_string_equal(key_name(here).text, key_name(there).text);
    assert_memory_equal(key_name(here).text, "mrk-", 4);
    assert_int_equal(strlen(key_name(here).text), 36);
    (void)snprintf(arn, sizeof(arn), "arn:aws:kms:" SECOND ":111122223333:key/%s",
                   key_name(here).text);
    assert_string_equal(keyring_arn_of(at(HOME), there).text, arn);
    assert_string_equal(keyring_key_arn(at(HOME), &there->record.id).text, arn);
    CHECK_OK(keyring_resolve(at(SECOND), arn, false, &found, &err), err);
    CHECK(found == there);
    key_unref(found);
    CHECK_OK(keyring_resolve(at(HOME), key_name(there).text, false, &found, &err), err);
    CHECK(found == here);
    key_unref(found);
    CHECK_FAILS(keyring_resolve(at(HOME), arn, false, &found, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(keyring_resolve(at(HOME), uuid_format(&here->record.id).text, false, &found, &err),
                err, KMS_ERR_NOT_FOUND); /* the id of a record is no name */
    CHECK_FAILS(keyring_resolve(at(HOME), uuid_format(&family).text, false, &found, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_FAILS(keyring_resolve(at(THIRD), key_name(here).text, false, &found, &err), err,
                KMS_ERR_NOT_FOUND);
    key_unref(here);
    key_unref(there);
}

static void test_blobs_open_in_all_regions_and_after_a_restart(void **state)
{
    const struct uuid family = make_pair_of_regions();
    AUTO(buf) here = wrap(HOME, &family);
    AUTO(buf) there = wrap(SECOND, &family);

    (void)state;
    for (int i = 0; i < 2; i++) {
        check_opens(HOME, &there);
        check_opens(SECOND, &here);
        keys_rig_restart(&rig);
    }
    replicate(HOME, THIRD, &family);
    check_opens(THIRD, &here);
}

static void test_a_budget_is_one_for_all_regions(void **state)
{
    const struct uuid family = make_pair_of_regions();

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct key *const here = member(HOME, &family), *const there = member(SECOND, &family);
        CHECK(key_current(here)->budget == key_current(there)->budget);
        const long long before = atomic_load(&key_current(here)->budget->used);
        AUTO(buf) one = wrap(HOME, &family);
        AUTO(buf) two = wrap(SECOND, &family);
        CHECK(one.len == two.len);
        CHECK(atomic_load(&key_current(here)->budget->used) == before + 2);
        key_unref(here);
        key_unref(there);
        keys_rig_restart(&rig);
    }
}

static void test_a_used_up_budget_is_renewed_from_any_region(void **state)
{
    const struct uuid family = make_pair_of_regions(), id = id_of(HOME, &family);
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(lifecycle_set_enabled(at(HOME), &id, false, &err), err);
    struct key *const there = member(SECOND, &family);
    assert_int_equal(lifecycle_due(at(SECOND), there), DUE_NOTHING);
    for (int64_t i = 0; i <= rig.limits.gcm_rotate; i++) {
        AUTO(buf) blob = wrap(SECOND, &family);
        CHECK(blob.len == 4 + ENVELOPE_OVERHEAD);
    }
    assert_int_equal(lifecycle_due(at(SECOND), there), DUE_BUDGET_ROTATION);
    CHECK_OK(lifecycle_rotate(at(SECOND), &there->record.id, ROTATE_BUDGET, &err), err);
    struct key *const here = member(HOME, &family), *const renewed = member(SECOND, &family);
    assert_int_equal(renewed->version_count, 2);
    CHECK(uuid_equal(&here->record.current_version, &renewed->record.current_version));
    assert_int_equal(lifecycle_due(at(SECOND), renewed), DUE_NOTHING);
    assert_int_equal(here->state, KEY_DISABLED);
    key_unref(renewed);
    key_unref(there);
    key_unref(here);
}

static void test_rotation_is_seen_by_all_at_once(void **state)
{
    const struct uuid family = make_pair_of_regions();
    const struct uuid here_id = id_of(HOME, &family), there_id = id_of(SECOND, &family);
    struct kms_error err = { 0 };
    AUTO(buf) old = wrap(SECOND, &family);

    (void)state;
    CHECK_FAILS(lifecycle_rotate(at(SECOND), &there_id, ROTATE_ON_DEMAND, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(lifecycle_enable_rotation(at(SECOND), &there_id, 90, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(lifecycle_disable_rotation(at(SECOND), &there_id, &err), err, KMS_ERR_UNSUPPORTED);
    CHECK_OK(lifecycle_enable_rotation(at(HOME), &here_id, 90, &err), err);
    CHECK_OK(lifecycle_rotate(at(HOME), &here_id, ROTATE_ON_DEMAND, &err), err);
    for (int i = 0; i < 2; i++) {
        struct key *const here = member(HOME, &family), *const there = member(SECOND, &family);
        assert_int_equal(there->version_count, 2);
        CHECK(uuid_equal(&here->record.current_version, &there->record.current_version));
        assert_string_equal(key_current(here)->material_id, key_current(there)->material_id);
        assert_int_equal(there->record.rotations_on_demand, 1);
        assert_int_equal(there->record.rotation_period_days, 90);
        CHECK(there->record.rotation_next_ms == here->record.rotation_next_ms);
        AUTO(buf) fresh = wrap(SECOND, &family);
        check_opens(HOME, &fresh);
        check_opens(HOME, &old);
        check_opens(SECOND, &old);
        key_unref(here);
        key_unref(there);
        keys_rig_restart(&rig);
    }
    const int64_t start = rig.clock.fixed_ms;
    rig.clock.fixed_ms += 91 * MS_PER_DAY;
    struct key *const here = member(HOME, &family), *const there = member(SECOND, &family);
    assert_int_equal(lifecycle_due(at(HOME), here), DUE_ROTATION);
    assert_int_equal(lifecycle_due(at(SECOND), there), DUE_NOTHING);
    rig.clock.fixed_ms = start;
    key_unref(here);
    key_unref(there);
}

static void test_pairs_and_mac_keys_are_shared_too(void **state)
{
    const struct uuid family = make_family("ECC_NIST_P256", USAGE_SIGN_VERIFY);
    const struct uuid macs = make_family("HMAC_256", USAGE_GENERATE_VERIFY_MAC);
    struct kms_error err = { 0 };
    bool valid = false;
    AUTO(buf) signature = { 0 };

    (void)state;
    replicate(HOME, SECOND, &family);
    replicate(HOME, SECOND, &macs);
    keys_rig_restart(&rig);
    struct key *const here = member(HOME, &family), *const there = member(SECOND, &family);
    const struct algorithm *const algorithm =
        keyspec_algorithm(here->spec, here->usage, "ECDSA_SHA_256");
    CHECK_OK(material_sign(at(SECOND), there, algorithm, MESSAGE_WHOLE, SPAN_LITERAL("m"),
                           &signature, &err),
             err);
    CHECK_OK(material_verify(here, algorithm, MESSAGE_WHOLE, SPAN_LITERAL("m"),
                             buf_span(&signature), &valid, &err),
             err);
    CHECK(valid);
    key_unref(here);
    key_unref(there);
    assert_int_equal(state_of(SECOND, &macs), KEY_ENABLED);
}

/* --- what is refused -------------------------------------------------------------------------- */

static void refused(const char *from, const struct uuid *id, const char *to, enum kms_err code)
{
    const uint64_t before = store_sequence(rig.store);
    struct kms_error err = { 0 };
    struct key *replica = NULL;

    CHECK_FAILS(multi_region_replicate(at(from), id,
                                       &(struct replica_draft){ .region = to, .description = "" },
                                       &replica, &err),
                err, code);
    CHECK(replica == NULL);
    CHECK(store_sequence(rig.store) == before);
}

static void test_replication_is_refused(void **state)
{
    const struct uuid family = make_pair_of_regions();
    const struct uuid here = id_of(HOME, &family), there = id_of(SECOND, &family);
    const struct uuid nobody = uuid_random();
    struct kms_error err = { 0 };
    struct key *single = NULL;

    (void)state;
    CHECK_OK(lifecycle_create(at(HOME), &(struct key_draft){ .description = "" }, &single, &err),
             err);
    refused(HOME, &single->record.id, SECOND, KMS_ERR_UNSUPPORTED);
    refused(SECOND, &there, THIRD, KMS_ERR_UNSUPPORTED);
    refused(HOME, &here, HOME, KMS_ERR_VALIDATION);
    refused(HOME, &here, "us-west-2", KMS_ERR_UNSUPPORTED);
    refused(HOME, &here, SECOND, KMS_ERR_ALREADY_EXISTS);
    refused(HOME, &nobody, SECOND, KMS_ERR_NOT_FOUND);
    refused(SECOND, &here, THIRD, KMS_ERR_NOT_FOUND); /* it belongs to another region */
    at(THIRD)->limits.keys_most = (int64_t)catalog_count(at(THIRD)->catalog);
    refused(HOME, &here, THIRD, KMS_ERR_LIMIT_EXCEEDED);
    at(THIRD)->limits.keys_most = rig.limits.keys_most;
    CHECK_OK(lifecycle_set_enabled(at(HOME), &here, false, &err), err);
    refused(HOME, &here, THIRD, KMS_ERR_DISABLED);
    key_unref(single);
}

static void test_the_primary_moves_or_stays(void **state)
{
    const struct uuid family = make_pair_of_regions();
    const struct uuid here = id_of(HOME, &family), there = id_of(SECOND, &family);
    struct kms_error err = { 0 };

    (void)state;
    CHECK_FAILS(multi_region_move_primary(at(SECOND), &there, HOME, &here, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_FAILS(multi_region_move_primary(at(HOME), &here, HOME, &here, &err), err,
                KMS_ERR_VALIDATION);
    CHECK_FAILS(multi_region_move_primary(at(HOME), &here, THIRD, NULL, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_FAILS(multi_region_move_primary(at(HOME), &here, "us-west-2", NULL, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_FAILS(multi_region_move_primary(at(HOME), &here, SECOND, NULL, &err), err,
                KMS_ERR_DEPENDENCY_TIMEOUT); /* nobody was asked for it */
    CHECK_FAILS(multi_region_move_primary(at(HOME), &here, SECOND, &here, &err), err,
                KMS_ERR_DEPENDENCY_TIMEOUT);
    CHECK_OK(multi_region_move_primary(at(HOME), &here, SECOND, &there, &err), err);
    for (int i = 0; i < 2; i++) {
        struct key *const old = member(HOME, &family), *const new = member(SECOND, &family);
        CHECK(key_is_replica(old) && key_is_primary(new));
        key_unref(old);
        key_unref(new);
        keys_rig_restart(&rig);
    }
    CHECK_FAILS(lifecycle_rotate(at(HOME), &here, ROTATE_ON_DEMAND, &err), err,
                KMS_ERR_UNSUPPORTED);
    CHECK_OK(lifecycle_rotate(at(SECOND), &there, ROTATE_ON_DEMAND, &err), err);
    replicate(SECOND, THIRD, &family);
}

/* --- death ------------------------------------------------------------------------------------ */

static void test_material_goes_with_the_last_key(void **state)
{
    const struct uuid family = make_pair_of_regions(), id = id_of(HOME, &family);
    const int64_t start = rig.clock.fixed_ms;
    struct kms_error err = { 0 };
    int64_t due_ms = -1;

    (void)state;
    replicate(HOME, THIRD, &family);
    CHECK_OK(lifecycle_rotate(at(HOME), &id, ROTATE_ON_DEMAND, &err), err);
    struct key *const before = member(HOME, &family);
    AUTO(buf) blob = wrap(SECOND, &family);
    CHECK_OK(lifecycle_schedule_deletion(at(HOME), &id, 9, &due_ms, &err), err);
    assert_int_equal(due_ms, 0);
    assert_int_equal(state_of(HOME, &family), KEY_PENDING_REPLICA_DELETION);

    delete_at(SECOND, &family);
    assert_int_equal(state_of(HOME, &family), KEY_PENDING_REPLICA_DELETION);
    keys_rig_restart(&rig);
    assert_int_equal(rig.strangers, 0);
    check_opens(THIRD, &blob);
    CHECK(look_up(&before->versions[0].record.id) == 0);

    delete_at(THIRD, &family);
    struct key *const waiting = member(HOME, &family);
    assert_int_equal(waiting->state, KEY_PENDING_DELETION);
    CHECK(waiting->record.deletion_due_ms == rig.clock.fixed_ms + 9 * MS_PER_DAY);
    assert_int_equal(lifecycle_due(at(HOME), waiting), DUE_NOTHING);
    keys_rig_restart(&rig);
    CHECK(look_up(&before->versions[0].record.id) == 0);
    CHECK(look_up(&before->versions[1].record.id) == 0);

    rig.clock.fixed_ms = waiting->record.deletion_due_ms;
    CHECK_OK(lifecycle_delete_due(at(HOME), &id, &err), err);
    for (int i = 0; i < 2; i++) {
        for (size_t v = 0; v < before->version_count; v++)
            CHECK(look_up(&before->versions[v].record.id) < 0);
        assert_int_equal(state_of(HOME, &family), KEY_DELETED);
        rig.clock.fixed_ms = start;
        keys_rig_restart(&rig);
    }
    key_unref(waiting);
    key_unref(before);
}

static void test_a_replica_comes_again_where_one_was_deleted(void **state)
{
    const struct uuid family = make_pair_of_regions();
    const struct uuid first = id_of(SECOND, &family);
    const int64_t start = rig.clock.fixed_ms;
    AUTO(buf) blob = wrap(SECOND, &family);

    (void)state;
    delete_at(SECOND, &family);
    rig.clock.fixed_ms = start;
    assert_int_equal(state_of(HOME, &family), KEY_ENABLED); /* its deletion was not asked for */
    replicate(HOME, SECOND, &family);
    keys_rig_restart(&rig);
    const struct uuid second = id_of(SECOND, &family);
    CHECK(!uuid_equal(&first, &second));
    check_opens(SECOND, &blob);
    delete_at(SECOND, &family);
    rig.clock.fixed_ms = start;
    keys_rig_restart(&rig);
    assert_int_equal(state_of(SECOND, &family), KEY_DELETED);
    check_opens(HOME, &blob);
}

static void test_a_deletion_cut_short_goes_on_and_spares_the_family(void **state)
{
    const struct uuid family = make_pair_of_regions(), id = id_of(SECOND, &family);
    const int64_t start = rig.clock.fixed_ms;
    struct kms_error err = { 0 };
    int64_t due_ms = 0;
    AUTO(buf) blob = wrap(SECOND, &family);

    (void)state;
    CHECK_OK(lifecycle_schedule_deletion(at(SECOND), &id, 7, &due_ms, &err), err);
    {
        AUTO(change) intent = { 0 };
        CHECK_OK(change_begin_any(&intent, at(SECOND), &id, &err), err);
        CHECK_OK(key_set_state(intent.next, KEY_DELETING, &err), err);
        CHECK_OK(change_commit(&intent, &err), err);
    }
    keys_rig_restart(&rig);
    struct key *const doomed = member(SECOND, &family);
    assert_int_equal(lifecycle_due(at(SECOND), doomed), DUE_DELETION);
    const struct uuid primary = id_of(HOME, &family);
    refused(HOME, &primary, SECOND, KMS_ERR_ALREADY_EXISTS); /* not yet gone */
    CHECK_OK(lifecycle_delete_due(at(SECOND), &id, &err), err);
    assert_int_equal(state_of(SECOND, &family), KEY_DELETED);
    check_opens(HOME, &blob);
    keys_rig_restart(&rig);
    check_opens(HOME, &blob);
    rig.clock.fixed_ms = start;
    key_unref(doomed);
}

/* --- what crashes leave ----------------------------------------------------------------------- */

static void test_killed_rotation_is_finished_for_all(void **state)
{
    const struct uuid family = make_pair_of_regions(), whole = uuid_random();
    const int64_t start = rig.clock.fixed_ms;
    AUTO(buf) old = wrap(SECOND, &family);

    (void)state;
    replicate(HOME, THIRD, &family);
    delete_at(THIRD, &family); /* what is left of it has no say */
    rig.clock.fixed_ms = start;
    keys_rig_leave_rotation(&rig, &family, &whole);
    keys_rig_object(&rig, &whole);
    for (int i = 0; i < 2; i++) {
        keys_rig_restart(&rig);
        struct key *const here = member(HOME, &family), *const there = member(SECOND, &family);
        CHECK(uuid_equal(&here->record.current_version, &whole));
        CHECK(uuid_equal(&there->record.current_version, &whole));
        assert_int_equal(there->record.rotations_on_demand, 1);
        CHECK(key_current(here)->budget == key_current(there)->budget);
        AUTO(buf) fresh = wrap(SECOND, &family);
        check_opens(HOME, &fresh);
        check_opens(HOME, &old);
        key_unref(here);
        key_unref(there);
    }
}

static void test_killed_rotation_without_an_object_changes_nothing(void **state)
{
    const struct uuid family = make_pair_of_regions(), none = uuid_random();
    AUTO(buf) old = wrap(SECOND, &family);

    (void)state;
    keys_rig_leave_rotation(&rig, &family, &none);
    keys_rig_restart(&rig);
    struct key *const here = member(HOME, &family), *const there = member(SECOND, &family);
    assert_string_equal(key_version_find(here, &none)->record.state, "Aborted");
    assert_string_equal(key_version_find(there, &none)->record.state, "Aborted");
    assert_int_equal(there->record.rotations_on_demand, 0);
    check_opens(HOME, &old);
    key_unref(here);
    key_unref(there);
}

static void test_lost_material_is_missed_in_all_regions(void **state)
{
    const struct uuid family = make_pair_of_regions(), id = id_of(SECOND, &family);
    struct kms_error err = { 0 };
    struct key *const key = member(HOME, &family);

    (void)state;
    CHECK_OK(token_key_destroy(rig.token, &key->versions[0].record.id, &err), err);
    keys_rig_restart(&rig);
    assert_int_equal(state_of(HOME, &family), KEY_UNAVAILABLE);
    assert_int_equal(state_of(SECOND, &family), KEY_UNAVAILABLE);
    CHECK_OK(lifecycle_set_description(at(SECOND), &id, "lost", &err), err);
    assert_int_equal(state_of(HOME, &family), KEY_UNAVAILABLE);
    struct key *const here = member(HOME, &family);
    assert_string_equal(here->record.state, "Enabled");
    key_unref(here);
    key_unref(key);
}

static int up(void **state)
{
    CHECK(keys_rig_up(state) == 0);
    rig.regions = HOME " " SECOND " " THIRD;
    keys_rig_restart(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_region_lists),
        cmocka_unit_test(test_keyrings_are_found_by_region),
        cmocka_unit_test(test_keys_of_a_region_that_is_not_served_stop_the_start),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_blobs_open_in_all_regions_and_after_a_restart),
        cmocka_unit_test(test_a_budget_is_one_for_all_regions),
        cmocka_unit_test(test_a_used_up_budget_is_renewed_from_any_region),
        cmocka_unit_test(test_rotation_is_seen_by_all_at_once),
        cmocka_unit_test(test_pairs_and_mac_keys_are_shared_too),
        cmocka_unit_test(test_replication_is_refused),
        cmocka_unit_test(test_the_primary_moves_or_stays),
        cmocka_unit_test(test_material_goes_with_the_last_key),
        cmocka_unit_test(test_a_replica_comes_again_where_one_was_deleted),
        cmocka_unit_test(test_a_deletion_cut_short_goes_on_and_spares_the_family),
        cmocka_unit_test(test_killed_rotation_is_finished_for_all),
        cmocka_unit_test(test_killed_rotation_without_an_object_changes_nothing),
        cmocka_unit_test(test_lost_material_is_missed_in_all_regions),
    };

    return run_group(tests, ARRAY_LEN(tests), up, keys_rig_down, &rig);
}
