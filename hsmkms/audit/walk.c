#include "hsmkms/audit/walk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "hsmkms/audit/lines.h"

#define PATIENCE_NS 50000000L

static int bad_line(uint64_t first, uint64_t line, const char *problem, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INTEGRITY, "%s line %" PRIu64 ": %s", segment_name(first).text,
                    line, problem);
}

static int bad_read(uint64_t first, struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "reading %s: %s", segment_name(first).text,
                           strerrordesc_np(errno));
}

static int check_name(const struct walk *walk, uint64_t first, struct kms_error *err)
{
    if (first == walk->chain.seq + 1)
        return 0;
    return kms_fail(err, KMS_ERR_INTEGRITY,
                    "%s: a segment that begins with line %" PRIu64 " is missing, or its name "
                    "was changed",
                    segment_name(first).text, walk->chain.seq + 1);
}

/* The next line, waiting for the rest of one that is being written. */
static enum lines_got next_patiently(struct lines *lines, unsigned *patience, struct span *ret)
{
    for (;;) {
        const enum lines_got got = lines_next(lines, ret);
        const bool unfinished = got == LINES_TORN || (got == LINES_END && lines->offset == 0);

        if (!unfinished || *patience == 0)
            return got;
        (*patience)--;
        (void)nanosleep(&(struct timespec){ .tv_nsec = PATIENCE_NS }, NULL);
    }
}

int walk_segment(struct walk *walk, int fd, uint64_t first, unsigned patience, struct walked *ret,
                 struct kms_error *err)
{
    AUTO(lines) lines = { .fd = fd };
    struct walked walked = { 0 };
    struct span line = { 0 };
    enum lines_got got;

    if (check_name(walk, first, err) < 0)
        return -1;
    walk->chain.carry = true;
    while ((got = next_patiently(&lines, &patience, &line)) == LINES_WHOLE) {
        const char *const problem = chain_check(&walk->chain, line);
        walked.lines++;
        if (problem)
            return bad_line(first, walked.lines, problem, err);
        if (walk->each)
            walk->each(walk->arg, walk->chain.seq, line);
    }
    if (got == LINES_TOO_LONG)
        return bad_line(first, walked.lines + 1, "it is longer than a line may be", err);
    if (got == LINES_FAILED)
        return bad_read(first, err);

    walked.size = lines.offset;
    walked.end = got == LINES_TORN ? WALK_TORN : lines.offset == 0 ? WALK_EMPTY : WALK_WHOLE;
    *ret = walked;
    return 0;
}

int walk_named(struct walk *walk, int dir_fd, uint64_t first, unsigned patience, struct walked *ret,
               struct kms_error *err)
{
    const int fd = segment_open_to_read(dir_fd, first, err);

    if (fd < 0)
        return -1;
    const int result = walk_segment(walk, fd, first, patience, ret, err);
    (void)close(fd); /* read-only */
    return result;
}

int walk_must_be_whole(uint64_t first, const struct walked *walked, struct kms_error *err)
{
    if (walked->end == WALK_EMPTY)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s is empty", segment_name(first).text);
    if (walked->end == WALK_TORN)
        return bad_line(first, walked->lines + 1, "it does not end with a newline", err);
    return 0;
}

/* Takes the chain's position from its last line, which a later line's prev then proves. */
static int start_from(struct walk *walk, uint64_t first, struct span line, struct kms_error *err)
{
    static const char begin[] = "{\"seq\":";
    char digits[24] = { 0 };
    uint64_t seq = 0;

    if (line.len > sizeof(begin) + sizeof(digits) &&
        memcmp(line.ptr, begin, sizeof(begin) - 1) == 0) {
        memcpy(digits, line.ptr + sizeof(begin) - 1, sizeof(digits) - 1);
        seq = strtoull(digits, NULL, 10); /* 0 or too much is refused here or by the next line */
    }
    if (seq < first)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s: its last line has no number",
                        segment_name(first).text);
    walk->chain = (struct chain){ .seq = seq, .trust_carried = true };
    return sha256_of(line, walk->chain.head, err);
}

int walk_start_after(struct walk *walk, int dir_fd, uint64_t first, struct kms_error *err)
{
    AUTO(lines) lines = { .fd = segment_open_to_read(dir_fd, first, err) };
    struct span line = { 0 };

    if (lines.fd < 0)
        return -1;
    const enum lines_got got = lines_last(&lines, &line);
    int result;
    if (got == LINES_WHOLE)
        result = start_from(walk, first, line, err);
    else if (got == LINES_FAILED)
        result = bad_read(first, err);
    else
        result = kms_fail(err, KMS_ERR_INTEGRITY, "%s: it does not end with a whole line",
                          segment_name(first).text);
    (void)close(lines.fd); /* read-only */
    return result;
}
