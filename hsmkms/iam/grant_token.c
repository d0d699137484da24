#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/digest.h"
#include "hsmkms/iam/grant.h"

/*
 * A grant token is the base64url (RFC 4648 section 5, without padding) of
 *   version (3 bytes), key id (16), grant id (32), random (16),
 *   HMAC over a domain, the installation's id and all of that (32)
 * so it names a grant without a table, and nobody else can make one. It is no secret: it gives
 * nobody a right that the grant does not give.
 *
 * Source: AWS KMS Developer Guide, Grant tokens.
 */

#define VERSION    "hg1"
#define DOMAIN     SPAN_LITERAL("hsmkms grant token 1")
#define ID_BYTES   (GRANT_ID_LEN / 2)
#define BODY_BYTES (strlen(VERSION) + sizeof(struct uuid) + ID_BYTES + sizeof(struct uuid))

enum { TOKEN_BYTES = 3 + 16 + ID_BYTES + 16 + TOKEN_HMAC_LEN, TOKEN_LETTERS = TOKEN_BYTES / 3 * 4 };
_Static_assert(TOKEN_BYTES % 3 == 0, "its base64 has no padding");

static int sign(const struct iam_config *config, struct span body, uint8_t ret[TOKEN_HMAC_LEN],
                struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };

    buf_u32(&bytes, (uint32_t)DOMAIN.len);
    buf_append(&bytes, DOMAIN);
    buf_append(&bytes, uuid_span(&config->installation));
    buf_append(&bytes, body);
    if (buf_check(&bytes, err) < 0)
        return -1;
    return token_hmac(config->token, &config->mac_key, buf_span(&bytes), ret, err);
}

/* Between the two alphabets of base64. */
static void translate(char *text, const char *from, const char *to)
{
    for (; *text; text++) {
        const char *const letter = strchr(from, *text);
        if (letter)
            *text = to[letter - from];
    }
}

int grant_token_make(struct iam *iam, const struct grant *grant, struct buf *ret,
                     struct kms_error *err)
{
    const struct uuid random = uuid_random();
    uint8_t id[ID_BYTES], mac[TOKEN_HMAC_LEN];
    char text[TOKEN_LETTERS + 1];
    AUTO(buf) token = { 0 };

    if (!hex_parse(span_text(grant->id), id, sizeof(id)))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a grant id that is not hex");
    buf_append(&token, SPAN_LITERAL(VERSION));
    buf_append(&token, uuid_span(&grant->key_id));
    buf_append(&token, SPAN_ARRAY(id));
    buf_append(&token, uuid_span(&random));
    if (buf_check(&token, err) < 0 || sign(&iam->config, buf_span(&token), mac, err) < 0)
        return -1;
    buf_append(&token, SPAN_ARRAY(mac));
    if (buf_check(&token, err) < 0)
        return -1;
    base64_format(text, buf_span(&token));
    translate(text, "+/", "-_");
    buf_text(ret, text);
    return buf_check(ret, err);
}

static int invalid(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INVALID_GRANT_TOKEN, "Grant token is invalid.");
}

/* The letters of a token as bytes; false for any text that grant_token_make() does not write. */
static bool decode(struct span token, uint8_t ret[TOKEN_BYTES])
{
    char text[TOKEN_LETTERS + 1];

    if (token.len != TOKEN_LETTERS || memchr(token.ptr, '+', token.len) ||
        memchr(token.ptr, '/', token.len) || memchr(token.ptr, '\0', token.len))
        return false;
    memcpy(text, token.ptr, token.len);
    text[token.len] = '\0';
    translate(text, "-_", "+/");
    return base64_parse(span_of(text, token.len), ret, TOKEN_BYTES);
}

int grant_token_open(struct iam *iam, struct span token, struct uuid *ret_key_id,
                     char ret_id[GRANT_ID_LEN + 1], struct kms_error *err)
{
    uint8_t bytes[TOKEN_BYTES], mac[TOKEN_HMAC_LEN];
    struct span body, version = { 0 }, key_id = { 0 }, id = { 0 };

    if (!decode(token, bytes))
        return invalid(err);
    body = span_of(bytes, BODY_BYTES);
    if (sign(&iam->config, body, mac, err) < 0)
        return -1;
    if (!equal_ct(SPAN_ARRAY(mac), span_of(bytes + BODY_BYTES, sizeof(mac))))
        return invalid(err);
    if (!span_take(&body, strlen(VERSION), &version) ||
        !span_equal(version, SPAN_LITERAL(VERSION)) ||
        !span_take(&body, sizeof(*ret_key_id), &key_id) || !span_take(&body, ID_BYTES, &id))
        return invalid(err);
    memcpy(ret_key_id->bytes, key_id.ptr, key_id.len);
    hex_format(ret_id, id);
    return 0;
}
