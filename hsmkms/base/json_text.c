#include "hsmkms/base/json_text.h"

#include <stdio.h>

/* Where text goes; without room it is only counted, so that both passes are one code. */
struct out {
    char *room; /* NULL: count */
    size_t len;
};

static void put(struct out *out, const void *bytes, size_t len)
{
    if (out->room)
        memcpy(out->room + out->len, bytes, len);
    out->len += len;
}

static void put_char(struct out *out, char c)
{
    put(out, &c, 1);
}

/*
 * Bytes of the UTF-8 sequence that text begins with; 0 when it is none. Overlong forms,
 * surrogates and code points past U+10FFFF are none: RFC 3629 section 4.
 */
static size_t utf8_len(struct span text)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t first = text.ptr[0];
    const size_t len = first < 0x80   ? 1
                       : first < 0xc2 ? 0
                       : first < 0xe0 ? 2
                       : first < 0xf0 ? 3
                       : first < 0xf5 ? 4
                                      : 0;
    if (len < 2 || len > text.len)
        return len == 1;

    uint32_t point = first & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((text.ptr[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (text.ptr[i] & 0x3f);
    }
    return point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : len;
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

/*
 * is_plain() for a word of bytes at once: a byte that is too small, or equal to one of three,
 * borrows from its top bit. Source: Henry S. Warren, Hacker's Delight, section 6-1.
 */
static bool are_plain(const uint8_t bytes[sizeof(uint64_t)])
{
    const uint64_t each = UINT64_MAX / UINT8_MAX;
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    const uint64_t smaller = word - each * 0x20, quote = (word ^ each * '"') - each;
    const uint64_t backslash = (word ^ each * '\\') - each, delete = (word ^ each * 0x7f) - each;
    return ((word | smaller | quote | backslash | delete) & each * 0x80) == 0;
}

static size_t plain_ascii_len(struct span text)
{
    size_t len = 0;

    while (text.len - len >= sizeof(uint64_t) && are_plain(text.ptr + len))
        len += sizeof(uint64_t);
    if (len && text.len - len < sizeof(uint64_t) &&
        are_plain(text.ptr + text.len - sizeof(uint64_t))) /* the last word, some of it again */
        return text.len;
    while (len < text.len && is_plain(text.ptr[len]))
        len++;
    return len;
}

/* Bytes at the front of text that stand in a JSON string as they are. */
static size_t plain_len(struct span text)
{
    size_t len = 0, step = 1;

    while (step > 0) {
        len += plain_ascii_len(span_of(text.ptr + len, text.len - len));
        if (len == text.len || text.ptr[len] < 0x80)
            return len;
        step = utf8_len(span_of(text.ptr + len, text.len - len));
        len += step;
    }
    return len;
}

static void put_escaped(struct out *out, uint8_t byte)
{
    char escape[7];

    if (byte == '"' || byte == '\\')
        put(out, (const char[]){ '\\', (char)byte }, 2);
    else if (byte >= 0x80)
        put(out, "\\ufffd", 6); /* no UTF-8: the replacement character */
    else
        put(out, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", byte));
}

static void put_string(struct out *out, struct span text)
{
    put_char(out, '"');
    while (text.len > 0) {
        struct span plain = { 0 }, odd = { 0 };
        if (span_take(&text, plain_len(text), &plain))
            put(out, plain.ptr, plain.len);
        if (span_take(&text, 1, &odd))
            put_escaped(out, odd.ptr[0]);
    }
    put_char(out, '"');
}

/* 13 digits of seconds and milliseconds; 17 would show 0.123 as 0.12299999999999999. */
static void put_real(struct out *out, double value)
{
    char text[32];
    const int len = snprintf(text, sizeof(text), "%.15g", value);

    put(out, text, (size_t)len);
    if (strpbrk(text, ".en") == NULL)
        put(out, ".0", 2); /* a real stays one */
}

static void put_value(struct out *out, const json_t *value);

static void put_object(struct out *out, const json_t *object)
{
    json_t *const walked = (json_t *)(uintptr_t)object; /* jansson's iterators want no const */
    const char *name;
    size_t name_len, count = 0;
    json_t *value;

    put_char(out, '{');
    json_object_keylen_foreach(walked, name, name_len, value)
    {
        if (count++)
            put_char(out, ',');
        put_string(out, span_of(name, name_len));
        put_char(out, ':');
        put_value(out, value);
    }
    put_char(out, '}');
}

static void put_array(struct out *out, const json_t *array)
{
    put_char(out, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i)
            put_char(out, ',');
        put_value(out, json_array_get(array, i));
    }
    put_char(out, ']');
}

/* As deep as the tree; trees are ours, or came through a parser with a limit. */
static void put_value(struct out *out, const json_t *value)
{
    char text[32];

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        put_object(out, value);
        break;
    case JSON_ARRAY:
        put_array(out, value);
        break;
    case JSON_STRING:
        put_string(out, span_of(json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
        put(out, text,
            (size_t)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT,
                             json_integer_value(value)));
        break;
    case JSON_REAL:
        put_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
        put(out, "true", 4);
        break;
    case JSON_FALSE:
        put(out, "false", 5);
        break;
    case JSON_NULL:
        put(out, "null", 4);
        break;
    }
}

size_t json_text_len(const json_t *tree)
{
    struct out out = { 0 };

    put_value(&out, tree);
    return out.len;
}

void json_text_write(const json_t *tree, char *room)
{
    struct out out = { .room = room };

    put_value(&out, tree);
}

void json_text_append(struct buf *ret, const json_t *tree)
{
    char *const room = (char *)buf_room(ret, json_text_len(tree));

    if (room)
        json_text_write(tree, room);
}

void json_text_append_string(struct buf *ret, struct span text)
{
    const bool plain = text.len && plain_len(text) == text.len;
    struct out out = { .len = text.len + 2 };

    if (!plain) {
        out.len = 0;
        put_string(&out, text);
    }
    out = (struct out){ .room = (char *)buf_room(ret, out.len) };
    if (out.room == NULL)
        return;
    if (!plain) {
        put_string(&out, text);
        return;
    }
    put_char(&out, '"');
    put(&out, text.ptr, text.len);
    put_char(&out, '"');
}
