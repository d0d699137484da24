/* The pure parts of keys/: blob, context, identifiers, state table, catalog. */

#include <stdio.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/keys/catalog.h"
#include "hsmkms/keys/context.h"
#include "hsmkms/keys/envelope.h"
#include "hsmkms/keys/identifier.h"
#include "tests/support/check.h"

/* --- envelope --------------------------------------------------------------------------------- */

/* A frozen blob of format 1: what was written once must be read for ever. 5 bytes of plaintext. */
static const char frozen_hex[] = "484b4d31010101000102030405060708090a0b0c0d0e0f10"
                                 "1112131415161718191a1b1c1d1e1f20"
                                 "2122232425262728292a2b2c2d2e2f30"
                                 "0c3132333435363738393a3b3c00000005"
                                 "aabbccddee000102030405060708090a0b0c0d0e0f";
#define FROZEN_LEN (ENVELOPE_OVERHEAD + 5)

static void frozen(uint8_t ret[FROZEN_LEN])
{
    CHECK(hex_parse(span_text(frozen_hex), ret, FROZEN_LEN));
}

static void test_envelope_parse_frozen_blob(void **state)
{
    struct kms_error err = { 0 };
    struct envelope envelope;
    uint8_t blob[FROZEN_LEN], header[ENVELOPE_HEADER_LEN];

    (void)state;
    frozen(blob);
    CHECK_OK(envelope_parse(SPAN_ARRAY(blob), &envelope, &err), err);
    assert_int_equal(envelope.plain_len, 5);
    assert_int_equal(envelope.installation.bytes[0], 0x01);
    assert_int_equal(envelope.key_id.bytes[15], 0x20);
    assert_int_equal(envelope.version_id.bytes[0], 0x21);
    assert_int_equal(envelope.nonce[11], 0x3c);
    assert_int_equal(envelope.sealed.ptr[0], 0xaa);
    envelope_header(&envelope, envelope.plain_len, header);
    CHECK_SPAN(SPAN_ARRAY(header), envelope.header);
}

static void test_envelope_parse_refuses_other_lengths(void **state)
{
    struct kms_error err = { 0 };
    struct envelope envelope;
    uint8_t blob[FROZEN_LEN + 1] = { 0 };

    (void)state;
    frozen(blob);
    for (size_t len = 0; len <= sizeof(blob); len++) {
        if (len != FROZEN_LEN)
            CHECK_FAILS(envelope_parse(span_of(blob, len), &envelope, &err), err,
                        KMS_ERR_INVALID_CIPHERTEXT);
    }
}

/* Of the fixed bytes each change is refused; the others are bound as AAD and cannot be judged. */
static void test_envelope_parse_refuses_changed_fixed_bytes(void **state)
{
    static const size_t fixed[] = { 0, 1, 2, 3, 4, 5, 6, 7, 56, 69, 70, 71, 72 };
    struct kms_error err = { 0 };
    struct envelope envelope;
    uint8_t blob[FROZEN_LEN];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            frozen(blob);
            blob[fixed[i]] ^= (uint8_t)(1u << bit);
            CHECK_FAILS(envelope_parse(SPAN_ARRAY(blob), &envelope, &err), err,
                        KMS_ERR_INVALID_CIPHERTEXT);
        }
    }
}

static void test_envelope_parse_bounds_of_plaintext(void **state)
{
    static const struct {
        size_t len;
        bool good;
    } rows[] = { { 0, false }, { 1, true }, { 4096, true }, { 4097, false } };
    uint8_t blob[ENVELOPE_OVERHEAD + 4097];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        struct envelope envelope;
        memset(blob, 0, sizeof(blob));
        frozen(blob);
        blob[71] = (uint8_t)(rows[i].len >> 8);
        blob[72] = (uint8_t)rows[i].len;
        const int parsed =
            envelope_parse(span_of(blob, ENVELOPE_OVERHEAD + rows[i].len), &envelope, &err);
        assert_int_equal(parsed == 0, rows[i].good);
    }
}

/* --- encryption context ----------------------------------------------------------------------- */

static struct context context_of(const char *const pairs[][2], size_t count)
{
    struct context context = { .count = count };

    for (size_t i = 0; i < count; i++)
        context.pairs[i] = (struct context_pair){ span_text(pairs[i][0]), span_text(pairs[i][1]) };
    return context;
}

static void test_context_order_makes_no_difference(void **state)
{
    static const char *const forwards[][2] = { { "a", "1" }, { "b", "2" }, { "aa", "3" } };
    static const char *const backwards[][2] = { { "b", "2" }, { "aa", "3" }, { "a", "1" } };
    struct kms_error err = { 0 };
    struct context first = context_of(forwards, 3), second = context_of(backwards, 3);
    AUTO(buf) a = { 0 };
    AUTO(buf) b = { 0 };

    (void)state;
    CHECK_OK(context_canonical(&first, &a, &err), err);
    CHECK_OK(context_canonical(&second, &b, &err), err);
    CHECK_SPAN(buf_span(&a), buf_span(&b));
    CHECK_SPAN(buf_span(&a), SPAN_LITERAL("\0\3"
                                          "\0\1a\0\0011"
                                          "\0\2aa\0\0013"
                                          "\0\1b\0\0012"));
}

static void test_context_lengths_keep_pairs_apart(void **state)
{
    static const char *const one[][2] = { { "ab", "c" } };
    static const char *const other[][2] = { { "a", "bc" } };
    struct kms_error err = { 0 };
    struct context first = context_of(one, 1), second = context_of(other, 1);
    AUTO(buf) a = { 0 };
    AUTO(buf) b = { 0 };

    (void)state;
    CHECK_OK(context_canonical(&first, &a, &err), err);
    CHECK_OK(context_canonical(&second, &b, &err), err);
    CHECK(!span_equal(buf_span(&a), buf_span(&b)));
}

/* U+FFFF sorts before U+10000 by bytes and after it by UTF-16 units. */
static void test_context_sorts_by_bytes(void **state)
{
    static const char *const pairs[][2] = { { "\xf0\x90\x80\x80", "2" }, { "\xef\xbf\xbf", "1" } };
    struct kms_error err = { 0 };
    struct context context = context_of(pairs, 2);
    AUTO(buf) bytes = { 0 };

    (void)state;
    CHECK_OK(context_canonical(&context, &bytes, &err), err);
    assert_memory_equal(bytes.ptr, "\0\2\0\3\xef\xbf\xbf", 7);
}

static void test_context_empty(void **state)
{
    struct kms_error err = { 0 };
    struct context context = { 0 };
    AUTO(buf) bytes = { 0 };

    (void)state;
    CHECK_OK(context_canonical(&context, &bytes, &err), err);
    CHECK_SPAN(buf_span(&bytes), SPAN_LITERAL("\0\0"));
}

static void test_context_refuses(void **state)
{
    static const char *const twice[][2] = { { "a", "1" }, { "b", "2" }, { "a", "3" } };
    static const char *const nameless[][2] = { { "", "1" } };
    static char large[CONTEXT_BYTES_MAX];
    struct kms_error err = { 0 };
    AUTO(buf) bytes = { 0 };

    (void)state;
    struct context context = context_of(twice, 3);
    CHECK_FAILS(context_canonical(&context, &bytes, &err), err, KMS_ERR_VALIDATION);
    context = context_of(nameless, 1);
    CHECK_FAILS(context_canonical(&context, &bytes, &err), err, KMS_ERR_VALIDATION);
    memset(large, 'x', sizeof(large));
    /* 2 bytes of count, 2 + 1 of name, 2 of length: this value fills the limit exactly */
    context = (struct context){ .count = 1 };
    context.pairs[0] =
        (struct context_pair){ SPAN_LITERAL("n"), span_of(large, CONTEXT_BYTES_MAX - 7) };
    CHECK_OK(context_canonical(&context, &bytes, &err), err);
    assert_int_equal(bytes.len, CONTEXT_BYTES_MAX);
    context.pairs[0].value.len++;
    CHECK_FAILS(context_canonical(&context, &bytes, &err), err, KMS_ERR_VALIDATION);
}

/* --- identifiers ------------------------------------------------------------------------------ */

#define ID  "1234abcd-12ab-34cd-56ef-1234567890ab"
#define MRK "mrk-1234abcd12ab34cd56ef1234567890ab"

static void test_identifier_parse(void **state)
{
    static const struct {
        const char *text;
        enum kms_err code;
        enum identifier_kind kind;
        bool is_arn;
    } rows[] = {
        { ID, KMS_ERR_NONE, IDENTIFIER_KEY, false },
        { MRK, KMS_ERR_NONE, IDENTIFIER_FAMILY, false },
        { "alias/x", KMS_ERR_NONE, IDENTIFIER_ALIAS, false },
        { "arn:aws:kms:us-east-1:000000000000:key/" ID, KMS_ERR_NONE, IDENTIFIER_KEY, true },
        { "arn:aws:kms:us-east-1:000000000000:alias/a/b", KMS_ERR_NONE, IDENTIFIER_ALIAS, true },
        { "arn:aws-cn:kms:r:000000000000:key/" MRK, KMS_ERR_NONE, IDENTIFIER_FAMILY, true },
        { "", KMS_ERR_NOT_FOUND, 0, false },
        { "x", KMS_ERR_NOT_FOUND, 0, false },
        { "1234abcd12ab34cd56ef1234567890ab", KMS_ERR_NOT_FOUND, 0, false },
        { "mrk-1234ABCD12ab34cd56ef1234567890ab", KMS_ERR_NOT_FOUND, 0, false },
        { ID "0", KMS_ERR_NOT_FOUND, 0, false },
        { "key/" ID, KMS_ERR_NOT_FOUND, 0, false },
        { "arn:", KMS_ERR_INVALID_ARN, 0, false },
        { "arn:aws:kms:us-east-1:000000000000:" ID, KMS_ERR_INVALID_ARN, 0, false },
        { "arn:aws:kms:us-east-1:00000000000:key/" ID, KMS_ERR_INVALID_ARN, 0, false },
        { "arn:aws:s3:us-east-1:000000000000:key/" ID, KMS_ERR_INVALID_ARN, 0, false },
        { "arn:aws:kms::000000000000:key/" ID, KMS_ERR_INVALID_ARN, 0, false },
        { "arn::kms:us-east-1:000000000000:key/" ID, KMS_ERR_INVALID_ARN, 0, false },
        { "arn:aws:kms:us-east-1:000000000000:alias/", KMS_ERR_INVALID_ARN, 0, false },
        { "arn:aws:kms:us-east-1:000000000000:key/x", KMS_ERR_INVALID_ARN, 0, false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        struct identifier parsed = { 0 };
        (void)!identifier_parse(rows[i].text, &parsed, &err);
        if (err.code != rows[i].code)
            fail_msg("'%s' gave '%s'", rows[i].text, kms_err_name(err.code));
        if (err.code == KMS_ERR_NONE) {
            assert_int_equal(parsed.kind, rows[i].kind);
            assert_int_equal(parsed.is_arn, rows[i].is_arn);
        }
    }
}

/* --- states and catalog ----------------------------------------------------------------------- */

static struct key *key_in(const char *state_text, const char *manager)
{
    struct kms_error err = { 0 };
    char state[32], owner[16], spec[] = "SYMMETRIC_DEFAULT", usage[] = "ENCRYPT_DECRYPT";
    struct key *key = NULL;

    (void)snprintf(state, sizeof(state), "%s", state_text);
    (void)snprintf(owner, sizeof(owner), "%s", manager);
    const struct key_record record = { .id = uuid_random(), .state = state, .manager = owner,
                                       .spec = spec, .usage = usage };
    CHECK_OK(key_new(&record, &key, &err), err);
    return key;
}

/* AWS KMS Developer Guide, Key states: the rows that this service has. */
static void test_key_may(void **state)
{
    static const struct {
        const char *key_state;
        enum key_use use;
        enum kms_err code;
        const char *text;
    } rows[] = {
        { "Enabled", KEY_USE_CRYPTO, KMS_ERR_NONE, "" },
        { "Disabled", KEY_USE_CRYPTO, KMS_ERR_DISABLED, "ARN is disabled." },
        { "PendingDeletion", KEY_USE_CRYPTO, KMS_ERR_INVALID_STATE, "ARN is pending deletion." },
        { "PendingDeletion", KEY_USE_SCHEDULE, KMS_ERR_INVALID_STATE, "ARN is pending deletion." },
        { "PendingDeletion", KEY_USE_CANCEL, KMS_ERR_NONE, "" },
        { "Enabled", KEY_USE_CANCEL, KMS_ERR_INVALID_STATE, "ARN is not pending deletion." },
        { "Disabled", KEY_USE_ROTATION, KMS_ERR_DISABLED, "ARN is disabled." },
        { "Disabled", KEY_USE_SWITCH, KMS_ERR_NONE, "" },
        { "Enabled", KEY_USE_GRANT, KMS_ERR_NONE, "" },
        { "Disabled", KEY_USE_GRANT, KMS_ERR_DISABLED, "ARN is disabled." },
        { "PendingDeletion", KEY_USE_GRANT, KMS_ERR_INVALID_STATE, "ARN is pending deletion." },
        { "PendingDeletion", KEY_USE_READ, KMS_ERR_NONE, "" },
        { "Creating", KEY_USE_READ, KMS_ERR_NOT_FOUND, "Key 'ARN' does not exist" },
        { "Deleting", KEY_USE_CANCEL, KMS_ERR_NOT_FOUND, "Key 'ARN' does not exist" },
        { "Deleted", KEY_USE_CRYPTO, KMS_ERR_NOT_FOUND, "Key 'ARN' does not exist" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        struct key *const key = key_in(rows[i].key_state, "CUSTOMER");
        (void)!key_may(key, rows[i].use, "ARN", &err);
        assert_int_equal(err.code, rows[i].code);
        assert_string_equal(err.message, rows[i].text);
        key_unref(key);
    }
}

static void test_catalog_pages_in_order(void **state)
{
    enum { COUNT = 300, PAGE = 7 };
    struct kms_error err = { 0 };
    struct catalog *const catalog = catalog_new();
    struct key *page[PAGE];
    struct uuid last = { { 0 } };
    size_t seen = 0, got;

    (void)state;
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(catalog_publish(catalog, key_in(i % 3 ? "Enabled" : "Deleted", "CUSTOMER"), &err),
                 err);
    assert_int_equal(catalog_count(catalog), COUNT - COUNT / 3);
    while ((got = catalog_keys(catalog, seen ? &last : NULL, page, PAGE)) > 0) {
        for (size_t i = 0; i < got; i++) {
            CHECK(uuid_compare(&last, &page[i]->record.id) < 0);
            last = page[i]->record.id;
            key_unref(page[i]);
        }
        seen += got;
    }
    assert_int_equal(seen, COUNT - COUNT / 3);
    catalog_free(catalog);
}

static void test_catalog_publish_replaces_and_counts(void **state)
{
    struct kms_error err = { 0 };
    struct catalog *const catalog = catalog_new();
    struct key *const first = key_ref(key_in("Enabled", "CUSTOMER"));
    struct key *second = NULL;

    (void)state;
    CHECK_OK(catalog_publish(catalog, first, &err), err);
    CHECK_OK(key_copy(first, &second, &err), err);
    CHECK_OK(key_set_state(second, KEY_DELETED, &err), err);
    CHECK_OK(catalog_publish(catalog, second, &err), err);
    assert_int_equal(catalog_count(catalog), 0);
    assert_int_equal(first->state, KEY_ENABLED); /* a snapshot in use does not change */
    struct key *const found = catalog_find(catalog, &first->record.id);
    assert_int_equal(found->state, KEY_DELETED);
    key_unref(found);
    key_unref(first);
    CHECK_OK(catalog_publish(catalog, key_in("Enabled", "AWS"), &err), err);
    assert_int_equal(catalog_count(catalog), 0); /* quota is for customer keys */
    catalog_free(catalog);
}

static void test_catalog_aliases(void **state)
{
    struct kms_error err = { 0 };
    struct catalog *const catalog = catalog_new();
    const struct uuid one = uuid_random(), two = uuid_random();
    struct alias found, page[8];

    (void)state;
    for (int i = 0; i < 5; i++) {
        struct alias alias = { .key_id = i % 2 ? one : two };
        (void)snprintf(alias.name, sizeof(alias.name), "alias/%d", i);
        CHECK_OK(catalog_alias_put(catalog, &alias, &err), err);
    }
    CHECK(catalog_alias(catalog, "alias/3", &found) && uuid_equal(&found.key_id, &one));
    CHECK(!catalog_alias(catalog, "alias/", &found));
    CHECK(!catalog_alias(catalog, "alias/9", &found));
    assert_int_equal(catalog_alias_count(catalog, &two), 3);
    assert_int_equal(catalog_aliases(catalog, "alias/1", NULL, page, 8), 3);
    assert_string_equal(page[0].name, "alias/2");
    assert_int_equal(catalog_aliases(catalog, NULL, &one, page, 8), 2);
    assert_int_equal(catalog_aliases(catalog, "alias/2", &two, page, 8), 1);
    assert_string_equal(page[0].name, "alias/4");
    catalog_alias_drop(catalog, "alias/3");
    CHECK(!catalog_alias(catalog, "alias/3", &found));
    catalog_alias_drop(catalog, "alias/3");
    assert_int_equal(catalog_alias_count(catalog, &one), 1);
    catalog_free(catalog);
}

static struct alias alias_to(const char *name, const struct uuid *key_id, int64_t updated_ms)
{
    struct alias alias = { .key_id = *key_id, .updated_ms = updated_ms };

    (void)snprintf(alias.name, sizeof(alias.name), "%s", name);
    return alias;
}

/* An alias that is put again moves to the key it names now, or stays with it. */
static void test_catalog_alias_moves(void **state)
{
    struct kms_error err = { 0 };
    struct catalog *const catalog = catalog_new();
    const struct uuid one = uuid_random(), two = uuid_random();
    const struct alias rows[] = { alias_to("alias/b", &one, 1), alias_to("alias/a", &one, 2),
                                  alias_to("alias/b", &two, 3), alias_to("alias/b", &two, 4) };
    struct alias found, page[8];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_OK(catalog_alias_put(catalog, &rows[i], &err), err);
    assert_int_equal(catalog_alias_count(catalog, &one), 1);
    assert_int_equal(catalog_aliases(catalog, NULL, &two, page, 8), 1);
    assert_string_equal(page[0].name, "alias/b");
    assert_int_equal(page[0].updated_ms, 4);
    assert_int_equal(catalog_aliases(catalog, NULL, NULL, page, 8), 2);
    CHECK(catalog_alias(catalog, "alias/b", &found) && uuid_equal(&found.key_id, &two));
    catalog_alias_drop(catalog, "alias/b");
    assert_int_equal(catalog_alias_count(catalog, &two), 0);
    assert_int_equal(catalog_aliases(catalog, NULL, &two, page, 8), 0);
    assert_int_equal(catalog_alias_count(catalog, &one), 1);
    catalog_free(catalog);
}

/* Questions about one key cost the same among few aliases and among many. */
static void test_catalog_alias_count_among_many(void **state)
{
    enum { MANY = 100000, ASKED = 100000 };
    struct kms_error err = { 0 };
    struct catalog *const catalog = catalog_new();
    const struct uuid none = uuid_random();
    struct uuid some = none;
    struct alias page[2];

    (void)state;
    for (int i = 0; i < MANY; i++) { /* in order, as the store reads them */
        char name[32];
        (void)snprintf(name, sizeof(name), "alias/%06d", i);
        some = i % 2 ? some : uuid_random();
        const struct alias alias = alias_to(name, &some, i);
        CHECK_OK(catalog_alias_put(catalog, &alias, &err), err);
    }
    /* by looking at every alias these would be billions of looks, and the test would time out */
    for (int i = 0; i < ASKED; i++) {
        assert_int_equal(catalog_alias_count(catalog, &some), 2);
        assert_int_equal(catalog_alias_count(catalog, &none), 0);
        assert_int_equal(catalog_aliases(catalog, "alias/0", &some, page, 2), 2);
        assert_int_equal(catalog_aliases(catalog, NULL, &none, page, 2), 0);
    }
    catalog_free(catalog);
}

static void test_key_tags_in_order(void **state)
{
    struct kms_error err = { 0 };
    struct key *const key = key_in("Enabled", "CUSTOMER");
    static const char *const names[] = { "b", "a", "c", "b" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char name[2], value[2] = { (char)('0' + i), 0 };
        (void)snprintf(name, sizeof(name), "%s", names[i]);
        const struct tag_record tag = { .tag_key = name, .tag_value = value };
        CHECK_OK(key_set_tag(key, &tag, &err), err);
    }
    assert_int_equal(key->tag_count, 3);
    assert_string_equal(key->tags[0].tag_key, "a");
    assert_string_equal(key->tags[1].tag_value, "3");
    key_remove_tag(key, "b");
    key_remove_tag(key, "b");
    assert_int_equal(key->tag_count, 2);
    key_unref(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelope_parse_frozen_blob),
        cmocka_unit_test(test_envelope_parse_refuses_other_lengths),
        cmocka_unit_test(test_envelope_parse_refuses_changed_fixed_bytes),
        cmocka_unit_test(test_envelope_parse_bounds_of_plaintext),
        cmocka_unit_test(test_context_order_makes_no_difference),
        cmocka_unit_test(test_context_lengths_keep_pairs_apart),
        cmocka_unit_test(test_context_sorts_by_bytes),
        cmocka_unit_test(test_context_empty),
        cmocka_unit_test(test_context_refuses),
        cmocka_unit_test(test_identifier_parse),
        cmocka_unit_test(test_key_may),
        cmocka_unit_test(test_catalog_pages_in_order),
        cmocka_unit_test(test_catalog_publish_replaces_and_counts),
        cmocka_unit_test(test_catalog_aliases),
        cmocka_unit_test(test_catalog_alias_moves),
        cmocka_unit_test(test_catalog_alias_count_among_many),
        cmocka_unit_test(test_key_tags_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
