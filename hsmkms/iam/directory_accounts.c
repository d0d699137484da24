/* Accounts, and whether their roots may sign. */

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/directory_parts.h"

/* --- adding and removing ---------------------------------------------------------------------- */

/* The account as it is stored; its id is borrowed. */
static struct account_record row_of(struct account *account)
{
    return (struct account_record){ .id = account->id,
                                    .is_foreign = account->foreign,
                                    .root_enabled = account->root_enabled,
                                    .root_until_ms = account->root_until_ms,
                                    .root_since_ms = account->root_since_ms,
                                    .created_ms = account->created_ms };
}

/* In a change: into the table, into the store, into view. Takes the account over in any case. */
static int introduce(struct directory *directory, struct account *account, struct kms_error *err)
{
    const struct account_record row = row_of(account);

    if (account_add(directory, account, err) < 0) {
        free(account);
        return -1;
    }
    if (directory_store(directory, &account_table, &row, err) < 0) {
        account_remove(directory, account);
        return -1;
    }
    account_show(directory, account);
    return 0;
}

int directory_add_account(struct directory *directory, const char *id, bool foreign,
                          struct kms_error *err)
{
    if (!account_id_valid(span_text(id)))
        return kms_fail(err, KMS_ERR_VALIDATION, "An account id must have 12 digits.");
    struct account *const account = calloc(1, sizeof(*account));
    if (account == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an account");
    (void)snprintf(account->id, sizeof(account->id), "%s", id);
    account->foreign = foreign;
    account->root_enabled = !foreign;
    account->created_ms = clock_wall_ms(directory->config.clock);

    directory_change_begin(directory);
    const int result = introduce(directory, account, err);
    directory_change_end(directory);
    return result;
}

static int no_account(const char *id, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_NOT_FOUND, "Account %.20s cannot be found.", id);
}

/* In a change. */
static int remove_account(struct directory *directory, const char *id, struct kms_error *err)
{
    struct account *const account = account_find(directory, span_text(id));

    if (account == NULL)
        return no_account(id, err);
    if (strcmp(id, directory->config.account) == 0)
        return kms_fail(err, KMS_ERR_CONFLICT, "Account %s owns the keys.", id);
    if (account->members)
        return kms_fail(err, KMS_ERR_CONFLICT,
                        "Cannot delete entity, must delete users, roles and policies first.");
    const struct account_record row = row_of(account);
    if (directory_unstore(directory, &account_table, &row, err) < 0)
        return -1;
    account_remove(directory, account);
    atomic_fetch_add(&directory->generation, 1);
    return 0;
}

int directory_remove_account(struct directory *directory, const char *id, struct kms_error *err)
{
    directory_change_begin(directory);
    const int result = remove_account(directory, id, err);
    directory_change_end(directory);
    return result;
}

/* --- who administers without the root --------------------------------------------------------- */

/* Some policy of these allows it, and none denies. */
static bool policies_allow(const struct named_policy *policies, size_t count,
                           const struct policy_question *question)
{
    bool allowed = false;

    for (size_t i = 0; i < count; i++) {
        struct policy_answer denial = { 0 }, permission = { 0 };
        policy_ask_deny(policies[i].policy, question, &denial);
        policy_ask_allow(policies[i].policy, question, &permission);
        if (denial.denied || denial.broken || permission.broken)
            return false;
        allowed |= permission.allowed > STRENGTH_NONE;
    }
    return allowed;
}

/* Allows its policies what only a policy of "kms:*" on "*" allows, by a few examples? */
static bool administers(struct identity *identity, int64_t now_ms)
{
    static const char *const actions_asked[] = { "kms:PutKeyPolicy", "kms:CreateKey", "kms:Decrypt",
                                                 "kms:ScheduleKeyDeletion" };
    const struct policy_context context = { .now_ms = now_ms };
    struct principal caller;
    char resource[64];

    if (!identity->enabled)
        return false;
    principal_of_user(identity, NULL, "", &caller); /* borrows it */
    (void)snprintf(resource, sizeof(resource), "arn:aws:kms:x:%s:key/x", identity->account);
    for (size_t i = 0; i < ARRAY_LEN(actions_asked); i++) {
        const struct policy_question question = { .caller = &caller,
                                                  .action = action_find(actions_asked[i]),
                                                  .resource = resource,
                                                  .context = &context };
        if (!policies_allow(identity->policies, identity->policy_count, &question) ||
            (identity->boundary && !policies_allow(identity->boundary, 1, &question)))
            return false;
    }
    return true;
}

/* In a change. */
static bool has_administrator(const struct directory *directory, const char *account)
{
    const int64_t now_ms = clock_wall_ms(directory->config.clock);

    for (size_t i = 0; i < directory->count; i++) {
        struct identity *const identity = directory->order[i]->shown;
        if (strcmp(identity->account, account) == 0 && administers(identity, now_ms))
            return true;
    }
    return false;
}

/* --- root ------------------------------------------------------------------------------------- */

/* In a change. */
static int check_root(const struct directory *directory, const struct account *account,
                      bool enabled, int64_t until_ms, struct kms_error *err)
{
    const bool for_good = account->root_enabled && account->root_until_ms == 0;
    const bool ends = account->root_enabled && !enabled;

    if (enabled && until_ms && until_ms <= clock_wall_ms(directory->config.clock))
        return kms_fail(err, KMS_ERR_VALIDATION, "The root's time must end in the future.");
    if ((ends || (for_good && until_ms)) && !has_administrator(directory, account->id))
        return kms_fail(err, KMS_ERR_CONFLICT,
                        "Cannot disable the root of account %s: no enabled user or role of it has "
                        "an identity policy that allows kms:* on *.",
                        account->id);
    return 0;
}

/* In a change. */
static int set_root(struct directory *directory, const char *id, bool enabled, int64_t until_ms,
                    struct kms_error *err)
{
    struct account *const account = account_find_own(directory, id);

    if (account == NULL)
        return no_account(id, err);
    if (check_root(directory, account, enabled, until_ms, err) < 0)
        return -1;
    const int64_t now_ms = clock_wall_ms(directory->config.clock);
    struct account next = *account;
    next.root_enabled = enabled;
    next.root_until_ms = enabled ? until_ms : 0;
    if (enabled && !account_root_enabled(account, now_ms))
        next.root_since_ms = now_ms;
    if (next.created_ms == 0)
        next.created_ms = now_ms;
    const struct account_record row = row_of(&next);
    if (directory_store(directory, &account_table, &row, err) < 0)
        return -1;
    (void)pthread_rwlock_wrlock(&directory->lock);
    account->root_enabled = next.root_enabled;
    account->root_until_ms = next.root_until_ms;
    account->root_since_ms = next.root_since_ms;
    account->created_ms = next.created_ms;
    atomic_fetch_add(&directory->generation, 1);
    (void)pthread_rwlock_unlock(&directory->lock);
    return 0;
}

int directory_set_root(struct directory *directory, const char *account, bool enabled,
                       int64_t until_ms, struct kms_error *err)
{
    directory_change_begin(directory);
    const int result = set_root(directory, account, enabled, until_ms, err);
    directory_change_end(directory);
    return result;
}
