#include "hsmkms/iam/grant_match.h"

#include <stdio.h>

/* --- principals ------------------------------------------------------------------------------- */

static bool is_root_of(const char *arn, const char *account)
{
    char root[IDENTITY_ARN_MAX];

    (void)snprintf(root, sizeof(root), "arn:aws:iam::%s:root", account);
    return strcmp(arn, root) == 0;
}

enum strength grant_match_principal(const char *arn, const char *unique_id,
                                    const struct principal *caller)
{
    if (arn[0] == '\0')
        return STRENGTH_NONE;
    if (unique_id[0] == '\0') {
        if (is_root_of(arn, caller->account))
            return caller->kind == PRINCIPAL_ROOT ? STRENGTH_DIRECT : STRENGTH_ACCOUNT;
        return caller->unique_id[0] == '\0' && strcmp(arn, caller->arn) == 0 ? STRENGTH_DIRECT
                                                                             : STRENGTH_NONE;
    }
    if (strcmp(unique_id, caller->unique_id) != 0)
        return STRENGTH_NONE; /* a namesake made later is somebody else */
    if (caller->kind == PRINCIPAL_USER || strcmp(arn, caller->arn) == 0)
        return STRENGTH_DIRECT;
    return strcmp(arn, caller->principal_arn) == 0 ? STRENGTH_ROLE : STRENGTH_NONE;
}

static enum strength stronger(enum strength a, enum strength b)
{
    return a > b ? a : b;
}

enum strength grant_retire_strength(const struct grant *grant, const struct principal *caller)
{
    enum strength strength = grant_match_principal(grant->retiring, grant->retiring_id, caller);

    if (grant->operations & grant_operation_bit("RetireGrant"))
        strength =
            stronger(strength, grant_match_principal(grant->grantee, grant->grantee_id, caller));
    if (strcmp(grant->issuing_account, caller->account) == 0)
        strength =
            stronger(strength, caller->kind == PRINCIPAL_ROOT ? STRENGTH_DIRECT : STRENGTH_ACCOUNT);
    return strength;
}

/* --- operations ------------------------------------------------------------------------------- */

uint64_t grant_operation_bit(const char *name)
{
    const int action = action_of("kms", name);

    return action >= 0 && actions[action].grantable ? UINT64_C(1) << action : 0;
}

bool grant_ignores_constraint(int action)
{
    static const char *const names[] = { "CreateGrant", "DescribeKey", "GetPublicKey",
                                         "RetireGrant" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(action_short_name(action), names[i]) == 0)
            return true;
    return false;
}

/* --- constraints ------------------------------------------------------------------------------ */

bool grant_names_equal(const char *a, const char *b)
{
    while (*a && grant_fold((uint8_t)*a) == grant_fold((uint8_t)*b))
        a++, b++;
    return grant_fold((uint8_t)*a) == grant_fold((uint8_t)*b);
}

static bool has_pair(const struct condition_pair *pairs, size_t count,
                     const struct condition_pair *wanted)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i].value, wanted->value) == 0 &&
            grant_names_equal(pairs[i].name, wanted->name))
            return true;
    return false;
}

static bool contains(const struct condition_pair *pairs, size_t count,
                     const struct condition_pair *wanted, size_t wanted_count)
{
    for (size_t i = 0; i < wanted_count; i++)
        if (!has_pair(pairs, count, &wanted[i]))
            return false;
    return true;
}

static bool names_collide(const struct condition_pair *pairs, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (grant_names_equal(pairs[i].name, pairs[j].name))
                return true;
    return false;
}

/* Both are sets of pairs with the same members. */
static bool equal_sets(const struct condition_pair *a, size_t a_count,
                       const struct condition_pair *b, size_t b_count)
{
    return a_count == b_count && contains(a, a_count, b, b_count) &&
           contains(b, b_count, a, a_count);
}

bool grant_match_context(const struct grant *grant, const struct condition_pair *pairs,
                         size_t count)
{
    switch (grant->constraint) {
    case GRANT_UNCONSTRAINED:
        return true;
    case GRANT_SUBSET:
        return contains(pairs, count, grant->pairs, grant->pair_count) &&
               !names_collide(pairs, count);
    case GRANT_EQUALS:
        return equal_sets(pairs, count, grant->pairs, grant->pair_count) &&
               !names_collide(pairs, count);
    }
    return false;
}

bool grant_match_child(const struct grant *parent, const struct grant_draft *child)
{
    if (child->operations & ~parent->operations)
        return false;
    switch (parent->constraint) {
    case GRANT_UNCONSTRAINED:
        return true;
    case GRANT_SUBSET:
        return child->constraint != GRANT_UNCONSTRAINED &&
               contains(child->pairs, child->pair_count, parent->pairs, parent->pair_count);
    case GRANT_EQUALS:
        return child->constraint == GRANT_EQUALS &&
               equal_sets(child->pairs, child->pair_count, parent->pairs, parent->pair_count);
    }
    return false;
}

/* The same pairs, letter for letter, in any order. Names stand once in a constraint. */
static bool same_pairs(const struct grant *a, const struct grant *b)
{
    if (a->pair_count != b->pair_count)
        return false;
    for (size_t i = 0; i < a->pair_count; i++) {
        size_t j = 0;
        while (j < b->pair_count && strcmp(a->pairs[i].name, b->pairs[j].name) != 0)
            j++;
        if (j == b->pair_count || strcmp(a->pairs[i].value, b->pairs[j].value) != 0)
            return false;
    }
    return true;
}

bool grant_match_same(const struct grant *a, const struct grant *b)
{
    return uuid_equal(&a->key_id, &b->key_id) && strcmp(a->name, b->name) == 0 &&
           strcmp(a->grantee, b->grantee) == 0 && strcmp(a->grantee_id, b->grantee_id) == 0 &&
           strcmp(a->retiring, b->retiring) == 0 && strcmp(a->retiring_id, b->retiring_id) == 0 &&
           strcmp(a->issuing_account, b->issuing_account) == 0 && a->operations == b->operations &&
           a->constraint == b->constraint && same_pairs(a, b);
}
