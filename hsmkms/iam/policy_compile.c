#include "hsmkms/iam/policy_parts.h"

#include <stdio.h>
#include <stdlib.h>

static const char over_permissive[] =
    "OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued condition "
    "key matches requests without the specified [encryption context or tag] or with an "
    "unspecified [encryption context or tag]. To fix, remove ForAllValues.";

#define MALFORMED(compiler, ...)                                                                   \
    policy_malformed((compiler)->arena, (compiler)->place, "", (compiler)->err, __VA_ARGS__)

void place_format(struct place place, char ret[PLACE_MAX])
{
    if (place.statement < 0)
        (void)snprintf(ret, PLACE_MAX, "Document");
    else if (place.sid == NULL)
        (void)snprintf(ret, PLACE_MAX, "Statement %d", place.statement + 1);
    else
        (void)snprintf(ret, PLACE_MAX, "Statement %d (%s)", place.statement + 1,
                       policy_quote(span_text(place.sid)).text);
}

struct policy_quote policy_quote(struct span text)
{
    static const char more[] = "...";
    struct policy_quote quote;
    size_t len = text.len;

    if (len > sizeof(quote.text) - 1) {
        len = sizeof(quote.text) - sizeof(more);
        while (len && (text.ptr[len] & 0xc0) == 0x80)
            len--; /* to the start of the character that is cut */
    }
    for (size_t i = 0; i < len; i++)
        quote.text[i] = (char)(text.ptr[i] < ' ' || text.ptr[i] == 0x7f ? '?' : text.ptr[i]);
    memcpy(quote.text + len, len < text.len ? more : "", len < text.len ? sizeof(more) : 1);
    return quote;
}

int policy_out_of_memory(struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a policy");
}

int policy_malformed(const struct arena *arena, struct place place, const char *message,
                     struct kms_error *err, const char *format, ...)
{
    char where[PLACE_MAX], what[150];
    va_list args;

    if (arena->failed)
        return policy_out_of_memory(err);
    place_format(place, where);
    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    (void)kms_fail(err, KMS_ERR_MALFORMED_POLICY, "%s", message);
    (void)snprintf(err->detail, sizeof(err->detail), "%s: %s", where, what);
    return -1;
}

/* -- Sid -- */

static bool is_sid(const char *sid, bool blanks)
{
    for (; *sid; sid++) {
        const char letter = (char)fold_letter((uint8_t)*sid);
        if (!(letter >= 'a' && letter <= 'z') && !(letter >= '0' && letter <= '9') &&
            !(blanks && letter == ' '))
            return false;
    }
    return true;
}

static int check_sid(const struct compiler *compiler, const struct document *document)
{
    const char *const sid = compiler->place.sid;

    if (sid == NULL)
        return 0;
    if (!is_sid(sid, compiler->kind == POLICY_KEY))
        return MALFORMED(compiler, "Sid with other characters than letters and digits");
    for (int i = 0; i < compiler->place.statement; i++)
        if (document->statements[i].sid && strcmp(document->statements[i].sid, sid) == 0)
            return MALFORMED(compiler, "the same Sid twice");
    return 0;
}

/* -- Action -- */

/* "*", or "service:name" with wildcards anywhere. */
static bool is_action(struct span text)
{
    size_t colons = 0;

    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = fold_letter(text.ptr[i]);
        if (c == ':')
            colons++;
        else if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '*' && c != '?' &&
                 !(c == '-' && colons == 0))
            return false;
    }
    if (span_equal(text, SPAN_LITERAL("*")))
        return true;
    return colons == 1 && *text.ptr != ':' && text.ptr[text.len - 1] != ':';
}

static int compile_actions(const struct compiler *compiler, const struct element *element,
                           struct statement *ret)
{
    if (!element->present && compiler->kind != POLICY_KEY)
        return MALFORMED(compiler, "no Action");
    for (size_t i = 0; i < element->texts.count; i++) {
        const struct span text = element->texts.items[i];
        if (!is_action(text))
            return MALFORMED(compiler, "no action: '%s'", policy_quote(text).text);
        ret->actions |= action_mask(text);
    }
    if (element->negated)
        ret->actions = ~ret->actions;
    return 0;
}

/* -- Resource -- */

static bool is_star(struct span text)
{
    return span_equal(text, SPAN_LITERAL("*"));
}

/* Six fields, the first of them "arn"; variables in the last alone. */
static int compile_resource(const struct compiler *compiler, struct span text,
                            struct resource_pattern *ret)
{
    struct arn arn;
    size_t count = 0;

    if (is_star(text))
        return 0;
    struct policy_text *const fields = arena_array(compiler->arena, ARN_FIELDS, sizeof(fields[0]));
    if (fields == NULL || !arn_split(text, &arn))
        return MALFORMED(compiler, "no resource: '%s'", policy_quote(text).text);
    const char *const why =
        policy_text_parse(compiler->arena, text, compiler->variables, fields, ARN_FIELDS, &count);
    if (why || compiler->arena->failed || count < ARN_FIELDS)
        return MALFORMED(compiler, "resource '%s': %s", policy_quote(text).text,
                         why ? why : "too few fields");
    for (size_t i = 0; i < ARN_RESOURCE; i++)
        if (policy_text_is_dynamic(&fields[i]))
            return MALFORMED(compiler, "resource '%s': a variable before the fifth colon",
                             policy_quote(text).text);
    ret->fields = fields;
    return 0;
}

static int compile_patterns(const struct compiler *compiler, const struct text_list *texts,
                            struct statement *ret)
{
    struct resource_pattern *const resources =
        arena_array(compiler->arena, texts->count, sizeof(resources[0]));

    if (resources == NULL)
        return policy_out_of_memory(compiler->err);
    for (size_t i = 0; i < texts->count; i++)
        if (compile_resource(compiler, texts->items[i], &resources[i]) < 0)
            return -1;
    ret->resource = RESOURCE_PATTERNS;
    ret->resources = resources;
    ret->resource_count = texts->count;
    return 0;
}

static int check_key_resources(const struct compiler *compiler, const struct text_list *texts)
{
    struct arn arn;

    for (size_t i = 0; i < texts->count; i++)
        if (!is_star(texts->items[i]) && !arn_split(texts->items[i], &arn))
            return MALFORMED(compiler, "no resource: '%s'", policy_quote(texts->items[i]).text);
    return 0;
}

static int compile_resources(const struct compiler *compiler, const struct element *element,
                             struct statement *ret)
{
    ret->not_resource = element->negated;
    if (compiler->kind == POLICY_TRUST) {
        ret->resource = RESOURCE_ANY;
        return element->present ? MALFORMED(compiler, "Resource in the policy of a role") : 0;
    }
    if (compiler->kind == POLICY_KEY) {
        ret->resource = element->present ? RESOURCE_TEXTS : RESOURCE_NOTHING;
        return check_key_resources(compiler, &element->texts);
    }
    if (!element->present)
        return MALFORMED(compiler, "no Resource");
    return compile_patterns(compiler, &element->texts, ret);
}

/* -- Principal -- */

static int compile_principals(const struct compiler *compiler, const struct statement_text *text,
                              struct statement *ret)
{
    if (text->not_principal)
        return MALFORMED(compiler, "NotPrincipal is not supported");
    if (compiler->kind != POLICY_IDENTITY)
        return principals_compile(compiler, &text->principal, ret);
    return text->principal.present ? MALFORMED(compiler, "Principal in the policy of an identity")
                                   : 0;
}

/* -- Condition -- */

/* Would be met by a request without the one value it asks for. */
static bool is_over_permissive(const struct compiler *compiler, const struct condition *condition)
{
    return compiler->kind == POLICY_KEY && condition->quantifier == QUANTIFIER_ALL &&
           (condition->key.family == FAMILY_ENCRYPTION_CONTEXT ||
            condition->key.family == FAMILY_REQUEST_TAG);
}

static int compile_condition(const struct compiler *compiler, const struct condition_text *text,
                             struct condition *ret)
{
    const char *const why = condition_compile(compiler->arena, text, compiler->variables, ret);

    if (why || compiler->arena->failed)
        return MALFORMED(compiler, "condition %s %s: %s", policy_quote(text->operator_name).text,
                         policy_quote(text->key).text, why ? why : "");
    if (is_over_permissive(compiler, ret))
        return policy_malformed(compiler->arena, compiler->place, over_permissive, compiler->err,
                                "condition %s %s is met by requests without the key",
                                policy_quote(text->operator_name).text,
                                policy_quote(text->key).text);
    /* alias names are for policies of identities: AWS KMS Developer Guide, kms:ResourceAliases */
    ret->key_missing = !ret->key.known ||
                       (compiler->kind != POLICY_IDENTITY && ret->key.slot == KMS_RESOURCE_ALIASES);
    return 0;
}

static int compile_conditions(const struct compiler *compiler, const struct statement_text *text,
                              struct statement *ret)
{
    struct condition *const conditions =
        arena_array(compiler->arena, text->condition_count, sizeof(conditions[0]));

    if (conditions == NULL)
        return policy_out_of_memory(compiler->err);
    for (size_t i = 0; i < text->condition_count; i++)
        if (compile_condition(compiler, &text->conditions[i], &conditions[i]) < 0)
            return -1;
    ret->conditions = conditions;
    ret->condition_count = text->condition_count;
    return 0;
}

/* -- all of it -- */

static int compile_statement(const struct compiler *compiler, const struct statement_text *text,
                             struct statement *ret)
{
    *ret = (struct statement){
        .number = compiler->place.statement, .sid = text->sid, .deny = text->deny, .text = text
    };
    if (compile_principals(compiler, text, ret) < 0 ||
        compile_actions(compiler, &text->action, ret) < 0 ||
        compile_resources(compiler, &text->resource, ret) < 0)
        return -1;
    return compile_conditions(compiler, text, ret);
}

/* Deny statements to the front, each kind in the order of the document. */
static int order_statements(struct policy *policy, const struct statement *from, size_t count)
{
    struct statement *const ordered = arena_array(&policy->arena, count, sizeof(ordered[0]));

    if (ordered == NULL)
        return -1;
    for (int deny = 1; deny >= 0; deny--)
        for (size_t i = 0; i < count; i++)
            if (from[i].deny == (deny == 1))
                ordered[policy->count++] = from[i];
    for (size_t i = 0; i < count; i++) {
        policy->deny_count += ordered[i].deny;
        *(ordered[i].deny ? &policy->deny_actions : &policy->allow_actions) |= ordered[i].actions;
    }
    policy->statements = ordered;
    return 0;
}

static int compile_document(struct compiler *compiler, const struct document *document,
                            struct policy *policy)
{
    if (document->has_id && compiler->kind == POLICY_IDENTITY)
        return MALFORMED(compiler, "Id in the policy of an identity");

    struct statement *const statements =
        arena_array(compiler->arena, document->count, sizeof(statements[0]));
    if (statements == NULL)
        return policy_out_of_memory(compiler->err);
    for (size_t i = 0; i < document->count; i++) {
        const struct statement_text *const text = &document->statements[i];
        compiler->place = (struct place){ (int)i, text->sid };
        if (check_sid(compiler, document) < 0 ||
            compile_statement(compiler, text, &statements[i]) < 0)
            return -1;
    }
    if (order_statements(policy, statements, document->count) < 0)
        return policy_out_of_memory(compiler->err);
    return 0;
}

int policy_compile(struct span text, enum policy_kind kind, const struct principal_book *book,
                   struct policy **ret, struct kms_error *err)
{
    struct document document = { 0 };
    struct policy *const policy = calloc(1, sizeof(*policy));

    if (policy == NULL)
        return policy_out_of_memory(err);
    atomic_init(&policy->references, 1);
    policy->kind = kind;

    struct compiler compiler = { &policy->arena, kind, false, book, { .statement = -1 }, err };
    if (policy_parse(text, &policy->arena, &document, err) < 0) {
        policy_unref(policy);
        return -1;
    }
    compiler.variables = document.variables;
    if (compile_document(&compiler, &document, policy) < 0) {
        policy_unref(policy);
        return -1;
    }
    *ret = policy; /* the caller's reference */
    return 0;
}

struct policy *policy_ref(struct policy *policy)
{
    atomic_fetch_add_explicit(&policy->references, 1, memory_order_relaxed);
    return policy;
}

void policy_unref(struct policy *policy)
{
    if (policy == NULL ||
        atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) != 1)
        return;
    arena_done(&policy->arena);
    free(policy);
}
