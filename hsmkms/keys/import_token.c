#include "hsmkms/keys/import_token.h"

#include "hsmkms/crypto/digest.h"

/*
 *   version (3 bytes), key id (16), pair id (16), algorithm (1), valid to, ms (8), random (16),
 *   HMAC over a domain, the installation's id and all of that (32)
 */
#define VERSION    SPAN_LITERAL("hi1")
#define DOMAIN     SPAN_LITERAL("hsmkms import token 1")
#define BODY_BYTES (3 + 16 + 16 + 1 + 8 + 16)

static int sign(struct keyring *keyring, struct span body, uint8_t ret[TOKEN_HMAC_LEN],
                struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };

    buf_u32(&bytes, (uint32_t)DOMAIN.len);
    buf_append(&bytes, DOMAIN);
    buf_append(&bytes, uuid_span(&keyring->installation));
    buf_append(&bytes, body);
    if (buf_check(&bytes, err) < 0)
        return -1;
    return token_hmac(keyring->token, &keyring->mac_key, buf_span(&bytes), ret, err);
}

int import_token_make(struct keyring *keyring, const struct import_token *token, struct buf *ret,
                      struct kms_error *err)
{
    const struct uuid random = uuid_random(); /* no two are alike */
    uint8_t mac[TOKEN_HMAC_LEN];
    AUTO(buf) body = { 0 };

    buf_append(&body, VERSION);
    buf_append(&body, uuid_span(&token->key_id));
    buf_append(&body, uuid_span(&token->pair_id));
    buf_u8(&body, token->algorithm);
    buf_u64(&body, (uint64_t)token->valid_to_ms);
    buf_append(&body, uuid_span(&random));
    if (buf_check(&body, err) < 0 || sign(keyring, buf_span(&body), mac, err) < 0)
        return -1;
    buf_append(ret, buf_span(&body));
    buf_append(ret, SPAN_ARRAY(mac));
    return buf_check(ret, err);
}

static int invalid(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INVALID_IMPORT_TOKEN, "The import token is invalid.");
}

/* Of an authentic token, whose parts are all there. */
static void read_body(struct span body, struct import_token *ret)
{
    const uint8_t *at = body.ptr + VERSION.len;

    memcpy(ret->key_id.bytes, at, sizeof(ret->key_id.bytes));
    at += sizeof(ret->key_id.bytes);
    memcpy(ret->pair_id.bytes, at, sizeof(ret->pair_id.bytes));
    at += sizeof(ret->pair_id.bytes);
    ret->algorithm = *at++;
    ret->valid_to_ms = 0;
    for (int i = 0; i < 8; i++)
        ret->valid_to_ms = (int64_t)((uint64_t)ret->valid_to_ms << 8 | *at++);
}

int import_token_open(struct keyring *keyring, struct span bytes, const struct uuid *key_id,
                      struct import_token *ret, struct kms_error *err)
{
    uint8_t mac[TOKEN_HMAC_LEN];
    struct import_token opened;

    if (bytes.len != BODY_BYTES + sizeof(mac) ||
        !span_equal(span_of(bytes.ptr, VERSION.len), VERSION))
        return invalid(err);
    const struct span body = span_of(bytes.ptr, BODY_BYTES);
    if (sign(keyring, body, mac, err) < 0)
        return -1;
    if (!equal_ct(SPAN_ARRAY(mac), span_of(bytes.ptr + BODY_BYTES, sizeof(mac))))
        return invalid(err);
    read_body(body, &opened);
    if (!uuid_equal(&opened.key_id, key_id))
        return invalid(err);
    if (clock_wall_ms(keyring->clock) >= opened.valid_to_ms)
        return kms_fail(err, KMS_ERR_EXPIRED_IMPORT_TOKEN, "The import token has expired.");
    *ret = opened;
    return 0;
}
