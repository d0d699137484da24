/* Certificates that stand for users, on a real token and a real database. */

#include <stdio.h>
#include <string.h>

#include "hsmkms/iam/cert_binding.h"
#include "tests/support/check.h"
#include "tests/support/iam_rig.h"

#define SPKI_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SPKI_B "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct iam_rig rig;

static int begin(void **state)
{
    (void)state;
    rig.signing_keys = 64;
    iam_rig_begin(&rig);
    iam_rig_user(&rig, RIG_ACCOUNT, "alice");
    iam_rig_user(&rig, RIG_ACCOUNT, "bob");
    return 0;
}

static int end(void **state)
{
    (void)state;
    iam_rig_close(&rig);
    return 0;
}

static int bind_to(const char *spki, const char *user, const char *label, struct kms_error *err)
{
    return cert_bind(rig.iam, &(struct cert_binding_draft){ spki, RIG_ACCOUNT, user, label }, err);
}

static void must_bind(const char *spki, const char *user, const char *label)
{
    struct kms_error err = { 0 };

    CHECK_OK(bind_to(spki, user, label, &err), err);
}

static void stands_for(const char *spki, const char *user)
{
    struct kms_error err = { 0 };
    struct principal principal = { 0 };

    CHECK_OK(cert_principal(rig.iam, spki, &principal, &err), err);
    assert_string_equal(principal.user_name, user);
    assert_string_equal(principal.access_key_id, "");
    principal_done(&principal);
}

static void stands_for_nobody(const char *spki)
{
    struct kms_error err = { 0 };
    struct principal principal = { 0 };

    CHECK_FAILS(cert_principal(rig.iam, spki, &principal, &err), err, KMS_ERR_UNRECOGNIZED_CLIENT);
    assert_int_equal(principal.kind, 0);
    assert_null(principal.identity);
}

static void append(void *arg, const struct certificate_binding_record *record)
{
    buf_printf(arg, "%.4s=%s ", record->spki, record->label);
}

static void lists(const char *want)
{
    AUTO(buf) text = { 0 };

    cert_binding_each(rig.iam, append, &text);
    buf_u8(&text, 0);
    assert_string_equal((const char *)text.ptr, want);
}

static void test_cert_bind(void **state)
{
    (void)state;
    stands_for_nobody(SPKI_A);
    must_bind(SPKI_A, "alice", NULL);
    must_bind("0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", "bob", "b");
    stands_for(SPKI_A, "alice");
    stands_for(SPKI_B, "bob");
    stands_for_nobody("");
    stands_for_nobody(NULL);
    lists("0123=b aaaa= ");
}

static void test_cert_bind_again(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    must_bind(SPKI_A, "alice", "old");
    must_bind(SPKI_A, "alice", "new");
    lists("aaaa=new ");
    CHECK_FAILS(bind_to(SPKI_A, "bob", NULL, &err), err, KMS_ERR_ALREADY_EXISTS);
    stands_for(SPKI_A, "alice");
}

static void test_cert_bind_refuses(void **state)
{
    char label[CERT_LABEL_MAX + 2] = "";
    const struct {
        const char *spki, *user, *label;
        enum kms_err code;
    } rows[] = {
        { "", "alice", "", KMS_ERR_VALIDATION },
        { &SPKI_A[1], "alice", "", KMS_ERR_VALIDATION },
        { SPKI_A "a", "alice", "", KMS_ERR_VALIDATION },
        { "g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "alice", "",
          KMS_ERR_VALIDATION },
        { SPKI_A, "alice", "a\nb", KMS_ERR_VALIDATION },
        { SPKI_A, "alice", label, KMS_ERR_VALIDATION },
        { SPKI_A, "carol", "", KMS_ERR_NOT_FOUND },
        { SPKI_A, "", "", KMS_ERR_NOT_FOUND },
    };

    (void)state;
    memset(label, 'a', sizeof(label) - 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kms_error err = { 0 };
        CHECK_FAILS(bind_to(rows[i].spki, rows[i].user, rows[i].label, &err), err, rows[i].code);
    }
    lists("");
    label[CERT_LABEL_MAX] = '\0';
    must_bind(SPKI_A, "alice", label);
}

static void test_cert_unbind(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    must_bind(SPKI_A, "alice", NULL);
    must_bind(SPKI_B, "bob", NULL);
    CHECK_OK(cert_unbind(rig.iam, SPKI_A, &err), err);
    stands_for_nobody(SPKI_A);
    stands_for(SPKI_B, "bob");
    CHECK_FAILS(cert_unbind(rig.iam, SPKI_A, &err), err, KMS_ERR_NOT_FOUND);
    kms_error_clear(&err);
    CHECK_FAILS(cert_unbind(rig.iam, "x", &err), err, KMS_ERR_VALIDATION);
    must_bind(SPKI_A, "bob", NULL);
    stands_for(SPKI_A, "bob");
}

static void test_cert_bindings_survive(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    must_bind(SPKI_A, "alice", "kept");
    must_bind(SPKI_B, "bob", NULL);
    CHECK_OK(cert_unbind(rig.iam, SPKI_B, &err), err);
    iam_rig_close(&rig);
    CHECK_OK(iam_rig_open(&rig, &err), err);
    lists("aaaa=kept ");
    stands_for(SPKI_A, "alice");
}

/* A user made later under the same name is somebody else. */
static void test_cert_binding_ends_with_its_user(void **state)
{
    const struct identity_name alice = { IDENTITY_USER, RIG_ACCOUNT, "alice" };
    struct kms_error err = { 0 };

    (void)state;
    must_bind(SPKI_A, "alice", NULL);
    CHECK_OK(directory_set_enabled(rig.iam->directory, &alice, false, &err), err);
    stands_for_nobody(SPKI_A);
    CHECK_OK(directory_set_enabled(rig.iam->directory, &alice, true, &err), err);
    stands_for(SPKI_A, "alice");
    CHECK_OK(directory_delete(rig.iam->directory, &alice, false, &err), err);
    iam_rig_user(&rig, RIG_ACCOUNT, "alice");
    stands_for_nobody(SPKI_A);
    CHECK_FAILS(bind_to(SPKI_A, "alice", NULL, &err), err, KMS_ERR_ALREADY_EXISTS);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cert_bind, begin, end),
        cmocka_unit_test_setup_teardown(test_cert_bind_again, begin, end),
        cmocka_unit_test_setup_teardown(test_cert_bind_refuses, begin, end),
        cmocka_unit_test_setup_teardown(test_cert_unbind, begin, end),
        cmocka_unit_test_setup_teardown(test_cert_bindings_survive, begin, end),
        cmocka_unit_test_setup_teardown(test_cert_binding_ends_with_its_user, begin, end),
    };

    return run_group(tests, ARRAY_LEN(tests), iam_rig_group_up, iam_rig_group_down, &rig);
}
