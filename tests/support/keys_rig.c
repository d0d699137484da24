#include "tests/support/keys_rig.h"

#include <stdio.h>

#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/material.h"
#include "tests/support/check.h"

static int sign(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN], struct kms_error *err)
{
    const struct keys_rig *const rig = ctx;

    return token_hmac(rig->token, &rig->mac_key, data, ret, err);
}

int keys_rig_start(struct keys_rig *rig, struct kms_error *err)
{
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/keys.db", rig->softhsm.state);
    if (store_open(path, schema_tables, (struct store_mac){ sign, rig }, &rig->store, err) < 0)
        return -1;
    return keyring_open(&rig->keyring, rig->token, rig->store, &rig->clock, rig->limits,
                        &rig->installation, rig->regions ? rig->regions : "us-east-1",
                        &rig->strangers, err);
}

void keys_rig_stop(struct keys_rig *rig)
{
    keyring_close(&rig->keyring);
    store_close(rig->store);
    rig->store = NULL;
}

void keys_rig_restart(struct keys_rig *rig)
{
    struct kms_error err = { 0 };

    keys_rig_stop(rig);
    CHECK_OK(keys_rig_start(rig, &err), err);
}

int keys_rig_up(void **state)
{
    struct keys_rig *const rig = *state;
    static char account[] = "111122223333"; /* never written to */
    struct kms_error err = { 0 };
    uint8_t unused[TOKEN_CANARY_LEN];

    *rig = (struct keys_rig){ .mac_key = uuid_random(),
                              .clock.fixed_ms = INT64_C(1795176000) * MS_PER_SECOND,
                              .limits = { .keys_most = 1000,
                                          .gcm_block = 64,
                                          .gcm_rotate = 256,
                                          .gcm_refuse = 320,
                                          .on_demand_rotations = 25 } };
    rig->installation = (struct installation_record){ .id = uuid_random(), .account = account };
    rig->installation.meta_mac_key = rig->mac_key;
    rig->token = softhsm_open(&rig->softhsm);
    CHECK_OK(token_key_generate(rig->token, TOKEN_HMAC, &rig->mac_key, "mac", unused, &err), err);
    CHECK_OK(keys_rig_start(rig, &err), err);
    return 0;
}

int keys_rig_down(void **state)
{
    struct keys_rig *const rig = *state;

    keys_rig_stop(rig);
    token_close(rig->token);
    softhsm_done(&rig->softhsm);
    return 0;
}

struct key *keys_rig_key(const struct keys_rig *rig, const struct uuid *id)
{
    struct key *const key = catalog_find(rig->keyring.catalog, id);

    CHECK(key != NULL);
    return key;
}

enum key_state keys_rig_state(const struct keys_rig *rig, const struct uuid *id)
{
    struct key *const key = keys_rig_key(rig, id);
    const enum key_state state = key->state;

    key_unref(key);
    return state;
}

struct key *keys_rig_make(struct keys_rig *rig)
{
    struct kms_error err = { 0 };
    struct key *key = NULL;

    CHECK_OK(lifecycle_create(&rig->keyring, &(struct key_draft){ .description = "" }, &key, &err),
             err);
    return key;
}

struct buf keys_rig_wrap(struct keys_rig *rig, const struct uuid *id, const char *plain)
{
    struct kms_error err = { 0 };
    struct buf blob = { 0 };
    struct key *const key = keys_rig_key(rig, id);

    CHECK_OK(material_wrap(&rig->keyring, key, SPAN_LITERAL("\0\0"), span_text(plain), &blob, &err),
             err);
    key_unref(key);
    return blob;
}

enum kms_err keys_rig_unwrap(struct keys_rig *rig, struct span blob, struct span context,
                             const char *expected)
{
    struct kms_error err = { 0 };
    struct envelope envelope;
    AUTO(secret) plain = { 0 };

    if (envelope_parse(blob, &envelope, &err) < 0)
        return err.code;
    struct key *const key = keys_rig_key(rig, &envelope.key_id);
    if (material_unwrap(&rig->keyring, key, &envelope, context, &plain, &err) == 0)
        CHECK_SPAN(secret_span(&plain), span_text(expected));
    key_unref(key);
    return err.code;
}

void keys_rig_opens(struct keys_rig *rig, const struct buf *blob, const char *expected)
{
    assert_int_equal(keys_rig_unwrap(rig, buf_span(blob), SPAN_LITERAL("\0\0"), expected),
                     KMS_ERR_NONE);
}

void keys_rig_put(struct keys_rig *rig, const struct table *table, const void *record)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;

    CHECK_OK(store_begin(rig->store, &tx, &err), err);
    CHECK_OK(store_put(tx, table, record, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
}

void keys_rig_object(struct keys_rig *rig, const struct uuid *version_id)
{
    struct kms_error err = { 0 };
    uint8_t canary[TOKEN_CANARY_LEN];
    char label[64];

    (void)snprintf(label, sizeof(label), "hsmkms:kv:%s", uuid_format(version_id).text);
    CHECK_OK(token_key_generate(rig->token, TOKEN_AES_GCM, version_id, label, canary, &err), err);
}

void keys_rig_leave_rotation(struct keys_rig *rig, const struct uuid *key_id,
                             const struct uuid *version_id)
{
    char creating[] = "Creating", reason[] = "ON_DEMAND";
    const struct version_record version = { .id = *version_id,
                                            .key_id = *key_id,
                                            .number = 2,
                                            .state = creating,
                                            .reason = reason,
                                            .created_ms = rig->clock.fixed_ms };

    keys_rig_put(rig, &version_table, &version);
}
