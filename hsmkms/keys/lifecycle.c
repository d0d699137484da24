#include "hsmkms/keys/lifecycle.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "hsmkms/keys/change_import.h"
#include "hsmkms/keys/imported.h"
#include "hsmkms/keys/key_store.h"

#define TAGS_MAX             50 /* AWS KMS Developer Guide, Resource quotas */
#define ALIASES_PRESET       50
#define ROTATION_DAYS_PRESET 365
#define ROTATION_CONFLICT_MS (20 * 60 * MS_PER_SECOND) /* API Reference, ConflictException */

static int64_t now_ms(const struct keyring *keyring)
{
    return clock_wall_ms(keyring->clock);
}

/* --- switches and texts ----------------------------------------------------------------------- */

int lifecycle_set_enabled(struct keyring *keyring, const struct uuid *id, bool enabled,
                          struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_SWITCH, err) < 0 ||
        key_set_state(change.next, enabled ? KEY_ENABLED : KEY_DISABLED, err) < 0)
        return -1;
    change_forget_copies(&change);
    return change_commit(&change, err);
}

int lifecycle_schedule_deletion(struct keyring *keyring, const struct uuid *id, int64_t days,
                                int64_t *ret_due_ms, struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_SCHEDULE, err) < 0)
        return -1;
    /* a primary has to outlive its replicas; the days are counted from when it is alone */
    const bool waits = key_is_primary(change.next) && change.relative_count > 0;
    const int64_t due_ms = waits ? 0 : now_ms(keyring) + days * MS_PER_DAY;
    if (key_set_state(change.next, waits ? KEY_PENDING_REPLICA_DELETION : KEY_PENDING_DELETION,
                      err) < 0)
        return -1;
    change.next->record.deletion_due_ms = due_ms;
    change.next->record.deletion_window_days = days;
    change_forget_copies(&change);
    if (change_commit(&change, err) < 0)
        return -1;
    *ret_due_ms = due_ms;
    return 0;
}

int lifecycle_cancel_deletion(struct keyring *keyring, const struct uuid *id, struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_CANCEL, err) < 0)
        return -1;
    const bool waits = key_is_external(change.next) && !key_is_complete(change.next);
    if (key_set_state(change.next, waits ? KEY_PENDING_IMPORT : KEY_DISABLED, err) < 0)
        return -1;
    change.next->record.deletion_due_ms = 0;
    change.next->record.deletion_window_days = 0;
    return change_commit(&change, err);
}

int lifecycle_set_description(struct keyring *keyring, const struct uuid *id, const char *text,
                              struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_EDIT, err) < 0 ||
        record_set_text(&change.next->record.description, text, err) < 0)
        return -1;
    return change_commit(&change, err);
}

int lifecycle_set_policy(struct keyring *keyring, const struct uuid *id, const char *policy,
                         const char *policy_pins, struct kms_error *err)
{
    AUTO(change) change = { 0 };

    /* a policy can be replaced in every state, also to let somebody cancel a deletion */
    if (change_begin(&change, keyring, id, KEY_USE_READ, err) < 0 ||
        record_set_text(&change.next->record.policy, policy, err) < 0 ||
        record_set_text(&change.next->record.policy_pins, policy_pins, err) < 0)
        return -1;
    return change_commit(&change, err);
}

/* --- rotation --------------------------------------------------------------------------------- */

/* Only symmetric keys have more than one version; the primary rotates for its replicas. */
static int begin_rotation(struct change *change, struct keyring *keyring, const struct uuid *id,
                          enum rotation_cause cause, enum key_use use, struct kms_error *err)
{
    if (change_begin(change, keyring, id, use, err) < 0)
        return -1;
    /* a budget is used up in any region and renewed from any */
    if (cause != ROTATE_BUDGET && change_must_lead(change, err) < 0)
        return -1;
    return keyspec_is_symmetric(change->next->spec) ? 0
                                                    : kms_fail(err, KMS_ERR_UNSUPPORTED, "%s", "");
}

int lifecycle_enable_rotation(struct keyring *keyring, const struct uuid *id, int64_t period_days,
                              struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (begin_rotation(&change, keyring, id, ROTATE_DUE, KEY_USE_ROTATION, err) < 0)
        return -1;
    if (key_is_external(change.next)) /* nobody but the client makes its material */
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "%s", "");
    struct key_record *const record = &change.next->record;
    const int64_t before = record->rotation_period_days;
    const int64_t days = period_days ? period_days : before ? before : ROTATION_DAYS_PRESET;
    /* a new period counts from where the old one began */
    const int64_t anchor_ms =
        record->rotation_enabled ? record->rotation_next_ms - before * MS_PER_DAY : now_ms(keyring);
    record->rotation_enabled = 1;
    record->rotation_period_days = days;
    record->rotation_next_ms = anchor_ms + days * MS_PER_DAY;
    return change_commit(&change, err);
}

int lifecycle_disable_rotation(struct keyring *keyring, const struct uuid *id,
                               struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_ROTATION, err) < 0 ||
        change_must_lead(&change, err) < 0)
        return -1;
    change.next->record.rotation_enabled = 0;
    change.next->record.rotation_next_ms = 0;
    return change_commit(&change, err);
}

static int may_rotate_on_demand(const struct change *change, struct kms_error *err)
{
    const struct key_record *const record = &change->next->record;
    const struct arn_text arn = keyring_arn_of(change->keyring, change->next);

    if (record->rotations_on_demand >= change->keyring->limits.on_demand_rotations)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "The on-demand rotations limit has been reached for the given keyId. No "
                        "more on-demand rotations can be performed for this key: %s",
                        arn.text);
    if (record->rotation_enabled &&
        record->rotation_next_ms - now_ms(change->keyring) < ROTATION_CONFLICT_MS)
        return kms_fail(err, KMS_ERR_CONFLICT,
                        "Automatic rotation of %s is in progress or due within 20 minutes.",
                        arn.text);
    return 0;
}

static bool period_is_over(const struct keyring *keyring, const struct key *key)
{
    return key->record.rotation_enabled && key->record.rotation_next_ms <= now_ms(keyring);
}

static bool budget_is_used_up(const struct keyring *keyring, const struct key *key)
{
    const struct version *const current = key_current(key);

    return current && atomic_load(&current->budget->used) >= keyring->limits.gcm_rotate;
}

/* True while what the worker saw without the lock still holds. */
static bool is_still_due(const struct change *change, enum rotation_cause cause)
{
    if (cause == ROTATE_ON_DEMAND)
        return true;
    return cause == ROTATE_DUE ? period_is_over(change->keyring, change->next)
                               : budget_is_used_up(change->keyring, change->next);
}

static int next_version(struct change *change, const char *reason, struct kms_error *err)
{
    return key_is_external(change->next) ? change_turn_to_waiting(change, reason, err)
                                         : change_make_version(change, reason, err);
}

int lifecycle_rotate(struct keyring *keyring, const struct uuid *id, enum rotation_cause cause,
                     struct kms_error *err)
{
    const char *const reason = cause == ROTATE_ON_DEMAND ? "ON_DEMAND" : "AUTOMATIC";
    AUTO(change) change = { 0 };

    if (begin_rotation(&change, keyring, id, cause, KEY_USE_ROTATE, err) < 0)
        return -1;
    if (!is_still_due(&change, cause))
        return 0; /* switched off or rotated meanwhile */
    if ((cause == ROTATE_ON_DEMAND && may_rotate_on_demand(&change, err) < 0) ||
        next_version(&change, reason, err) < 0)
        return -1;
    change_note_rotation(&change, reason);
    return change_commit(&change, err);
}

int lifecycle_reserve_block(struct keyring *keyring, const struct uuid *key_id,
                            const struct uuid *version_id, struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, key_id, KEY_USE_CRYPTO, err) < 0)
        return -1;
    const struct version *const version = key_version_find(change.next, version_id);
    if (version == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a version to reserve for is gone");
    const int64_t reserved = atomic_load(&version->budget->reserved);
    if (atomic_load(&version->budget->used) < reserved)
        return 0; /* another thread was faster */
    if (reserved >= keyring->limits.gcm_refuse)
        return kms_fail_detail(err, KMS_ERR_INTERNAL,
                               "version %s has used up its GCM invocations and only decrypts",
                               uuid_format(version_id).text);

    const int64_t left = keyring->limits.gcm_refuse - reserved;
    const int64_t block = keyring->limits.gcm_block < left ? keyring->limits.gcm_block : left;
    if (change_reserve(&change, version, reserved + block, err) < 0)
        return -1;
    atomic_store(&version->budget->reserved, reserved + block); /* durable: may be spent */
    return 0;
}

/* Material may pass its time in every state but the last ones, waiting material too. */
static bool expiry_is_due(const struct keyring *keyring, const struct key *key)
{
    for (size_t i = 0; i < key->version_count; i++)
        if (version_is_expired(&key->versions[i], now_ms(keyring)))
            return key_visible(key);
    return false;
}

enum due_kind lifecycle_due(const struct keyring *keyring, const struct key *key)
{
    if (key->state == KEY_DELETING ||
        (key->state == KEY_PENDING_DELETION && key->record.deletion_due_ms <= now_ms(keyring)))
        return key_store_is_open(keyring, key) ? DUE_DELETION : DUE_NOTHING;
    if (expiry_is_due(keyring, key))
        return DUE_EXPIRY;
    if (key->state != KEY_ENABLED || key_is_external(key))
        return DUE_NOTHING;
    if (!key_is_replica(key) && period_is_over(keyring, key))
        return DUE_ROTATION;
    if (budget_is_used_up(keyring, key))
        return DUE_BUDGET_ROTATION;
    return DUE_NOTHING;
}

/* --- birth and death -------------------------------------------------------------------------- */

static const char *origin_of(const struct key_draft *draft)
{
    if (draft->key_store)
        return "AWS_CLOUDHSM";
    return draft->external ? ORIGIN_EXTERNAL : ORIGIN_HERE;
}

static int draft_record(const struct keyring *keyring, const struct key_draft *draft,
                        struct key_record *ret, struct kms_error *err)
{
    const int64_t now = now_ms(keyring);

    ret->id = uuid_random();
    if (draft->multi_region)
        ret->family = uuid_random();
    ret->created_ms = now;
    if (draft->aws_managed) { /* rotates yearly, not configurable */
        ret->rotation_enabled = 1;
        ret->rotation_period_days = ROTATION_DAYS_PRESET;
        ret->rotation_next_ms = now + ROTATION_DAYS_PRESET * MS_PER_DAY;
    }
    if (record_set_text(&ret->manager, draft->aws_managed ? "AWS" : "CUSTOMER", err) < 0 ||
        record_set_text(&ret->spec, draft->spec ? draft->spec : keyspecs[0].name, err) < 0 ||
        record_set_text(&ret->usage, spec_usage_text(draft->usage), err) < 0 ||
        record_set_text(&ret->origin, origin_of(draft), err) < 0 ||
        record_set_text(&ret->key_store, draft->key_store, err) < 0 ||
        record_set_text(&ret->state, key_state_text(KEY_CREATING), err) < 0 ||
        record_set_text(&ret->description, draft->description, err) < 0 ||
        record_set_text(&ret->policy, draft->policy, err) < 0 ||
        record_set_text(&ret->policy_pins, draft->policy_pins, err) < 0 ||
        record_set_text(&ret->region, keyring->region, err) < 0 ||
        record_set_text(&ret->role, draft->multi_region ? "PRIMARY" : NULL, err) < 0)
        return -1;
    return 0;
}

static int check_tags(const struct tag_record *tags, size_t count, struct kms_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (strncasecmp(tags[i].tag_key, "aws:", 4) == 0)
            return kms_fail(err, KMS_ERR_TAG, "Tags beginning with aws: are reserved");
        for (size_t j = 0; j < i; j++)
            if (strcmp(tags[i].tag_key, tags[j].tag_key) == 0)
                return kms_fail(err, KMS_ERR_TAG, "Duplicate tag keys");
    }
    return 0;
}

static int add_tags(struct change *change, const struct tag_record *tags, size_t count,
                    struct kms_error *err)
{
    if (check_tags(tags, count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct tag_record tag = tags[i]; /* its texts stay the caller's */
        tag.key_id = change->next->record.id;
        if (key_set_tag(change->next, &tag, err) < 0 || change_put_tag(change, &tag, err) < 0)
            return -1;
    }
    if (change->next->tag_count > TAGS_MAX)
        return kms_fail(err, KMS_ERR_TAG, "Too many tags");
    return 0;
}

/* A key whose material a client brings later begins without any. */
static int make_first(struct change *change, const struct key_draft *draft, struct kms_error *err)
{
    if (draft->external)
        return key_set_state(change->next, KEY_PENDING_IMPORT, err);
    if (change_make_version(change, NULL, err) < 0)
        return -1;
    return key_set_state(change->next, KEY_ENABLED, err);
}

/* The change lock is held. alias: name of a managed key, or NULL. */
static int create_locked(struct change *change, const struct key_draft *draft, const char *alias,
                         struct kms_error *err)
{
    struct keyring *const keyring = change->keyring;
    struct key_record record __attribute__((cleanup(key_record_done))) = { 0 };
    AUTO(token_hold) held = { 0 };

    if (draft->key_store && key_store_hold_id(keyring, draft->key_store, &held, err) < 0)
        return -1;
    if (!draft->aws_managed &&
        (int64_t)catalog_count(keyring->catalog) >= keyring->limits.keys_most)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "You have reached the quota of keys for this account and Region.");
    if (draft_record(keyring, draft, &record, err) < 0 ||
        key_new(&record, &change->next, err) < 0 ||
        add_tags(change, draft->tags, draft->tag_count, err) < 0 ||
        make_first(change, draft, err) < 0)
        return -1;
    if (alias) {
        const struct alias managed = change_alias(change, alias, record.created_ms);
        if (change_put_alias(change, &managed, err) < 0)
            return -1;
    }
    return change_commit(change, err);
}

int lifecycle_create(struct keyring *keyring, const struct key_draft *draft, struct key **ret,
                     struct kms_error *err)
{
    AUTO(change) change = { 0 };

    change_begin_new(&change, keyring);
    if (create_locked(&change, draft, NULL, err) < 0)
        return -1;
    *ret = key_ref(change.published);
    return 0;
}

int lifecycle_managed_key(struct keyring *keyring, const char *alias, struct key **ret,
                          struct kms_error *err)
{
    char description[300];
    struct alias found;
    AUTO(change) change = { 0 };

    change_begin_new(&change, keyring); /* two first uses at once make one key */
    if (catalog_alias(keyring->catalog, alias, &found)) {
        *ret = catalog_find(keyring->catalog, &found.key_id);
        return 0;
    }
    (void)snprintf(description, sizeof(description),
                   "Default key that protects data when no other key is named: %.200s", alias);
    const struct key_draft draft = { .description = description, .aws_managed = true };
    if (create_locked(&change, &draft, alias, err) < 0)
        return -1;
    *ret = key_ref(change.published);
    return 0;
}

/* Destroys what the token holds of a key; the record says Deleting already. */
static int destroy_versions(struct change *change, struct kms_error *err)
{
    AUTO(token_hold) held = { 0 };

    if (key_store_hold(change->keyring, change->next, &held, err) < 0)
        return -1;
    for (size_t i = 0; i < change->next->version_count; i++) {
        struct version_record *const record = &change->next->versions[i].record;
        if (token_key_destroy(held.token, &record->id, err) < 0 ||
            record_set_text(&record->state, "Destroyed", err) < 0 ||
            change_put_version(change, record, err) < 0)
            return -1;
    }
    return 0;
}

/* Material goes with the last key of a family; while there are others nothing of it is touched. */
static int part_with_material(struct change *change, struct kms_error *err)
{
    return change->relative_count ? change_leave_family(change, err)
                                  : destroy_versions(change, err);
}

int lifecycle_delete_due(struct keyring *keyring, const struct uuid *id, struct kms_error *err)
{
    {
        AUTO(change) intent = { 0 };
        if (change_begin_any(&intent, keyring, id, err) < 0)
            return -1;
        if (lifecycle_due(keyring, intent.next) != DUE_DELETION)
            return 0; /* cancelled meanwhile */
        if (key_set_state(intent.next, KEY_DELETING, err) < 0 || change_commit(&intent, err) < 0)
            return -1;
    }
    AUTO(change) change = { 0 };
    if (change_begin_any(&change, keyring, id, err) < 0 || part_with_material(&change, err) < 0 ||
        change_drop_aliases(&change, err) < 0 || change_drop_tags(&change, err) < 0 ||
        key_set_state(change.next, KEY_DELETED, err) < 0)
        return -1;
    return change_commit(&change, err);
}

/* --- aliases and tags ------------------------------------------------------------------------- */

static size_t aliases_most(const struct keyring *keyring)
{
    return keyring->limits.aliases_most ? (size_t)keyring->limits.aliases_most : ALIASES_PRESET;
}

int lifecycle_create_alias(struct keyring *keyring, const char *name, const struct uuid *id,
                           struct kms_error *err)
{
    struct alias taken;
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_EDIT, err) < 0)
        return -1;
    if (catalog_alias(keyring->catalog, name, &taken))
        return kms_fail(err, KMS_ERR_ALREADY_EXISTS, "An alias with the name %s already exists",
                        keyring_alias_arn(keyring, name).text);
    if (catalog_alias_count(keyring->catalog, id) >= aliases_most(keyring))
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "You have reached the quota of aliases for the key.");
    const struct alias alias = change_alias(&change, name, now_ms(keyring));
    if (change_put_alias(&change, &alias, err) < 0)
        return -1;
    return change_commit(&change, err);
}

/* The change lock is held. */
static int find_alias(const struct keyring *keyring, const char *name, const struct uuid *from,
                      struct alias *ret, struct kms_error *err)
{
    if (!catalog_alias(keyring->catalog, name, ret))
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Alias %s is not found.",
                        keyring_alias_arn(keyring, name).text);
    if (!uuid_equal(&ret->key_id, from))
        return kms_fail(err, KMS_ERR_DEPENDENCY_TIMEOUT,
                        "The alias was changed by another request at the same time.");
    return 0;
}

int lifecycle_update_alias(struct keyring *keyring, const char *name, const struct uuid *from,
                           const struct uuid *id, struct kms_error *err)
{
    struct alias alias;
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_EDIT, err) < 0 ||
        find_alias(keyring, name, from, &alias, err) < 0)
        return -1;
    if (!uuid_equal(&alias.key_id, id) &&
        catalog_alias_count(keyring->catalog, id) >= aliases_most(keyring))
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "You have reached the quota of aliases for the key.");
    alias.key_id = *id;
    alias.updated_ms = now_ms(keyring);
    if (change_put_alias(&change, &alias, err) < 0)
        return -1;
    return change_commit(&change, err);
}

int lifecycle_delete_alias(struct keyring *keyring, const char *name, const struct uuid *from,
                           struct kms_error *err)
{
    struct alias alias;
    AUTO(change) change = { 0 };

    change_begin_new(&change, keyring);
    if (find_alias(keyring, name, from, &alias, err) < 0 ||
        change_drop_alias(&change, &alias, err) < 0)
        return -1;
    return change_commit(&change, err);
}

int lifecycle_tag(struct keyring *keyring, const struct uuid *id, const struct tag_record *tags,
                  size_t count, struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_EDIT, err) < 0 ||
        add_tags(&change, tags, count, err) < 0)
        return -1;
    return change_commit(&change, err);
}

int lifecycle_untag(struct keyring *keyring, const struct uuid *id, const char *const *tag_keys,
                    size_t count, struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_EDIT, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strncasecmp(tag_keys[i], "aws:", 4) == 0)
            return kms_fail(err, KMS_ERR_TAG, "Tags beginning with aws: are reserved");
        if (!key_has_tag(change.next, tag_keys[i]))
            continue; /* removing what is not there is fine */
        if (change_drop_tag(&change, tag_keys[i], err) < 0)
            return -1;
        key_remove_tag(change.next, tag_keys[i]);
    }
    return change_commit(&change, err);
}
