#include "hsmkms/api/tags.h"

#include <string.h>
#include <strings.h>

#include "hsmkms/api/ops.h"
#include "hsmkms/api/paging.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/keys/lifecycle.h"

/* TagResource, UntagResource, ListResourceTags. */

struct tag_request {
    struct request_head head;
    struct tag_list tags;
};

struct untag_request {
    struct request_head head;
    struct string_list tag_keys;
};

struct list_tags_request {
    struct request_head head;
    int64_t limit;
    const char *marker;
};

/* clang-format off */
static const struct field tag_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "Tags",    REQUIRED, AT(tag, TAGS, tags),          0, 1000, .log = LOGGED },
    { 0 },
};

static const struct field untag_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "TagKeys", REQUIRED, AT(untag, STRINGS, tag_keys), 0, 1000, .log = LOGGED, .item_max = 128, .slot = AWS_TAG_KEYS },
    { 0 },
};

static const struct field list_tags_fields[] = {
    KEY_ID_ROW(REQUIRED),
    LIMIT_ROW(list_tags),
    MARKER_ROW(list_tags),
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(tag);
REQUEST_SHAPE(untag);
REQUEST_SHAPE(list_tags);

static bool key_before(const struct tag_list *tags, size_t i)
{
    for (size_t earlier = 0; earlier < i; earlier++)
        if (strcmp(tags->items[earlier].tag_key, tags->items[i].tag_key) == 0)
            return true;
    return false;
}

int tags_check(const struct tag_list *tags, struct kms_error *err)
{
    if (tags->count > TAGS_MOST)
        return kms_fail(err, KMS_ERR_TAG, "Too many tags");
    for (size_t i = 0; i < tags->count; i++) {
        if (strncasecmp(tags->items[i].tag_key, "aws:", 4) == 0)
            return kms_fail(err, KMS_ERR_TAG, "Tags beginning with aws: are reserved");
        if (key_before(tags, i))
            return kms_fail(err, KMS_ERR_TAG, "Duplicate tag keys");
    }
    return 0;
}

int check_tag_resource(struct op_call *c, struct kms_error *err)
{
    return tags_check(&OP_REQUEST(tag, c)->tags, err);
}

int op_tag(struct op_call *c, struct kms_error *err)
{
    const struct tag_list *const tags = &OP_REQUEST(tag, c)->tags;

    return lifecycle_tag(c->keyring, &c->key->record.id, tags->items, tags->count, err);
}

int op_untag(struct op_call *c, struct kms_error *err)
{
    const struct string_list *const keys = &OP_REQUEST(untag, c)->tag_keys;

    return lifecycle_untag(c->keyring, &c->key->record.id, keys->items, keys->count, err);
}

/* Index of the first tag behind a tag key. */
static size_t first_after(const struct key *key, struct span after)
{
    size_t i = 0;

    while (i < key->tag_count && span_compare(span_text(key->tags[i].tag_key), after) <= 0)
        i++;
    return after.len ? i : 0;
}

int op_list_tags(struct op_call *c, struct kms_error *err)
{
    static const struct page_size size = { .preset = 50, .most = 50 };
    const struct list_tags_request *const request = OP_REQUEST(list_tags, c);
    const struct key *const key = c->key;
    AUTO(buf) after = { 0 };

    if (page_after(c, request->marker, &after, err) < 0)
        return -1;

    const size_t begin = first_after(key, buf_span(&after));
    const size_t limit = page_limit(size, request->limit);
    const size_t end = key->tag_count - begin > limit ? begin + limit : key->tag_count;
    json_t *const items = json_array();
    for (size_t i = begin; i < end; i++)
        (void)json_array_append_new(items, json_pack("{s:s, s:s}", "TagKey", key->tags[i].tag_key,
                                                     "TagValue", key->tags[i].tag_value));
    return page_answer(c, "Tags", items,
                       end<key->tag_count, end> begin ? span_text(key->tags[end - 1].tag_key)
                                                      : (struct span){ 0 },
                       err);
}
