/* The directory's tables: putting in, taking out, showing. */

#include <stdlib.h>

#include "hsmkms/iam/directory_parts.h"

static int no_memory(struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the directory");
}

/* --- orders ----------------------------------------------------------------------------------- */

static int compare_accounts(const struct account *a, const struct account *b)
{
    return strcmp(a->id, b->id);
}

static int compare_managed(const struct managed *a, const struct managed *b)
{
    return strcmp(a->record.arn, b->record.arn);
}

static int compare_entries(const void *a, const void *b)
{
    return entry_compare(*(struct entry *const *)a, *(struct entry *const *)b);
}

/* --- accounts --------------------------------------------------------------------------------- */

int account_add(struct directory *directory, struct account *account, struct kms_error *err)
{
    (void)pthread_rwlock_wrlock(&directory->lock);
    struct account *const taken = account_find(directory, span_text(account->id));
    if (taken == NULL)
        HASH_ADD(hh, directory->accounts, id[0], ACCOUNT_LEN, account);
    (void)pthread_rwlock_unlock(&directory->lock);
    if (taken)
        return kms_fail(err, KMS_ERR_ALREADY_EXISTS, "Account %s already exists.", account->id);
    return account->hh.tbl ? 0 : no_memory(err);
}

void account_remove(struct directory *directory, struct account *account)
{
    (void)pthread_rwlock_wrlock(&directory->lock);
    HASH_DEL(directory->accounts, account);
    (void)pthread_rwlock_unlock(&directory->lock);
    free(account);
}

void account_show(struct directory *directory, struct account *account)
{
    (void)pthread_rwlock_wrlock(&directory->lock);
    account->shown = true;
    HASH_SRT(hh, directory->accounts, compare_accounts);
    atomic_fetch_add(&directory->generation, 1);
    (void)pthread_rwlock_unlock(&directory->lock);
}

/* --- users and roles -------------------------------------------------------------------------- */

static bool make_room(struct directory *directory, size_t count)
{
    const size_t room = count > 2 * directory->room ? count : 2 * directory->room;

    if (count <= directory->room)
        return true;
    struct entry **const moved = reallocarray(directory->order, room, sizeof(struct entry *));
    if (moved == NULL)
        return false;
    directory->order = moved;
    directory->room = room;
    return true;
}

/* With the lock: into both tables, or none. */
static bool add_both(struct directory *directory, struct entry *entry)
{
    if (!make_room(directory, directory->count + 1))
        return false;
    HASH_ADD_KEYPTR(by_id, directory->by_id, entry->id, strlen(entry->id), entry);
    if (entry->by_id.tbl == NULL)
        return false;
    HASH_ADD_KEYPTR(by_name, directory->by_name, entry->name_key, strlen(entry->name_key), entry);
    if (entry->by_name.tbl)
        return true;
    HASH_DELETE(by_id, directory->by_id, entry);
    return false;
}

int entry_add(struct directory *directory, struct entry *entry, struct kms_error *err)
{
    const struct identity_record *const record = &entry->dossier->record;
    struct entry *same_name, *same_id;

    entry_name_key(entry->dossier->kind, record->account, record->name, entry->name_key);
    HASH_FIND(by_name, directory->by_name, entry->name_key, strlen(entry->name_key), same_name);
    if (same_name)
        return kms_fail(err, KMS_ERR_ALREADY_EXISTS, "%s with name %s already exists.",
                        record->kind, record->name);
    HASH_FIND(by_id, directory->by_id, entry->id, strlen(entry->id), same_id);
    if (same_id) /* 80 bits do not meet by chance */
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the token's random numbers repeat");

    (void)pthread_rwlock_wrlock(&directory->lock);
    const bool added = add_both(directory, entry);
    (void)pthread_rwlock_unlock(&directory->lock);
    return added ? 0 : no_memory(err);
}

/* Index of the first entry that does not come before. */
static size_t place_of(const struct directory *directory, const struct entry *entry)
{
    size_t low = 0, high = directory->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (entry_compare(directory->order[middle], entry) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void entry_show(struct directory *directory, struct entry *entry, struct identity *snapshot)
{
    (void)pthread_rwlock_wrlock(&directory->lock);
    entry->shown = snapshot;
    const size_t at = place_of(directory, entry);
    memmove(&directory->order[at + 1], &directory->order[at],
            (directory->count - at) * sizeof(struct entry *));
    directory->order[at] = entry;
    directory->count++;
    dossier_count(directory, entry->dossier, 1);
    atomic_fetch_add(&directory->generation, 1);
    (void)pthread_rwlock_unlock(&directory->lock);
}

int directory_order(struct directory *directory, struct kms_error *err)
{
    const size_t count = HASH_CNT(by_id, directory->by_id);
    struct entry *entry, *next;

    HASH_SRT(hh, directory->accounts, compare_accounts);
    HASH_SRT(by_arn, directory->by_arn, compare_managed);
    if (count == 0)
        return 0;
    if (!make_room(directory, count))
        return no_memory(err);
    HASH_ITER(by_id, directory->by_id, entry, next)
    {
        directory->order[directory->count++] = entry;
        dossier_count(directory, entry->dossier, 1);
    }
    qsort(directory->order, count, sizeof(struct entry *), compare_entries);
    return 0;
}

void entry_free(struct entry *entry)
{
    if (entry == NULL)
        return;
    dossier_free(entry->dossier);
    identity_unref(entry->shown);
    free(entry);
}

void entry_remove(struct directory *directory, struct entry *entry)
{
    (void)pthread_rwlock_wrlock(&directory->lock);
    HASH_DELETE(by_id, directory->by_id, entry);
    HASH_DELETE(by_name, directory->by_name, entry);
    if (entry->shown) {
        const size_t at = place_of(directory, entry);
        directory->count--;
        memmove(&directory->order[at], &directory->order[at + 1],
                (directory->count - at) * sizeof(struct entry *));
        dossier_count(directory, entry->dossier, -1);
        atomic_fetch_add(&directory->generation, 1);
    }
    (void)pthread_rwlock_unlock(&directory->lock);
    entry_free(entry);
}

/* Unsigned arithmetic wraps: adding the step -1 takes one away. */
static void count(size_t *number, int step)
{
    *number += (size_t)step;
}

void dossier_count(struct directory *directory, const struct dossier *dossier, int step)
{
    struct account *const account = account_find(directory, span_text(dossier->record.account));

    if (account)
        count(&account->members, step);
    for (size_t i = 0; i < dossier->attached.count; i++) {
        struct managed *const managed = managed_of_arn(directory, dossier->attached.at[i].name);
        if (managed)
            count(&managed->attachments, step);
    }
    struct managed *const boundary =
        dossier->record.boundary ? managed_of_arn(directory, dossier->record.boundary) : NULL;
    if (boundary)
        count(&boundary->boundaries, step);
}

/* --- managed policies ------------------------------------------------------------------------- */

static bool add_managed(struct directory *directory, struct managed *managed)
{
    HASH_ADD_KEYPTR(by_arn, directory->by_arn, managed->record.arn, strlen(managed->record.arn),
                    managed);
    if (managed->by_arn.tbl == NULL)
        return false;
    HASH_ADD_KEYPTR(by_name, directory->managed_by_name, managed->name_key,
                    strlen(managed->name_key), managed);
    if (managed->by_name.tbl)
        return true;
    HASH_DELETE(by_arn, directory->by_arn, managed);
    return false;
}

int managed_add(struct directory *directory, struct managed *managed, struct kms_error *err)
{
    struct managed *same_name;

    managed_name_key(managed->record.account, managed->record.name, managed->name_key);
    HASH_FIND(by_name, directory->managed_by_name, managed->name_key, strlen(managed->name_key),
              same_name);
    if (same_name)
        return kms_fail(err, KMS_ERR_ALREADY_EXISTS,
                        "A policy called %s already exists. Duplicate names are not allowed.",
                        managed->record.name);
    (void)pthread_rwlock_wrlock(&directory->lock);
    const bool added = add_managed(directory, managed);
    (void)pthread_rwlock_unlock(&directory->lock);
    return added ? 0 : no_memory(err);
}

void managed_show(struct directory *directory, struct managed *managed, struct document *document)
{
    (void)pthread_rwlock_wrlock(&directory->lock);
    managed->document = document;
    HASH_SRT(by_arn, directory->by_arn, compare_managed);
    account_find(directory, span_text(managed->record.account))->members++;
    atomic_fetch_add(&directory->generation, 1);
    (void)pthread_rwlock_unlock(&directory->lock);
}

void managed_remove(struct directory *directory, struct managed *managed)
{
    (void)pthread_rwlock_wrlock(&directory->lock);
    HASH_DELETE(by_arn, directory->by_arn, managed);
    HASH_DELETE(by_name, directory->managed_by_name, managed);
    struct account *const account = account_find(directory, span_text(managed->record.account));
    if (account && managed->document)
        account->members--;
    atomic_fetch_add(&directory->generation, 1);
    (void)pthread_rwlock_unlock(&directory->lock);
    document_unref(managed->document);
    record_done(&managed_policy_table, &managed->record);
    free(managed);
}
