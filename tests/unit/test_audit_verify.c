#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsmkms/audit/chain.h"
#include "tests/support/check.h"
#include "tests/support/trail.h"

#define PER_SEGMENT 3
#define SEGMENTS    3
#define RECORDS     (PER_SEGMENT * SEGMENTS)

/* A segment is due once it holds three of the small lines, about 120 bytes each. */
#define SEGMENT_BYTES 300

static int make_trail(void **state)
{
    static struct trail trail;

    trail_init(&trail, SEGMENT_BYTES);
    trail_open(&trail);
    trail_write(&trail, RECORDS);
    trail_close(&trail);
    *state = &trail;
    return 0;
}

static int remove_trail(void **state)
{
    trail_done(*state);
    return 0;
}

static uint64_t first_of(unsigned segment)
{
    return 1 + (uint64_t)segment * PER_SEGMENT;
}

static struct buf read_segment(const struct trail *trail, unsigned segment)
{
    return trail_read_file(trail_segment(trail, first_of(segment)).text);
}

static void write_segment(const struct trail *trail, unsigned segment, struct span bytes)
{
    trail_write_file(trail_segment(trail, first_of(segment)).text, bytes);
}

/* Line number i of a text, newline included. */
static struct span line_of(struct span text, unsigned i)
{
    for (;; i--) {
        const uint8_t *const newline = memchr(text.ptr, '\n', text.len);
        struct span line = { 0 };
        CHECK(newline != NULL && span_take(&text, (size_t)(newline + 1 - text.ptr), &line));
        if (i == 0)
            return line;
    }
}

static void check_good(const struct trail *trail, uint64_t seq)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    CHECK_OK(trail_verify(trail, &tail, &err), err);
    assert_int_equal(tail.seq, seq);
}

/* The verifier refuses and says where. */
static void check_bad(const struct trail *trail, const char *named)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    assert_int_equal(trail_verify(trail, &tail, &err), -1);
    assert_string_equal(kms_err_name(err.code), "Integrity");
    if (strstr(err.message, named) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, named);
}

static void check_does_not_open(const struct trail *trail)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };
    struct audit *audit = NULL;

    CHECK_FAILS(audit_open(&trail->config, &audit, &tail, &err), err, KMS_ERR_INTEGRITY);
}

static void test_audit_verify_good_trail(void **state)
{
    const struct trail *const trail = *state;
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };
    struct stat file;

    CHECK_OK(trail_verify(trail, &tail, &err), err);
    assert_int_equal(tail.seq, RECORDS);
    assert_int_equal(tail.segments, SEGMENTS);
    assert_int_equal(strlen(tail.head), AUDIT_HEAD_LEN);
    CHECK(stat(trail_segment(trail, 1).text, &file) == 0 && (file.st_mode & 07777) == 0600);
}

static void test_audit_verify_empty_trail_is_good(void **state)
{
    struct trail trail;

    (void)state;
    trail_init(&trail, SEGMENT_BYTES);
    check_good(&trail, 0);
    trail_open(&trail);
    trail_close(&trail);
    check_good(&trail, 0);
    trail_done(&trail);
}

/* Refused, or, in the last line that no later line covers, seen by another head. */
static void check_edit_is_seen(const struct trail *trail, const char *head, bool last_line,
                               size_t at)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    if (trail_verify(trail, &tail, &err) < 0)
        assert_string_equal(kms_err_name(err.code), "Integrity");
    else if (!last_line || strcmp(tail.head, head) == 0)
        fail_msg("an edit of byte %zu is not seen", at);
}

static void test_audit_verify_finds_every_edited_byte(void **state)
{
    const struct trail *const trail = *state;
    static const uint8_t flips[] = { 0x01, 0x20, 0x80 };
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    CHECK_OK(trail_verify(trail, &tail, &err), err);
    for (unsigned segment = 0; segment < SEGMENTS; segment++) {
        AUTO(buf) content = read_segment(trail, segment);
        const size_t last_line =
            (size_t)(line_of(buf_span(&content), PER_SEGMENT - 1).ptr - content.ptr);
        /* the very last newline is walked elsewhere: it costs the verifier's patience */
        const size_t end = content.len - (segment == SEGMENTS - 1);
        for (size_t i = 0; i < end; i++) {
            for (size_t k = 0; k < ARRAY_LEN(flips); k++) {
                content.ptr[i] ^= flips[k];
                write_segment(trail, segment, buf_span(&content));
                check_edit_is_seen(trail, tail.head, segment == SEGMENTS - 1 && i >= last_line, i);
                content.ptr[i] ^= flips[k];
            }
        }
        write_segment(trail, segment, buf_span(&content));
    }
    check_good(trail, RECORDS);
}

static void test_audit_verify_finds_a_torn_last_line(void **state)
{
    const struct trail *const trail = *state;
    AUTO(buf) content = read_segment(trail, SEGMENTS - 1);

    content.len--;
    write_segment(trail, SEGMENTS - 1, buf_span(&content));
    check_bad(trail, "line 3: it does not end with a newline");
}

static void test_audit_verify_finds_a_torn_line_in_an_older_segment(void **state)
{
    const struct trail *const trail = *state;
    AUTO(buf) content = read_segment(trail, SEGMENTS - 2);

    content.len -= 5;
    write_segment(trail, SEGMENTS - 2, buf_span(&content));
    check_bad(trail, "line 3: it does not end with a newline");
    check_does_not_open(trail);
}

/* Rewrites a segment as the lines of the order given, as digits. */
static void reorder(const struct trail *trail, unsigned segment, const char *order)
{
    AUTO(buf) content = read_segment(trail, segment);
    AUTO(buf) changed = { 0 };

    for (; *order; order++)
        buf_append(&changed, line_of(buf_span(&content), (unsigned)(*order - '0')));
    write_segment(trail, segment, buf_span(&changed));
}

static void test_audit_verify_finds_lines_moved(void **state)
{
    /* deleted, swapped, duplicated: every place but the trail's end */
    static const char *const orders[] = { "12",  "02",   "01",   "102",  "021",   "210",
                                          "120", "0012", "0112", "0122", "012012" };
    const struct trail *const trail = *state;

    for (unsigned segment = 0; segment < SEGMENTS - 1; segment++) {
        AUTO(buf) content = read_segment(trail, segment);
        for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
            reorder(trail, segment, orders[i]);
            check_bad(trail, "audit-");
            write_segment(trail, segment, buf_span(&content));
        }
    }
    check_good(trail, RECORDS);
}

static void test_audit_verify_finds_lines_moved_in_the_newest_segment(void **state)
{
    static const char *const orders[] = { "12", "02", "102", "021", "0012", "0122" };
    const struct trail *const trail = *state;
    AUTO(buf) content = read_segment(trail, SEGMENTS - 1);

    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        reorder(trail, SEGMENTS - 1, orders[i]);
        check_bad(trail, "audit-");
        check_does_not_open(trail);
        write_segment(trail, SEGMENTS - 1, buf_span(&content));
    }
}

static void test_audit_verify_finds_an_inserted_line(void **state)
{
    const struct trail *const trail = *state;
    AUTO(buf) content = read_segment(trail, 1);
    AUTO(buf) changed = { 0 };
    const struct span line = line_of(buf_span(&content), 0);

    buf_append(&changed, line);
    buf_text(&changed, "{\"eventName\":\"Forged\"}\n");
    buf_append(&changed, span_of(line.ptr + line.len, content.len - line.len));
    write_segment(trail, 1, buf_span(&changed));
    check_bad(trail, "line 2: it does not have the next number");
}

static void test_audit_verify_finds_a_deleted_segment(void **state)
{
    const struct trail *const trail = *state;

    for (unsigned segment = 0; segment < SEGMENTS - 1; segment++) {
        AUTO(buf) content = read_segment(trail, segment);
        CHECK(unlink(trail_segment(trail, first_of(segment)).text) == 0);
        check_bad(trail, "is missing");
        write_segment(trail, segment, buf_span(&content));
    }
    CHECK(unlink(trail_segment(trail, first_of(SEGMENTS - 2)).text) == 0);
    check_does_not_open(trail);
}

static void test_audit_verify_finds_a_renamed_segment(void **state)
{
    const struct trail *const trail = *state;
    static const char *const names[] = { "audit-00000000000000000003.jsonl",
                                         "audit-00000000000000000005.jsonl",
                                         "audit-4.jsonl",
                                         "audit-00000000000000000004.json",
                                         "audit-00000000000000000004.jsonl.bak",
                                         "audit-0000000000000000000x.jsonl",
                                         "audit-99999999999999999999.jsonl",
                                         "audit-00000000000000000000.jsonl" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", trail->dir, names[i]);
        CHECK(rename(trail_segment(trail, 4).text, path) == 0);
        check_bad(trail, "audit-");
        CHECK(rename(path, trail_segment(trail, 4).text) == 0);
    }
    check_good(trail, RECORDS);
}

static void test_audit_verify_finds_an_empty_segment(void **state)
{
    const struct trail *const trail = *state;

    for (unsigned segment = 0; segment < SEGMENTS; segment++) {
        AUTO(buf) content = read_segment(trail, segment);
        write_segment(trail, segment, span_of("", 0));
        check_bad(trail, "is empty");
        write_segment(trail, segment, buf_span(&content));
    }
    write_segment(trail, SEGMENTS, span_of("", 0)); /* one more, with the right name */
    check_bad(trail, "is empty");
}

static void test_audit_verify_does_not_follow_links(void **state)
{
    const struct trail *const trail = *state;
    char elsewhere[160];

    (void)snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", trail->dir);
    CHECK(rename(trail_segment(trail, 4).text, elsewhere) == 0);
    CHECK(symlink("elsewhere", trail_segment(trail, 4).text) == 0);
    check_bad(trail, "cannot be opened");
}

static void test_audit_verify_does_not_look_at_the_clock(void **state)
{
    const struct trail *const trail = *state;
    const struct timespec times[] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

    CHECK(utimensat(AT_FDCWD, trail_segment(trail, 4).text, times, 0) == 0);
    check_good(trail, RECORDS);
}

static void test_audit_verify_no_such_directory(void **state)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    (void)state;
    CHECK_FAILS(audit_verify("/nonexistent/audit", NULL, NULL, &tail, &err), err, KMS_ERR_CONFIG);
}

/* Lines that the chain alone would not refuse. */
static void test_chain_check_refuses(void **state)
{
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
    static const char *const bad[] = {
        "",
        "{}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\"}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":1,\"a\":1}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":00,\"a\":1}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":-0,\"a\":1}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":99999999999999999999,\"a\":1}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":1",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":1}}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":1,\"a\":2}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":0,\"seq\":1}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":\"\xff\"}",
        "{\"seq\":1,\"prev\":\"" ZEROS "\",\"a\":1}",
        "{\"seq\": 1,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":1}",
        "{\"seq\":01,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":1}",
        "{\"seq\":2,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":1}",
        "{\"seq\":1,\"prev\":\"1" ZEROS "\",\"carried\":0,\"a\":1}",
    };
    struct chain chain = { .carry = true };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (chain_check(&chain, span_text(bad[i])) == NULL)
            fail_msg("accepted %s", bad[i]);

    const char *const good = "{\"seq\":1,\"prev\":\"" ZEROS "\",\"carried\":0,\"a\":1}";
    CHECK(chain_check(&(struct chain){ .carry = false }, span_text(good)) != NULL);
    CHECK(chain_check(&chain, span_text(good)) == NULL && chain.seq == 1);
}

static void test_chain_append_refuses_what_is_no_record(void **state)
{
    static const char *const bad[] = { "",         "{",        "{}",          "[1]",
                                       "{\"a\":1", "\"a\":1}", "{\"a\":1}\n", "{\"a\":\n1}" };
    struct kms_error err = { 0 };
    struct chain chain = { 0 };
    AUTO(buf) lines = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_FAILS(chain_append(&chain, span_text(bad[i]), &lines, &err), err, KMS_ERR_INTERNAL);

    AUTO(buf) longest = { 0 };
    uint8_t *const room = buf_room(&longest, CHAIN_LINE_MAX + 1);
    CHECK(room != NULL);
    memset(room, '1', longest.len);
    memcpy(room, "{\"a\":", 5);
    room[longest.len - 1] = '}';
    CHECK_FAILS(chain_append(&chain, buf_span(&longest), &lines, &err), err, KMS_ERR_INTERNAL);
    CHECK(chain.seq == 0 && lines.len == 0);
}

#define ON_A_TRAIL(test) cmocka_unit_test_setup_teardown(test, make_trail, remove_trail)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_TRAIL(test_audit_verify_good_trail),
        cmocka_unit_test(test_audit_verify_empty_trail_is_good),
        ON_A_TRAIL(test_audit_verify_finds_every_edited_byte),
        ON_A_TRAIL(test_audit_verify_finds_a_torn_last_line),
        ON_A_TRAIL(test_audit_verify_finds_a_torn_line_in_an_older_segment),
        ON_A_TRAIL(test_audit_verify_finds_lines_moved),
        ON_A_TRAIL(test_audit_verify_finds_lines_moved_in_the_newest_segment),
        ON_A_TRAIL(test_audit_verify_finds_an_inserted_line),
        ON_A_TRAIL(test_audit_verify_finds_a_deleted_segment),
        ON_A_TRAIL(test_audit_verify_finds_a_renamed_segment),
        ON_A_TRAIL(test_audit_verify_finds_an_empty_segment),
        ON_A_TRAIL(test_audit_verify_does_not_follow_links),
        ON_A_TRAIL(test_audit_verify_does_not_look_at_the_clock),
        cmocka_unit_test(test_audit_verify_no_such_directory),
        cmocka_unit_test(test_chain_check_refuses),
        cmocka_unit_test(test_chain_append_refuses_what_is_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
