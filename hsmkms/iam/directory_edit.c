/* How a change of one user or role is made: copy, edit, write the difference, show. */

#include "hsmkms/iam/directory_parts.h"

#include "hsmkms/store/row.h"

void directory_change_begin(struct directory *directory)
{
    (void)pthread_mutex_lock(&directory->change);
}

void directory_change_end(struct directory *directory)
{
    (void)pthread_mutex_unlock(&directory->change);
}

/* --- single rows ------------------------------------------------------------------------------ */

/* store_put or store_drop */
typedef int stage_fn(struct store_tx *tx, const struct table *table, const void *record,
                     struct kms_error *err);

static int write_one(struct directory *directory, stage_fn *stage, const struct table *table,
                     const void *record, struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (store_begin(directory->config.store, &tx, err) < 0)
        return -1;
    if (stage(tx, table, record, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

int directory_store(struct directory *directory, const struct table *table, const void *record,
                    struct kms_error *err)
{
    return write_one(directory, store_put, table, record, err);
}

int directory_unstore(struct directory *directory, const struct table *table, const void *record,
                      struct kms_error *err)
{
    return write_one(directory, store_drop, table, record, err);
}

/* --- the difference between two dossiers ------------------------------------------------------ */

/* An item's row, its texts borrowed. */
union item_record {
    struct inline_policy_record inlined;
    struct attachment_record attached;
    struct identity_tag_record tag;
};

typedef void item_record_fn(const struct dossier *owner, const struct item *item,
                            union item_record *ret);

static void inline_record(const struct dossier *owner, const struct item *item,
                          union item_record *ret)
{
    ret->inlined = (struct inline_policy_record){ .identity = owner->record.unique_id,
                                                  .name = item->name,
                                                  .document = item->document->text };
}

static void attached_record(const struct dossier *owner, const struct item *item,
                            union item_record *ret)
{
    ret->attached = (struct attachment_record){ .identity = owner->record.unique_id,
                                                .policy = item->name,
                                                .created_ms = item->created_ms };
}

static void tag_record(const struct dossier *owner, const struct item *item, union item_record *ret)
{
    ret->tag = (struct identity_tag_record){ .identity = owner->record.unique_id,
                                             .tag_key = item->name,
                                             .tag_value = item->value };
}

/* One row for each kind of list. */
static const struct item_kind {
    const struct table *table;
    size_t offset; /* of the list in a dossier */
    item_record_fn *record;
} item_kinds[] = {
    { &inline_policy_table, offsetof(struct dossier, inlines), inline_record },
    { &attachment_table, offsetof(struct dossier, attached), attached_record },
    { &identity_tag_table, offsetof(struct dossier, tags), tag_record },
};

/* The item of exactly this name, or NULL; lists are short. dossier may be NULL. */
static const struct item *item_of(const struct dossier *dossier, const struct item_kind *kind,
                                  const char *name)
{
    const struct items *const items =
        dossier ? (const struct items *)((const uint8_t *)dossier + kind->offset) : NULL;

    for (size_t i = 0; items && i < items->count; i++)
        if (strcmp(items->at[i].name, name) == 0)
            return &items->at[i];
    return NULL;
}

static bool same_item(const struct item *a, const struct item *b)
{
    return a && a->document == b->document && a->created_ms == b->created_ms &&
           (a->value == b->value || (a->value && b->value && strcmp(a->value, b->value) == 0));
}

/* Stages the items of one that the other has not, by put or drop. */
static int stage_items(struct store_tx *tx, stage_fn *stage, const struct item_kind *kind,
                       const struct dossier *of, const struct dossier *other, struct kms_error *err)
{
    const struct items *const items = (const struct items *)((const uint8_t *)of + kind->offset);

    for (size_t i = 0; i < items->count; i++) {
        const struct item *const twin = item_of(other, kind, items->at[i].name);
        union item_record record = { 0 };
        if (stage == store_put ? same_item(twin, &items->at[i]) : twin != NULL)
            continue;
        kind->record(of, &items->at[i], &record);
        if (stage(tx, kind->table, &record, err) < 0)
            return -1;
    }
    return 0;
}

/* 1 the same, 0 not, -1 out of memory. */
static int same_record(const struct dossier *a, const struct dossier *b, struct kms_error *err)
{
    const struct identity_record records[] = { dossier_record(a), dossier_record(b) };
    struct row rows[2] = { 0 };
    AUTO(buf) first = { 0 };
    AUTO(buf) second = { 0 };

    row_from_record(&identity_table, &records[0], &rows[0]);
    row_from_record(&identity_table, &records[1], &rows[1]);
    row_bytes(&identity_table, &rows[0], &first);
    row_bytes(&identity_table, &rows[1], &second);
    if (buf_check(&first, err) < 0 || buf_check(&second, err) < 0)
        return -1;
    return span_equal(buf_span(&first), buf_span(&second));
}

static int stage_record(struct store_tx *tx, const struct dossier *before,
                        const struct dossier *next, struct kms_error *err)
{
    const int same = before && next ? same_record(before, next, err) : 0;

    if (same)
        return same > 0 ? 0 : -1;
    if (next == NULL)
        return store_drop(tx, &identity_table, &before->record, err);
    const struct identity_record record = dossier_record(next);
    return store_put(tx, &identity_table, &record, err);
}

static int stage_difference(struct store_tx *tx, const struct dossier *before,
                            const struct dossier *next, struct kms_error *err)
{
    if (stage_record(tx, before, next, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(item_kinds); i++) {
        if (before && stage_items(tx, store_drop, &item_kinds[i], before, next, err) < 0)
            return -1;
        if (next && stage_items(tx, store_put, &item_kinds[i], next, before, err) < 0)
            return -1;
    }
    return 0;
}

int dossier_store(struct directory *directory, const struct dossier *before,
                  const struct dossier *next, struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (store_begin(directory->config.store, &tx, err) < 0)
        return -1;
    if (stage_difference(tx, before, next, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

/* --- snapshots -------------------------------------------------------------------------------- */

struct source {
    struct directory *directory;
    struct substitute substitute;
};

static struct policy *find_policy(void *ctx, const char *arn)
{
    const struct source *const source = ctx;

    if (source->substitute.arn && strcmp(source->substitute.arn, arn) == 0)
        return source->substitute.policy;
    const struct managed *const managed = managed_of_arn(source->directory, arn);
    return managed ? managed->document->policy : NULL;
}

int directory_snapshot(struct directory *directory, const struct dossier *dossier,
                       struct substitute substitute, struct identity **ret, struct kms_error *err)
{
    struct source source = { directory, substitute };

    return dossier_snapshot(dossier, find_policy, &source, ret, err);
}

/* --- edits ------------------------------------------------------------------------------------ */

int edit_begin(struct directory *directory, const struct identity_name *name, struct edit *ret,
               struct kms_error *err)
{
    struct edit edit = { .directory = directory };

    directory_change_begin(directory);
    edit.entry = entry_find(directory, name->kind, name->account, span_text(name->name));
    if (edit.entry == NULL)
        kms_fail(err, KMS_ERR_NOT_FOUND, "The %s with name %.64s cannot be found.",
                 identity_nouns[name->kind], name->name);
    if (edit.entry == NULL || dossier_copy(edit.entry->dossier, &edit.next, err) < 0) {
        directory_change_end(directory);
        return -1;
    }
    *ret = edit;
    return 0;
}

int edit_commit(struct edit *edit, struct kms_error *err)
{
    struct directory *const directory = edit->directory;
    struct entry *const entry = edit->entry;
    struct dossier *const before = entry->dossier;
    struct identity *const was = entry->shown;
    struct identity *snapshot = NULL;

    if (directory_snapshot(directory, edit->next, (struct substitute){ 0 }, &snapshot, err) < 0)
        return -1;
    if (dossier_store(directory, before, edit->next, err) < 0) {
        identity_unref(snapshot);
        return -1;
    }
    (void)pthread_rwlock_wrlock(&directory->lock);
    dossier_count(directory, before, -1);
    entry->dossier = edit->next; /* now owned by the entry */
    entry->shown = snapshot;
    dossier_count(directory, entry->dossier, 1);
    atomic_fetch_add(&directory->generation, 1);
    (void)pthread_rwlock_unlock(&directory->lock);
    edit->next = before; /* released with the edit */
    identity_unref(was);
    return 0;
}

void edit_done(struct edit *edit)
{
    if (edit->directory == NULL)
        return;
    dossier_free(edit->next);
    directory_change_end(edit->directory);
    *edit = (struct edit){ 0 };
}
