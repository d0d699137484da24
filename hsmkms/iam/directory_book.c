/* Principals by their ARNs, and the book that policies are compiled with. */

#include <stdio.h>

#include "hsmkms/iam/directory_parts.h"

#define PARTITION SPAN_LITERAL("aws")

/* Takes what stands before the first slash, and the slash; false when there is none. */
static bool take_part(struct span *from, struct span *ret)
{
    const uint8_t *const slash = from->len ? memchr(from->ptr, '/', from->len) : NULL;

    if (slash == NULL || !span_take(from, (size_t)(slash - from->ptr), ret))
        return false;
    *from = span_of(from->ptr + 1, from->len - 1);
    return true;
}

/* What stands behind the last slash. */
static struct span last_part(struct span text)
{
    const uint8_t *const slash = memrchr(text.ptr, '/', text.len);

    return slash ? span_of(slash + 1, (size_t)(text.ptr + text.len - slash - 1)) : text;
}

static bool name_valid(struct span name)
{
    char text[IDENTITY_NAME_MAX + 1] = "";

    if (name.len < 1 || name.len > IDENTITY_NAME_MAX)
        return false;
    memcpy(text, name.ptr, name.len);
    return strlen(text) == name.len && identity_name_valid(text);
}

/* With the lock, or in a change: user/PATH/NAME or role/PATH/NAME. */
static struct entry *find_iam(const struct directory *directory, const char *account,
                              struct span resource, struct span arn)
{
    enum identity_kind kind = IDENTITY_USER;
    struct span noun;

    if (!take_part(&resource, &noun) || resource.len == 0)
        return NULL;
    if (span_equal(noun, SPAN_LITERAL("role")))
        kind = IDENTITY_ROLE;
    else if (!span_equal(noun, SPAN_LITERAL("user")))
        return NULL;
    struct entry *const entry = entry_find(directory, kind, account, last_part(resource));
    return entry && span_equal(span_text(entry->shown->arn), arn) ? entry
                                                                  : NULL; /* the path, too */
}

/* assumed-role/NAME/SESSION; the role's path is left out there. */
static struct entry *find_sts(const struct directory *directory, const char *account,
                              struct span resource)
{
    struct span noun, role;

    if (!take_part(&resource, &noun) || !span_equal(noun, SPAN_LITERAL("assumed-role")) ||
        !take_part(&resource, &role) || !name_valid(resource))
        return NULL;
    return entry_find(directory, IDENTITY_ROLE, account, role);
}

struct entry *entry_of_arn(const struct directory *directory, struct span arn)
{
    char account[ACCOUNT_LEN + 1] = "";
    struct arn parts;

    if (!arn_split(arn, &parts) || !span_equal(parts.fields[ARN_PARTITION], PARTITION) ||
        parts.fields[ARN_REGION].len != 0 || !account_id_valid(parts.fields[ARN_ACCOUNT]))
        return NULL;
    memcpy(account, parts.fields[ARN_ACCOUNT].ptr, ACCOUNT_LEN);
    if (span_equal(parts.fields[ARN_SERVICE], SPAN_LITERAL("iam")))
        return find_iam(directory, account, parts.fields[ARN_RESOURCE], arn);
    if (span_equal(parts.fields[ARN_SERVICE], SPAN_LITERAL("sts")))
        return find_sts(directory, account, parts.fields[ARN_RESOURCE]);
    return NULL;
}

/* --- the book --------------------------------------------------------------------------------- */

/* With the lock. An account's root is the account. */
static bool names_account(const struct arn *parts)
{
    return span_equal(parts->fields[ARN_SERVICE], SPAN_LITERAL("iam")) &&
           span_equal(parts->fields[ARN_RESOURCE], SPAN_LITERAL("root"));
}

/* With the lock. */
static enum principal_found find_locked(const struct directory *directory, struct span arn,
                                        char ret_id[UNIQUE_ID_LEN + 1])
{
    struct arn parts;

    if (account_find(directory, arn))
        return PRINCIPAL_ACCEPTED;
    if (!arn_split(arn, &parts))
        return PRINCIPAL_UNKNOWN;
    const struct account *const account = account_find(directory, parts.fields[ARN_ACCOUNT]);
    if (account == NULL)
        return PRINCIPAL_UNKNOWN;
    if (account->foreign || names_account(&parts))
        return PRINCIPAL_ACCEPTED;
    const struct entry *const entry = entry_of_arn(directory, arn);
    if (entry == NULL)
        return PRINCIPAL_UNKNOWN;
    memcpy(ret_id, entry->id, sizeof(entry->id));
    return PRINCIPAL_PINNED;
}

static enum principal_found find_principal(void *ctx, struct span arn,
                                           char ret_id[UNIQUE_ID_LEN + 1])
{
    struct directory *const directory = ctx;

    (void)pthread_rwlock_rdlock(&directory->lock);
    const enum principal_found found = find_locked(directory, arn, ret_id);
    (void)pthread_rwlock_unlock(&directory->lock);
    return found;
}

struct principal_book directory_book(struct directory *directory)
{
    return (struct principal_book){ find_principal, directory };
}

/* --- trust policies --------------------------------------------------------------------------- */

static enum principal_found find_or_self(void *ctx, struct span arn, char ret_id[UNIQUE_ID_LEN + 1])
{
    const struct trust_book *const book = ctx;

    if (book->self_arn && span_equal(arn, span_text(book->self_arn))) {
        memcpy(ret_id, book->self_id, UNIQUE_ID_LEN + 1);
        return PRINCIPAL_PINNED;
    }
    return find_principal(book->directory, arn, ret_id);
}

struct principal_book trust_book(struct trust_book *book)
{
    return (struct principal_book){ find_or_self, book };
}
