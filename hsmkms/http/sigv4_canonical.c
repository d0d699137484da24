#include "hsmkms/http/sigv4_parts.h"

#include <stdlib.h>

/* Percent-encoding */

/*
 * Bytes in the encoding of the canonical request, one at a time: everything outside the unreserved
 * characters of RFC 3986 as %XX in upper case.
 */
struct encoder {
    struct span rest;
    bool decodes; /* the bytes are percent-encoded already (queries; a path is encoded twice) */
    bool keeps_slash;
    uint8_t pending[2];
    unsigned pending_count;
};

static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return -1;
}

/* Whether bytes start with a whole %XX. */
static bool escape_parse(struct span bytes, uint8_t *ret)
{
    if (bytes.len < 3 || bytes.ptr[0] != '%')
        return false;
    const int high = hex_value(bytes.ptr[1]), low = hex_value(bytes.ptr[2]);
    if (high < 0 || low < 0)
        return false;
    *ret = (uint8_t)(high << 4 | low);
    return true;
}

static bool is_unreserved(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* The next byte of the encoded text, -1 at its end. */
static int encoder_next(struct encoder *encoder)
{
    static const char digits[] = "0123456789ABCDEF";
    struct span skipped;
    uint8_t byte;

    if (encoder->pending_count)
        return encoder->pending[--encoder->pending_count];
    if (encoder->rest.len == 0)
        return -1;

    const bool escape = encoder->decodes && escape_parse(encoder->rest, &byte);
    if (!escape)
        byte = encoder->rest.ptr[0];
    (void)span_take(&encoder->rest, escape ? 3 : 1, &skipped);

    if (is_unreserved(byte) || (byte == '/' && encoder->keeps_slash))
        return byte;
    encoder->pending[1] = (uint8_t)digits[byte >> 4];
    encoder->pending[0] = (uint8_t)digits[byte & 15];
    encoder->pending_count = 2;
    return '%';
}

/* Writing */

/* Gathers single bytes for a sink that wants fewer, larger pieces. */
struct writer {
    const struct sigv4_sink *sink;
    size_t len;
    uint8_t room[512];
};

static void writer_flush(struct writer *writer)
{
    if (writer->len)
        writer->sink->write(writer->sink->arg, span_of(writer->room, writer->len));
    writer->len = 0;
}

static void put(struct writer *writer, uint8_t byte)
{
    if (writer->len == sizeof(writer->room))
        writer_flush(writer);
    writer->room[writer->len++] = byte;
}

static void put_span(struct writer *writer, struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        put(writer, bytes.ptr[i]);
}

static void put_line(struct writer *writer, struct span bytes)
{
    put_span(writer, bytes);
    put(writer, '\n');
}

static void put_encoded(struct writer *writer, struct encoder encoder)
{
    int byte;

    while ((byte = encoder_next(&encoder)) >= 0)
        put(writer, (uint8_t)byte);
}

/* Path */

/*
 * Resolves "." and "..", and collapses runs of "/" (RFC 3986 section 5.2.4).
 *
 * room     path.len + 1 bytes
 * Returns false when the path climbs above the root.
 */
static bool normalize(struct span path, uint8_t *room, size_t *ret_len)
{
    struct span segment;
    size_t len = 0;
    bool directory = true; /* the last segment named no file */

    while (sigv4_split(&path, '/', &segment)) {
        directory = true;
        if (segment.len == 0 || span_equal(segment, SPAN_LITERAL(".")))
            continue;
        if (span_equal(segment, SPAN_LITERAL(".."))) {
            if (len == 0)
                return false;
            while (room[--len] != '/')
                ;
            continue;
        }
        directory = false;
        room[len++] = '/';
        memcpy(room + len, segment.ptr, segment.len);
        len += segment.len;
    }
    if (directory)
        room[len++] = '/';
    *ret_len = len;
    return true;
}

static void put_path(struct writer *writer, const struct sigv4_policy *policy, struct span path)
{
    uint8_t room[SIGV4_TARGET_MAX + 1];
    size_t len = 0;

    if (policy->normalize_path && normalize(path, room, &len))
        path = span_of(room, len);
    put_encoded(writer, (struct encoder){ .rest = path, .keeps_slash = true });
    put(writer, '\n');
}

/* Query */

struct param {
    struct span name, value;
};

static struct encoder param_encoder(struct span bytes)
{
    return (struct encoder){ .rest = bytes, .decodes = true };
}

/* Order of the encoded texts, bytewise. */
static int compare_encoded(struct span a, struct span b)
{
    struct encoder left = param_encoder(a), right = param_encoder(b);
    int x, y;

    do {
        x = encoder_next(&left);
        y = encoder_next(&right);
    } while (x == y && x >= 0);
    return x - y;
}

/* By name, then by value: sorting "name=value" would put "a-b=" before "a=". */
static int compare_params(const void *a, const void *b)
{
    const struct param *const left = a, *const right = b;
    const int order = compare_encoded(left->name, right->name);

    return order ? order : compare_encoded(left->value, right->value);
}

/* Splits a query; returns the number of its parameters, also when that is more than fits. */
static size_t split_query(struct span query, struct param *ret, size_t most)
{
    struct span piece;
    size_t count = 0;

    while (sigv4_split(&query, '&', &piece)) {
        if (piece.len == 0)
            continue;
        if (count < most) {
            struct param *const param = &ret[count];
            *param = (struct param){ .value = piece };
            (void)sigv4_split(&param->value, '=', &param->name);
        }
        count++;
    }
    return count;
}

static void put_query(struct writer *writer, struct span query)
{
    struct param params[SIGV4_PARAMS_MAX];
    const size_t count = split_query(query, params, ARRAY_LEN(params));

    qsort(params, count, sizeof(params[0]), compare_params);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put(writer, '&');
        put_encoded(writer, param_encoder(params[i].name));
        put(writer, '=');
        put_encoded(writer, param_encoder(params[i].value));
    }
    put(writer, '\n');
}

/* Target */

static void split_target(const char *target, struct span *ret_path, struct span *ret_query)
{
    struct span rest = span_text(target);

    (void)sigv4_split(&rest, '?', ret_path);
    *ret_query = rest; /* NULL without "?", which splits into nothing */
}

static bool escapes_are_whole(struct span text)
{
    struct span skipped;
    uint8_t unused;

    while (text.len) {
        const bool escape = text.ptr[0] == '%';
        if (escape && !escape_parse(text, &unused))
            return false;
        (void)span_take(&text, escape ? 3 : 1, &skipped);
    }
    return true;
}

int sigv4_check_target(const struct sigv4_policy *policy, const char *target, struct kms_error *err)
{
    uint8_t room[SIGV4_TARGET_MAX + 1];
    struct span path, query;
    size_t unused;

    if (target[0] != '/' || strlen(target) > SIGV4_TARGET_MAX ||
        !escapes_are_whole(span_text(target)))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s", "");
    split_target(target, &path, &query);
    if ((policy->normalize_path && !normalize(path, room, &unused)) ||
        split_query(query, NULL, 0) > SIGV4_PARAMS_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION, "%s", "");
    return 0;
}

/* Headers */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Without blanks at the ends, and runs of them as one space, also inside quotes. */
static void put_value(struct writer *writer, const char *value)
{
    bool blank = false, begun = false;

    for (; *value; value++) {
        if (is_blank(*value)) {
            blank = true;
            continue;
        }
        if (blank && begun)
            put(writer, ' ');
        put(writer, (uint8_t)*value);
        blank = false;
        begun = true;
    }
}

/* Values of a repeated header in order of arrival; a header that did not arrive is empty. */
static void put_header(struct writer *writer, const struct http_request *request, struct span name)
{
    bool more = false;

    put_span(writer, name);
    put(writer, ':');
    for (size_t i = 0; i < request->header_count; i++) {
        if (!sigv4_name_equal(name, request->headers[i].name))
            continue;
        if (more)
            put(writer, ',');
        put_value(writer, request->headers[i].value);
        more = true;
    }
    put(writer, '\n');
}

void sigv4_canonical_write(const struct sigv4_policy *policy, const struct http_request *request,
                           struct span signed_headers, const char *payload_hex,
                           const struct sigv4_sink *sink)
{
    struct writer writer = { .sink = sink };
    struct span path, query, rest = signed_headers, name;

    split_target(request->target, &path, &query);
    put_line(&writer, span_text(request->method));
    put_path(&writer, policy, path);
    put_query(&writer, query);
    while (sigv4_split(&rest, ';', &name))
        put_header(&writer, request, name);
    put(&writer, '\n');
    put_line(&writer, signed_headers);
    put_span(&writer, span_text(payload_hex));
    writer_flush(&writer);
}
