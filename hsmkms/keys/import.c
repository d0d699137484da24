#include "hsmkms/keys/import.h"

#include <stdio.h>

#include "hsmkms/crypto/spki.h"
#include "hsmkms/keys/import_token.h"
#include "hsmkms/keys/import_unwrap.h"
#include "hsmkms/keys/import_value.h"
#include "hsmkms/keys/imported.h"

#define MATERIALS_MAX 100 /* rows of one key; AWS allows 25 rotations */

bool import_offers(const struct keyspec *spec)
{
    return spec->type != SPEC_UNOFFERED && spec->kind != TOKEN_EDWARDS25519;
}

/* --- parameters ------------------------------------------------------------------------------- */

void import_parameters_done(struct import_parameters *parameters)
{
    buf_done(&parameters->token);
    buf_done(&parameters->public_key);
}

int import_parameters(struct keyring *keyring, const struct key *key, const char *algorithm,
                      const char *spec, struct import_parameters *ret, struct kms_error *err)
{
    const struct wrapping_algorithm *const row = wrapping_algorithm_find(algorithm);
    struct wrapping_pair pair;

    if (row == NULL)
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "Wrapping algorithm %s is not supported.",
                        algorithm);
    if (wrapping_current(keyring, spec, &pair, err) < 0)
        return -1;
    const struct import_token token = {
        .key_id = key->record.id,
        .pair_id = pair.id,
        .algorithm = wrapping_algorithm_number(row),
        .valid_to_ms = clock_wall_ms(keyring->clock) + IMPORT_TOKEN_LIFE_MS,
    };
    const struct public_key half = { pair.spec->public_kind, token_public_span(&pair.public_key) };
    if (spki_format(&half, &ret->public_key, err) < 0)
        return -1;
    ret->valid_to_ms = token.valid_to_ms;
    return import_token_make(keyring, &token, &ret->token, err);
}

/* --- what was wrapped ------------------------------------------------------------------------- */

static int incorrect(struct kms_error *err, const char *why)
{
    return kms_fail(err, KMS_ERR_INCORRECT_MATERIAL, "%s", why);
}

static int take_off_wrapping(struct keyring *keyring, const struct key *key,
                             const struct import_draft *draft, struct import_value *ret,
                             struct kms_error *err)
{
    struct import_token token;
    struct wrapping_pair pair;
    AUTO(secret) bytes = { 0 };

    if (import_token_open(keyring, draft->token, &key->record.id, &token, err) < 0)
        return -1;
    const struct wrapping_algorithm *const algorithm = wrapping_algorithm_at(token.algorithm);
    if (algorithm == NULL || !wrapping_find(keyring, &token.pair_id, &pair))
        return kms_fail(err, KMS_ERR_INVALID_IMPORT_TOKEN, "The import token is invalid.");
    if (import_unwrap(keyring, &pair, algorithm, draft->sealed, &bytes, err) < 0 ||
        import_value_read(key->spec, &bytes, ret, err) < 0)
        return -1;
    return import_value_try(keyring->token, key, ret, err);
}

/* --- taking in -------------------------------------------------------------------------------- */

/* Versions stand in the order in which they came. */
static const struct version *newest(const struct key *key)
{
    return &key->versions[key->version_count - 1];
}

/* A waiting material makes room for another one only when it is away itself. */
static int may_be_new(struct change *change, struct kms_error *err)
{
    const struct key *const key = change->next;
    const struct version *const waiting = key_waiting_version(key);

    if (key_current(key) && !keyspec_is_symmetric(key->spec))
        return incorrect(err, "The key material is not that which the key had before.");
    if (waiting && version_is_usable(waiting))
        return kms_fail(err, KMS_ERR_INVALID_STATE,
                        "New key material cannot be imported into KMS key %s, because another key "
                        "material (id: %s) is pending rotation.",
                        keyring_key_arn(change->keyring, &key->record.id).text,
                        waiting->material_id);
    if (key->version_count >= MATERIALS_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "The key has had as many key materials as it may.");
    return 0;
}

/* It never encrypted anything, and will not now. */
static int drop_waiting(struct change *change, struct kms_error *err)
{
    const struct version *const waiting = key_waiting_version(change->next);

    for (size_t i = 0; waiting && i < change->next->version_count; i++) {
        struct version *const version = &change->next->versions[i];
        if (version == waiting && (record_set_text(&version->record.state, "Destroyed", err) < 0 ||
                                   change_put_version(change, &version->record, err) < 0))
            return -1;
    }
    return 0;
}

static int take_new(struct change *change, const struct change_material *material,
                    struct material_name *ret, struct kms_error *err)
{
    if (may_be_new(change, err) < 0 || drop_waiting(change, err) < 0 ||
        change_import_version(change, material, err) < 0)
        return -1;
    (void)snprintf(ret->text, sizeof(ret->text), "%s", newest(change->next)->material_id);
    return 0;
}

/* The same bytes again: what is away comes back, and the client may have changed its mind. */
static int take_same(struct change *change, const struct version *same,
                     const struct change_material *material, struct material_name *ret,
                     struct kms_error *err)
{
    (void)snprintf(ret->text, sizeof(ret->text), "%s", same->material_id);
    if (version_is_absent(same) || change->next->unavailable)
        return change_restore_version(change, &same->record.id, material, err);
    struct version_record *const record =
        &change->next->versions[same - change->next->versions].record;
    if (change_describe_import(record, material, err) < 0)
        return -1;
    return change_put_version(change, record, err);
}

static int take_in(struct change *change, const struct import_draft *draft,
                   const struct import_value *value, struct material_name *ret,
                   struct kms_error *err)
{
    const struct change_material given = { .value = secret_span(&value->bytes),
                                           .numbers = &value->numbers,
                                           .public_key = buf_span(&value->public_key),
                                           .valid_to_ms = draft->valid_to_ms,
                                           .description = draft->description };
    const struct key *const key = change->next;
    const bool is_new =
        draft->type == IMPORT_NEW || (draft->type == IMPORT_BY_HISTORY && key_current(key) == NULL);
    const struct version *same = NULL;

    if (import_value_find(change->keyring->token, key, value, &same, err) < 0)
        return -1;
    if (is_new && same)
        return incorrect(err, "The key material is one that the key has or had before.");
    if (is_new)
        return take_new(change, &given, ret, err);
    if (same == NULL || (draft->material_id && strcmp(draft->material_id, same->material_id) != 0))
        return incorrect(err, "The key material is not that which the key had before.");
    return take_same(change, same, &given, ret, err);
}

/* What the key is now that something has come in. */
static int settle_state(struct change *change, struct kms_error *err)
{
    struct key *const key = change->next;
    enum key_state recorded;
    bool present = true;

    if (key->unavailable && import_all_present(change->keyring->token, key, &present, err) < 0)
        return -1;
    key->unavailable = key->unavailable && !present;
    if (!key_state_parse(key->record.state, &recorded))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a key is in no known state");
    return key_set_state(
        key, recorded == KEY_PENDING_IMPORT && key_is_complete(key) ? KEY_ENABLED : recorded, err);
}

int import_material(struct keyring *keyring, const struct uuid *id,
                    const struct import_draft *draft, struct material_name *ret,
                    struct kms_error *err)
{
    AUTO(import_value) value = { 0 };
    struct material_name name;
    struct key *const seen = catalog_find(keyring->catalog, id);

    if (seen == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a key to import into is gone");
    const int opened = take_off_wrapping(keyring, seen, draft, &value, err);
    key_unref(seen);
    if (opened < 0)
        return -1;

    AUTO(change) change = { 0 };
    if (change_begin(&change, keyring, id, KEY_USE_IMPORT, err) < 0 ||
        take_in(&change, draft, &value, &name, err) < 0 || settle_state(&change, err) < 0 ||
        change_commit(&change, err) < 0)
        return -1;
    *ret = name;
    return 0;
}

/* --- taking away ------------------------------------------------------------------------------ */

/* Stages it; the key is of no use as long as something is missing that it needs. */
static int stage_absence(struct change *change, const struct version *version,
                         struct kms_error *err)
{
    if (change_take_away(change, &version->record.id, err) < 0)
        return -1;
    if (key_is_complete(change->next) || change->next->state == KEY_PENDING_DELETION)
        return 0;
    return key_set_state(change->next, KEY_PENDING_IMPORT, err);
}

/* The record is durable: a crash from here on is finished by the next start. */
static int destroy_absent(struct keyring *keyring, const struct key *key, struct kms_error *err)
{
    for (size_t i = 0; i < key->version_count; i++)
        if (version_is_absent(&key->versions[i]) &&
            token_key_destroy(keyring->token, &key->versions[i].record.id, err) < 0)
            return -1;
    return 0;
}

static const struct version *named(const struct key *key, const char *material_id)
{
    return material_id ? key_material_find(key, material_id) : key_current(key);
}

int import_delete(struct keyring *keyring, const struct uuid *id, const char *material_id,
                  struct material_name *ret, struct kms_error *err)
{
    struct material_name name = { "" };
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_READ, err) < 0)
        return -1;
    const struct version *const version = named(change.next, material_id);
    if (version == NULL && material_id)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Key material %s does not exist", material_id);
    if (version) {
        (void)snprintf(name.text, sizeof(name.text), "%s", version->material_id);
        if (version_is_usable(version) && stage_absence(&change, version, err) < 0)
            return -1;
    }
    change_forget_copies(&change);
    if (change_commit(&change, err) < 0 || destroy_absent(keyring, change.published, err) < 0)
        return -1;
    *ret = name;
    return 0;
}

int import_expire(struct keyring *keyring, const struct uuid *id, struct kms_error *err)
{
    const int64_t now_ms = clock_wall_ms(keyring->clock);
    AUTO(change) change = { 0 };

    if (change_begin_any(&change, keyring, id, err) < 0)
        return -1;
    for (size_t i = 0; i < change.next->version_count; i++) {
        const struct version *const version = &change.next->versions[i];
        if (version_is_expired(version, now_ms) && stage_absence(&change, version, err) < 0)
            return -1;
    }
    change_forget_copies(&change);
    if (change_commit(&change, err) < 0)
        return -1;
    return destroy_absent(keyring, change.published, err);
}
