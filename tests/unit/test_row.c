#include "tests/support/check.h"
#include "tests/support/store_fixture.h"

/* docs/STORE.md's layout, byte by byte, so that it cannot change unnoticed. */
static void test_row_bytes_are_as_described(void **state)
{
    static const uint8_t expected[] = "\0\0\0\x0c"
                                      "hsmkms row 1"
                                      "\0\0\0\x03"
                                      "tag"
                                      "\0\0\0\0\0\0\0\x07"
                                      "\x01"
                                      "\0\0\0\x03"
                                      "b\0\0\0\x10"
                                      "0123456789abcdef"
                                      "t\0\0\0\x01k"
                                      "n";
    struct tag_record record = { .key_id = { "0123456789abcdef" }, .tag_key = (char[]){ "k" } };
    struct row row = { .sequence = 7, .dead = true };
    AUTO(buf) bytes = { 0 };

    (void)state;
    row_from_record(&tag_table, &record, &row);
    row_bytes(&tag_table, &row, &bytes);
    CHECK_SPAN(buf_span(&bytes), span_of(expected, sizeof(expected) - 1));
}

static void alias_bytes(const struct alias_record *record, struct buf *ret)
{
    struct row row = { .sequence = 1 };

    row_from_record(&alias_table, record, &row);
    row_bytes(&alias_table, &row, ret);
}

static void test_row_bytes_of_integers_are_fixed_width(void **state)
{
    static const int64_t values[] = { 0, 1, -1, 255, 256, INT64_MIN, INT64_MAX };
    AUTO(buf) first = { 0 };

    (void)state;
    alias_bytes(&(struct alias_record){ 0 }, &first);
    for (size_t i = 1; i < ARRAY_LEN(values); i++) {
        AUTO(buf) other = { 0 };
        alias_bytes(&(struct alias_record){ .created_ms = values[i] }, &other);
        assert_int_equal(other.len, first.len);
        CHECK(!span_equal(buf_span(&first), buf_span(&other)));
    }
}

static void test_row_bytes_tell_null_from_empty(void **state)
{
    AUTO(buf) null = { 0 };
    AUTO(buf) empty = { 0 };

    (void)state;
    alias_bytes(&(struct alias_record){ .name = NULL }, &null);
    alias_bytes(&(struct alias_record){ .name = (char[]){ "" } }, &empty);
    CHECK(!span_equal(buf_span(&null), buf_span(&empty)));
}

/* What moves between neighbouring columns must show: ("ab","c") is not ("a","bc"). */
static void test_row_bytes_tell_columns_apart(void **state)
{
    struct access_key_record one = { .account = (char[]){ "ab" }, .owner = (char[]){ "c" } };
    struct access_key_record two = { .account = (char[]){ "a" }, .owner = (char[]){ "bc" } };
    struct row row = { .sequence = 1 };
    AUTO(buf) first = { 0 };
    AUTO(buf) second = { 0 };

    (void)state;
    row_from_record(&access_key_table, &one, &row);
    row_bytes(&access_key_table, &row, &first);
    row_from_record(&access_key_table, &two, &row);
    row_bytes(&access_key_table, &row, &second);
    CHECK(!span_equal(buf_span(&first), buf_span(&second)));
}

static void test_record_copy_is_deep_and_equal(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    for (const struct table *const *table = schema_tables; *table; table++) {
        for (unsigned seed = 0; seed < 32; seed++) {
            union any_record from = { 0 }, copy = { 0 };
            struct row row = { 0 };
            AUTO(buf) before = { 0 };
            AUTO(buf) after = { 0 };
            fill_record(*table, seed, &from);
            row_from_record(*table, &from, &row);
            row_bytes(*table, &row, &before);
            CHECK_OK(record_copy(*table, &from, &copy, &err), err);
            record_done(*table, &from);
            row_from_record(*table, &copy, &row);
            row_bytes(*table, &row, &after);
            CHECK_SPAN(buf_span(&after), buf_span(&before));
            record_done(*table, &copy);
        }
    }
}

static void test_record_copy_refuses_a_failed_buffer(void **state)
{
    struct kms_error err = { 0 };
    struct version_record from = { .canary = { .failed = true } }, copy = { 0 };

    (void)state;
    CHECK_FAILS(record_copy(&version_table, &from, &copy, &err), err, KMS_ERR_INTERNAL);
}

static void test_row_key_hash_names_table_and_key(void **state)
{
    struct kms_error err = { 0 };
    struct alias_record alias = { .name = (char[]){ "a" }, .created_ms = 1 };
    struct access_key_record key = { .id = (char[]){ "a" } };
    struct row row = { 0 };
    uint8_t first[SHA256_LEN], second[SHA256_LEN];

    (void)state;
    row_from_record(&alias_table, &alias, &row);
    CHECK_OK(row_key_hash(&alias_table, &row, first, &err), err);
    alias.created_ms = 2;
    row_from_record(&alias_table, &alias, &row);
    CHECK_OK(row_key_hash(&alias_table, &row, second, &err), err);
    assert_memory_equal(first, second, SHA256_LEN);
    row_from_record(&access_key_table, &key, &row);
    CHECK_OK(row_key_hash(&access_key_table, &row, second, &err), err);
    assert_memory_not_equal(first, second, SHA256_LEN);
}

static void test_row_label_names_the_key_only(void **state)
{
    struct tag_record tag = { .tag_key = (char[]){ "cost" }, .tag_value = (char[]){ "hidden" } };
    struct row row = { 0 };

    (void)state;
    row_from_record(&tag_table, &tag, &row);
    assert_string_equal(row_label(&tag_table, &row).text,
                        "tag 00000000-0000-0000-0000-000000000000 'cost'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row_bytes_are_as_described),
        cmocka_unit_test(test_row_bytes_of_integers_are_fixed_width),
        cmocka_unit_test(test_row_bytes_tell_null_from_empty),
        cmocka_unit_test(test_row_bytes_tell_columns_apart),
        cmocka_unit_test(test_record_copy_is_deep_and_equal),
        cmocka_unit_test(test_record_copy_refuses_a_failed_buffer),
        cmocka_unit_test(test_row_key_hash_names_table_and_key),
        cmocka_unit_test(test_row_label_names_the_key_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
