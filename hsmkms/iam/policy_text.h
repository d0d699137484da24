#pragma once

/*
 * Texts of policies with variables in them: "${key}" stands for the value of a condition key,
 * "${key, 'default'}" for that or the default, "${*}", "${?}" and "${$}" for the character itself.
 * Read once, filled in for each request without copying.
 *
 * Source: AWS IAM User Guide, IAM policy elements: Variables and tags.
 */

#include "hsmkms/iam/arena.h"
#include "hsmkms/iam/lookup.h"

struct policy_text_part {
    struct glob_piece piece; /* of a variable: its default, literal */
    bool variable;
    bool has_default;
    struct context_ref key;
};

struct policy_text {
    const struct glob_piece *pieces;      /* of a text without variables */
    const struct policy_text_part *parts; /* of one with; else NULL */
    size_t count;                         /* of either, at most GLOB_PIECES_MAX */
};

/*
 * Reads a text.
 *
 * variables   false: the text has none, "${" is nothing special
 * ret         at most `most` texts: the text is split at colons outside of variables, as often
 *             as there is room (most 1: not at all); as many as ret_count says
 *
 * Returns NULL, or why not: a variable is badly written. When memory ran out only arena->failed
 * says so.
 */
CHECKED const char *policy_text_parse(struct arena *arena, struct span text, bool variables,
                                      struct policy_text *ret, size_t most, size_t *ret_count);

/* True when something in it depends on the request. */
static inline bool policy_text_is_dynamic(const struct policy_text *text)
{
    return text->parts != NULL;
}

/*
 * The text with its values, text->count pieces: its own or in scope->room, where they last
 * until the next call. NULL when a variable has no single value and no default.
 */
const struct glob_piece *policy_text_fill(const struct policy_text *text, struct scope *scope);
