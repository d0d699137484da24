#include "hsmkms/iam/policy_parts.h"

#include <stdio.h>

/* What a compiled policy can tell about itself: doubts, and whom it pinned. */

struct notes {
    const struct policy *policy;
    const struct statement *statement;
    policy_warning_fn *each;
    void *arg;
};

static void note(const struct notes *notes, const char *format, ...) PRINTF_LIKE(2, 3);

static void note(const struct notes *notes, const char *format, ...)
{
    char where[PLACE_MAX], what[256];
    va_list args;

    place_format((struct place){ notes->statement->number, notes->statement->sid }, where);
    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    notes->each(notes->arg, where, what);
}

/* Those of other services are meant for elsewhere. */
static bool is_of_ours(struct span action)
{
    return (action.len > 4 && (span_equal_folded(span_of(action.ptr, 4), SPAN_LITERAL("kms:")) ||
                               span_equal_folded(span_of(action.ptr, 4), SPAN_LITERAL("sts:"))));
}

static void note_actions(const struct notes *notes)
{
    const struct element *const action = &notes->statement->text->action;

    if (!action->present) {
        note(notes, "has no Action: it never applies");
        return;
    }
    for (size_t i = 0; i < action->texts.count; i++)
        if (is_of_ours(action->texts.items[i]) && action_mask(action->texts.items[i]) == 0)
            note(notes, "there is no action '%s'", policy_quote(action->texts.items[i]).text);
    if (notes->statement->actions == 0)
        note(notes, "names no action of this service: it never applies");
}

static void note_principals(const struct notes *notes)
{
    const struct statement *const statement = notes->statement;

    for (size_t i = 0; i < statement->principal_count; i++)
        if (statement->principals[i].kind != NAMES_NOBODY)
            return;
    if (statement->principal_count > 0)
        note(notes, "names only principals that never call: it never applies");
}

static bool is_alias(struct span resource)
{
    struct arn arn;
    const struct span alias = SPAN_LITERAL("alias/");

    return arn_split(resource, &arn) && arn.fields[ARN_RESOURCE].len >= alias.len &&
           span_equal(span_of(arn.fields[ARN_RESOURCE].ptr, alias.len), alias);
}

static void note_resources(const struct notes *notes)
{
    const struct element *const resource = &notes->statement->text->resource;

    if (notes->policy->kind == POLICY_TRUST)
        return;
    if (!resource->present)
        note(notes, "has no Resource: it never applies");
    for (size_t i = 0; notes->policy->kind == POLICY_KEY && i < resource->texts.count; i++)
        if (is_alias(resource->texts.items[i]))
            note(notes, "resource '%s' is an alias, which is never meant in the policy of a key",
                 policy_quote(resource->texts.items[i]).text);
}

static void note_condition(const struct notes *notes, const struct condition *condition)
{
    const struct policy_quote name = policy_quote(condition->text->operator_name);
    const struct policy_quote key = policy_quote(condition->text->key);

    if (!condition->key.known)
        note(notes, "condition key %s: no request has it", key.text);
    else if (condition->key_missing)
        note(notes, "condition key %s: only policies of identities can ask for it", key.text);
    if (condition->quantifier == QUANTIFIER_ALL && !notes->statement->deny)
        note(notes, "condition %s %s holds for requests without the key", name.text, key.text);
    for (size_t i = 0; i < condition->operand_count; i++)
        if (condition->operands[i].never)
            note(notes, "condition %s %s: '%s' has fewer than six fields and matches no ARN",
                 name.text, key.text, policy_quote(condition->operands[i].text).text);
}

void policy_warnings(const struct policy *policy, policy_warning_fn *each, void *arg)
{
    for (size_t i = 0; i < policy->count; i++) {
        const struct statement *const statement = &policy->statements[i];
        const struct notes notes = { policy, statement, each, arg };
        note_actions(&notes);
        note_principals(&notes);
        note_resources(&notes);
        for (size_t j = 0; j < statement->condition_count; j++)
            note_condition(&notes, &statement->conditions[j]);
    }
}

/* True when a statement before this one, or this one before that principal, has the same. */
static bool is_repeated(const struct policy *policy, size_t statement, size_t principal)
{
    const struct named_principal *const named =
        &policy->statements[statement].principals[principal];

    for (size_t i = 0; i <= statement; i++) {
        const struct statement *const earlier = &policy->statements[i];
        const size_t count = i == statement ? principal : earlier->principal_count;
        for (size_t j = 0; j < count; j++)
            if (earlier->principals[j].pin[0] &&
                span_equal(earlier->principals[j].text, named->text))
                return true;
    }
    return false;
}

void policy_pins(const struct policy *policy, policy_pin_fn *each, void *arg)
{
    for (size_t i = 0; i < policy->count; i++) {
        const struct statement *const statement = &policy->statements[i];
        for (size_t j = 0; j < statement->principal_count; j++) {
            const struct named_principal *const named = &statement->principals[j];
            if (named->pin[0] && !is_repeated(policy, i, j))
                each(arg, (const char *)named->text.ptr, named->pin);
        }
    }
}
