#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/trail.h"

#define SEGMENT_BYTES 300       /* three small lines, see test_audit_verify.c */
#define ONE_SEGMENT   (1 << 30) /* never rolls */

/* fdatasync(2) of the code under test: fails or hangs while told to. The linker puts it there. */
static atomic_int sync_errno;
static atomic_bool sync_hangs;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
    const int number = atomic_load(&sync_errno);

    while (atomic_load(&sync_hangs))
        trail_pause_ms(10);
    if (number == 0)
        return __real_fdatasync(fd);
    errno = number;
    return -1;
}

/* A sync that fails: nothing of the group counts, nothing of it stays in the file. */
static void test_audit_sync_error_fails_closed_and_recovers(void **state)
{
    static const int numbers[] = { EIO, ENOSPC, EDQUOT };
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, SEGMENT_BYTES);
    trail_open(&trail);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        trail_write(&trail, 2);
        const uint64_t good = trail_status(&trail).seq;
        atomic_store(&sync_errno, numbers[i]);
        CHECK_FAILS(audit_write(trail.audit, trail_record(1000), &err), err, KMS_ERR_INTERNAL);
        CHECK(!trail_status(&trail).healthy);
        CHECK_FAILS(audit_reserve(trail.audit, &err), err, KMS_ERR_INTERNAL);
        assert_int_equal(trail_status(&trail).seq, good);
        atomic_store(&sync_errno, 0);
        CHECK(trail_becomes_healthy(&trail));
        trail_check(&trail, good);
        trail_write(&trail, 2);
        trail_check(&trail, good + 2);
    }
    trail_done(&trail);
}

/* Places taken while all was well: what is submitted after the failure is told so. */
static void test_audit_submit_after_a_failure_is_not_durable(void **state)
{
    struct trail_counts counts = { 0 };
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    for (int i = 0; i < 3; i++)
        CHECK_OK(audit_reserve(trail.audit, &err), err);
    atomic_store(&sync_errno, EIO);
    CHECK_FAILS(audit_write(trail.audit, trail_record(1), &err), err, KMS_ERR_INTERNAL);
    for (unsigned i = 0; i < 3; i++)
        audit_submit(trail.audit, trail_record(i), trail_count_durable, &counts);
    trail_close(&trail);
    atomic_store(&sync_errno, 0);
    assert_int_equal(atomic_load(&counts.lost), 3);

    trail_open(&trail);
    trail_write(&trail, 1);
    trail_close(&trail);
    trail_check(&trail, trail.tail.seq + 1);
    trail_done(&trail);
}

/* A disk that neither succeeds nor fails: nothing new is admitted, nothing is claimed durable. */
static void test_audit_hanging_sync_fails_closed_and_recovers(void **state)
{
    struct trail_counts counts = { 0 };
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    CHECK_OK(audit_reserve(trail.audit, &err), err);
    atomic_store(&sync_hangs, true);
    audit_submit(trail.audit, trail_record(1), trail_count_durable, &counts);
    for (int i = 0; i < 600 && trail_status(&trail).healthy; i++)
        trail_pause_ms(50);
    CHECK_FAILS(audit_reserve(trail.audit, &err), err, KMS_ERR_INTERNAL);
    CHECK(atomic_load(&counts.durable) == 0 && atomic_load(&counts.lost) == 0);
    atomic_store(&sync_hangs, false);
    CHECK(trail_becomes_healthy(&trail));
    trail_write(&trail, 1);
    assert_int_equal(atomic_load(&counts.durable), 1);
    trail_close(&trail);
    trail_check(&trail, 2);
    trail_done(&trail);
}

/* The file is taken away under a running service. */
static void test_audit_lost_file_fails_closed(void **state)
{
    struct kms_error err = { 0 };
    struct trail trail;

    (void)state;
    trail_init(&trail, ONE_SEGMENT);
    trail_open(&trail);
    trail_write(&trail, 1);
    CHECK(truncate(trail_segment(&trail, 1).text, 10) == 0);
    CHECK_FAILS(audit_write(trail.audit, trail_record(1), &err), err, KMS_ERR_INTERNAL);
    CHECK(!trail_status(&trail).healthy);
    CHECK(unlink(trail_segment(&trail, 1).text) == 0);
    trail_pause_ms(600); /* two probes */
    CHECK(!trail_status(&trail).healthy);
    trail_done(&trail);
}

struct last_seen {
    uint64_t seq;
    unsigned acknowledged, found;
};

static void count_acknowledged(void *arg, uint64_t seq, struct span line)
{
    struct last_seen *const seen = arg;

    seen->seq = seq;
    seen->found += memmem(line.ptr, line.len, "\"acknowledged\"", 14) != NULL;
}

/* Fills the disk with audit records until one is refused; the number acknowledged. */
static unsigned write_until_full(struct trail *trail)
{
    for (unsigned count = 0; count < 100000; count++) {
        struct kms_error err = { 0 };
        struct buf record = { 0 };
        buf_printf(&record, "{\"acknowledged\":\"%0*u\"}", 1000, count);
        if (audit_write(trail->audit, record, &err) < 0) {
            assert_string_equal(kms_err_name(err.code), "KMSInternalException");
            return count;
        }
    }
    fail_msg("a disk of 256 KiB takes 100 MB");
    return 0;
}

static void run_on_a_full_disk(struct trail *trail, const char *ballast)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };
    struct last_seen seen = { 0 };
    static const uint8_t block[65536];

    trail_write_file(ballast, SPAN_ARRAY(block));
    trail_open(trail);
    seen.acknowledged = write_until_full(trail);
    CHECK(!trail_status(trail).healthy && seen.acknowledged > 10);
    trail_pause_ms(600); /* two probes that fail */
    CHECK_FAILS(audit_reserve(trail->audit, &err), err, KMS_ERR_INTERNAL);

    CHECK(unlink(ballast) == 0);
    CHECK(trail_becomes_healthy(trail));
    trail_write(trail, 5);
    trail_close(trail);
    CHECK_OK(audit_verify(trail->dir, count_acknowledged, &seen, &tail, &err), err);
    assert_int_equal(seen.found, seen.acknowledged);
    assert_int_equal(tail.seq, seen.acknowledged + 5);
}

/* A real file system without space. */
static void full_disk(int64_t segment_bytes)
{
    struct trail trail;
    char ballast[160];

    trail_init(&trail, segment_bytes);
    (void)snprintf(ballast, sizeof(ballast), "%s/ballast", trail.dir);
    if (mount("tmpfs", trail.dir, "tmpfs", 0, "size=256k,mode=0700") < 0) {
        print_message("skipped: mounting a tmpfs is refused: %s\n", strerrordesc_np(errno));
        trail_done(&trail);
        skip();
    }
    run_on_a_full_disk(&trail, ballast);
    trail_close(&trail);
    CHECK(umount(trail.dir) == 0);
    trail_done(&trail);
}

static void test_audit_disk_full(void **state)
{
    (void)state;
    full_disk(ONE_SEGMENT);
}

static void test_audit_disk_full_while_segments_roll(void **state)
{
    (void)state;
    full_disk(8192);
}

/* Writes and acknowledges numbers on a pipe until it is killed. */
static void write_until_killed(struct trail *trail, int acknowledge)
{
    for (unsigned i = 1;; i++) {
        struct kms_error err = { 0 };
        if (audit_write(trail->audit, trail_record(i), &err) < 0 ||
            write(acknowledge, &i, sizeof(i)) != sizeof(i))
            _exit(1);
    }
}

static uint64_t kill_a_writer(struct trail *trail, unsigned round)
{
    unsigned number = 0, acknowledged = 0;
    int ends[2];

    CHECK(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        trail_open(trail);
        write_until_killed(trail, ends[1]);
    }
    CHECK(child > 0);
    (void)close(ends[1]);
    for (unsigned i = 0; i < 20 + 7 * round; i++)
        if (read(ends[0], &number, sizeof(number)) == sizeof(number))
            acknowledged = number;
    CHECK(kill(child, SIGKILL) == 0);
    while (read(ends[0], &number, sizeof(number)) == sizeof(number))
        acknowledged = number;
    CHECK(waitpid(child, NULL, 0) == child);
    (void)close(ends[0]);
    return acknowledged;
}

static void test_audit_kill_loses_nothing_acknowledged(void **state)
{
    struct trail trail;
    uint64_t before = 0;

    (void)state;
    trail_init(&trail, 2000);
    for (unsigned round = 0; round < 20; round++) {
        const uint64_t acknowledged = kill_a_writer(&trail, round);
        CHECK(acknowledged > 0);
        trail_open(&trail);
        CHECK(trail.tail.seq >= before + acknowledged);
        CHECK(trail.tail.seq <= before + acknowledged + 1); /* one was on its way */
        trail_write(&trail, 1);
        before = trail_status(&trail).seq;
        trail_close(&trail);
        trail_check(&trail, before);
    }
    trail_done(&trail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_audit_sync_error_fails_closed_and_recovers),
        cmocka_unit_test(test_audit_submit_after_a_failure_is_not_durable),
        cmocka_unit_test(test_audit_hanging_sync_fails_closed_and_recovers),
        cmocka_unit_test(test_audit_lost_file_fails_closed),
        cmocka_unit_test(test_audit_disk_full),
        cmocka_unit_test(test_audit_disk_full_while_segments_roll),
        cmocka_unit_test(test_audit_kill_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
