#include "hsmkms/iam/dossier.h"

#include <stdlib.h>
#include <strings.h>

/* --- lists ------------------------------------------------------------------------------------ */

static void item_done(struct item *item)
{
    free(item->name);
    free(item->value);
    document_unref(item->document);
    *item = (struct item){ 0 };
}

static void items_done(struct items *items)
{
    for (size_t i = 0; i < items->count; i++)
        item_done(&items->at[i]);
    free(items->at);
    *items = (struct items){ 0 };
}

/* Copies the texts; takes the document over, even when it fails. */
static int item_make(const struct item *from, struct item *ret, struct kms_error *err)
{
    struct item made = { .name = strdup(from->name),
                         .value = from->value ? strdup(from->value) : NULL,
                         .created_ms = from->created_ms,
                         .document = from->document };

    if (made.name == NULL || (from->value && made.value == NULL)) {
        item_done(&made);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    }
    *ret = made;
    return 0;
}

static int items_copy(const struct items *from, struct items *ret, struct kms_error *err)
{
    struct items made = { 0 };

    if (from->count == 0)
        return 0;
    made.at = calloc(from->count, sizeof(*made.at));
    if (made.at == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    for (; made.count < from->count; made.count++) {
        struct item item = from->at[made.count];
        item.document = document_ref(item.document);
        if (item_make(&item, &made.at[made.count], err) < 0) {
            items_done(&made);
            return -1;
        }
    }
    *ret = made;
    return 0;
}

typedef int compare_fn(const char *a, const char *b);

/* Index of the first item that is not before name. */
static size_t items_place(const struct items *items, const char *name, compare_fn *compare)
{
    size_t low = 0, high = items->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare(items->at[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct item *items_find(const struct items *items, const char *name, compare_fn *compare)
{
    const size_t i = items_place(items, name, compare);

    return i < items->count && compare(items->at[i].name, name) == 0 ? &items->at[i] : NULL;
}

/* Adds or replaces; takes the draft's document over, even when it fails. */
static int items_put(struct items *items, const struct item *draft, compare_fn *compare,
                     struct kms_error *err)
{
    struct item *const old = items_find(items, draft->name, compare);
    struct item made = { 0 };

    if (item_make(draft, &made, err) < 0)
        return -1;
    if (old) {
        item_done(old);
        *old = made;
        return 0;
    }
    struct item *const moved = reallocarray(items->at, items->count + 1, sizeof(*moved));
    if (moved == NULL) {
        item_done(&made);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    }
    items->at = moved;
    const size_t i = items_place(items, made.name, compare);
    memmove(&items->at[i + 1], &items->at[i], (items->count - i) * sizeof(*items->at));
    items->at[i] = made;
    items->count++;
    return 0;
}

void items_remove(struct items *items, struct item *item)
{
    const size_t i = (size_t)(item - items->at);

    item_done(item);
    items->count--;
    memmove(item, item + 1, (items->count - i) * sizeof(*item));
}

/* --- the whole -------------------------------------------------------------------------------- */

void dossier_free(struct dossier *dossier)
{
    if (dossier == NULL)
        return;
    record_done(&identity_table, &dossier->record);
    document_unref(dossier->trust);
    items_done(&dossier->inlines);
    items_done(&dossier->attached);
    items_done(&dossier->tags);
    free(dossier);
}

int dossier_copy(const struct dossier *from, struct dossier **ret, struct kms_error *err)
{
    struct dossier *const made = calloc(1, sizeof(*made));

    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    made->kind = from->kind;
    made->trust = document_ref(from->trust);
    if (record_copy(&identity_table, &from->record, &made->record, err) < 0 ||
        items_copy(&from->inlines, &made->inlines, err) < 0 ||
        items_copy(&from->attached, &made->attached, err) < 0 ||
        items_copy(&from->tags, &made->tags, err) < 0) {
        dossier_free(made);
        return -1;
    }
    *ret = made;
    return 0;
}

struct identity_record dossier_record(const struct dossier *dossier)
{
    struct identity_record record = dossier->record;

    if (dossier->trust) {
        record.trust_policy = dossier->trust->text;
        record.trust_pins = dossier->trust->pins;
    }
    return record;
}

/* --- inline policies, attached policies, tags ------------------------------------------------- */

struct item *dossier_inline(const struct dossier *dossier, const char *name)
{
    return items_find(&dossier->inlines, name, strcmp);
}

struct item *dossier_attached(const struct dossier *dossier, const char *arn)
{
    return items_find(&dossier->attached, arn, strcmp);
}

struct item *dossier_tag(const struct dossier *dossier, const char *key)
{
    return items_find(&dossier->tags, key, strcasecmp);
}

int dossier_put_inline(struct dossier *dossier, const char *name, struct document *document,
                       struct kms_error *err)
{
    /* the cast, here and below: a draft's texts are copied, not changed */
    const struct item draft = { .name = (char *)name, .document = document };

    return items_put(&dossier->inlines, &draft, strcmp, err);
}

int dossier_put_attached(struct dossier *dossier, const char *arn, int64_t created_ms,
                         struct kms_error *err)
{
    const struct item draft = { .name = (char *)arn, .created_ms = created_ms };

    return items_put(&dossier->attached, &draft, strcmp, err);
}

int dossier_put_tag(struct dossier *dossier, const char *key, const char *value,
                    struct kms_error *err)
{
    const struct item draft = { .name = (char *)key, .value = (char *)value };

    return items_put(&dossier->tags, &draft, strcasecmp, err);
}

int dossier_check_limits(const struct dossier *dossier, struct kms_error *err)
{
    static const size_t inline_most[IDENTITY_KINDS] = {
        [IDENTITY_USER] = INLINE_USER_MAX, [IDENTITY_ROLE] = INLINE_ROLE_MAX
    };
    size_t weight = 0;

    for (size_t i = 0; i < dossier->inlines.count; i++)
        weight += dossier->inlines.at[i].document->weight;
    if (weight > inline_most[dossier->kind])
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "Maximum policy size of %zu bytes exceeded for %s %s",
                        inline_most[dossier->kind],
                        dossier->kind == IDENTITY_USER ? "user" : "role", dossier->record.name);
    if (dossier->attached.count > ATTACHED_POLICIES_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed quota for PoliciesPer%s: %d",
                        dossier->record.kind, ATTACHED_POLICIES_MAX);
    if (dossier->tags.count > IDENTITY_TAGS_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "The number of tags has reached the maximum limit: %d", IDENTITY_TAGS_MAX);
    return 0;
}
