#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/dossier.h"

/* One block for everything a snapshot points into: arrays first, then texts. */
struct block {
    uint8_t *at, *end;
};

static void *block_take(struct block *block, size_t len)
{
    void *const taken = block->at;

    assert(len <= (size_t)(block->end - block->at));
    block->at += len;
    return taken;
}

static const char *block_text(struct block *block, const char *text)
{
    const size_t size = strlen(text) + 1;

    return memcpy(block_take(block, size), text, size);
}

static size_t names_size(const struct items *items)
{
    size_t size = 0;

    for (size_t i = 0; i < items->count; i++)
        size += strlen(items->at[i].name) + 1 +
                (items->at[i].value ? strlen(items->at[i].value) + 1 : 0);
    return size;
}

static size_t block_size(const struct dossier *dossier)
{
    const size_t policies = dossier->inlines.count + dossier->attached.count;
    size_t size = (policies + 1) * sizeof(struct named_policy) +
                  dossier->tags.count * sizeof(struct identity_tag);

    size +=
        names_size(&dossier->inlines) + names_size(&dossier->attached) + names_size(&dossier->tags);
    if (dossier->record.boundary)
        size += strlen(dossier->record.boundary) + 1;
    if (dossier->trust)
        size += strlen(dossier->trust->text) + 1;
    return size;
}

/* Where managed policies are looked up. */
struct source {
    managed_lookup_fn *managed;
    void *ctx;
};

static int name_managed(const struct source *source, const char *arn, struct block *block,
                        struct named_policy *ret, struct kms_error *err)
{
    struct policy *const policy = source->managed(source->ctx, arn);

    if (policy == NULL)
        return kms_fail(err, KMS_ERR_INTEGRITY, "policy %.700s is attached and does not exist",
                        arn);
    *ret = (struct named_policy){ block_text(block, arn), policy_ref(policy) };
    return 0;
}

static int fill_policies(const struct dossier *dossier, const struct source *source,
                         struct block *block, struct identity *ret, struct kms_error *err)
{
    const size_t most = dossier->inlines.count + dossier->attached.count;
    struct named_policy *const boundary = block_take(block, sizeof(*boundary));
    struct named_policy *const policies = block_take(block, most * sizeof(*policies));
    struct identity_tag *const tags = block_take(block, dossier->tags.count * sizeof(*tags));

    ret->policies = policies;
    ret->tags = tags;
    for (size_t i = 0; i < dossier->inlines.count; i++) {
        const struct item *const item = &dossier->inlines.at[i];
        policies[ret->policy_count++] = (struct named_policy){ block_text(block, item->name),
                                                               policy_ref(item->document->policy) };
    }
    ret->inline_count = ret->policy_count;
    for (size_t i = 0; i < dossier->attached.count; i++, ret->policy_count++)
        if (name_managed(source, dossier->attached.at[i].name, block, &policies[ret->policy_count],
                         err) < 0)
            return -1;
    for (; ret->tag_count < dossier->tags.count; ret->tag_count++) {
        const struct item *const item = &dossier->tags.at[ret->tag_count];
        tags[ret->tag_count] =
            (struct identity_tag){ block_text(block, item->name), block_text(block, item->value) };
    }
    if (dossier->record.boundary) {
        if (name_managed(source, dossier->record.boundary, block, boundary, err) < 0)
            return -1;
        ret->boundary = boundary;
    }
    return 0;
}

/* Names and ids are as long as their rooms at most: checked when they were given or read. */
#define PUT(room, ...) ((void)snprintf((room), sizeof(room), __VA_ARGS__))

static void fill_names(const struct dossier *dossier, struct identity *ret)
{
    static const char *const nouns[IDENTITY_KINDS] = { "user", "role" };
    const struct identity_record *const record = &dossier->record;

    ret->kind = dossier->kind;
    PUT(ret->account, "%s", record->account);
    PUT(ret->name, "%s", record->name);
    PUT(ret->path, "%s", record->path);
    PUT(ret->unique_id, "%s", record->unique_id);
    PUT(ret->arn, "arn:aws:iam::%s:%s%s%s", record->account, nouns[dossier->kind], record->path,
        record->name);
    ret->enabled = record->enabled != 0;
    ret->created_ms = record->created_ms;
    ret->max_session_s = record->max_session_s;
    ret->revoked_ms = record->revoked_ms;
}

int dossier_snapshot(const struct dossier *dossier, managed_lookup_fn *managed, void *ctx,
                     struct identity **ret, struct kms_error *err)
{
    const struct source source = { managed, ctx };
    const size_t size = block_size(dossier);
    struct identity *const made = calloc(1, sizeof(*made));
    uint8_t *const room = calloc(1, size);
    struct block block = { room, room + size };

    if (made == NULL || room == NULL) {
        free(made);
        free(room);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    }
    atomic_init(&made->references, 1);
    made->arena = room;
    fill_names(dossier, made);
    if (fill_policies(dossier, &source, &block, made, err) < 0) {
        identity_unref(made);
        return -1;
    }
    if (dossier->trust) {
        made->trust = policy_ref(dossier->trust->policy);
        made->trust_text = block_text(&block, dossier->trust->text);
    }
    *ret = made;
    return 0;
}
