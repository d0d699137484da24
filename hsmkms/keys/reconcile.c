#include "hsmkms/keys/reconcile.h"

#include <stdlib.h>

#include "hsmkms/keys/change.h"
#include "hsmkms/keys/imported.h"
#include "hsmkms/keys/key_store_parts.h"
#include "pkcs11/token_import.h"

/* Ids of the token's objects that bear a key version's label, in order. */
struct inventory {
    struct uuid *ids;
    bool *known;     /* whether a version's record names it */
    size_t *missing; /* how many usable versions are not there */
    size_t count, cap;
};

static int compare_ids(const void *a, const void *b)
{
    return uuid_compare(a, b);
}

static int take_object(void *arg, const struct uuid *id, const char *label, struct kms_error *err)
{
    struct inventory *const inventory = arg;
    static const char prefix[] = "hsmkms:kv:";

    if (strncmp(label, prefix, sizeof(prefix) - 1) != 0)
        return 0;
    if (inventory->count == inventory->cap) {
        const size_t cap = inventory->cap ? 2 * inventory->cap : 256;
        struct uuid *const moved = reallocarray(inventory->ids, cap, sizeof(*moved));
        if (moved == NULL)
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the inventory");
        inventory->ids = moved;
        inventory->cap = cap;
    }
    inventory->ids[inventory->count++] = *id;
    return 0;
}

static const struct uuid *find(const struct inventory *inventory, const struct uuid *id)
{
    return inventory->count
               ? bsearch(id, inventory->ids, inventory->count, sizeof(*id), compare_ids)
               : NULL;
}

static bool holds(const struct inventory *inventory, const struct uuid *id)
{
    return find(inventory, id) != NULL;
}

/* --- a version whose creation was interrupted ------------------------------------------------- */

/* An object that is what was asked for: what proves it in later calls goes into the record. */
static int prove_key(struct token *token, const struct key *key, struct version_record *record,
                     struct kms_error *err)
{
    uint8_t canary[TOKEN_CANARY_LEN];

    if ((record->imported ? token_import_verify : token_key_verify)(token, key->spec->kind,
                                                                    &record->id, err) < 0)
        return -1;
    if ((key->spec->type == SPEC_MAC
             ? token_mac_canary(token, key->spec->kind, &record->id, canary, err)
             : token_key_canary(token, &record->id, canary, err)) < 0)
        return -1;
    buf_clear(&record->canary);
    buf_append(&record->canary, SPAN_ARRAY(canary));
    return buf_check(&record->canary, err);
}

/* The same for a pair, whose public key proves it. */
static int prove_pair(struct token *token, const struct key *key, struct version_record *record,
                      struct kms_error *err)
{
    const enum token_use use = keyspec_token_use(key->usage);
    struct token_public public_key;

    if (token_pair_public(token, key->spec->kind, use, &record->id, &public_key, err) < 0 ||
        (record->imported ? token_pair_import_verify : token_pair_verify)(
            token, key->spec->kind, use, &record->id, token_public_span(&public_key), err) < 0)
        return -1;
    buf_clear(&record->public_key);
    buf_append(&record->public_key, token_public_span(&public_key));
    return buf_check(&record->public_key, err);
}

/*
 * True in *ret when the object is there and is what was asked for. A token that
 * does not answer is no reason to abort: the next start tries again.
 */
static int look_at_object(struct token *token, const struct key *key, struct version_record *record,
                          bool *ret, struct kms_error *err)
{
    *ret = (key->spec->type == SPEC_PAIR ? prove_pair : prove_key)(token, key, record, err) == 0;
    if (*ret)
        return 0;
    if (err->code != KMS_ERR_NOT_FOUND && err->code != KMS_ERR_INTEGRITY)
        return -1;
    kms_error_clear(err); /* a half-made object is an ordinary leftover */
    return 0;
}

/* False when a rotation that succeeded came after the one that was interrupted. */
static bool is_newest(const struct key *key, const struct version_record *record)
{
    const struct version *const current = key_current(key);

    return current == NULL || current->record.created_ms <= record->created_ms;
}

static int finish_version(struct change *change, struct version_record *record,
                          struct kms_error *err)
{
    struct key *const key = change->next;

    /* one block that may have been used, nothing reserved beyond it */
    record->reserved = keyspec_is_symmetric(key->spec) ? keyring_first_block(change->keyring) : 0;
    record->rotated_ms = record->reason ? clock_wall_ms(change->keyring->clock) : 0;
    if (record_set_text(&record->state, "Usable", err) < 0)
        return -1;
    if (record->imported ? key_current(key) == NULL : is_newest(key, record))
        key->record.current_version = record->id;
    if (record->reason)
        change_note_rotation(change, record->reason);
    if (key->state == KEY_PENDING_IMPORT && key_is_complete(key))
        return key_set_state(key, KEY_ENABLED, err);
    return key->state == KEY_CREATING ? key_set_state(key, KEY_ENABLED, err) : 0;
}

/* Imported again when it was interrupted: what proves its material was there before. */
static bool comes_back(const struct key *key, const struct version_record *record)
{
    return record->imported && (record->canary.len || record->public_key.len) &&
           key->state != KEY_DELETED;
}

static int abort_version(struct change *change, struct version_record *record,
                         struct kms_error *err)
{
    struct key *const key = change->next;
    const char *const state = comes_back(key, record)     ? "Absent"
                              : key->state == KEY_DELETED ? "Destroyed"
                                                          : "Aborted";

    if (record_set_text(&record->state, state, err) < 0)
        return -1;
    if ((key->state == KEY_ENABLED || key->state == KEY_DISABLED) && key_is_external(key) &&
        !key_is_complete(key))
        return key_set_state(key, KEY_PENDING_IMPORT, err);
    return key->state == KEY_CREATING ? key_set_state(key, KEY_ABORTED, err) : 0;
}

static int end_creation(struct keyring *keyring, struct token *token, const struct uuid *key_id,
                        size_t place, bool present, struct kms_error *err)
{
    bool whole = false;
    AUTO(change) change = { 0 };

    if (change_begin_any(&change, keyring, key_id, err) < 0)
        return -1;
    struct version *const version = &change.next->versions[place];
    if (present && change.next->state != KEY_DELETED &&
        !comes_back(change.next, &version->record) &&
        look_at_object(token, change.next, &version->record, &whole, err) < 0)
        return -1;
    if ((whole ? finish_version(&change, &version->record, err)
               : abort_version(&change, &version->record, err)) < 0)
        return -1;
    atomic_store(&version->budget->used, version->record.reserved);
    atomic_store(&version->budget->reserved, version->record.reserved);
    if (change_put_version(&change, &version->record, err) < 0)
        return -1;
    return change_commit(&change, err);
}

/* --- all of them ------------------------------------------------------------------------------ */

typedef int settle_fn(struct keyring *keyring, const struct reconciled *of, const struct key *key,
                      const struct inventory *inventory, struct kms_error *err);

/* Ends what was being made; publishes new snapshots of the keys concerned. */
static int end_creations(struct keyring *keyring, const struct reconciled *of,
                         const struct key *key, const struct inventory *inventory,
                         struct kms_error *err)
{
    for (size_t i = 0; i < key->version_count; i++) {
        const struct version_record *const record = &key->versions[i].record;
        if (strcmp(record->state, "Creating") == 0 &&
            end_creation(keyring, of->token, &key->record.id, i, holds(inventory, &record->id),
                         err) < 0)
            return -1;
    }
    return 0;
}

static int set_unavailable(struct keyring *keyring, const struct key *key, bool unavailable,
                           struct kms_error *err)
{
    AUTO(change) change = { 0 };

    if (key->unavailable == unavailable)
        return 0;
    if (change_begin_any(&change, keyring, &key->record.id, err) < 0)
        return -1;
    key_set_unavailable(change.next, unavailable);
    return change_publish(&change, err);
}

/* Marks keys that lost an object, or have theirs again, and destroys what came back. */
static int compare_objects(struct keyring *keyring, const struct reconciled *of,
                           const struct key *key, const struct inventory *inventory,
                           struct kms_error *err)
{
    bool lost = false;

    for (size_t i = 0; i < key->version_count; i++) {
        const struct version *const version = &key->versions[i];
        const bool present = holds(inventory, &version->record.id);
        if (version_is_usable(version) && !present && key->state != KEY_DELETING)
            lost = true;
        const bool gone =
            strcmp(version->record.state, "Destroyed") == 0 || version_is_absent(version);
        if (gone && present && token_key_destroy(of->token, &version->record.id, err) < 0)
            return -1;
    }
    return set_unavailable(keyring, key, lost, err);
}

static int for_region(struct keyring *keyring, const struct reconciled *of,
                      const struct inventory *inventory, settle_fn *settle, struct kms_error *err)
{
    struct uuid last, *after = NULL;
    struct key *key = NULL;

    while (catalog_all(keyring->catalog, after, &key, 1) == 1) {
        last = key->record.id;
        after = &last;
        const int settled =
            key_store_owns(of->store, key) ? settle(keyring, of, key, inventory, err) : 0;
        key_unref(key);
        if (settled < 0)
            return -1;
    }
    return 0;
}

static int for_all(struct keyring *home, const struct reconciled *of,
                   const struct inventory *inventory, settle_fn *settle, struct kms_error *err)
{
    for (struct keyring *each = home; each; each = each->next)
        if (for_region(each, of, inventory, settle, err) < 0)
            return -1;
    return 0;
}

/* Several keys of a family name the same objects. */
static int note_known(struct keyring *keyring, const struct reconciled *of, const struct key *key,
                      const struct inventory *inventory, struct kms_error *err)
{
    (void)keyring;
    (void)of;
    (void)err;
    for (size_t i = 0; i < key->version_count; i++) {
        const struct uuid *const found = find(inventory, &key->versions[i].record.id);
        if (found)
            inventory->known[found - inventory->ids] = true;
    }
    return 0;
}

/* Objects that no version's record names. */
static int count_strangers(struct keyring *keyring, const struct reconciled *of,
                           struct inventory *inventory, unsigned *ret, struct kms_error *err)
{
    inventory->known = calloc(inventory->count + 1, sizeof(*inventory->known));
    if (inventory->known == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the inventory");
    if (for_all(keyring, of, inventory, note_known, err) < 0)
        return -1;
    *ret = 0;
    for (size_t i = 0; i < inventory->count; i++)
        *ret += !inventory->known[i];
    return 0;
}

static int take_inventory(struct token *token, struct inventory *ret, struct kms_error *err)
{
    if (token_inventory(token, take_object, ret, err) < 0)
        return -1;
    if (ret->count)
        qsort(ret->ids, ret->count, sizeof(*ret->ids), compare_ids);
    return 0;
}

static void inventory_done(struct inventory *inventory)
{
    free(inventory->ids);
    free(inventory->known);
}

int reconcile(struct keyring *keyring, const struct reconciled *of, unsigned *ret_strangers,
              struct kms_error *err)
{
    struct keyring *const home = keyring->home;
    AUTO(inventory) inventory = { 0 };

    if (take_inventory(of->token, &inventory, err) < 0 ||
        count_strangers(home, of, &inventory, ret_strangers, err) < 0 ||
        for_all(home, of, &inventory, end_creations, err) < 0)
        return -1;
    return for_all(home, of, &inventory, compare_objects, err);
}

/* Counts into inventory->missing. */
static int count_missing(struct keyring *keyring, const struct reconciled *of, const struct key *key,
                         const struct inventory *inventory, struct kms_error *err)
{
    (void)keyring;
    (void)of;
    (void)err;
    for (size_t i = 0; i < key->version_count; i++)
        *inventory->missing += version_is_usable(&key->versions[i]) &&
                               !holds(inventory, &key->versions[i].record.id);
    return 0;
}

int reconcile_missing(struct keyring *keyring, const struct reconciled *of, size_t *ret,
                      struct kms_error *err)
{
    AUTO(inventory) inventory = { .missing = ret };

    *ret = 0;
    if (take_inventory(of->token, &inventory, err) < 0)
        return -1;
    return for_all(keyring->home, of, &inventory, count_missing, err);
}
