#pragma once

/*
 * The condition operators, without set prefix and "IfExists": a row each. What a negated operator
 * matches is what its positive twin matches; condition.c turns it around.
 */

#include "hsmkms/iam/condition.h"

enum relation { EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };

struct comparator {
    const char *name;
    bool negated;
    enum relation relation; /* of numbers and dates: subject to operand */

    /* Reads .text of the operand; why not, or NULL. arena->failed when memory ran out. */
    const char *(*compile)(struct arena *arena, bool variables, struct operand *operand);

    /* NULL: Null, which does not look at values. */
    bool (*matches)(const struct comparator *comparator, const struct operand *operand,
                    struct scope *scope, struct span subject);
};

/* In any case of letters; NULL when there is no such operator. */
const struct comparator *comparator_find(struct span name);

bool comparator_is_null(const struct comparator *comparator);
