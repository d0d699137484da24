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

struct pattern_part {
    struct glob_piece piece; /* of a variable: its default, literal */
    bool variable;
    bool has_default;
    struct context_ref key;
};

struct pattern {
    const struct glob_piece *pieces;  /* of a pattern without variables */
    const struct pattern_part *parts; /* of one with; else NULL */
    size_t count;                     /* of either, at most GLOB_PIECES_MAX */
};

/*
 * Reads a text.
 *
 * variables   false: the text has none, "${" is nothing special
 * ret         at most so many patterns: the text is split at colons outside of variables, as often
 *             as there is room (most 1: not at all); as many as ret_count says
 *
 * Returns NULL, or why not: a variable is badly written. When memory ran out only arena->failed
 * says so.
 */
CHECKED const char *pattern_parse(struct arena *arena, struct span text, bool variables,
                                  struct pattern *ret, size_t most, size_t *ret_count);

/* True when something in it depends on the request. */
static inline bool pattern_is_dynamic(const struct pattern *pattern)
{
    return pattern->parts != NULL;
}

/*
 * The pattern with its values, pattern->count pieces: its own or in scope->room, where they last
 * until the next call. NULL when a variable has no single value and no default.
 */
const struct glob_piece *pattern_fill(const struct pattern *pattern, struct scope *scope);
