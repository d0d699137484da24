/* Managed policies: made, replaced in everybody who has them at once, deleted. */

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/directory_parts.h"

/* The row as it is stored, with texts borrowed. */
static struct managed_policy_record row_of(const struct managed *managed,
                                           const struct document *document)
{
    struct managed_policy_record row = managed->record;

    row.document = document->text;
    return row;
}

static void managed_free(struct managed *managed)
{
    record_done(&managed_policy_table, &managed->record);
    free(managed);
}

/* --- making ----------------------------------------------------------------------------------- */

/* What a managed policy is to be. */
struct draft {
    const char *account, *path, *name;
    struct document *document; /* a reference; NULL once taken over */
};

static int managed_new(struct directory *directory, const struct draft *draft, struct managed **ret,
                       struct kms_error *err)
{
    const int64_t now_ms = clock_wall_ms(directory->config.clock);
    const char *const path = draft->path ? draft->path : "/";
    char id[UNIQUE_ID_LEN + 1], arn[IDENTITY_ARN_MAX];

    if (directory_unique_id(directory, "ANPA", id, err) < 0)
        return -1;
    (void)snprintf(arn, sizeof(arn), "arn:aws:iam::%s:policy%s%s", draft->account, path,
                   draft->name);
    /* the casts: copied, not changed */
    const struct managed_policy_record record = { .arn = arn,
                                                  .unique_id = id,
                                                  .account = (char *)draft->account,
                                                  .path = (char *)path,
                                                  .name = (char *)draft->name,
                                                  .created_ms = now_ms,
                                                  .updated_ms = now_ms };
    struct managed *const made = calloc(1, sizeof(*made));
    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a managed policy");
    if (record_copy(&managed_policy_table, &record, &made->record, err) < 0) {
        managed_free(made);
        return -1;
    }
    *ret = made;
    return 0;
}

/* In a change: into the tables, into the store, into view. */
static int introduce(struct directory *directory, struct draft *draft, struct managed **ret,
                     struct kms_error *err)
{
    struct managed *managed = NULL;

    if (HASH_CNT(by_arn, directory->by_arn) >= MANAGED_POLICIES_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed quota for Policies: %d",
                        MANAGED_POLICIES_MAX);
    if (managed_new(directory, draft, &managed, err) < 0)
        return -1;
    if (managed_add(directory, managed, err) < 0) {
        managed_free(managed);
        return -1;
    }
    const struct managed_policy_record row = row_of(managed, draft->document);
    if (directory_store(directory, &managed_policy_table, &row, err) < 0) {
        managed_remove(directory, managed);
        return -1;
    }
    managed_show(directory, managed, draft->document);
    draft->document = NULL; /* now owned by the managed policy */
    *ret = managed;
    return 0;
}

/* --- replacing -------------------------------------------------------------------------------- */

/* The next snapshots of those who have a policy. */
struct renewal {
    struct {
        struct entry *entry;
        struct identity *snapshot;
    } * rows;
    size_t count;
};

static void renewal_done(struct renewal *renewal)
{
    for (size_t i = 0; i < renewal->count; i++)
        identity_unref(renewal->rows[i].snapshot);
    free(renewal->rows);
    *renewal = (struct renewal){ 0 };
}

static bool has_policy(const struct dossier *dossier, const char *arn)
{
    return dossier_attached(dossier, arn) ||
           (dossier->record.boundary && strcmp(dossier->record.boundary, arn) == 0);
}

/* In a change. */
static int renew(struct directory *directory, const struct managed *managed,
                 const struct document *document, struct renewal *ret, struct kms_error *err)
{
    const struct substitute substitute = { managed->record.arn, document->policy };
    const size_t most = managed->attachments + managed->boundaries;

    if (most == 0)
        return 0;
    ret->rows = calloc(most, sizeof(*ret->rows));
    if (ret->rows == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a managed policy");
    for (size_t i = 0; i < directory->count; i++) {
        struct entry *const entry = directory->order[i];
        if (!has_policy(entry->dossier, managed->record.arn))
            continue;
        if (directory_snapshot(directory, entry->dossier, substitute,
                               &ret->rows[ret->count].snapshot, err) < 0)
            return -1;
        ret->rows[ret->count++].entry = entry;
    }
    return 0;
}

/* In a change. */
static int replace(struct directory *directory, struct managed *managed, struct draft *draft,
                   struct kms_error *err)
{
    struct document *const before = managed->document;
    AUTO(renewal) renewal = { 0 };

    struct managed_policy_record row = row_of(managed, draft->document);
    row.updated_ms = clock_wall_ms(directory->config.clock);
    if (renew(directory, managed, draft->document, &renewal, err) < 0 ||
        directory_store(directory, &managed_policy_table, &row, err) < 0)
        return -1;
    (void)pthread_rwlock_wrlock(&directory->lock);
    managed->document = draft->document;
    managed->record.updated_ms = row.updated_ms;
    for (size_t i = 0; i < renewal.count; i++) {
        struct identity *const was = renewal.rows[i].entry->shown;
        renewal.rows[i].entry->shown = renewal.rows[i].snapshot;
        renewal.rows[i].snapshot = was; /* released with the renewal */
    }
    atomic_fetch_add(&directory->generation, 1);
    (void)pthread_rwlock_unlock(&directory->lock);
    draft->document = before; /* released with the draft */
    return 0;
}

/* --- either ----------------------------------------------------------------------------------- */

/* In a change: the policy of this name, whatever its case; NULL: none. */
static struct managed *namesake(const struct directory *directory, const struct draft *draft)
{
    char key[POLICY_KEY_SIZE];
    struct managed *managed = NULL;

    managed_name_key(draft->account, draft->name, key);
    HASH_FIND(by_name, directory->managed_by_name, key, strlen(key), managed);
    return managed;
}

/* In a change. */
static int put(struct directory *directory, struct draft *draft, struct managed **ret,
               struct kms_error *err)
{
    if (account_find_own(directory, draft->account) == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Account %.20s cannot be found.", draft->account);
    struct managed *const there = namesake(directory, draft);
    if (there == NULL)
        return introduce(directory, draft, ret, err);
    if (strcmp(there->record.name, draft->name) != 0 ||
        (draft->path && strcmp(there->record.path, draft->path) != 0))
        return kms_fail(err, KMS_ERR_ALREADY_EXISTS,
                        "A policy called %s already exists: %s. Duplicate names are not allowed.",
                        draft->name, there->record.arn);
    *ret = there;
    return replace(directory, there, draft, err);
}

int directory_put_managed(struct directory *directory, const char *account, const char *path,
                          const char *policy_name, const char *text, char *ret_arn,
                          struct kms_error *err)
{
    struct draft draft = { .account = account, .path = path, .name = policy_name };
    struct managed *managed = NULL;

    if (check_policy_name(policy_name, err) < 0 || (path && check_path(path, err) < 0) ||
        check_policy_text(text, err) < 0)
        return -1;
    if (document_weight(text) > MANAGED_POLICY_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed quota for PolicySize: %d",
                        MANAGED_POLICY_MAX);
    if (document_compile(text, POLICY_IDENTITY, NULL, &draft.document, err) < 0)
        return -1;

    directory_change_begin(directory);
    const int result = put(directory, &draft, &managed, err);
    if (result == 0)
        (void)snprintf(ret_arn, IDENTITY_ARN_MAX, "%s", managed->record.arn);
    directory_change_end(directory);
    document_unref(draft.document);
    return result;
}

/* --- deleting --------------------------------------------------------------------------------- */

/* In a change. */
static int delete (struct directory *directory, const char *arn, struct kms_error *err)
{
    struct managed *const managed = managed_of_arn(directory, arn);

    if (managed == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Policy %.700s was not found.", arn);
    if (managed->builtin)
        return kms_fail(err, KMS_ERR_CONFLICT, "Policy %s comes with the service.", arn);
    if (managed->attachments || managed->boundaries)
        return kms_fail(err, KMS_ERR_CONFLICT, "Cannot delete a policy attached to entities.");
    if (directory_unstore(directory, &managed_policy_table, &managed->record, err) < 0)
        return -1;
    managed_remove(directory, managed);
    return 0;
}

int directory_delete_managed(struct directory *directory, const char *arn, struct kms_error *err)
{
    directory_change_begin(directory);
    const int result = delete (directory, arn, err);
    directory_change_end(directory);
    return result;
}
