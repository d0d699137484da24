/* identifier_parse, uuid_parse: what names a key is written again to the same text. */

#include <stdlib.h>

#include "hsmkms/base/buf.h"
#include "hsmkms/keys/identifier.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static bool within(struct span part, struct span whole)
{
    return part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len;
}

static void demand_name(const struct identifier *read, struct span text)
{
    demand(within(read->name, text));
    if (read->kind == IDENTIFIER_KEY) {
        const struct uuid_text again = uuid_format(&read->key_id);
        demand(span_equal(span_text(again.text), read->name));
    } else if (read->kind == IDENTIFIER_ALIAS) {
        demand(read->name.len >= 6 && memcmp(read->name.ptr, "alias/", 6) == 0);
    }
}

/* The ARN put together from its parts names the same key. */
static void demand_same_arn(const struct identifier *read, struct span text)
{
    AUTO(buf) arn = { 0 };
    struct identifier again = { 0 };
    struct kms_error err = { 0 };

    demand(within(read->region, text) && within(read->account, text) && read->account.len == 12);
    buf_text(&arn, "arn:aws:kms:");
    buf_append(&arn, read->region);
    buf_text(&arn, ":");
    buf_append(&arn, read->account);
    buf_text(&arn, read->kind == IDENTIFIER_ALIAS ? ":" : ":key/");
    buf_append(&arn, read->name);
    buf_u8(&arn, 0);
    demand(buf_check(&arn, &err) == 0);
    demand(identifier_parse((const char *)arn.ptr, &again, &err) == 0);
    demand(again.is_arn && again.kind == read->kind && span_equal(again.name, read->name));
    demand(uuid_equal(&again.key_id, &read->key_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *const text = malloc(size + 1);
    struct identifier read = { 0 };
    struct kms_error err = { 0 };

    demand(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (identifier_parse(text, &read, &err) == 0) {
        demand_name(&read, span_text(text));
        if (read.is_arn)
            demand_same_arn(&read, span_text(text));
    } else {
        demand(err.code == KMS_ERR_NOT_FOUND || err.code == KMS_ERR_INVALID_ARN);
    }
    free(text);
    return 0;
}
