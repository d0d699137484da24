/* envelope_parse: what is accepted is written again by envelope_header to the same bytes. */

#include <stdlib.h>

#include "hsmkms/keys/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct span blob = span_of(data, size);
    struct kms_error err = { 0 };
    struct envelope envelope;
    uint8_t header[ENVELOPE_HEADER_LEN];

    if (envelope_parse(blob, &envelope, &err) < 0) {
        demand(err.code == KMS_ERR_INVALID_CIPHERTEXT && err.message[0] == '\0');
        return 0;
    }
    demand(envelope.plain_len >= 1 && envelope.plain_len <= ENVELOPE_PLAINTEXT_MAX);
    demand(envelope.header.ptr == data && envelope.header.len == ENVELOPE_HEADER_LEN);
    demand(envelope.sealed.ptr == data + ENVELOPE_HEADER_LEN);
    demand(envelope.sealed.len == envelope.plain_len + ENVELOPE_TAG_LEN);
    demand(envelope.header.len + envelope.sealed.len == size);
    envelope_header(&envelope, envelope.plain_len, header);
    demand(span_equal(SPAN_ARRAY(header), envelope.header));
    return 0;
}
