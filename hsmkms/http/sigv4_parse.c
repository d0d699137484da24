#include "hsmkms/http/sigv4_parts.h"

#define PART_ECHO_MAX   128 /* of an error text, which holds 1023 bytes */
#define HEADER_ECHO_MAX 640

bool sigv4_split(struct span *rest, char separator, struct span *ret)
{
    if (rest->ptr == NULL)
        return false;

    const uint8_t *const end = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
    if (end == NULL) {
        *ret = *rest;
        *rest = span_of(NULL, 0);
        return true;
    }
    *ret = span_of(rest->ptr, (size_t)(end - rest->ptr));
    *rest = span_of(end + 1, rest->len - ret->len - 1);
    return true;
}

bool sigv4_name_equal(struct span name, const char *other)
{
    for (size_t i = 0; i < name.len; i++) {
        const char c = other[i];
        if (name.ptr[i] != (uint8_t)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) || c == '\0')
            return false;
    }
    return other[name.len] == '\0';
}

void sigv4_echo(struct buf *ret, struct span bytes, size_t most)
{
    for (size_t i = 0; i < bytes.len && i < most; i++)
        buf_u8(ret, bytes.ptr[i] >= 0x20 && bytes.ptr[i] < 0x7f ? bytes.ptr[i] : '?');
}

/* Authorization */

/* clang-format off */
static const struct part_row {
    const char *name;
    size_t offset;
} part_rows[] = {
    { "Credential",    OFFSET_OF_TYPE(struct sigv4_auth, credential, struct span) },
    { "Signature",     OFFSET_OF_TYPE(struct sigv4_auth, signature, struct span) },
    { "SignedHeaders", OFFSET_OF_TYPE(struct sigv4_auth, signed_headers, struct span) },
};
/* clang-format on */

static struct span *part_of(struct sigv4_auth *auth, const struct part_row *row)
{
    return (struct span *)(void *)((char *)auth + row->offset);
}

static bool is_separator(uint8_t c)
{
    return c == ',' || c == ' ' || c == '\t';
}

/* Takes the next run of bytes without blanks and commas; false when there is none. */
static bool next_part(struct span *rest, struct span *ret)
{
    size_t start = 0;

    while (start < rest->len && is_separator(rest->ptr[start]))
        start++;
    size_t end = start;
    while (end < rest->len && !is_separator(rest->ptr[end]))
        end++;
    *ret = span_of(rest->ptr + start, end - start);
    *rest = span_of(rest->ptr + end, rest->len - end);
    return ret->len > 0;
}

/* The header without its signature, which an error text must not repeat. */
static void echo_header(struct buf *ret, const char *value)
{
    const struct span mark = SPAN_LITERAL("Signature=");
    const char *const found = strstr(value, (const char *)mark.ptr);

    if (found == NULL) {
        sigv4_echo(ret, span_text(value), HEADER_ECHO_MAX);
        return;
    }
    const size_t before = (size_t)(found - value) + mark.len;
    sigv4_echo(ret, span_of(value, before), HEADER_ECHO_MAX);
    buf_text(ret, "***");
}

static int fail_with(struct buf *text, enum kms_err code, struct kms_error *err)
{
    if (buf_check(text, err) < 0)
        return -1;
    return kms_fail(err, code, "%.*s", (int)text->len, (const char *)text->ptr);
}

static int fail_no_equal_sign(struct span part, const char *value, struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    buf_text(&text, "'");
    sigv4_echo(&text, part, PART_ECHO_MAX);
    buf_text(&text, "' not a valid key=value pair (missing equal-sign) in Authorization header: '");
    echo_header(&text, value);
    buf_text(&text, "'.");
    return fail_with(&text, KMS_ERR_INCOMPLETE_SIGNATURE, err);
}

static int fail_algorithm(struct span algorithm, struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    buf_text(&text, "Unsupported AWS 'algorithm': '");
    sigv4_echo(&text, algorithm, PART_ECHO_MAX);
    buf_text(&text, "'.");
    return fail_with(&text, KMS_ERR_INCOMPLETE_SIGNATURE, err);
}

/* Keeps one part; one that no row names is ignored. */
static int keep_part(struct span part, const char *value, struct sigv4_auth *auth,
                     struct kms_error *err)
{
    struct span rest = part, name = { 0 };

    (void)sigv4_split(&rest, '=', &name); /* a part is never empty */
    if (rest.ptr == NULL)
        return fail_no_equal_sign(part, value, err);

    for (size_t i = 0; i < ARRAY_LEN(part_rows); i++) {
        struct span *const kept = part_of(auth, &part_rows[i]);
        if (!span_equal(name, span_text(part_rows[i].name)))
            continue;
        if (kept->ptr)
            return kms_fail(err, KMS_ERR_INCOMPLETE_SIGNATURE,
                            "Authorization header must have one '%s' parameter.",
                            part_rows[i].name);
        *kept = rest;
    }
    return 0;
}

/* One error lists all that is missing. */
static int check_complete(struct sigv4_auth *auth, bool dated, struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(part_rows); i++) {
        if (part_of(auth, &part_rows[i])->ptr == NULL)
            buf_printf(&text, "Authorization header requires '%s' parameter. ", part_rows[i].name);
    }
    if (!dated)
        buf_text(&text, "Authorization header requires existence of either a 'X-Amz-Date' or a "
                        "'Date' header. ");
    if (text.len == 0 && !text.failed)
        return 0;
    buf_text(&text, "Authorization=" SIGV4_ALGORITHM);
    return fail_with(&text, KMS_ERR_INCOMPLETE_SIGNATURE, err);
}

int sigv4_parse_authorization(const char *value, bool dated, struct sigv4_auth *ret,
                              struct kms_error *err)
{
    struct span rest = span_text(value), algorithm = { 0 }, part;
    struct sigv4_auth auth = { 0 };

    (void)sigv4_split(&rest, ' ', &algorithm);
    if (!span_equal(algorithm, SPAN_LITERAL(SIGV4_ALGORITHM)))
        return fail_algorithm(algorithm, err);

    while (rest.ptr && next_part(&rest, &part))
        if (keep_part(part, value, &auth, err) < 0)
            return -1;
    if (check_complete(&auth, dated, err) < 0)
        return -1;
    *ret = auth;
    return 0;
}

/* Credential and SignedHeaders */

int sigv4_parse_credential(struct span credential, struct sigv4_scope *ret, struct kms_error *err)
{
    struct span rest = credential, parts[5];
    size_t count = 0;

    while (count < ARRAY_LEN(parts) && sigv4_split(&rest, '/', &parts[count]))
        count++;
    if (count < ARRAY_LEN(parts) || rest.ptr) {
        AUTO(buf) text = { 0 };
        buf_text(&text, "Credential must have exactly 5 slash-delimited elements, e.g. "
                        "keyid/date/region/service/term, got '");
        sigv4_echo(&text, credential, HEADER_ECHO_MAX);
        buf_text(&text, "'");
        return fail_with(&text, KMS_ERR_INCOMPLETE_SIGNATURE, err);
    }
    *ret = (struct sigv4_scope){ parts[0], parts[1], parts[2], parts[3], parts[4] };
    return 0;
}

/* RFC 9110 section 5.6.2, without upper-case letters. */
static bool is_lower_token(struct span name)
{
    static const char marks[] = "!#$%&'*+.^_`|~";

    for (size_t i = 0; i < name.len; i++) {
        const uint8_t c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
              (c != '\0' && strchr(marks, c))))
            return false;
    }
    return name.len > 0;
}

int sigv4_check_signed_headers(struct span list, struct kms_error *err)
{
    struct span rest = list, name, before = { 0 };
    size_t count = 0;

    if (list.len == 0)
        return 0;
    while (sigv4_split(&rest, ';', &name)) {
        if (++count > SIGV4_HEADERS_MAX || !is_lower_token(name) ||
            (before.ptr && span_compare(before, name) >= 0))
            return kms_fail(err, KMS_ERR_INCOMPLETE_SIGNATURE,
                            "'SignedHeaders' must be at most %d different header names in lower "
                            "case, sorted, with semicolons between them.",
                            SIGV4_HEADERS_MAX);
        before = name;
    }
    return 0;
}

bool sigv4_is_signed(struct span list, const char *name)
{
    struct span rest = list, each;

    while (sigv4_split(&rest, ';', &each))
        if (span_equal(each, span_text(name)))
            return true;
    return false;
}
