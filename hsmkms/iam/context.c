#include "hsmkms/iam/context.h"

#include <stdio.h>

#include "hsmkms/iam/glob.h"

const struct context_key context_keys[SLOT_COUNT] = {
#define SLOT(id, name, type, many) [id] = { name, type, many },
#include "hsmkms/iam/context_slots.def"
#undef SLOT
};

const char *const context_family_prefixes[FAMILY_COUNT] = {
    [FAMILY_PRINCIPAL_TAG] = "aws:PrincipalTag/",
    [FAMILY_REQUEST_TAG] = "aws:RequestTag/",
    [FAMILY_RESOURCE_TAG] = "aws:ResourceTag/",
    [FAMILY_ENCRYPTION_CONTEXT] = "kms:EncryptionContext:",
};

static bool find_family(struct span name, enum context_family *ret, struct span *ret_rest)
{
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        const struct span prefix = span_text(context_family_prefixes[i]);
        if (name.len > prefix.len && span_equal_folded(span_of(name.ptr, prefix.len), prefix)) {
            *ret = (enum context_family)i;
            *ret_rest = span_of(name.ptr + prefix.len, name.len - prefix.len);
            return true;
        }
    }
    return false;
}

bool context_key_find(struct span name, enum context_slot *ret_slot,
                      enum context_family *ret_family, struct span *ret_rest)
{
    *ret_slot = SLOT_COUNT;
    *ret_family = FAMILY_COUNT;
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        if (span_equal_folded(name, span_text(context_keys[i].name))) {
            *ret_slot = (enum context_slot)i;
            return true;
        }
    }
    return find_family(name, ret_family, ret_rest);
}

void context_set(struct policy_context *context, enum context_slot slot, const char *value)
{
    context->slots[slot].set = value != NULL;
    context->slots[slot].one = value;
}

void context_set_bool(struct policy_context *context, enum context_slot slot, bool value)
{
    context_set(context, slot, value ? "true" : "false");
}

/* .one stays NULL for .text: a pointer into itself would not survive a copy of the context. */
void context_set_number(struct policy_context *context, enum context_slot slot, int64_t value)
{
    struct context_values *const values = &context->slots[slot];

    (void)snprintf(values->text, sizeof(values->text), "%lld", (long long)value);
    values->set = true;
    values->one = NULL;
}

void context_set_list(struct policy_context *context, enum context_slot slot,
                      const char *const *list, size_t count)
{
    context->slots[slot].set = true;
    context->slots[slot].list = list;
    context->slots[slot].count = count;
}

void context_set_family(struct policy_context *context, enum context_family family,
                        const struct condition_pair *pairs, size_t count)
{
    context->families[family].pairs = pairs;
    context->families[family].count = count;
}
