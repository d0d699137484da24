#include "hsmkms/iam/lookup.h"

#include <stdio.h>
#include <time.h>

#define MS_PER_S 1000

struct context_ref context_ref_of(struct span name)
{
    struct context_ref ref = { 0 };

    ref.known = context_key_find(name, &ref.slot, &ref.family, &ref.rest);
    return ref;
}

/* W3C Date and Time Formats, complete date plus hours, minutes and seconds. */
static const char *now_text(struct scope *scope, enum context_slot slot)
{
    char *const text = scope->now_text[slot == AWS_EPOCH_TIME];
    const size_t size = sizeof(scope->now_text[0]);
    const time_t now = (time_t)(scope->context->now_ms / MS_PER_S);
    struct tm parts;

    if (slot == AWS_EPOCH_TIME)
        (void)snprintf(text, size, "%lld", (long long)now);
    else if (gmtime_r(&now, &parts) == NULL ||
             strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        text[0] = '\0'; /* a year beyond int: no date that anything matches */
    return text;
}

static void lookup_slot(struct scope *scope, enum context_slot slot, struct context_found *ret)
{
    const struct context_values *const values = &scope->context->slots[slot];

    ret->list = context_keys[slot].many;
    if (slot == AWS_CURRENT_TIME || slot == AWS_EPOCH_TIME) {
        ret->one = now_text(scope, slot);
        ret->count = 1;
    } else if (values->set && ret->list) {
        ret->values = values->list;
        ret->count = values->count;
    } else if (values->set) {
        ret->one = values->one ? values->one : values->text;
        ret->count = 1;
    }
}

static void lookup_family(const struct scope *scope, const struct context_ref *ref,
                          struct context_found *ret)
{
    const struct condition_pair *const pairs = scope->context->families[ref->family].pairs;
    const size_t count = scope->context->families[ref->family].count;

    for (size_t i = 0; i < count; i++) {
        if (!span_equal_folded(span_text(pairs[i].name), ref->rest))
            continue;
        ret->collides = ret->count > 0;
        ret->one = pairs[i].value;
        ret->count = 1;
        if (ret->collides)
            return;
    }
}

void context_lookup(struct scope *scope, const struct context_ref *ref, struct context_found *ret)
{
    *ret = (struct context_found){ .values = &ret->one };
    if (ref->slot < SLOT_COUNT)
        lookup_slot(scope, ref->slot, ret);
    else if (ref->family < FAMILY_COUNT)
        lookup_family(scope, ref, ret);
}

const char *context_single(struct scope *scope, const struct context_ref *ref)
{
    struct context_found found;

    context_lookup(scope, ref, &found);
    return found.count == 1 && !found.list && !found.collides ? found.one : NULL;
}
