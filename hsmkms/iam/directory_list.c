/* Walking through the directory. */

#include <stdlib.h>

#include "hsmkms/iam/directory_parts.h"

void directory_each(struct directory *directory, identity_each_fn *each, void *arg)
{
    (void)pthread_rwlock_rdlock(&directory->lock);
    for (size_t i = 0; i < directory->count; i++)
        each(arg, directory->order[i]->shown);
    (void)pthread_rwlock_unlock(&directory->lock);
}

void directory_each_managed(struct directory *directory, managed_each_fn *each, void *arg)
{
    struct managed *managed, *next;

    (void)pthread_rwlock_rdlock(&directory->lock);
    HASH_ITER(by_arn, directory->by_arn, managed, next)
    {
        const struct managed_policy_record *const record = &managed->record;
        if (managed->document == NULL)
            continue;
        each(arg, &(struct managed_policy){ .arn = record->arn,
                                            .name = record->name,
                                            .path = record->path,
                                            .unique_id = record->unique_id,
                                            .text = managed->document->text,
                                            .created_ms = record->created_ms,
                                            .updated_ms = record->updated_ms,
                                            .attachments = managed->attachments });
    }
    (void)pthread_rwlock_unlock(&directory->lock);
}

void directory_each_account(struct directory *directory, account_each_fn *each, void *arg)
{
    const int64_t now_ms = clock_wall_ms(directory->config.clock);
    struct account *account, *next;

    (void)pthread_rwlock_rdlock(&directory->lock);
    HASH_ITER(hh, directory->accounts, account, next)
    {
        if (!account->shown)
            continue;
        each(arg, &(struct account_info){ .account = account->id,
                                          .kind = account->foreign ? ACCOUNT_FOREIGN : ACCOUNT_OWN,
                                          .owns_keys =
                                              strcmp(account->id, directory->config.account) == 0,
                                          .root_enabled = account_root_enabled(account, now_ms),
                                          .root_until_ms = account->root_until_ms });
    }
    (void)pthread_rwlock_unlock(&directory->lock);
}
