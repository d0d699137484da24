#include <stdio.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/iam/authorize.h"
#include "hsmkms/iam/signing_key.h"
#include "tests/support/check.h"

#define SCOPE(d, r, s)                                                                             \
    ((struct signing_scope){                                                                       \
        .date = SPAN_LITERAL(d), .region = SPAN_LITERAL(r), .service = SPAN_LITERAL(s) })

/* The first row agrees with botocore's signer; the second is AWS's published example (AWS General
 * Reference, Deriving the signing key). */
static void test_signing_key_derive_vectors(void **state)
{
    static const struct {
        const char *secret, *date, *region, *service, *hex;
    } rows[] = {
        { "k3yForTests/NotASecret+hsmkms0123456789AB", "20261120", "us-east-1", "kms",
          "05e36111cd91e0773c0d37752db4bc1644b17b08eeb4e4f61fe0ddc97d88ceb0" },
        { "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "iam",
          "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        const struct signing_scope scope = { .date = span_text(rows[i].date),
                                             .region = span_text(rows[i].region),
                                             .service = span_text(rows[i].service) };
        char hex[SHA256_HEX_LEN + 1];
        AUTO(secret) key = { 0 };

        CHECK_OK(signing_key_derive(span_text(rows[i].secret), &scope, &key, &err), err);
        assert_int_equal(key.len, SHA256_LEN);
        hex_format(hex, secret_span(&key));
        assert_string_equal(hex, rows[i].hex);
    }
}

static void test_signing_key_derive_each_part_counts(void **state)
{
    const struct signing_scope scopes[] = { SCOPE("20261120", "us-east-1", "kms"),
                                            SCOPE("20261121", "us-east-1", "kms"),
                                            SCOPE("20261120", "us-east-2", "kms"),
                                            SCOPE("20261120", "us-east-1", "sts") };
    struct secret keys[ARRAY_LEN(scopes)] = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++) {
        CHECK_OK(signing_key_derive(SPAN_LITERAL("secret"), &scopes[i], &keys[i], &err), err);
        for (size_t j = 0; j < i; j++)
            CHECK(!equal_ct(secret_span(&keys[i]), secret_span(&keys[j])));
    }
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        secret_done(&keys[i]);
}

/* --- cache ------------------------------------------------------------------------------------ */

/* 1 found and equal to expected, 0 absent. */
static int cached(struct signing_cache *cache, const struct signing_set *set,
                  const struct signing_scope *scope, int64_t serial, const char *expected)
{
    struct kms_error err = { 0 };
    AUTO(secret) key = { 0 };

    const int found = signing_cache_find(cache, set, scope, serial, &key, &err);
    if (found == 1)
        CHECK_SPAN(secret_span(&key), span_text(expected));
    return found;
}

static void test_signing_cache_keeps_two_dates(void **state)
{
    const struct signing_scope first = SCOPE("20261119", "us-east-1", "kms");
    const struct signing_scope other_region = SCOPE("20261119", "eu-west-1", "kms");
    const struct signing_scope second = SCOPE("20261120", "us-east-1", "kms");
    const struct signing_scope third = SCOPE("20261121", "us-east-1", "kms");
    struct kms_error err = { 0 };
    struct signing_cache cache;
    struct signing_set set = { 0 };

    (void)state;
    CHECK_OK(signing_cache_init(&cache, 16, &err), err);
    signing_cache_put(&cache, &set, &first, 1, SPAN_LITERAL("first"));
    signing_cache_put(&cache, &set, &other_region, 1, SPAN_LITERAL("region"));
    signing_cache_put(&cache, &set, &second, 1, SPAN_LITERAL("second"));
    assert_int_equal(cached(&cache, &set, &first, 1, "first"), 1);
    assert_int_equal(cached(&cache, &set, &other_region, 1, "region"), 1);
    signing_cache_put(&cache, &set, &third, 1, SPAN_LITERAL("third"));
    assert_int_equal(cached(&cache, &set, &first, 1, ""), 0);
    assert_int_equal(cached(&cache, &set, &other_region, 1, ""), 0);
    assert_int_equal(cached(&cache, &set, &second, 1, "second"), 1);
    assert_int_equal(cached(&cache, &set, &third, 1, "third"), 1);
    assert_int_equal(signing_cache_count(&cache), 2);
    signing_cache_done(&cache);
}

static void test_signing_cache_pushes_out_the_least_recently_used(void **state)
{
    const struct signing_scope scope = SCOPE("20261120", "us-east-1", "kms");
    struct kms_error err = { 0 };
    struct signing_cache cache;
    struct signing_set sets[4] = { 0 };

    (void)state;
    CHECK_OK(signing_cache_init(&cache, 3, &err), err);
    for (size_t i = 0; i < 3; i++)
        signing_cache_put(&cache, &sets[i], &scope, 1, SPAN_LITERAL("key"));
    assert_int_equal(cached(&cache, &sets[0], &scope, 1, "key"), 1); /* now the newest */
    signing_cache_put(&cache, &sets[3], &scope, 1, SPAN_LITERAL("key"));
    assert_int_equal(signing_cache_count(&cache), 3);
    assert_int_equal(cached(&cache, &sets[0], &scope, 1, "key"), 1);
    assert_int_equal(cached(&cache, &sets[1], &scope, 1, ""), 0);
    assert_int_equal(cached(&cache, &sets[2], &scope, 1, "key"), 1);
    assert_int_equal(cached(&cache, &sets[3], &scope, 1, "key"), 1);
    signing_cache_done(&cache);
}

static void test_signing_cache_drop_serial_and_replace(void **state)
{
    const struct signing_scope scope = SCOPE("20261120", "us-east-1", "kms");
    struct kms_error err = { 0 };
    struct signing_cache cache;
    struct signing_set set = { 0 }, other = { 0 };

    (void)state;
    CHECK_OK(signing_cache_init(&cache, 8, &err), err);
    signing_cache_put(&cache, &set, &scope, 1, SPAN_LITERAL("old"));
    signing_cache_put(&cache, &other, &scope, 1, SPAN_LITERAL("other"));
    assert_int_equal(cached(&cache, &set, &scope, 2, ""), 0); /* the access key has changed */
    signing_cache_put(&cache, &set, &scope, 2, SPAN_LITERAL("new"));
    assert_int_equal(cached(&cache, &set, &scope, 2, "new"), 1);
    assert_int_equal(signing_cache_count(&cache), 2);
    signing_cache_drop(&cache, &set);
    assert_int_equal(cached(&cache, &set, &scope, 2, ""), 0);
    assert_int_equal(cached(&cache, &other, &scope, 1, "other"), 1);
    signing_cache_done(&cache);
}

static void test_signing_cache_does_not_keep_odd_scopes(void **state)
{
    const struct signing_scope odd[] = {
        SCOPE("2026112", "us-east-1", "kms"),
        SCOPE("202611200", "us-east-1", "kms"),
        SCOPE("20261120", "", "kms"),
        SCOPE("20261120", "us-east-1", ""),
        SCOPE("20261120", "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr",
              "kms"),
    };
    struct kms_error err = { 0 };
    struct signing_cache cache;
    struct signing_set set = { 0 };

    (void)state;
    CHECK_OK(signing_cache_init(&cache, 8, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        signing_cache_put(&cache, &set, &odd[i], 1, SPAN_LITERAL("key"));
    assert_int_equal(signing_cache_count(&cache), 0);
    signing_cache_done(&cache);
}

/* --- principals ------------------------------------------------------------------------------- */

static void test_principal_of_user(void **state)
{
    struct kms_error err = { 0 };
    struct principal root, alice, again, bob, elsewhere;

    (void)state;
    CHECK_OK(principal_of_user("111122223333", "", "AKIA2", &root, &err), err);
    assert_int_equal(root.kind, PRINCIPAL_ROOT);
    assert_string_equal(root.arn, "arn:aws:iam::111122223333:root");
    assert_string_equal(root.id, "111122223333");
    assert_string_equal(root.user_name, "");
    assert_string_equal(root.access_key_id, "AKIA2");

    CHECK_OK(principal_of_user("111122223333", "alice", "AKIA3", &alice, &err), err);
    CHECK_OK(principal_of_user("111122223333", "alice", "AKIA4", &again, &err), err);
    CHECK_OK(principal_of_user("111122223333", "bob", "AKIA3", &bob, &err), err);
    CHECK_OK(principal_of_user("111122223334", "alice", "AKIA3", &elsewhere, &err), err);
    assert_int_equal(alice.kind, PRINCIPAL_USER);
    assert_string_equal(alice.arn, "arn:aws:iam::111122223333:user/alice");
    assert_int_equal(strlen(alice.id), UNIQUE_ID_LEN);
    assert_memory_equal(alice.id, "AIDA", 4);
    assert_int_equal(strspn(alice.id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), UNIQUE_ID_LEN);
    assert_string_equal(alice.id, again.id);
    assert_string_not_equal(alice.id, bob.id);
    assert_string_not_equal(alice.id, elsewhere.id);
}

/* RFC 4648 section 10: "foobar" is MZXW6YTBOI, ten letters of which the first eight are whole. */
static void test_unique_id_format_is_base32(void **state)
{
    char id[UNIQUE_ID_LEN + 1];

    (void)state;
    unique_id_format(id, "AKIA", (const uint8_t *)"foobafooba");
    assert_string_equal(id, "AKIAMZXW6YTBMZXW6YTB");
    unique_id_format(id, "AIDA", (const uint8_t[UNIQUE_ID_BITS]){ 0 });
    assert_string_equal(id, "AIDAAAAAAAAAAAAAAAAA");
}

static void test_principal_user_name(void **state)
{
    static const char *const good[] = {
        "a", "alice", "A.b-c_d=e+f,g@h", "0",
        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"
    };
    static const char *const bad[] = {
        "",         "a b",
        "a/b",      "a\n",
        "\xc3\xa4", "a:b",
        "*",        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK(principal_user_name_valid(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!principal_user_name_valid(bad[i]));
}

/* --- authorize -------------------------------------------------------------------------------- */

static void test_authorize_own_account(void **state)
{
    static const struct principal user = { .account = "111122223333",
                                           .arn = "arn:aws:iam::111122223333:user/alice" };
    struct authorization request = { .principal = &user,
                                     .action = "Decrypt",
                                     .resource = "arn:aws:kms:us-east-1:111122223333:key/k",
                                     .account = "111122223333" };
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(authorize(&request, &err), err);
    request.changes_key = true;
    CHECK_OK(authorize(&request, &err), err);
    request.managed_by_service = true;
    request.action = "ScheduleKeyDeletion";
    assert_int_equal(authorize(&request, &err), -1);
    assert_int_equal(err.code, KMS_ERR_ACCESS_DENIED);
    assert_string_equal(err.message,
                        "User: arn:aws:iam::111122223333:user/alice is not authorized to perform: "
                        "kms:ScheduleKeyDeletion on resource: "
                        "arn:aws:kms:us-east-1:111122223333:key/k because no resource-based policy "
                        "allows the kms:ScheduleKeyDeletion action");
    kms_error_clear(&err);
    request.changes_key = false;
    CHECK_OK(authorize(&request, &err), err);
}

static void test_authorize_other_account_learns_nothing(void **state)
{
    static const struct principal root = { .account = "444455556666",
                                           .arn = "arn:aws:iam::444455556666:root" };
    const struct authorization request = { .principal = &root,
                                           .action = "Decrypt",
                                           .resource = "arn:aws:kms:us-east-1:111122223333:key/k",
                                           .account = "111122223333" };
    struct kms_error err = { 0 };

    (void)state;
    assert_int_equal(authorize(&request, &err), -1);
    assert_int_equal(err.code, KMS_ERR_ACCESS_DENIED);
    assert_string_equal(err.message,
                        "User: arn:aws:iam::444455556666:root is not authorized to perform: "
                        "kms:Decrypt on this resource because the resource does not exist in this "
                        "Region, no resource-based policies allow access, or a resource-based "
                        "policy explicitly denies access");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signing_key_derive_vectors),
        cmocka_unit_test(test_signing_key_derive_each_part_counts),
        cmocka_unit_test(test_signing_cache_keeps_two_dates),
        cmocka_unit_test(test_signing_cache_pushes_out_the_least_recently_used),
        cmocka_unit_test(test_signing_cache_drop_serial_and_replace),
        cmocka_unit_test(test_signing_cache_does_not_keep_odd_scopes),
        cmocka_unit_test(test_principal_of_user),
        cmocka_unit_test(test_unique_id_format_is_base32),
        cmocka_unit_test(test_principal_user_name),
        cmocka_unit_test(test_authorize_own_account),
        cmocka_unit_test(test_authorize_other_account_learns_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
