#include "hsmkms/keys/change_import.h"

#include <stdio.h>

#include "hsmkms/keys/imported.h"

int change_describe_import(struct version_record *record, const struct change_material *material,
                           struct kms_error *err)
{
    record->valid_to_ms = material->valid_to_ms;
    if (record_set_text(&record->imported, "Host", err) < 0)
        return -1;
    return material->description ? record_set_text(&record->description, material->description, err)
                                 : 0;
}

/* What proves a key that is no pair from now on. */
static int first_canary(struct token *token, const struct key *key, struct version_record *record,
                        struct kms_error *err)
{
    uint8_t canary[TOKEN_CANARY_LEN];
    const int made = key->spec->type == SPEC_MAC
                         ? token_mac_canary(token, key->spec->kind, &record->id, canary, err)
                         : token_key_canary(token, &record->id, canary, err);

    if (made < 0)
        return -1;
    buf_append(&record->canary, SPAN_ARRAY(canary));
    return buf_check(&record->canary, err);
}

static int make_object(const struct change *change, const struct change_material *material,
                       const struct uuid *id, struct kms_error *err)
{
    struct token *const token = change->keyring->token;
    const struct key *const key = change->next;
    char label[64];

    (void)snprintf(label, sizeof(label), "hsmkms:kv:%s", uuid_format(id).text);
    if (key->spec->type == SPEC_PAIR)
        return token_pair_import(token, key->spec->kind, keyspec_token_use(key->usage),
                                 material->numbers, material->public_key, id, label, err);
    return token_key_import(token, key->spec->kind, material->value, id, label, err);
}

int change_import_object(const struct change *change, const struct change_material *material,
                         struct version_record *record, struct kms_error *err)
{
    if (make_object(change, material, &record->id, err) < 0)
        return -1;
    if (change->next->spec->type != SPEC_PAIR)
        return first_canary(change->keyring->token, change->next, record, err);
    buf_append(&record->public_key, material->public_key);
    return buf_check(&record->public_key, err);
}

/* A version of the copy that is being altered. */
static int find_record(struct change *change, const struct uuid *id, struct version_record **ret,
                       struct kms_error *err)
{
    for (size_t i = 0; i < change->next->version_count; i++) {
        if (uuid_equal(&change->next->versions[i].record.id, id)) {
            *ret = &change->next->versions[i].record;
            return 0;
        }
    }
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "a version to be changed is gone");
}

static int put_state(struct change *change, struct version_record *record, const char *state,
                     struct kms_error *err)
{
    if (record_set_text(&record->state, state, err) < 0)
        return -1;
    return change_put_version(change, record, err);
}

/* What it was before; the client has the bytes and tries again. */
static void give_up(struct change *change, struct version_record *record, const char *before)
{
    struct kms_error ignored = { 0 }; /* the caller has the reason; start-up does the same */

    if (put_state(change, record, before, &ignored) < 0 || change_save(change, &ignored) < 0)
        return;
    if (token_key_destroy(change->keyring->token, &record->id, &ignored) < 0)
        return;
}

int change_restore_version(struct change *change, const struct uuid *id,
                           const struct change_material *material, struct kms_error *err)
{
    struct version_record *record = NULL;

    if (find_record(change, id, &record, err) < 0)
        return -1;
    const char *const before = strcmp(record->state, "Usable") == 0 ? "Usable" : "Absent";
    if (change_describe_import(record, material, err) < 0 ||
        put_state(change, record, "Creating", err) < 0 || change_save(change, err) < 0)
        return -1;
    if (token_key_destroy(change->keyring->token, id, err) < 0 || /* what a deletion left behind */
        make_object(change, material, id, err) < 0) {
        give_up(change, record, before);
        return -1;
    }
    return put_state(change, record, "Usable", err);
}

int change_take_away(struct change *change, const struct uuid *id, struct kms_error *err)
{
    struct version_record *record = NULL;

    if (find_record(change, id, &record, err) < 0)
        return -1;
    return put_state(change, record, "Absent", err);
}

int change_turn_to_waiting(struct change *change, const char *reason, struct kms_error *err)
{
    const struct version *const waiting = key_waiting_version(change->next);
    struct version_record *record = NULL;

    if (waiting == NULL || !version_is_usable(waiting))
        return kms_fail(err, KMS_ERR_INVALID_STATE,
                        "No available key material pending rotation for the key: %s.",
                        keyring_key_arn(change->keyring, &change->next->record.id).text);
    if (find_record(change, &waiting->record.id, &record, err) < 0 ||
        record_set_text(&record->reason, reason, err) < 0)
        return -1;
    record->rotated_ms = clock_wall_ms(change->keyring->clock);
    change->next->record.current_version = record->id;
    return change_put_version(change, record, err);
}
