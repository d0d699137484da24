#include "hsmkms/admin/parts.h"

/*
 * The versions of a key: which are still asked for, what GetKeyLastUsage does not tell apart, and
 * what was or is done outside of the token for them.
 */

static json_t *use_json(const struct version *version)
{
    struct last_use use;

    if (!use_mark_read(version->use, &use))
        return json_null();
    return json_pack("{s:s, s:s, s:s, s:s}", "Operation", use.operation, "Time",
                     clock_iso8601(use.time_ms).text, "EventId", uuid_format(&use.event_id).text,
                     "RequestId", uuid_format(&use.request_id).text);
}

static json_t *version_json(const struct key *key, const struct version *version)
{
    const struct version_record *const record = &version->record;

    return json_pack("{s:I, s:s, s:s, s:s, s:b, s:s?, s:s?, s:o}", "Number",
                     (json_int_t)record->number, "VersionId", uuid_format(&record->id).text,
                     "KeyMaterialId", version->material_id, "State", record->state, "Current",
                     version == key_current(key), "Imported", record->imported, "Padding",
                     record->padding, "LastUse", use_json(version));
}

static json_t *versions_json(const struct key *key)
{
    json_t *const versions = json_array();

    for (size_t i = 0; i < key->version_count; i++)
        (void)json_array_append_new(versions, version_json(key, &key->versions[i]));
    return versions;
}

static int key_uses(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct keyring *const keyring = call->services->keyring;
    const char *name = NULL;
    struct key *key = NULL;

    if (admin_need(call, "KeyId", &name, err) < 0 ||
        keyring_resolve(keyring, name, true, &key, err) < 0)
        return -1;
    json_t *const made =
        json_pack("{s:s, s:o}", "KeyId", keyring_key_arn(keyring, &key->record.id).text, "Versions",
                  versions_json(key));
    key_unref(key);
    return admin_answer(made, ret, err);
}

const struct admin_handler admin_use_handlers[] = {
    { "key-uses", key_uses },
    { 0 },
};
