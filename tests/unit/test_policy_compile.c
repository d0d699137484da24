/*
 * Writing policies: each refusal with a document that is taken and differs in that alone; limits,
 * warnings, and what happens when memory runs out.
 * Source: AWS IAM User Guide, Grammar of the IAM JSON policy language; AWS KMS API Reference,
 * PutKeyPolicy.
 */

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "hsmkms/base/buf.h"
#include "tests/support/policy_rig.h"

#define NO_PRINCIPAL  "Policy contains a statement with no principal."
#define BAD_PRINCIPAL "Policy contains a statement with one or more invalid principals."
#define OVER_PERMISSIVE                                                                            \
    "OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued "         \
    "condition key matches requests without the specified [encryption context or tag] or with an " \
    "unspecified [encryption context or tag]. To fix, remove ForAllValues."

#define ID(members)   "{`Statement`:{`Effect`:`Allow`," members "}}"
#define KEY(members)  "{`Statement`:{`Effect`:`Allow`,`Action`:`kms:*`,`Resource`:`*`" members "}}"
#define WHO           "`Principal`:`*`"
#define ANY           "`Action`:`*`,`Resource`:`*`"
#define IF(condition) ID(ANY ",`Condition`:" condition)
#define NEW(text)     "{`Version`:`2012-10-17`,`Statement`:{`Effect`:`Allow`,`Action`:`*`," text "}}"
#define TRUST(who)    "{`Statement`:{`Effect`:`Allow`,`Action`:`sts:*`" who "}}"

enum { I = POLICY_IDENTITY, K = POLICY_KEY, T = POLICY_TRUST };

/* message NULL: taken; else refused with it, and detail in the reason */
static const struct {
    int kind;
    const char *text, *message, *detail;
} rows[] = {
    /* clang-format off */
    /* the document */
    { I, ID(ANY), NULL, NULL },
    { I, " {`Statement` : [ {`Resource`:`*`,`Action`:`*`,`Effect`:`Allow`} ] }\n", NULL, NULL },
    { I, "", "", "not a JSON object" },
    { I, "[]", "", "not a JSON object" },
    { I, "7", "", "not a JSON object" },
    { I, ID(ANY) "x", "", "not a JSON object" },
    { I, "{`Statement`:{`Effect`:`Allow`,`Action`:`*`,`Resource`:`*`}", "", "not a JSON object" },
    { I, "{}", "", "no Statement" },
    { I, "{`Statement`:[]}", "", "no Statement" },
    { I, "{`Statement`:`x`}", "", "Statement 1: not an object" },
    { I, "{`Statement`:[{`Effect`:`Allow`," ANY "},[]]}", "", "Statement 2: not an object" },
    { I, "{`Statement`:null}", "", "not an object" },
    { I, "{`statement`:{`Effect`:`Allow`," ANY "}}", "", "unknown member 'statement'" },
    { I, "{`Comment`:1,`Statement`:{`Effect`:`Allow`," ANY "}}", "", "unknown member 'Comment'" },
    { I, "{`Version`:`2012-10-17`,`Statement`:{`Effect`:`Allow`," ANY "}}", NULL, NULL },
    { I, "{`Version`:`2008-10-17`,`Statement`:{`Effect`:`Allow`," ANY "}}", NULL, NULL },
    { I, "{`Version`:`2012-10-18`,`Statement`:{`Effect`:`Allow`," ANY "}}", "", "Version" },
    { I, "{`Version`:2012,`Statement`:{`Effect`:`Allow`," ANY "}}", "", "Version" },
    { I, "{`Version`:null,`Statement`:{`Effect`:`Allow`," ANY "}}", "", "Version" },
    { I, "{`Version`:`2008-10-17`,`Version`:`2008-10-17`,`Statement`:{`Effect`:`Allow`," ANY "}}", "", "duplicate" },
    { I, ID("`Action`:`*`,`Action`:`*`,`Resource`:`*`"), "", "duplicate" },
    { K, "{`Id`:`x`,`Statement`:{`Effect`:`Allow`," WHO "," ANY "}}", NULL, NULL },
    { T, "{`Id`:`x`,`Statement`:{`Effect`:`Allow`," WHO ",`Action`:`*`}}", NULL, NULL },
    { I, "{`Id`:`x`,`Statement`:{`Effect`:`Allow`," ANY "}}", "", "Id" },
    { K, "{`Id`:7,`Statement`:{`Effect`:`Allow`," WHO "," ANY "}}", "", "Id" },

    /* Sid */
    { I, ID("`Sid`:`Aa0`," ANY), NULL, NULL },
    { I, ID("`Sid`:``," ANY), NULL, NULL },
    { I, ID("`Sid`:`a b`," ANY), "", "Statement 1 (a b): Sid" },
    { I, ID("`Sid`:`a-b`," ANY), "", "Sid" },
    { I, ID("`Sid`:7," ANY), "", "Sid is not a text" },
    { K, ID("`Sid`:`Enable IAM User Permissions`," WHO "," ANY), NULL, NULL },
    { K, ID("`Sid`:`a_b`," WHO "," ANY), "", "Sid" },
    { T, ID("`Sid`:`a b`," WHO ",`Action`:`*`"), "", "Sid" },
    { I, "{`Statement`:[{`Sid`:`a`,`Effect`:`Allow`," ANY "},{`Sid`:`A`,`Effect`:`Deny`," ANY "}]}", NULL, NULL },
    { I, "{`Statement`:[{`Sid`:`a`,`Effect`:`Allow`," ANY "},{`Sid`:`a`,`Effect`:`Deny`," ANY "}]}", "", "Statement 2 (a): the same Sid twice" },
    { K, "{`Statement`:[{`Sid`:`a`,`Effect`:`Allow`," WHO "," ANY "},{`Sid`:`a`,`Effect`:`Deny`," WHO "," ANY "}]}", "", "twice" },

    /* Effect and members */
    { I, "{`Statement`:{" ANY "}}", "", "Effect" },
    { I, "{`Statement`:{`Effect`:`allow`," ANY "}}", "", "Effect" },
    { I, "{`Statement`:{`Effect`:true," ANY "}}", "", "Effect" },
    { I, ID("`effect`:`Deny`," ANY), "", "unknown member 'effect'" },
    { I, ID(ANY ",`Condition`:{}"), NULL, NULL },
    { I, ID(ANY ",`Condition`:[]"), "", "Condition is not an object" },
    { I, ID(ANY ",`Condition`:null"), "", "Condition is not an object" },

    /* Action */
    { I, ID("`NotAction`:[`kms:*`,`s3:Get?bject`],`Resource`:`*`"), NULL, NULL },
    { I, ID("`Action`:`application-autoscaling:*`,`Resource`:`*`"), NULL, NULL },
    { I, ID("`Action`:`k?s:De*t`,`Resource`:`*`"), NULL, NULL },
    { I, ID("`Action`:`kms:NoSuchAction`,`Resource`:`*`"), NULL, NULL },
    { I, ID("`Resource`:`*`"), "", "no Action" },
    { T, ID(WHO), "", "no Action" },
    { I, ID("`Action`:`*`,`NotAction`:`*`,`Resource`:`*`"), "", "both Action and NotAction" },
    { I, ID("`Action`:[],`Resource`:`*`"), "", "Action is an empty list" },
    { I, ID("`Action`:``,`Resource`:`*`"), "", "Action" },
    { I, ID("`Action`:[`*`,``],`Resource`:`*`"), "", "Action" },
    { I, ID("`Action`:[[`*`]],`Resource`:`*`"), "", "Action" },
    { I, ID("`Action`:7,`Resource`:`*`"), "", "Action" },
    { I, ID("`Action`:null,`Resource`:`*`"), "", "Action" },
    { I, ID("`Action`:{},`Resource`:`*`"), "", "Action" },
    { I, ID("`Action`:`**`,`Resource`:`*`"), "", "no action: '**'" },
    { I, ID("`Action`:`Decrypt`,`Resource`:`*`"), "", "no action: 'Decrypt'" },
    { I, ID("`Action`:`kms:`,`Resource`:`*`"), "", "no action" },
    { I, ID("`Action`:`:Decrypt`,`Resource`:`*`"), "", "no action" },
    { I, ID("`Action`:`kms:De:crypt`,`Resource`:`*`"), "", "no action" },
    { I, ID("`Action`:`kms:De crypt`,`Resource`:`*`"), "", "no action" },
    { I, ID("`Action`:`kms:De-crypt`,`Resource`:`*`"), "", "no action" },
    { K, ID(WHO ",`Resource`:`*`"), NULL, NULL }, /* legal, and applies never */
    { K, ID(WHO ",`Action`:`kms:*`"), NULL, NULL },
    { K, ID(WHO ",`Action`:[],`Resource`:`*`"), "", "Action" },

    /* Resource */
    { I, ID("`Action`:`*`,`NotResource`:[`arn:aws:kms:*:*:key/*`,`*`]"), NULL, NULL },
    { I, ID("`Action`:`*`,`Resource`:`arn:aws:kms:::`"), NULL, NULL },
    { I, ID("`Action`:`*`"), "", "no Resource" },
    { I, ID("`Action`:`*`,`Resource`:`*`,`NotResource`:`*`"), "", "both Resource and NotResource" },
    { I, ID("`Action`:`*`,`Resource`:[]"), "", "Resource is an empty list" },
    { I, ID("`Action`:`*`,`Resource`:7"), "", "Resource" },
    { I, ID("`Action`:`*`,`Resource`:`1234abcd-12ab-34cd-56ef-1234567890ab`"), "", "no resource" },
    { I, ID("`Action`:`*`,`Resource`:`arn:aws:kms:*`"), "", "no resource" },
    { I, ID("`Action`:`*`,`Resource`:`a*:aws:kms:*:*:*`"), "", "no resource" },
    { I, NEW("`Resource`:`arn:aws:kms:*:*:key/${aws:username}`"), NULL, NULL },
    { I, NEW("`Resource`:`arn:aws:kms:*:*:key/${aws:username`"), "", "variable" },
    { I, NEW("`Resource`:`arn:aws:kms:*:${aws:PrincipalAccount}:key/*`"), "", "before the fifth colon" },
    { I, NEW("`Resource`:`arn:aws:kms:*:${aws:a}`"), "", "resource" },
    { I, ID("`Action`:`*`,`Resource`:`arn:aws:kms:*:${x}:key/${`"), NULL, NULL }, /* of 2008: no variable */
    { K, ID(WHO ",`Action`:`*`,`Resource`:[`arn:aws:s3:::x`,`*`]"), NULL, NULL },
    { K, ID(WHO ",`Action`:`*`,`Resource`:`key/x`"), "", "no resource" },
    { T, TRUST("," WHO), NULL, NULL },
    { T, TRUST("," WHO ",`Resource`:`*`"), "", "Resource" },
    { T, TRUST("," WHO ",`NotResource`:`*`"), "", "Resource" },

    /* Principal */
    { I, ID(WHO "," ANY), "", "Principal" },
    { I, ID("`NotPrincipal`:`*`," ANY), "", "NotPrincipal" },
    { K, KEY(""), NO_PRINCIPAL, "no Principal" },
    { T, TRUST(""), NO_PRINCIPAL, "no Principal" },
    { K, KEY(",`Principal`:{}"), NO_PRINCIPAL, "no Principal" },
    { K, KEY(",`NotPrincipal`:`*`"), "", "NotPrincipal" },
    { K, KEY(",`Principal`:`*`,`NotPrincipal`:{`AWS`:`" A_ID "`}"), "", "NotPrincipal" },
    { K, KEY(",`Principal`:`" A_ID "`"), BAD_PRINCIPAL, "Principal" },
    { K, KEY(",`Principal`:7"), BAD_PRINCIPAL, "Principal" },
    { K, KEY(",`Principal`:[`*`]"), BAD_PRINCIPAL, "Principal" },
    { K, KEY(",`Principal`:{`aws`:`*`}"), BAD_PRINCIPAL, "Principal" },
    { K, KEY(",`Principal`:{`AWS`:[]}"), "", "AWS is an empty list" },
    { K, KEY(",`Principal`:{`AWS`:``}"), "", "AWS" },
    { K, KEY(",`Principal`:{`AWS`:7}"), "", "AWS" },
    { K, KEY(",`Principal`:{`CanonicalUser`:`79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be`}"), BAD_PRINCIPAL, "no principal" },
    { K, KEY(",`Principal`:{`AWS`:[`*`,`" A_ID "`,`" ALICE "`,`" APP "`,`" SESSION "`,`" IAM_A "root`]}"), NULL, NULL },
    { K, KEY(",`Principal`:{`AWS`:[`AIDAALICEAAAAAAAAAAA`,`AROAAPPAAAAAAAAAAAAAA`]}"), NULL, NULL },
    { K, KEY(",`Principal`:{`Service`:`s3.amazonaws.com`,`Federated`:`cognito-identity.amazonaws.com`}"), NULL, NULL },
    { K, KEY(",`Principal`:{`AWS`:`arn:aws:sts::" A_ID ":federated-user/bob`}"), NULL, NULL },

    /* Condition */
    { I, IF("{`StringEquals`:{`aws:username`:`x`}}"), NULL, NULL },
    { I, IF("{`StringEqualz`:{`aws:username`:`x`}}"), "", "condition StringEqualz aws:username: the operator does not exist" },
    { I, IF("{`StringEquals `:{`aws:username`:`x`}}"), "", "operator" },
    { I, IF("{`ForSomeValues:StringEquals`:{`aws:username`:`x`}}"), "", "operator" },
    { I, IF("{`ForAnyValue:ForAnyValue:StringEquals`:{`aws:username`:`x`}}"), "", "operator" },
    { I, IF("{`StringEqualsIfExistsIfExists`:{`aws:username`:`x`}}"), "", "operator" },
    { I, IF("{`ForAnyValue:`:{`aws:username`:`x`}}"), "", "operator" },
    { I, IF("{`NullIfExists`:{`aws:username`:`true`}}"), "", "operator" },
    { I, IF("{`ForAllValues:Null`:{`aws:username`:`true`}}"), "", "operator" },
    { I, IF("{`StringEquals`:`x`}"), "", "not an object" },
    { I, IF("{`StringEquals`:{`aws:username`:[]}}"), "", "empty list" },
    { I, IF("{`StringEquals`:{`aws:username`:[[`x`]]}}"), "", "type" },
    { I, IF("{`StringEquals`:{`aws:username`:null}}"), "", "type" },
    { I, IF("{`StringEquals`:{`aws:username`:{}}}"), "", "type" },
    { I, IF("{`StringEquals`:{``:`x`}}"), "", "no name" },
    { I, IF("{`StringEquals`:{`aws:NoSuchKey`:[`x`,1,true]}}"), NULL, NULL },
    { I, IF("{`NumericEquals`:{`aws:EpochTime`:`10abc`}}"), "", "not a number" },
    { I, IF("{`NumericEquals`:{`aws:EpochTime`:[1,`x`]}}"), "", "not a number" },
    { I, IF("{`DateLessThan`:{`aws:CurrentTime`:`2026-02-29`}}"), "", "not a date" },
    { I, IF("{`DateLessThan`:{`aws:CurrentTime`:`2028-02-29`}}"), NULL, NULL },
    { I, IF("{`DateLessThan`:{`aws:CurrentTime`:`2026-11-20T12:00:00`}}"), "", "not a date" },
    { I, IF("{`DateLessThan`:{`aws:CurrentTime`:`tomorrow`}}"), "", "not a date" },
    { I, IF("{`Bool`:{`aws:SecureTransport`:`yes`}}"), "", "neither true nor false" },
    { I, IF("{`Null`:{`aws:SecureTransport`:`1`}}"), "", "neither true nor false" },
    { I, IF("{`BinaryEquals`:{`aws:username`:`Zm9v`}}"), NULL, NULL },
    { I, IF("{`BinaryEquals`:{`aws:username`:`Zm9`}}"), "", "base64" },
    { I, IF("{`IpAddress`:{`aws:SourceIp`:`10.0.0.0/33`}}"), "", "IP network" },
    { I, IF("{`IpAddress`:{`aws:SourceIp`:`10.0.0`}}"), "", "IP network" },
    { I, IF("{`IpAddress`:{`aws:SourceIp`:`::1/129`}}"), "", "IP network" },
    { I, IF("{`NotIpAddress`:{`aws:SourceIp`:`::1/`}}"), "", "IP network" },
    { I, IF("{`IpAddress`:{`aws:SourceIp`:[`::1/128`,`10.0.0.0/32`]}}"), NULL, NULL },
    { I, IF("{`ArnLike`:{`aws:PrincipalArn`:`alice`}}"), "", "pattern of ARNs" },
    { I, IF("{`ArnLike`:{`aws:PrincipalArn`:[`*`,`arn:aws:*:role/app`,`a?n:*`]}}"), NULL, NULL },
    { I, NEW("`Resource`:`*`,`Condition`:{`Bool`:{`aws:SecureTransport`:`${aws:PrincipalTag/x}`}}"), NULL, NULL },
    { I, NEW("`Resource`:`*`,`Condition`:{`NumericEquals`:{`aws:EpochTime`:`${aws:PrincipalTag/x}`}}"), "", "not a number" },
    { I, NEW("`Resource`:`*`,`Condition`:{`StringEquals`:{`aws:username`:`${aws:PrincipalTag/x, 'y'}`}}"), NULL, NULL },
    { I, NEW("`Resource`:`*`,`Condition`:{`StringEquals`:{`aws:username`:`${aws:PrincipalTag/x, y}`}}"), "", "variable" },
    { I, NEW("`Resource`:`*`,`Condition`:{`StringEquals`:{`aws:username`:`${}`}}"), "", "variable" },
    { I, NEW("`Resource`:`*`,`Condition`:{`StringEquals`:{`aws:username`:`${aws:username`}}"), "", "variable" },
    { I, NEW("`Resource`:`*`,`Condition`:{`StringEquals`:{`aws:username`:`$ } $a ${$}`}}"), NULL, NULL },
    { K, KEY("," WHO ",`Condition`:{`ForAllValues:StringEquals`:{`kms:EncryptionContext:App`:`x`}}"), OVER_PERMISSIVE, "ForAllValues" },
    { K, KEY("," WHO ",`Condition`:{`forallvalues:StringLikeIfExists`:{`AWS:requesttag/App`:`x`}}"), OVER_PERMISSIVE, "forallvalues" },
    { K, KEY("," WHO ",`Condition`:{`ForAnyValue:StringEquals`:{`kms:EncryptionContext:App`:`x`}}"), NULL, NULL },
    { K, KEY("," WHO ",`Condition`:{`ForAllValues:StringEquals`:{`kms:EncryptionContextKeys`:`x`}}"), NULL, NULL },
    { I, IF("{`ForAllValues:StringEquals`:{`kms:EncryptionContext:App`:`x`}}"), NULL, NULL },
    /* clang-format on */
};

static void check_refused(const char *text, struct kms_error *err, const char *message,
                          const char *detail)
{
    if (err->code != KMS_ERR_MALFORMED_POLICY || strcmp(err->message, message) != 0 ||
        strstr(err->detail, detail) == NULL)
        fail_msg("%s\n%s: '%s' '%s'", text, kms_err_name(err->code), err->message, err->detail);
}

static void test_policy_compile_documents(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy *policy = NULL;
        struct kms_error err = { 0 };
        const int made = compile((enum policy_kind)rows[i].kind, NULL, rows[i].text, &policy, &err);
        if ((made == 0) != (rows[i].message == NULL))
            fail_msg("%s\n%s", rows[i].text, made ? err.detail : "taken");
        if (made < 0)
            check_refused(rows[i].text, &err, rows[i].message, rows[i].detail);
        CHECK((policy != NULL) == (made == 0));
        policy_unref(policy);
    }
}

/* count copies of an item with blanks between, as a list. */
static void append_list(struct buf *buf, const char *item, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(buf, "%s%s", i ? "," : "[", item);
    buf_text(buf, "]");
}

/* As many as there may be, and one more. */
static void test_policy_compile_limits(void **state)
{
    static const struct {
        enum policy_kind kind;
        const char *before, *item, *behind;
        size_t most;
    } limits[] = {
        { POLICY_IDENTITY, "{`Statement`:", "{`Effect`:`Allow`," ANY "}", "}",
          POLICY_STATEMENTS_MAX },
        { POLICY_IDENTITY, "{`Statement`:{`Effect`:`Allow`,`Resource`:`*`,`Action`:", "`kms:x`",
          "}}", POLICY_ACTIONS_MAX },
        { POLICY_KEY, "{`Statement`:{`Effect`:`Allow`," ANY ",`Principal`:{`AWS`:", "`*`", "}}}",
          POLICY_PRINCIPALS_MAX },
        { POLICY_KEY, "{`Statement`:{`Effect`:`Allow`," ANY ",`Principal`:{`AWS`:`*`,`Federated`:",
          "`x`", "}}}", POLICY_PRINCIPALS_MAX - 1 },
        { POLICY_IDENTITY,
          "{`Statement`:{`Effect`:`Allow`," ANY ",`Condition`:{`StringEquals`:{`x:y`:", "`*`",
          "}}}}", POLICY_VALUES_MAX },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        for (size_t more = 0; more < 2; more++) {
            AUTO(buf) text = { 0 };
            struct policy *policy = NULL;
            struct kms_error err = { 0 };
            buf_text(&text, limits[i].before);
            append_list(&text, limits[i].item, limits[i].most + more);
            buf_append(&text, span_of(limits[i].behind, strlen(limits[i].behind) + 1));
            const int made = compile(limits[i].kind, NULL, (const char *)text.ptr, &policy, &err);
            if ((made == 0) != (more == 0))
                fail_msg("%s... %s", limits[i].before, err.detail);
            if (made < 0)
                check_refused(limits[i].before, &err, "", "more than");
            policy_unref(policy);
        }
    }
}

/* Counted over all operators of a statement. */
static void test_policy_compile_limit_of_conditions(void **state)
{
    (void)state;
    for (int count = POLICY_CONDITIONS_MAX; count <= POLICY_CONDITIONS_MAX + 1; count++) {
        AUTO(buf) text = { 0 };
        struct policy *policy = NULL;
        struct kms_error err = { 0 };
        buf_text(&text,
                 "{`Statement`:{`Effect`:`Allow`," ANY ",`Condition`:{`StringLike`:{`k:0`:1}");
        buf_text(&text, ",`StringEquals`:{");
        for (int i = 1; i < count; i++)
            buf_printf(&text, "%s`k:%d`:1", i > 1 ? "," : "", i);
        buf_append(&text, span_of("}}}}", 5));
        const int made = compile(POLICY_IDENTITY, NULL, (const char *)text.ptr, &policy, &err);
        CHECK((made == 0) == (count == POLICY_CONDITIONS_MAX));
        if (made < 0)
            check_refused("conditions", &err, "", "more than 50 conditions");
        policy_unref(policy);
    }
}

/* Six levels are what a complete statement needs; brackets in texts are none. */
static void test_policy_compile_depth(void **state)
{
    struct policy *policy =
        compile_ok(POLICY_IDENTITY, "{`Statement`:[{`Effect`:`Allow`," ANY
                                    ",`Condition`:{`StringEquals`:{`a:b`:[`[[[[{{{{\\\"[[[`]}}}]}");
    struct kms_error err = { 0 };
    AUTO(buf) text = { 0 };

    (void)state;
    policy_unref(policy);
    policy = NULL;
    assert_int_equal(compile(POLICY_IDENTITY, NULL,
                             "{`Statement`:[{`Effect`:`Allow`," ANY
                             ",`Condition`:{`StringEquals`:{`a:b`:[[`x`]]}}}]}",
                             &policy, &err),
                     -1);
    check_refused("depth", &err, "", "nested deeper than 6");
    kms_error_clear(&err);
    for (int i = 0; i < 100000; i++)
        buf_text(&text, "[");
    CHECK_FAILS(policy_compile(buf_span(&text), POLICY_KEY, NULL, &policy, &err), err,
                KMS_ERR_MALFORMED_POLICY);
}

/* Bytes that are no text of JSON; a NUL would cut every text behind it. */
static void test_policy_compile_bytes(void **state)
{
    static const char *const texts[] = {
        "{`Statement`:{`Sid`:`\xff`,`Effect`:`Allow`," ANY "}}",
        "{`Statement`:{`Sid`:`a\\u0000b`,`Effect`:`Allow`," ANY "}}",
        "{`Statement`:{`Effect`:`Allow`," ANY ",`Condition`:{`NumericEquals`:{`a:b`:1e999}}}}",
        "{`Statement`:{`Effect`:`Allow`," ANY
        ",`Condition`:{`NumericEquals`:{`a:b`:99999999999999999999}}}}",
    };
    struct policy *policy = NULL;
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        CHECK_FAILS(compile(POLICY_IDENTITY, NULL, texts[i], &policy, &err), err,
                    KMS_ERR_MALFORMED_POLICY);
}

/* Whatever is quoted from a document stays one short line of whole characters. */
static void test_policy_compile_quotes_safely(void **state)
{
    struct policy *policy = NULL;
    struct kms_error err = { 0 };
    AUTO(buf) text = { 0 };

    (void)state;
    buf_text(&text, "{`Statement`:{`Effect`:`Allow`," ANY ",`a\\n\\u001b`:1}}");
    buf_append(&text, span_of("", 1));
    CHECK(compile(POLICY_IDENTITY, NULL, (const char *)text.ptr, &policy, &err) < 0);
    check_refused("control characters", &err, "",
                  "unknown member 'a?"
                  "?'");
    kms_error_clear(&err);

    for (int shift = 0; shift < 4; shift++) {
        buf_clear(&text);
        buf_printf(&text, "{`%.*s", shift, "xxxx");
        for (int i = 0; i < 200; i++)
            buf_text(&text, "\xe2\x82\xac");
        buf_append(&text, span_of("`:1}", 5));
        CHECK(compile(POLICY_IDENTITY, NULL, (const char *)text.ptr, &policy, &err) < 0);
        json_t *const detail = json_string(err.detail); /* NULL for half a character */
        CHECK(detail != NULL && strstr(err.detail, "...'") != NULL);
        json_decref(detail);
        kms_error_clear(&err);
    }
}

/* -- warnings -- */

static void note_pair(void *arg, const char *first, const char *second)
{
    buf_printf(arg, "%s: %s\n", first, second);
}

static void test_policy_warnings(void **state)
{
    static const struct {
        enum policy_kind kind;
        const char *text, *expected; /* beginning */
    } texts[] = {
        { POLICY_IDENTITY, ID(ANY), "" },
        { POLICY_IDENTITY, ID("`Action`:`kms:Decrypted`,`Resource`:`*`"),
          "Statement 1: there is no action 'kms:Decrypted'\nStatement 1: names no action" },
        { POLICY_IDENTITY, ID("`Sid`:`x`,`Action`:`s3:Get*`,`Resource`:`*`"),
          "Statement 1 (x): names no action of this service" },
        { POLICY_KEY, ID(WHO ",`Resource`:`*`"), "Statement 1: has no Action" },
        { POLICY_KEY, ID(WHO ",`Action`:`kms:*`"), "Statement 1: has no Resource" },
        { POLICY_KEY, ID("`Principal`:{`Service`:`s3.amazonaws.com`}," ANY),
          "Statement 1: names only principals that never call" },
        { POLICY_KEY, ID(WHO ",`Action`:`kms:*`,`Resource`:`arn:aws:kms:r:" A_ID ":alias/x`"),
          "Statement 1: resource 'arn:aws:kms:r:" A_ID ":alias/x' is an alias" },
        { POLICY_IDENTITY, IF("{`StringEquals`:{`aws:SourceVpc`:`x`}}"),
          "Statement 1: condition key aws:SourceVpc: no request has it\n" },
        { POLICY_KEY,
          ID(WHO "," ANY ",`Condition`:{`ForAnyValue:StringEquals`:{`kms:ResourceAliases`:`x`}}"),
          "Statement 1: condition key kms:ResourceAliases: only policies of identities" },
        { POLICY_IDENTITY, IF("{`ForAllValues:StringEquals`:{`aws:TagKeys`:`x`}}"),
          "Statement 1: condition ForAllValues:StringEquals aws:TagKeys holds for requests "
          "without" },
        { POLICY_IDENTITY, IF("{`ArnLike`:{`aws:PrincipalArn`:`arn:aws:*`}}"),
          "Statement 1: condition ArnLike aws:PrincipalArn: 'arn:aws:*' has fewer than six "
          "fields" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO(buf) buf = { 0 };
        struct policy *const policy = compile_ok(texts[i].kind, texts[i].text);
        policy_warnings(policy, note_pair, &buf);
        buf_append(&buf, span_of("", 1));
        const char *const told = (const char *)buf.ptr;
        if (texts[i].expected[0] ? strncmp(told, texts[i].expected, strlen(texts[i].expected)) != 0
                                 : told[0] != '\0')
            fail_msg("%s\n%s", texts[i].text, told);
        policy_unref(policy);
    }
}

/* -- memory -- */

static int allocations_left = -1; /* -1: as many as are asked for */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool takes_one(void)
{
    if (allocations_left > 0)
        allocations_left--;
    return allocations_left != 0;
}

void *__wrap_malloc(size_t size)
{
    return takes_one() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return takes_one() ? __real_calloc(count, size) : NULL;
}

/* Every allocation fails once: a clean error, and nothing is lost. jansson calls some of its own
 * failures a syntax error. */
static void test_policy_compile_out_of_memory(void **state)
{
    static const char text[] =
        "{`Version`:`2012-10-17`,`Statement`:[{`Sid`:`a`,`Effect`:`Allow`,`Principal`:{`AWS`:["
        "`" ALICE "`,`" APP
        "`]},`Action`:[`kms:*`,`s3:*`],`Resource`:`*`,`Condition`:{`StringLike`:{`aws:username`:"
        "[`${aws:PrincipalTag/x, 'y'}`,1.5,true]},`ArnLike`:{`aws:PrincipalArn`:`arn:a:b:c:d:e`},"
        "`BinaryEquals`:{`aws:username`:`Zm9v`}}}]}";
    const struct document_text quoted = document(text);
    struct policy *policy = NULL;
    int failures = 0;

    (void)state;
    json_set_alloc_funcs(__wrap_malloc, free);
    for (int made = -1; made < 0 && failures < 1000; failures++) {
        struct kms_error err = { 0 };
        allocations_left = failures + 1;
        made = policy_compile(span_text(quoted.text), POLICY_KEY, NULL, &policy, &err);
        allocations_left = -1;
        if (made < 0)
            CHECK(policy == NULL &&
                  (err.code == KMS_ERR_INTERNAL || err.code == KMS_ERR_MALFORMED_POLICY));
    }
    CHECK(failures > 20 && failures < 1000 && policy != NULL);
    policy_unref(policy);
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_compile_documents),
        cmocka_unit_test(test_policy_compile_limits),
        cmocka_unit_test(test_policy_compile_limit_of_conditions),
        cmocka_unit_test(test_policy_compile_depth),
        cmocka_unit_test(test_policy_compile_bytes),
        cmocka_unit_test(test_policy_compile_quotes_safely),
        cmocka_unit_test(test_policy_warnings),
        cmocka_unit_test(test_policy_compile_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
