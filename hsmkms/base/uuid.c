#include "hsmkms/base/uuid.h"

#include <stdlib.h>
#include <sys/random.h>

#include "hsmkms/base/encode.h"

/* Where the five groups of the text begin and which bytes they show. */
static const struct {
    size_t text, byte, len;
} groups[] = { { 0, 0, 4 }, { 9, 4, 2 }, { 14, 6, 2 }, { 19, 8, 2 }, { 24, 10, 6 } };

/*
 * The kernel is asked for several at once, by each thread for itself: identifiers are no secrets,
 * and no program of this project forks. Up to 256 bytes are never cut short once the kernel's pool
 * is ready: getrandom(2).
 */
struct uuid uuid_random(void)
{
    static _Thread_local struct uuid drawn[16];
    static _Thread_local size_t left;

    if (left == 0) {
        if (getrandom(drawn, sizeof(drawn), 0) != sizeof(drawn))
            abort();
        left = ARRAY_LEN(drawn);
    }
    struct uuid made = drawn[--left];
    made.bytes[6] = (uint8_t)((made.bytes[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4 */
    made.bytes[8] = (uint8_t)((made.bytes[8] & 0x3f) | 0x80);
    return made;
}

struct uuid_text uuid_format(const struct uuid *uuid)
{
    struct uuid_text made;

    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        hex_format(made.text + groups[i].text,
                   span_of(uuid->bytes + groups[i].byte, groups[i].len));
        /* each group overwrote what follows it with a NUL */
        made.text[groups[i].text + 2 * groups[i].len] = i + 1 < ARRAY_LEN(groups) ? '-' : '\0';
    }
    return made;
}

bool uuid_parse(struct span text, struct uuid *ret)
{
    struct uuid parsed;

    if (text.len != UUID_TEXT_LEN)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        if (i > 0 && text.ptr[groups[i].text - 1] != '-')
            return false;
        if (!hex_parse(span_of(text.ptr + groups[i].text, 2 * groups[i].len),
                       parsed.bytes + groups[i].byte, groups[i].len))
            return false;
    }
    *ret = parsed;
    return true;
}
