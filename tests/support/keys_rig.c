#include "tests/support/keys_rig.h"

#include <stdio.h>

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
