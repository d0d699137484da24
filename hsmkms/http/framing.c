#include "hsmkms/http/framing.h"

#include <string.h>
#include <strings.h>

/* One header, one meaning: a second one of these is refused. A name ending in '*' is a prefix. */
static const char *const singletons[] = {
    "host",          "content-length", "transfer-encoding", "content-type", "content-encoding",
    "authorization", "x-amz-*",        "expect",
};

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    if (*text == '\0')
        return false;
    for (; *text; text++) {
        const char c = *text;
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              strchr(others, c)))
            return false;
    }
    return true;
}

/* RFC 9110 section 5.5: visible characters, blanks and bytes from 0x80. */
static bool is_field_value(const char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_visible(const char *text)
{
    for (; *text; text++)
        if (*text <= 0x20 || *text >= 0x7f || *text == '#')
            return false;
    return true;
}

static bool is_singleton(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(singletons); i++) {
        const size_t len = strlen(singletons[i]);
        if ((name[0] | 0x20) != singletons[i][0])
            continue; /* most names are not even similar */
        if (singletons[i][len - 1] == '*' ? strncasecmp(name, singletons[i], len - 1) == 0
                                          : strcasecmp(name, singletons[i]) == 0)
            return true;
    }
    return false;
}

bool framing_is_gapless(const struct framing_block *block)
{
    static const size_t blank = 1, crlf = 2;
    const uint8_t *const target = block->method.ptr + block->method.len + blank;
    const uint8_t *expected = block->version.ptr + block->version.len + crlf;

    if (block->version.ptr != target + block->target_len + blank)
        return false;
    for (size_t i = 0; i < block->count; i++) {
        const struct framing_line *const line = &block->lines[i];
        if (line->name.ptr != expected || line->value.ptr <= line->name.ptr + line->name.len)
            return false;
        expected = line->value.ptr + line->value.len + crlf;
    }
    return expected + crlf == block->end;
}

const char *framing_header(const struct http_header *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(headers[i].name, name) == 0)
            return headers[i].value;
    return NULL;
}

const char *framing_path(const char *target)
{
    static const char *const schemes[] = { "http://", "https://" };

    if (target[0] == '/')
        return target;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        const size_t len = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], len) != 0)
            continue;
        const char *const authority = target + len;
        const char *const path = authority + strcspn(authority, "/?");
        if (path == authority || *path == '?')
            return NULL; /* no host; or a query without a path, which nobody sends */
        return *path ? path : "/";
    }
    return NULL;
}

static int check_request_line(const struct framing_head *head, struct kms_error *err)
{
    if (strcmp(head->version, "HTTP/1.1") != 0 && strcmp(head->version, "HTTP/1.0") != 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "The HTTP version is not supported");
    if (!is_token(head->method))
        return kms_fail(err, KMS_ERR_VALIDATION, "The request method is malformed");
    if (!is_visible(head->target) || framing_path(head->target) == NULL)
        return kms_fail(err, KMS_ERR_VALIDATION, "The request target is malformed");
    return 0;
}

static int check_header(const struct framing_head *head, size_t at, struct kms_error *err)
{
    const struct http_header *const header = &head->headers[at];

    if (!is_token(header->name))
        return kms_fail(err, KMS_ERR_VALIDATION, "A header name is malformed");
    if (!is_field_value(header->value))
        return kms_fail(err, KMS_ERR_VALIDATION, "A header value holds control characters");
    if (is_singleton(header->name) && framing_header(head->headers, at, header->name))
        return kms_fail(err, KMS_ERR_VALIDATION, "A header occurs twice that may occur once");
    return 0;
}

static int check_headers(const struct framing_head *head, const struct framing_limits *limits,
                         struct kms_error *err)
{
    size_t bytes = strlen(head->target);

    if (head->count > limits->headers)
        return kms_fail(err, KMS_ERR_VALIDATION, "The request has more than %zu headers",
                        limits->headers);
    for (size_t i = 0; i < head->count; i++) {
        bytes += strlen(head->headers[i].name) + strlen(head->headers[i].value);
        if (check_header(head, i, err) < 0)
            return -1;
    }
    if (bytes > limits->header_bytes)
        return kms_fail(err, KMS_ERR_VALIDATION, "The headers are longer than %zu bytes",
                        limits->header_bytes);
    if (strcmp(head->version, "HTTP/1.1") == 0 &&
        framing_header(head->headers, head->count, "host") == NULL)
        return kms_fail(err, KMS_ERR_VALIDATION, "The Host header is missing");
    return 0;
}

/* RFC 9110 section 8.6: digits only. 18 of them are more than any body. */
static int parse_length(const char *text, uint64_t *ret, struct kms_error *err)
{
    uint64_t length = 0;
    size_t digits = 0;

    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 18; digits++)
        length = length * 10 + (uint64_t)(text[digits] - '0');
    if (digits == 0 || text[digits] != '\0')
        return kms_fail(err, KMS_ERR_VALIDATION, "The Content-Length is malformed");
    *ret = length;
    return 0;
}

int framing_check(const struct framing_head *head, const struct framing_limits *limits,
                  struct framing *ret, struct kms_error *err)
{
    struct framing made = { 0 };

    if (check_request_line(head, err) < 0 || check_headers(head, limits, err) < 0)
        return -1;

    const char *const length = framing_header(head->headers, head->count, "content-length");
    const char *const coding = framing_header(head->headers, head->count, "transfer-encoding");
    const char *const expect = framing_header(head->headers, head->count, "expect");
    if (coding && (length || strcmp(head->version, "HTTP/1.1") != 0))
        return kms_fail(err, KMS_ERR_VALIDATION, "The request is framed in two ways");
    if (coding && strcasecmp(coding, "chunked") != 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "The Transfer-Encoding is not supported");
    if (length && parse_length(length, &made.length, err) < 0)
        return -1;
    made.chunked = coding != NULL;
    made.expects_continue = expect && strcasecmp(expect, "100-continue") == 0;
    *ret = made;
    return 0;
}

int framing_content_check(const struct framing_head *head, struct kms_error *err)
{
    const char *const coding = framing_header(head->headers, head->count, "content-encoding");

    if (coding && strcasecmp(coding, "identity") != 0)
        return kms_fail(err, KMS_ERR_SERIALIZATION, "Content-Encoding is not supported");
    return 0;
}
