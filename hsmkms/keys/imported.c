#include "hsmkms/keys/imported.h"

bool key_is_external(const struct key *key)
{
    return strcmp(key->record.origin, ORIGIN_EXTERNAL) == 0;
}

bool version_is_absent(const struct version *version)
{
    return strcmp(version->record.state, "Absent") == 0;
}

bool version_is_known(const struct version *version)
{
    return version_is_usable(version) || version_is_absent(version);
}

/* Numbers grow, and only one can wait: it is behind the one that encrypts. */
static bool is_waiting(const struct key *key, const struct version *version)
{
    const struct version *const current = key_current(key);

    return key_is_external(key) && current && version->record.number > current->record.number;
}

const struct version *key_waiting_version(const struct key *key)
{
    for (size_t i = key->version_count; i > 0; i--) {
        const struct version *const version = &key->versions[i - 1];
        if (is_waiting(key, version) && version_is_known(version))
            return version;
    }
    return NULL;
}

bool key_is_complete(const struct key *key)
{
    for (size_t i = 0; i < key->version_count; i++)
        if (version_is_absent(&key->versions[i]) && !is_waiting(key, &key->versions[i]))
            return false;
    return key_current(key) != NULL;
}

bool version_is_expired(const struct version *version, int64_t now_ms)
{
    const int64_t valid_to_ms = version->record.valid_to_ms;

    return valid_to_ms && valid_to_ms <= now_ms && version_is_usable(version);
}

bool key_is_expired(const struct key *key, int64_t now_ms)
{
    for (size_t i = 0; i < key->version_count; i++)
        if (version_is_expired(&key->versions[i], now_ms) && !is_waiting(key, &key->versions[i]))
            return true;
    return false;
}

const struct version *key_material_find(const struct key *key, const char *material_id)
{
    for (size_t i = 0; i < key->version_count; i++)
        if (version_is_known(&key->versions[i]) &&
            strcmp(key->versions[i].material_id, material_id) == 0)
            return &key->versions[i];
    return NULL;
}
