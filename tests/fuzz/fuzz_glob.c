/*
 * glob_match, glob_equal: the same answer as a table of pattern by subject, in bounded steps.
 *
 * Input: one byte (odd: letters are folded), the pattern, a NUL, the subject. Byte 1 within the
 * pattern begins a piece of the other sort, literal or not.
 */

#include <stdlib.h>

#include "hsmkms/iam/glob.h"

#define PIECES_MAX 16
#define TEXT_MAX   400 /* characters of a pattern or subject that are compared */

enum what { EXACTLY, ANY_RUN, ANY_ONE };
struct token {
    enum what what;
    uint32_t letter;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

/* Takes one character of UTF-8; false when there is none. Source: RFC 3629 section 4. */
static bool take_letter(struct span *from, uint32_t *ret)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t first = from->ptr[0];
    const size_t len = first < 0x80   ? 1
                       : first < 0xc0 ? 0
                       : first < 0xe0 ? 2
                       : first < 0xf0 ? 3
                                      : 4;

    if (len == 0 || len > from->len || first >= 0xf5)
        return false;
    uint32_t letter = len == 1 ? first : first & (0xffU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((from->ptr[i] & 0xc0) != 0x80)
            return false;
        letter = letter << 6 | (from->ptr[i] & 0x3f);
    }
    if (letter < least[len] || letter > 0x10ffff || (letter >= 0xd800 && letter <= 0xdfff))
        return false;
    from->ptr += len;
    from->len -= len;
    *ret = letter;
    return true;
}

/* The characters of a text as tokens; false: no UTF-8, or too long to compare. */
static bool tokenise(struct span text, bool literal, bool folded, struct token *tokens,
                     size_t *count)
{
    while (text.len) {
        uint32_t letter;
        if (*count == TEXT_MAX || !take_letter(&text, &letter))
            return false;
        if (folded && letter >= 'A' && letter <= 'Z')
            letter += 'a' - 'A';
        const enum what what = literal         ? EXACTLY
                               : letter == '*' ? ANY_RUN
                               : letter == '?' ? ANY_ONE
                                               : EXACTLY;
        tokens[(*count)++] = (struct token){ what, letter };
    }
    return true;
}

/* row[j]: the tokens so far match the first j characters. */
static bool naive_match(const struct token *pattern, size_t patterns, const struct token *subject,
                        size_t subjects)
{
    static bool row[TEXT_MAX + 1];

    for (size_t j = 0; j <= subjects; j++)
        row[j] = j == 0;
    for (size_t i = 0; i < patterns; i++) {
        bool before = row[0];
        row[0] = row[0] && pattern[i].what == ANY_RUN;
        for (size_t j = 1; j <= subjects; j++) {
            const bool above = row[j];
            if (pattern[i].what == ANY_RUN)
                row[j] = above || row[j - 1];
            else
                row[j] = before &&
                         (pattern[i].what == ANY_ONE || pattern[i].letter == subject[j - 1].letter);
            before = above;
        }
    }
    return row[subjects];
}

/* Cuts the pattern at each byte 1. */
static size_t cut(struct span pattern, struct glob_piece pieces[PIECES_MAX])
{
    size_t count = 0, begin = 0;

    for (size_t i = 0; i <= pattern.len && count < PIECES_MAX; i++) {
        if (i < pattern.len && pattern.ptr[i] != 1)
            continue;
        pieces[count] = (struct glob_piece){ .text = span_of(pattern.ptr + begin, i - begin),
                                             .literal = count % 2 == 1 };
        count++;
        begin = i + 1;
    }
    return count;
}

/* Fewer steps give the same answer or run out. */
static void demand_bounded(const struct glob_piece *pieces, size_t count, struct span subject,
                           enum glob_case letters, bool answer, uint64_t used)
{
    uint64_t exactly = used + 1, few = used / 2;

    demand(glob_match(pieces, count, subject, letters, &exactly) == answer);
    const bool early = glob_match(pieces, count, subject, letters, &few);
    demand(few > 0 ? early == answer : !early || answer);
}

static void run(const struct glob_piece *pieces, size_t count, struct span subject, bool folded)
{
    static struct token pattern[TEXT_MAX], letters[TEXT_MAX];
    const enum glob_case fold = folded ? GLOB_FOLD : GLOB_EXACT;
    const uint64_t plenty = (uint64_t)1 << 40;
    uint64_t left = plenty;
    size_t patterns = 0, subjects = 0, bytes = 0;
    bool readable = tokenise(subject, true, folded, letters, &subjects);

    const bool answer = glob_match(pieces, count, subject, fold, &left);
    for (size_t i = 0; i < count; i++) {
        bytes += pieces[i].text.len;
        readable =
            readable && tokenise(pieces[i].text, pieces[i].literal, folded, pattern, &patterns);
    }
    demand(plenty - left <= 4 * (bytes + count + 2) * (subject.len + 2));
    demand_bounded(pieces, count, subject, fold, answer, plenty - left);
    if (!readable)
        return;
    demand(answer == naive_match(pattern, patterns, letters, subjects));
    for (size_t i = 0; i < patterns; i++)
        pattern[i].what = EXACTLY;
    demand(glob_equal(pieces, count, subject, fold) ==
           naive_match(pattern, patterns, letters, subjects));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct glob_piece pieces[PIECES_MAX];

    if (size < 1)
        return 0;
    const uint8_t *const pattern = data + 1, *const end = data + size;
    const uint8_t *const nul = size > 1 ? memchr(pattern, 0, size - 1) : NULL;
    const uint8_t *const pattern_end = nul ? nul : end;
    const struct span subject = nul ? span_of(nul + 1, (size_t)(end - nul - 1)) : span_of(end, 0);

    const size_t count = cut(span_of(pattern, (size_t)(pattern_end - pattern)), pieces);
    run(pieces, count, subject, data[0] & 1);
    return 0;
}
