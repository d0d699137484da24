#include "hsmkms/iam/policy_text.h"

/* Text that is being read, and the part that comes next. */
struct reader {
    struct arena *arena;
    struct span rest;
    bool variables;
    struct policy_text_part parts[GLOB_PIECES_MAX];
    size_t count;
};

static const char too_many[] = "more variables than a text may have";
static const char bad_variable[] = "a variable that is not written ${key} or ${key, 'default'}";

static struct policy_text_part *add_part(struct reader *reader)
{
    return reader->count < GLOB_PIECES_MAX ? &reader->parts[reader->count++] : NULL;
}

static void skip_blanks(struct span *text)
{
    while (text->len && strchr(" \t\r\n", *text->ptr) != NULL)
        *text = span_of(text->ptr + 1, text->len - 1);
}

/* What stands before the first of these letters, or everything. */
static struct span take_until(struct span *text, const char *ends)
{
    size_t len = 0;

    while (len < text->len && strchr(ends, text->ptr[len]) == NULL)
        len++;
    const struct span taken = span_of(text->ptr, len);
    *text = span_of(text->ptr + len, text->len - len);
    return taken;
}

static bool take_letter(struct span *text, char letter)
{
    if (text->len == 0 || *text->ptr != (uint8_t)letter)
        return false;
    *text = span_of(text->ptr + 1, text->len - 1);
    return true;
}

/* inside: what stands between the braces. */
static bool read_variable(struct span inside, struct policy_text_part *ret)
{
    struct policy_text_part part = { .variable = true, .piece.literal = true };

    skip_blanks(&inside);
    const struct span key = take_until(&inside, " \t\r\n,'");
    skip_blanks(&inside);
    if (key.len && take_letter(&inside, ',')) {
        skip_blanks(&inside);
        if (!take_letter(&inside, '\''))
            return false;
        part.piece.text = take_until(&inside, "'");
        part.has_default = true;
        if (!take_letter(&inside, '\''))
            return false;
        skip_blanks(&inside);
    }
    part.key = context_ref_of(key);
    *ret = part;
    return key.len > 0 && inside.len == 0;
}

/* rest stands behind "${". */
static const char *take_variable(struct reader *reader)
{
    struct policy_text_part *const part = add_part(reader);
    const struct span inside = take_until(&reader->rest, "}");

    if (part == NULL)
        return too_many;
    if (!take_letter(&reader->rest, '}'))
        return bad_variable;
    if (inside.len == 1 && strchr("*?$", *inside.ptr) != NULL)
        *part = (struct policy_text_part){ .piece = { inside, true } };
    else if (!read_variable(inside, part))
        return bad_variable;
    return NULL;
}

static bool begins_variable(const struct reader *reader, size_t at)
{
    return reader->variables && at + 1 < reader->rest.len && reader->rest.ptr[at] == '$' &&
           reader->rest.ptr[at + 1] == '{';
}

/* Text up to a variable, a colon to split at, or the end. */
static const char *take_text(struct reader *reader, bool to_colon)
{
    size_t len = 0;

    while (len < reader->rest.len && !begins_variable(reader, len) &&
           !(to_colon && reader->rest.ptr[len] == ':'))
        len++;
    if (len == 0)
        return NULL;

    struct policy_text_part *const part = add_part(reader);
    if (part == NULL)
        return too_many;
    *part = (struct policy_text_part){ .piece = { span_of(reader->rest.ptr, len), false } };
    reader->rest = span_of(reader->rest.ptr + len, reader->rest.len - len);
    return NULL;
}

static bool has_variable(const struct reader *reader)
{
    for (size_t i = 0; i < reader->count; i++)
        if (reader->parts[i].variable)
            return true;
    return false;
}

/* Leaves ret alone when memory ran out: arena->failed. */
static void keep_parts(const struct reader *reader, struct policy_text *ret)
{
    struct policy_text_part *const parts =
        arena_array(reader->arena, reader->count, sizeof(reader->parts[0]));

    if (parts == NULL)
        return;
    memcpy(parts, reader->parts, reader->count * sizeof(reader->parts[0]));
    *ret = (struct policy_text){ .parts = parts, .count = reader->count };
}

static void keep_pieces(const struct reader *reader, struct policy_text *ret)
{
    struct glob_piece *const pieces = arena_array(reader->arena, reader->count, sizeof(pieces[0]));

    if (pieces == NULL)
        return;
    for (size_t i = 0; i < reader->count; i++)
        pieces[i] = reader->parts[i].piece;
    *ret = (struct policy_text){ .pieces = pieces, .count = reader->count };
}

const char *policy_text_parse(struct arena *arena, struct span text, bool variables,
                              struct policy_text *ret, size_t most, size_t *ret_count)
{
    struct reader reader = { .arena = arena, .rest = text, .variables = variables };
    bool ended;

    *ret_count = 0;
    do {
        const bool to_colon = *ret_count + 1 < most;
        const char *why = NULL;
        reader.count = 0;
        ended = false;
        while (why == NULL && reader.rest.len && !ended) {
            why = take_text(&reader, to_colon);
            if (why == NULL && begins_variable(&reader, 0)) {
                reader.rest = span_of(reader.rest.ptr + 2, reader.rest.len - 2);
                why = take_variable(&reader);
            } else if (why == NULL && to_colon) {
                ended = take_letter(&reader.rest, ':');
            }
        }
        if (why)
            return why;
        (has_variable(&reader) ? keep_parts : keep_pieces)(&reader, &ret[(*ret_count)++]);
    } while (ended);
    return NULL;
}

const struct glob_piece *policy_text_fill(const struct policy_text *text, struct scope *scope)
{
    if (!policy_text_is_dynamic(text))
        return text->pieces;
    for (size_t i = 0; i < text->count; i++) {
        const struct policy_text_part *const part = &text->parts[i];
        const char *const value = part->variable ? context_single(scope, &part->key) : NULL;
        if (part->variable && value == NULL && !part->has_default)
            return NULL;
        scope->room[i] = value ? (struct glob_piece){ span_text(value), true } : part->piece;
    }
    return scope->room;
}
