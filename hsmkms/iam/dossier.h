#pragma once

/*
 * Everything the store has about one user or role, and the snapshot that is made of it. A change
 * copies the dossier, edits the copy, and the rows to be written follow from the difference. Knows
 * one user or role at a time.
 *
 * Threads: none of its own; whoever changes the directory alone touches dossiers.
 */

#include "hsmkms/iam/directory.h"
#include "hsmkms/iam/document.h"

/* An inline policy (document), an attached policy (created_ms) or a tag (value). */
struct item {
    char *name; /* of the policy; its ARN; key of the tag */
    char *value;
    int64_t created_ms;
    struct document *document; /* a reference */
};

struct items {
    struct item *at; /* in order of name */
    size_t count;
};

struct dossier {
    struct identity_record record; /* without the trust policy's texts */
    enum identity_kind kind;
    struct document *trust; /* roles; a reference */
    struct items inlines, attached, tags;
};

/* Accept the zero state. */
void dossier_free(struct dossier *dossier); /* and NULL */
CHECKED int dossier_copy(const struct dossier *from, struct dossier **ret, struct kms_error *err);

/* The record as it is stored, with texts borrowed from the dossier. */
struct identity_record dossier_record(const struct dossier *dossier);

/* NULL: no such item. Names of policies are compared by exact case, keys of tags without. */
struct item *dossier_inline(const struct dossier *dossier, const char *name);
struct item *dossier_attached(const struct dossier *dossier, const char *arn);
struct item *dossier_tag(const struct dossier *dossier, const char *key);

/* These add or replace an item; a reference of document is taken over in any case. Errors:
 * INTERNAL. */
CHECKED int dossier_put_inline(struct dossier *dossier, const char *name, struct document *document,
                               struct kms_error *err);
CHECKED int dossier_put_attached(struct dossier *dossier, const char *arn, int64_t created_ms,
                                 struct kms_error *err);
CHECKED int dossier_put_tag(struct dossier *dossier, const char *key, const char *value,
                            struct kms_error *err);

/* For whoever adds something; what is over a limit may still shrink. Errors: LIMIT_EXCEEDED. */
CHECKED int dossier_check_limits(const struct dossier *dossier, struct kms_error *err);

/* Takes an item of these lists out. */
void items_remove(struct items *items, struct item *item);

/* NULL: no such managed policy; borrowed. */
typedef struct policy *managed_lookup_fn(void *ctx, const char *arn);

/*
 * The snapshot of a dossier.
 *
 * ret      one reference
 * Errors:  INTEGRITY (it names a managed policy that is none); INTERNAL
 */
CHECKED int dossier_snapshot(const struct dossier *dossier, managed_lookup_fn *managed, void *ctx,
                             struct identity **ret, struct kms_error *err);
