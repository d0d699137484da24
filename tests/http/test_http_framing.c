/* Bytes on a socket: what is served, what is refused, and whether the connection lives on. */

#include <stdlib.h>

#include "hsmkms/base/buf.h"
#include "tests/http/rig.h"

/* A connection goes on to serve after the row's requests, or is closed by the server. */
enum after { ALIVE, CLOSED };

struct row {
    const char *what;
    struct span bytes;
    int statuses[3]; /* of the responses, in order; 0 ends them */
    enum after after;
};

#define BYTES(text)                                                                                \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }
#define POST "POST / HTTP/1.1\r\nHost: h\r\n"

/* clang-format off */
static const struct row rows[] = {
    /* what must work */
    { "plain",                   BYTES(POST "Content-Length: 2\r\n\r\nab"), { 200 }, ALIVE },
    { "get without body",        BYTES("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), { 200 }, ALIVE },
    { "length zero",             BYTES(POST "Content-Length: 0\r\n\r\n"), { 200 }, ALIVE },
    { "chunked",                 BYTES(POST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\n\r\n"), { 200 }, ALIVE },
    { "chunked with trailer",    BYTES(POST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: 1\r\n\r\n"), { 200 }, ALIVE },
    { "pipelined",               BYTES(POST "Content-Length: 1\r\n\r\na" POST "Content-Length: 1\r\n\r\nb" POST "Content-Length: 1\r\n\r\nc"), { 200, 200, 200 }, ALIVE },
    { "absolute form",           BYTES("POST http://other:1/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), { 200 }, ALIVE },
    { "1.0",                     BYTES("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab"), { 200 }, CLOSED },
    { "1.0 keep-alive",          BYTES("POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab"), { 200 }, ALIVE },
    { "client closes",           BYTES(POST "Connection: close\r\nContent-Length: 2\r\n\r\nab"), { 200 }, CLOSED },
    { "continue",                BYTES(POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab"), { 100, 200 }, ALIVE },
    { "identity coding",         BYTES(POST "Content-Encoding: identity\r\nContent-Length: 0\r\n\r\n"), { 200 }, ALIVE },

    /* sound framing, refused: the connection stays */
    { "unknown address",         BYTES("POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"), { 400 }, ALIVE },
    { "gzip coding",             BYTES(POST "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab"), { 400 }, ALIVE },

    /* two readers could disagree about these */
    { "length twice, equal",     BYTES(POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab"), { 400 }, CLOSED },
    { "length twice, unequal",   BYTES(POST "Content-Length: 2\r\nContent-Length: 40\r\n\r\nab"), { 400 }, CLOSED },
    { "length and chunked",      BYTES(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" POST "\r\n"), { 400 }, CLOSED },
    { "chunked and length",      BYTES(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), { 400 }, CLOSED },
    { "xchunked",                BYTES(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), { 400 }, CLOSED },
    { "gzip, chunked",           BYTES(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), { 400 }, CLOSED },
    { "chunked twice",           BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"), { 400 }, CLOSED },
    { "blank before colon",      BYTES(POST "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\nab"), { 400 }, CLOSED },
    { "chunked in 1.0",          BYTES("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), { 400 }, CLOSED },
    { "length negative",         BYTES(POST "Content-Length: -1\r\n\r\n"), { 400 }, CLOSED },
    { "length signed",           BYTES(POST "Content-Length: +2\r\n\r\nab"), { 400 }, CLOSED },
    { "length hex",              BYTES(POST "Content-Length: 0x2\r\n\r\nab"), { 400 }, CLOSED },
    { "length empty",            BYTES(POST "Content-Length:\r\n\r\n"), { 400 }, CLOSED },
    { "length list",             BYTES(POST "Content-Length: 2, 2\r\n\r\nab"), { 400 }, CLOSED },
    { "length 2^64",             BYTES(POST "Content-Length: 18446744073709551616\r\n\r\n"), { 413 }, CLOSED },
    { "length 2^63",             BYTES(POST "Content-Length: 9223372036854775808\r\n\r\n"), { 400 }, CLOSED },
    { "length huge",             BYTES(POST "Content-Length: 999999999999\r\n\r\n"), { 413 }, CLOSED },
    { "huge and continue",       BYTES(POST "Expect: 100-continue\r\nContent-Length: 600000\r\n\r\n"), { 413 }, CLOSED },
    { "chunk size no number",    BYTES(POST "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), { 400 }, CLOSED },
    { "chunk size too long",     BYTES(POST "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\na"), { 413 }, CLOSED },
    { "chunk without its end",   BYTES(POST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"), { 400 }, CLOSED },

    /* header lines that are not what they seem */
    { "folded value",            BYTES(POST "X-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "folded into a name",      BYTES(POST "X-Amz-Targe: 1\r\n t\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "folded with a tab",       BYTES(POST "X-A: 1\r\n\t2\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "folded first line",       BYTES("POST / HTTP/1.1\r\n Host: h\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "NUL in a value",          BYTES(POST "X-A: 1\0" "2\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "NUL in a name",           BYTES(POST "X\0-A: 1\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "NUL in the target",       BYTES("POST /\0 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "bare LF lines",           BYTES("POST / HTTP/1.1\nHost: h\nContent-Length: 0\n\n"), { 400 }, CLOSED },
    { "one bare LF",             BYTES(POST "X-A: 1\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "bare CR",                 BYTES(POST "X-A: 1\rX-B: 2\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "no colon",                BYTES(POST "Hello\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "empty name",              BYTES(POST ": 1\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "name no token",           BYTES(POST "X(A): 1\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "control in a value",      BYTES(POST "X-A: \x01\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "two hosts",               BYTES(POST "Host: g\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "no host",                 BYTES("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "authorization twice",     BYTES(POST "Authorization: a\r\nAuthorization: b\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "x-amz-date twice",        BYTES(POST "X-Amz-Date: a\r\nx-amz-date: a\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },

    /* request lines */
    { "target asterisk",         BYTES("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), { 400 }, CLOSED },
    { "target relative",         BYTES("POST x HTTP/1.1\r\nHost: h\r\n\r\n"), { 400 }, CLOSED },
    { "target with control",     BYTES("POST /\x01 HTTP/1.1\r\nHost: h\r\n\r\n"), { 400 }, CLOSED },
    { "target with blank",       BYTES("POST /a b HTTP/1.1\r\nHost: h\r\n\r\n"), { 0 }, CLOSED },
    { "two blanks",              BYTES("POST  / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "authority form",          BYTES("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n"), { 400 }, CLOSED },
    { "version 2",               BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), { 505 }, CLOSED },
    { "version 1.2",             BYTES("POST / HTTP/1.2\r\nHost: h\r\nContent-Length: 0\r\n\r\n"), { 400 }, CLOSED },
    { "version none",            BYTES("POST /\r\n\r\n"), { 400 }, CLOSED },
    { "not HTTP",                BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), { 0 }, CLOSED },
};
/* clang-format on */

static void check_row(struct rig *rig, const struct row *row)
{
    struct client client = { 0 };
    struct reply reply = { 0 };

    CHECK(client_open(&client, rig->port, NULL));
    CHECK(client_send(&client, row->bytes.ptr, row->bytes.len));
    for (size_t i = 0; i < ARRAY_LEN(row->statuses) && row->statuses[i]; i++)
        if (!client_read(&client, &reply) || reply.status != row->statuses[i])
            fail_msg("%s: response %zu is %d %s", row->what, i, reply.status, reply.body);
    if (row->after == CLOSED && !client_is_closed(&client))
        fail_msg("%s: still open", row->what);
    if (row->after == ALIVE && (!client_post(&client, "/echo", "", "again", &reply) ||
                                reply.status != 200 || strcmp(reply.body, "again") != 0))
        fail_msg("%s: dead after it: %d %s", row->what, reply.status, reply.body);
    client_close(&client);
}

static void test_http_corpus(void **state)
{
    struct rig rig = { 0 };

    (void)state;
    rig_start(&rig, "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_row(&rig, &rows[i]);
    rig_end(&rig);
}

/* Every cut of a good request, in two pieces, gives the same answer. */
static void test_http_in_two_pieces(void **state)
{
    static const char text[] = POST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    struct rig rig = { 0 };
    struct client client = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "");
    CHECK(client_open(&client, rig.port, NULL));
    for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
        CHECK(client_send(&client, text, cut));
        CHECK(client_send(&client, text + cut, sizeof(text) - 1 - cut));
        CHECK(client_read(&client, &reply));
        assert_int_equal(reply.status, 200);
        assert_string_equal(reply.body, "ab");
    }
    client_close(&client);
    rig_end(&rig);
}

static void test_http_answer_headers(void **state)
{
    static const char *const wanted[] = {
        "\r\nContent-Type: application/x-amz-json-1.1\r\n",
        "\r\nCache-Control: no-cache, no-store, must-revalidate, private\r\n",
        "\r\nx-amzn-RequestId: ",
        "\r\nDate: ",
    };
    static const char *const paths[] = { "/echo", "/nowhere" };
    struct rig rig = { .clock = { 0 } };
    struct client client = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "");
    CHECK(client_open(&client, rig.port, NULL));
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        CHECK(client_post(&client, paths[i], "", "x", &reply));
        for (size_t j = 0; j < ARRAY_LEN(wanted); j++)
            if (strstr(reply.head, wanted[j]) == NULL)
                fail_msg("no %s in %s", wanted[j], reply.head);
        CHECK(strstr(reply.head, "Connection: close") == NULL);
    }
    client_close(&client);
    rig_end(&rig);
}

static void test_http_date_follows_the_clock(void **state)
{
    struct rig rig = { .clock = { INT64_C(1700000000000) } };
    struct client client = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "");
    CHECK(client_open(&client, rig.port, NULL));
    CHECK(client_post(&client, "/echo", "", "x", &reply));
    const char *const date = strstr(reply.head, "\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n");
    CHECK(date != NULL);
    CHECK(strstr(date + 2, "\r\nDate:") == NULL);
    client_close(&client);
    rig_end(&rig);
}

static void test_http_request_as_it_arrived(void **state)
{
    struct rig rig = { 0 };
    struct client client = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "");
    CHECK(client_open(&client, rig.port, NULL));
    CHECK(client_send_text(&client, "GET http://x/seen?a=%2F+b&a HTTP/1.1\r\nhOst: H:80\r\n"
                                    "X-A:\t one  two \t\r\nx-b:\r\n\r\n"));
    CHECK(client_read(&client, &reply));
    assert_string_equal(reply.body, "GET|/seen?a=%2F+b&a|127.0.0.1||\n"
                                    "hOst=[H:80]\nX-A=[one  two]\nx-b=[]\n");
    client_close(&client);
    rig_end(&rig);
}

static void send_big(struct client *client, const char *head, size_t len)
{
    char *const bytes = malloc(len);

    assert_non_null(bytes);
    memset(bytes, 'a', len);
    CHECK(client_send_text(client, head));
    (void)client_send(client, bytes, len); /* the server may have closed meanwhile */
    free(bytes);
}

/* limits.body = 8192 */
static void test_http_body_limit(void **state)
{
    struct rig rig = { 0 };
    struct client client = { 0 };
    struct reply reply = { 0 };

    (void)state;
    rig_start(&rig, "[limits]\nbody = 8192\n");
    CHECK(client_open(&client, rig.port, NULL));
    send_big(&client, POST "Content-Length: 8192\r\n\r\n", 8192);
    CHECK(client_read(&client, &reply));
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body_len, 8192);

    /* one more: refused after it was read, connection kept */
    send_big(&client, POST "Content-Length: 8193\r\n\r\n", 8193);
    CHECK(client_read(&client, &reply));
    assert_int_equal(reply.status, 413);
    CHECK(strstr(reply.body, "RequestEntityTooLargeException"));
    send_big(&client, POST "Transfer-Encoding: chunked\r\n\r\n2001\r\n", 8193);
    CHECK(client_send_text(&client, "\r\n0\r\n\r\n"));
    CHECK(client_read(&client, &reply));
    assert_int_equal(reply.status, 413);
    CHECK(client_post(&client, "/echo", "", "x", &reply));
    assert_int_equal(reply.status, 200);

    /* far too large: closed */
    send_big(&client, POST "Transfer-Encoding: chunked\r\n\r\n200000\r\n", 2097152);
    CHECK(client_is_closed(&client));
    client_close(&client);
    rig_end(&rig);
}

static void test_http_header_limits(void **state)
{
    struct rig rig = { 0 };
    struct client client = { 0 };
    struct reply reply = { 0 };
    AUTO(buf) many = { 0 };

    (void)state;
    rig_start(&rig, "[limits]\nheaders = 64\nheader = 49152\n");
    CHECK(client_open(&client, rig.port, NULL)); /* a large token passes */
    send_big(&client, POST "Content-Length: 0\r\nX-A: ", 40000);
    CHECK(client_send_text(&client, "\r\n\r\n"));
    CHECK(client_read(&client, &reply));
    assert_int_equal(reply.status, 200);
    client_close(&client);

    CHECK(client_open(&client, rig.port, NULL)); /* over our limit */
    send_big(&client, POST "Content-Length: 0\r\nX-A: ", 50000);
    CHECK(client_send_text(&client, "\r\n\r\n"));
    CHECK(client_read(&client, &reply));
    assert_int_equal(reply.status, 400);
    CHECK(client_is_closed(&client));
    client_close(&client);

    CHECK(client_open(&client, rig.port, NULL)); /* over the connection's memory */
    send_big(&client, POST "Content-Length: 0\r\nX-A: ", 200000);
    CHECK(client_is_closed(&client));
    client_close(&client);

    for (size_t i = 0; i < 63; i++)
        buf_printf(&many, "X-%zu: a\r\n", i);
    CHECK(client_open(&client, rig.port, NULL));
    buf_u8(&many, 0);
    CHECK(client_post(&client, "/echo", "", "", &reply));
    assert_int_equal(reply.status, 200);
    CHECK(client_post(&client, "/echo", (const char *)many.ptr, "", &reply)); /* 65 lines */
    assert_int_equal(reply.status, 400);
    client_close(&client);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_corpus),
        cmocka_unit_test(test_http_in_two_pieces),
        cmocka_unit_test(test_http_answer_headers),
        cmocka_unit_test(test_http_date_follows_the_clock),
        cmocka_unit_test(test_http_request_as_it_arrived),
        cmocka_unit_test(test_http_body_limit),
        cmocka_unit_test(test_http_header_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
