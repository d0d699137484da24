/* Access keys on a real token and a real database. */

#include <stdio.h>

#include <pthread.h>

#include "tests/support/access_keys.h"

#define TENANT  "444455556666"
#define FOREIGN "777788889999"
#define TRUST_OWN                                                                                  \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":"     \
    "\"" RIG_ACCOUNT "\"},\"Action\":\"sts:AssumeRole\"}]}"

static struct iam_rig rig;

static int begin(void **state)
{
    (void)state;
    rig.signing_keys = 64;
    iam_rig_begin(&rig);
    return 0;
}

/* --- creating --------------------------------------------------------------------------------- */

static void test_create_makes_a_key_that_signs(void **state)
{
    char id[21], other[21];
    AUTO(secret) secret = { 0 };
    AUTO(secret) other_secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, &secret);
    access_keys_create(&rig, "bob", other, &other_secret);
    assert_int_equal(strlen(id), ACCESS_KEY_ID_LEN);
    assert_memory_equal(id, "AKIA", 4);
    assert_int_equal(strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), ACCESS_KEY_ID_LEN);
    assert_string_not_equal(id, other);
    CHECK(!equal_ct(secret_span(&secret), secret_span(&other_secret)));
    for (int i = 0; i < 3; i++) { /* unwrapped, then cached */
        access_keys_signs(&rig, id, &secret);
        access_keys_signs(&rig, other, &other_secret);
    }
}

static void test_signing_key_names_its_principal(void **state)
{
    struct kms_error err = { 0 };
    char ids[2][21];

    (void)state;
    access_keys_create(&rig, "", ids[0], NULL);
    access_keys_create(&rig, "alice", ids[1], NULL);
    struct identity *const alice =
        directory_find(rig.iam->directory, IDENTITY_USER, RIG_ACCOUNT, "alice");
    for (int i = 0; i < 4; i++) { /* unwrapped, then cached */
        const struct credential_claim claim = access_keys_claim(ids[i % 2], ACCESS_KEYS_DATE);
        struct principal principal = { 0 };
        AUTO(secret) key = { 0 };
        CHECK_OK(access_key_signing_key(rig.iam, &claim, &key, &principal, &err), err);
        assert_string_equal(principal.arn, i % 2 ? "arn:aws:iam::" RIG_ACCOUNT ":user/alice"
                                                 : "arn:aws:iam::" RIG_ACCOUNT ":root");
        assert_string_equal(principal.access_key_id, ids[i % 2]);
        CHECK(principal.identity == (i % 2 ? alice : NULL) && principal.session == NULL);
        principal_done(&principal);
    }
    identity_unref(alice);
}

/* The principal is the user as he is now, though the signing key is cached. */
static void test_signing_key_has_a_fresh_identity(void **state)
{
    const struct identity_name alice = { IDENTITY_USER, RIG_ACCOUNT, "alice" };
    struct kms_error err = { 0 };
    char id[21];

    (void)state;
    access_keys_create(&rig, "alice", id, NULL);
    for (size_t tags = 0; tags < 2; tags++) {
        const struct credential_claim claim = access_keys_claim(id, ACCESS_KEYS_DATE);
        struct principal principal = { 0 };
        AUTO(secret) key = { 0 };
        CHECK_OK(access_key_signing_key(rig.iam, &claim, &key, &principal, &err), err);
        assert_int_equal(principal.identity->tag_count, tags);
        CHECK_OK(directory_tag(rig.iam->directory, &alice, "team", "blue", &err), err);
        assert_int_equal(principal.identity->tag_count, tags); /* a request keeps what it saw */
        principal_done(&principal);
    }
}

static void test_create_third_active_key_is_refused(void **state)
{
    struct kms_error err = { 0 };
    char first[21], second[21], third[21], unused[21] = "untouched";
    AUTO(secret) none = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", first, NULL);
    access_keys_create(&rig, "alice", second, NULL);
    CHECK_FAILS(access_key_create(rig.iam, RIG_ACCOUNT, "alice", unused, &none, &err), err,
                KMS_ERR_LIMIT_EXCEEDED);
    assert_string_equal(unused, "untouched");
    CHECK(none.ptr == NULL);
    access_keys_create(&rig, "bob", unused, NULL);

    CHECK_OK(access_key_set_active(rig.iam, first, false, &err), err);
    access_keys_create(&rig, "alice", third, NULL);
    CHECK_FAILS(access_key_set_active(rig.iam, first, true, &err), err, KMS_ERR_LIMIT_EXCEEDED);
    access_keys_refused(&rig, first, KMS_ERR_UNRECOGNIZED_CLIENT);
}

static void test_create_for_nobody(void **state)
{
    static const struct {
        const char *account, *user_name;
    } rows[] = {
        { RIG_ACCOUNT, "bob" },
        { RIG_ACCOUNT, "ALICE" },
        { RIG_ACCOUNT, "a b" },
        { RIG_ACCOUNT, "app" }, /* a role has none */
        { FOREIGN, "" },
        { FOREIGN, "alice" },
        { "000011112222", "" },
        { "000011112222", "alice" },
        { "", "" },
    };
    const struct identity_draft app = { .name = { IDENTITY_ROLE, RIG_ACCOUNT, "app" },
                                        .trust_policy = TRUST_OWN };
    struct identity *role = NULL;
    struct kms_error err = { 0 };
    char unused[21] = "untouched";
    AUTO(secret) none = { 0 };

    (void)state;
    iam_rig_user(&rig, RIG_ACCOUNT, "alice");
    CHECK_OK(directory_create(rig.iam->directory, &app, &role, &err), err);
    identity_unref(role);
    CHECK_OK(directory_add_account(rig.iam->directory, FOREIGN, true, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_FAILS(
            access_key_create(rig.iam, rows[i].account, rows[i].user_name, unused, &none, &err),
            err, KMS_ERR_NOT_FOUND);
    assert_string_equal(unused, "untouched");
    CHECK(none.ptr == NULL);
}

/* --- owners ----------------------------------------------------------------------------------- */

static void test_key_of_a_disabled_or_deleted_user(void **state)
{
    const struct identity_name alice = { IDENTITY_USER, RIG_ACCOUNT, "alice" };
    struct directory *const directory = rig.iam->directory;
    struct kms_error err = { 0 };
    char id[21];
    AUTO(secret) secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, &secret);
    access_keys_signs(&rig, id, &secret);
    CHECK_OK(directory_set_enabled(directory, &alice, false, &err), err);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    CHECK_OK(directory_set_enabled(directory, &alice, true, &err), err);
    access_keys_signs(&rig, id, &secret);

    /* as if the key had been made while she was deleted */
    CHECK_OK(directory_delete(directory, &alice, false, &err), err);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    iam_rig_user(&rig, RIG_ACCOUNT, "alice"); /* a namesake is somebody else */
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    iam_rig_restart(&rig);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
}

static void test_key_of_a_root(void **state)
{
    const struct identity_name admin = { IDENTITY_USER, RIG_ACCOUNT, "admin" };
    struct directory *directory = rig.iam->directory;
    struct kms_error err = { 0 };
    char id[21], tenant[21];
    AUTO(secret) secret = { 0 };
    AUTO(secret) tenant_secret = { 0 };

    (void)state;
    access_keys_create(&rig, "", id, &secret);
    iam_rig_user(&rig, RIG_ACCOUNT, "admin");
    CHECK_OK(directory_attach(directory, &admin, ADMINISTRATOR_POLICY, &err), err);
    CHECK_OK(directory_add_account(directory, TENANT, false, &err), err);
    CHECK_OK(access_key_create(rig.iam, TENANT, "", tenant, &tenant_secret, &err), err);
    access_keys_signs(&rig, id, &secret);
    access_keys_signs(&rig, tenant, &tenant_secret);

    CHECK_OK(directory_set_root(directory, RIG_ACCOUNT, false, 0, &err), err);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    access_keys_signs(&rig, tenant, &tenant_secret);
    CHECK_OK(directory_remove_account(directory, TENANT, &err), err);
    access_keys_refused(&rig, tenant, KMS_ERR_UNRECOGNIZED_CLIENT);
    iam_rig_restart(&rig);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    access_keys_refused(&rig, tenant, KMS_ERR_UNRECOGNIZED_CLIENT);
    CHECK_OK(directory_set_root(rig.iam->directory, RIG_ACCOUNT, true, 0, &err), err);
    access_keys_signs(&rig, id, &secret);
}

static void test_users_of_other_accounts(void **state)
{
    struct kms_error err = { 0 };
    struct principal principal = { 0 };
    char id[21];
    AUTO(secret) secret = { 0 };
    AUTO(secret) key = { 0 };

    (void)state;
    CHECK_OK(directory_add_account(rig.iam->directory, TENANT, false, &err), err);
    iam_rig_user(&rig, TENANT, "alice");
    CHECK_OK(access_key_create(rig.iam, TENANT, "alice", id, &secret, &err), err);
    const struct credential_claim claim = access_keys_claim(id, ACCESS_KEYS_DATE);
    CHECK_OK(access_key_signing_key(rig.iam, &claim, &key, &principal, &err), err);
    assert_string_equal(principal.arn, "arn:aws:iam::" TENANT ":user/alice");
    assert_string_equal(principal.account, TENANT);
    principal_done(&principal);
}

static void test_delete(void **state)
{
    struct kms_error err = { 0 };
    char id[21], other[21];
    AUTO(secret) secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, &secret);
    access_keys_create(&rig, "alice", other, NULL);
    struct identity *const alice =
        directory_find(rig.iam->directory, IDENTITY_USER, RIG_ACCOUNT, "alice");
    access_keys_signs(&rig, id, &secret);
    CHECK_FAILS(access_key_delete(rig.iam, id, &err), err, KMS_ERR_CONFLICT);
    access_keys_signs(&rig, id, &secret);
    CHECK_OK(access_key_set_active(rig.iam, id, false, &err), err);
    CHECK_OK(access_key_delete(rig.iam, id, &err), err);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    CHECK_FAILS(access_key_delete(rig.iam, id, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(access_key_set_active(rig.iam, id, true, &err), err, KMS_ERR_NOT_FOUND);
    CHECK(access_key_owned(rig.iam, alice->unique_id));
    iam_rig_restart(&rig);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    CHECK_OK(access_key_set_active(rig.iam, other, false, &err), err);
    CHECK(access_key_owned(rig.iam, alice->unique_id)); /* active or not */
    CHECK_OK(access_key_delete(rig.iam, other, &err), err);
    CHECK(!access_key_owned(rig.iam, alice->unique_id));
    CHECK(!access_key_owned(rig.iam, RIG_ACCOUNT));
    access_keys_create(&rig, "", other, NULL);
    CHECK(access_key_owned(rig.iam, RIG_ACCOUNT));
    identity_unref(alice);
}

/* --- which credentials ------------------------------------------------------------------------ */

static void check_claim(const char *id, const char *session_token, enum kms_err expected)
{
    struct credential_claim claim = access_keys_claim(id, ACCESS_KEYS_DATE);
    struct kms_error err = { 0 };
    struct principal principal = { 0 };
    AUTO(secret) key = { 0 };

    claim.session_token = span_text(session_token);
    claim.now_ms = clock_wall_ms(&rig.clock);
    const int result = iam_signing_key(rig.iam, &claim, &key, &principal, &err);
    assert_string_equal(kms_err_name(err.code), kms_err_name(expected));
    assert_int_equal(result, expected == KMS_ERR_NONE ? 0 : -1);
    if (expected == KMS_ERR_UNRECOGNIZED_CLIENT)
        assert_string_equal(err.message, "The security token included in the request is invalid.");
    CHECK((key.ptr != NULL) == (expected == KMS_ERR_NONE));
    principal_done(&principal);
}

static void test_iam_signing_key_tells_kinds_apart(void **state)
{
    char id[21];

    (void)state;
    access_keys_create(&rig, "alice", id, NULL);
    check_claim(id, "", KMS_ERR_NONE);
    check_claim(id, "token", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("ASIAAAAAAAAAAAAAAAAA", "", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("ASIAAAAAAAAAAAAAAAAA", "token", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("AKIAAAAAAAAAAAAAAAAA", "", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("AIDAAAAAAAAAAAAAAAAA", "", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("akiaaaaaaaaaaaaaaaaa", "", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("AKIA", "", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("AK", "", KMS_ERR_UNRECOGNIZED_CLIENT);
    check_claim("", "", KMS_ERR_UNRECOGNIZED_CLIENT);
    id[0] = 'B';
    check_claim(id, "", KMS_ERR_UNRECOGNIZED_CLIENT);
}

/* --- looking up ------------------------------------------------------------------------------- */

static void test_signing_key_unknown_ids(void **state)
{
    static const char *const bad[] = { "", "AKIA", "AKIAAAAAAAAAAAAAAAAA",
                                       "AKIAAAAAAAAAAAAAAAAAA" };
    char id[21], longer[23];

    (void)state;
    access_keys_create(&rig, "alice", id, NULL);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        access_keys_refused(&rig, bad[i], KMS_ERR_UNRECOGNIZED_CLIENT);
    (void)snprintf(longer, sizeof(longer), "%sA", id);
    access_keys_refused(&rig, longer, KMS_ERR_UNRECOGNIZED_CLIENT);
    longer[ACCESS_KEY_ID_LEN - 1] = '\0';
    access_keys_refused(&rig, longer, KMS_ERR_UNRECOGNIZED_CLIENT);
}

static void test_signing_key_differs_by_date(void **state)
{
    struct kms_error err = { 0 };
    char id[21];
    AUTO(secret) today = { 0 };
    AUTO(secret) tomorrow = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, NULL);
    CHECK_OK(access_keys_signing_key(&rig, id, ACCESS_KEYS_DATE, &today, &err), err);
    CHECK_OK(access_keys_signing_key(&rig, id, "20261121", &tomorrow, &err), err);
    CHECK(!equal_ct(secret_span(&today), secret_span(&tomorrow)));
}

static void test_disable_is_seen_though_cached(void **state)
{
    struct kms_error err = { 0 };
    char id[21];
    AUTO(secret) secret = { 0 };

    (void)state;
    access_keys_create(&rig, "alice", id, &secret);
    access_keys_signs(&rig, id, &secret);
    CHECK_OK(access_key_set_active(rig.iam, id, false, &err), err);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    CHECK_OK(access_key_set_active(rig.iam, id, false, &err), err); /* again: nothing to do */
    iam_rig_restart(&rig);
    access_keys_refused(&rig, id, KMS_ERR_UNRECOGNIZED_CLIENT);
    CHECK_OK(access_key_set_active(rig.iam, id, true, &err), err);
    access_keys_signs(&rig, id, &secret);
    CHECK_FAILS(access_key_set_active(rig.iam, "AKIAAAAAAAAAAAAAAAAA", false, &err), err,
                KMS_ERR_NOT_FOUND);
}

/* A cache of one: everybody is pushed out all the time, and still signs right. */
static void test_signing_key_with_the_smallest_cache(void **state)
{
    static const char *const users[] = { "alice", "bob", "carol" };
    char ids[ARRAY_LEN(users)][21];
    struct secret secrets[ARRAY_LEN(users)] = { 0 };

    (void)state;
    rig.signing_keys = 1;
    iam_rig_restart(&rig);
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        access_keys_create(&rig, users[i], ids[i], &secrets[i]);
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < ARRAY_LEN(users); i++)
            access_keys_signs(&rig, ids[i], &secrets[i]);
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        secret_done(&secrets[i]);
}

/* --- lists and threads ------------------------------------------------------------------------ */

struct seen {
    size_t count, active;
    char last[21];
};

static void look(void *arg, const struct access_key_record *record)
{
    struct seen *const seen = arg;

    CHECK(strcmp(seen->last, record->id) < 0);
    (void)snprintf(seen->last, sizeof(seen->last), "%s", record->id);
    seen->count++;
    seen->active += record->active != 0;
}

static void test_each_is_in_order(void **state)
{
    struct kms_error err = { 0 };
    char id[21] = "", user[16];

    (void)state;
    for (int i = 0; i < 8; i++) {
        (void)snprintf(user, sizeof(user), "user%d", i);
        access_keys_create(&rig, user, id, NULL);
    }
    CHECK_OK(access_key_set_active(rig.iam, id, false, &err), err);
    for (int round = 0; round < 2; round++) {
        struct seen seen = { 0 };
        access_key_each(rig.iam, look, &seen);
        assert_int_equal(seen.count, 8);
        assert_int_equal(seen.active, 7);
        iam_rig_restart(&rig);
    }
}

#define THREADS 4
#define ROUNDS  100

struct reader {
    pthread_t thread;
    const char *steady, *flickering;
    unsigned failures;
};

static void *read_keys(void *arg)
{
    struct reader *const reader = arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct kms_error err = { 0 };
        AUTO(secret) steady = { 0 };
        AUTO(secret) flickering = { 0 };
        if (access_keys_signing_key(&rig, reader->steady, ACCESS_KEYS_DATE, &steady, &err) < 0)
            reader->failures++;
        kms_error_clear(&err);
        if (access_keys_signing_key(&rig, reader->flickering, ACCESS_KEYS_DATE, &flickering, &err) <
                0 &&
            err.code != KMS_ERR_UNRECOGNIZED_CLIENT)
            reader->failures++;
    }
    return NULL;
}

static void test_changes_beside_readers(void **state)
{
    struct reader readers[THREADS];
    struct kms_error err = { 0 };
    char steady[21], flickering[21], fresh[21];

    (void)state;
    access_keys_create(&rig, "steady", steady, NULL);
    access_keys_create(&rig, "flickering", flickering, NULL);
    for (size_t i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){ .steady = steady, .flickering = flickering };
        CHECK(pthread_create(&readers[i].thread, NULL, read_keys, &readers[i]) == 0);
    }
    for (int i = 0; i < 10; i++) {
        char user[16];
        CHECK_OK(access_key_set_active(rig.iam, flickering, i % 2, &err), err);
        (void)snprintf(user, sizeof(user), "fresh%d", i);
        access_keys_create(&rig, user, fresh, NULL);
    }
    CHECK_OK(access_key_set_active(rig.iam, flickering, false, &err), err);
    CHECK_OK(access_key_delete(rig.iam, flickering, &err), err);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(readers[i].thread, NULL) == 0);
        assert_int_equal(readers[i].failures, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create_makes_a_key_that_signs),
        TEST(test_signing_key_names_its_principal),
        TEST(test_signing_key_has_a_fresh_identity),
        TEST(test_create_third_active_key_is_refused),
        TEST(test_create_for_nobody),
        TEST(test_key_of_a_disabled_or_deleted_user),
        TEST(test_key_of_a_root),
        TEST(test_users_of_other_accounts),
        TEST(test_delete),
        TEST(test_iam_signing_key_tells_kinds_apart),
        TEST(test_signing_key_unknown_ids),
        TEST(test_signing_key_differs_by_date),
        TEST(test_disable_is_seen_though_cached),
        TEST(test_signing_key_with_the_smallest_cache),
        TEST(test_each_is_in_order),
        TEST(test_changes_beside_readers),
    };
    return run_group(tests, ARRAY_LEN(tests), iam_rig_group_up, iam_rig_group_down, &rig);
}
