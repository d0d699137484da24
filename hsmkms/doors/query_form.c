#include "hsmkms/doors/query_form.h"

#include <stdlib.h>
#include <string.h>

#include "hsmkms/base/buf.h"

#define NAME_MAX_LEN 128
#define MEMBER       "member"

static int malformed(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_SERIALIZATION, "The request body is not a well-formed form.");
}

/* Takes what stands before the separator, or all. */
static struct span take(struct span *rest, char separator)
{
    const uint8_t *const found = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
    const size_t len = found ? (size_t)(found - rest->ptr) : rest->len;
    const struct span part = span_of(rest->ptr, len);

    *rest = found ? span_of(found + 1, rest->len - len - 1) : span_of(rest->ptr + len, 0);
    return part;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* "+" is a blank, "%41" an "A". */
static bool decode(struct span text, struct buf *ret)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i] == '+' ? ' ' : text.ptr[i];
        if (c == '%') {
            const int high = i + 2 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
            const int low = i + 2 < text.len ? hex_digit(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return false;
        buf_u8(ret, c);
    }
    return true;
}

/* --- places in the tree ----------------------------------------------------------------------- */

/* A step of a name: a member of an object, or an element of a list. */
struct place {
    json_t *container;
    const char *member; /* NULL: the element at index */
    size_t index;
};

static json_t *look(const struct place *place)
{
    return place->member ? json_object_get(place->container, place->member)
                         : json_array_get(place->container, place->index);
}

/* Takes over value. */
static bool put(const struct place *place, json_t *value)
{
    if (place->member)
        return json_object_set_new(place->container, place->member, value) == 0;
    if (place->index == json_array_size(place->container)) /* 1, 2, 3: no gaps */
        return json_array_append_new(place->container, value) == 0;
    json_decref(value);
    return false;
}

/* The container at a place, made when it is not there yet; NULL: something else is. */
static json_t *enter(const struct place *place, bool list)
{
    json_t *const there = look(place);

    if (there)
        return json_is_array(there) == list && !json_is_string(there) ? there : NULL;
    return put(place, list ? json_array() : json_object()) ? look(place) : NULL;
}

static bool parse_index(const char *text, size_t *ret)
{
    char *end = NULL;
    const unsigned long number = strtoul(text, &end, 10);

    if (text[0] < '1' || text[0] > '9' || *end != '\0' || number > QUERY_FORM_MOST)
        return false;
    *ret = number - 1;
    return true;
}

/* Walks "A.member.1.B" to the place of B; name is cut into its words. */
static bool find_place(json_t *root, char *name, struct place *ret)
{
    struct place at = { .container = root, .member = name };
    char *word = strchr(name, '.');

    while (word) {
        *word++ = '\0';
        char *const next = strchr(word, '.');
        const bool list = next ? strncmp(word, MEMBER ".", sizeof(MEMBER)) == 0 : false;
        json_t *const container = enter(&at, list);
        if (container == NULL || *at.member == '\0')
            return false;
        if (list) {
            char *const number = next + 1;
            word = strchr(number, '.');
            if (word)
                *word = '\0';
            at = (struct place){ .container = container };
            if (!parse_index(number, &at.index))
                return false;
            if (word == NULL)
                break;
            json_t *const element = enter(&at, false);
            if (element == NULL)
                return false;
            at = (struct place){ .container = element, .member = word + 1 };
            word = strchr(word + 1, '.');
        } else {
            at = (struct place){ .container = container, .member = word };
            word = next;
        }
    }
    *ret = at;
    return at.member == NULL || *at.member != '\0';
}

static int add(json_t *root, struct span parameter, struct kms_error *err)
{
    AUTO(buf) name = { 0 }, value = { 0 };
    struct span rest = parameter;
    const struct span name_text = take(&rest, '=');
    struct place place;

    if (!decode(name_text, &name) || !decode(rest, &value) || name.len == 0 ||
        name.len > NAME_MAX_LEN)
        return malformed(err);
    buf_u8(&name, 0);
    if (buf_check(&name, err) < 0 || buf_check(&value, err) < 0)
        return -1;
    json_t *const text = json_stringn(value.len ? (const char *)value.ptr : "", value.len);
    if (text == NULL || !find_place(root, (char *)name.ptr, &place) || look(&place)) {
        json_decref(text);
        return malformed(err);
    }
    return put(&place, text) ? 0 : malformed(err);
}

int query_form_parse(struct span form, json_t **ret, struct kms_error *err)
{
    json_auto_t *root = json_object();
    struct span rest = form;
    size_t count = 0;

    if (root == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a form");
    while (rest.len) {
        const struct span parameter = take(&rest, '&');
        if (parameter.len == 0)
            continue;
        if (++count > QUERY_FORM_MOST)
            return malformed(err);
        if (add(root, parameter, err) < 0)
            return -1;
    }
    *ret = json_incref(root);
    return 0;
}
