#include "hsmkms/api/reply.h"

#include "hsmkms/base/encode.h"
#include "hsmkms/keys/imported.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/multi_region.h"

int op_answer(struct op_call *c, json_t *result, struct kms_error *err)
{
    if (result == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer");
    c->call->result = result;
    return 0;
}

json_t *reply_time(int64_t ms)
{
    return json_real((double)ms / (double)MS_PER_SECOND);
}

json_t *reply_blob(struct span bytes)
{
    AUTO(buf) text = { 0 };

    base64_append(&text, bytes);
    return text.failed ? NULL : json_stringn((const char *)text.ptr, text.len);
}

int reply_secret(const struct secret *secret, json_t **ret, struct kms_error *err)
{
    AUTO(secret) text = { 0 };
    const size_t len = BASE64_LEN(secret->len);

    if (secret_new(&text, len + 1, err) < 0)
        return -1;
    base64_format((char *)text.ptr, secret_span(secret));

    json_t *const value = json_stringn_nocheck((const char *)text.ptr, len);
    if (value == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer");
    *ret = value;
    return 0;
}

int reply_material(const struct key *key, const struct uuid *version_id, char ret[65],
                   struct kms_error *err)
{
    const struct version *const version = key_version_find(key, version_id);

    if (version == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a key lost the version it used");
    memcpy(ret, version->material_id, sizeof(version->material_id));
    return 0;
}

int op_note_version(struct op_call *c, const struct uuid *version_id, struct kms_error *err)
{
    c->version = uuid_format(version_id);
    c->version_id = *version_id;
    if (!keyspec_is_symmetric(c->key->spec))
        return 0;
    return reply_material(c->key, version_id, c->material_id, err);
}

void reply_expiration(json_t *object, const struct version *version)
{
    const int64_t valid_to_ms = version->record.valid_to_ms;

    (void)json_object_set_new(object, "ExpirationModel",
                              json_string(valid_to_ms ? "KEY_MATERIAL_EXPIRES"
                                                      : "KEY_MATERIAL_DOES_NOT_EXPIRE"));
    if (valid_to_ms)
        (void)json_object_set_new(object, "ValidTo", reply_time(valid_to_ms));
}

/* What clients see: material past its time is gone, also before the worker takes it away. */
static enum key_state state_now(const struct keyring *keyring, const struct key *key)
{
    const bool in_use = key->state == KEY_ENABLED || key->state == KEY_DISABLED;

    return in_use && key_is_expired(key, clock_wall_ms(keyring->clock)) ? KEY_PENDING_IMPORT
                                                                       : key->state;
}

/* Members that only some keys have. */
static int add_by_state(json_t *metadata, const struct key *key, struct kms_error *err)
{
    const struct version *const current = key_current(key);
    int failed = 0;

    if (current && keyspec_is_symmetric(key->spec))
        failed |= json_object_set_new(metadata, "CurrentKeyMaterialId",
                                      json_string(current->material_id));
    if (current && key_is_external(key) && version_is_usable(current))
        reply_expiration(metadata, current);
    if (key->state == KEY_PENDING_DELETION)
        failed |=
            json_object_set_new(metadata, "DeletionDate", reply_time(key->record.deletion_due_ms));
    if (key->state == KEY_PENDING_REPLICA_DELETION)
        failed |= json_object_set_new(metadata, "PendingDeletionWindowInDays",
                                      json_integer(key->record.deletion_window_days));
    return failed ? kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer") : 0;
}

/* Who belongs to the family of a key, as all regions see it. */
static json_t *multi_region_configuration(const struct keyring *keyring, const struct key *key)
{
    json_t *const replicas = json_array();
    json_t *primary = NULL;

    for (const struct keyring *each = keyring->home; each; each = each->next) {
        struct key *const member = multi_region_member(each, &key->record.family);
        json_t *const entry =
            member ? json_pack("{s:s, s:s}", "Arn", keyring_arn_of(each, member).text, "Region",
                               each->region)
                   : NULL;
        if (member && primary == NULL && key_is_primary(member))
            primary = entry;
        else if (member)
            (void)json_array_append_new(replicas, entry);
        key_unref(member);
    }
    return json_pack("{s:s, s:o*, s:o}", "MultiRegionKeyType", key->record.role, "PrimaryKey",
                     primary, "ReplicaKeys", replicas);
}

/* Where a key is, when that is a custom key store. */
static int add_store(json_t *metadata, const struct keyring *keyring, const struct key *key,
                     struct kms_error *err)
{
    AUTO(key_store_view) store = { 0 };

    if (key->record.key_store == NULL)
        return 0;
    if (key_store_find(keyring, key->record.key_store, &store, err) < 0)
        return -1;
    if (json_object_set_new(metadata, "CustomKeyStoreId", json_string(store.record.id)) < 0 ||
        json_object_set_new(metadata, "CloudHsmClusterId", json_string(store.record.cluster)) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer");
    return 0;
}

const char *reply_algorithms_name(enum spec_usage usage)
{
    static const char *const names[SPEC_USAGES] = {
        [USAGE_ENCRYPT_DECRYPT] = "EncryptionAlgorithms",
        [USAGE_SIGN_VERIFY] = "SigningAlgorithms",
        [USAGE_GENERATE_VERIFY_MAC] = "MacAlgorithms",
        [USAGE_KEY_AGREEMENT] = "KeyAgreementAlgorithms",
        [USAGE_ENCAPSULATE_DECAPSULATE] = "EncapsulationAlgorithms",
    };
    return names[usage];
}

json_t *reply_algorithms(const struct key *key)
{
    json_t *const names = json_array();

    for (const struct algorithm *const *row = key->spec->algorithms[key->usage]; *row; row++)
        if (!(*row)->unoffered)
            (void)json_array_append_new(names, json_string((*row)->name));
    return names;
}

int reply_key_metadata(const struct keyring *keyring, const struct key *key, json_t **ret,
                       struct kms_error *err)
{
    const struct key_record *const record = &key->record;
    const enum key_state state = state_now(keyring, key);
    json_auto_t *metadata = json_pack(
        "{s:s, s:s, s:s, s:o, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:b}", "AWSAccountId",
        keyring->account, "KeyId", key_name(key).text, "Arn", keyring_arn_of(keyring, key).text,
        "CreationDate", reply_time(record->created_ms), "Enabled", state == KEY_ENABLED,
        "Description", record->description ? record->description : "", "KeyUsage", record->usage,
        "KeyState", key_state_text(state), "Origin", record->origin, "KeyManager",
        record->manager, "KeySpec", record->spec, "CustomerMasterKeySpec", record->spec,
        reply_algorithms_name(key->usage), reply_algorithms(key), "MultiRegion",
        key_is_multi_region(key));

    if (metadata == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer");
    if (add_by_state(metadata, key, err) < 0 || add_store(metadata, keyring, key, err) < 0)
        return -1;
    if (key_is_multi_region(key) &&
        json_object_set_new(metadata, "MultiRegionConfiguration",
                            multi_region_configuration(keyring, key)) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer");
    *ret = json_incref(metadata);
    return 0;
}
