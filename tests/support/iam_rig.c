#include "tests/support/iam_rig.h"

#include <stdio.h>

#include "tests/support/check.h"

void iam_rig_up(struct iam_rig *rig)
{
    struct kms_error err = { 0 };
    uint8_t unused[TOKEN_CANARY_LEN];

    *rig = (struct iam_rig){ .signing_keys = 64 };
    rig->token = softhsm_open(&rig->softhsm);
    rig->installation = uuid_random();
    rig->mac_key = uuid_random();
    rig->credential_key = uuid_random();
    CHECK_OK(token_key_generate(rig->token, TOKEN_HMAC, &rig->mac_key, "mac", unused, &err), err);
    CHECK_OK(token_key_generate(rig->token, TOKEN_AES_GCM, &rig->credential_key, "credential",
                                rig->canary, &err),
             err);
}

void iam_rig_down(struct iam_rig *rig)
{
    iam_rig_close(rig);
    token_close(rig->token);
    softhsm_done(&rig->softhsm);
}

int iam_rig_group_up(void **state)
{
    iam_rig_up(*state);
    return 0;
}

int iam_rig_group_down(void **state)
{
    iam_rig_down(*state);
    return 0;
}

static int sign(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN], struct kms_error *err)
{
    const struct iam_rig *const rig = ctx;

    return token_hmac(rig->token, &rig->mac_key, data, ret, err);
}

int iam_rig_open(struct iam_rig *rig, struct kms_error *err)
{
    const struct store_mac mac = { .sign = sign, .ctx = rig };

    if (store_open(rig->database, schema_tables, mac, &rig->store, err) < 0)
        return -1;
    const struct iam_config config = { .token = rig->token,
                                       .store = rig->store,
                                       .clock = &rig->clock,
                                       .installation = rig->installation,
                                       .credential_key = rig->credential_key,
                                       .mac_key = rig->mac_key,
                                       .credential_canary = SPAN_ARRAY(rig->canary),
                                       .account = RIG_ACCOUNT,
                                       .signing_keys = rig->signing_keys };
    return iam_open(&config, &rig->iam, err);
}

void iam_rig_close(struct iam_rig *rig)
{
    iam_close(rig->iam);
    if (rig->store)
        store_close(rig->store);
    rig->iam = NULL;
    rig->store = NULL;
}

void iam_rig_restart(struct iam_rig *rig)
{
    struct kms_error err = { 0 };

    iam_rig_close(rig);
    CHECK_OK(iam_rig_open(rig, &err), err);
}

void iam_rig_begin(struct iam_rig *rig)
{
    struct kms_error err = { 0 };

    iam_rig_close(rig);
    (void)snprintf(rig->database, sizeof(rig->database), "%s/iam-%u.db", rig->softhsm.state,
                   rig->databases++);
    CHECK_OK(iam_rig_open(rig, &err), err);
}

void iam_rig_user(struct iam_rig *rig, const char *account, const char *name)
{
    const struct identity_draft draft = { .name = { IDENTITY_USER, account, name } };
    struct kms_error err = { 0 };
    struct identity *user = directory_find(rig->iam->directory, IDENTITY_USER, account, name);

    if (user == NULL)
        CHECK_OK(directory_create(rig->iam->directory, &draft, &user, &err), err);
    identity_unref(user);
}
