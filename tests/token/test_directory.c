/* Accounts, users and roles on a real token and a real database. */

#include <stdio.h>

#include "tests/support/check.h"
#include "tests/support/directory_rig.h"

static struct directory_rig rig;

static int begin(void **state)
{
    (void)state;
    directory_rig_begin(&rig);
    return 0;
}

static struct identity *find(enum identity_kind kind, const char *account, const char *name)
{
    return directory_find(rig.directory, kind, account, name);
}

static bool exists(const struct identity_name *name)
{
    struct identity *const found = find(name->kind, name->account, name->name);

    identity_unref(found);
    return found != NULL;
}

static int create(const struct identity_draft *draft, struct kms_error *err)
{
    struct identity *made = NULL;
    const int result = directory_create(rig.directory, draft, &made, err);

    identity_unref(made);
    return result;
}

/* --- accounts --------------------------------------------------------------------------------- */

static void test_account_of_the_keys_is_known_without_a_row(void **state)
{
    (void)state;
    assert_int_equal(store_sequence(rig.store), 0);
    assert_int_equal(directory_account(rig.directory, SPAN_LITERAL(RIG_OWNER)), ACCOUNT_OWN);
    CHECK(directory_root_enabled(rig.directory, RIG_OWNER));
    assert_int_equal(directory_account(rig.directory, SPAN_LITERAL(RIG_TENANT)), ACCOUNT_UNKNOWN);
    CHECK(!directory_root_enabled(rig.directory, RIG_TENANT));
    assert_int_equal(directory_account(rig.directory, SPAN_LITERAL("")), ACCOUNT_UNKNOWN);
    directory_rig_restart(&rig);
    assert_int_equal(store_sequence(rig.store), 0);
}

static void test_account_add_and_remove(void **state)
{
    struct kms_error err = { 0 };
    const struct identity_name bob = user_name(RIG_TENANT, "bob");

    (void)state;
    CHECK_OK(directory_add_account(rig.directory, RIG_TENANT, false, &err), err);
    CHECK_OK(directory_add_account(rig.directory, "777788889999", true, &err), err);
    CHECK_FAILS(directory_add_account(rig.directory, RIG_TENANT, true, &err), err,
                KMS_ERR_ALREADY_EXISTS);
    CHECK_FAILS(directory_add_account(rig.directory, RIG_OWNER, false, &err), err,
                KMS_ERR_ALREADY_EXISTS);
    directory_rig_restart(&rig);
    assert_int_equal(directory_account(rig.directory, SPAN_LITERAL(RIG_TENANT)), ACCOUNT_OWN);
    assert_int_equal(directory_account(rig.directory, SPAN_LITERAL("777788889999")),
                     ACCOUNT_FOREIGN);
    CHECK(directory_root_enabled(rig.directory, RIG_TENANT));
    CHECK(!directory_root_enabled(rig.directory, "777788889999"));

    rig_user(&rig, RIG_TENANT, "bob");
    CHECK_FAILS(directory_remove_account(rig.directory, RIG_TENANT, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(directory_delete(rig.directory, &bob, false, &err), err);
    CHECK_OK(directory_remove_account(rig.directory, RIG_TENANT, &err), err);
    CHECK_OK(directory_remove_account(rig.directory, "777788889999", &err), err);
    CHECK_FAILS(directory_remove_account(rig.directory, RIG_TENANT, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(directory_remove_account(rig.directory, RIG_OWNER, &err), err, KMS_ERR_CONFLICT);
    directory_rig_restart(&rig);
    assert_int_equal(directory_account(rig.directory, SPAN_LITERAL(RIG_TENANT)), ACCOUNT_UNKNOWN);
    CHECK_OK(directory_add_account(rig.directory, RIG_TENANT, true, &err), err); /* once more */
    directory_rig_restart(&rig);
}

static void test_account_add_refuses_what_is_none(void **state)
{
    static const char *const bad[] = { "",
                                       "11112222333",
                                       "1111222233334",
                                       "11112222333a",
                                       "aws",
                                       "arn:aws:iam::111122223333:root",
                                       "111122223333 " };
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_FAILS(directory_add_account(rig.directory, bad[i], false, &err), err,
                    KMS_ERR_VALIDATION);
}

/* --- creating --------------------------------------------------------------------------------- */

static void test_create_user(void **state)
{
    const struct identity_draft draft = { .name = user_name(RIG_OWNER, "alice"),
                                          .path = "/ops/night/" };
    struct kms_error err = { 0 };
    struct identity *alice = NULL;

    (void)state;
    const uint64_t generation = directory_generation(rig.directory);
    CHECK_OK(directory_create(rig.directory, &draft, &alice, &err), err);
    CHECK(directory_generation(rig.directory) > generation);
    assert_int_equal(alice->kind, IDENTITY_USER);
    assert_string_equal(alice->arn, "arn:aws:iam::" RIG_OWNER ":user/ops/night/alice");
    CHECK(unique_id_valid(span_text(alice->unique_id), "AIDA"));
    CHECK(alice->enabled);
    assert_int_equal(alice->created_ms, rig.clock.fixed_ms);
    assert_int_equal(alice->policy_count, 0);
    assert_int_equal(alice->tag_count, 0);
    CHECK(alice->boundary == NULL && alice->trust == NULL);

    struct identity *const by_id = directory_get(rig.directory, alice->unique_id);
    struct identity *const by_arn = directory_find_arn(rig.directory, span_text(alice->arn));
    CHECK(by_id == alice && by_arn == alice && find(IDENTITY_USER, RIG_OWNER, "alice") == alice);
    for (int i = 0; i < 4; i++)
        identity_unref(alice);
    directory_rig_restart(&rig);
    CHECK(exists(&draft.name));
}

static void test_create_role(void **state)
{
    const struct identity_draft draft = { .name = role_name(RIG_OWNER, "app"),
                                          .trust_policy = TRUST(RIG_OWNER),
                                          .max_session_s = 7200 };
    struct kms_error err = { 0 };
    struct identity *app = NULL;

    (void)state;
    CHECK_OK(directory_create(rig.directory, &draft, &app, &err), err);
    assert_string_equal(app->arn, "arn:aws:iam::" RIG_OWNER ":role/app");
    CHECK(unique_id_valid(span_text(app->unique_id), "AROA"));
    assert_int_equal(app->max_session_s, 7200);
    CHECK(app->trust != NULL);
    assert_string_equal(app->trust_text, draft.trust_policy);
    identity_unref(app);
    rig_user(&rig, RIG_OWNER, "app"); /* users and roles have names of their own */
    directory_rig_restart(&rig);
    CHECK(exists(&draft.name));
}

static void test_create_refuses(void **state)
{
    static const char long_name[] =
        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"; /* 65 */
    const struct {
        struct identity_draft draft;
        enum kms_err expected;
    } rows[] = {
        { { .name = user_name(RIG_OWNER, "alice") }, KMS_ERR_ALREADY_EXISTS },
        { { .name = user_name(RIG_OWNER, "ALICE") }, KMS_ERR_ALREADY_EXISTS },
        { { .name = user_name(RIG_OWNER, "alice"), .path = "/a/" }, KMS_ERR_ALREADY_EXISTS },
        { { .name = user_name(RIG_TENANT, "alice") }, KMS_ERR_NOT_FOUND },
        { { .name = user_name("777788889999", "alice") }, KMS_ERR_NOT_FOUND }, /* foreign */
        { { .name = user_name("aws", "alice") }, KMS_ERR_NOT_FOUND },
        { { .name = user_name(RIG_OWNER, "") }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "a/b") }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "a b") }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, long_name) }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "b"), .path = "" }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "b"), .path = "a/" }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "b"), .path = "/a" }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "b"), .path = "/a b/" }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "b"), .path = "/\xc3\xa4/" }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "b"), .trust_policy = TRUST("*") }, KMS_ERR_VALIDATION },
        { { .name = user_name(RIG_OWNER, "b"), .max_session_s = 3600 }, KMS_ERR_VALIDATION },
        { { .name = role_name(RIG_OWNER, "r") }, KMS_ERR_VALIDATION },
        { { .name = role_name(RIG_OWNER, "r"), .trust_policy = "" }, KMS_ERR_MALFORMED_POLICY },
        { { .name = role_name(RIG_OWNER, "r"), .trust_policy = "{" }, KMS_ERR_MALFORMED_POLICY },
        { { .name = role_name(RIG_OWNER, "r"), .trust_policy = ALLOW("sts:AssumeRole", "*") },
          KMS_ERR_MALFORMED_POLICY },
        { { .name = role_name(RIG_OWNER, "r"),
            .trust_policy = TRUST(RIG_OWNER),
            .max_session_s = 3599 },
          KMS_ERR_VALIDATION },
        { { .name = role_name(RIG_OWNER, "r"),
            .trust_policy = TRUST(RIG_OWNER),
            .max_session_s = 43201 },
          KMS_ERR_VALIDATION },
    };
    struct kms_error err = { 0 };
    AUTO(buf) before = { 0 };
    AUTO(buf) after = { 0 };

    (void)state;
    rig_user(&rig, RIG_OWNER, "alice");
    CHECK_OK(directory_add_account(rig.directory, "777788889999", true, &err), err);
    directory_rig_dump(&rig, &before);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_FAILS(create(&rows[i].draft, &err), err, rows[i].expected);
    directory_rig_dump(&rig, &after);
    CHECK_SPAN(buf_span(&after), buf_span(&before));
    directory_rig_restart(&rig);
}

static void test_create_takes_the_longest(void **state)
{
    char path[IDENTITY_PATH_MAX + 2] = "/", name[IDENTITY_NAME_MAX + 1] = "";
    struct kms_error err = { 0 };

    (void)state;
    memset(path, '/', IDENTITY_PATH_MAX);
    memset(path + 1, 'p', IDENTITY_PATH_MAX - 2);
    memset(name, 'n', IDENTITY_NAME_MAX);
    const struct identity_draft draft = { .name = user_name(RIG_OWNER, name), .path = path };
    CHECK_OK(create(&draft, &err), err);
    struct identity *const found = find(IDENTITY_USER, RIG_OWNER, name);
    assert_int_equal(strlen(found->arn), strlen("arn:aws:iam::111122223333:user") +
                                             IDENTITY_PATH_MAX + IDENTITY_NAME_MAX);
    struct identity *const by_arn = directory_find_arn(rig.directory, span_text(found->arn));
    CHECK(by_arn == found);
    identity_unref(found);
    identity_unref(by_arn);
    directory_rig_restart(&rig);

    memset(path, '/', IDENTITY_PATH_MAX + 1);
    const struct identity_draft longer = { .name = user_name(RIG_OWNER, "b"), .path = path };
    CHECK_FAILS(create(&longer, &err), err, KMS_ERR_VALIDATION);
}

/* --- finding ---------------------------------------------------------------------------------- */

static void test_find_by_exact_case_alone(void **state)
{
    static const char *const others[] = { "alice", "ALICE", "Alic", "Alicee", "", "user/Alice" };

    (void)state;
    rig_user(&rig, RIG_OWNER, "Alice");
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CHECK(find(IDENTITY_USER, RIG_OWNER, others[i]) == NULL);
    CHECK(find(IDENTITY_ROLE, RIG_OWNER, "Alice") == NULL);
    CHECK(find(IDENTITY_USER, RIG_TENANT, "Alice") == NULL);
    CHECK(directory_get(rig.directory, "AIDAAAAAAAAAAAAAAAAA") == NULL);
    CHECK(directory_get(rig.directory, "") == NULL);
}

static void test_find_arn(void **state)
{
    static const struct {
        const char *arn, *name; /* NULL: nobody */
    } rows[] = {
        { "arn:aws:iam::" RIG_OWNER ":user/alice", "alice" },
        { "arn:aws:iam::" RIG_OWNER ":role/deep/app", "app" },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/app/session", "app" },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/deep/app/session", NULL },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/app/", NULL },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/app", NULL },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/app/a/b", NULL },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/App/session", NULL },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/alice/session", NULL },
        { "arn:aws:sts::" RIG_OWNER ":federated-user/alice", NULL },
        { "arn:aws:iam::" RIG_OWNER ":role/app", NULL }, /* without its path */
        { "arn:aws:iam::" RIG_OWNER ":role/deep/", NULL },
        { "arn:aws:iam::" RIG_OWNER ":user/x/alice", NULL },
        { "arn:aws:iam::" RIG_OWNER ":user/Alice", NULL },
        { "arn:aws:iam::" RIG_OWNER ":user/", NULL },
        { "arn:aws:iam::" RIG_OWNER ":user", NULL },
        { "arn:aws:iam::" RIG_OWNER ":group/alice", NULL },
        { "arn:aws:iam::" RIG_OWNER ":root", NULL },
        { "arn:aws:iam::" RIG_TENANT ":user/alice", NULL },
        { "arn:aws:iam:us-east-1:" RIG_OWNER ":user/alice", NULL },
        { "arn:aws-cn:iam::" RIG_OWNER ":user/alice", NULL },
        { "arn:aws:kms::" RIG_OWNER ":user/alice", NULL },
        { "alice", NULL },
        { "", NULL },
        { RIG_OWNER, NULL },
    };
    const struct identity_draft app = { .name = role_name(RIG_OWNER, "app"),
                                        .path = "/deep/",
                                        .trust_policy = TRUST(RIG_OWNER) };
    struct kms_error err = { 0 };

    (void)state;
    rig_user(&rig, RIG_OWNER, "alice");
    CHECK_OK(create(&app, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct identity *const found = directory_find_arn(rig.directory, span_text(rows[i].arn));
        if ((found != NULL) != (rows[i].name != NULL))
            fail_msg("%s", rows[i].arn);
        if (found)
            assert_string_equal(found->name, rows[i].name);
        identity_unref(found);
    }
}

/* --- changing --------------------------------------------------------------------------------- */

static void test_change_is_seen_at_once_and_leaves_older_snapshots(void **state)
{
    const struct identity_name alice = user_name(RIG_OWNER, "alice");
    struct kms_error err = { 0 };

    (void)state;
    rig_user(&rig, RIG_OWNER, "alice");
    struct identity *const before = find(IDENTITY_USER, RIG_OWNER, "alice");
    const uint64_t generation = directory_generation(rig.directory);
    CHECK_OK(directory_set_enabled(rig.directory, &alice, false, &err), err);
    CHECK(directory_generation(rig.directory) > generation);
    struct identity *const after = find(IDENTITY_USER, RIG_OWNER, "alice");
    CHECK(before->enabled && !after->enabled);
    assert_string_equal(before->unique_id, after->unique_id);
    directory_rig_restart(&rig);
    CHECK_OK(directory_set_enabled(rig.directory, &alice, true, &err), err);
    struct identity *const again = find(IDENTITY_USER, RIG_OWNER, "alice");
    CHECK(again->enabled);
    identity_unref(before);
    identity_unref(after);
    identity_unref(again);
}

static void test_change_of_nobody(void **state)
{
    const struct identity_name nobody = user_name(RIG_OWNER, "nobody");
    const struct identity_name other_case = user_name(RIG_OWNER, "ALICE");
    const struct identity_name *const names[] = { &nobody, &other_case };
    struct directory *const directory = rig.directory;
    struct kms_error err = { 0 };

    (void)state;
    rig_user(&rig, RIG_OWNER, "alice");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CHECK_FAILS(directory_delete(directory, names[i], false, &err), err, KMS_ERR_NOT_FOUND);
        CHECK_FAILS(directory_set_enabled(directory, names[i], true, &err), err, KMS_ERR_NOT_FOUND);
        CHECK_FAILS(directory_revoke_sessions(directory, names[i], &err), err, KMS_ERR_NOT_FOUND);
        CHECK_FAILS(directory_tag(directory, names[i], "k", "v", &err), err, KMS_ERR_NOT_FOUND);
        CHECK_FAILS(directory_untag(directory, names[i], "k", &err), err, KMS_ERR_NOT_FOUND);
        CHECK_FAILS(directory_put_policy(directory, names[i], "p", ALLOW("*", "*"), &err), err,
                    KMS_ERR_NOT_FOUND);
        CHECK_FAILS(directory_attach(directory, names[i], ADMINISTRATOR_POLICY, &err), err,
                    KMS_ERR_NOT_FOUND);
        CHECK_FAILS(directory_set_boundary(directory, names[i], NULL, &err), err,
                    KMS_ERR_NOT_FOUND);
    }
    CHECK_FAILS(directory_set_trust(directory, RIG_OWNER, "alice", TRUST("*"), &err), err,
                KMS_ERR_NOT_FOUND); /* not a role */
    CHECK_FAILS(directory_set_max_session(directory, RIG_OWNER, "alice", 3600, &err), err,
                KMS_ERR_NOT_FOUND);
}

static void test_revoke_sessions_marks_this_moment(void **state)
{
    const struct identity_name app = role_name(RIG_OWNER, "app");
    struct kms_error err = { 0 };

    (void)state;
    rig_role(&rig, RIG_OWNER, "app", TRUST(RIG_OWNER));
    struct identity *const before = find(IDENTITY_ROLE, RIG_OWNER, "app");
    assert_int_equal(before->revoked_ms, 0);
    CHECK_OK(directory_revoke_sessions(rig.directory, &app, &err), err);
    rig.clock.fixed_ms -= 5000; /* a clock set back takes nothing back */
    CHECK_OK(directory_revoke_sessions(rig.directory, &app, &err), err);
    struct identity *const after = find(IDENTITY_ROLE, RIG_OWNER, "app");
    assert_int_equal(after->revoked_ms, rig.clock.fixed_ms + 5001);
    identity_unref(before);
    identity_unref(after);
    directory_rig_restart(&rig);
}

static void test_max_session(void **state)
{
    struct directory *const directory = rig.directory;
    struct kms_error err = { 0 };

    (void)state;
    rig_role(&rig, RIG_OWNER, "app", TRUST(RIG_OWNER));
    struct identity *const preset = find(IDENTITY_ROLE, RIG_OWNER, "app");
    assert_int_equal(preset->max_session_s, 3600);
    CHECK_OK(directory_set_max_session(directory, RIG_OWNER, "app", 43200, &err), err);
    CHECK_FAILS(directory_set_max_session(directory, RIG_OWNER, "app", 43201, &err), err,
                KMS_ERR_VALIDATION);
    CHECK_FAILS(directory_set_max_session(directory, RIG_OWNER, "app", 3599, &err), err,
                KMS_ERR_VALIDATION);
    CHECK_FAILS(directory_set_max_session(directory, RIG_OWNER, "app", 0, &err), err,
                KMS_ERR_VALIDATION);
    struct identity *const after = find(IDENTITY_ROLE, RIG_OWNER, "app");
    assert_int_equal(after->max_session_s, 43200);
    identity_unref(preset);
    identity_unref(after);
}

/* --- deleting --------------------------------------------------------------------------------- */

static int count_row(void *arg, const void *record, struct kms_error *err)
{
    (void)record;
    (void)err;
    ++*(size_t *)arg;
    return 0;
}

static size_t rows_of(const struct table *table)
{
    struct kms_error err = { 0 };
    size_t count = 0;

    CHECK_OK(store_each(rig.store, table, count_row, &count, &err), err);
    return count;
}

static void test_delete_takes_everything_along(void **state)
{
    static const struct table *const tables[] = { &identity_table, &inline_policy_table,
                                                  &attachment_table, &identity_tag_table };
    const struct identity_name alice = user_name(RIG_OWNER, "alice");
    struct kms_error err = { 0 };
    char id[UNIQUE_ID_LEN + 1];

    (void)state;
    rig_user(&rig, RIG_OWNER, "alice");
    struct identity *const first = find(IDENTITY_USER, RIG_OWNER, "alice");
    memcpy(id, first->unique_id, sizeof(id));
    CHECK_OK(directory_put_policy(rig.directory, &alice, "own", ALLOW("kms:*", "*"), &err), err);
    CHECK_OK(directory_attach(rig.directory, &alice, ADMINISTRATOR_POLICY, &err), err);
    CHECK_OK(directory_tag(rig.directory, &alice, "team", "blue", &err), err);
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        assert_int_equal(rows_of(tables[i]), 1);

    CHECK_FAILS(directory_delete(rig.directory, &alice, true, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(directory_delete(rig.directory, &alice, false, &err), err);
    CHECK(!exists(&alice));
    CHECK(directory_get(rig.directory, id) == NULL);
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        assert_int_equal(rows_of(tables[i]), 0);
    assert_string_equal(first->name, "alice"); /* who asked before keeps what he saw */
    identity_unref(first);

    rig_user(&rig, RIG_OWNER, "alice");
    struct identity *const second = find(IDENTITY_USER, RIG_OWNER, "alice");
    assert_string_not_equal(second->unique_id, id);
    assert_int_equal(second->policy_count + second->tag_count, 0);
    identity_unref(second);
    directory_rig_restart(&rig);
}

/* --- tags ------------------------------------------------------------------------------------- */

static void test_tag_keys_are_the_same_in_any_case(void **state)
{
    const struct identity_name alice = user_name(RIG_OWNER, "alice");
    struct kms_error err = { 0 };

    (void)state;
    rig_user(&rig, RIG_OWNER, "alice");
    CHECK_OK(directory_tag(rig.directory, &alice, "Team", "blue", &err), err);
    CHECK_OK(directory_tag(rig.directory, &alice, "cost", "", &err), err);
    CHECK_OK(directory_tag(rig.directory, &alice, "team", "red", &err), err);
    struct identity *const tagged = find(IDENTITY_USER, RIG_OWNER, "alice");
    assert_int_equal(tagged->tag_count, 2);
    assert_string_equal(tagged->tags[0].key, "cost");
    assert_string_equal(tagged->tags[1].key, "team");
    assert_string_equal(identity_tag_value(tagged, "TEAM"), "red");
    assert_string_equal(identity_tag_value(tagged, "Cost"), "");
    CHECK(identity_tag_value(tagged, "tea") == NULL);
    identity_unref(tagged);
    assert_int_equal(rows_of(&identity_tag_table), 2);
    directory_rig_restart(&rig);

    CHECK_OK(directory_untag(rig.directory, &alice, "TEAM", &err), err);
    CHECK_OK(directory_untag(rig.directory, &alice, "TEAM", &err), err); /* gone is gone */
    assert_int_equal(rows_of(&identity_tag_table), 1);
    directory_rig_restart(&rig);
}

static void test_tag_limits(void **state)
{
    static const char *const bad_keys[] = { "", "a*b", "a\nb", "aws:x", "AWS:x", "\xff", "a\"b" };
    const struct identity_name alice = user_name(RIG_OWNER, "alice");
    char text[260], key[16];
    struct kms_error err = { 0 };

    (void)state;
    rig_user(&rig, RIG_OWNER, "alice");
    for (size_t i = 0; i < ARRAY_LEN(bad_keys); i++)
        CHECK_FAILS(directory_tag(rig.directory, &alice, bad_keys[i], "v", &err), err,
                    KMS_ERR_VALIDATION);
    CHECK_FAILS(directory_tag(rig.directory, &alice, "k", "a\tb", &err), err, KMS_ERR_VALIDATION);
    (void)snprintf(text, sizeof(text), "%0257d", 0);
    CHECK_FAILS(directory_tag(rig.directory, &alice, "k", text, &err), err, KMS_ERR_VALIDATION);
    CHECK_OK(directory_tag(rig.directory, &alice, "k", text + 1, &err), err);
    CHECK_FAILS(directory_tag(rig.directory, &alice, text + 128, "v", &err), err,
                KMS_ERR_VALIDATION);
    CHECK_OK(directory_tag(rig.directory, &alice, text + 129, "v", &err), err);
    CHECK_OK(directory_tag(rig.directory, &alice, "Gr\xc3\xb6\xc3\x9f\x65", "v", &err), err);
    for (int i = 3; i < IDENTITY_TAGS_MAX; i++) {
        (void)snprintf(key, sizeof(key), "key%d", i);
        CHECK_OK(directory_tag(rig.directory, &alice, key, "v", &err), err);
    }
    CHECK_FAILS(directory_tag(rig.directory, &alice, "more", "v", &err), err,
                KMS_ERR_LIMIT_EXCEEDED);
    CHECK_OK(directory_tag(rig.directory, &alice, "KEY3", "w", &err), err); /* replaces */
    directory_rig_restart(&rig);
}

/* --- listing ---------------------------------------------------------------------------------- */

struct names {
    char text[200];
};

static void add_name(void *arg, const struct identity *identity)
{
    struct names *const names = arg;
    const size_t len = strlen(names->text);

    (void)snprintf(names->text + len, sizeof(names->text) - len, "%c/%c/%s ", identity->account[0],
                   identity->kind == IDENTITY_USER ? 'u' : 'r', identity->name);
}

static void test_each_is_in_order(void **state)
{
    const struct identity_name carol = user_name(RIG_OWNER, "carol");
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(directory_add_account(rig.directory, RIG_TENANT, false, &err), err);
    rig_user(&rig, RIG_TENANT, "bob");
    rig_role(&rig, RIG_OWNER, "app", TRUST(RIG_OWNER));
    rig_user(&rig, RIG_OWNER, "carol");
    rig_user(&rig, RIG_OWNER, "bob");
    rig_user(&rig, RIG_OWNER, "Zoe");
    for (int round = 0; round < 2; round++) {
        struct names names = { "" };
        directory_each(rig.directory, add_name, &names);
        assert_string_equal(names.text, "1/u/Zoe 1/u/bob 1/u/carol 1/r/app 4/u/bob ");
        directory_rig_restart(&rig);
    }
    CHECK_OK(directory_delete(rig.directory, &carol, false, &err), err);
    struct names names = { "" };
    directory_each(rig.directory, add_name, &names);
    assert_string_equal(names.text, "1/u/Zoe 1/u/bob 1/r/app 4/u/bob ");
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_account_of_the_keys_is_known_without_a_row),
        TEST(test_account_add_and_remove),
        TEST(test_account_add_refuses_what_is_none),
        TEST(test_create_user),
        TEST(test_create_role),
        TEST(test_create_refuses),
        TEST(test_create_takes_the_longest),
        TEST(test_find_by_exact_case_alone),
        TEST(test_find_arn),
        TEST(test_change_is_seen_at_once_and_leaves_older_snapshots),
        TEST(test_change_of_nobody),
        TEST(test_revoke_sessions_marks_this_moment),
        TEST(test_max_session),
        TEST(test_delete_takes_everything_along),
        TEST(test_tag_keys_are_the_same_in_any_case),
        TEST(test_tag_limits),
        TEST(test_each_is_in_order),
    };
    return run_group(tests, ARRAY_LEN(tests), directory_rig_up, directory_rig_down, &rig);
}
