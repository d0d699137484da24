#pragma once

/*
 * What conditions can ask about a request: a slot for each condition key, and families of keys
 * whose end is free ("kms:EncryptionContext:" and a name). Filled by whoever knows the facts, read
 * by the evaluator. All texts are borrowed and outlive the context; nothing is allocated.
 *
 * A slot that was never set is missing, which is not the same as empty.
 *
 * Source: AWS IAM User Guide, AWS global condition context keys; AWS KMS Developer Guide, AWS KMS
 * condition keys.
 */

#include <stdint.h>

#include "hsmkms/base/span.h"

enum context_type { TYPE_TEXT, TYPE_ARN, TYPE_BOOL, TYPE_NUMBER, TYPE_DATE, TYPE_ADDRESS };

enum context_slot {
#define SLOT(id, name, type, many) id,
#include "hsmkms/iam/context_slots.def"
#undef SLOT
    SLOT_COUNT
};

enum context_family {
    FAMILY_PRINCIPAL_TAG,      /* aws:PrincipalTag/ */
    FAMILY_REQUEST_TAG,        /* aws:RequestTag/ */
    FAMILY_RESOURCE_TAG,       /* aws:ResourceTag/ */
    FAMILY_ENCRYPTION_CONTEXT, /* kms:EncryptionContext: */
    FAMILY_COUNT
};

/* A condition key as a row: its name and what it is. */
struct context_key {
    const char *name;
    enum context_type type;
    bool many; /* has a list of values */
};
extern const struct context_key context_keys[SLOT_COUNT];
extern const char *const context_family_prefixes[FAMILY_COUNT];

/* Which slot (ret_family stays FAMILY_COUNT) or family a condition key names; case does not matter.
 * False: a key that no request of this service has. */
CHECKED bool context_key_find(struct span name, enum context_slot *ret_slot,
                              enum context_family *ret_family, struct span *ret_rest);

struct condition_pair {
    const char *name, *value;
};

#define CONTEXT_TEXT_MAX 32

struct context_values {
    bool set;
    const char *one;         /* of a slot with one value */
    const char *const *list; /* of a slot with many */
    size_t count;
    char text[CONTEXT_TEXT_MAX]; /* room for numbers */
};

struct policy_context {
    struct context_values slots[SLOT_COUNT];
    struct {
        const struct condition_pair *pairs; /* in any order */
        size_t count;
    } families[FAMILY_COUNT];
    int64_t now_ms; /* aws:CurrentTime and aws:EpochTime; always present */
};

/* NULL leaves the slot missing. */
void context_set(struct policy_context *context, enum context_slot slot, const char *value);
void context_set_bool(struct policy_context *context, enum context_slot slot, bool value);
void context_set_number(struct policy_context *context, enum context_slot slot, int64_t value);
/* list: borrowed; an empty list is a slot that is there without values. */
void context_set_list(struct policy_context *context, enum context_slot slot,
                      const char *const *list, size_t count);
void context_set_family(struct policy_context *context, enum context_family family,
                        const struct condition_pair *pairs, size_t count);
