#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/trail.h"

#define SEGMENT_BYTES 300       /* three small lines, see test_audit_verify.c */
#define ONE_SEGMENT   (1 << 30) /* never rolls */

static void test_audit_reopen_continues_seq_and_chain(void **state)
{
    struct trail trail;
    uint64_t written = 0;

    (void)state;
    trail_init(&trail, SEGMENT_BYTES);
    for (unsigned round = 0; round < 8; round++) {
        trail_open(&trail);
        assert_int_equal(trail.tail.seq, written);
        CHECK(!trail.tail.cut);
        trail_write(&trail, round);
        written += round;
        assert_int_equal(trail_status(&trail).seq, written);
        trail_close(&trail);
        trail_check(&trail, written);
    }
    trail_done(&trail);
}

static void test_audit_segments_roll_by_age(void **state)
{
    struct trail trail;
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail.config.segment_seconds = 0; /* always too old */
    trail_open(&trail);
    trail_write(&trail, 4);
    trail_close(&trail);
    CHECK_OK(trail_verify(&trail, &tail, &err), err);
    assert_int_equal(tail.segments, 4);
    trail_done(&trail);
}

static void write_text(struct trail *trail, const char *text)
{
    struct kms_error err = { 0 };
    struct buf record = { 0 };

    buf_text(&record, text);
    CHECK_OK(audit_write(trail->audit, record, &err), err);
}

static void test_audit_open_tells_the_state_sequence_of_results(void **state)
{
    struct trail trail;

    (void)state;
    trail_init(&trail, SEGMENT_BYTES);
    trail_open(&trail);
    write_text(&trail, "{\"phase\":\"intent\",\"stateSequence\":99}");
    write_text(&trail, "{\"phase\":\"result\",\"stateSequence\":7}");
    write_text(&trail, "{\"phase\":\"result\",\"stateSequence\":6}");
    /* not members of the record itself, so not ours */
    write_text(&trail, "{\"requestParameters\":{\"phase\":\"result\",\"stateSequence\":50}}");
    write_text(&trail, "{\"userAgent\":\"\\\"phase\\\":\\\"result\\\",\\\"stateSequence\\\":51\"}");
    trail_write(&trail, 20); /* far into other segments */
    trail_close(&trail);

    trail_open(&trail);
    assert_int_equal(trail.tail.state_sequence, 7);
    CHECK(trail.tail.segments > 5);
    write_text(&trail, "{\"phase\":\"result\",\"stateSequence\":8}");
    trail_close(&trail);
    trail_open(&trail);
    assert_int_equal(trail.tail.state_sequence, 8);
    trail_close(&trail);
    trail_check(&trail, 26);
    trail_done(&trail);
}

/* The end of a line is read as text when it has the usual form, else the line is parsed. */
static void test_audit_open_reads_results_of_any_form(void **state)
{
#define END "\"phase\":\"result\",\"stateSequence\":7"
    static const struct {
        const char *record;
        uint64_t sequence;
    } rows[] = {
        { "{\"a\":1," END "}", 7 },
        { "{\"a\":1," END ",\"keyVersion\":\"0-1\",\"latencyUs\":12}", 7 },
        { "{\"a\":1," END ",\"b\":{\"c\":[1]}}", 7 },
        { "{\"a\":\"x,\\\"\"," END ",\"b\":\"\\\"\"}", 7 },
        { "{\"stateSequence\":7,\"a\":1,\"phase\":\"result\"}", 7 },
        { "{\"a\":1," END "0}", 70 },
        { "{\"a\":{\"b\":1," END "}}", 0 },
        { "{\"a\":[{\"b\":1," END "}]}", 0 },
        { "{\"a\":{\"b\":1," END "},\"c\":\"}\"}", 0 },
        { "{\"a\":1," END ".5}", 0 },
        { "{\"a\":1," END "e3}", 0 },
        { "{\"a\":1,\"phase\":\"result\",\"stateSequence\":\"7\"}", 0 },
        { "{\"a\":1,\"phase\":\"result\",\"stateSequence\":-7}", 0 },
        { "{\"a\":\",\\\"phase\\\":\\\"result\\\",\\\"stateSequence\\\":7}\",\"b\":\"result\"}",
          0 },
    };
#undef END
    struct trail trail;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        trail_init(&trail, ONE_SEGMENT);
        trail_open(&trail);
        trail_write(&trail, 1); /* the first line of a segment is always parsed */
        write_text(&trail, rows[i].record);
        trail_write(&trail, 1);
        trail_close(&trail);
        trail_open(&trail);
        assert_int_equal(trail.tail.state_sequence, rows[i].sequence);
        trail_close(&trail);
        trail_check(&trail, 3);
        trail_done(&trail);
    }
}

/* Whatever part of the last line is left: it goes, the lines before stay. */
static void test_audit_open_cuts_a_torn_last_line(void **state)
{
    struct trail trail;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    trail_write(&trail, 3);
    trail_close(&trail);
    const struct trail_path path = trail_segment(&trail, 1);
    AUTO(buf) whole = trail_read_file(path.text);
    const uint8_t *const last = (const uint8_t *)memrchr(whole.ptr, '\n', whole.len - 1) + 1;

    for (size_t len = (size_t)(last - whole.ptr); len < whole.len; len++) {
        trail_write_file(path.text, span_of(whole.ptr, len));
        trail_open(&trail);
        assert_int_equal(trail.tail.seq, 2);
        CHECK(trail.tail.cut == (whole.ptr + len != last));
        trail_write(&trail, 1);
        trail_close(&trail);
        trail_check(&trail, 3);
    }
    trail_done(&trail);
}

/* Killed after a segment was made and before its first line was whole. */
static void test_audit_open_goes_on_with_a_segment_without_lines(void **state)
{
    static const char *const contents[] = { "", "{\"se" };
    struct trail trail;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        trail_init(&trail, SEGMENT_BYTES);
        trail_open(&trail);
        write_text(&trail, "{\"phase\":\"result\",\"stateSequence\":7}");
        trail_write(&trail, 5);
        trail_close(&trail);
        trail_write_file(trail_segment(&trail, 7).text, span_text(contents[i]));
        trail_open(&trail);
        assert_int_equal(trail.tail.seq, 6);
        assert_int_equal(trail.tail.state_sequence, 7);
        trail_write(&trail, 4);
        trail_close(&trail);
        trail_check(&trail, 10);
        trail_done(&trail);
    }
}

static void test_audit_open_refuses_a_torn_middle(void **state)
{
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    trail_write(&trail, 5);
    trail_close(&trail);
    const struct trail_path path = trail_segment(&trail, 1);
    AUTO(buf) whole = trail_read_file(path.text);

    whole.ptr[whole.len / 2] = '\n';
    trail_write_file(path.text, buf_span(&whole));
    CHECK_FAILS(audit_open(&trail.config, &trail.audit, &trail.tail, &err), err, KMS_ERR_INTEGRITY);
    AUTO(buf) after = trail_read_file(path.text);
    CHECK_SPAN(buf_span(&after), buf_span(&whole)); /* nothing was cut */
    trail_done(&trail);
}

static void test_audit_open_refuses_directories(void **state)
{
    struct kms_error err = { 0 };
    struct trail trail;
    struct audit *second = NULL;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    CHECK_FAILS(audit_open(&trail.config, &second, &trail.tail, &err), err, KMS_ERR_CONFIG);
    trail_close(&trail);

    CHECK(chmod(trail.dir, 0770) == 0);
    CHECK_FAILS(audit_open(&trail.config, &second, &trail.tail, &err), err, KMS_ERR_CONFIG);
    CHECK(chmod(trail.dir, 0700) == 0);

    struct audit_config nowhere = trail.config;
    nowhere.dir = "/nonexistent/audit";
    CHECK_FAILS(audit_open(&nowhere, &second, &trail.tail, &err), err, KMS_ERR_CONFIG);
    trail_done(&trail);
}

static void test_audit_open_makes_the_directory(void **state)
{
    struct trail trail;
    struct stat made;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    CHECK(rmdir(trail.dir) == 0);
    trail_open(&trail);
    CHECK(stat(trail.dir, &made) == 0 && (made.st_mode & 07777) == 0700);
    trail_done(&trail);
}

static void test_audit_reserve_stops_at_the_limit(void **state)
{
    struct kms_error err = { 0 };
    struct trail trail;
    struct trail_counts counts = { 0 };

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail.config.queue = 3;
    trail_open(&trail);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < trail.config.queue; i++)
            CHECK_OK(audit_reserve(trail.audit, &err), err);
        CHECK_FAILS(audit_reserve(trail.audit, &err), err, KMS_ERR_THROTTLING);
        CHECK_FAILS(audit_write(trail.audit, trail_record(1), &err), err, KMS_ERR_THROTTLING);
        audit_release(trail.audit);
        CHECK_OK(audit_write(trail.audit, trail_record(1), &err), err); /* the place is free */
        audit_release(trail.audit);
        audit_submit(trail.audit, trail_record(2), trail_count_durable, &counts);
        for (int i = 0; i < 600 && atomic_load(&counts.durable) <= (unsigned)round; i++)
            trail_pause_ms(50);
    }
    trail_close(&trail);
    assert_int_equal(atomic_load(&counts.durable), 3);
    trail_check(&trail, 6);
    trail_done(&trail);
}

/* A text that is no record costs its own owner the answer, nobody else. */
static void test_audit_submit_refuses_what_is_no_record(void **state)
{
    static const char *const bad[] = { "", "{}", "[]", "{\"a\":1}\n" };
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf record = { 0 };
        buf_text(&record, bad[i]);
        CHECK_FAILS(audit_write(trail.audit, record, &err), err, KMS_ERR_INTERNAL);
        CHECK(trail_status(&trail).healthy);
        trail_write(&trail, 1);
    }
    CHECK_FAILS(audit_write(trail.audit, (struct buf){ .failed = true }, &err), err,
                KMS_ERR_INTERNAL);
    trail_close(&trail);
    trail_check(&trail, ARRAY_LEN(bad));
    trail_done(&trail);
}

/* 8 threads, 20,000 records in all. */
#define THREADS    8
#define PER_THREAD 2500

struct submitter {
    struct trail *trail;
    unsigned number;
    struct trail_counts counts;
    bool every_done[PER_THREAD];
};

struct submitted {
    struct submitter *by;
    unsigned record;
};

static void note_done(void *arg, bool durable)
{
    struct submitted *const submitted = arg;

    if (durable && !submitted->by->every_done[submitted->record]) {
        submitted->by->every_done[submitted->record] = true; /* the committer's thread alone */
        atomic_fetch_add(&submitted->by->counts.durable, 1);
    } else {
        atomic_fetch_add(&submitted->by->counts.lost, 1);
    }
    free(submitted);
}

static void *submit_many(void *arg)
{
    struct submitter *const me = arg;

    for (unsigned i = 0; i < PER_THREAD;) {
        struct kms_error err = { 0 };
        if (audit_reserve(me->trail->audit, &err) < 0) {
            trail_pause_ms(1);
            continue;
        }
        struct submitted *const submitted = malloc(sizeof(*submitted));
        if (submitted == NULL)
            abort();
        *submitted = (struct submitted){ me, i };
        audit_submit(me->trail->audit, trail_record(me->number * PER_THREAD + i), note_done,
                     submitted);
        i++;
    }
    return NULL;
}

static void test_audit_submit_from_many_threads(void **state)
{
    static struct submitter submitters[THREADS];
    pthread_t threads[THREADS];
    struct trail trail;

    (void)state;
    trail_init(&trail, 65536);
    trail_open(&trail);
    for (unsigned i = 0; i < THREADS; i++) {
        submitters[i] = (struct submitter){ .trail = &trail, .number = i };
        CHECK(pthread_create(&threads[i], NULL, submit_many, &submitters[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    trail_close(&trail); /* writes what is still queued */
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(atomic_load(&submitters[i].counts.durable), PER_THREAD);
        assert_int_equal(atomic_load(&submitters[i].counts.lost), 0);
    }
    trail_check(&trail, THREADS * PER_THREAD);
    trail_done(&trail);
}

static void test_audit_groups_gather_while_a_sync_runs(void **state)
{
    struct trail_counts counts = { 0 };
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    for (unsigned i = 0; i < trail.config.queue; i++)
        CHECK_OK(audit_reserve(trail.audit, &err), err);
    for (unsigned i = 0; i < trail.config.queue; i++)
        audit_submit(trail.audit, trail_record(i), trail_count_durable, &counts);
    for (int i = 0; i < 600 && atomic_load(&counts.durable) < trail.config.queue; i++)
        trail_pause_ms(50);
    const struct audit_status status = trail_status(&trail);
    CHECK(status.groups >= 1 && status.groups <= trail.config.queue);
    CHECK(status.largest_group >= 1 && status.queued == 0 && status.healthy);
    assert_int_equal(status.seq, trail.config.queue);
    trail_done(&trail);
}

struct numbers {
    uint64_t got[32];
    size_t count;
};

static void collect(void *arg, uint64_t seq, struct span line)
{
    struct numbers *const numbers = arg;
    char begin[32];

    CHECK(numbers->count < ARRAY_LEN(numbers->got));
    numbers->got[numbers->count++] = seq;
    const int len = snprintf(begin, sizeof(begin), "{\"seq\":%" PRIu64 ",", seq);
    CHECK(line.len > (size_t)len && memcmp(line.ptr, begin, (size_t)len) == 0);
}

static void test_audit_last_reads_over_segments(void **state)
{
    static const uint64_t counts[] = { 0, 1, 2, 3, 4, 7, 10, 11, 1000 };
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, SEGMENT_BYTES);
    trail_open(&trail);
    trail_write(&trail, 10);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct numbers numbers = { 0 };
        const uint64_t want = counts[i] < 10 ? counts[i] : 10;
        CHECK_OK(audit_last(trail.dir, counts[i], collect, &numbers, &err), err);
        assert_int_equal(numbers.count, want);
        CHECK(want == 0 || (numbers.got[0] == 11 - want && numbers.got[want - 1] == 10));
    }
    trail_done(&trail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_audit_reopen_continues_seq_and_chain),
        cmocka_unit_test(test_audit_segments_roll_by_age),
        cmocka_unit_test(test_audit_open_tells_the_state_sequence_of_results),
        cmocka_unit_test(test_audit_open_reads_results_of_any_form),
        cmocka_unit_test(test_audit_open_cuts_a_torn_last_line),
        cmocka_unit_test(test_audit_open_goes_on_with_a_segment_without_lines),
        cmocka_unit_test(test_audit_open_refuses_a_torn_middle),
        cmocka_unit_test(test_audit_open_refuses_directories),
        cmocka_unit_test(test_audit_open_makes_the_directory),
        cmocka_unit_test(test_audit_reserve_stops_at_the_limit),
        cmocka_unit_test(test_audit_submit_refuses_what_is_no_record),
        cmocka_unit_test(test_audit_submit_from_many_threads),
        cmocka_unit_test(test_audit_groups_gather_while_a_sync_runs),
        cmocka_unit_test(test_audit_last_reads_over_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
