#include "hsmkms/iam/directory.h"

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/directory_parts.h"
#include "hsmkms/iam/glob.h"

const char *const identity_kinds[IDENTITY_KINDS] = {
    [IDENTITY_USER] = "User", [IDENTITY_ROLE] = "Role"
};
const char *const identity_nouns[IDENTITY_KINDS] = {
    [IDENTITY_USER] = "user", [IDENTITY_ROLE] = "role"
};

/* --- keys ------------------------------------------------------------------------------------- */

static void fold(char *text)
{
    for (; *text; text++)
        *text = (char)fold_letter((uint8_t)*text);
}

void entry_name_key(enum identity_kind kind, const char *account, const char *name,
                    char ret[NAME_KEY_SIZE])
{
    (void)snprintf(ret, NAME_KEY_SIZE, "%s/%c/%s", account, identity_nouns[kind][0], name);
    fold(ret);
}

void managed_name_key(const char *account, const char *name, char ret[POLICY_KEY_SIZE])
{
    (void)snprintf(ret, POLICY_KEY_SIZE, "%s/%s", account, name);
    fold(ret);
}

int entry_compare(const struct entry *a, const struct entry *b)
{
    const int by_account = strcmp(a->shown->account, b->shown->account);

    if (by_account)
        return by_account;
    if (a->shown->kind != b->shown->kind)
        return a->shown->kind < b->shown->kind ? -1 : 1;
    return strcmp(a->shown->name, b->shown->name);
}

/* --- tables: with the lock, or in a change ---------------------------------------------------- */

struct account *account_find(const struct directory *directory, struct span id)
{
    struct account *account = NULL;

    if (id.len == ACCOUNT_LEN)
        HASH_FIND(hh, directory->accounts, id.ptr, id.len, account);
    return account && account->shown ? account : NULL;
}

struct account *account_find_own(const struct directory *directory, const char *id)
{
    struct account *const account = account_find(directory, span_text(id));

    return account && !account->foreign ? account : NULL;
}

struct entry *entry_find(const struct directory *directory, enum identity_kind kind,
                         const char *account, struct span name)
{
    char text[IDENTITY_NAME_MAX + 1] = "", key[NAME_KEY_SIZE];
    struct entry *entry = NULL;

    if (name.len < 1 || name.len > IDENTITY_NAME_MAX || strlen(account) != ACCOUNT_LEN)
        return NULL;
    memcpy(text, name.ptr, name.len);
    entry_name_key(kind, account, text, key);
    HASH_FIND(by_name, directory->by_name, key, strlen(key), entry);
    if (entry == NULL || entry->shown == NULL || !span_equal(span_text(entry->shown->name), name))
        return NULL;
    return entry;
}

struct entry *entry_of_id(const struct directory *directory, const char *unique_id)
{
    struct entry *entry = NULL;

    HASH_FIND(by_id, directory->by_id, unique_id, strlen(unique_id), entry);
    return entry && entry->shown ? entry : NULL;
}

struct managed *managed_of_arn(const struct directory *directory, const char *arn)
{
    struct managed *managed = NULL;

    HASH_FIND(by_arn, directory->by_arn, arn, strlen(arn), managed);
    return managed && managed->document ? managed : NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

enum account_kind directory_account(struct directory *directory, struct span id)
{
    (void)pthread_rwlock_rdlock(&directory->lock);
    const struct account *const account = account_find(directory, id);
    const enum account_kind kind = account == NULL    ? ACCOUNT_UNKNOWN
                                   : account->foreign ? ACCOUNT_FOREIGN
                                                      : ACCOUNT_OWN;
    (void)pthread_rwlock_unlock(&directory->lock);
    return kind;
}

/* With the lock. */
static struct identity *shown_by(const struct entry *entry)
{
    return entry ? identity_ref(entry->shown) : NULL;
}

struct identity *directory_find(struct directory *directory, enum identity_kind kind,
                                const char *account, const char *name)
{
    (void)pthread_rwlock_rdlock(&directory->lock);
    struct identity *const found = shown_by(entry_find(directory, kind, account, span_text(name)));
    (void)pthread_rwlock_unlock(&directory->lock);
    return found;
}

struct identity *directory_get(struct directory *directory, const char *unique_id)
{
    (void)pthread_rwlock_rdlock(&directory->lock);
    struct identity *const found = shown_by(entry_of_id(directory, unique_id));
    (void)pthread_rwlock_unlock(&directory->lock);
    return found;
}

struct identity *directory_find_arn(struct directory *directory, struct span arn)
{
    (void)pthread_rwlock_rdlock(&directory->lock);
    struct identity *const found = shown_by(entry_of_arn(directory, arn));
    (void)pthread_rwlock_unlock(&directory->lock);
    return found;
}

uint64_t directory_generation(struct directory *directory)
{
    return atomic_load(&directory->generation);
}

bool account_root_enabled(const struct account *account, int64_t now_ms)
{
    return account->root_enabled &&
           (account->root_until_ms == 0 || now_ms < account->root_until_ms);
}

bool directory_root_enabled(struct directory *directory, const char *id)
{
    const int64_t now_ms = clock_wall_ms(directory->config.clock);

    (void)pthread_rwlock_rdlock(&directory->lock);
    const struct account *const account = account_find_own(directory, id);
    const bool enabled = account && account_root_enabled(account, now_ms);
    (void)pthread_rwlock_unlock(&directory->lock);
    return enabled;
}

bool directory_root_session(struct directory *directory, const char *id, int64_t issued_ms)
{
    const int64_t now_ms = clock_wall_ms(directory->config.clock);

    (void)pthread_rwlock_rdlock(&directory->lock);
    const struct account *const account = account_find_own(directory, id);
    const bool valid = account && account_root_enabled(account, now_ms) &&
                       issued_ms >= account->root_since_ms;
    (void)pthread_rwlock_unlock(&directory->lock);
    return valid;
}

int directory_managed_policy(struct directory *directory, const char *arn, struct policy **ret,
                             size_t *ret_len, struct kms_error *err)
{
    (void)pthread_rwlock_rdlock(&directory->lock);
    const struct managed *const managed = managed_of_arn(directory, arn);
    if (managed) {
        *ret = policy_ref(managed->document->policy);
        *ret_len = managed->document->weight;
    }
    (void)pthread_rwlock_unlock(&directory->lock);
    if (managed == NULL) /* the pointer is only compared */
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Policy %.700s does not exist.", arn);
    return 0;
}
