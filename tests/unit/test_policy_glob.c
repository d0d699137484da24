/*
 * Globs, ARNs, and the table of actions.
 * Source: AWS IAM User Guide, IAM JSON policy elements: Action, Resource.
 */

#include "hsmkms/iam/arn.h"
#include "hsmkms/iam/glob.h"
#include "tests/support/policy_rig.h"

#define PLENTY UINT64_C(1000000)

static bool matches(const char *pattern, const char *subject, enum glob_case letters)
{
    const struct glob_piece piece = { span_text(pattern), false };
    uint64_t steps = PLENTY;

    return glob_match(&piece, 1, span_text(subject), letters, &steps);
}

static void test_glob(void **state)
{
    static const struct {
        const char *pattern, *subject;
        bool exact, folded;
    } rows[] = {
        { "", "", true, true },
        { "", "a", false, false },
        { "*", "", true, true },
        { "***", "", true, true },
        { "?", "", false, false },
        { "*", "any / : \n thing", true, true },
        { "a", "a", true, true },
        { "a", "A", false, true },
        { "A*", "abc", false, true },
        { "a", "ab", false, false },
        { "ab", "a", false, false },
        { "a*c", "abc", true, true },
        { "a*c", "ac", true, true },
        { "a*c", "abcb", false, false },
        { "*b*", "abc", true, true },
        { "a?c", "abc", true, true },
        { "a?c", "ac", false, false },
        { "a??c", "abc", false, false },
        { "*a*b", "aabab", true, true },
        { "*abc", "ababc", true, true },
        { "a*b*c*d", "a-b-c-b-c-d", true, true },
        { "\\*", "*", false, false },
        { "\\*", "\\x", true, true },
        { "?", "\xc3\xa4", true, true },
        { "??", "\xc3\xa4", false, false },
        { "*??", "\xc3\xa4", false, false },
        { "*?", "\xf0\x9f\x98\x80", true, true },
        { "?\xa4", "\xc3\xa4", false, false },
        { "\xc3\xa4*", "\xc3\xa4x", true, true },
        { "\xc3\x84", "\xc3\xa4", false, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (matches(rows[i].pattern, rows[i].subject, GLOB_EXACT) != rows[i].exact ||
            matches(rows[i].pattern, rows[i].subject, GLOB_FOLD) != rows[i].folded)
            fail_msg("%s against %s", rows[i].pattern, rows[i].subject);
}

/* Pieces are one pattern; what is literal has no wildcards. */
static void test_glob_pieces(void **state)
{
    const struct glob_piece pieces[] = { { SPAN_LITERAL("a*"), false },
                                         { SPAN_LITERAL(""), true },
                                         { SPAN_LITERAL("*?"), true },
                                         { SPAN_LITERAL("?"), false } };
    uint64_t steps = PLENTY;

    (void)state;
    CHECK(glob_match(pieces, 4, SPAN_LITERAL("a--*?x"), GLOB_EXACT, &steps));
    CHECK(!glob_match(pieces, 4, SPAN_LITERAL("a--*x?"), GLOB_EXACT, &steps));
    CHECK(!glob_match(pieces, 4, SPAN_LITERAL("a--*?"), GLOB_EXACT, &steps));
    CHECK(glob_match(pieces, 0, SPAN_LITERAL(""), GLOB_EXACT, &steps));
    CHECK(!glob_match(pieces, 0, SPAN_LITERAL("x"), GLOB_EXACT, &steps));
    CHECK(glob_equal(pieces, 4, SPAN_LITERAL("a**??"), GLOB_EXACT));
    CHECK(!glob_equal(pieces, 4, SPAN_LITERAL("a**?"), GLOB_EXACT));
    CHECK(!glob_equal(pieces, 4, SPAN_LITERAL("a**???"), GLOB_EXACT));
    CHECK(!glob_equal(pieces, 4, SPAN_LITERAL("A**??"), GLOB_EXACT));
    CHECK(glob_equal(pieces, 4, SPAN_LITERAL("A**??"), GLOB_FOLD));
}

/* Two hundred stars do no harm; a long text behind one would, and is cut off. */
static void test_glob_bomb(void **state)
{
    static char stars[401], subject[8193], run[201];
    uint64_t steps = PLENTY;

    (void)state;
    for (int i = 0; i < 400; i += 2)
        memcpy(stars + i, "*a", 2);
    memset(subject, 'a', 8191);
    subject[8191] = 'b';
    CHECK(!glob_match(&(struct glob_piece){ span_text(stars), false }, 1, span_text(subject),
                      GLOB_EXACT, &steps));
    CHECK(steps > 0 && steps > PLENTY - 100000);

    run[0] = '*';
    memset(run + 1, 'a', 198);
    run[199] = 'c';
    steps = PLENTY;
    CHECK(!glob_match(&(struct glob_piece){ span_text(run), false }, 1, span_text(subject),
                      GLOB_EXACT, &steps));
    assert_int_equal(steps, 0);
    CHECK(!glob_match(&(struct glob_piece){ SPAN_LITERAL("*a"), false }, 1, span_text(subject),
                      GLOB_EXACT, &steps));
}

static void test_arn_split(void **state)
{
    static const char *const bad[] = {
        "", "arn", "arn:aws:kms:r:a", "ARN:aws:kms:r:a:x", ":::::", "xarn:aws:kms:r:a:x"
    };
    struct arn arn;

    (void)state;
    CHECK(arn_split(SPAN_LITERAL("arn:aws:kms:eu:1:key/a:b:c"), &arn));
    CHECK_SPAN(arn.fields[ARN_PREFIX], SPAN_LITERAL("arn"));
    CHECK_SPAN(arn.fields[ARN_SERVICE], SPAN_LITERAL("kms"));
    CHECK_SPAN(arn.fields[ARN_ACCOUNT], SPAN_LITERAL("1"));
    CHECK_SPAN(arn.fields[ARN_RESOURCE], SPAN_LITERAL("key/a:b:c"));
    CHECK(arn_split(SPAN_LITERAL("arn:::::"), &arn));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!arn_split(span_text(bad[i]), &arn));
    CHECK(account_id_valid(SPAN_LITERAL("123456789012")));
    CHECK(!account_id_valid(SPAN_LITERAL("12345678901")));
    CHECK(!account_id_valid(SPAN_LITERAL("12345678901x")));
}

static void test_action_table(void **state)
{
    (void)state;
    CHECK(action_count <= ACTIONS_MAX);
    for (size_t i = 0; i < action_count; i++) {
        const char *const name = actions[i].name;
        assert_int_equal(action_find(name), i);
        CHECK(strncmp(name, "kms:", 4) == 0 || strncmp(name, "sts:", 4) == 0);
        const char service[] = { name[0], name[1], name[2], '\0' };
        assert_int_equal(action_of(service, action_short_name((int)i)), i);
        CHECK(!actions[i].grantable || actions[i].cross_account);
        CHECK(action_mask(span_text(name)) == UINT64_C(1) << i);
    }
    assert_int_equal(action_find("kms:encrypt"), -1);
    assert_int_equal(action_find("Encrypt"), -1);
    assert_int_equal(action_of("kms", "AssumeRole"), -1);
    assert_int_equal(action_of("km", "s:Encrypt"), -1);
}

static void test_action_mask(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool expected;
    } rows[] = {
        { "*", "kms:Decrypt", true },
        { "*", "sts:AssumeRole", true },
        { "kms:*", "kms:Decrypt", true },
        { "kms:*", "sts:AssumeRole", false },
        { "KMS:decr*", "kms:Decrypt", true },
        { "kms:Decrypt", "kms:Encrypt", false },
        { "k?s:*crypt", "kms:Encrypt", true },
        { "kms:ReEncrypt*", "kms:ReEncryptTo", true },
        { "*:*", "kms:Decrypt", true },
        { "s3:*", "kms:Decrypt", false },
        { "kms:ReEncrypt", "kms:ReEncryptTo", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const uint64_t bit = UINT64_C(1) << action_row(rows[i].name);
        if (((action_mask(span_text(rows[i].pattern)) & bit) != 0) != rows[i].expected)
            fail_msg("%s against %s", rows[i].pattern, rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob),         cmocka_unit_test(test_glob_pieces),
        cmocka_unit_test(test_glob_bomb),    cmocka_unit_test(test_arn_split),
        cmocka_unit_test(test_action_table), cmocka_unit_test(test_action_mask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
