/* What a request may look like: hsmkms/http/framing.c. */

#include <string.h>

#include "hsmkms/http/framing.h"
#include "tests/support/check.h"

#define HEADERS_MOST 6

static const struct framing_limits limits = { 4, 256 };

struct row {
    const char *what;
    const char *method, *target, *version;
    struct http_header headers[HEADERS_MOST];
    enum kms_err code;
    struct framing want;
};

/* clang-format off */
static const struct row rows[] = {
    { "plain",               "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "2" } }, KMS_ERR_NONE, { .length = 2 } },
    { "no body",             "GET",  "/a?b=c%20","HTTP/1.1", { { "Host", "h" } }, KMS_ERR_NONE, { 0 } },
    { "chunked",             "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Transfer-Encoding", "Chunked" } }, KMS_ERR_NONE, { .chunked = true } },
    { "continue",            "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "0" }, { "Expect", "100-Continue" } }, KMS_ERR_NONE, { .expects_continue = true } },
    { "absolute form",       "POST", "http://h:1/x", "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_NONE, { 0 } },
    { "1.0 without host",    "POST", "/",        "HTTP/1.0", { { "Content-Length", "2" } }, KMS_ERR_NONE, { .length = 2 } },
    { "other header twice",  "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Accept", "a" }, { "Accept", "b" } }, KMS_ERR_NONE, { 0 } },
    { "bytes from 0x80",     "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "User-Agent", "\xc3\xa9" } }, KMS_ERR_NONE, { 0 } },
    { "empty value",         "POST", "/",        "HTTP/1.1", { { "Host", "" } }, KMS_ERR_NONE, { 0 } },
    { "18 digits",           "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "999999999999999999" } }, KMS_ERR_NONE, { .length = 999999999999999999 } },

    { "version 2",           "POST", "/",        "HTTP/2.0", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "version none",        "POST", "/",        "",         { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "method no token",     "PO ST","/",        "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "method empty",        "",     "/",        "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target empty",        "POST", "",         "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target asterisk",     "POST", "*",        "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target relative",     "POST", "a/b",      "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target with blank",   "POST", "/a b",     "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target with fragment","POST", "/a#b",     "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target not ASCII",    "POST", "/\xc3\xa9","HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target other scheme", "POST", "ftp://h/", "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "target no authority", "POST", "http:///", "HTTP/1.1", { { "Host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "no host",             "POST", "/",        "HTTP/1.1", { { "Accept", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "two hosts",           "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "host", "h" } }, KMS_ERR_VALIDATION, { 0 } },
    { "two lengths, equal",  "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "2" }, { "Content-Length", "2" } }, KMS_ERR_VALIDATION, { 0 } },
    { "length list",         "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "2, 2" } }, KMS_ERR_VALIDATION, { 0 } },
    { "length empty",        "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "" } }, KMS_ERR_VALIDATION, { 0 } },
    { "length signed",       "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "+2" } }, KMS_ERR_VALIDATION, { 0 } },
    { "length negative",     "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "-2" } }, KMS_ERR_VALIDATION, { 0 } },
    { "length hex",          "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "0x2" } }, KMS_ERR_VALIDATION, { 0 } },
    { "length 19 digits",    "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "1000000000000000000" } }, KMS_ERR_VALIDATION, { 0 } },
    { "length and chunked",  "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Length", "2" }, { "Transfer-Encoding", "chunked" } }, KMS_ERR_VALIDATION, { 0 } },
    { "chunked twice",       "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Transfer-Encoding", "chunked" }, { "Transfer-Encoding", "chunked" } }, KMS_ERR_VALIDATION, { 0 } },
    { "gzip, chunked",       "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Transfer-Encoding", "gzip, chunked" } }, KMS_ERR_VALIDATION, { 0 } },
    { "identity",            "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Transfer-Encoding", "identity" } }, KMS_ERR_VALIDATION, { 0 } },
    { "xchunked",            "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Transfer-Encoding", "xchunked" } }, KMS_ERR_VALIDATION, { 0 } },
    { "chunked in 1.0",      "POST", "/",        "HTTP/1.0", { { "Host", "h" }, { "Transfer-Encoding", "chunked" } }, KMS_ERR_VALIDATION, { 0 } },
    { "authorization twice", "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Authorization", "a" }, { "authorization", "b" } }, KMS_ERR_VALIDATION, { 0 } },
    { "x-amz-any twice",     "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "X-Amz-Any", "a" }, { "x-amz-any", "b" } }, KMS_ERR_VALIDATION, { 0 } },
    { "type twice",          "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Content-Type", "a" }, { "Content-Type", "a" } }, KMS_ERR_VALIDATION, { 0 } },
    { "name with blank",     "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Accept ", "a" } }, KMS_ERR_VALIDATION, { 0 } },
    { "name empty",          "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "", "a" } }, KMS_ERR_VALIDATION, { 0 } },
    { "name not ASCII",      "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "\xc3\xa9", "a" } }, KMS_ERR_VALIDATION, { 0 } },
    { "carriage return",     "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Accept", "a\rb" } }, KMS_ERR_VALIDATION, { 0 } },
    { "delete character",    "POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "Accept", "a\x7f" } }, KMS_ERR_VALIDATION, { 0 } },
    { "five headers of four","POST", "/",        "HTTP/1.1", { { "Host", "h" }, { "A", "" }, { "B", "" }, { "C", "" }, { "D", "" } }, KMS_ERR_VALIDATION, { 0 } },
};
/* clang-format on */

static struct framing_head head_of(const struct row *row)
{
    struct framing_head head = { row->method, row->target, row->version, row->headers, 0 };

    while (head.count < HEADERS_MOST && row->headers[head.count].name)
        head.count++;
    return head;
}

static void test_framing_check_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct framing_head head = head_of(&rows[i]);
        struct framing got = { 0 };
        struct kms_error err = { 0 };

        const int result = framing_check(&head, &limits, &got, &err);
        if (err.code != rows[i].code || (result == 0) != (rows[i].code == KMS_ERR_NONE))
            fail_msg("%s: %s", rows[i].what, err.message);
        if (got.chunked != rows[i].want.chunked || got.length != rows[i].want.length ||
            got.expects_continue != rows[i].want.expects_continue)
            fail_msg("%s: framed otherwise", rows[i].what);
    }
}

static void test_framing_check_header_bytes_edge(void **state)
{
    char value[256] = { 0 };
    const struct http_header headers[] = { { "Host", value } };
    const struct framing_head head = { "GET", "/", "HTTP/1.1", headers, 1 };
    struct framing got = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    memset(value, 'a', limits.header_bytes - strlen("/Host"));
    CHECK_OK(framing_check(&head, &limits, &got, &err), err);
    value[limits.header_bytes - strlen("/Host")] = 'a';
    CHECK_FAILS(framing_check(&head, &limits, &got, &err), err, KMS_ERR_VALIDATION);
}

static void test_framing_content_check(void **state)
{
    const struct {
        const char *coding;
        enum kms_err code;
    } codings[] = { { "identity", KMS_ERR_NONE },
                    { "Identity", KMS_ERR_NONE },
                    { "gzip", KMS_ERR_SERIALIZATION },
                    { "", KMS_ERR_SERIALIZATION },
                    { "identity, gzip", KMS_ERR_SERIALIZATION } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        const struct http_header headers[] = { { "content-encoding", codings[i].coding } };
        const struct framing_head head = { "POST", "/", "HTTP/1.1", headers, 1 };
        struct kms_error err = { 0 };
        assert_int_equal(framing_content_check(&head, &err), codings[i].code ? -1 : 0);
        assert_int_equal(err.code, codings[i].code);
    }
}

static void test_framing_path_rows(void **state)
{
    static const char *const paths[][2] = {
        { "/", "/" },
        { "/a?b", "/a?b" },
        { "//a", "//a" },
        { "http://h", "/" },
        { "HTTPS://h:1/x?y", "/x?y" },
        { "http://h?y", NULL },
        { "http://", NULL },
        { "http:/h", NULL },
        { "", NULL },
        { "*", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const char *const got = framing_path(paths[i][0]);
        if ((got == NULL) != (paths[i][1] == NULL) || (got && strcmp(got, paths[i][1]) != 0))
            fail_msg("%s gives %s", paths[i][0], got ? got : "nothing");
    }
}

/* A received head the way the library leaves it: NUL where separators were. */
static bool gapless(const char *block, size_t len, size_t target_len, size_t version_at,
                    const size_t *names, const size_t *values, size_t count)
{
    struct framing_line lines[4];

    for (size_t i = 0; i < count; i++)
        lines[i] =
            (struct framing_line){ span_text(block + names[i]), span_text(block + values[i]) };
    return framing_is_gapless(&(struct framing_block){ span_text(block), target_len,
                                                       span_text(block + version_at), lines, count,
                                                       (const uint8_t *)block + len });
}

/* Offsets: "GET" 0, target 4, version 6, "Host" 16, its value 22, "A" 25, its empty value 27. */
#define LINE "GET\0/\0HTTP/1.1\0\0Host\0 h"

static void test_framing_is_gapless(void **state)
{
    static const char plain[] = LINE "\0\0A\0\0\0\0\0"; /* one byte of the next request */
    static const char bare_lf[] = LINE "\0A\0\0\0\0\0";
    static const char nul[] = LINE "\0i\0\0A\0\0\0\0\0";
    static const char folded[] = LINE "\0\0 g\0\0\0";
    static const char in_target[] = "GET\0/\0x\0HTTP/1.1\0\0A\0\0\0\0";

    (void)state;
    CHECK(gapless(plain, 31, 1, 6, (size_t[]){ 16, 25 }, (size_t[]){ 22, 27 }, 2));
    CHECK(!gapless(plain, 30, 1, 6, (size_t[]){ 16, 25 }, (size_t[]){ 22, 27 }, 2));
    CHECK(!gapless(plain, 32, 1, 6, (size_t[]){ 16, 25 }, (size_t[]){ 22, 27 }, 2));
    CHECK(!gapless(plain, 31, 1, 6, (size_t[]){ 16 }, (size_t[]){ 22 }, 1));
    CHECK(!gapless(plain, 31, 2, 6, (size_t[]){ 16, 25 }, (size_t[]){ 22, 27 }, 2));
    CHECK(!gapless(bare_lf, 30, 1, 6, (size_t[]){ 16, 24 }, (size_t[]){ 22, 26 }, 2));
    CHECK(!gapless(nul, 33, 1, 6, (size_t[]){ 16, 27 }, (size_t[]){ 22, 29 }, 2));
    CHECK(!gapless(folded, 30, 1, 6, (size_t[]){ 16 }, (size_t[]){ 22 }, 1));
    CHECK(!gapless(in_target, 24, 1, 8, (size_t[]){ 18 }, (size_t[]){ 20 }, 1));
    CHECK(gapless(in_target, 24, 3, 8, (size_t[]){ 18 }, (size_t[]){ 20 }, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing_check_rows),
        cmocka_unit_test(test_framing_check_header_bytes_edge),
        cmocka_unit_test(test_framing_content_check),
        cmocka_unit_test(test_framing_path_rows),
        cmocka_unit_test(test_framing_is_gapless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
