/* base64_size, base64_parse, base64_format: accepted is exactly what formatting writes. */

#include <stdlib.h>

#include "hsmkms/base/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

/* Text to bytes to text again. */
static void read_as_text(struct span text)
{
    size_t len;

    if (!base64_size(text, &len))
        return;
    demand(len <= text.len / 4 * 3);
    uint8_t *const bytes = malloc(len + 1);
    char *const again = malloc(BASE64_LEN(len) + 1);
    demand(bytes && again);
    if (base64_parse(text, bytes, len)) {
        base64_format(again, span_of(bytes, len));
        demand(span_equal(span_text(again), text));
    }
    free(bytes);
    free(again);
}

/* Bytes to text to bytes again: what was written is always accepted. */
static void write_as_text(struct span bytes)
{
    char *const text = malloc(BASE64_LEN(bytes.len) + 1);
    uint8_t *const again = malloc(bytes.len + 1);
    size_t len = 0;

    demand(text && again);
    base64_format(text, bytes);
    demand(base64_size(span_text(text), &len) && len == bytes.len);
    demand(base64_parse(span_text(text), again, len));
    demand(span_equal(span_of(again, len), bytes));
    free(text);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_as_text(span_of(data, size));
    write_as_text(span_of(data, size));
    return 0;
}
