/* Policies of users and roles: inline, managed, boundaries, trust; and when the root may go. */

#include <stdio.h>

#include "tests/support/check.h"
#include "tests/support/directory_rig.h"

#define ALICE    user_name(RIG_OWNER, "alice")
#define APP      role_name(RIG_OWNER, "app")
#define USER_ARN "arn:aws:iam::" RIG_OWNER ":user/alice"
#define DENY_ALL                                                                                   \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Deny\",\"Action\":\"*\","            \
    "\"Resource\":\"*\"}]}"

static struct directory_rig rig;

static int begin(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    directory_rig_begin(&rig);
    CHECK_OK(directory_add_account(rig.directory, RIG_TENANT, false, &err), err);
    CHECK_OK(directory_add_account(rig.directory, "777788889999", true, &err), err);
    rig_user(&rig, RIG_OWNER, "alice");
    rig_role(&rig, RIG_OWNER, "app", TRUST(RIG_OWNER));
    return 0;
}

static bool allows(struct identity_name name, const char *action)
{
    return rig_allows(&rig, &name, action);
}

static int put(struct identity_name name, const char *policy, const char *text,
               struct kms_error *err)
{
    return directory_put_policy(rig.directory, &name, policy, text, err);
}

static int attach(struct identity_name name, const char *arn, struct kms_error *err)
{
    return directory_attach(rig.directory, &name, arn, err);
}

static int detach(struct identity_name name, const char *arn, struct kms_error *err)
{
    return directory_detach(rig.directory, &name, arn, err);
}

static int bound(struct identity_name name, const char *arn, struct kms_error *err)
{
    return directory_set_boundary(rig.directory, &name, arn, err);
}

static int put_managed(const char *name, const char *text, char *ret_arn, struct kms_error *err)
{
    return directory_put_managed(rig.directory, RIG_OWNER, NULL, name, text, ret_arn, err);
}

/* A policy of exactly this many characters without white space, and a lot of that. */
static void padded(size_t weight, struct buf *ret)
{
    static const char head[] = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
                               "\"Action\":\"kms:*\",\"Resource\":\"arn:aws:kms:::key/";
    static const char tail[] = "\"}]}";

    buf_text(ret, head);
    for (size_t i = sizeof(head) + sizeof(tail) - 2; i < weight; i++)
        buf_text(ret, "x");
    buf_text(ret, tail);
    for (size_t i = 0; i < 1000; i++)
        buf_text(ret, " \t\r\n");
    buf_u8(ret, '\0');
}

/* --- inline ----------------------------------------------------------------------------------- */

static void test_inline_put_replace_delete(void **state)
{
    const struct identity_name alice = ALICE;
    struct kms_error err = { 0 };
    AUTO(buf) text = { 0 };

    (void)state;
    CHECK(!allows(alice, "kms:Decrypt"));
    CHECK_OK(put(alice, "own", ALLOW("kms:Encrypt", "*"), &err), err);
    CHECK(allows(alice, "kms:Encrypt") && !allows(alice, "kms:Decrypt"));
    CHECK_OK(put(alice, "own", " " ALLOW("kms:Decrypt", "*") "\n", &err), err);
    CHECK(!allows(alice, "kms:Encrypt") && allows(alice, "kms:Decrypt"));
    CHECK_OK(put(alice, "another", ALLOW("kms:Sign", "*"), &err), err);
    CHECK_OK(directory_inline_text(rig.directory, &alice, "own", &text, &err), err);
    CHECK_SPAN(buf_span(&text), SPAN_LITERAL(" " ALLOW("kms:Decrypt", "*") "\n"));
    directory_rig_restart(&rig);
    CHECK(allows(alice, "kms:Sign") && allows(alice, "kms:Decrypt"));

    CHECK_OK(directory_delete_policy(rig.directory, &alice, "own", &err), err);
    CHECK(!allows(alice, "kms:Decrypt") && allows(alice, "kms:Sign"));
    CHECK_FAILS(directory_delete_policy(rig.directory, &alice, "own", &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_FAILS(directory_inline_text(rig.directory, &alice, "own", &text, &err), err,
                KMS_ERR_NOT_FOUND);
    directory_rig_restart(&rig);
    CHECK(!allows(alice, "kms:Decrypt"));
}

static void test_inline_refuses(void **state)
{
    static const char *const bad_names[] = { "", "a b", "a/b", "\xc3\xa4" };
    static const char *const bad_texts[] = { "", "{}", "[]", TRUST("*"),
                                             "{\"Version\":\"2012-10-17\"}" };
    char longest[POLICY_NAME_MAX + 2];
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_names); i++)
        CHECK_FAILS(put(ALICE, bad_names[i], ALLOW("*", "*"), &err), err, KMS_ERR_VALIDATION);
    for (size_t i = 0; i < ARRAY_LEN(bad_texts); i++)
        CHECK_FAILS(put(ALICE, "p", bad_texts[i], &err), err, KMS_ERR_MALFORMED_POLICY);
    memset(longest, 'p', sizeof(longest));
    longest[POLICY_NAME_MAX + 1] = '\0';
    CHECK_FAILS(put(ALICE, longest, ALLOW("*", "*"), &err), err, KMS_ERR_VALIDATION);
    longest[POLICY_NAME_MAX] = '\0';
    CHECK(!allows(ALICE, "kms:Encrypt"));
    CHECK_OK(put(ALICE, longest, ALLOW("*", "*"), &err), err);
    directory_rig_restart(&rig);
}

static void test_inline_sizes_without_white_space(void **state)
{
    const struct {
        struct identity_name name;
        size_t most;
    } rows[] = { { ALICE, INLINE_USER_MAX }, { APP, INLINE_ROLE_MAX } };
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(buf) whole = { 0 };
        AUTO(buf) more = { 0 };
        AUTO(buf) half = { 0 };
        padded(rows[i].most, &whole);
        padded(rows[i].most + 1, &more);
        padded(rows[i].most / 2, &half);
        CHECK_FAILS(put(rows[i].name, "a", (char *)more.ptr, &err), err, KMS_ERR_LIMIT_EXCEEDED);
        CHECK_OK(put(rows[i].name, "a", (char *)whole.ptr, &err), err);
        CHECK_FAILS(put(rows[i].name, "b", (char *)half.ptr, &err), err, KMS_ERR_LIMIT_EXCEEDED);
        CHECK_OK(put(rows[i].name, "a", (char *)half.ptr, &err), err);
        CHECK_OK(put(rows[i].name, "b", (char *)half.ptr, &err), err);
        CHECK_FAILS(put(rows[i].name, "c", ALLOW("*", "*"), &err), err, KMS_ERR_LIMIT_EXCEEDED);
    }
    directory_rig_restart(&rig);
}

/* --- managed ---------------------------------------------------------------------------------- */

static void test_managed_change_reaches_those_who_have_it(void **state)
{
    char arn[IDENTITY_ARN_MAX];
    struct kms_error err = { 0 };

    (void)state;
    rig_user(&rig, RIG_OWNER, "bob");
    CHECK_OK(put_managed("Use", ALLOW("kms:Encrypt", "*"), arn, &err), err);
    assert_string_equal(arn, "arn:aws:iam::" RIG_OWNER ":policy/Use");
    CHECK_OK(attach(ALICE, arn, &err), err);
    CHECK_OK(attach(APP, arn, &err), err);
    CHECK_OK(attach(APP, arn, &err), err); /* again: nothing to do */
    CHECK(allows(ALICE, "kms:Encrypt") && allows(APP, "kms:Encrypt"));
    struct identity *const bob = directory_find(rig.directory, IDENTITY_USER, RIG_OWNER, "bob");

    const uint64_t generation = directory_generation(rig.directory);
    CHECK_OK(put_managed("Use", ALLOW("kms:Decrypt", "*"), arn, &err), err);
    CHECK(directory_generation(rig.directory) > generation);
    CHECK(!allows(ALICE, "kms:Encrypt") && allows(ALICE, "kms:Decrypt"));
    CHECK(!allows(APP, "kms:Encrypt") && allows(APP, "kms:Decrypt"));
    struct identity *const bob_now = directory_find(rig.directory, IDENTITY_USER, RIG_OWNER, "bob");
    CHECK(bob_now == bob); /* untouched */
    identity_unref(bob);
    identity_unref(bob_now);
    directory_rig_restart(&rig);
    CHECK(allows(ALICE, "kms:Decrypt") && allows(APP, "kms:Decrypt"));

    CHECK_FAILS(directory_delete_managed(rig.directory, arn, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(detach(ALICE, arn, &err), err);
    CHECK(!allows(ALICE, "kms:Decrypt"));
    CHECK_FAILS(detach(ALICE, arn, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(directory_delete_managed(rig.directory, arn, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(detach(APP, arn, &err), err);
    CHECK_OK(directory_delete_managed(rig.directory, arn, &err), err);
    CHECK_FAILS(directory_delete_managed(rig.directory, arn, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(attach(ALICE, arn, &err), err, KMS_ERR_NOT_FOUND);
    directory_rig_restart(&rig);
}

static void test_managed_names_paths_and_sizes(void **state)
{
    char arn[IDENTITY_ARN_MAX] = "untouched", other[IDENTITY_ARN_MAX];
    struct directory *const directory = rig.directory;
    struct kms_error err = { 0 };
    AUTO(buf) whole = { 0 };
    AUTO(buf) more = { 0 };

    (void)state;
    CHECK_FAILS(put_managed("a b", ALLOW("*", "*"), arn, &err), err, KMS_ERR_VALIDATION);
    CHECK_FAILS(put_managed("p", "{}", arn, &err), err, KMS_ERR_MALFORMED_POLICY);
    CHECK_FAILS(
        directory_put_managed(directory, "777788889999", NULL, "p", ALLOW("*", "*"), arn, &err),
        err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(
        directory_put_managed(directory, "aws", NULL, "AdministratorAccess", DENY_ALL, arn, &err),
        err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(directory_put_managed(directory, RIG_OWNER, "x/", "p", ALLOW("*", "*"), arn, &err),
                err, KMS_ERR_VALIDATION);
    padded(MANAGED_POLICY_MAX + 1, &more);
    CHECK_FAILS(put_managed("p", (char *)more.ptr, arn, &err), err, KMS_ERR_LIMIT_EXCEEDED);
    assert_string_equal(arn, "untouched");

    padded(MANAGED_POLICY_MAX, &whole);
    CHECK_OK(directory_put_managed(directory, RIG_OWNER, "/x/", "p", (char *)whole.ptr, arn, &err),
             err);
    assert_string_equal(arn, "arn:aws:iam::" RIG_OWNER ":policy/x/p");
    CHECK_OK(put_managed("p", ALLOW("*", "*"), other, &err), err); /* its path is known */
    assert_string_equal(other, arn);
    CHECK_FAILS(put_managed("P", ALLOW("*", "*"), other, &err), err, KMS_ERR_ALREADY_EXISTS);
    CHECK_FAILS(
        directory_put_managed(directory, RIG_OWNER, "/y/", "p", ALLOW("*", "*"), other, &err), err,
        KMS_ERR_ALREADY_EXISTS);
    CHECK_OK(directory_put_managed(directory, RIG_TENANT, "/", "P", ALLOW("*", "*"), other, &err),
             err);
    CHECK_FAILS(attach(ALICE, other, &err), err, KMS_ERR_NOT_FOUND); /* another account's */
    CHECK_FAILS(bound(ALICE, other, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(directory_remove_account(directory, RIG_TENANT, &err), err, KMS_ERR_CONFLICT);
    directory_rig_restart(&rig);
}

static void test_builtin_policies(void **state)
{
    static const char *const arns[] = { ADMINISTRATOR_POLICY, POWER_USER_POLICY };
    struct kms_error err = { 0 };
    struct policy *policy = NULL;
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(arns); i++) {
        CHECK_OK(directory_managed_policy(rig.directory, arns[i], &policy, &len, &err), err);
        CHECK(len > 0);
        policy_unref(policy);
        CHECK_FAILS(directory_delete_managed(rig.directory, arns[i], &err), err, KMS_ERR_CONFLICT);
    }
    CHECK_FAILS(directory_managed_policy(rig.directory, "arn:aws:iam::aws:policy/Other", &policy,
                                         &len, &err),
                err, KMS_ERR_NOT_FOUND);
    CHECK_OK(attach(ALICE, POWER_USER_POLICY, &err), err);
    CHECK(allows(ALICE, "kms:DescribeKey") && allows(ALICE, "kms:TagResource"));
    CHECK(!allows(ALICE, "kms:Decrypt") && !allows(ALICE, "kms:PutKeyPolicy"));
    CHECK_OK(attach(ALICE, ADMINISTRATOR_POLICY, &err), err);
    CHECK(allows(ALICE, "kms:Decrypt") && allows(ALICE, "kms:PutKeyPolicy"));
    directory_rig_restart(&rig);
    CHECK(allows(ALICE, "kms:Decrypt"));
}

static void test_attached_limit(void **state)
{
    char arn[IDENTITY_ARN_MAX], name[16];
    struct kms_error err = { 0 };

    (void)state;
    for (int i = 0; i <= ATTACHED_POLICIES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "p%d", i);
        CHECK_OK(put_managed(name, ALLOW("kms:Encrypt", "*"), arn, &err), err);
        if (i < ATTACHED_POLICIES_MAX)
            CHECK_OK(attach(ALICE, arn, &err), err);
    }
    CHECK_FAILS(attach(ALICE, arn, &err), err, KMS_ERR_LIMIT_EXCEEDED);
    CHECK_OK(detach(ALICE, "arn:aws:iam::" RIG_OWNER ":policy/p7", &err), err);
    CHECK_OK(attach(ALICE, arn, &err), err);
    directory_rig_restart(&rig);
}

static void test_boundary(void **state)
{
    char arn[IDENTITY_ARN_MAX];
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(put(ALICE, "own", ALLOW("kms:*", "*"), &err), err);
    CHECK_OK(put_managed("Edge", ALLOW("kms:Encrypt", "*"), arn, &err), err);
    CHECK_OK(bound(ALICE, arn, &err), err);
    CHECK(allows(ALICE, "kms:Encrypt") && !allows(ALICE, "kms:Decrypt"));
    CHECK_FAILS(directory_delete_managed(rig.directory, arn, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(put_managed("Edge", ALLOW("kms:Decrypt", "*"), arn, &err), err);
    CHECK(!allows(ALICE, "kms:Encrypt") && allows(ALICE, "kms:Decrypt"));
    CHECK_OK(attach(ALICE, arn, &err), err); /* both at once */
    CHECK_OK(put_managed("Edge", ALLOW("kms:Sign", "*"), arn, &err), err);
    CHECK(allows(ALICE, "kms:Sign") && !allows(ALICE, "kms:Decrypt"));
    CHECK_OK(detach(ALICE, arn, &err), err);
    directory_rig_restart(&rig);
    CHECK(allows(ALICE, "kms:Sign") && !allows(ALICE, "kms:Encrypt"));
    CHECK_FAILS(bound(ALICE, "arn:aws:iam::" RIG_OWNER ":policy/None", &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_OK(bound(ALICE, NULL, &err), err);
    CHECK(allows(ALICE, "kms:Encrypt"));
    CHECK_OK(directory_delete_managed(rig.directory, arn, &err), err);
    directory_rig_restart(&rig);
}

/* --- trust ------------------------------------------------------------------------------------ */

static int set_trust(const char *text, struct kms_error *err)
{
    return directory_set_trust(rig.directory, RIG_OWNER, "app", text, err);
}

static void test_trust_pins_who_was_meant(void **state)
{
    const struct identity_name alice = ALICE;
    struct kms_error err = { 0 };

    (void)state;
    CHECK(!rig_trusts(&rig, RIG_OWNER, "app", RIG_OWNER, "alice")); /* the account, not her */
    CHECK_OK(set_trust(TRUST(USER_ARN), &err), err);
    CHECK(rig_trusts(&rig, RIG_OWNER, "app", RIG_OWNER, "alice"));
    directory_rig_restart(&rig);
    CHECK(rig_trusts(&rig, RIG_OWNER, "app", RIG_OWNER, "alice"));

    CHECK_OK(directory_delete(rig.directory, &alice, false, &err), err);
    directory_rig_restart(&rig); /* a policy that names somebody who is gone still loads */
    rig_user(&rig, RIG_OWNER, "alice");
    CHECK(!rig_trusts(&rig, RIG_OWNER, "app", RIG_OWNER, "alice"));
    directory_rig_restart(&rig);
    CHECK(!rig_trusts(&rig, RIG_OWNER, "app", RIG_OWNER, "alice"));
    CHECK_OK(set_trust(TRUST(USER_ARN), &err), err); /* said again: now she is meant */
    CHECK(rig_trusts(&rig, RIG_OWNER, "app", RIG_OWNER, "alice"));
}

static void test_trust_of_oneself_and_other_accounts(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    rig_role(&rig, RIG_OWNER, "self", TRUST("arn:aws:iam::" RIG_OWNER ":role/self"));
    CHECK_OK(directory_set_trust(rig.directory, RIG_OWNER, "self",
                                 TRUST("arn:aws:sts::" RIG_OWNER ":assumed-role/self/one"), &err),
             err);
    rig_user(&rig, RIG_TENANT, "bob");
    CHECK_OK(set_trust(TRUST("arn:aws:iam::" RIG_TENANT ":user/bob"), &err), err);
    CHECK(rig_trusts(&rig, RIG_OWNER, "app", RIG_TENANT, "bob"));
    CHECK(!rig_trusts(&rig, RIG_OWNER, "app", RIG_OWNER, "alice"));
    CHECK_OK(set_trust(TRUST("arn:aws:iam::777788889999:user/anybody"), &err), err);
    directory_rig_restart(&rig);
    CHECK_OK(directory_remove_account(rig.directory, "777788889999", &err), err);
    directory_rig_restart(&rig); /* an account that is gone still loads */
}

static void test_trust_refuses(void **state)
{
    static const char *const unknown[] = {
        TRUST("arn:aws:iam::" RIG_OWNER ":user/nobody"),
        TRUST("arn:aws:iam::" RIG_OWNER ":user/Alice"),
        TRUST("arn:aws:iam::" RIG_OWNER ":user/x/alice"),
        TRUST("arn:aws:iam::" RIG_OWNER ":role/alice"),
        TRUST("arn:aws:sts::" RIG_OWNER ":assumed-role/nobody/s"),
        TRUST("arn:aws:iam::000011112222:user/alice"),
        TRUST("000011112222"),
        TRUST("arn:aws:iam::000011112222:root"),
        TRUST("alice"),
        ALLOW("sts:AssumeRole", "*"),
        "",
    };
    struct kms_error err = { 0 };
    AUTO(buf) before = { 0 };
    AUTO(buf) after = { 0 };
    AUTO(buf) text = { 0 };

    (void)state;
    directory_rig_dump(&rig, &before);
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        CHECK_FAILS(set_trust(unknown[i], &err), err, KMS_ERR_MALFORMED_POLICY);
    padded(TRUST_POLICY_MAX + 1, &text);
    CHECK_FAILS(set_trust((char *)text.ptr, &err), err, KMS_ERR_LIMIT_EXCEEDED);
    directory_rig_dump(&rig, &after);
    CHECK_SPAN(buf_span(&after), buf_span(&before));
}

/* --- the book --------------------------------------------------------------------------------- */

static void test_book(void **state)
{
    static const struct {
        const char *arn;
        enum principal_found expected;
    } rows[] = {
        { RIG_OWNER, PRINCIPAL_ACCEPTED },
        { RIG_TENANT, PRINCIPAL_ACCEPTED },
        { "777788889999", PRINCIPAL_ACCEPTED },
        { "000011112222", PRINCIPAL_UNKNOWN },
        { "arn:aws:iam::" RIG_OWNER ":root", PRINCIPAL_ACCEPTED },
        { USER_ARN, PRINCIPAL_PINNED },
        { "arn:aws:iam::" RIG_OWNER ":role/app", PRINCIPAL_PINNED },
        { "arn:aws:sts::" RIG_OWNER ":assumed-role/app/s", PRINCIPAL_PINNED },
        { "arn:aws:iam::" RIG_OWNER ":user/app", PRINCIPAL_UNKNOWN },
        { "arn:aws:iam::" RIG_TENANT ":user/alice", PRINCIPAL_UNKNOWN },
        { "arn:aws:iam::777788889999:user/whoever", PRINCIPAL_ACCEPTED },
        { "arn:aws:iam::000011112222:user/alice", PRINCIPAL_UNKNOWN },
        { "", PRINCIPAL_UNKNOWN },
    };
    const struct principal_book book = directory_book(rig.directory);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char id[UNIQUE_ID_LEN + 1] = "";
        if (book.find(book.ctx, span_text(rows[i].arn), id) != rows[i].expected)
            fail_msg("%s", rows[i].arn);
        struct identity *const who = directory_get(rig.directory, id);
        CHECK((who != NULL) == (rows[i].expected == PRINCIPAL_PINNED));
        identity_unref(who);
    }
}

/* --- root ------------------------------------------------------------------------------------- */

static int set_root(bool enabled, int64_t until_ms, struct kms_error *err)
{
    return directory_set_root(rig.directory, RIG_OWNER, enabled, until_ms, err);
}

static void test_root_goes_only_when_somebody_else_administers(void **state)
{
    static const struct {
        const char *policy;
        bool enough;
    } rows[] = {
        { ALLOW("kms:*", "*"), true },
        { ALLOW("*", "*"), true },
        { ALLOW("kms:Decrypt", "*"), false },
        { ALLOW("kms:*", "arn:aws:kms:us-east-1:" RIG_OWNER ":key/one"), false },
        { ALLOW("sts:*", "*"), false },
        { DENY_ALL, false },
    };
    const struct identity_name alice = ALICE;
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_OK(put(alice, "p", rows[i].policy, &err), err);
        if (!rows[i].enough) {
            CHECK_FAILS(set_root(false, 0, &err), err, KMS_ERR_CONFLICT);
            CHECK_FAILS(set_root(true, rig.clock.fixed_ms + 1, &err), err, KMS_ERR_CONFLICT);
            continue;
        }
        CHECK_OK(set_root(false, 0, &err), err);
        CHECK(!directory_root_enabled(rig.directory, RIG_OWNER));
        directory_rig_restart(&rig);
        CHECK(!directory_root_enabled(rig.directory, RIG_OWNER));
        CHECK_OK(set_root(true, 0, &err), err);
        CHECK(directory_root_enabled(rig.directory, RIG_OWNER));
    }
    CHECK_OK(put(alice, "p", ALLOW("kms:*", "*"), &err), err);
    CHECK_OK(put(alice, "deny", DENY_ALL, &err), err);
    CHECK_FAILS(set_root(false, 0, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(directory_delete_policy(rig.directory, &alice, "deny", &err), err);
    CHECK_OK(bound(alice, POWER_USER_POLICY, &err), err);
    CHECK_FAILS(set_root(false, 0, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(bound(alice, NULL, &err), err);
    CHECK_OK(directory_set_enabled(rig.directory, &alice, false, &err), err);
    CHECK_FAILS(set_root(false, 0, &err), err, KMS_ERR_CONFLICT);
    CHECK_OK(attach(APP, ADMINISTRATOR_POLICY, &err), err); /* a role will do */
    CHECK_OK(set_root(false, 0, &err), err);
}

static void test_root_break_glass_ends_by_the_clock(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(attach(ALICE, ADMINISTRATOR_POLICY, &err), err);
    CHECK_OK(set_root(false, 0, &err), err);
    CHECK_OK(detach(ALICE, ADMINISTRATOR_POLICY, &err), err); /* nobody is left */
    CHECK_FAILS(set_root(true, rig.clock.fixed_ms, &err), err, KMS_ERR_VALIDATION);
    CHECK_OK(set_root(true, rig.clock.fixed_ms + 1000, &err), err);
    CHECK(directory_root_enabled(rig.directory, RIG_OWNER));
    directory_rig_restart(&rig);
    rig.clock.fixed_ms += 999;
    CHECK(directory_root_enabled(rig.directory, RIG_OWNER));
    rig.clock.fixed_ms += 1;
    CHECK(!directory_root_enabled(rig.directory, RIG_OWNER));
    directory_rig_restart(&rig);
    CHECK(!directory_root_enabled(rig.directory, RIG_OWNER));
}

static void test_root_of_others(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    CHECK_FAILS(directory_set_root(rig.directory, "777788889999", true, 0, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_FAILS(directory_set_root(rig.directory, "000011112222", true, 0, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_OK(attach(ALICE, ADMINISTRATOR_POLICY, &err), err); /* of another account */
    CHECK_FAILS(directory_set_root(rig.directory, RIG_TENANT, false, 0, &err), err,
                KMS_ERR_CONFLICT);
    CHECK(directory_root_enabled(rig.directory, RIG_TENANT));
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inline_put_replace_delete),
        TEST(test_inline_refuses),
        TEST(test_inline_sizes_without_white_space),
        TEST(test_managed_change_reaches_those_who_have_it),
        TEST(test_managed_names_paths_and_sizes),
        TEST(test_builtin_policies),
        TEST(test_attached_limit),
        TEST(test_boundary),
        TEST(test_trust_pins_who_was_meant),
        TEST(test_trust_of_oneself_and_other_accounts),
        TEST(test_trust_refuses),
        TEST(test_book),
        TEST(test_root_goes_only_when_somebody_else_administers),
        TEST(test_root_break_glass_ends_by_the_clock),
        TEST(test_root_of_others),
    };
    return run_group(tests, ARRAY_LEN(tests), directory_rig_up, directory_rig_down, &rig);
}
