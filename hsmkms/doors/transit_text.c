#include "hsmkms/doors/transit_text.h"

#include <stdio.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/doors/json_front.h"
#include "hsmkms/keys/identifier.h"

/* --- paths ------------------------------------------------------------------------------------ */

static bool is_word_letter(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_letter(uint8_t c)
{
    return is_word_letter(c) || c == '-' || c == '.';
}

static bool is_segment(struct span text)
{
    if (text.len == 0 || text.len > TRANSIT_NAME_MAX || span_equal(text, SPAN_LITERAL(".")) ||
        span_equal(text, SPAN_LITERAL("..")))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!is_name_letter(text.ptr[i]))
            return false;
    return true;
}

/* Takes what stands before the next mark, or all there is. */
static struct span take_until(struct span *rest, char mark)
{
    const uint8_t *const found = rest->len ? memchr(rest->ptr, mark, rest->len) : NULL;
    const size_t len = found ? (size_t)(found - rest->ptr) : rest->len;
    const struct span part = span_of(rest->ptr, len);
    const size_t skip = found ? len + 1 : len;

    *rest = span_of(rest->ptr + skip, rest->len - skip);
    return part;
}

int transit_path_parse(struct span target, struct transit_path *ret, struct kms_error *err)
{
    static const struct span root = { (const uint8_t *)"/v1/", 4 };
    struct transit_path parsed = { 0 };
    struct span rest = target, start;
    struct span path = take_until(&rest, '?');

    parsed.query = rest;
    if (!span_take(&path, root.len, &start) || !span_equal(start, root) || path.len == 0 ||
        path.ptr[path.len - 1] == '/')
        return kms_fail(err, KMS_ERR_VALIDATION, "malformed path");
    while (path.len) {
        const struct span segment = take_until(&path, '/');
        if (parsed.count == TRANSIT_SEGMENTS_MAX || !is_segment(segment))
            return kms_fail(err, KMS_ERR_VALIDATION, "malformed path");
        parsed.segments[parsed.count++] = segment;
    }
    *ret = parsed;
    return 0;
}

bool transit_query_find(struct span query, const char *name, struct span *ret)
{
    while (query.len) {
        struct span value = take_until(&query, '&');
        if (!span_equal(take_until(&value, '='), span_text(name)))
            continue;
        *ret = value;
        return true;
    }
    return false;
}

/* --- names ------------------------------------------------------------------------------------ */

bool transit_name_valid(struct span name)
{
    return is_segment(name) && is_word_letter(name.ptr[0]) &&
           is_word_letter(name.ptr[name.len - 1]);
}

struct transit_key_id transit_key_id(struct span name)
{
    struct transit_key_id id = { 0 };

    id.is_alias = !identifier_is_key_id(name);
    (void)snprintf(id.text, sizeof(id.text), "%s%.*s", id.is_alias ? "alias/" : "", (int)name.len,
                   (const char *)name.ptr);
    for (char *c = id.text; *c; c++)
        if (*c == '.')
            *c = '/';
    return id;
}

bool transit_name_of_alias(const char *alias, char ret[TRANSIT_NAME_MAX + 1])
{
    const char *const name = strncmp(alias, "alias/", 6) == 0 ? alias + 6 : "";
    char made[TRANSIT_NAME_MAX + 1];

    if (strlen(name) > TRANSIT_NAME_MAX || strchr(name, '.'))
        return false;
    (void)snprintf(made, sizeof(made), "%s", name);
    for (char *c = made; *c; c++)
        if (*c == '/')
            *c = '.';
    if (!transit_name_valid(span_text(made)) || identifier_is_key_id(span_text(made)))
        return false;
    memcpy(ret, made, sizeof(made));
    return true;
}

/* --- ciphertexts ------------------------------------------------------------------------------ */

/* "v" and up to nine digits. */
static bool parse_version(struct span text, int64_t *ret)
{
    int64_t version = 0;

    if (text.len < 2 || text.len > 10 || text.ptr[0] != 'v')
        return false;
    for (size_t i = 1; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        version = version * 10 + (text.ptr[i] - '0');
    }
    *ret = version ? version : 1;
    return true;
}

int transit_ciphertext_parse(struct span text, struct transit_ciphertext *ret,
                             struct kms_error *err)
{
    static const struct span mark = { (const uint8_t *)"vault:", 6 };
    struct transit_ciphertext parsed = { 0 };
    struct span rest = text, start;
    size_t size;

    if (!span_take(&rest, mark.len, &start) || !span_equal(start, mark))
        return kms_fail(err, KMS_ERR_VALIDATION, "invalid ciphertext: no prefix");
    const struct span version = take_until(&rest, ':');
    parsed.blob = rest;
    if (rest.len == 0 || memchr(rest.ptr, ':', rest.len))
        return kms_fail(err, KMS_ERR_VALIDATION, "invalid ciphertext: wrong number of fields");
    if (!parse_version(version, &parsed.version))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "invalid ciphertext: version number could not be decoded");
    if (!base64_size(parsed.blob, &size))
        return kms_fail(err, KMS_ERR_VALIDATION, "invalid ciphertext: could not decode base64");
    *ret = parsed;
    return 0;
}

/* --- contexts --------------------------------------------------------------------------------- */

static int decode(struct span text, const char *what, struct buf *ret, struct kms_error *err)
{
    size_t size = 0;

    if (!base64_size(text, &size))
        return kms_fail(err, KMS_ERR_VALIDATION, "failed to base64-decode %s", what);
    uint8_t *const room = buf_room(ret, size);
    if (room == NULL)
        return buf_check(ret, err);
    if (!base64_parse(text, room, size))
        return kms_fail(err, KMS_ERR_VALIDATION, "failed to base64-decode %s", what);
    return 0;
}

/* Whether these pairs, as they are, can be an encryption context that nothing else makes. */
static bool is_plain_object(json_t *tree)
{
    const size_t reserved = strlen(TRANSIT_RESERVED_PREFIX);
    const char *name;
    json_t *value;

    if (json_object_size(tree) == 0)
        return false;
    json_object_foreach(tree, name, value)
    {
        if (!json_is_string(value) || name[0] == '\0' ||
            strncmp(name, TRANSIT_RESERVED_PREFIX, reserved) == 0)
            return false;
    }
    return true;
}

static int add_pair(json_t *ret, const char *name, struct span value, struct kms_error *err)
{
    if (json_object_set_new(ret, name, json_stringn((const char *)value.ptr, value.len)) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a context");
    return 0;
}

int transit_context_add(struct span text, json_t *ret, struct kms_error *err)
{
    struct kms_error unused = { 0 };
    json_auto_t *tree = NULL;
    AUTO(buf) bytes = { 0 };

    if (decode(text, "context", &bytes, err) < 0)
        return -1;
    if (bytes.len == 0 || json_front(buf_span(&bytes), &tree, &unused) < 0 ||
        !is_plain_object(tree))
        return add_pair(ret, TRANSIT_CONTEXT_NAME, text, err);
    if (json_object_update(ret, tree) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a context");
    return 0;
}

int transit_data_add(struct span text, json_t *ret, struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };

    if (decode(text, "associated_data", &bytes, err) < 0)
        return -1;
    return add_pair(ret, TRANSIT_DATA_NAME, text, err);
}
