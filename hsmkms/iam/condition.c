#include "hsmkms/iam/condition.h"

#include "hsmkms/iam/comparator.h"

/* How many of the values that a request has for the key must match some operand. */
enum needed { ALL_MATCH, NONE_MATCHES, ONE_MATCHES, ONE_DOES_NOT };

/*
 * The truth of a test, by quantifier and by whether the operator is negated. A key that can have
 * many values is comparable only under a quantifier.
 * Source: AWS IAM User Guide, Multivalued context keys; Condition operators, IfExists.
 */
static const struct truth {
    bool missing;           /* the request does not have the key */
    bool missing_if_exists; /* the same with ...IfExists */
    bool lists;             /* the key may be one of lists; else such a test is false */
    enum needed present;
} truths[][2] = {
    /* clang-format off */
    /*                    positive                           negated */
    [QUANTIFIER_NONE] = { { false, true, false, ALL_MATCH   }, { true,  true, false, NONE_MATCHES } },
    [QUANTIFIER_ALL]  = { { true,  true, true,  ALL_MATCH   }, { true,  true, true,  NONE_MATCHES } },
    [QUANTIFIER_ANY]  = { { false, true, true,  ONE_MATCHES }, { false, true, true,  ONE_DOES_NOT } },
    /* clang-format on */
};

/* Any operand will do, under negated operators too: there, none may. */
static bool value_matches(const struct condition *condition, struct scope *scope, const char *value)
{
    const struct span subject = span_text(value);

    for (size_t i = 0; i < condition->operand_count && scope->steps > 0; i++) {
        const struct operand *const operand = &condition->operands[i];
        scope->steps--;
        if (!operand->never &&
            condition->comparator->matches(condition->comparator, operand, scope, subject))
            return true;
    }
    return false;
}

static bool values_suffice(const struct condition *condition, struct scope *scope,
                           const struct context_found *found, enum needed needed)
{
    const bool stop_at = needed == NONE_MATCHES || needed == ONE_MATCHES;

    for (size_t i = 0; i < found->count; i++)
        if (value_matches(condition, scope, found->values[i]) == stop_at)
            return needed == ONE_MATCHES || needed == ONE_DOES_NOT;
    return needed == ALL_MATCH || needed == NONE_MATCHES;
}

/* Null: an operand says whether the key must be missing. */
static bool null_holds(const struct condition *condition, bool missing)
{
    for (size_t i = 0; i < condition->operand_count; i++)
        if (condition->operands[i].boolean == missing)
            return true;
    return false;
}

bool condition_holds(const struct condition *condition, struct scope *scope)
{
    const struct truth *const truth =
        &truths[condition->quantifier][condition->comparator->negated];
    struct context_found found = { 0 };

    if (!condition->key_missing)
        context_lookup(scope, &condition->key, &found);
    if (found.collides)
        return scope->deny; /* no telling which is meant: nobody is let in by it */
    if (comparator_is_null(condition->comparator))
        return null_holds(condition, found.count == 0);
    if (found.count == 0)
        return condition->if_exists ? truth->missing_if_exists : truth->missing;
    if (found.list && !truth->lists)
        return false;
    return values_suffice(condition, scope, &found, truth->present);
}

/* Takes a prefix off in any case. */
static bool strip_prefix(struct span *name, struct span prefix)
{
    if (name->len < prefix.len || !span_equal_folded(span_of(name->ptr, prefix.len), prefix))
        return false;
    *name = span_of(name->ptr + prefix.len, name->len - prefix.len);
    return true;
}

static bool strip_suffix(struct span *name, struct span suffix)
{
    if (name->len < suffix.len ||
        !span_equal_folded(span_of(name->ptr + name->len - suffix.len, suffix.len), suffix))
        return false;
    name->len -= suffix.len;
    return true;
}

/* "ForAnyValue:StringLikeIfExists" */
static bool read_operator(struct span name, struct condition *ret)
{
    if (strip_prefix(&name, SPAN_LITERAL("ForAllValues:")))
        ret->quantifier = QUANTIFIER_ALL;
    else if (strip_prefix(&name, SPAN_LITERAL("ForAnyValue:")))
        ret->quantifier = QUANTIFIER_ANY;
    ret->if_exists = strip_suffix(&name, SPAN_LITERAL("IfExists"));
    ret->comparator = comparator_find(name);
    if (ret->comparator == NULL)
        return false;
    return !comparator_is_null(ret->comparator) ||
           (ret->quantifier == QUANTIFIER_NONE && !ret->if_exists);
}

const char *condition_compile(struct arena *arena, const struct condition_text *text,
                              bool variables, struct condition *ret)
{
    struct condition condition = { .text = text, .operand_count = text->count };

    if (!read_operator(text->operator_name, &condition))
        return "the operator does not exist";
    if (text->key.len == 0)
        return "the condition key has no name";
    condition.key = context_ref_of(text->key); /* one that no request has is simply missing */

    struct operand *const operands = arena_array(arena, text->count, sizeof(operands[0]));
    for (size_t i = 0; operands != NULL && i < text->count; i++) {
        operands[i].text = text->values[i];
        const char *const why = condition.comparator->compile(arena, variables, &operands[i]);
        if (why || arena->failed)
            return why;
    }
    condition.operands = operands;
    *ret = condition;
    return NULL;
}
