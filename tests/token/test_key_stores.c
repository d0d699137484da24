/* Custom key stores over real tokens and a real database: what a store is while it is away. */

#include <stdio.h>

#include "hsmkms/keys/change.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/material.h"
#include "tests/support/check.h"
#include "tests/support/keys_rig.h"

#define CLUSTER "cluster-elsewhere22"
#define LABEL   "hsmkms-elsewhere"

static struct keys_rig rig;
static char module[300], store[24];
static struct token_config configs[KEY_STORES_MAX + 1];
static char names[KEY_STORES_MAX + 1][24];

/* --- helpers ---------------------------------------------------------------------------------- */

static atomic_uint attempts_failed; /* told by other threads, before the store has a state */

static void take_outcome(void *arg, const struct key_store_view *view, const struct kms_error *why)
{
    (void)arg;
    (void)view;
    attempts_failed += why->code != KMS_ERR_NONE;
}

/* A start; returns how many stores that should be connected are not. */
static unsigned start_stores(size_t count)
{
    struct kms_error err = { 0 };
    unsigned failed = 0;
    AUTO(key_store_list) list = { 0 };

    CHECK_OK(key_stores_start(&rig.keyring, configs, count, take_outcome, NULL, &err), err);
    CHECK_OK(key_store_list(&rig.keyring, &list, &err), err);
    for (size_t i = 0; i < list.count; i++)
        failed += list.items[i].record.connected && list.items[i].state != KEY_STORE_CONNECTED;
    return failed;
}

static void restart(void)
{
    keys_rig_restart(&rig);
    assert_int_equal(start_stores(ARRAY_LEN(configs)), 0);
}

static void connect_store(void)
{
    struct kms_error err = { 0 };
    AUTO(key_store_view) view = { 0 };

    CHECK_OK(key_store_connect(&rig.keyring, store, &err), err);
    CHECK_OK(key_store_find(&rig.keyring, store, &view, &err), err);
    if (view.state != KEY_STORE_CONNECTED)
        fail_msg("%s %s", key_store_state_text(view.state), view.error ? view.error : "");
}

static void disconnect_store(void)
{
    struct kms_error err = { 0 };

    CHECK_OK(key_store_disconnect(&rig.keyring, store, &err), err);
}

static enum key_store_state state_now(void)
{
    struct kms_error err = { 0 };
    AUTO(key_store_view) view = { 0 };

    CHECK_OK(key_store_find(&rig.keyring, store, &view, &err), err);
    return view.state;
}

static int set_up(void **state)
{
    static char anchor[] = "anchor";
    const struct key_store_draft draft = { "elsewhere", CLUSTER, anchor };
    struct kms_error err = { 0 };

    CHECK(keys_rig_up(state) == 0);
    softhsm_copy_module(&rig.softhsm, module, sizeof(module));
    softhsm_add(&rig.softhsm, module, LABEL);
    for (size_t i = 0; i < ARRAY_LEN(configs); i++) { /* all but the first are never opened */
        (void)snprintf(names[i], sizeof(names[i]), "%s%c", i ? "cluster-neverconnec" : CLUSTER,
                       i ? (char)('a' + i) : '\0');
        configs[i] = softhsm_config(&rig.softhsm);
        configs[i].module = module;
        configs[i].uri = "pkcs11:token=" LABEL;
        configs[i].name = names[i];
    }
    assert_int_equal(start_stores(ARRAY_LEN(configs)), 0);
    CHECK_OK(key_store_create(&rig.keyring, &draft, store, &err), err);
    connect_store();
    return 0;
}

static struct uuid make_key(void)
{
    struct kms_error err = { 0 };
    struct key *key = NULL;
    const struct key_draft draft = { .key_store = store, .description = "" };

    CHECK_OK(lifecycle_create(&rig.keyring, &draft, &key, &err), err);
    const struct uuid id = key->record.id;
    assert_string_equal(key->record.origin, "AWS_CLOUDHSM");
    key_unref(key);
    return id;
}

/* Opens a blob under a snapshot; gives the error's code. */
static enum kms_err unwrap(const struct key *key, const struct buf *blob)
{
    struct kms_error err = { 0 };
    struct envelope envelope;
    AUTO(secret) plain = { 0 };

    CHECK_OK(envelope_parse(buf_span(blob), &envelope, &err), err);
    if (material_unwrap(&rig.keyring, key, &envelope, SPAN_LITERAL("\0\0"), &plain, &err) == 0)
        CHECK_SPAN(secret_span(&plain), SPAN_LITERAL("data"));
    return err.code;
}

static void check_opens(const struct uuid *id, const struct buf *blob)
{
    struct key *const key = keys_rig_key(&rig, id);

    assert_int_equal(unwrap(key, blob), KMS_ERR_NONE);
    key_unref(key);
}

static enum due_kind due(const struct uuid *id)
{
    struct key *const key = keys_rig_key(&rig, id);
    const enum due_kind kind = lifecycle_due(&rig.keyring, key);

    key_unref(key);
    return kind;
}

static int count_object(void *arg, const struct uuid *id, const char *label, struct kms_error *err)
{
    unsigned *const count = arg;

    (void)id;
    (void)err;
    *count += strncmp(label, "hsmkms:kv:", 10) == 0;
    return 0;
}

/* Key versions in the store's token, which is connected. */
static unsigned objects_in_store(void)
{
    struct kms_error err = { 0 };
    unsigned count = 0;
    AUTO(token_hold) held = { 0 };

    CHECK_OK(key_store_hold_id(&rig.keyring, store, &held, &err), err);
    CHECK_OK(token_inventory(held.token, count_object, &count, &err), err);
    return count;
}

/* --- away and back ---------------------------------------------------------------------------- */

static void test_keys_come_and_go_with_their_store(void **state)
{
    const struct uuid id = make_key();
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    struct kms_error err = { 0 };
    struct key *const before = keys_rig_key(&rig, &id);

    (void)state;
    disconnect_store();
    assert_int_equal(keys_rig_state(&rig, &id), KEY_UNAVAILABLE);
    assert_string_equal(before->record.state, "Enabled");
    assert_int_equal(unwrap(before, &blob), KMS_ERR_INVALID_STATE); /* an older snapshot */
    CHECK_FAILS(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err,
                KMS_ERR_INVALID_STATE);
    restart();
    assert_int_equal(state_now(), KEY_STORE_DISCONNECTED);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_UNAVAILABLE);
    connect_store();
    assert_int_equal(keys_rig_state(&rig, &id), KEY_ENABLED);
    check_opens(&id, &blob);
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_ON_DEMAND, &err), err);
    restart();
    assert_int_equal(state_now(), KEY_STORE_CONNECTED);
    check_opens(&id, &blob);
    key_unref(before);
}

/* Who has the token in hand keeps it; the last one closes it. */
static void test_a_held_token_outlives_its_store(void **state)
{
    struct kms_error err = { 0 };
    AUTO(token_hold) held = { 0 };
    AUTO(token_hold) none = { 0 };

    (void)state;
    CHECK_OK(key_store_hold_id(&rig.keyring, store, &held, &err), err);
    disconnect_store();
    CHECK_OK(token_probe(held.token, &err), err);
    CHECK_FAILS(key_store_hold_id(&rig.keyring, store, &none, &err), err, KMS_ERR_STORE_STATE);
    token_hold_done(&held);
    connect_store();
}

/* Held somewhere, the token cannot be opened a second time: the store says so and recovers. */
static void test_connecting_while_the_token_is_still_held(void **state)
{
    struct kms_error err = { 0 };
    AUTO(token_hold) held = { 0 };

    (void)state;
    CHECK_OK(key_store_hold_id(&rig.keyring, store, &held, &err), err);
    disconnect_store();
    attempts_failed = 0;
    CHECK_OK(key_store_connect(&rig.keyring, store, &err), err);
    assert_int_equal(state_now(), KEY_STORE_FAILED);
    token_hold_done(&held);
    disconnect_store();
    connect_store();
    assert_int_equal(attempts_failed, 1);
}

/* Only so many work with a store's token at a time; the service's own is not counted. */
static void test_places_in_a_token(void **state)
{
    const struct uuid id = make_key();
    struct token_hold places[3] = { 0 };
    struct kms_error err = { 0 };
    struct key *const key = keys_rig_key(&rig, &id);
    AUTO(token_hold) one_more = { 0 };
    AUTO(token_hold) looking = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) /* it has 4 sessions */
        CHECK_OK(key_store_hold(&rig.keyring, key, &places[i], &err), err);
    CHECK_FAILS(key_store_hold(&rig.keyring, key, &one_more, &err), err, KMS_ERR_KEY_UNAVAILABLE);
    CHECK(one_more.token == NULL && one_more.link == NULL);
    CHECK_OK(key_store_hold_id(&rig.keyring, store, &looking, &err), err);
    token_hold_done(&places[1]);
    CHECK_OK(key_store_hold(&rig.keyring, key, &one_more, &err), err);
    token_hold_done(&places[0]);
    token_hold_done(&places[2]);
    key_unref(key);
}

static void test_without_its_section_a_store_fails_and_loses_nothing(void **state)
{
    const struct uuid id = make_key();
    AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
    struct kms_error err = { 0 };

    (void)state;
    keys_rig_restart(&rig);
    assert_int_equal(start_stores(0), 1);
    assert_int_equal(state_now(), KEY_STORE_FAILED);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_UNAVAILABLE);
    CHECK_OK(lifecycle_set_description(&rig.keyring, &id, "still known", &err), err);
    restart();
    assert_int_equal(keys_rig_state(&rig, &id), KEY_ENABLED);
    check_opens(&id, &blob);
}

/* --- what is due ------------------------------------------------------------------------------ */

static void test_a_due_deletion_waits_for_the_store(void **state)
{
    const struct uuid id = make_key();
    const unsigned before = objects_in_store();
    const int64_t start = rig.clock.fixed_ms;
    struct kms_error err = { 0 };
    int64_t due_ms = 0;

    (void)state;
    CHECK_OK(lifecycle_schedule_deletion(&rig.keyring, &id, 7, &due_ms, &err), err);
    disconnect_store();
    rig.clock.fixed_ms = due_ms + 1;
    assert_int_equal(due(&id), DUE_NOTHING);
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err); /* not due: does nothing */
    assert_int_equal(keys_rig_state(&rig, &id), KEY_PENDING_DELETION);
    CHECK_FAILS(key_store_delete(&rig.keyring, store, &err), err, KMS_ERR_STORE_HAS_KEYS);
    connect_store();
    assert_int_equal(objects_in_store(), before);
    assert_int_equal(due(&id), DUE_DELETION);
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err);
    assert_int_equal(keys_rig_state(&rig, &id), KEY_DELETED);
    assert_int_equal(objects_in_store(), before - 1);
    rig.clock.fixed_ms = start;
}

/* Begun and interrupted, then the store went away: the rest waits too. */
static void test_a_begun_deletion_waits_for_the_store(void **state)
{
    const struct uuid id = make_key();
    const unsigned before = objects_in_store();
    struct kms_error err = { 0 };

    (void)state;
    {
        AUTO(change) change = { 0 };
        CHECK_OK(change_begin_any(&change, &rig.keyring, &id, &err), err);
        CHECK_OK(key_set_state(change.next, KEY_DELETING, &err), err);
        CHECK_OK(change_commit(&change, &err), err);
    }
    disconnect_store();
    restart();
    assert_int_equal(keys_rig_state(&rig, &id), KEY_DELETING);
    assert_int_equal(due(&id), DUE_NOTHING);
    connect_store();
    assert_int_equal(due(&id), DUE_DELETION);
    CHECK_OK(lifecycle_delete_due(&rig.keyring, &id, &err), err);
    assert_int_equal(objects_in_store(), before - 1);
}

static void test_a_due_rotation_waits_for_the_store(void **state)
{
    const struct uuid id = make_key();
    const int64_t start = rig.clock.fixed_ms;
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(lifecycle_enable_rotation(&rig.keyring, &id, 90, &err), err);
    disconnect_store();
    rig.clock.fixed_ms = start + 91 * MS_PER_DAY;
    assert_int_equal(due(&id), DUE_NOTHING);
    connect_store();
    assert_int_equal(due(&id), DUE_ROTATION);
    CHECK_OK(lifecycle_rotate(&rig.keyring, &id, ROTATE_DUE, &err), err);
    rig.clock.fixed_ms = start;
}

/* --- what a crash left behind ----------------------------------------------------------------- */

/* A rotation of which the record is durable and the object made, or not. */
static struct uuid interrupt_rotation(const struct uuid *key_id, bool made)
{
    char creating[] = "Creating", reason[] = "ON_DEMAND";
    const struct version_record record = { .id = uuid_random(),
                                           .key_id = *key_id,
                                           .number = 2,
                                           .state = creating,
                                           .reason = reason,
                                           .created_ms = rig.clock.fixed_ms };
    uint8_t canary[TOKEN_CANARY_LEN];
    struct kms_error err = { 0 };
    AUTO(token_hold) held = { 0 };
    AUTO(change) change = { 0 };

    CHECK_OK(key_store_hold_id(&rig.keyring, store, &held, &err), err);
    if (made)
        CHECK_OK(token_key_generate(held.token, TOKEN_AES_GCM, &record.id, "hsmkms:kv:crashed",
                                    canary, &err),
                 err);
    CHECK_OK(change_begin_any(&change, &rig.keyring, key_id, &err), err);
    CHECK_OK(change_put_version(&change, &record, &err), err);
    CHECK_OK(change_commit(&change, &err), err);
    return record.id;
}

/* It is ended when the token can be looked at, not before. */
static void test_an_interrupted_rotation_is_ended_by_connecting(void **state)
{
    (void)state;
    for (int made = 0; made < 2; made++) {
        const struct uuid id = make_key();
        AUTO(buf) blob = keys_rig_wrap(&rig, &id, "data");
        const struct uuid version = interrupt_rotation(&id, made);

        disconnect_store();
        restart();
        struct key *key = keys_rig_key(&rig, &id);
        assert_string_equal(key_version_find(key, &version)->record.state, "Creating");
        key_unref(key);
        connect_store();
        key = keys_rig_key(&rig, &id);
        assert_string_equal(key_version_find(key, &version)->record.state,
                            made ? "Usable" : "Aborted");
        assert_int_equal(uuid_equal(&key->record.current_version, &version), made);
        assert_int_equal(key->state, KEY_ENABLED);
        assert_int_equal(unwrap(key, &blob), KMS_ERR_NONE);
        key_unref(key);
    }
}

/* --- records ---------------------------------------------------------------------------------- */

static void test_as_many_stores_as_there_may_be(void **state)
{
    char ids[KEY_STORES_MAX][24];
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 1; i < KEY_STORES_MAX; i++) {
        const struct key_store_draft draft = { names[i], names[i], "" };
        CHECK_OK(key_store_create(&rig.keyring, &draft, ids[i], &err), err);
    }
    const struct key_store_draft one_more = { "more", names[KEY_STORES_MAX], "" };
    CHECK_FAILS(key_store_create(&rig.keyring, &one_more, ids[0], &err), err,
                KMS_ERR_LIMIT_EXCEEDED);
    restart();
    AUTO(key_store_list) list = { 0 };
    CHECK_OK(key_store_list(&rig.keyring, &list, &err), err);
    assert_int_equal(list.count, KEY_STORES_MAX);
    for (size_t i = 1; i < list.count; i++)
        CHECK(strcmp(list.items[i - 1].record.id, list.items[i].record.id) < 0);
    for (size_t i = 1; i < KEY_STORES_MAX; i++)
        CHECK_OK(key_store_delete(&rig.keyring, ids[i], &err), err);
    restart();
    assert_int_equal(state_now(), KEY_STORE_CONNECTED);
}

static void test_cluster_ids(void **state)
{
    static const char *const good[] = { "cluster-abcdefghijk", "cluster-ABCDEFGHIJKLMN27",
                                        "cluster-22222222222" };
    static const char *const bad[] = { "",
                                       "cluster-",
                                       "cluster-abcdefghij",
                                       "cluster-abcdefghijklmnopq",
                                       "cluster-abcdefghij1",
                                       "cluster-abcdefghij8",
                                       "cluster-abcdefghij.",
                                       "Cluster-abcdefghijk",
                                       "abcdefghijk" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK(key_store_is_cluster_id(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!key_store_is_cluster_id(bad[i]));
}

/* Rows that contradict each other: a key in a store that never was. */
static void test_a_key_of_an_unknown_store_is_no_good_database(void **state)
{
    const struct uuid id = make_key();
    struct kms_error err = { 0 };

    (void)state;
    {
        AUTO(change) change = { 0 };
        CHECK_OK(change_begin_any(&change, &rig.keyring, &id, &err), err);
        CHECK_OK(record_set_text(&change.next->record.key_store, "cks-unknown", &err), err);
        CHECK_OK(change_commit(&change, &err), err);
    }
    keys_rig_stop(&rig);
    CHECK_FAILS(keys_rig_start(&rig, &err), err, KMS_ERR_INTEGRITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_come_and_go_with_their_store),
        cmocka_unit_test(test_a_held_token_outlives_its_store),
        cmocka_unit_test(test_connecting_while_the_token_is_still_held),
        cmocka_unit_test(test_places_in_a_token),
        cmocka_unit_test(test_without_its_section_a_store_fails_and_loses_nothing),
        cmocka_unit_test(test_a_due_deletion_waits_for_the_store),
        cmocka_unit_test(test_a_begun_deletion_waits_for_the_store),
        cmocka_unit_test(test_a_due_rotation_waits_for_the_store),
        cmocka_unit_test(test_an_interrupted_rotation_is_ended_by_connecting),
        cmocka_unit_test(test_as_many_stores_as_there_may_be),
        cmocka_unit_test(test_cluster_ids),
        cmocka_unit_test(test_a_key_of_an_unknown_store_is_no_good_database), /* the last one */
    };
    return run_group(tests, ARRAY_LEN(tests), set_up, keys_rig_down, &rig);
}
