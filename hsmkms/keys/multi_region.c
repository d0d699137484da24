#include "hsmkms/keys/multi_region.h"

#include "hsmkms/keys/change.h"
#include "hsmkms/keys/regions.h"

struct key *multi_region_member(const struct keyring *keyring, const struct uuid *family)
{
    struct key *const key = catalog_find_family(keyring->catalog, family);

    if (key && key_visible(key))
        return key;
    key_unref(key);
    return NULL;
}

static int must_be_primary(const struct keyring *keyring, const struct key *key,
                           struct kms_error *err)
{
    if (key_is_primary(key))
        return 0;
    return kms_fail(err, KMS_ERR_UNSUPPORTED, "%s is not a multi-region primary key.",
                    keyring_arn_of(keyring, key).text);
}

static int must_be_another(const struct keyring *keyring, const char *region, struct kms_error *err)
{
    if (strcmp(keyring->region, region) != 0)
        return 0;
    return kms_fail(err, KMS_ERR_VALIDATION, "The primary key is in Region %s.", region);
}

/* --- ReplicateKey ----------------------------------------------------------------------------- */

/* A deletion that is being carried out still holds the place. */
static int must_be_free(const struct keyring *target, const struct key *key, struct kms_error *err)
{
    struct key *const held = catalog_find_family(target->catalog, &key->record.family);
    const bool taken = held && !key_is_gone(held);
    const struct arn_text arn = taken ? keyring_arn_of(target, held) : (struct arn_text){ "" };

    key_unref(held);
    return taken ? kms_fail(err, KMS_ERR_ALREADY_EXISTS, "The key %s already exists.", arn.text)
                 : 0;
}

int multi_region_may_replicate(const struct keyring *keyring, const struct key *key,
                               const char *region, struct kms_error *err)
{
    const struct keyring *const target = keyring_in(keyring, region);

    if (must_be_primary(keyring, key, err) < 0 || must_be_another(keyring, region, err) < 0)
        return -1;
    if (target == NULL)
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "Region %s is not served by this service.",
                        region);
    if (must_be_free(target, key, err) < 0)
        return -1;
    if ((int64_t)catalog_count(target->catalog) >= target->limits.keys_most)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "You have reached the quota of keys for this account and Region.");
    return 0;
}

/* What a replica does not share; the rest it gets with the commit. */
static int draft_replica(const struct change *change, const struct replica_draft *draft,
                         struct key_record *ret, struct kms_error *err)
{
    const struct key_record *const primary = &change->next->record;

    ret->id = uuid_random();
    ret->family = primary->family;
    ret->created_ms = clock_wall_ms(change->keyring->clock);
    if (record_set_text(&ret->manager, primary->manager, err) < 0 ||
        record_set_text(&ret->spec, primary->spec, err) < 0 ||
        record_set_text(&ret->usage, primary->usage, err) < 0 ||
        record_set_text(&ret->origin, primary->origin, err) < 0 ||
        record_set_text(&ret->state, key_state_text(KEY_ENABLED), err) < 0 ||
        record_set_text(&ret->description, draft->description, err) < 0 ||
        record_set_text(&ret->policy, draft->policy, err) < 0 ||
        record_set_text(&ret->policy_pins, draft->policy_pins, err) < 0 ||
        record_set_text(&ret->region, draft->region, err) < 0 ||
        record_set_text(&ret->role, "REPLICA", err) < 0)
        return -1;
    return 0;
}

static int tag_replica(struct change *change, struct key *replica,
                       const struct replica_draft *draft, struct kms_error *err)
{
    for (size_t i = 0; i < draft->tag_count; i++) {
        struct tag_record tag = draft->tags[i]; /* its texts stay the caller's */
        tag.key_id = replica->record.id;
        if (key_set_tag(replica, &tag, err) < 0 || change_put_tag(change, &tag, err) < 0)
            return -1;
    }
    return 0;
}

/* Joins the family within a change of its primary. */
static int add_replica(struct change *change, const struct replica_draft *draft,
                       struct kms_error *err)
{
    struct key_record record __attribute__((cleanup(key_record_done))) = { 0 };
    struct relative *const added = &change->relatives[change->relative_count];

    if (draft_replica(change, draft, &record, err) < 0 || key_new(&record, &added->next, err) < 0)
        return -1;
    added->keyring = keyring_in(change->keyring, draft->region);
    change->relative_count++;
    return tag_replica(change, added->next, draft, err);
}

int multi_region_replicate(struct keyring *keyring, const struct uuid *id,
                           const struct replica_draft *draft, struct key **ret,
                           struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_CRYPTO, err) < 0 ||
        multi_region_may_replicate(keyring, change.next, draft->region, err) < 0 ||
        add_replica(&change, draft, err) < 0)
        return -1;
    struct key *const replica = key_ref(change.relatives[change.relative_count - 1].next);
    if (change_commit(&change, err) < 0) {
        key_unref(replica);
        return -1;
    }
    *ret = replica;
    return 0;
}

/* --- UpdatePrimaryRegion ---------------------------------------------------------------------- */

int multi_region_may_move(const struct keyring *keyring, const struct key *key, const char *region,
                          struct kms_error *err)
{
    if (must_be_primary(keyring, key, err) < 0 || must_be_another(keyring, region, err) < 0)
        return -1;
    const struct keyring *const target = keyring_in(keyring, region);
    struct key *const heir = target ? multi_region_member(target, &key->record.family) : NULL;
    if (heir == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Key 'arn:aws:kms:%s:%s:key/%s' does not exist",
                        region, keyring->account, key_name(key).text);
    const int may = key_may(heir, KEY_USE_CRYPTO, keyring_arn_of(target, heir).text, err);
    key_unref(heir);
    return may;
}

int multi_region_move_primary(struct keyring *keyring, const struct uuid *id, const char *region,
                              const struct uuid *heir, struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (change_begin(&change, keyring, id, KEY_USE_CRYPTO, err) < 0 ||
        multi_region_may_move(keyring, change.next, region, err) < 0)
        return -1;
    struct relative *const to = change_relative(&change, region);
    if (to == NULL || heir == NULL || !uuid_equal(&to->next->record.id, heir))
        return kms_fail(err, KMS_ERR_DEPENDENCY_TIMEOUT,
                        "The replica was changed by another request at the same time.");
    if (record_set_text(&change.next->record.role, "REPLICA", err) < 0 ||
        record_set_text(&to->next->record.role, "PRIMARY", err) < 0)
        return -1;
    return change_commit(&change, err);
}
