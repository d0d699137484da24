#include "hsmkms/api/patterns.h"

#include <string.h>

static bool is_alphanumeric(uint32_t code)
{
    return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') ||
           (code >= '0' && code <= '9');
}

static bool allows_alias(uint32_t code)
{
    return is_alphanumeric(code) || code == ':' || code == '/' || code == '_' || code == '-';
}

/* [a-zA-Z0-9:/_\s.-] */
static bool allows_description(uint32_t code)
{
    return allows_alias(code) || code == '.' || code == ' ' || (code >= '\t' && code <= '\r');
}

static bool allows_marker(uint32_t code)
{
    return code >= 0x20 && code <= 0xff;
}

static bool allows_policy(uint32_t code)
{
    return code == '\t' || code == '\n' || code == '\r' || allows_marker(code);
}

static bool allows_hex(uint32_t code)
{
    return (code >= 'a' && code <= 'f') || (code >= '0' && code <= '9');
}

static bool allows_policy_name(uint32_t code)
{
    return is_alphanumeric(code) || code == '_';
}

/* The letters alone: what is no region's name is served by nobody. */
static bool allows_region(uint32_t code)
{
    return (code >= 'a' && code <= 'z') || (code >= '0' && code <= '9') || code == '-';
}

/* [\w+=,.@-] */
static bool allows_session_name(uint32_t code)
{
    return is_alphanumeric(code) || (code < 0x80 && code && strchr("_+=,.@-", (int)code));
}

static bool allows_external_id(uint32_t code)
{
    return allows_session_name(code) || code == ':' || code == '/';
}

static bool allows_xks_key(uint32_t code)
{
    return is_alphanumeric(code) || code == '-' || code == '_' || code == '.';
}

static bool allows_service(uint32_t code)
{
    return is_alphanumeric(code) || code == '-' || code == '.';
}

/* Three labels or more, none empty. */
static bool fits_service(struct span text)
{
    size_t dots = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '.')
            continue;
        if (i == 0 || i + 1 == text.len || text.ptr[i - 1] == '.')
            return false;
        dots++;
    }
    return dots >= 2;
}

const struct pattern pattern_service = {
    "^([A-Za-z0-9\\-]+)\\.([A-Za-z0-9\\-]+)(\\.[A-Za-z0-9\\-]+)+$", allows_service, fits_service
};
const struct pattern pattern_xks_key = { "^[a-zA-Z0-9-_.]+$", allows_xks_key, NULL };
const struct pattern pattern_session_name = { "[\\w+=,.@-]*", allows_session_name, NULL };
const struct pattern pattern_external_id = { "[\\w+=,.@:\\/-]*", allows_external_id, NULL };
const struct pattern pattern_grant_name = { "^[a-zA-Z0-9:/_-]+$", allows_alias, NULL };
const struct pattern pattern_principal = { "^[\\w+=,.@:/-]+$", allows_external_id, NULL };
const struct pattern pattern_region = { "^([a-z]+-){2,3}\\d+$", allows_region, NULL };
const struct pattern pattern_alias = { "^[a-zA-Z0-9:/_-]+$", allows_alias, NULL };
const struct pattern pattern_marker = { "[\\u0020-\\u00FF]*", allows_marker, NULL };
const struct pattern pattern_policy = { "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+", allows_policy,
                                        NULL };
const struct pattern pattern_material_id = { "^[a-f0-9]+$", allows_hex, NULL };
const struct pattern pattern_description = { "^[a-zA-Z0-9:/_\\s.-]+$", allows_description, NULL };
const struct pattern pattern_policy_name = { "[\\w]+", allows_policy_name, NULL };

bool pattern_matches(const struct pattern *pattern, struct span text)
{
    const struct span whole = text;
    uint32_t code = 0;

    while (utf8_take(&text, &code))
        if (!pattern->allows(code))
            return false;
    if (whole.len == 0)
        return true; /* an empty text breaks its length rule, and is reported once */
    return pattern->fits == NULL || pattern->fits(whole);
}

/* Bytes of a character by its first byte (RFC 3629 section 3). */
static size_t utf8_size(uint8_t first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xe0)
        return 2;
    return first < 0xf0 ? 3 : 4;
}

bool utf8_take(struct span *text, uint32_t *ret)
{
    static const uint8_t payload[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    struct span bytes;

    if (text->len == 0 || !span_take(text, utf8_size(text->ptr[0]), &bytes))
        return false;

    uint32_t code = bytes.ptr[0] & payload[bytes.len];
    for (size_t i = 1; i < bytes.len; i++)
        code = code << 6 | (bytes.ptr[i] & 0x3f);
    *ret = code;
    return true;
}

size_t utf8_length(struct span text)
{
    uint32_t code = 0;
    size_t count = 0;

    while (utf8_take(&text, &code))
        count++;
    return count;
}

size_t utf8_fit(struct span text, size_t most)
{
    size_t len = text.len < most ? text.len : most;

    if (len == text.len)
        return len;
    while (len > 0 && (text.ptr[len] & 0xc0) == 0x80)
        len--;
    return len;
}
