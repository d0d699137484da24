/* Inline policies, and which managed ones a user or role has. */

#include <stdlib.h>

#include "hsmkms/iam/directory_parts.h"

/* --- inline policies -------------------------------------------------------------------------- */

int directory_put_policy(struct directory *directory, const struct identity_name *name,
                         const char *policy_name, const char *text, struct kms_error *err)
{
    struct document *document = NULL;
    AUTO(edit) edit = { 0 };

    if (check_policy_name(policy_name, err) < 0 || check_policy_text(text, err) < 0 ||
        edit_begin(directory, name, &edit, err) < 0 ||
        document_compile(text, POLICY_IDENTITY, NULL, &document, err) < 0 ||
        dossier_put_inline(edit.next, policy_name, document, err) < 0 ||
        dossier_check_limits(edit.next, err) < 0)
        return -1;
    return edit_commit(&edit, err);
}

static int no_inline(const struct identity_name *name, const char *policy_name,
                     struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_NOT_FOUND, "The %s policy with name %.128s cannot be found.",
                    identity_nouns[name->kind], policy_name);
}

int directory_delete_policy(struct directory *directory, const struct identity_name *name,
                            const char *policy_name, struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0)
        return -1;
    struct item *const item = dossier_inline(edit.next, policy_name);
    if (item == NULL)
        return no_inline(name, policy_name, err);
    items_remove(&edit.next->inlines, item);
    return edit_commit(&edit, err);
}

int directory_inline_text(struct directory *directory, const struct identity_name *name,
                          const char *policy_name, struct buf *ret, struct kms_error *err)
{
    struct document *document = NULL;

    (void)pthread_rwlock_rdlock(&directory->lock);
    const struct entry *const entry =
        entry_find(directory, name->kind, name->account, span_text(name->name));
    const struct item *const item = entry ? dossier_inline(entry->dossier, policy_name) : NULL;
    if (item)
        document = document_ref(item->document);
    (void)pthread_rwlock_unlock(&directory->lock);
    if (document == NULL)
        return no_inline(name, policy_name, err);
    buf_text(ret, document->text);
    document_unref(document);
    return buf_check(ret, err);
}

/* --- managed ones ----------------------------------------------------------------------------- */

/* In a change: a policy that this user or role can have: its account's, or everybody's. */
static int check_attachable(const struct edit *edit, const char *arn, struct kms_error *err)
{
    const struct managed *const managed = managed_of_arn(edit->directory, arn);

    if (managed == NULL ||
        (!managed->builtin && strcmp(managed->record.account, edit->next->record.account) != 0))
        return kms_fail(err, KMS_ERR_NOT_FOUND,
                        "Policy %.700s does not exist or is not attachable.", arn);
    return 0;
}

int directory_attach(struct directory *directory, const struct identity_name *name,
                     const char *policy_arn, struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0 || check_attachable(&edit, policy_arn, err) < 0)
        return -1;
    if (dossier_attached(edit.next, policy_arn))
        return 0;
    if (dossier_put_attached(edit.next, policy_arn, clock_wall_ms(directory->config.clock), err) <
            0 ||
        dossier_check_limits(edit.next, err) < 0)
        return -1;
    return edit_commit(&edit, err);
}

int directory_detach(struct directory *directory, const struct identity_name *name,
                     const char *policy_arn, struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0)
        return -1;
    struct item *const item = dossier_attached(edit.next, policy_arn);
    if (item == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Policy %.700s was not found.", policy_arn);
    items_remove(&edit.next->attached, item);
    return edit_commit(&edit, err);
}

int directory_set_boundary(struct directory *directory, const struct identity_name *name,
                           const char *policy_arn, struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0 ||
        (policy_arn && check_attachable(&edit, policy_arn, err) < 0))
        return -1;
    char *const boundary = policy_arn ? strdup(policy_arn) : NULL;
    if (policy_arn && boundary == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a boundary");
    free(edit.next->record.boundary);
    edit.next->record.boundary = boundary;
    return edit_commit(&edit, err);
}
