#include "hsmkms/iam/credential.h"

#define CREDENTIAL_DOMAIN "hsmkms credential"

static void append_sized(struct buf *buf, struct span bytes)
{
    buf_u32(buf, (uint32_t)bytes.len);
    buf_append(buf, bytes);
}

/* Every part with its length in front, so that no two records have the same bytes. */
static int bound_bytes(const struct iam_config *config, const struct access_key_record *record,
                       struct buf *ret, struct kms_error *err)
{
    append_sized(ret, SPAN_LITERAL(CREDENTIAL_DOMAIN));
    append_sized(ret, uuid_span(&config->installation));
    append_sized(ret, span_text(record->id));
    append_sized(ret, span_text(record->account));
    append_sized(ret, span_text(record->owner));
    buf_u64(ret, (uint64_t)record->serial);
    return buf_check(ret, err);
}

static struct token_key credential_key(const struct iam_config *config)
{
    return (struct token_key){ .id = config->credential_key, .canary = config->credential_canary };
}

int credential_seal(const struct iam_config *config, const struct access_key_record *record,
                    struct span secret, struct buf *ret, struct kms_error *err)
{
    const struct token_key key = credential_key(config);
    uint8_t sealed[CREDENTIAL_LEN];
    AUTO(buf) aad = { 0 };

    if (bound_bytes(config, record, &aad, err) < 0)
        return -1;
    if (token_random(config->token, sealed, TOKEN_IV_LEN, err) < 0 ||
        token_encrypt(config->token, &key, sealed, buf_span(&aad), secret, sealed + TOKEN_IV_LEN,
                      err) < 0)
        return -1;
    buf_append(ret, SPAN_ARRAY(sealed));
    return buf_check(ret, err);
}

int credential_open(const struct iam_config *config, const struct access_key_record *record,
                    struct secret *ret, struct kms_error *err)
{
    const struct token_key key = credential_key(config);
    const struct span sealed = buf_span(&record->secret);
    AUTO(buf) aad = { 0 };

    if (sealed.len != CREDENTIAL_LEN)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "secret of access key %s has %zu bytes",
                               record->id, sealed.len);
    if (bound_bytes(config, record, &aad, err) < 0)
        return -1;
    if (token_decrypt(config->token, &key, sealed.ptr, buf_span(&aad),
                      span_of(sealed.ptr + TOKEN_IV_LEN, sealed.len - TOKEN_IV_LEN), ret, err) == 0)
        return 0;
    if (err->code != KMS_ERR_INVALID_CIPHERTEXT)
        return -1;
    kms_error_clear(err);
    return kms_fail_detail(err, KMS_ERR_INTERNAL,
                           "secret of access key %s does not open under the credential key",
                           record->id);
}
