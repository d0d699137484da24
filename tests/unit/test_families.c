/* Multi-Region keys as records and in the catalog: roles, names, states, and who speaks for a
 * family in a region. */

#include <stdio.h>

#include "hsmkms/keys/catalog.h"
#include "hsmkms/keys/identifier.h"
#include "tests/support/check.h"

#define NAME "mrk-1234abcd12ab34cd56ef1234567890ab"
#define UUID "1234abcd-12ab-34cd-56ef-1234567890ab"

static struct uuid family_named(void)
{
    struct uuid family = { { 0 } };

    CHECK(uuid_parse(SPAN_LITERAL(UUID), &family));
    return family;
}

/* Texts are borrowed for the call. */
static int make(const char *state_text, const struct uuid *family, const char *role,
                struct key **ret, struct kms_error *err)
{
    char state[32], part[16], owner[] = "CUSTOMER", spec[] = "SYMMETRIC_DEFAULT",
                              usage[] = "ENCRYPT_DECRYPT", region[] = "us-east-1";

    (void)snprintf(state, sizeof(state), "%s", state_text);
    (void)snprintf(part, sizeof(part), "%s", role ? role : "");
    const struct key_record record = { .id = uuid_random(),
                                       .state = state,
                                       .manager = owner,
                                       .spec = spec,
                                       .usage = usage,
                                       .region = region,
                                       .family = *family,
                                       .role = role ? part : NULL };
    return key_new(&record, ret, err);
}

static struct key *key_of(const char *state_text, const struct uuid *family)
{
    struct kms_error err = { 0 };
    struct key *key = NULL;

    CHECK_OK(make(state_text, family, "PRIMARY", &key, &err), err);
    return key;
}

static void test_identifiers(void **state)
{
    const struct uuid family = family_named();
    struct kms_error err = { 0 };
    struct identifier parsed;

    (void)state;
    CHECK_OK(identifier_parse(NAME, &parsed, &err), err);
    CHECK(parsed.kind == IDENTIFIER_FAMILY && uuid_equal(&parsed.key_id, &family));
    CHECK_OK(identifier_parse(UUID, &parsed, &err), err);
    CHECK(parsed.kind == IDENTIFIER_KEY && uuid_equal(&parsed.key_id, &family));
    CHECK(identifier_is_key_id(SPAN_LITERAL(NAME)));
    CHECK(identifier_is_key_id(SPAN_LITERAL(UUID)));
    CHECK(!identifier_is_key_id(SPAN_LITERAL(NAME "0")));
    CHECK(!identifier_is_key_id(SPAN_LITERAL("mrk-" UUID)));
    CHECK(!identifier_is_key_id(SPAN_LITERAL("mrk-1234ABCD12ab34cd56ef1234567890ab")));
    CHECK(!identifier_is_key_id(SPAN_LITERAL("mrk-")));
    CHECK(!identifier_is_key_id(SPAN_LITERAL("")));
}

static void test_roles(void **state)
{
    static const struct {
        bool in_family;
        const char *role;
        bool known, primary, replica;
    } rows[] = {
        { false, NULL, true, false, false },      { true, "PRIMARY", true, true, false },
        { true, "REPLICA", true, false, true },   { false, "PRIMARY", false, false, false },
        { true, NULL, false, false, false },      { true, "", false, false, false },
        { true, "primary", false, false, false },
    };
    const struct uuid none = { { 0 } }, family = family_named();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        struct key *key = NULL;
        const int made =
            make("Enabled", rows[i].in_family ? &family : &none, rows[i].role, &key, &err);
        CHECK((made == 0) == rows[i].known);
        CHECK(made == 0 || err.code == KMS_ERR_INTEGRITY);
        if (made < 0)
            continue;
        CHECK(key_is_multi_region(key) == rows[i].in_family);
        CHECK(key_is_primary(key) == rows[i].primary);
        CHECK(key_is_replica(key) == rows[i].replica);
        CHECK(uuid_equal(key_owner(key), rows[i].in_family ? &family : &key->record.id));
        assert_string_equal(key_name(key).text,
                            rows[i].in_family ? NAME : uuid_format(&key->record.id).text);
        key_unref(key);
    }
}

static void test_a_primary_that_waits(void **state)
{
    const struct uuid family = family_named();
    struct key *const key = key_of("PendingReplicaDeletion", &family);

    (void)state;
    CHECK(key_visible(key) && !key_is_gone(key));
    for (enum key_use use = 0; use < KEY_USES; use++) {
        struct kms_error err = { 0 };
        if (use == KEY_USE_READ || use == KEY_USE_CANCEL) {
            CHECK_OK(key_may(key, use, "ARN", &err), err);
            continue;
        }
        CHECK(key_may(key, use, "ARN", &err) < 0 && err.code == KMS_ERR_INVALID_STATE);
        assert_string_equal(err.message, "ARN is pending replica deletion.");
    }
    key_unref(key);
}

/* The key that the catalog gives for a family has this state; NULL: there is none. */
static void check_found(struct catalog *catalog, const struct uuid *family, const char *state_text)
{
    struct key *const key = catalog_find_family(catalog, family);

    if (state_text == NULL) {
        CHECK(key == NULL);
        return;
    }
    CHECK(key != NULL && uuid_equal(&key->record.family, family));
    assert_string_equal(key->record.state, state_text);
    key_unref(key);
}

static void test_who_speaks_for_a_family(void **state)
{
    const struct uuid family = family_named(), nobody = uuid_random();
    struct catalog *const catalog = catalog_new();
    struct kms_error err = { 0 };

    (void)state;
    for (int i = 0; i < 50; i++) { /* neighbours on both sides */
        const struct uuid other = uuid_random();
        CHECK_OK(catalog_publish(catalog, key_of("Enabled", &other), &err), err);
    }
    check_found(catalog, &family, NULL);
    CHECK_OK(catalog_publish(catalog, key_of("Deleted", &family), &err), err);
    check_found(catalog, &family, "Deleted");
    for (int i = 0; i < 8; i++) /* before and behind the one that lives */
        CHECK_OK(catalog_publish(catalog, key_of(i % 2 ? "Deleted" : "Aborted", &family), &err),
                 err);
    struct key *const living = key_of("Enabled", &family);
    CHECK_OK(catalog_publish(catalog, key_ref(living), &err), err);
    check_found(catalog, &family, "Enabled");

    struct key *next = NULL;
    CHECK_OK(key_copy(living, &next, &err), err);
    CHECK_OK(key_set_state(next, KEY_DISABLED, &err), err);
    CHECK_OK(catalog_publish(catalog, next, &err), err);
    check_found(catalog, &family, "Disabled");
    check_found(catalog, &nobody, NULL);

    struct key *found = catalog_find_owner(catalog, &family);
    CHECK(found == next);
    key_unref(found);
    CHECK(catalog_find_owner(catalog, &living->record.id) == NULL); /* no name of it */
    found = catalog_find(catalog, &living->record.id);
    CHECK(found == next);
    key_unref(found);
    key_unref(living);
    catalog_free(catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identifiers),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_a_primary_that_waits),
        cmocka_unit_test(test_who_speaks_for_a_family),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
