#include "hsmkms/api/paging.h"

#include "hsmkms/api/reply.h"
#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/digest.h"

#define CHECK_LEN 16

static int check_of(const struct list *list, struct span last, uint8_t ret[SHA256_LEN],
                    struct kms_error *err)
{
    const struct span operation = span_text(list->operation);
    AUTO(buf) bytes = { 0 };

    buf_u16(&bytes, (uint16_t)operation.len);
    buf_append(&bytes, operation);
    buf_u16(&bytes, (uint16_t)list->filter.len); /* a name and 16 bytes: both short */
    buf_append(&bytes, list->filter);
    buf_append(&bytes, last);
    if (buf_check(&bytes, err) < 0)
        return -1;
    return sha256_of(buf_span(&bytes), ret, err);
}

size_t page_limit(struct page_size size, int64_t limit)
{
    if (limit <= 0)
        return size.preset;
    return (uint64_t)limit < size.most ? (size_t)limit : size.most;
}

int marker_format(const struct list *list, struct span last, struct buf *ret, struct kms_error *err)
{
    uint8_t check[SHA256_LEN];
    AUTO(buf) bytes = { 0 };

    if (check_of(list, last, check, err) < 0)
        return -1;
    buf_append(&bytes, span_of(check, CHECK_LEN));
    buf_append(&bytes, last);
    if (buf_check(&bytes, err) < 0)
        return -1;
    base64_append(ret, buf_span(&bytes));
    return buf_check(ret, err);
}

static int invalid_marker(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INVALID_MARKER,
                    "The marker does not belong to this list or is damaged.");
}

int marker_parse(const struct list *list, const char *marker, struct buf *ret,
                 struct kms_error *err)
{
    const struct span text = span_text(marker);
    uint8_t want[SHA256_LEN];
    AUTO(buf) bytes = { 0 };
    struct span check = { 0 }, last;
    size_t len = 0;

    if (!base64_size(text, &len) || len < CHECK_LEN)
        return invalid_marker(err);
    uint8_t *const room = buf_room(&bytes, len);
    if (buf_check(&bytes, err) < 0)
        return -1;
    if (!base64_parse(text, room, len))
        return invalid_marker(err);

    last = buf_span(&bytes);
    (void)!span_take(&last, CHECK_LEN, &check); /* long enough: looked at above */
    if (check_of(list, last, want, err) < 0)
        return -1;
    if (!span_equal(check, span_of(want, CHECK_LEN)))
        return invalid_marker(err);
    buf_append(ret, last);
    return buf_check(ret, err);
}

struct list page_list(const struct op_call *c)
{
    if (c->resource)
        return (struct list){ c->op->name, span_text(c->resource) };
    return (struct list){ c->op->name,
                          c->key ? uuid_span(&c->key->record.id) : (struct span){ 0 } };
}

int page_after(const struct op_call *c, const char *marker, struct buf *ret, struct kms_error *err)
{
    const struct list list = page_list(c);

    return marker ? marker_parse(&list, marker, ret, err) : 0;
}

int page_answer(struct op_call *c, const char *name, json_t *items, bool more, struct span last,
                struct kms_error *err)
{
    const struct list list = page_list(c);
    AUTO(buf) marker = { 0 };

    if (!more)
        return op_answer(c, json_pack("{s:o, s:b}", name, items, "Truncated", 0), err);
    if (marker_format(&list, last, &marker, err) < 0) {
        json_decref(items);
        return -1;
    }
    return op_answer(c,
                     json_pack("{s:o, s:b, s:s%}", name, items, "Truncated", 1, "NextMarker",
                               (const char *)marker.ptr, marker.len),
                     err);
}
