/*
 * Principals of statements: which texts are some, whom a book pins them to, and how strongly each
 * names a caller.
 * Source: AWS IAM User Guide, AWS JSON policy elements: Principal.
 */

#include <stdio.h>

#include "hsmkms/base/buf.h"
#include "tests/support/policy_rig.h"

#define BAD_PRINCIPAL "Policy contains a statement with one or more invalid principals."
#define ANY           "`Action`:`*`,`Resource`:`*`"
#define KEY(members)  "{`Statement`:{`Effect`:`Allow`,`Action`:`kms:*`,`Resource`:`*`" members "}}"

static void check_refused(const char *text, struct kms_error *err, const char *message,
                          const char *detail)
{
    if (err->code != KMS_ERR_MALFORMED_POLICY || strcmp(err->message, message) != 0 ||
        strstr(err->detail, detail) == NULL)
        fail_msg("%s\n%s: '%s' '%s'", text, kms_err_name(err->code), err->message, err->detail);
}

/* Names that are no principals, beside one that is. */
static void test_policy_compile_principals(void **state)
{
    static const char *const bad[] = {
        "12345678901",
        "1234567890123",
        "11112222333a",
        IAM_A "user/",
        IAM_A "user/*",
        IAM_A "user/al?ce",
        IAM_A "user//alice",
        IAM_A "user/a b",
        IAM_A "group/admins",
        IAM_A "role/",
        IAM_A "Root",
        IAM_A "root/x",
        "arn:aws:iam::11112222333:root",
        "arn:aws:iam:eu-central-1:" A_ID ":user/alice",
        "arn:aws-cn:iam::" A_ID ":user/alice",
        "arn:aws:sts::" A_ID ":assumed-role/app",
        "arn:aws:sts::" A_ID ":assumed-role/a/b/c",
        "arn:aws:sts::" A_ID ":assumed-role/app/*",
        "arn:aws:sts::" A_ID ":federated-user/",
        "arn:aws:kms::" A_ID ":user/alice",
        "AIDA",
        "AIDAALICEAAAAAAAAAA",
        "AROAappaaaaaaaaaaaaa",
        "AKIAAAAAAAAAAAAAAAAA",
        "alice",
        "**",
        "arn:aws:iam::*:user/alice",
        IAM_A "user/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    static const char *const good[] = {
        IAM_A "user/a.b@c_d-e=f,g+h",
        IAM_A "user/x/y/alice",
        IAM_A "role/a",
        IAM_A "root",
        IAM_A "user/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad) + ARRAY_LEN(good); i++) {
        const bool is_good = i >= ARRAY_LEN(bad);
        struct policy *policy = NULL;
        struct kms_error err = { 0 };
        (void)snprintf(text, sizeof(text), KEY(",`Principal`:{`AWS`:[`*`,`%s`]}"),
                       is_good ? good[i - ARRAY_LEN(bad)] : bad[i]);
        const int made = compile(POLICY_KEY, NULL, text, &policy, &err);
        if ((made == 0) != is_good)
            fail_msg("%s", text);
        if (!is_good)
            check_refused(text, &err, BAD_PRINCIPAL, bad[i][0] ? "no principal" : "");
        policy_unref(policy);
    }
}

static void test_policy_compile_other_principals(void **state)
{
    static const struct {
        const char *family, *name;
        bool taken;
    } names[] = {
        { "Service", "s3.amazonaws.com", true },
        { "Service", "logs.eu-central-1.amazonaws.com", true },
        { "Service", "*", false },
        { "Service", "*.amazonaws.com", false },
        { "Service", ".amazonaws.com", false },
        { "Service", "S3.amazonaws.com", false },
        { "Service", "example.org", false },
        { "Federated", IAM_A "saml-provider/x", true },
        { "Federated", "accounts.google.com", true },
        { "Federated", "*", false },
        { "Federated", "a b", false },
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct policy *policy = NULL;
        struct kms_error err = { 0 };
        (void)snprintf(text, sizeof(text), KEY(",`Principal`:{`%s`:`%s`}"), names[i].family,
                       names[i].name);
        if ((compile(POLICY_KEY, NULL, text, &policy, &err) == 0) != names[i].taken)
            fail_msg("%s", text);
        if (policy)
            CHECK(ask_allow(policy, &alice, &(struct policy_context){ 0 }).allowed ==
                  STRENGTH_NONE);
        else
            check_refused(text, &err, BAD_PRINCIPAL, "no principal");
        policy_unref(policy);
    }
}

struct book {
    const char *name, *id; /* id NULL: accepted */
};

static enum principal_found find(void *ctx, struct span arn, char ret_id[UNIQUE_ID_LEN + 1])
{
    for (const struct book *entry = ctx; entry->name; entry++) {
        if (!span_equal(arn, span_text(entry->name)))
            continue;
        if (entry->id == NULL)
            return PRINCIPAL_ACCEPTED;
        memcpy(ret_id, entry->id, UNIQUE_ID_LEN + 1);
        return PRINCIPAL_PINNED;
    }
    return PRINCIPAL_UNKNOWN;
}

static void note_pair(void *arg, const char *first, const char *second)
{
    buf_printf(arg, "%s: %s\n", first, second);
}

/* As text, valid until the next call. */
static const char *pins_of(const struct policy *policy)
{
    static char text[1024];
    AUTO(buf) buf = { 0 };

    policy_pins(policy, note_pair, &buf);
    (void)snprintf(text, sizeof(text), "%.*s", (int)buf.len, buf.ptr ? (char *)buf.ptr : "");
    return text;
}

static void test_policy_compile_asks_the_book(void **state)
{
    static struct book entries[] = { { A_ID, NULL },
                                     { ALICE, "AIDAALICEAAAAAAAAAAA" },
                                     { APP, "AROAAPPAAAAAAAAAAAAA" },
                                     { SESSION, "AROAAPPAAAAAAAAAAAAA" },
                                     { EVE, NULL },
                                     { NULL, NULL } };
    static const struct {
        const char *name;
        bool known;
    } names[] = { { A_ID, true },
                  { IAM_A "root", true },
                  { ALICE, true },
                  { APP, true },
                  { SESSION, true },
                  { EVE, true },
                  { "*", true },
                  { "AIDAZZZZZZZZZZZZZZZZ", true },
                  { B_ID, false },
                  { IAM_A "user/bob", false },
                  { IAM_A "role/x", false },
                  { "arn:aws:sts::" A_ID ":assumed-role/x/s1", false } };
    const struct principal_book book = { find, entries };
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct policy *policy = NULL;
        struct kms_error err = { 0 };
        (void)snprintf(text, sizeof(text), KEY(",`Principal`:{`AWS`:`%s`}"), names[i].name);
        if ((compile(POLICY_KEY, &book, text, &policy, &err) == 0) != names[i].known)
            fail_msg("%s: %s", names[i].name, err.detail);
        if (!names[i].known)
            check_refused(text, &err, BAD_PRINCIPAL, "no principal");
        policy_unref(policy);
    }
}

/* The id counts, not the name: a namesake made later is not meant. */
static void test_policy_compile_pins(void **state)
{
    static struct book entries[] = { { ALICE, "AIDAOTHERALICEAAAAAA" },
                                     { APP, "AROAAPPAAAAAAAAAAAAA" },
                                     { SESSION, "AROAOTHERAPPAAAAAAAA" },
                                     { EVE, NULL },
                                     { NULL, NULL } };
    static const struct {
        const char *name;
        const struct principal *caller;
        enum strength pinned, by_name;
    } names[] = { { ALICE, &alice, STRENGTH_NONE, STRENGTH_DIRECT },
                  { APP, &app_s1, STRENGTH_ROLE, STRENGTH_ROLE },
                  { SESSION, &app_s1, STRENGTH_NONE, STRENGTH_DIRECT },
                  { EVE, &eve, STRENGTH_DIRECT, STRENGTH_DIRECT } };
    const struct principal_book book = { find, entries };
    const struct policy_context context = { 0 };
    struct kms_error err = { 0 };
    struct policy *policy = NULL;
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        (void)snprintf(text, sizeof(text), KEY(",`Principal`:{`AWS`:`%s`}"), names[i].name);
        CHECK_OK(compile(POLICY_KEY, &book, text, &policy, &err), err);
        assert_int_equal(ask_allow(policy, names[i].caller, &context).allowed, names[i].pinned);
        policy_unref(policy);
        policy = compile_ok(POLICY_KEY, text);
        assert_int_equal(ask_allow(policy, names[i].caller, &context).allowed, names[i].by_name);
        assert_string_equal(pins_of(policy), "");
        policy_unref(policy);
    }
    CHECK_OK(compile(POLICY_KEY, &book,
                     "{`Statement`:[{`Effect`:`Allow`," ANY ",`Principal`:{`AWS`:[`" ALICE "`,`" APP
                     "`,`" ALICE "`]}},{`Effect`:`Deny`," ANY ",`Principal`:{`AWS`:[`" EVE "`,`" APP
                     "`]}}]}",
                     &policy, &err),
             err);
    assert_string_equal(pins_of(policy),
                        APP ": AROAAPPAAAAAAAAAAAAA\n" ALICE ": AIDAOTHERALICEAAAAAA\n");
    policy_unref(policy);
}

static void test_policy_principals(void **state)
{
    static const struct {
        const char *names;
        enum strength alice, app_s1, root_a, eve;
    } rows[] = {
        /* clang-format off */
        { "`*`", STRENGTH_DIRECT, STRENGTH_DIRECT, STRENGTH_DIRECT, STRENGTH_DIRECT },
        { "`" A_ID "`", STRENGTH_ACCOUNT, STRENGTH_ACCOUNT, STRENGTH_DIRECT, STRENGTH_NONE },
        { "`" IAM_A "root`", STRENGTH_ACCOUNT, STRENGTH_ACCOUNT, STRENGTH_DIRECT, STRENGTH_NONE },
        { "`" ALICE "`", STRENGTH_DIRECT, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`" IAM_A "user/Alice`", STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`" IAM_A "user/x/alice`", STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`" IAM_A "role/alice`", STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`" APP "`", STRENGTH_NONE, STRENGTH_ROLE, STRENGTH_NONE, STRENGTH_NONE },
        { "`" IAM_A "role/app`", STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`" SESSION "`", STRENGTH_NONE, STRENGTH_DIRECT, STRENGTH_NONE, STRENGTH_NONE },
        { "`arn:aws:sts::" A_ID ":assumed-role/app/s2`", STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`AIDAALICEAAAAAAAAAAA`", STRENGTH_DIRECT, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`AROAAPPAAAAAAAAAAAAA`", STRENGTH_NONE, STRENGTH_ROLE, STRENGTH_NONE, STRENGTH_NONE },
        { "`AIDAZZZZZZZZZZZZZZZZ`", STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        { "`" A_ID "`,`" APP "`", STRENGTH_ACCOUNT, STRENGTH_ROLE, STRENGTH_DIRECT, STRENGTH_NONE },
        { "`" APP "`,`" SESSION "`,`" B_ID "`", STRENGTH_NONE, STRENGTH_DIRECT, STRENGTH_NONE, STRENGTH_ACCOUNT },
        { "`arn:aws:sts::" A_ID ":federated-user/alice`", STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE, STRENGTH_NONE },
        /* clang-format on */
    };
    static const char form[] = "{`Statement`:{`Effect`:`%s`,`Principal`:{`AWS`:[%s]},"
                               "`Action`:`*`,`Resource`:`*`}}";
    const struct policy_context context = { 0 };
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct principal *const callers[] = { &alice, &app_s1, &root_a, &eve };
        const enum strength expected[] = { rows[i].alice, rows[i].app_s1, rows[i].root_a,
                                           rows[i].eve };
        (void)snprintf(text, sizeof(text), form, "Allow", rows[i].names);
        struct policy *const allow = compile_ok(POLICY_KEY, text);
        (void)snprintf(text, sizeof(text), form, "Deny", rows[i].names);
        struct policy *const deny = compile_ok(POLICY_KEY, text);
        for (size_t j = 0; j < ARRAY_LEN(callers); j++)
            if (ask_allow(allow, callers[j], &context).allowed != expected[j] ||
                ask_deny(deny, callers[j], &context).denied != (expected[j] != STRENGTH_NONE))
                fail_msg("%s for %s", rows[i].names, callers[j]->arn);
        policy_unref(allow);
        policy_unref(deny);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_compile_principals),
        cmocka_unit_test(test_policy_compile_other_principals),
        cmocka_unit_test(test_policy_compile_asks_the_book),
        cmocka_unit_test(test_policy_compile_pins),
        cmocka_unit_test(test_policy_principals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
