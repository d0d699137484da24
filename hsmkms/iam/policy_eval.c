#include "hsmkms/iam/policy_parts.h"

#include <assert.h>
#include <stdio.h>

/* Steps of comparing that one question may take: milliseconds, where honest policies take 1000. */
#define STEPS_MAX 1000000

/* One question while it is answered. */
struct evaluation {
    const struct policy_question *question;
    struct scope scope;
    struct span resource;
    struct arn arn; /* of the resource */
    bool has_arn;
};

static bool tells(const struct evaluation *evaluation)
{
    return evaluation->question->trace != NULL;
}

static void tell(const struct evaluation *evaluation, const struct statement *statement,
                 const char *what)
{
    char where[PLACE_MAX];

    if (!tells(evaluation))
        return;
    place_format((struct place){ statement->number, statement->sid }, where);
    evaluation->question->trace(evaluation->question->trace_arg, where, what);
}

/* -- resource -- */

enum match { MATCHES_NOT, MATCHES, MATCH_UNKNOWN /* a variable has no value */ };

static bool field_fits(struct evaluation *evaluation, const struct policy_text *text,
                       struct span field)
{
    const struct glob_piece *const pieces = policy_text_fill(text, &evaluation->scope);

    return pieces != NULL &&
           glob_match(pieces, text->count, field, GLOB_EXACT, &evaluation->scope.steps);
}

static enum match pattern_fits(struct evaluation *evaluation,
                               const struct resource_pattern *pattern)
{
    if (pattern->fields == NULL)
        return MATCHES; /* "*", even where there is no resource */
    if (policy_text_fill(&pattern->fields[ARN_RESOURCE], &evaluation->scope) == NULL)
        return MATCH_UNKNOWN; /* the other fields have no variables */
    for (size_t i = 0; evaluation->has_arn && i < ARN_FIELDS; i++)
        if (!field_fits(evaluation, &pattern->fields[i], evaluation->arn.fields[i]))
            return MATCHES_NOT;
    return evaluation->has_arn ? MATCHES : MATCHES_NOT;
}

static enum match any_pattern_fits(struct evaluation *evaluation, const struct statement *statement)
{
    enum match best = MATCHES_NOT;

    for (size_t i = 0; i < statement->resource_count; i++) {
        const enum match match = pattern_fits(evaluation, &statement->resources[i]);
        if (match == MATCHES)
            return MATCHES;
        if (match == MATCH_UNKNOWN)
            best = MATCH_UNKNOWN;
    }
    return best;
}

/* In a key policy: "*" is the key, another ARN than its own is not meant here. */
static bool text_fits(const struct evaluation *evaluation, const struct text_list *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        if (span_equal(texts->items[i], SPAN_LITERAL("*")) ||
            span_equal(texts->items[i], evaluation->resource))
            return true;
    return false;
}

static bool names_resource(struct evaluation *evaluation, const struct statement *statement)
{
    enum match match = MATCHES_NOT;

    switch (statement->resource) {
    case RESOURCE_NOTHING:
        return false;
    case RESOURCE_ANY:
        return true;
    case RESOURCE_TEXTS:
        return text_fits(evaluation, &statement->text->resource.texts) != statement->not_resource;
    case RESOURCE_PATTERNS:
        match = any_pattern_fits(evaluation, statement);
        break;
    }
    if (!statement->not_resource)
        return match == MATCHES;
    /* what cannot be told apart is not let through */
    return match == MATCHES_NOT || (match == MATCH_UNKNOWN && statement->deny);
}

/* -- statement -- */

static void tell_condition(const struct evaluation *evaluation, const struct statement *statement,
                           const struct condition *condition)
{
    char what[192];

    if (!tells(evaluation))
        return;
    (void)snprintf(what, sizeof(what), "condition %s %s does not hold",
                   policy_quote(condition->text->operator_name).text,
                   policy_quote(condition->text->key).text);
    tell(evaluation, statement, what);
}

static bool conditions_hold(struct evaluation *evaluation, const struct statement *statement)
{
    for (size_t i = 0; i < statement->condition_count; i++) {
        if (!condition_holds(&statement->conditions[i], &evaluation->scope)) {
            tell_condition(evaluation, statement, &statement->conditions[i]);
            return false;
        }
    }
    return true;
}

/* How strongly the statement speaks for or against the caller; NONE: it does not apply. */
static enum strength applies(struct evaluation *evaluation, const struct statement *statement)
{
    const uint64_t bit = UINT64_C(1) << evaluation->question->action;

    if (!(statement->actions & bit)) {
        tell(evaluation, statement, "does not name the action");
        return STRENGTH_NONE;
    }
    const enum strength strength = principals_strength(statement, evaluation->question->caller);
    if (strength == STRENGTH_NONE) {
        tell(evaluation, statement, "does not name the caller");
        return STRENGTH_NONE;
    }
    if (!names_resource(evaluation, statement)) {
        tell(evaluation, statement, "does not name the resource");
        return STRENGTH_NONE;
    }
    if (!conditions_hold(evaluation, statement))
        return STRENGTH_NONE;
    tell(evaluation, statement, statement->deny ? "applies: Deny" : "applies: Allow");
    return strength;
}

/* -- policy -- */

static void begin(struct evaluation *evaluation, const struct policy_question *question, bool deny)
{
    evaluation->question = question;
    evaluation->scope.context = question->context;
    evaluation->scope.deny = deny;
    evaluation->scope.steps = STEPS_MAX;
    evaluation->resource = span_text(question->resource);
    evaluation->has_arn = arn_split(evaluation->resource, &evaluation->arn);
}

static void note_verdict(const struct statement *statement, enum strength strength,
                         struct policy_answer *ret)
{
    if (statement->deny)
        ret->denied = true;
    else
        ret->allowed = strength;
    ret->statement = statement->number;
    ret->sid = statement->sid;
}

static void break_off(const struct statement *statement, struct policy_answer *ret)
{
    *ret = (struct policy_answer){
        .denied = true, .broken = true, .statement = statement->number, .sid = statement->sid
    };
}

/* The statements first..end, all of one effect. */
static void ask(const struct policy *policy, const struct policy_question *question, size_t first,
                size_t end, struct policy_answer *ret)
{
    struct evaluation evaluation; /* its room is filled before it is read */

    begin(&evaluation, question, first < policy->deny_count);
    for (size_t i = first; i < end && !ret->denied && ret->allowed < STRENGTH_DIRECT; i++) {
        const struct statement *const statement = &policy->statements[i];
        const enum strength strength = applies(&evaluation, statement);
        if (evaluation.scope.steps == 0) {
            tell(&evaluation, statement, "takes too long to compare: denied");
            break_off(statement, ret);
            return;
        }
        if (strength > ret->allowed)
            note_verdict(statement, strength, ret);
    }
}

static bool is_named(uint64_t mask, const struct policy_question *question)
{
    assert(question->action >= 0 && (size_t)question->action < action_count);
    /* an explanation wants to hear of the others too */
    return question->trace != NULL || (mask >> question->action & 1);
}

void policy_ask_deny(const struct policy *policy, const struct policy_question *question,
                     struct policy_answer *ret)
{
    *ret = (struct policy_answer){ .statement = -1 };
    if (is_named(policy->deny_actions, question))
        ask(policy, question, 0, policy->deny_count, ret);
}

void policy_ask_allow(const struct policy *policy, const struct policy_question *question,
                      struct policy_answer *ret)
{
    *ret = (struct policy_answer){ .statement = -1 };
    if (is_named(policy->allow_actions, question))
        ask(policy, question, policy->deny_count, policy->count, ret);
}
