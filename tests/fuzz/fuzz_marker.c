/*
 * marker_parse: what is accepted is written again by marker_format to the same text. Input that is
 * not UTF-8 does not get here: markers are members of a JSON object.
 */

#include <stdlib.h>

#include "hsmkms/api/paging.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct list list = { "ListKeys", { 0 } };
    struct kms_error err = { 0 };
    AUTO(buf) text = { 0 };
    AUTO(buf) last = { 0 };
    AUTO(buf) again = { 0 };
    json_auto_t *member = json_stringn((const char *)data, size);

    if (member == NULL)
        return 0;
    buf_append(&text, span_of(data, size));
    buf_u8(&text, 0);
    const char *const marker = (const char *)text.ptr;
    if (marker_parse(&list, marker, &last, &err) < 0) {
        demand(err.code == KMS_ERR_INVALID_MARKER);
        demand(last.len == 0);
        return 0;
    }
    demand(marker_format(&list, buf_span(&last), &again, &err) == 0);
    demand(span_equal(buf_span(&again), span_text(marker)));
    return 0;
}
