#include "hsmkms/api/paging.h"

#include "hsmkms/base/encode.h"
#include "tests/support/check.h"

static const struct list keys = { "ListKeys", { 0 } };

static void test_limits(void **state)
{
    static const struct page_size size = { .preset = 50, .most = 100 };

    (void)state;
    assert_int_equal(page_limit(size, 0), 50);
    assert_int_equal(page_limit(size, 1), 1);
    assert_int_equal(page_limit(size, 100), 100);
    assert_int_equal(page_limit(size, 101), 100);
    assert_int_equal(page_limit(size, INT64_MAX), 100);
    assert_int_equal(page_limit(size, -1), 50);
}

static void format(const struct list *list, struct span last, struct buf *ret)
{
    struct kms_error err = { 0 };

    CHECK_OK(marker_format(list, last, ret, &err), err);
    buf_u8(ret, 0);
    CHECK(!ret->failed);
}

/* Any sort key comes back, up to the longest alias or tag, in at most 1024 characters. */
static void test_round_trip(void **state)
{
    static const size_t lens[] = { 1, 16, 256, 512 };
    uint8_t last[512];

    (void)state;
    for (size_t i = 0; i < sizeof(last); i++)
        last[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct kms_error err = { 0 };
        AUTO(buf) text = { 0 };
        AUTO(buf) back = { 0 };

        format(&keys, span_of(last, lens[i]), &text);
        CHECK(text.len <= 1025);
        CHECK_OK(marker_parse(&keys, (const char *)text.ptr, &back, &err), err);
        CHECK_SPAN(buf_span(&back), span_of(last, lens[i]));
    }
}

static void test_damaged(void **state)
{
    AUTO(buf) text = { 0 };

    (void)state;
    format(&keys, SPAN_LITERAL("0123456789abcdef"), &text);
    for (size_t i = 0; i + 1 < text.len; i++) {
        struct kms_error err = { 0 };
        AUTO(buf) back = { 0 };
        const uint8_t was = text.ptr[i];

        text.ptr[i] = was == 'A' ? 'B' : 'A';
        CHECK_FAILS(marker_parse(&keys, (const char *)text.ptr, &back, &err), err,
                    KMS_ERR_INVALID_MARKER);
        text.ptr[i] = '\0';
        CHECK_FAILS(marker_parse(&keys, (const char *)text.ptr, &back, &err), err,
                    KMS_ERR_INVALID_MARKER);
        text.ptr[i] = was;
        assert_int_equal(back.len, 0);
    }
}

static void test_foreign(void **state)
{
    static const struct list lists[] = {
        { "ListKeys", { 0 } },
        { "ListAliases", { 0 } },
        { "ListAliases", { (const uint8_t *)"key-of-16-bytes1", 16 } },
        { "ListAliases", { (const uint8_t *)"key-of-16-bytes2", 16 } },
        { "ListResourceTags", { (const uint8_t *)"key-of-16-bytes1", 16 } },
    };

    (void)state;
    for (size_t from = 0; from < ARRAY_LEN(lists); from++) {
        AUTO(buf) text = { 0 };

        format(&lists[from], SPAN_LITERAL("last"), &text);
        for (size_t to = 0; to < ARRAY_LEN(lists); to++) {
            struct kms_error err = { 0 };
            AUTO(buf) back = { 0 };

            if (from == to)
                CHECK_OK(marker_parse(&lists[to], (const char *)text.ptr, &back, &err), err);
            else
                CHECK_FAILS(marker_parse(&lists[to], (const char *)text.ptr, &back, &err), err,
                            KMS_ERR_INVALID_MARKER);
        }
    }
}

static void test_nonsense(void **state)
{
    static const char *const rows[] = { "",     "x",        "====",
                                        "AAAA", "\xc3\xbf", "AAAAAAAAAAAAAAAAAAAAAAAAAAAA" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        AUTO(buf) back = { 0 };
        CHECK_FAILS(marker_parse(&keys, rows[i], &back, &err), err, KMS_ERR_INVALID_MARKER);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged),  cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
