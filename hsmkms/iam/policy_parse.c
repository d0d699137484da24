#include "hsmkms/iam/policy_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

struct parser {
    struct arena *arena;
    struct place place;
    struct kms_error *err;
};

#define MALFORMED(parser, ...)                                                                     \
    policy_malformed((parser)->arena, (parser)->place, "", (parser)->err, __VA_ARGS__)

/* Exact for every prefix that is still JSON, so the parser behind it goes no deeper either. */
static bool is_shallow(struct span text)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.ptr[i];
        if (in_string && c == '\\')
            i++; /* what follows ends no string */
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '[') && ++depth > POLICY_DEPTH_MAX)
            return false;
        else if (!in_string && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return true;
}

static int copy_text(const struct parser *parser, const json_t *value, struct span *ret)
{
    *ret = arena_copy(parser->arena, span_of(json_string_value(value), json_string_length(value)));
    return ret->ptr ? 0 : policy_out_of_memory(parser->err);
}

/* The shortest digits that read back as the same number. */
static void format_real(double value, char ret[32])
{
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(ret, 32, "%.*g", digits, value);
        const double back = strtod(ret, NULL);
        if (!(back < value) && !(back > value))
            return;
    }
}

/* Values of conditions may be numbers and booleans too: their text. */
static int copy_scalar(const struct parser *parser, const json_t *value, struct span *ret)
{
    char text[32];

    if (json_is_boolean(value))
        (void)snprintf(text, sizeof(text), "%s", json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        (void)snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        format_real(json_real_value(value), text);
    else
        return copy_text(parser, value, ret);
    *ret = arena_copy(parser->arena, span_text(text));
    return ret->ptr ? 0 : policy_out_of_memory(parser->err);
}

enum scalars { ONLY_TEXTS /* none of them empty */, ANY_SCALARS };

static bool is_allowed(const json_t *value, enum scalars scalars)
{
    if (json_is_string(value))
        return scalars == ANY_SCALARS || json_string_length(value) > 0;
    return scalars == ANY_SCALARS && (json_is_number(value) || json_is_boolean(value));
}

/* One bare value or a list of at least one. */
static int read_list(const struct parser *parser, const char *name, const json_t *value,
                     size_t most, enum scalars scalars, struct text_list *ret)
{
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;

    if (count == 0)
        return MALFORMED(parser, "%s is an empty list", name);
    if (count > most)
        return MALFORMED(parser, "%s has more than %zu values", name, most);
    struct span *const items = arena_array(parser->arena, count, sizeof(items[0]));
    if (items == NULL)
        return policy_out_of_memory(parser->err);
    for (size_t i = 0; i < count; i++) {
        const json_t *const item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!is_allowed(item, scalars))
            return MALFORMED(parser, "%s has a value of the wrong type", name);
        if (copy_scalar(parser, item, &items[i]) < 0)
            return -1;
    }
    *ret = (struct text_list){ items, count };
    return 0;
}

/* Name or NotName. */
static int read_element(const struct parser *parser, const json_t *statement, const char *name,
                        const char *not_name, size_t most, struct element *ret)
{
    const json_t *const plain = json_object_get(statement, name);
    const json_t *const negated = json_object_get(statement, not_name);

    if (plain && negated)
        return MALFORMED(parser, "both %s and %s", name, not_name);
    if (plain == NULL && negated == NULL)
        return 0;
    *ret = (struct element){ .present = true, .negated = negated != NULL };
    return read_list(parser, negated ? not_name : name, negated ? negated : plain, most, ONLY_TEXTS,
                     &ret->texts);
}

static int read_principal(const struct parser *parser, const json_t *value,
                          struct principal_element *ret)
{
    static const char *const names[PRINCIPAL_FAMILIES] = {
        [PRINCIPAL_AWS] = "AWS",
        [PRINCIPAL_OF_SERVICE] = "Service",
        [PRINCIPAL_FEDERATED] = "Federated",
        [PRINCIPAL_CANONICAL] = "CanonicalUser",
    };
    size_t known = 0, total = 0;

    *ret = (struct principal_element){ .present = value != NULL };
    if (json_is_string(value))
        ret->anyone = strcmp(json_string_value(value), "*") == 0;
    for (size_t i = 0; i < PRINCIPAL_FAMILIES; i++) {
        const json_t *const member = json_object_get(value, names[i]);
        if (member == NULL)
            continue;
        known++;
        if (read_list(parser, names[i], member, POLICY_PRINCIPALS_MAX, ONLY_TEXTS,
                      &ret->families[i]) < 0)
            return -1;
        total += ret->families[i].count;
    }
    if (total > POLICY_PRINCIPALS_MAX)
        return MALFORMED(parser, "Principal has more than %d values", POLICY_PRINCIPALS_MAX);
    ret->invalid = value != NULL && !ret->anyone &&
                   (!json_is_object(value) || known != json_object_size(value));
    return 0;
}

static size_t count_conditions(const json_t *condition)
{
    const char *operator_name;
    json_t *keys;
    size_t count = 0;

    json_object_foreach((json_t *)condition, operator_name, keys) /* the macro wants no const */
        count += json_object_size(keys);
    return count;
}

static int read_condition(const struct parser *parser, const char *operator_name, const char *key,
                          const json_t *values, struct condition_text *ret)
{
    struct text_list texts;

    if (read_list(parser, operator_name, values, POLICY_VALUES_MAX, ANY_SCALARS, &texts) < 0)
        return -1;
    *ret = (struct condition_text){ .operator_name =
                                        arena_copy(parser->arena, span_text(operator_name)),
                                    .key = arena_copy(parser->arena, span_text(key)),
                                    .values = texts.items,
                                    .count = texts.count };
    return ret->operator_name.ptr && ret->key.ptr ? 0 : policy_out_of_memory(parser->err);
}

static int read_conditions(const struct parser *parser, json_t *condition,
                           struct statement_text *ret)
{
    const char *operator_name, *key;
    json_t *keys, *values;
    size_t count = 0;

    if (condition && !json_is_object(condition))
        return MALFORMED(parser, "Condition is not an object");
    if (count_conditions(condition) > POLICY_CONDITIONS_MAX)
        return MALFORMED(parser, "more than %d conditions", POLICY_CONDITIONS_MAX);
    struct condition_text *const conditions =
        arena_array(parser->arena, count_conditions(condition), sizeof(conditions[0]));
    if (conditions == NULL)
        return policy_out_of_memory(parser->err);
    json_object_foreach(condition, operator_name, keys)
    {
        if (!json_is_object(keys))
            return MALFORMED(parser, "condition %s is not an object",
                             policy_quote(span_text(operator_name)).text);
        json_object_foreach(keys, key,
                            values) if (read_condition(parser, operator_name, key, values,
                                                       &conditions[count++]) < 0) return -1;
    }
    ret->conditions = conditions;
    ret->condition_count = count;
    return 0;
}

/* Nothing but these members; names ends with NULL. */
static int check_members(const struct parser *parser, json_t *object, const char *const *names)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        const char *const *known = names;
        while (*known && strcmp(*known, name) != 0)
            known++;
        if (*known == NULL)
            return MALFORMED(parser, "unknown member '%s'", policy_quote(span_text(name)).text);
    }
    return 0;
}

/* Optional; an empty one names nothing. */
static int read_sid(struct parser *parser, const json_t *value, struct statement_text *ret)
{
    struct span text;

    if (value == NULL)
        return 0;
    if (!json_is_string(value))
        return MALFORMED(parser, "Sid is not a text");
    if (copy_text(parser, value, &text) < 0)
        return -1;
    if (text.len)
        parser->place.sid = ret->sid = (const char *)text.ptr;
    return 0;
}

static int read_effect(const struct parser *parser, const json_t *value, bool *ret_deny)
{
    const char *const text = json_is_string(value) ? json_string_value(value) : "";

    *ret_deny = strcmp(text, "Deny") == 0;
    if (!*ret_deny && strcmp(text, "Allow") != 0)
        return MALFORMED(parser, "Effect is neither Allow nor Deny");
    return 0;
}

static int read_statement(struct parser *parser, json_t *statement, struct statement_text *ret)
{
    static const char *const members[] = { "Sid",       "Effect",    "Principal", "NotPrincipal",
                                           "Action",    "NotAction", "Resource",  "NotResource",
                                           "Condition", NULL };

    if (!json_is_object(statement))
        return MALFORMED(parser, "not an object");
    if (read_sid(parser, json_object_get(statement, "Sid"), ret) < 0 ||
        check_members(parser, statement, members) < 0 ||
        read_effect(parser, json_object_get(statement, "Effect"), &ret->deny) < 0 ||
        read_principal(parser, json_object_get(statement, "Principal"), &ret->principal) < 0 ||
        read_element(parser, statement, "Action", "NotAction", POLICY_ACTIONS_MAX, &ret->action) <
            0 ||
        read_element(parser, statement, "Resource", "NotResource", SIZE_MAX, &ret->resource) < 0)
        return -1;
    ret->not_principal = json_object_get(statement, "NotPrincipal") != NULL;
    return read_conditions(parser, json_object_get(statement, "Condition"), ret);
}

static int read_statements(struct parser *parser, json_t *value, struct document *ret)
{
    const size_t count = json_is_array(value) ? json_array_size(value) : 1;

    if (value == NULL || count == 0)
        return MALFORMED(parser, "no Statement");
    if (count > POLICY_STATEMENTS_MAX)
        return MALFORMED(parser, "more than %d statements", POLICY_STATEMENTS_MAX);
    struct statement_text *const statements =
        arena_array(parser->arena, count, sizeof(statements[0]));
    if (statements == NULL)
        return policy_out_of_memory(parser->err);
    for (size_t i = 0; i < count; i++) {
        json_t *const item = json_is_array(value) ? json_array_get(value, i) : value;
        parser->place = (struct place){ .statement = (int)i };
        if (read_statement(parser, item, &statements[i]) < 0)
            return -1;
    }
    ret->statements = statements;
    ret->count = count;
    return 0;
}

static int read_version(const struct parser *parser, const json_t *value, bool *ret_variables)
{
    const char *const text = json_is_string(value) ? json_string_value(value) : "";

    *ret_variables = strcmp(text, "2012-10-17") == 0;
    if (value != NULL && !*ret_variables && strcmp(text, "2008-10-17") != 0)
        return MALFORMED(parser, "Version is neither 2012-10-17 nor 2008-10-17");
    return 0;
}

/* Some of the library's allocations fail without a word. */
static bool was_memory(const json_error_t *error)
{
    return json_error_code(error) == json_error_out_of_memory ||
           json_error_code(error) == json_error_unknown;
}

int policy_parse(struct span text, struct arena *arena, struct document *ret, struct kms_error *err)
{
    static const char *const members[] = { "Version", "Id", "Statement", NULL };
    struct parser parser = { arena, { .statement = -1 }, err };
    json_error_t error;

    if (!is_shallow(text))
        return MALFORMED(&parser, "nested deeper than %d", POLICY_DEPTH_MAX);
    json_auto_t *tree =
        text.len ? json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &error)
                 : NULL;
    if (text.len && tree == NULL && was_memory(&error))
        return policy_out_of_memory(err);
    if (!json_is_object(tree))
        return MALFORMED(&parser, "not a JSON object%s%s", text.len && !tree ? ": " : "",
                         text.len && !tree ? policy_quote(span_text(error.text)).text : "");

    const json_t *const id = json_object_get(tree, "Id");
    if (check_members(&parser, tree, members) < 0 ||
        read_version(&parser, json_object_get(tree, "Version"), &ret->variables) < 0)
        return -1;
    if (id && !json_is_string(id))
        return MALFORMED(&parser, "Id is not a text");
    ret->has_id = id != NULL;
    return read_statements(&parser, json_object_get(tree, "Statement"), ret);
}
