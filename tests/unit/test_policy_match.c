/*
 * What statements name: actions, resources, variables; and how an answer explains itself.
 * Source: AWS IAM User Guide, IAM JSON policy elements reference; Variables and tags.
 */

#include <stdio.h>

#include "hsmkms/base/buf.h"
#include "tests/support/policy_rig.h"

/* -- resources of identity policies -- */

static const struct condition_pair tags[] = {
    { "kind", "key" }, { "star", "*" }, { "slash", "key/1" }, { "two", "a" }, { "TWO", "b" }
};

/* Does a statement with these members apply to a request for the resource? */
static bool names_resource(const char *effect, const char *members, const char *resource)
{
    struct policy_context context = { 0 };
    char text[1024];

    (void)snprintf(text, sizeof(text),
                   "{`Version`:`2012-10-17`,`Statement`:{`Effect`:`%s`,`Action`:`*`,%s}}", effect,
                   members);
    struct policy *const policy = compile_ok(POLICY_IDENTITY, text);
    context_set_family(&context, FAMILY_PRINCIPAL_TAG, tags, ARRAY_LEN(tags));
    const struct policy_question question = { .caller = &alice,
                                              .action = action_row("kms:Decrypt"),
                                              .resource = resource,
                                              .context = &context };
    struct policy_answer allow, deny;
    policy_ask_allow(policy, &question, &allow);
    policy_ask_deny(policy, &question, &deny);
    policy_unref(policy);
    return allow.allowed == STRENGTH_DIRECT || deny.denied;
}

static const struct {
    const char *members, *resource;
    bool allow, deny;
} resource_rows[] = {
    /* clang-format off */
    { "`Resource`:`*`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`*`", "*", true, true },
    { "`Resource`:`arn:aws:kms:*:*:*`", "*", false, false },
    { "`Resource`:`arn:aws:kms:r:1:key/1`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:key/1`", "arn:aws:kms:r:1:key/12", false, false },
    { "`Resource`:`arn:aws:kms:r:1:KEY/1`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:`arn:aws:kms:*:1:key/*`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws*:r:1:key/1:x`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:`arn:aws:kms:r*:*:*:key/1`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:`arn:aws:kms:?:?:key/?`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:*`", "arn:aws:kms:r:1:a:b:c", true, true },
    { "`Resource`:`arn:aws:kms:r:1:a:*:c`", "arn:aws:kms:r:1:a:b:c", true, true },
    { "`Resource`:`arn:aws:kms:r:1:alias/*`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:[`arn:aws:s3:::x`,`arn:aws:kms:r:1:key/1`]", "arn:aws:kms:r:1:key/1", true, true },
    { "`NotResource`:`*`", "arn:aws:kms:r:1:key/1", false, false },
    { "`NotResource`:`arn:aws:s3:::*`", "arn:aws:kms:r:1:key/1", true, true },
    { "`NotResource`:[`arn:aws:s3:::*`,`arn:aws:kms:r:1:key/*`]", "arn:aws:kms:r:1:key/1", false, false },
    { "`NotResource`:`arn:aws:kms:r:1:key/*`", "*", true, true },

    /* variables */
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/kind}/1`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${AWS:principaltag/KIND}/*`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/slash}`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/star}`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/star}`", "arn:aws:kms:r:1:*", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${*}`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:`arn:aws:kms:r:1:${*}${?}${$}`", "arn:aws:kms:r:1:*?$", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/none}`", "arn:aws:kms:r:1:", false, false },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/none, 'key'}/1`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/none, '*'}`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/none,''}key/1`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/kind, 'x'}/1`", "arn:aws:kms:r:1:key/1", true, true },
    { "`Resource`:`arn:aws:kms:r:1:${aws:TagKeys}`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:`arn:aws:kms:r:1:${aws:PrincipalTag/two}`", "arn:aws:kms:r:1:a", false, false },
    { "`Resource`:`arn:aws:kms:r:1:${nobody:knows}`", "arn:aws:kms:r:1:key/1", false, false },
    { "`Resource`:[`arn:aws:kms:r:1:${nobody:knows}`,`*`]", "arn:aws:kms:r:1:key/1", true, true },
    /* without a value: not let through either way */
    { "`NotResource`:`arn:aws:kms:r:1:${nobody:knows}`", "arn:aws:kms:r:1:key/1", false, true },
    { "`NotResource`:[`arn:aws:kms:r:1:${nobody:knows}`,`*`]", "arn:aws:kms:r:1:key/1", false, false },
    { "`NotResource`:`arn:aws:kms:r:1:${aws:PrincipalTag/kind}/2`", "arn:aws:kms:r:1:key/1", true, true },
    /* clang-format on */
};

static void test_policy_resources(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(resource_rows); i++)
        if (names_resource("Allow", resource_rows[i].members, resource_rows[i].resource) !=
                resource_rows[i].allow ||
            names_resource("Deny", resource_rows[i].members, resource_rows[i].resource) !=
                resource_rows[i].deny)
            fail_msg("%s against %s", resource_rows[i].members, resource_rows[i].resource);
}

/* In a key policy "*" is the key, and its own ARN; nothing else is looked at. */
static void test_policy_resources_of_a_key(void **state)
{
    static const struct {
        const char *members;
        bool expected;
    } rows[] = {
        { ",`Resource`:`*`", true },
        { ",`Resource`:`" KEY_ARN "`", true },
        { ",`Resource`:[`arn:aws:s3:::x`,`" KEY_ARN "`]", true },
        { ",`Resource`:`arn:aws:kms:*:*:key/*`", false },
        { ",`Resource`:`arn:aws:kms:eu-central-1:" A_ID ":alias/x`", false },
        { ",`NotResource`:`arn:aws:s3:::x`", true },
        { ",`NotResource`:`" KEY_ARN "`", false },
        { ",`NotResource`:`*`", false },
        { "", false },
    };
    const struct policy_context context = { 0 };
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)snprintf(text, sizeof(text),
                       "{`Statement`:{`Effect`:`Allow`,`Principal`:`*`,`Action`:`*`%s}}",
                       rows[i].members);
        struct policy *const policy = compile_ok(POLICY_KEY, text);
        if ((ask_allow(policy, &alice, &context).allowed == STRENGTH_DIRECT) != rows[i].expected)
            fail_msg("%s", rows[i].members);
        policy_unref(policy);
    }
}

/* A statement of a key policy without Action or with NotAction. */
static void test_policy_actions(void **state)
{
    static const struct {
        const char *members;
        bool expected;
    } rows[] = {
        { ",`Action`:`kms:Decrypt`", true },
        { ",`Action`:[`kms:Encrypt`,`KMS:DECRYPT`]", true },
        { ",`Action`:`kms:Encrypt`", false },
        { ",`Action`:`kms:Decrypted`", false },
        { ",`NotAction`:`kms:Encrypt`", true },
        { ",`NotAction`:`s3:*`", true },
        { ",`NotAction`:[`s3:*`,`kms:De*`]", false },
        { ",`NotAction`:`*`", false },
        { "", false },
    };
    const struct policy_context context = { 0 };
    char text[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)snprintf(text, sizeof(text),
                       "{`Statement`:{`Effect`:`Deny`,`Principal`:`*`,`Resource`:`*`%s}}",
                       rows[i].members);
        struct policy *const policy = compile_ok(POLICY_KEY, text);
        if (ask_deny(policy, &alice, &context).denied != rows[i].expected)
            fail_msg("%s", rows[i].members);
        CHECK(ask_allow(policy, &alice, &context).allowed == STRENGTH_NONE);
        policy_unref(policy);
    }
}

/* -- variables in conditions -- */

static void test_policy_variables(void **state)
{
    static const struct {
        const char *version, *condition;
        bool expected;
    } rows[] = {
        /* clang-format off */
        { "2012-10-17", "`StringEquals`:{`aws:UserAgent`:`${aws:username}`}", true },
        { "2012-10-17", "`StringEquals`:{`aws:UserAgent`:`${ AWS:UserName }`}", true },
        { "2008-10-17", "`StringEquals`:{`aws:UserAgent`:`${aws:username}`}", false },
        { "2008-10-17", "`StringEquals`:{`aws:Referer`:`${aws:username}`}", true },
        { "2012-10-17", "`StringEquals`:{`aws:Referer`:`${aws:username}`}", false },
        { "2012-10-17", "`StringEquals`:{`aws:Referer`:`${$}{aws:username}`}", true },
        { "2012-10-17", "`StringNotEquals`:{`aws:UserAgent`:`${aws:username}`}", false },
        { "2012-10-17", "`StringNotEquals`:{`aws:UserAgent`:`${aws:SourceIdentity}`}", true },
        { "2012-10-17", "`StringEquals`:{`aws:UserAgent`:[`${aws:SourceIdentity}`,`alice`]}", true },
        { "2012-10-17", "`StringNotEquals`:{`aws:UserAgent`:[`${aws:SourceIdentity}`,`alice`]}", false },
        { "2012-10-17", "`StringEquals`:{`aws:UserAgent`:`${aws:TagKeys}`}", false },
        { "2012-10-17", "`StringEquals`:{`aws:UserAgent`:`${aws:TagKeys, 'alice'}`}", true },
        { "2012-10-17", "`StringEquals`:{`aws:UserAgent`:`${aws:PrincipalTag/two, 'alice'}`}", true },
        { "2012-10-17", "`StringLike`:{`aws:UserAgent`:`${aws:PrincipalTag/star}`}", false },
        { "2012-10-17", "`StringLike`:{`aws:UserAgent`:`al${*}`}", false },
        { "2012-10-17", "`StringLike`:{`aws:UserAgent`:`${aws:PrincipalTag/none, 'al'}*`}", true },
        { "2012-10-17", "`StringEqualsIgnoreCase`:{`aws:UserAgent`:`A${aws:PrincipalTag/none,'LICE'}`}", true },
        { "2012-10-17", "`Bool`:{`aws:SecureTransport`:`${aws:ViaAWSService}`}", true },
        { "2012-10-17", "`Bool`:{`aws:SecureTransport`:`${aws:username}`}", false },
        { "2012-10-17", "`ArnLike`:{`aws:PrincipalArn`:`arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}`}", true },
        { "2012-10-17", "`ArnLike`:{`aws:PrincipalArn`:`arn:aws:iam::${aws:username}:user/*`}", false },
        { "2012-10-17", "`ArnLike`:{`aws:PrincipalArn`:`${aws:PrincipalArn}`}", false }, /* one field */
        { "2012-10-17", "`ArnLike`:{`aws:PrincipalArn`:`arn:aws:iam:${no:thing, 'x:y'}:*:*`}", false },
        /* clang-format on */
    };
    struct policy_context context = { 0 };
    char text[512];

    (void)state;
    context_set(&context, AWS_USERNAME, "alice");
    context_set(&context, AWS_USER_AGENT, "alice");
    context_set(&context, AWS_REFERER, "${aws:username}");
    context_set(&context, AWS_PRINCIPAL_ARN, ALICE);
    context_set(&context, AWS_PRINCIPAL_ACCOUNT, A_ID);
    context_set(&context, AWS_SECURE_TRANSPORT, "TRUE");
    context_set_bool(&context, AWS_VIA_AWS_SERVICE, true);
    context_set_list(&context, AWS_TAG_KEYS, (const char *const[]){ "alice" }, 1);
    context_set_family(&context, FAMILY_PRINCIPAL_TAG, tags, ARRAY_LEN(tags));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)snprintf(text, sizeof(text),
                       "{`Version`:`%s`,`Statement`:{`Effect`:`Allow`,`Action`:`*`,`Resource`:`*`,"
                       "`Condition`:{%s}}}",
                       rows[i].version, rows[i].condition);
        struct policy *const policy = compile_ok(POLICY_IDENTITY, text);
        if ((ask_allow(policy, &alice, &context).allowed == STRENGTH_DIRECT) != rows[i].expected)
            fail_msg("%s", rows[i].condition);
        policy_unref(policy);
    }
}

/* Alias names are a matter of identity policies: key policies never see them. */
static void test_policy_aliases_in_key_policies(void **state)
{
    static const char form[] =
        "{`Statement`:{`Effect`:`Allow`,%s`Action`:`*`,`Resource`:`*`,`Condition`:{%s}}}";
    static const char any[] = "`ForAnyValue:StringEquals`:{`kms:ResourceAliases`:`alias/x`}";
    static const char missing[] = "`Null`:{`kms:ResourceAliases`:true}";
    const char *const aliases[] = { "alias/x" };
    struct policy_context context = { 0 };
    char text[512];

    (void)state;
    context_set_list(&context, KMS_RESOURCE_ALIASES, aliases, 1);
    for (int i = 0; i < 4; i++) {
        const bool key = i & 1, null = i & 2;
        (void)snprintf(text, sizeof(text), form, key ? "`Principal`:`*`," : "",
                       null ? missing : any);
        struct policy *const policy = compile_ok(key ? POLICY_KEY : POLICY_IDENTITY, text);
        CHECK((ask_allow(policy, &alice, &context).allowed == STRENGTH_DIRECT) == (key == null));
        policy_unref(policy);
    }
}

/* -- answers -- */

#define FOUR                                                                                       \
    "{`Statement`:["                                                                               \
    "{`Sid`:`Enc`,`Effect`:`Allow`,`Principal`:`*`,`Action`:`kms:Encrypt`,`Resource`:`*`},"        \
    "{`Effect`:`Allow`,`Principal`:{`AWS`:`" A_ID "`},`Action`:`*`,`Resource`:`*`},"               \
    "{`Sid`:`No`,`Effect`:`Deny`,`Principal`:{`AWS`:`" EVE "`},`Action`:`*`,`Resource`:`*`},"      \
    "{`Sid`:`Me`,`Effect`:`Allow`,`Principal`:{`AWS`:`" ALICE "`},`Action`:`*`,`Resource`:`*`,"    \
    "`Condition`:{`StringEquals`:{`kms:EncryptionContext:App`:`x`}}}]}"

/* The strongest statement that applies, by its place in the document. */
static void test_policy_answers(void **state)
{
    static const struct condition_pair app[] = { { "App", "x" } };
    struct policy *const policy = compile_ok(POLICY_KEY, FOUR);
    struct policy_context context = { 0 };
    struct policy_answer answer;

    (void)state;
    answer = ask_allow(policy, &alice, &context);
    CHECK(answer.allowed == STRENGTH_ACCOUNT && answer.statement == 1 && answer.sid == NULL);
    context_set_family(&context, FAMILY_ENCRYPTION_CONTEXT, app, 1);
    answer = ask_allow(policy, &alice, &context);
    CHECK(answer.allowed == STRENGTH_DIRECT && answer.statement == 3);
    assert_string_equal(answer.sid, "Me");
    answer = ask_deny(policy, &alice, &context);
    CHECK(!answer.denied && answer.statement == -1 && answer.sid == NULL && !answer.broken);
    answer = ask_deny(policy, &eve, &context);
    CHECK(answer.denied && answer.statement == 2);
    assert_string_equal(answer.sid, "No");
    answer = ask_allow(policy, &eve, &context);
    CHECK(answer.allowed == STRENGTH_NONE && answer.statement == -1);
    policy_unref(policy);
}

static void note(void *arg, const char *where, const char *what)
{
    buf_printf(arg, "%s: %s\n", where, what);
}

static void test_policy_trace(void **state)
{
    static const char expected[] =
        "Statement 3 (No): does not name the caller\n"
        "Statement 1 (Enc): does not name the action\n"
        "Statement 2: applies: Allow\n"
        "Statement 4 (Me): condition StringEquals kms:EncryptionContext:App does not hold\n";
    struct policy *const policy = compile_ok(POLICY_KEY, FOUR);
    const struct policy_context context = { 0 };
    AUTO(buf) told = { 0 };
    const struct policy_question question = { .caller = &alice,
                                              .action = action_row("kms:Decrypt"),
                                              .resource = KEY_ARN,
                                              .context = &context,
                                              .trace = note,
                                              .trace_arg = &told };
    struct policy_answer answer;

    (void)state;
    policy_ask_deny(policy, &question, &answer);
    policy_ask_allow(policy, &question, &answer);
    CHECK_SPAN(buf_span(&told), span_text(expected));
    policy_unref(policy);
}

/* Who holds a reference keeps the policy. */
static void test_policy_references(void **state)
{
    struct policy *const policy = compile_ok(POLICY_KEY, FOUR);
    const struct policy_context context = { 0 };

    (void)state;
    policy_unref(NULL);
    CHECK(policy_ref(policy) == policy);
    policy_unref(policy);
    CHECK(ask_deny(policy, &eve, &context).denied);
    policy_unref(policy);
}

static void test_context_key_find(void **state)
{
    enum context_slot slot;
    enum context_family family;
    struct span rest;

    (void)state;
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        CHECK(context_key_find(span_text(context_keys[i].name), &slot, &family, &rest));
        CHECK(slot == (enum context_slot)i && family == FAMILY_COUNT);
    }
    CHECK(context_key_find(SPAN_LITERAL("KMS:ENCRYPTIONCONTEXT:a:B"), &slot, &family, &rest));
    CHECK(slot == SLOT_COUNT && family == FAMILY_ENCRYPTION_CONTEXT);
    CHECK_SPAN(rest, SPAN_LITERAL("a:B"));
    CHECK(!context_key_find(SPAN_LITERAL("kms:EncryptionContext:"), &slot, &family, &rest));
    CHECK(slot == SLOT_COUNT && family == FAMILY_COUNT);
    CHECK(!context_key_find(SPAN_LITERAL("aws:SourceVpc"), &slot, &family, &rest));
    CHECK(!context_key_find(SPAN_LITERAL(""), &slot, &family, &rest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_resources),
        cmocka_unit_test(test_policy_resources_of_a_key),
        cmocka_unit_test(test_policy_actions),
        cmocka_unit_test(test_policy_variables),
        cmocka_unit_test(test_policy_aliases_in_key_policies),
        cmocka_unit_test(test_policy_answers),
        cmocka_unit_test(test_policy_trace),
        cmocka_unit_test(test_policy_references),
        cmocka_unit_test(test_context_key_find),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
