#include "hsmkms/keys/context.h"

#include <stdlib.h>

static int by_name(const void *a, const void *b)
{
    return span_compare(((const struct context_pair *)a)->name,
                        ((const struct context_pair *)b)->name);
}

static int check(const struct context *context, struct kms_error *err)
{
    size_t bytes = 2;

    for (size_t i = 0; i < context->count; i++) {
        const struct context_pair *const pair = &context->pairs[i];
        bytes += 4 + pair->name.len + pair->value.len; /* both bounded by the request body */
        if (pair->name.len == 0)
            return kms_fail(err, KMS_ERR_VALIDATION,
                            "The encryption context must not have an empty name.");
        if (i > 0 && span_equal(pair->name, context->pairs[i - 1].name))
            return kms_fail(err, KMS_ERR_VALIDATION,
                            "The encryption context must not have the same name twice.");
    }
    if (bytes > CONTEXT_BYTES_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The encryption context must not be larger than %d bytes.",
                        CONTEXT_BYTES_MAX);
    return 0;
}

static void append(struct buf *ret, struct span text)
{
    buf_u16(ret, (uint16_t)text.len); /* at most CONTEXT_BYTES_MAX, checked */
    buf_append(ret, text);
}

int context_canonical(struct context *context, struct buf *ret, struct kms_error *err)
{
    if (context->count)
        qsort(context->pairs, context->count, sizeof(context->pairs[0]), by_name);
    if (check(context, err) < 0)
        return -1;

    buf_u16(ret, (uint16_t)context->count);
    for (size_t i = 0; i < context->count; i++) {
        append(ret, context->pairs[i].name);
        append(ret, context->pairs[i].value);
    }
    return buf_check(ret, err);
}
