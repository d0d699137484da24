#include "hsmkms/keys/change.h"
#include "hsmkms/keys/regions.h"

/* Multi-Region keys in a change: the other regions' keys of the family. */

static int gather(struct change *change, struct keyring *keyring, struct kms_error *err)
{
    struct key *const now = catalog_find_family(keyring->catalog, &change->next->record.family);
    int copied = 0;

    if (now && !key_is_gone(now)) {
        struct relative *const relative = &change->relatives[change->relative_count];
        copied = key_copy(now, &relative->next, err);
        if (copied == 0) {
            relative->keyring = keyring;
            change->relative_count++;
        }
    }
    key_unref(now);
    return copied;
}

int change_gather_relatives(struct change *change, struct kms_error *err)
{
    if (!key_is_multi_region(change->next) || key_is_gone(change->next))
        return 0;
    for (struct keyring *each = change->keyring->home; each; each = each->next)
        if (each != change->keyring && gather(change, each, err) < 0)
            return -1;
    return 0;
}

/* Versions and how they rotate; all else is a region's own. */
static int share(const struct key *from, struct key *to, struct kms_error *err)
{
    enum key_state recorded;

    to->record.rotation_enabled = from->record.rotation_enabled;
    to->record.rotation_period_days = from->record.rotation_period_days;
    to->record.rotation_next_ms = from->record.rotation_next_ms;
    to->record.rotation_last_ms = from->record.rotation_last_ms;
    to->record.rotations_on_demand = from->record.rotations_on_demand;
    to->record.current_version = from->record.current_version;
    key_clear_versions(to);
    for (size_t i = 0; i < from->version_count; i++)
        if (key_add_version(to, &from->versions[i].record, from->versions[i].budget, err) < 0)
            return -1;
    to->unavailable = from->unavailable;
    if (!key_state_parse(to->record.state, &recorded))
        return kms_fail_detail(err, KMS_ERR_INTEGRITY, "a relative is in no known state");
    return key_set_state(to, recorded, err);
}

int change_share(struct change *change, struct kms_error *err)
{
    if (key_is_gone(change->next))
        return 0; /* it has left */
    for (size_t i = 0; i < change->relative_count; i++)
        if (share(change->next, change->relatives[i].next, err) < 0)
            return -1;
    return 0;
}

struct relative *change_relative(struct change *change, const char *region)
{
    for (size_t i = 0; i < change->relative_count; i++)
        if (strcmp(change->relatives[i].keyring->region, region) == 0)
            return &change->relatives[i];
    return NULL;
}

int change_must_lead(const struct change *change, struct kms_error *err)
{
    if (!key_is_replica(change->next))
        return 0;
    return kms_fail(err, KMS_ERR_UNSUPPORTED, "%s is not a multi-region primary key.",
                    keyring_arn_of(change->keyring, change->next).text);
}

int change_leave_family(struct change *change, struct kms_error *err)
{
    struct key *const last = change->relatives[0].next;

    key_clear_versions(change->next);
    if (change->relative_count > 1 || last->state != KEY_PENDING_REPLICA_DELETION)
        return 0;
    last->record.deletion_due_ms =
        clock_wall_ms(change->keyring->clock) + last->record.deletion_window_days * MS_PER_DAY;
    return key_set_state(last, KEY_PENDING_DELETION, err);
}
