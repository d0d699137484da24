#pragma once

/*
 * One condition of a statement: an operator, a condition key, and the operands the key's values
 * are compared with.
 *
 * Source: AWS IAM User Guide, IAM JSON policy elements: Condition operators; Multivalued context
 * keys.
 */

#include "hsmkms/iam/operand.h"
#include "hsmkms/iam/policy_text.h"

struct comparator; /* a row */

enum quantifier { QUANTIFIER_NONE, QUANTIFIER_ALL, QUANTIFIER_ANY };

/* As it is written: "ForAllValues:StringLikeIfExists", a key, texts. */
struct condition_text {
    struct span operator_name, key;
    const struct span *values;
    size_t count;
};

/* An operand in the form that its operator compares; one member of the union is filled. */
struct operand {
    struct span text;
    union {
        struct policy_text text_parts;
        struct policy_text *arn; /* ARN_FIELDS; NULL: matches every ARN, or none (never) */
        struct number number;
        int64_t date_ms;
        bool boolean;
        struct network network;
    };
    bool never; /* can match nothing */
};

struct condition {
    const struct comparator *comparator;
    enum quantifier quantifier;
    bool if_exists;
    struct context_ref key;
    bool key_missing; /* whatever the request says */
    const struct operand *operands;
    size_t operand_count;
    const struct condition_text *text;
};

/*
 * Reads a condition. text stays borrowed.
 *
 * Returns NULL, or what is wrong with it; when memory ran out only arena->failed says so.
 */
CHECKED const char *condition_compile(struct arena *arena, const struct condition_text *text,
                                      bool variables, struct condition *ret);

/* Whether the request meets it. */
CHECKED bool condition_holds(const struct condition *condition, struct scope *scope);
