/* Small parts of the identity floor: signing keys and their cache, principals, names. */

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/iam/document.h"
#include "hsmkms/iam/identity.h"
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

/* A snapshot as the directory makes them, with a tag; one reference. */
static struct identity *identity_of(enum identity_kind kind, const char *arn, const char *name,
                                    const char *unique_id)
{
    static const struct identity_tag tags[] = { { "Cost", "" }, { "team", "blue" } };
    struct identity *const made = calloc(1, sizeof(*made));

    CHECK(made != NULL);
    atomic_init(&made->references, 1);
    made->kind = kind;
    made->tags = tags;
    made->tag_count = ARRAY_LEN(tags);
    (void)snprintf(made->account, sizeof(made->account), "111122223333");
    (void)snprintf(made->name, sizeof(made->name), "%s", name);
    (void)snprintf(made->arn, sizeof(made->arn), "%s", arn);
    (void)snprintf(made->unique_id, sizeof(made->unique_id), "%s", unique_id);
    return made;
}

static void test_principal_of_root(void **state)
{
    struct principal root;

    (void)state;
    principal_of_root("111122223333", "AKIA2", &root);
    assert_int_equal(root.kind, PRINCIPAL_ROOT);
    assert_string_equal(root.arn, "arn:aws:iam::111122223333:root");
    assert_string_equal(root.principal_arn, root.arn);
    assert_string_equal(root.account, "111122223333");
    assert_string_equal(root.id, "111122223333");
    assert_string_equal(root.unique_id, "");
    assert_string_equal(root.user_name, "");
    assert_string_equal(root.session_name, "");
    assert_string_equal(root.access_key_id, "AKIA2");
    CHECK(root.identity == NULL && root.session == NULL);
    principal_done(&root);
    principal_done(&root); /* the zero state, too */
}

static void test_principal_of_user(void **state)
{
    struct identity *const alice = identity_of(
        IDENTITY_USER, "arn:aws:iam::111122223333:user/x/alice", "alice", "AIDAAAAAAAAAAAAAAAAA");
    struct principal user;

    (void)state;
    principal_of_user(identity_ref(alice), NULL, "AKIA3", &user);
    assert_int_equal(user.kind, PRINCIPAL_USER);
    assert_string_equal(user.arn, "arn:aws:iam::111122223333:user/x/alice");
    assert_string_equal(user.principal_arn, user.arn);
    assert_string_equal(user.account, "111122223333");
    assert_string_equal(user.id, "AIDAAAAAAAAAAAAAAAAA");
    assert_string_equal(user.unique_id, "AIDAAAAAAAAAAAAAAAAA");
    assert_string_equal(user.user_name, "alice");
    assert_string_equal(user.session_name, "");
    assert_string_equal(user.access_key_id, "AKIA3");
    CHECK(user.identity == alice);
    assert_int_equal(alice->references, 2);
    principal_done(&user);
    assert_int_equal(alice->references, 1);
    assert_string_equal(user.arn, "");
    CHECK(user.identity == NULL);
    identity_unref(alice);
}

static void test_principal_of_session(void **state)
{
    struct identity *const app = identity_of(
        IDENTITY_ROLE, "arn:aws:iam::111122223333:role/deep/app", "app", "AROAAAAAAAAAAAAAAAAA");
    struct principal session;

    (void)state;
    principal_of_session(app, NULL, "night", "ASIA3", &session);
    assert_int_equal(session.kind, PRINCIPAL_ROLE_SESSION);
    assert_string_equal(session.arn, "arn:aws:sts::111122223333:assumed-role/app/night");
    assert_string_equal(session.principal_arn, "arn:aws:iam::111122223333:role/deep/app");
    assert_string_equal(session.id, "AROAAAAAAAAAAAAAAAAA:night");
    assert_string_equal(session.unique_id, "AROAAAAAAAAAAAAAAAAA");
    assert_string_equal(session.user_name, "");
    assert_string_equal(session.session_name, "night");
    principal_done(&session);
}

/* The longest names that there are fit into their rooms. */
static void test_principal_of_session_longest(void **state)
{
    char name[IDENTITY_NAME_MAX + 1] = "", arn[IDENTITY_ARN_MAX];
    struct principal session;

    (void)state;
    memset(name, 'n', IDENTITY_NAME_MAX);
    (void)snprintf(arn, sizeof(arn), "arn:aws:iam::111122223333:role/%s", name);
    principal_of_session(identity_of(IDENTITY_ROLE, arn, name, "AROAAAAAAAAAAAAAAAAA"), NULL, name,
                         "ASIA3", &session);
    assert_int_equal(strlen(session.arn),
                     strlen("arn:aws:sts::111122223333:assumed-role//") + 2 * IDENTITY_NAME_MAX);
    assert_int_equal(strlen(session.id), UNIQUE_ID_LEN + 1 + IDENTITY_NAME_MAX);
    principal_done(&session);
}

static void test_identity_tag_value_in_any_case(void **state)
{
    struct identity *const alice = identity_of(IDENTITY_USER, "", "alice", "");

    (void)state;
    assert_string_equal(identity_tag_value(alice, "TEAM"), "blue");
    assert_string_equal(identity_tag_value(alice, "cost"), "");
    CHECK(identity_tag_value(alice, "tea") == NULL);
    CHECK(identity_tag_value(alice, "") == NULL);
    identity_unref(alice);
    identity_unref(NULL);
}

static void test_unique_id_valid(void **state)
{
    static const char *const bad[] = { "",
                                       "AIDA",
                                       "AIDAAAAAAAAAAAAAAAA",
                                       "AIDAAAAAAAAAAAAAAAAAA",
                                       "AROAAAAAAAAAAAAAAAAA",
                                       "AIDAAAAAAAAAAAAAAAA1",
                                       "AIDAaaaaaaaaaaaaaaaa",
                                       "aidaAAAAAAAAAAAAAAAA" };

    (void)state;
    CHECK(unique_id_valid(SPAN_LITERAL("AIDAABCXYZ234567ABCD"), "AIDA"));
    CHECK(!unique_id_valid(SPAN_LITERAL("AIDAAAAAAAAAAAAAAAA\0"), "AIDA"));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!unique_id_valid(span_text(bad[i]), "AIDA"));
}

static void test_document_weight(void **state)
{
    (void)state;
    assert_int_equal(document_weight(""), 0);
    assert_int_equal(document_weight(" \t\r\n"), 0);
    assert_int_equal(document_weight("{ \"a\": \"b c\" }\n"), 10);
    assert_int_equal(document_weight("\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91"), 3);
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

static void test_identity_name(void **state)
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
        CHECK(identity_name_valid(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!identity_name_valid(bad[i]));
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
        cmocka_unit_test(test_principal_of_root),
        cmocka_unit_test(test_principal_of_user),
        cmocka_unit_test(test_principal_of_session),
        cmocka_unit_test(test_principal_of_session_longest),
        cmocka_unit_test(test_identity_tag_value_in_any_case),
        cmocka_unit_test(test_unique_id_valid),
        cmocka_unit_test(test_document_weight),
        cmocka_unit_test(test_unique_id_format_is_base32),
        cmocka_unit_test(test_identity_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
