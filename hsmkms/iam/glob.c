#include "hsmkms/iam/glob.h"

/* A place in the pattern: byte at of a piece. */
struct cursor {
    size_t piece, at;
};

/* Moves from the end of a piece to the next byte there is; false at the end of the pattern. */
static bool settle(const struct glob_piece *pieces, size_t count, struct cursor *cursor)
{
    while (cursor->piece < count && cursor->at == pieces[cursor->piece].text.len) {
        cursor->piece++;
        cursor->at = 0;
    }
    return cursor->piece < count;
}

static bool is_wildcard(const struct glob_piece *pieces, struct cursor cursor, uint8_t wildcard)
{
    const struct glob_piece *const piece = &pieces[cursor.piece];

    return !piece->literal && piece->text.ptr[cursor.at] == wildcard;
}

static bool is_same(uint8_t a, uint8_t b, enum glob_case letters)
{
    return a == b || (letters == GLOB_FOLD && fold_letter(a) == fold_letter(b));
}

/* Behind the character at: its first byte and all continuation bytes (RFC 3629 section 3). */
static size_t next_character(struct span text, size_t at)
{
    at++;
    while (at < text.len && (text.ptr[at] & 0xc0) == 0x80)
        at++;
    return at;
}

/* One character of the pattern against the subject at *at; moves both on if it fits. */
static bool match_one(const struct glob_piece *pieces, struct cursor *cursor, struct span subject,
                      size_t *at, enum glob_case letters)
{
    if (is_wildcard(pieces, *cursor, '?'))
        *at = next_character(subject, *at);
    else if (is_same(pieces[cursor->piece].text.ptr[cursor->at], subject.ptr[*at], letters))
        ++*at;
    else
        return false;
    cursor->at++;
    return true;
}

/* Only the last "*" ever has to take more: whatever an earlier one gave up, that one can take. */
bool glob_match(const struct glob_piece *pieces, size_t count, struct span subject,
                enum glob_case letters, uint64_t *steps)
{
    struct cursor cursor = { 0 }, behind_star = { 0 };
    size_t at = 0, star_ends = 0;
    bool has_star = false;

    while (at < subject.len) {
        if (*steps == 0 || --*steps == 0)
            return false;
        const bool more = settle(pieces, count, &cursor);
        if (more && is_wildcard(pieces, cursor, '*')) {
            cursor.at++;
            if (!settle(pieces, count, &cursor))
                return true;
            has_star = true;
            behind_star = cursor;
            star_ends = at;
        } else if (!more || !match_one(pieces, &cursor, subject, &at, letters)) {
            if (!has_star)
                return false;
            cursor = behind_star;
            at = ++star_ends;
        }
    }
    while (settle(pieces, count, &cursor) && is_wildcard(pieces, cursor, '*'))
        cursor.at++;
    return !settle(pieces, count, &cursor);
}

bool span_equal_folded(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (fold_letter(a.ptr[i]) != fold_letter(b.ptr[i]))
            return false;
    return true;
}

bool glob_equal(const struct glob_piece *pieces, size_t count, struct span subject,
                enum glob_case letters)
{
    for (size_t i = 0; i < count; i++) {
        struct span part;
        if (!span_take(&subject, pieces[i].text.len, &part))
            return false;
        if (letters == GLOB_FOLD ? !span_equal_folded(part, pieces[i].text)
                                 : !span_equal(part, pieces[i].text))
            return false;
    }
    return subject.len == 0;
}
