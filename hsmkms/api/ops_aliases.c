#include "hsmkms/api/ops.h"

#include <stdlib.h>

#include "hsmkms/api/paging.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/keys/lifecycle.h"

/* CreateAlias, UpdateAlias, DeleteAlias, ListAliases; the rules of names are in resolve.c. */

struct alias_request {
    struct request_head head;
};

struct alias_and_key_request {
    struct request_head head;
};

struct list_aliases_request {
    struct request_head head;
    int64_t limit;
    const char *marker;
};

/* clang-format off */
#define ALIAS_NAME_ROW { "AliasName", REQUIRED, IN_HEAD(STRING, alias_name), 1, 256, .log = LOGGED, .pattern = &pattern_alias }

static const struct field alias_fields[] = {
    ALIAS_NAME_ROW,
    { 0 },
};

static const struct field alias_and_key_fields[] = {
    ALIAS_NAME_ROW,
    { "TargetKeyId", REQUIRED, IN_HEAD(STRING, key_id), 1, 2048, .log = LOGGED },
    { 0 },
};

static const struct field list_aliases_fields[] = {
    KEY_ID_ROW(OPTIONAL),
    LIMIT_ROW(list_aliases),
    MARKER_ROW(list_aliases),
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(alias);
REQUEST_SHAPE(alias_and_key);
REQUEST_SHAPE(list_aliases);

int op_create_alias(struct op_call *c, struct kms_error *err)
{
    return lifecycle_create_alias(c->keyring, c->head->alias_name, &c->key->record.id, err);
}

int op_update_alias(struct op_call *c, struct kms_error *err)
{
    return lifecycle_update_alias(c->keyring, c->head->alias_name, &c->other->record.id,
                                  &c->key->record.id, err);
}

int op_delete_alias(struct op_call *c, struct kms_error *err)
{
    return lifecycle_delete_alias(c->keyring, c->head->alias_name, &c->key->record.id, err);
}

static json_t *alias_entry(const struct keyring *keyring, const struct alias *alias)
{
    struct key *const key = catalog_find(keyring->catalog, &alias->key_id);
    const struct uuid_text target = key ? key_name(key) : uuid_format(&alias->key_id);

    key_unref(key);
    return json_pack("{s:s, s:s, s:s, s:o, s:o}", "AliasName", alias->name, "AliasArn",
                     keyring_alias_arn(keyring, alias->name).text, "TargetKeyId", target.text,
                     "CreationDate", reply_time(alias->created_ms), "LastUpdatedDate",
                     reply_time(alias->updated_ms));
}

int op_list_aliases(struct op_call *c, struct kms_error *err)
{
    static const struct page_size size = { .preset = 50, .most = 100 };
    const struct list_aliases_request *const request = OP_REQUEST(list_aliases, c);
    const size_t limit = page_limit(size, request->limit);
    AUTO(buf) after = { 0 }, room = { 0 };

    if (page_after(c, request->marker, &after, err) < 0)
        return -1;
    buf_u8(&after, 0); /* the name becomes a C string; it cannot contain a NUL */
    struct alias *const page = (void *)buf_room(&room, (limit + 1) * sizeof(*page));
    if (buf_check(&after, err) < 0 || buf_check(&room, err) < 0)
        return -1;

    const size_t got = op_is_stranger(c)
                           ? 0
                           : catalog_aliases(c->keyring->catalog,
                                             request->marker ? (const char *)after.ptr : NULL,
                                             c->key ? &c->key->record.id : NULL, page, limit + 1);
    const size_t shown = got < limit ? got : limit;
    json_t *const items = json_array();
    for (size_t i = 0; i < shown; i++)
        (void)json_array_append_new(items, alias_entry(c->keyring, &page[i]));
    return page_answer(c, "Aliases", items, got > limit,
                       shown ? span_text(page[shown - 1].name) : (struct span){ 0 }, err);
}
