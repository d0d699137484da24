#include "hsmkms/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "hsmkms/audit/lines.h"
#include "hsmkms/audit/walk.h"
#include "hsmkms/audit/witness.h"
#include "hsmkms/base/encode.h"

#define NEWEST_PATIENCE 20 /* one second for a line that a service is writing just now */

static int verify_all(int dir_fd, struct walk *walk, const struct segment_list *list,
                      struct kms_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const unsigned patience = i + 1 == list->count ? NEWEST_PATIENCE : 0;
        struct walked walked = { 0 };

        if (walk_named(walk, dir_fd, list->first[i], patience, &walked, err) < 0)
            return -1;
        if (list->count == 1 && walked.end == WALK_EMPTY)
            return 0; /* a service has started and recorded nothing yet */
        if (walk_must_be_whole(list->first[i], &walked, err) < 0)
            return -1;
    }
    return 0;
}

static int open_dir(const char *dir, struct kms_error *err)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "audit directory %s: %s", dir, strerrordesc_np(errno));
    return fd;
}

/* Who looks at each good line. */
struct lookers {
    struct witness *witness;
    audit_line_fn *each; /* or NULL */
    void *arg;
};

static void show_line(void *arg, uint64_t seq, struct span line)
{
    const struct lookers *const lookers = arg;

    witness_line(lookers->witness, seq, line);
    if (lookers->each)
        lookers->each(lookers->arg, seq, line);
}

static int verify_dir(int dir_fd, audit_line_fn *each, void *arg, struct audit_tail *ret,
                      struct kms_error *err)
{
    AUTO(segment_list) list = { 0 };
    AUTO(witness) witness = { 0 };
    struct lookers lookers = { &witness, each, arg };
    struct walk walk = { .each = show_line, .arg = &lookers };
    struct audit_tail tail = { 0 };

    /* the checkpoints first: what they cover must be on disk when the segments are looked at */
    if (witness_open(dir_fd, &witness, err) < 0 || segment_list_load(dir_fd, &list, err) < 0 ||
        verify_all(dir_fd, &walk, &list, err) < 0 ||
        witness_end(&witness, walk.chain.seq, err) < 0 ||
        witness_key(&witness, tail.key, err) < 0)
        return -1;
    tail.seq = walk.chain.seq;
    tail.state_sequence = walk.chain.state_sequence;
    tail.segments = list.count;
    tail.checkpoints = witness.count;
    tail.checkpoint_seq = witness.before.seq;
    hex_format(tail.head, SPAN_ARRAY(walk.chain.head));
    *ret = tail;
    return 0;
}

int audit_verify(const char *dir, audit_line_fn *each, void *arg, struct audit_tail *ret,
                 struct kms_error *err)
{
    const int dir_fd = open_dir(dir, err);

    if (dir_fd < 0)
        return -1;
    const int result = verify_dir(dir_fd, each, arg, ret, err);
    (void)close(dir_fd); /* read-only */
    return result;
}

/* Reads one segment without checking it: calls each for lines from number from on. */
static int read_segment(int dir_fd, uint64_t first, uint64_t from, audit_line_fn *each, void *arg,
                        uint64_t *ret_next, struct kms_error *err)
{
    AUTO(lines) lines = { .fd = segment_open_to_read(dir_fd, first, err) };
    struct span line = { 0 };
    uint64_t seq = first;
    enum lines_got got;

    if (lines.fd < 0)
        return -1;
    for (; (got = lines_next(&lines, &line)) == LINES_WHOLE; seq++)
        if (each && seq >= from)
            each(arg, seq, line);
    (void)close(lines.fd); /* read-only */
    if (got == LINES_FAILED || got == LINES_TOO_LONG)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s cannot be read as lines",
                        segment_name(first).text);
    *ret_next = seq;
    return 0;
}

static int read_last(int dir_fd, uint64_t count, audit_line_fn *each, void *arg,
                     struct kms_error *err)
{
    AUTO(segment_list) list = { 0 };
    uint64_t next = 1;

    if (segment_list_load(dir_fd, &list, err) < 0)
        return -1;
    if (list.count == 0)
        return 0;
    /* the names tell how many lines lie before the newest segment; only that one is counted */
    size_t i = list.count - 1;
    if (read_segment(dir_fd, list.first[i], 0, NULL, NULL, &next, err) < 0)
        return -1;
    const uint64_t from = next > count ? next - count : 1;
    while (i > 0 && list.first[i] > from)
        i--;
    for (; i < list.count; i++)
        if (read_segment(dir_fd, list.first[i], from, each, arg, &next, err) < 0)
            return -1;
    return 0;
}

int audit_last(const char *dir, uint64_t count, audit_line_fn *each, void *arg,
               struct kms_error *err)
{
    const int dir_fd = open_dir(dir, err);

    if (dir_fd < 0)
        return -1;
    const int result = read_last(dir_fd, count, each, arg, err);
    (void)close(dir_fd); /* read-only */
    return result;
}
