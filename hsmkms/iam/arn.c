#include "hsmkms/iam/arn.h"

#define ACCOUNT_DIGITS 12

bool arn_split(struct span text, struct arn *ret)
{
    struct arn arn = { 0 };

    for (size_t field = 0; field < ARN_RESOURCE; field++) {
        const uint8_t *const colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
        if (colon == NULL || !span_take(&text, (size_t)(colon - text.ptr), &arn.fields[field]))
            return false;
        text = span_of(text.ptr + 1, text.len - 1);
    }
    arn.fields[ARN_RESOURCE] = text;
    if (!span_equal(arn.fields[ARN_PREFIX], SPAN_LITERAL("arn")))
        return false;
    *ret = arn;
    return true;
}

bool account_id_valid(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return text.len == ACCOUNT_DIGITS;
}
