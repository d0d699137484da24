#include "hsmkms/keys/change.h"

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/keys/change_import.h"
#include "hsmkms/keys/key_store.h"

void key_record_done(struct key_record *record)
{
    record_done(&key_table, record);
}

void version_record_done(struct version_record *record)
{
    record_done(&version_table, record);
}

void change_begin_new(struct change *ret, struct keyring *keyring)
{
    (void)pthread_mutex_lock(&keyring->home->change); /* one at a time, given back by _done */
    ret->keyring = keyring;
}

int change_begin_any(struct change *ret, struct keyring *keyring, const struct uuid *id,
                     struct kms_error *err)
{
    change_begin_new(ret, keyring);
    struct key *const now = catalog_find(keyring->catalog, id);
    if (now == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Key '%s' does not exist",
                        keyring_key_arn(keyring, id).text);
    const int copied = key_copy(now, &ret->next, err);
    key_unref(now);
    return copied < 0 ? -1 : change_gather_relatives(ret, err);
}

int change_begin(struct change *ret, struct keyring *keyring, const struct uuid *id,
                 enum key_use use, struct kms_error *err)
{
    if (change_begin_any(ret, keyring, id, err) < 0)
        return -1;
    return key_may(ret->next, use, keyring_key_arn(keyring, id).text, err);
}

void change_done(struct change *change)
{
    if (change->keyring == NULL)
        return;
    if (change->tx)
        store_rollback(change->tx);
    key_unref(change->next);
    key_unref(change->published);
    for (size_t i = 0; i < change->relative_count; i++)
        key_unref(change->relatives[i].next);
    free(change->aliases);
    (void)pthread_mutex_unlock(&change->keyring->home->change);
    *change = (struct change){ 0 };
}

static int stage(struct change *change, const struct table *table, const void *record,
                 struct kms_error *err)
{
    if (change->tx == NULL && store_begin(change->keyring->store, &change->tx, err) < 0)
        return -1;
    return store_put(change->tx, table, record, err);
}

static int stage_drop(struct change *change, const struct table *table, const void *record,
                      struct kms_error *err)
{
    if (change->tx == NULL && store_begin(change->keyring->store, &change->tx, err) < 0)
        return -1;
    return store_drop(change->tx, table, record, err);
}

/* Makes what is staged durable; nothing staged is fine. */
static int commit_staged(struct change *change, struct kms_error *err)
{
    struct store_tx *const tx = change->tx;

    change->tx = NULL; /* now owned by store_commit */
    return tx ? store_commit(tx, err) : 0;
}

/* --- versions --------------------------------------------------------------------------------- */

static int draft_version(const struct change *change, const char *reason,
                         struct version_record *ret, struct kms_error *err)
{
    const struct key *const key = change->next;

    ret->id = uuid_random();
    ret->key_id = *key_owner(key);
    ret->number = key->version_count ? key->versions[key->version_count - 1].record.number + 1 : 1;
    ret->created_ms = clock_wall_ms(change->keyring->clock);
    if (record_set_text(&ret->state, "Creating", err) < 0)
        return -1;
    return record_set_text(&ret->reason, reason, err);
}

/* What the database says of a version that will never be used: any object of it has to go. */
static void record_abandoned(struct change *change, struct version_record *record)
{
    struct kms_error ignored = { 0 }; /* the caller has the reason; start-up tries again */
    const bool newborn = change->next->state == KEY_CREATING;

    if (record_set_text(&record->state, "Destroyed", &ignored) < 0 ||
        change_put_version(change, record, &ignored) < 0)
        return;
    if (newborn && (key_set_state(change->next, KEY_ABORTED, &ignored) < 0 ||
                    stage(change, &key_table, &change->next->record, &ignored) < 0))
        return;
    if (commit_staged(change, &ignored) < 0)
        return;
}

/* A failed generation may have made an object. It goes now or, with the record, at a next start. */
static void abandon_version(struct change *change, struct token *token,
                            struct version_record *record)
{
    struct kms_error ignored = { 0 };

    record_abandoned(change, record);
    if (token_key_destroy(token, &record->id, &ignored) < 0)
        return;
}

/* Makes the token's object or pair; what proves it in later calls goes into the record. */
static int make_object(const struct change *change, struct token *token,
                       struct version_record *record, struct kms_error *err)
{
    const struct key *const key = change->next;
    struct token_public public_key;
    uint8_t canary[TOKEN_CANARY_LEN];
    char label[64];

    (void)snprintf(label, sizeof(label), "hsmkms:kv:%s", uuid_format(&record->id).text);
    if (key->spec->type == SPEC_PAIR) {
        if (token_pair_generate(token, key->spec->kind, keyspec_token_use(key->usage), &record->id,
                                label, &public_key, err) < 0)
            return -1;
        buf_append(&record->public_key, token_public_span(&public_key));
        return buf_check(&record->public_key, err);
    }
    if (token_key_generate(token, key->spec->kind, &record->id, label, canary, err) < 0)
        return -1;
    buf_append(&record->canary, SPAN_ARRAY(canary));
    return buf_check(&record->canary, err);
}

/* The object is made and verified: the version becomes the one that encrypts. */
static int adopt_version(struct change *change, struct version_record *record,
                         struct kms_error *err)
{
    const bool counted = keyspec_is_symmetric(change->next->spec);
    const int64_t block = counted ? keyring_first_block(change->keyring) : 0;

    if (record_set_text(&record->state, "Usable", err) < 0)
        return -1;
    record->reserved = block;
    record->rotated_ms = record->reason ? clock_wall_ms(change->keyring->clock) : 0;

    /* the canary was the first invocation */
    struct budget *const budget = budget_new(counted, block);
    if (budget == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a budget");
    const int added = key_add_version(change->next, record, budget, err);
    budget_unref(budget); /* the version holds it now */
    if (added < 0)
        return -1;
    if (record->imported == NULL || uuid_is_nil(&change->next->record.current_version))
        change->next->record.current_version = record->id;
    return change_put_version(change, record, err);
}

int change_save(struct change *change, struct kms_error *err)
{
    if (stage(change, &key_table, &change->next->record, err) < 0)
        return -1;
    return commit_staged(change, err);
}

/* Into the record goes whether this process undoes paddings for the version. */
static int describe_padding(const struct key *key, struct token *token,
                            struct version_record *record, struct kms_error *err)
{
    bool outside = false;

    if (keyspec_pads_outside(token, key->spec, key->usage, &outside, err) < 0)
        return -1;
    return outside ? record_set_text(&record->padding, "Host", err) : 0;
}

/* material: NULL where the token makes it. */
static int bring_version(struct change *change, const char *reason,
                         const struct change_material *material, struct kms_error *err)
{
    struct version_record record __attribute__((cleanup(version_record_done))) = { 0 };
    AUTO(token_hold) held = { 0 };

    if (key_store_hold(change->keyring, change->next, &held, err) < 0 ||
        draft_version(change, reason, &record, err) < 0 ||
        describe_padding(change->next, held.token, &record, err) < 0 ||
        (material && change_describe_import(&record, material, err) < 0) ||
        change_put_version(change, &record, err) < 0 || change_save(change, err) < 0)
        return -1;

    if ((material ? change_import_object(change, material, &record, err)
                  : make_object(change, held.token, &record, err)) < 0) {
        abandon_version(change, held.token, &record);
        return -1;
    }
    return adopt_version(change, &record, err);
}

int change_make_version(struct change *change, const char *reason, struct kms_error *err)
{
    return bring_version(change, reason, NULL, err);
}

int change_import_version(struct change *change, const struct change_material *material,
                          struct kms_error *err)
{
    return bring_version(change, NULL, material, err);
}

void change_note_rotation(struct change *change, const char *reason)
{
    struct key_record *const record = &change->next->record;
    const int64_t now_ms = clock_wall_ms(change->keyring->clock);

    record->rotation_last_ms = now_ms;
    if (strcmp(reason, "ON_DEMAND") == 0)
        record->rotations_on_demand++;
    else if (record->rotation_enabled && record->rotation_next_ms <= now_ms)
        record->rotation_next_ms = now_ms + record->rotation_period_days * MS_PER_DAY;
}

int change_put_version(struct change *change, const struct version_record *record,
                       struct kms_error *err)
{
    return stage(change, &version_table, record, err);
}

int change_reserve(struct change *change, const struct version *version, int64_t reserved,
                   struct kms_error *err)
{
    struct version_record record = version->record; /* its texts stay the version's */

    record.reserved = reserved;
    if (change_put_version(change, &record, err) < 0)
        return -1;
    return commit_staged(change, err);
}

void change_forget_copies(struct change *change)
{
    change->forget_copies = true;
}

/* --- tags and aliases ------------------------------------------------------------------------- */

int change_put_tag(struct change *change, const struct tag_record *tag, struct kms_error *err)
{
    return stage(change, &tag_table, tag, err);
}

int change_drop_tag(struct change *change, const char *tag_key, struct kms_error *err)
{
    char *key = strdup(tag_key);

    if (key == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a tag");
    const struct tag_record tag = { .key_id = change->next->record.id, .tag_key = key };
    const int dropped = stage_drop(change, &tag_table, &tag, err);
    free(key);
    return dropped;
}

int change_drop_tags(struct change *change, struct kms_error *err)
{
    while (change->next->tag_count) {
        if (change_drop_tag(change, change->next->tags[0].tag_key, err) < 0)
            return -1;
        key_remove_tag(change->next, change->next->tags[0].tag_key);
    }
    return 0;
}

struct alias change_alias(const struct change *change, const char *name, int64_t now_ms)
{
    struct alias alias = { .key_id = change->next->record.id,
                           .created_ms = now_ms,
                           .updated_ms = now_ms };

    (void)snprintf(alias.name, sizeof(alias.name), "%s", name); /* checked: 256 at most */
    return alias;
}

static int remember_alias(struct change *change, const struct alias *alias, bool drop,
                          struct kms_error *err)
{
    struct change_alias_step *const moved =
        reallocarray(change->aliases, change->alias_count + 1, sizeof(*moved));

    if (moved == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an alias");
    change->aliases = moved;
    change->aliases[change->alias_count++] = (struct change_alias_step){ *alias, drop };
    return 0;
}

/* The row of an alias; its texts stay where they are. */
static struct alias_record alias_row(const struct change *change, struct alias *alias)
{
    return (struct alias_record){ .name = alias->name,
                                  .region = change->keyring->region,
                                  .key_id = alias->key_id,
                                  .created_ms = alias->created_ms,
                                  .updated_ms = alias->updated_ms };
}

int change_put_alias(struct change *change, const struct alias *alias, struct kms_error *err)
{
    struct alias copy = *alias;
    const struct alias_record record = alias_row(change, &copy);

    if (remember_alias(change, alias, false, err) < 0)
        return -1;
    return stage(change, &alias_table, &record, err);
}

int change_drop_alias(struct change *change, const struct alias *alias, struct kms_error *err)
{
    struct alias copy = *alias;
    const struct alias_record record = alias_row(change, &copy);

    if (remember_alias(change, alias, true, err) < 0)
        return -1;
    return stage_drop(change, &alias_table, &record, err);
}

int change_drop_aliases(struct change *change, struct kms_error *err)
{
    struct alias found[CHANGE_ALIASES_MAX];
    const size_t count = catalog_aliases(change->keyring->catalog, NULL, &change->next->record.id,
                                         found, ARRAY_LEN(found));

    for (size_t i = 0; i < count; i++)
        if (change_drop_alias(change, &found[i], err) < 0)
            return -1;
    return 0;
}

/* --- key stores ------------------------------------------------------------------------------- */

int change_put_key_store(struct change *change, const struct key_store_record *record,
                         struct kms_error *err)
{
    return stage(change, &key_store_table, record, err);
}

int change_drop_key_store(struct change *change, const struct key_store_record *record,
                          struct kms_error *err)
{
    return stage_drop(change, &key_store_table, record, err);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void forget_copies(const struct change *change)
{
    struct kms_error away = { 0 }; /* a token that is closed has no copies */
    AUTO(token_hold) held = { 0 };

    if (key_store_hold(change->keyring, change->published, &held, &away) < 0)
        return;
    for (size_t i = 0; i < change->published->version_count; i++)
        token_key_forget(held.token, &change->published->versions[i].record.id);
}

/* Relatives first: what next refers to is then to be found from every region. */
static int publish_relatives(struct change *change, struct kms_error *err)
{
    for (size_t i = 0; i < change->relative_count; i++) {
        struct relative *const relative = &change->relatives[i];
        struct key *const next = relative->next;
        relative->next = NULL; /* now owned by the catalog */
        if (catalog_publish(relative->keyring->catalog, next, err) < 0)
            return -1;
    }
    return 0;
}

/* What is durable becomes visible. */
static int publish(struct change *change, struct kms_error *err)
{
    struct catalog *const catalog = change->keyring->catalog;

    if (publish_relatives(change, err) < 0)
        return -1;
    if (change->next) {
        key_unref(change->published);
        change->published = key_ref(change->next);
        struct key *const next = change->next;
        change->next = NULL; /* now owned by the catalog */
        if (catalog_publish(catalog, next, err) < 0)
            return -1;
        if (change->forget_copies)
            forget_copies(change);
    }
    for (size_t i = 0; i < change->alias_count; i++) {
        const struct change_alias_step *const step = &change->aliases[i];
        if (step->drop)
            catalog_alias_drop(catalog, step->alias.name);
        else if (catalog_alias_put(catalog, &step->alias, err) < 0)
            return -1;
    }
    return 0;
}

int change_commit(struct change *change, struct kms_error *err)
{
    if (change->next && (change_share(change, err) < 0 ||
                         stage(change, &key_table, &change->next->record, err) < 0))
        return -1;
    for (size_t i = 0; i < change->relative_count; i++)
        if (stage(change, &key_table, &change->relatives[i].next->record, err) < 0)
            return -1;
    if (commit_staged(change, err) < 0)
        return -1;
    return publish(change, err);
}

int change_publish(struct change *change, struct kms_error *err)
{
    return publish(change, err);
}
