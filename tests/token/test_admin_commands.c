/* What operators may ask, through the administration socket, and what the audit trail says of it.
 */

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support/admin_rig.h"
#include "tests/support/check.h"

static struct admin_rig rig;

static void make_user(const char *name)
{
    struct kms_error err = { 0 };
    json_auto_t *made = NULL;

    CHECK_OK(admin_rig_call(&rig, "user create", "UserName", name, &made, &err), err);
}

/* --- commands --------------------------------------------------------------------------------- */

static void check_status_of(const char *id, const char *expected)
{
    struct kms_error err = { 0 };
    json_auto_t *list = NULL;
    json_t *key;
    size_t i, found = 0;

    CHECK_OK(admin_rig_call(&rig, "key list", NULL, NULL, &list, &err), err);
    json_array_foreach(json_object_get(list, "AccessKeys"), i, key)
    {
        CHECK(json_object_get(key, "SecretAccessKey") == NULL);
        if (strcmp(text_of(key, "AccessKeyId"), id) != 0)
            continue;
        assert_string_equal(text_of(key, "Status"), expected);
        found++;
    }
    assert_int_equal(found, 1);
}

static void test_key_commands(void **state)
{
    struct kms_error err = { 0 };
    json_auto_t *made = NULL, *disabled = NULL, *enabled = NULL, *root = NULL;

    (void)state;
    make_user("alice");
    CHECK_OK(admin_rig_call(&rig, "key create", "UserName", "alice", &made, &err), err);
    assert_string_equal(text_of(made, "UserName"), "alice");
    assert_string_equal(text_of(made, "Arn"), "arn:aws:iam::" RIG_ACCOUNT ":user/alice");
    assert_int_equal(strlen(text_of(made, "SecretAccessKey")), ACCESS_KEY_SECRET_LEN);
    const char *const id = text_of(made, "AccessKeyId");

    check_status_of(id, "Active");
    CHECK_OK(admin_rig_call(&rig, "key disable", "AccessKeyId", id, &disabled, &err), err);
    check_status_of(id, "Inactive");
    CHECK_OK(admin_rig_call(&rig, "key enable", "AccessKeyId", id, &enabled, &err), err);
    check_status_of(id, "Active");

    CHECK_OK(admin_rig_call(&rig, "key create", NULL, NULL, &root, &err), err);
    assert_string_equal(text_of(root, "UserName"), "");
    assert_string_equal(text_of(root, "Arn"), "arn:aws:iam::" RIG_ACCOUNT ":root");
}

static void test_created_secret_signs(void **state)
{
    struct kms_error err = { 0 };
    struct principal principal;
    json_auto_t *made = NULL;
    AUTO(secret) got = { 0 };
    AUTO(secret) want = { 0 };

    (void)state;
    make_user("alice");
    CHECK_OK(admin_rig_call(&rig, "key create", "UserName", "alice", &made, &err), err);
    const struct signing_scope scope = { .access_key_id = span_text(text_of(made, "AccessKeyId")),
                                         .date = SPAN_LITERAL("20261120"),
                                         .region = SPAN_LITERAL("us-east-1"),
                                         .service = SPAN_LITERAL("kms") };
    const struct credential_claim claim = { .scope = scope };
    CHECK_OK(access_key_signing_key(rig.iam.iam, &claim, &got, &principal, &err), err);
    CHECK_OK(signing_key_derive(span_text(text_of(made, "SecretAccessKey")), &scope, &want, &err),
             err);
    CHECK_SPAN(secret_span(&got), secret_span(&want));
    principal_done(&principal);
}

static void test_status(void **state)
{
    struct kms_error err = { 0 };
    json_auto_t *status = NULL;

    (void)state;
    CHECK_OK(admin_rig_call(&rig, "status", NULL, NULL, &status, &err), err);
    assert_string_equal(text_of(status, "Account"), RIG_ACCOUNT);
    CHECK(json_is_true(json_object_get(json_object_get(status, "Token"), "Available")));
    CHECK(json_is_true(json_object_get(json_object_get(status, "Audit"), "Healthy")));
    assert_int_equal(json_integer_value(json_object_get(status, "CustomerKeys")), 0);
    CHECK(json_is_integer(json_object_get(status, "StoreSequence")));
    CHECK(json_object_get(status, "Http") == NULL);
}

static void test_commands_that_fail(void **state)
{
    struct kms_error err = { 0 };
    json_t *none = NULL;
    json_auto_t *first = NULL, *second = NULL;

    (void)state;
    make_user("alice");
    CHECK_FAILS(
        admin_rig_call(&rig, "key disable", "AccessKeyId", "AKIAAAAAAAAAAAAAAAAA", &none, &err),
        err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(admin_rig_call(&rig, "key create", "UserName", "a/b", &none, &err), err,
                KMS_ERR_NOT_FOUND);
    CHECK_FAILS(admin_rig_call(&rig, "user create", "UserName", "a/b", &none, &err), err,
                KMS_ERR_VALIDATION);
    CHECK_OK(admin_rig_call(&rig, "key create", "UserName", "alice", &first, &err), err);
    CHECK_OK(admin_rig_call(&rig, "key create", "UserName", "alice", &second, &err), err);
    CHECK_FAILS(admin_rig_call(&rig, "key create", "UserName", "alice", &none, &err), err,
                KMS_ERR_LIMIT_EXCEEDED);
    CHECK(none == NULL);
}

/* --- audit ------------------------------------------------------------------------------------ */

/* All segments of the trail, one after the other, with a NUL behind. */
static void read_trail(struct buf *ret)
{
    DIR *const dir = opendir(rig.audit_dir);
    const struct dirent *entry;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        char path[600];
        uint8_t chunk[4096];
        (void)snprintf(path, sizeof(path), "%s/%s", rig.audit_dir, entry->d_name);
        FILE *const file = entry->d_name[0] == 'a' ? fopen(path, "rb") : NULL;
        for (size_t len; file && (len = fread(chunk, 1, sizeof(chunk), file)) > 0;)
            buf_append(ret, span_of(chunk, len));
        if (file)
            (void)fclose(file);
    }
    (void)closedir(dir);
    buf_u8(ret, 0);
    CHECK(!ret->failed);
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;

    for (; (text = strstr(text, part)) != NULL; text++)
        count++;
    return count;
}

static void test_changes_are_audited_without_the_secret(void **state)
{
    struct kms_error err = { 0 };
    json_t *none = NULL;
    json_auto_t *made = NULL, *disabled = NULL, *status = NULL;
    char uid[64];
    AUTO(buf) before = { 0 };
    AUTO(buf) after = { 0 };

    (void)state;
    make_user("audited");
    read_trail(&before);
    CHECK_OK(admin_rig_call(&rig, "key create", "UserName", "audited", &made, &err), err);
    CHECK_OK(admin_rig_call(&rig, "key disable", "AccessKeyId", text_of(made, "AccessKeyId"),
                            &disabled, &err),
             err);
    CHECK_OK(admin_rig_call(&rig, "status", NULL, NULL, &status, &err),
             err); /* changes nothing, leaves nothing */
    CHECK_FAILS(
        admin_rig_call(&rig, "key enable", "AccessKeyId", "AKIAAAAAAAAAAAAAAAAA", &none, &err), err,
        KMS_ERR_NOT_FOUND);
    read_trail(&after);

    const char *const news = (const char *)after.ptr + before.len - 1;
    assert_int_equal(count_of(news, "\n"), 6);
    assert_int_equal(count_of(news, "\"CreateAccessKey\""), 2);
    assert_int_equal(count_of(news, "\"UpdateAccessKey\""), 4);
    assert_int_equal(count_of(news, "NotFoundException"), 1);
    assert_int_equal(count_of(news, "admin.sock"), 6);
    assert_int_equal(count_of(news, "\"arn:aws:iam::" RIG_ACCOUNT ":root\""), 6);
    (void)snprintf(uid, sizeof(uid), "\"uid:%u\"", (unsigned)geteuid());
    assert_int_equal(count_of(news, uid), 6);
    assert_int_equal(count_of(news, text_of(made, "SecretAccessKey")), 0);
    CHECK(count_of(news, text_of(made, "AccessKeyId")) >= 1);
}

static size_t size_of_trail(void)
{
    AUTO(buf) all = { 0 };

    read_trail(&all);
    return all.len - 1;
}

static size_t count_keys(void)
{
    struct kms_error err = { 0 };
    json_auto_t *list = NULL;

    CHECK_OK(admin_rig_call(&rig, "key list", NULL, NULL, &list, &err), err);
    return json_array_size(json_object_get(list, "AccessKeys"));
}

/* A trail that cannot grow, as on a full disk: what cannot be recorded is not done. */
static void test_change_that_cannot_be_audited(void **state)
{
    struct kms_error err = { 0 };
    struct rlimit before, tight;
    json_t *none = NULL;

    (void)state;
    make_user("unheard");
    const size_t keys = count_keys();
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    tight = before;
    tight.rlim_cur = size_of_trail();
    CHECK(setrlimit(RLIMIT_FSIZE, &tight) == 0);
    const int outcome = admin_rig_call(&rig, "key create", "UserName", "unheard", &none, &err);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    assert_int_equal(outcome, -1);
    CHECK(none == NULL);
    assert_int_equal(count_keys(), keys);
}

/* --- all -------------------------------------------------------------------------------------- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, admin_rig_begin, admin_rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_key_commands),
        TEST(test_created_secret_signs),
        TEST(test_status),
        TEST(test_commands_that_fail),
        TEST(test_changes_are_audited_without_the_secret),
        TEST(test_change_that_cannot_be_audited),
    };

    return run_group(tests, ARRAY_LEN(tests), admin_rig_up, admin_rig_down, &rig);
}
