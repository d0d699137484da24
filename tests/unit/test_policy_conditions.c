/*
 * Conditions: every operator in every cell of the truth table, and what each operator takes for
 * equal, smaller, or a match.
 * Source: AWS IAM User Guide, Condition operators; Multivalued context keys.
 */

#include <stdio.h>

#include "tests/support/policy_rig.h"

/* Does an Allow statement, and does a Deny statement, with this condition apply? */
static bool holds(const char *condition, const struct policy_context *context)
{
    static const char *const effects[] = { "Allow", "Deny" };
    char text[4096];
    bool answers[2];

    for (size_t i = 0; i < ARRAY_LEN(effects); i++) {
        (void)snprintf(text, sizeof(text),
                       "{`Version`:`2012-10-17`,`Statement`:{`Effect`:`%s`,`Action`:`*`,"
                       "`Resource`:`*`,`Condition`:{%s}}}",
                       effects[i], condition);
        struct policy *const policy = compile_ok(POLICY_IDENTITY, text);
        answers[i] = i == 0 ? ask_allow(policy, &alice, context).allowed == STRENGTH_DIRECT
                            : ask_deny(policy, &alice, context).denied;
        policy_unref(policy);
    }
    if (answers[0] != answers[1])
        fail_msg("%s: Allow and Deny differ", condition);
    return answers[0];
}

/* Operators, an operand, a value that it fits and one that it does not. */
static const struct {
    const char *positive, *negated, *operand, *fits, *fits_not;
} operators[] = {
    /* clang-format off */
    { "StringEquals",            "StringNotEquals",           "a*",        "a*",       "ab" },
    { "StringEqualsIgnoreCase",  "StringNotEqualsIgnoreCase", "aB",        "Ab",       "a" },
    { "StringLike",              "StringNotLike",             "a*?",       "abc",      "a" },
    { "NumericEquals",           "NumericNotEquals",          "30",        "30.0",     "31" },
    { "NumericLessThan",         NULL,                        "30",        "29.999",   "30" },
    { "NumericLessThanEquals",   NULL,                        "30",        "30",       "30.001" },
    { "NumericGreaterThan",      NULL,                        "30",        "31",       "30" },
    { "NumericGreaterThanEquals", NULL,                       "30",        "30",       "29" },
    { "DateEquals",              "DateNotEquals",             "2026-11-20", "2026-11-20T01:00:00+01:00", "2026-11-21" },
    { "DateLessThan",            NULL,                        "2026-11-20", "2026-11-19T23:59:59.999Z", "2026-11-20" },
    { "DateLessThanEquals",      NULL,                        "2026-11-20", "2026-11-20", "2026-11-20T00:00:00.001Z" },
    { "DateGreaterThan",         NULL,                        "2026-11-20", "1795132801", "1795132800" },
    { "DateGreaterThanEquals",   NULL,                        "2026-11-20", "1795132800", "1795132799" },
    { "Bool",                    NULL,                        "TRUE",      "true",     "false" },
    { "BinaryEquals",            NULL,                        "Zm9v",      "Zm9v",     "Zm9w" },
    { "IpAddress",               "NotIpAddress",              "10.0.0.0/8", "10.255.1.1", "11.0.0.1" },
    { "ArnEquals",               "ArnNotEquals",              "arn:aws:iam::*:role/*", "arn:aws:iam::1:role/a/b", "arn:aws:iam::1:user/a" },
    { "ArnLike",                 "ArnNotLike",                "arn:aws:iam::*:role/*", "arn:aws:iam::1:role/a/b", "arn:aws:iam::1:user/a" },
    /* clang-format on */
};

/* Values that the request has for the key: a letter each, F: fits, N: does not. */
static const struct cell {
    const char *prefix, *suffix;
    bool list;          /* ask for a key of lists */
    const char *values; /* NULL: missing */
    bool positive, negated;
} cells[] = {
    /* clang-format off */
    /* prefix           suffix     list   values  positive negated */
    { "",              "",         false, NULL,   false,   true },
    { "",              "",         false, "F",    true,    false },
    { "",              "",         false, "N",    false,   true },
    { "",              "IfExists", false, NULL,   true,    true },
    { "",              "IfExists", false, "F",    true,    false },
    { "",              "IfExists", false, "N",    false,   true },
    { "",              "",         true,  NULL,   false,   true },
    { "",              "",         true,  "",     false,   true },
    { "",              "",         true,  "F",    false,   false },
    { "",              "",         true,  "N",    false,   false },
    { "",              "",         true,  "FN",   false,   false },
    { "",              "IfExists", true,  NULL,   true,    true },
    { "",              "IfExists", true,  "F",    false,   false },
    { "",              "IfExists", true,  "N",    false,   false },

    { "ForAllValues:", "",         true,  NULL,   true,    true },
    { "ForAllValues:", "",         true,  "",     true,    true },
    { "ForAllValues:", "",         true,  "F",    true,    false },
    { "ForAllValues:", "",         true,  "FF",   true,    false },
    { "ForAllValues:", "",         true,  "N",    false,   true },
    { "ForAllValues:", "",         true,  "NN",   false,   true },
    { "ForAllValues:", "",         true,  "FN",   false,   false },
    { "ForAllValues:", "",         true,  "NF",   false,   false },
    { "ForAllValues:", "IfExists", true,  NULL,   true,    true },
    { "ForAllValues:", "IfExists", true,  "F",    true,    false },
    { "ForAllValues:", "IfExists", true,  "NF",   false,   false },
    { "ForAllValues:", "",         false, NULL,   true,    true },
    { "ForAllValues:", "",         false, "F",    true,    false },
    { "ForAllValues:", "",         false, "N",    false,   true },

    { "ForAnyValue:",  "",         true,  NULL,   false,   false },
    { "ForAnyValue:",  "",         true,  "",     false,   false },
    { "ForAnyValue:",  "",         true,  "F",    true,    false },
    { "ForAnyValue:",  "",         true,  "FF",   true,    false },
    { "ForAnyValue:",  "",         true,  "N",    false,   true },
    { "ForAnyValue:",  "",         true,  "NN",   false,   true },
    { "ForAnyValue:",  "",         true,  "FN",   true,    true },
    { "ForAnyValue:",  "",         true,  "NF",   true,    true },
    { "ForAnyValue:",  "IfExists", true,  NULL,   true,    true },
    { "ForAnyValue:",  "IfExists", true,  "",     true,    true },
    { "ForAnyValue:",  "IfExists", true,  "F",    true,    false },
    { "ForAnyValue:",  "IfExists", true,  "N",    false,   true },
    { "ForAnyValue:",  "",         false, NULL,   false,   false },
    { "ForAnyValue:",  "",         false, "F",    true,    false },
    { "ForAnyValue:",  "",         false, "N",    false,   true },
    /* clang-format on */
};

static void check_cell(size_t row, const struct cell *cell, const char *name, bool expected)
{
    static const char *const keys[] = { "aws:UserAgent", "aws:TagKeys" };
    struct policy_context context = { 0 };
    const char *values[2];
    const size_t count = cell->values ? strlen(cell->values) : 0;
    char condition[512];

    for (size_t i = 0; i < count; i++)
        values[i] = cell->values[i] == 'F' ? operators[row].fits : operators[row].fits_not;
    if (cell->values && cell->list)
        context_set_list(&context, AWS_TAG_KEYS, values, count);
    else if (cell->values)
        context_set(&context, AWS_USER_AGENT, values[0]);
    (void)snprintf(condition, sizeof(condition), "`%s%s%s`:{`%s`:`%s`}", cell->prefix, name,
                   cell->suffix, keys[cell->list], operators[row].operand);
    if (holds(condition, &context) != expected)
        fail_msg("%s with values %s", condition, cell->values ? cell->values : "missing");
}

static void test_condition_truth_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        for (size_t j = 0; j < ARRAY_LEN(cells); j++) {
            check_cell(i, &cells[j], operators[i].positive, cells[j].positive);
            if (operators[i].negated)
                check_cell(i, &cells[j], operators[i].negated, cells[j].negated);
        }
    }
}

/* One operand of several will do; for negated operators one is too many. */
static void test_condition_operands(void **state)
{
    static const struct {
        const char *condition;
        bool expected;
    } rows[] = {
        { "`StringEquals`:{`aws:UserAgent`:[`a`,`b`]}", true },
        { "`StringEquals`:{`aws:UserAgent`:[`a`,`c`]}", false },
        { "`StringNotEquals`:{`aws:UserAgent`:[`a`,`b`]}", false },
        { "`StringNotEquals`:{`aws:UserAgent`:[`a`,`c`]}", true },
        { "`StringEquals`:{`aws:UserAgent`:`b`,`aws:Referer`:`r`}", true },
        { "`StringEquals`:{`aws:UserAgent`:`b`,`aws:Referer`:`s`}", false },
        { "`StringEquals`:{`aws:UserAgent`:`b`},`StringNotEquals`:{`aws:Referer`:`s`}", true },
        { "`StringEquals`:{`aws:UserAgent`:`b`},`StringNotEquals`:{`aws:Referer`:`r`}", false },
        { "`stringequals`:{`AWS:useragent`:`b`}", true },
        { "`FORANYVALUE:STRINGEQUALSIFEXISTS`:{`aws:UserAgent`:`c`}", false },
        { "", true },
        { "`StringEquals`:{}", true },
    };
    struct policy_context context = { 0 };

    (void)state;
    context_set(&context, AWS_USER_AGENT, "b");
    context_set(&context, AWS_REFERER, "r");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (holds(rows[i].condition, &context) != rows[i].expected)
            fail_msg("%s", rows[i].condition);
}

/* { operator, operand, value of the request, whether it fits } */
static const struct {
    const char *operator_name, *operand, *value;
    bool expected;
} value_rows[] = {
    /* clang-format off */
    { "StringEquals", "`a`", "A", false },
    { "StringEquals", "``", "", true },
    { "StringEquals", "true", "true", true },
    { "StringEquals", "30", "30", true },
    { "StringEquals", "30.5", "30.5", true },
    { "StringEquals", "0.1", "0.1", true },
    { "StringEqualsIgnoreCase", "`STRASSE`", "strasse", true },
    { "StringEqualsIgnoreCase", "`\xc3\x84`", "\xc3\xa4", false }, /* ASCII alone is folded */
    { "StringLike", "`A*`", "ab", false },
    { "StringLike", "`*`", "", true },
    { "StringLike", "`a*b`", "a\nb", true },

    { "NumericEquals", "`007`", "7", true },
    { "NumericEquals", "7", "+7.000", true },
    { "NumericEquals", "`-0`", "0", true },
    { "NumericEquals", "`10`", "10abc", false },
    { "NumericNotEquals", "`10`", "10abc", true },
    { "NumericLessThan", "`10`", "word", false },
    { "NumericLessThan", "`-1`", "-2", true },
    { "NumericLessThan", "`-1.5`", "-1.25", false },
    { "NumericGreaterThan", "`9`", "10", true },
    { "NumericLessThan", "`123456789012345678901234567890`", "123456789012345678901234567889", true },
    { "NumericEquals", "`0.1`", "0.10000000000000000001", false },
    { "NumericEquals", "`1`", "1.", false },
    { "NumericEquals", "`1`", ".1", false },
    { "NumericEquals", "`1`", " 1", false },
    { "NumericEquals", "`1`", "", false },
    { "NumericEquals", "`1`", "1e0", false },

    { "DateEquals", "`2026-11-20T12:00:00Z`", "1795176000", true },
    { "DateEquals", "1795176000", "2026-11-20T12:00:00Z", true },
    { "DateEquals", "`2026-11-20T12:00Z`", "2026-11-20T12:00:00.000Z", true },
    { "DateEquals", "`2026-11-20T12:00:00-05:30`", "2026-11-20T17:30:00Z", true },
    { "DateEquals", "`2026-11-20T23:59:59+00:00`", "2026-11-20T23:59:59Z", true },
    { "DateEquals", "`2024-02-29`", "2024-02-29T00:00:00Z", true },
    { "DateEquals", "`1970-01-01`", "0", true },
    { "DateLessThan", "`1970-01-01`", "1969-12-31", true },
    { "DateEquals", "`2000-03-01`", "951868800", true },
    { "DateNotEquals", "`2026-11-20`", "2026-11-31", true },
    { "DateEquals", "`2026-11-20`", "2026-11-20T", false },
    { "DateEquals", "`2026-11-20`", "2026-11-20T00:00:00", false },
    { "DateEquals", "`2026-11-20`", "2026-11-20Z", false },
    { "DateEquals", "`0`", "", false },
    { "DateEquals", "`0`", "0000000000000000", false },

    { "Bool", "`false`", "FALSE", true },
    { "Bool", "`true`", "1", false },
    { "Bool", "false", "", false },
    { "Bool", "[true,false]", "true", true },

    { "BinaryEquals", "``", "", true },
    { "BinaryEquals", "`Zg==`", "Zg", false },
    { "BinaryEquals", "`QUJD`", "qujd", false },
    { "BinaryEquals", "`Zg==`", "Zh==", false },

    { "IpAddress", "`192.0.2.7`", "192.0.2.7", true },
    { "IpAddress", "`192.0.2.7`", "192.0.2.8", false },
    { "IpAddress", "`192.0.2.4/30`", "192.0.2.7", true },
    { "IpAddress", "`192.0.2.4/31`", "192.0.2.7", false },
    { "IpAddress", "`192.0.2.7/24`", "192.0.2.200", true },
    { "IpAddress", "`0.0.0.0/0`", "255.255.255.255", true },
    { "IpAddress", "`0.0.0.0/0`", "2001:db8::1", false },
    { "IpAddress", "`::/0`", "192.0.2.1", true },
    { "IpAddress", "`2001:db8::/32`", "2001:0DB8:0:0::1", true },
    { "IpAddress", "`2001:db8::1`", "2001:db8::2", false },
    { "IpAddress", "`10.0.0.0/8`", "::ffff:10.1.2.3", true },
    { "NotIpAddress", "`10.0.0.0/8`", "2001:db8::1", true },
    { "NotIpAddress", "`10.0.0.0/8`", "not an address", true },
    { "IpAddress", "`::/0`", "10.0.0.1/32", false },

    { "ArnLike", "`*`", "arn:aws:iam::1:role/a", true },
    { "ArnLike", "`*`", "alice", false },
    { "ArnLike", "`*`", "arn:aws:iam::1", false },
    { "ArnLike", "`arn:aws:*:role/app`", "arn:aws:iam::1:role/app", false },
    { "ArnNotLike", "`arn:aws:*:role/app`", "arn:aws:iam::1:role/app", true },
    { "ArnLike", "`arn:*:*:*:*:*`", "arn:aws:iam::1:role/a:b", true },
    { "ArnLike", "`*:aws:iam::1:*`", "arn:aws:iam::1:x", true },
    { "ArnEquals", "`arn:aws:iam::1:*`", "arn:aws:iam::1:x:y", true },
    { "ArnLike", "`arn:aws:iam*1:x`", "arn:aws:iam::1:x", false },
    { "ArnLike", "`arn:aws:i?m::1:x`", "arn:aws:iam::1:x", true },
    { "ArnLike", "`arn:aws:iam::1:x`", "arn:aws:iam::1:X", false },
    /* clang-format on */
};

static void test_condition_values(void **state)
{
    char condition[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(value_rows); i++) {
        struct policy_context context = { 0 };
        context_set(&context, AWS_USER_AGENT, value_rows[i].value);
        (void)snprintf(condition, sizeof(condition), "`%s`:{`aws:UserAgent`:%s}",
                       value_rows[i].operator_name, value_rows[i].operand);
        if (holds(condition, &context) != value_rows[i].expected)
            fail_msg("%s with %s", condition, value_rows[i].value);
    }
}

/* true: absent, false: there and not an empty list. */
static void test_condition_null(void **state)
{
    static const struct {
        const char *operands;
        bool missing, empty_list, empty_text, present;
    } rows[] = {
        { "true", true, true, false, false },       { "`TRUE`", true, true, false, false },
        { "false", false, false, true, true },      { "`false`", false, false, true, true },
        { "[true,false]", true, true, true, true },
    };
    const char *const list[] = { "k" };
    char one[256], many[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy_context nothing = { 0 }, empty = { 0 }, full = { 0 };
        context_set_list(&empty, AWS_TAG_KEYS, list, 0);
        context_set(&empty, AWS_USER_AGENT, "");
        context_set_list(&full, AWS_TAG_KEYS, list, 1);
        context_set(&full, AWS_USER_AGENT, "x");
        (void)snprintf(one, sizeof(one), "`Null`:{`aws:UserAgent`:%s}", rows[i].operands);
        (void)snprintf(many, sizeof(many), "`null`:{`aws:TagKeys`:%s}", rows[i].operands);
        CHECK(holds(one, &nothing) == rows[i].missing && holds(many, &nothing) == rows[i].missing);
        CHECK(holds(many, &empty) == rows[i].empty_list);
        CHECK(holds(one, &empty) == rows[i].empty_text);
        CHECK(holds(one, &full) == rows[i].present && holds(many, &full) == rows[i].present);
    }
}

/* Names that differ in case only: no Allow by it, every Deny. */
static void test_condition_collision(void **state)
{
    static const char *const conditions[] = {
        "`StringEquals`:{`kms:EncryptionContext:App`:`x`}",
        "`StringNotEquals`:{`kms:EncryptionContext:app`:`x`}",
        "`StringEqualsIfExists`:{`kms:EncryptionContext:APP`:`z`}",
        "`Null`:{`kms:EncryptionContext:App`:true}",
        "`Null`:{`kms:EncryptionContext:App`:false}",
        "`ForAnyValue:StringLike`:{`kms:EncryptionContext:App`:`*`}",
    };
    static const struct condition_pair pairs[] = { { "App", "x" }, { "Env", "x" }, { "aPP", "y" } };
    struct policy_context context = { 0 };
    char text[512];

    (void)state;
    context_set_family(&context, FAMILY_ENCRYPTION_CONTEXT, pairs, ARRAY_LEN(pairs));
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
        for (int deny = 0; deny < 2; deny++) {
            (void)snprintf(text, sizeof(text),
                           "{`Statement`:{`Effect`:`%s`,`Action`:`*`,`Resource`:`*`,"
                           "`Condition`:{%s}}}",
                           deny ? "Deny" : "Allow", conditions[i]);
            struct policy *const policy = compile_ok(POLICY_IDENTITY, text);
            CHECK(ask_allow(policy, &alice, &context).allowed == STRENGTH_NONE);
            CHECK(ask_deny(policy, &alice, &context).denied == (deny == 1));
            policy_unref(policy);
        }
    }
    CHECK(holds("`StringEquals`:{`kms:EncryptionContext:env`:`x`}", &context));
}

/* The clock is always there, to the second, as a date, a number and a text. */
static void test_condition_current_time(void **state)
{
    static const struct {
        const char *condition;
        bool expected;
    } rows[] = {
        { "`DateEquals`:{`aws:CurrentTime`:`2026-11-20T12:00:00Z`}", true },
        { "`DateLessThan`:{`aws:CurrentTime`:`2026-11-20T12:00:01Z`}", true },
        { "`DateLessThan`:{`aws:EpochTime`:1795176001}", true },
        { "`DateLessThan`:{`aws:EpochTime`:1795176000}", false },
        { "`NumericEquals`:{`aws:EpochTime`:1795176000}", true },
        { "`StringEquals`:{`aws:CurrentTime`:`2026-11-20T12:00:00Z`}", true },
        { "`StringEquals`:{`aws:CurrentTime`:`${aws:EpochTime}`}", false },
        { "`Null`:{`aws:CurrentTime`:false}", true },
    };
    const struct policy_context context = { .now_ms = 1795176000999 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (holds(rows[i].condition, &context) != rows[i].expected)
            fail_msg("%s", rows[i].condition);
}

static void test_condition_numbers_of_the_context(void **state)
{
    struct policy_context context = { 0 };

    (void)state;
    context_set_number(&context, KMS_ROTATION_PERIOD_IN_DAYS, 365);
    context_set_bool(&context, AWS_SECURE_TRANSPORT, true);
    const struct policy_context copy = context;
    context_set_number(&context, KMS_ROTATION_PERIOD_IN_DAYS, 90);
    CHECK(holds("`NumericEquals`:{`kms:RotationPeriodInDays`:365}", &copy));
    CHECK(holds("`NumericEquals`:{`kms:RotationPeriodInDays`:90}", &context));
    CHECK(holds("`Bool`:{`aws:SecureTransport`:true}", &copy));
    context_set(&context, AWS_SECURE_TRANSPORT, NULL);
    CHECK(holds("`Null`:{`aws:SecureTransport`:true}", &context));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_condition_truth_table),
        cmocka_unit_test(test_condition_operands),
        cmocka_unit_test(test_condition_values),
        cmocka_unit_test(test_condition_null),
        cmocka_unit_test(test_condition_collision),
        cmocka_unit_test(test_condition_current_time),
        cmocka_unit_test(test_condition_numbers_of_the_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
