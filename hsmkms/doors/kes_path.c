#include "hsmkms/doors/kes_path.h"

#include <stdio.h>
#include <string.h>

static const char name_letters[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";

bool kes_verb_fits(enum kes_verbs verbs, const char *method)
{
    switch (verbs) {
    case KES_GET:
        return strcmp(method, "GET") == 0;
    case KES_WRITE:
        return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
    case KES_DELETE:
        return strcmp(method, "DELETE") == 0;
    case KES_ANY_VERB:
        return true;
    }
    return false;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *const at = c ? strchr(digits, c) : NULL;

    if (at == NULL)
        return -1;
    return (int)(at - digits) - (at - digits > 15 ? 6 : 0);
}

/* One segment, up to a query. False: a bad escape, a NUL, a slash, or too long. */
static bool decode_segment(const char *text, char ret[KES_SEGMENT_MAX + 1])
{
    size_t len = 0;

    for (; *text && *text != '?'; text++) {
        int c = (unsigned char)*text;
        if (c == '%') {
            const int high = hex_digit(text[1]), low = high < 0 ? -1 : hex_digit(text[2]);
            c = low < 0 ? 0 : high << 4 | low;
            text += low < 0 ? 0 : 2;
        }
        if (c == 0 || c == '/' || len == KES_SEGMENT_MAX)
            return false;
        ret[len++] = (char)c;
    }
    ret[len] = '\0';
    return true;
}

bool kes_path_matches(const char *target, const char *path, enum kes_argument argument,
                      char ret[KES_SEGMENT_MAX + 1])
{
    const size_t len = strlen(path);
    const char *const rest = target + len;

    ret[0] = '\0';
    if (strncmp(target, path, len) != 0)
        return false;
    if (argument == KES_ANY)
        return *rest == '\0' || *rest == '/' || *rest == '?';
    if (*rest == '\0' || *rest == '?')
        return argument != KES_NAME;
    if (*rest != '/' || argument == KES_NOTHING)
        return false;
    if (!decode_segment(rest + 1, ret)) {
        ret[0] = '/'; /* the route's, but no name of anything */
        ret[1] = '\0';
    }
    return true;
}

bool kes_name_valid(const char *name)
{
    const size_t len = strlen(name);

    return len >= 1 && len <= KES_NAME_MAX && strspn(name, name_letters) == len && name[0] != '-' &&
           name[len - 1] != '-' && strcmp(name, "_") != 0;
}

static const char marker_letters[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_=";

/* base64 and its URL form differ in two letters. Source: RFC 4648 section 5. */
static void exchange_letters(char *text, const char *from, const char *to)
{
    for (; *text; text++) {
        const char *const at = strchr(from, *text);
        if (at)
            *text = to[at - from];
    }
}

bool kes_listing_parse(const char *text, struct kes_listing *ret)
{
    const size_t whole = strcspn(text, "~");
    const size_t prefix = whole - (whole > 0 && text[whole - 1] == '*');
    const char *const marker = text[whole] ? text + whole + 1 : "";
    const size_t len = strspn(marker, marker_letters);

    if (prefix > KES_NAME_MAX || strspn(text, name_letters) < prefix || marker[len] != '\0' ||
        len > KES_MARKER_MAX)
        return false;
    memcpy(ret->prefix, text, prefix);
    ret->prefix[prefix] = '\0';
    memcpy(ret->marker, marker, len + 1);
    exchange_letters(ret->marker, "-_", "+/");
    return true;
}

bool kes_listing_format(const struct kes_listing *listing, char ret[KES_SEGMENT_MAX + 1])
{
    const int len = snprintf(ret, KES_SEGMENT_MAX + 1, "%s~%s", listing->prefix, listing->marker);

    exchange_letters(ret + strlen(listing->prefix), "+/", "-_");
    return len > 0 && len <= KES_SEGMENT_MAX;
}
