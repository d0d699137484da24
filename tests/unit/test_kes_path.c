/* Paths of the KES API: routes, names, escapes, lists that go on. */

#include <stdio.h>
#include <string.h>

#include "hsmkms/doors/kes_path.h"
#include "tests/support/check.h"

static void test_kes_path_matches(void **state)
{
    static const struct {
        const char *target, *path;
        enum kes_argument argument;
        const char *rest; /* NULL: it does not match */
    } rows[] = {
        { "/version", "/version", KES_NOTHING, "" },
        { "/version?x=/a", "/version", KES_NOTHING, "" },
        { "/version/", "/version", KES_NOTHING, NULL },
        { "/versions", "/version", KES_NOTHING, NULL },
        { "/versio", "/version", KES_NOTHING, NULL },
        { "/k/a", "/k", KES_NAME, "a" },
        { "/k/a?b", "/k", KES_NAME, "a" },
        { "/k/%41%5a%7e", "/k", KES_NAME, "AZ~" },
        { "/k/", "/k", KES_NAME, "" },
        { "/k", "/k", KES_NAME, NULL },
        { "/ka", "/k", KES_NAME, NULL },
        { "/k/a/b", "/k", KES_NAME, "/" }, /* no name has a slash: refused as one */
        { "/k/a%2fb", "/k", KES_NAME, "/" },
        { "/k/a%00b", "/k", KES_NAME, "/" },
        { "/k/a%", "/k", KES_NAME, "/" },
        { "/k/a%4", "/k", KES_NAME, "/" },
        { "/k/a%g0", "/k", KES_NAME, "/" },
        { "/k", "/k", KES_PREFIX, "" },
        { "/k?", "/k", KES_PREFIX, "" },
        { "/k/", "/k", KES_PREFIX, "" },
        { "/k/a%2A", "/k", KES_PREFIX, "a*" },
        { "/k", "/k", KES_ANY, "" },
        { "/k/a/b/c", "/k", KES_ANY, "" },
        { "/kk", "/k", KES_ANY, NULL },
    };
    char rest[KES_SEGMENT_MAX + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(kes_path_matches(rows[i].target, rows[i].path, rows[i].argument, rest),
                         rows[i].rest != NULL);
        if (rows[i].rest)
            assert_string_equal(rest, rows[i].rest);
    }
}

static void test_kes_path_has_a_longest_segment(void **state)
{
    char target[KES_SEGMENT_MAX + 8] = "/k/", rest[KES_SEGMENT_MAX + 1];

    (void)state;
    memset(target + 3, 'a', KES_SEGMENT_MAX);
    CHECK(kes_path_matches(target, "/k", KES_NAME, rest));
    assert_int_equal(strlen(rest), KES_SEGMENT_MAX);
    target[3 + KES_SEGMENT_MAX] = 'a';
    CHECK(kes_path_matches(target, "/k", KES_NAME, rest));
    assert_string_equal(rest, "/");
}

static void test_kes_name_valid(void **state)
{
    static const char *const good[] = { "a", "9", "_a", "__", "a-b_C", "0123456789" },
                             *const bad[] = { "",    "-",   "-a",  "a-",       "_",  "a.b",
                                              "a/b", "a:b", "a b", "\xc3\xa4", "a*", "a~" };
    char name[KES_NAME_MAX + 2] = "";

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK(kes_name_valid(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!kes_name_valid(bad[i]));
    memset(name, 'a', KES_NAME_MAX);
    CHECK(kes_name_valid(name));
    name[KES_NAME_MAX] = 'a';
    CHECK(!kes_name_valid(name));
}

static void test_kes_verbs(void **state)
{
    static const char *const methods[] = { "GET", "POST", "PUT", "DELETE", "HEAD", "get", "" };
    static const char *const fits[] = { "1000000", "0110000", "0001000", "1111111" };

    (void)state;
    for (size_t verbs = KES_GET; verbs <= KES_ANY_VERB; verbs++)
        for (size_t i = 0; i < ARRAY_LEN(methods); i++)
            assert_int_equal(kes_verb_fits((enum kes_verbs)verbs, methods[i]),
                             fits[verbs][i] == '1');
}

static void test_kes_listing(void **state)
{
    static const struct {
        const char *text, *prefix, *marker; /* prefix NULL: refused */
    } rows[] = {
        { "", "", "" },         { "*", "", "" },      { "ab", "ab", "" },
        { "ab*", "ab", "" },    { "ab-", "ab-", "" }, { "ab~x-_=", "ab", "x+/=" },
        { "~x", "", "x" },      { "a~", "a", "" },    { "a**", NULL, NULL },
        { "*a", NULL, NULL },   { "a/", NULL, NULL }, { "a~b~c", NULL, NULL },
        { "a~b+", NULL, NULL }, { "/", NULL, NULL },
    };
    struct kes_listing listing;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(kes_listing_parse(rows[i].text, &listing), rows[i].prefix != NULL);
        if (rows[i].prefix == NULL)
            continue;
        assert_string_equal(listing.prefix, rows[i].prefix);
        assert_string_equal(listing.marker, rows[i].marker);
    }
}

static void test_kes_listing_goes_round(void **state)
{
    struct kes_listing listing = { "a-b_c", "AZ+/09==" }, again;
    char text[KES_SEGMENT_MAX + 1];

    (void)state;
    CHECK(kes_listing_format(&listing, text));
    assert_string_equal(text, "a-b_c~AZ-_09==");
    CHECK(kes_listing_parse(text, &again));
    assert_string_equal(again.prefix, listing.prefix);
    assert_string_equal(again.marker, listing.marker);
    memset(listing.prefix, 'a', KES_NAME_MAX);
    memset(listing.marker, '/', KES_MARKER_MAX);
    CHECK(kes_listing_format(&listing, text) && kes_listing_parse(text, &again));
    assert_string_equal(again.marker, listing.marker);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kes_path_matches),
        cmocka_unit_test(test_kes_path_has_a_longest_segment),
        cmocka_unit_test(test_kes_name_valid),
        cmocka_unit_test(test_kes_verbs),
        cmocka_unit_test(test_kes_listing),
        cmocka_unit_test(test_kes_listing_goes_round),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
