#include "hsmkms/audit/checkpoint.h"

#include <inttypes.h>
#include <string.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/public_key.h"

static int not_one(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INTEGRITY, "it is not written as a checkpoint is");
}

static void append_hex(struct buf *ret, const char *name, struct span bytes)
{
    buf_printf(ret, ",\"%s\":\"", name);
    hex_append(ret, bytes);
    buf_u8(ret, '"');
}

/* The line up to its signature. */
static void append_body(const struct checkpoint *checkpoint, struct buf *ret)
{
    buf_printf(ret, "{\"seq\":%" PRIu64 ",\"from\":%" PRIu64, checkpoint->seq, checkpoint->from);
    append_hex(ret, "head", SPAN_ARRAY(checkpoint->head));
    append_hex(ret, "root", SPAN_ARRAY(checkpoint->root));
    buf_printf(ret, ",\"stateSequence\":%" PRIu64 ",\"time\":\"%s\",\"origin\":\"%s\"",
               checkpoint->state_sequence, checkpoint->time, checkpoint->origin);
    append_hex(ret, "prev", SPAN_ARRAY(checkpoint->prev));
    append_hex(ret, "key", SPAN_ARRAY(checkpoint->key));
}

int checkpoint_digest(const struct checkpoint *checkpoint, uint8_t ret[SHA256_LEN],
                      struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    buf_text(&text, CHECKPOINT_DOMAIN);
    append_body(checkpoint, &text);
    if (buf_check(&text, err) < 0)
        return -1;
    return sha256_of(buf_span(&text), ret, err);
}

int checkpoint_format(const struct checkpoint *checkpoint, struct span signature, struct buf *ret,
                      struct kms_error *err)
{
    append_body(checkpoint, ret);
    append_hex(ret, "signature", signature);
    buf_u8(ret, '}');
    return buf_check(ret, err);
}

/* --- reading: the same parts in the same order ------------------------------------------------- */

static bool take_text(struct span *line, const char *text)
{
    struct span taken;
    const struct span want = span_text(text);

    return span_take(line, want.len, &taken) && span_equal(taken, want);
}

/* A number of at most 18 digits; that it has no zeros in front is seen by writing it again. */
static bool take_number(struct span *line, const char *begin, uint64_t *ret)
{
    struct span digit;
    uint64_t value = 0;
    int count = 0;

    if (!take_text(line, begin))
        return false;
    for (; count < 18 && line->len && line->ptr[0] >= '0' && line->ptr[0] <= '9'; count++)
        if (span_take(line, 1, &digit))
            value = value * 10 + (uint64_t)(digit.ptr[0] - '0');
    *ret = value;
    return count > 0;
}

static bool take_hex(struct span *line, const char *begin, uint8_t *ret, size_t len)
{
    struct span digits;

    return take_text(line, begin) && span_take(line, 2 * len, &digits) &&
           hex_parse(digits, ret, len) && take_text(line, "\"");
}

/* Letters of time and id, as many as there must be; room for a NUL besides. */
static bool take_letters(struct span *line, const char *begin, char *ret, size_t room)
{
    struct span letters;

    if (!take_text(line, begin) || !span_take(line, room - 1, &letters) || !take_text(line, "\""))
        return false;
    for (size_t i = 0; i < letters.len; i++)
        if (strchr("0123456789abcdef-:TZ", letters.ptr[i]) == NULL || letters.ptr[i] == '\0')
            return false;
    memcpy(ret, letters.ptr, letters.len);
    ret[letters.len] = '\0';
    return true;
}

static bool take_body(struct span *line, struct checkpoint *ret)
{
    return take_number(line, "{\"seq\":", &ret->seq) &&
           take_number(line, ",\"from\":", &ret->from) && ret->from > 0 &&
           ret->from <= ret->seq &&
           take_hex(line, ",\"head\":\"", ret->head, sizeof(ret->head)) &&
           take_hex(line, ",\"root\":\"", ret->root, sizeof(ret->root)) &&
           take_number(line, ",\"stateSequence\":", &ret->state_sequence) &&
           take_letters(line, ",\"time\":\"", ret->time, sizeof(ret->time)) &&
           take_letters(line, ",\"origin\":\"", ret->origin, sizeof(ret->origin)) &&
           take_hex(line, ",\"prev\":\"", ret->prev, sizeof(ret->prev)) &&
           take_hex(line, ",\"key\":\"", ret->key, sizeof(ret->key));
}

static int check_signature(const struct checkpoint *checkpoint, struct span signature,
                           struct kms_error *err)
{
    const struct public_key key = { PUBLIC_P256, SPAN_ARRAY(checkpoint->key) };
    uint8_t digest[SHA256_LEN];
    bool good = false;

    if (checkpoint_digest(checkpoint, digest, err) < 0)
        return -1;
    if (public_key_verify(&key, SIGNATURE_ECDSA, HASH_SHA256, SPAN_ARRAY(digest), signature, &good,
                          err) < 0) {
        kms_error_clear(err); /* bytes that are no point of the curve */
        good = false;
    }
    return good ? 0 : kms_fail(err, KMS_ERR_INTEGRITY, "its signature is not by the key it names");
}

int checkpoint_parse(struct span line, struct checkpoint *ret, struct kms_error *err)
{
    static const char begin[] = ",\"signature\":\"", end[] = "\"}";
    uint8_t bytes[CHECKPOINT_SIGNATURE_MAX];
    struct checkpoint parsed = { 0 };
    struct span rest = line;
    AUTO(buf) again = { 0 };

    if (line.len > CHECKPOINT_LINE_MAX || !take_body(&rest, &parsed) ||
        rest.len < sizeof(begin) - 1 + sizeof(end) - 1)
        return not_one(err);
    const size_t len = (rest.len - (sizeof(begin) - 1) - (sizeof(end) - 1)) / 2;
    if (len > sizeof(bytes) || !take_hex(&rest, begin, bytes, len))
        return not_one(err);
    const struct span signature = span_of(bytes, len);
    if (checkpoint_format(&parsed, signature, &again, err) < 0)
        return -1;
    if (!span_equal(buf_span(&again), line))
        return not_one(err);
    if (check_signature(&parsed, signature, err) < 0)
        return -1;
    *ret = parsed;
    return 0;
}

int checkpoint_follows(const struct checkpoint *before, const uint8_t before_hash[SHA256_LEN],
                       const struct checkpoint *next, struct kms_error *err)
{
    const uint8_t none[SHA256_LEN] = { 0 };
    const bool first = before->seq == 0;

    if (!span_equal(SPAN_ARRAY(next->prev), span_of(first ? none : before_hash, SHA256_LEN)) ||
        next->from != before->seq + 1)
        return kms_fail(err, KMS_ERR_INTEGRITY, "it does not continue the checkpoint before");
    if (!first && (!span_equal(SPAN_ARRAY(next->key), SPAN_ARRAY(before->key)) ||
                   strcmp(next->origin, before->origin) != 0))
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "it is of another installation than the checkpoint before");
    if (next->state_sequence < before->state_sequence)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "its database is older than that of the checkpoint before");
    return 0;
}
