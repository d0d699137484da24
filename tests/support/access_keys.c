#include "tests/support/access_keys.h"

void access_keys_create(struct iam_rig *rig, const char *user_name, char ret_id[21],
                        struct secret *ret_secret)
{
    struct kms_error err = { 0 };
    AUTO(secret) secret = { 0 };

    if (user_name[0])
        iam_rig_user(rig, RIG_ACCOUNT, user_name);
    CHECK_OK(access_key_create(rig->iam, RIG_ACCOUNT, user_name, ret_id, &secret, &err), err);
    assert_int_equal(secret.len, ACCESS_KEY_SECRET_LEN);
    if (ret_secret)
        *ret_secret = secret_take(&secret);
}

struct credential_claim access_keys_claim(const char *id, const char *date)
{
    return (struct credential_claim){ .scope = { .access_key_id = span_text(id),
                                                 .date = span_text(date),
                                                 .region = SPAN_LITERAL("us-east-1"),
                                                 .service = SPAN_LITERAL("kms") } };
}

int access_keys_signing_key(struct iam_rig *rig, const char *id, const char *date,
                            struct secret *ret, struct kms_error *err)
{
    const struct credential_claim claim = access_keys_claim(id, date);
    struct principal principal = { 0 };
    const int result = access_key_signing_key(rig->iam, &claim, ret, &principal, err);

    principal_done(&principal);
    return result;
}

void access_keys_signs(struct iam_rig *rig, const char *id, const struct secret *secret)
{
    const struct signing_scope scope = access_keys_claim(id, ACCESS_KEYS_DATE).scope;
    struct kms_error err = { 0 };
    AUTO(secret) got = { 0 };
    AUTO(secret) want = { 0 };

    CHECK_OK(access_keys_signing_key(rig, id, ACCESS_KEYS_DATE, &got, &err), err);
    CHECK_OK(signing_key_derive(secret_span(secret), &scope, &want, &err), err);
    CHECK_SPAN(secret_span(&got), secret_span(&want));
}

void access_keys_refused(struct iam_rig *rig, const char *id, enum kms_err expected)
{
    struct kms_error err = { 0 };
    AUTO(secret) key = { 0 };

    CHECK_FAILS(access_keys_signing_key(rig, id, ACCESS_KEYS_DATE, &key, &err), err, expected);
    CHECK(key.ptr == NULL);
}
