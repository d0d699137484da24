#pragma once

/*
 * Patterns with "*" (any bytes, none too) and "?" (one character, in UTF-8), anchored at both
 * ends. A pattern comes as a row of pieces, so that a value put in for a variable stays literal.
 *
 * Time is bounded by pattern times subject, both of which strangers may choose: every step counts
 * down from what the caller allows, and at 0 the answer is false.
 */

#include "hsmkms/base/span.h"

#define GLOB_PIECES_MAX 32 /* of one pattern, where room for them is kept */

struct glob_piece {
    struct span text;
    bool literal; /* "*" and "?" in it are themselves */
};

enum glob_case { GLOB_EXACT, GLOB_FOLD /* of ASCII letters */ };

/* True when the pieces in their order match the whole subject. */
CHECKED bool glob_match(const struct glob_piece *pieces, size_t count, struct span subject,
                        enum glob_case letters, uint64_t *steps);

/* True when the pieces, all taken as literal, are the subject. */
CHECKED bool glob_equal(const struct glob_piece *pieces, size_t count, struct span subject,
                        enum glob_case letters);

/* ASCII letters alone; the rest of a text is compared as it is. */
static inline uint8_t fold_letter(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* span_equal without regard to the case of ASCII letters. */
CHECKED bool span_equal_folded(struct span a, struct span b);
