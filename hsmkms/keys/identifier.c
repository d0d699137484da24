#include "hsmkms/keys/identifier.h"

#include "hsmkms/base/encode.h"

static const struct span arn_prefix = { (const uint8_t *)"arn:", 4 };
static const struct span alias_prefix = { (const uint8_t *)"alias/", 6 };
static const struct span key_prefix = { (const uint8_t *)"key/", 4 };
static const struct span mrk_prefix = { (const uint8_t *)"mrk-", 4 };

static bool begins(struct span text, struct span prefix)
{
    return text.len >= prefix.len && memcmp(text.ptr, prefix.ptr, prefix.len) == 0;
}

static struct span after(struct span text, struct span prefix)
{
    return span_of(text.ptr + prefix.len, text.len - prefix.len);
}

/* Takes what stands before the next colon. */
static bool take_part(struct span *rest, struct span *ret)
{
    const uint8_t *const colon = rest->len ? memchr(rest->ptr, ':', rest->len) : NULL;

    if (colon == NULL)
        return false;
    *ret = span_of(rest->ptr, (size_t)(colon - rest->ptr));
    *rest = span_of(colon + 1, rest->len - ret->len - 1);
    return true;
}

static bool parse_mrk(struct span text, struct uuid *ret)
{
    return text.len == mrk_prefix.len + 2 * sizeof(ret->bytes) && begins(text, mrk_prefix) &&
           hex_parse(after(text, mrk_prefix), ret->bytes, sizeof(ret->bytes));
}

static bool parse_key_id(struct span text, struct identifier *ret)
{
    ret->name = text;
    ret->kind = IDENTIFIER_KEY;
    if (uuid_parse(text, &ret->key_id))
        return true;
    ret->kind = IDENTIFIER_FAMILY;
    return parse_mrk(text, &ret->key_id);
}

bool identifier_is_key_id(struct span text)
{
    struct identifier unused;

    return parse_key_id(text, &unused);
}

/* arn:PARTITION:kms:REGION:ACCOUNT:key/ID or :alias/NAME */
static bool parse_arn(struct span text, struct identifier *ret)
{
    struct span rest = text, arn, partition, service;

    if (!take_part(&rest, &arn) || !take_part(&rest, &partition) || partition.len == 0 ||
        !take_part(&rest, &service) || !span_equal(service, SPAN_LITERAL("kms")) ||
        !take_part(&rest, &ret->region) || ret->region.len == 0 ||
        !take_part(&rest, &ret->account) || ret->account.len != 12)
        return false;
    ret->is_arn = true;
    if (begins(rest, alias_prefix)) {
        ret->kind = IDENTIFIER_ALIAS;
        ret->name = rest;
        return rest.len > alias_prefix.len;
    }
    return begins(rest, key_prefix) && parse_key_id(after(rest, key_prefix), ret);
}

int identifier_parse(const char *text, struct identifier *ret, struct kms_error *err)
{
    const struct span whole = span_text(text);
    struct identifier parsed = { 0 };

    if (begins(whole, arn_prefix)) {
        if (!parse_arn(whole, &parsed))
            return kms_fail(err, KMS_ERR_INVALID_ARN, "Invalid arn '%.200s'", text);
    } else if (begins(whole, alias_prefix)) {
        parsed.kind = IDENTIFIER_ALIAS;
        parsed.name = whole;
    } else if (!parse_key_id(whole, &parsed)) {
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Invalid keyId '%.200s'", text);
    }
    *ret = parsed;
    return 0;
}
