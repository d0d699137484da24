#include "hsmkms/iam/comparator.h"

#include "hsmkms/base/encode.h"
#include "hsmkms/iam/arn.h"

static const char *compile_text(struct arena *arena, bool variables, struct operand *operand)
{
    size_t count;

    return policy_text_parse(arena, operand->text, variables, &operand->text_parts, 1, &count);
}

static bool equals(const struct operand *operand, struct scope *scope, struct span subject,
                   enum glob_case letters)
{
    const struct glob_piece *const pieces = policy_text_fill(&operand->text_parts, scope);

    return pieces != NULL && glob_equal(pieces, operand->text_parts.count, subject, letters);
}

static bool matches_exactly(const struct comparator *comparator, const struct operand *operand,
                            struct scope *scope, struct span subject)
{
    (void)comparator;
    return equals(operand, scope, subject, GLOB_EXACT);
}

static bool matches_folded(const struct comparator *comparator, const struct operand *operand,
                           struct scope *scope, struct span subject)
{
    (void)comparator;
    return equals(operand, scope, subject, GLOB_FOLD);
}

static bool part_matches(const struct policy_text *text, struct scope *scope, struct span subject)
{
    const struct glob_piece *const pieces = policy_text_fill(text, scope);

    return pieces != NULL && glob_match(pieces, text->count, subject, GLOB_EXACT, &scope->steps);
}

static bool matches_pattern(const struct comparator *comparator, const struct operand *operand,
                            struct scope *scope, struct span subject)
{
    (void)comparator;
    return part_matches(&operand->text_parts, scope, subject);
}

/* Whether a pattern's first field can be "arn", so that the whole can be of an ARN. */
static bool may_be_arn(const struct policy_text *first)
{
    uint64_t steps = UINT64_MAX;

    return policy_text_is_dynamic(first) ||
           glob_match(first->pieces, first->count, SPAN_LITERAL("arn"), GLOB_EXACT, &steps);
}

/* Fewer than six fields are legal and match nothing; "*" alone is any ARN. */
static const char *compile_arn(struct arena *arena, bool variables, struct operand *operand)
{
    struct policy_text *const fields = arena_array(arena, ARN_FIELDS, sizeof(fields[0]));
    size_t count;

    if (fields == NULL || span_equal(operand->text, SPAN_LITERAL("*")))
        return NULL;
    const char *const why =
        policy_text_parse(arena, operand->text, variables, fields, ARN_FIELDS, &count);
    if (why || arena->failed)
        return why;
    if (!may_be_arn(&fields[ARN_PREFIX]))
        return "a value is not a pattern of ARNs";
    operand->arn = fields;
    operand->never = count < ARN_FIELDS;
    return NULL;
}

static bool matches_arn(const struct comparator *comparator, const struct operand *operand,
                        struct scope *scope, struct span subject)
{
    struct arn arn;

    (void)comparator;
    if (!arn_split(subject, &arn))
        return false;
    for (size_t i = 0; operand->arn != NULL && i < ARN_FIELDS; i++)
        if (!part_matches(&operand->arn[i], scope, arn.fields[i]))
            return false;
    return true;
}

static bool relates(enum relation relation, int order)
{
    switch (relation) {
    case EQUAL:
        return order == 0;
    case LESS:
        return order < 0;
    case LESS_EQUAL:
        return order <= 0;
    case GREATER:
        return order > 0;
    case GREATER_EQUAL:
        return order >= 0;
    }
    return false;
}

static const char *compile_number(struct arena *arena, bool variables, struct operand *operand)
{
    (void)arena;
    (void)variables;
    return number_parse(operand->text, &operand->number) ? NULL : "a value is not a number";
}

static bool matches_number(const struct comparator *comparator, const struct operand *operand,
                           struct scope *scope, struct span subject)
{
    struct number number;

    (void)scope;
    return number_parse(subject, &number) &&
           relates(comparator->relation, number_compare(&number, &operand->number));
}

static const char *compile_date(struct arena *arena, bool variables, struct operand *operand)
{
    (void)arena;
    (void)variables;
    return date_parse(operand->text, &operand->date_ms) ? NULL : "a value is not a date";
}

static bool matches_date(const struct comparator *comparator, const struct operand *operand,
                         struct scope *scope, struct span subject)
{
    int64_t ms;

    (void)scope;
    return date_parse(subject, &ms) &&
           relates(comparator->relation, (ms > operand->date_ms) - (ms < operand->date_ms));
}

static const char *compile_boolean(struct arena *arena, bool variables, struct operand *operand)
{
    bool unused;
    const char *const why = compile_text(arena, variables, operand);

    if (why || arena->failed || policy_text_is_dynamic(&operand->text_parts))
        return why;
    return boolean_parse(operand->text, &unused) ? NULL : "a value is neither true nor false";
}

/* The only words there are differ in more than case, so equal words are equal truths. */
static bool matches_boolean(const struct comparator *comparator, const struct operand *operand,
                            struct scope *scope, struct span subject)
{
    bool unused;

    return boolean_parse(subject, &unused) && matches_folded(comparator, operand, scope, subject);
}

static const char *compile_null(struct arena *arena, bool variables, struct operand *operand)
{
    (void)arena;
    (void)variables;
    return boolean_parse(operand->text, &operand->boolean) ? NULL
                                                           : "a value is neither true nor false";
}

/* Only canonical base64 is read, so equal bytes are equal texts. */
static const char *compile_binary(struct arena *arena, bool variables, struct operand *operand)
{
    static const char why[] = "a value is not base64";
    size_t len, count;

    (void)variables;
    if (!base64_size(operand->text, &len))
        return why;
    uint8_t *const room = arena_array(arena, len, 1);
    if (room != NULL && !base64_parse(operand->text, room, len))
        return why;
    return policy_text_parse(arena, operand->text, false, &operand->text_parts, 1, &count);
}

static const char *compile_network(struct arena *arena, bool variables, struct operand *operand)
{
    (void)arena;
    (void)variables;
    return network_parse(operand->text, &operand->network) ? NULL : "a value is not an IP network";
}

static bool matches_network(const struct comparator *comparator, const struct operand *operand,
                            struct scope *scope, struct span subject)
{
    uint8_t address[16];

    (void)comparator;
    (void)scope;
    return address_parse(subject, address) && network_has(&operand->network, address);
}

#define TEXT    compile_text, matches_exactly
#define FOLDED  compile_text, matches_folded
#define PATTERN compile_text, matches_pattern
#define NUMBER  compile_number, matches_number
#define DATE    compile_date, matches_date
#define BOOLEAN compile_boolean, matches_boolean
#define BINARY  compile_binary, matches_exactly
#define NETWORK compile_network, matches_network
#define ARN     compile_arn, matches_arn

/* clang-format off */
static const struct comparator rows[] = {
    /* name                       negated relation */
    { "StringEquals",              false, EQUAL,         TEXT },
    { "StringNotEquals",           true,  EQUAL,         TEXT },
    { "StringEqualsIgnoreCase",    false, EQUAL,         FOLDED },
    { "StringNotEqualsIgnoreCase", true,  EQUAL,         FOLDED },
    { "StringLike",                false, EQUAL,         PATTERN },
    { "StringNotLike",             true,  EQUAL,         PATTERN },
    { "NumericEquals",             false, EQUAL,         NUMBER },
    { "NumericNotEquals",          true,  EQUAL,         NUMBER },
    { "NumericLessThan",           false, LESS,          NUMBER },
    { "NumericLessThanEquals",     false, LESS_EQUAL,    NUMBER },
    { "NumericGreaterThan",        false, GREATER,       NUMBER },
    { "NumericGreaterThanEquals",  false, GREATER_EQUAL, NUMBER },
    { "DateEquals",                false, EQUAL,         DATE },
    { "DateNotEquals",             true,  EQUAL,         DATE },
    { "DateLessThan",              false, LESS,          DATE },
    { "DateLessThanEquals",        false, LESS_EQUAL,    DATE },
    { "DateGreaterThan",           false, GREATER,       DATE },
    { "DateGreaterThanEquals",     false, GREATER_EQUAL, DATE },
    { "Bool",                      false, EQUAL,         BOOLEAN },
    { "BinaryEquals",              false, EQUAL,         BINARY },
    { "IpAddress",                 false, EQUAL,         NETWORK },
    { "NotIpAddress",              true,  EQUAL,         NETWORK },
    { "ArnEquals",                 false, EQUAL,         ARN },
    { "ArnLike",                   false, EQUAL,         ARN },
    { "ArnNotEquals",              true,  EQUAL,         ARN },
    { "ArnNotLike",                true,  EQUAL,         ARN },
    { "Null",                      false, EQUAL,         compile_null, NULL },
};
/* clang-format on */

const struct comparator *comparator_find(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (span_equal_folded(name, span_text(rows[i].name)))
            return &rows[i];
    return NULL;
}

bool comparator_is_null(const struct comparator *comparator)
{
    return comparator->matches == NULL;
}
