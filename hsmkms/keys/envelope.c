#include "hsmkms/keys/envelope.h"

#include <assert.h>

#define ENVELOPE_VERSION       1
#define ENVELOPE_AES_GCM       1
#define ENVELOPE_CUSTOMER_DATA 1

/* What every blob begins with: magic, format version, algorithm, purpose, flags. */
static const uint8_t preamble[8] = {
    'H', 'K', 'M', '1', ENVELOPE_VERSION, ENVELOPE_AES_GCM, ENVELOPE_CUSTOMER_DATA, 0
};

static uint8_t *put(uint8_t *at, struct span bytes)
{
    memcpy(at, bytes.ptr, bytes.len);
    return at + bytes.len;
}

void envelope_header(const struct envelope *envelope, size_t plain_len,
                     uint8_t ret[ENVELOPE_HEADER_LEN])
{
    const uint8_t lengths[4] = { 0, 0, (uint8_t)(plain_len >> 8), (uint8_t)plain_len };
    uint8_t *at = ret;

    assert(plain_len >= 1 && plain_len <= ENVELOPE_PLAINTEXT_MAX);
    at = put(at, SPAN_ARRAY(preamble));
    at = put(at, uuid_span(&envelope->installation));
    at = put(at, uuid_span(&envelope->key_id));
    at = put(at, uuid_span(&envelope->version_id));
    *at++ = ENVELOPE_NONCE_LEN;
    at = put(at, SPAN_ARRAY(envelope->nonce));
    at = put(at, SPAN_ARRAY(lengths));
    assert(at == ret + ENVELOPE_HEADER_LEN);
}

/* Takes the bytes of a fixed-size member. */
static bool take(struct span *rest, void *ret, size_t len)
{
    struct span bytes;

    if (!span_take(rest, len, &bytes))
        return false;
    memcpy(ret, bytes.ptr, len);
    return true;
}

int envelope_parse(struct span blob, struct envelope *ret, struct kms_error *err)
{
    struct span rest = blob;
    uint8_t start[sizeof(preamble)], nonce_len, lengths[4];
    struct envelope parsed = { 0 };

    if (!take(&rest, start, sizeof(start)) ||
        memcmp(start, preamble, sizeof(preamble)) != 0 || /* public bytes */
        !take(&rest, parsed.installation.bytes, sizeof(parsed.installation.bytes)) ||
        !take(&rest, parsed.key_id.bytes, sizeof(parsed.key_id.bytes)) ||
        !take(&rest, parsed.version_id.bytes, sizeof(parsed.version_id.bytes)) ||
        !take(&rest, &nonce_len, 1) || nonce_len != ENVELOPE_NONCE_LEN ||
        !take(&rest, parsed.nonce, sizeof(parsed.nonce)) ||
        !take(&rest, lengths, sizeof(lengths)) || lengths[0] != 0 || lengths[1] != 0)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");

    parsed.plain_len = (size_t)lengths[2] << 8 | lengths[3];
    if (parsed.plain_len < 1 || parsed.plain_len > ENVELOPE_PLAINTEXT_MAX ||
        rest.len != parsed.plain_len + ENVELOPE_TAG_LEN)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");

    parsed.header = span_of(blob.ptr, ENVELOPE_HEADER_LEN);
    parsed.sealed = rest;
    *ret = parsed;
    return 0;
}
