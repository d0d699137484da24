#include "hsmkms/audit/checkpoints.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsmkms/audit/chain.h"
#include "hsmkms/audit/reader.h"
#include "hsmkms/base/clock.h"

#define US_PER_SECOND INT64_C(1000000)
#define END_BYTES     ((size_t)4 * CHECKPOINT_LINE_MAX) /* hold the last line and a torn one */

struct checkpoints {
    struct checkpoints_config config;
    char origin[sizeof(((struct checkpoint *)0)->origin)];
    struct audit *audit; /* borrowed */
    int dir_fd, fd;      /* the file */
    int64_t size;        /* bytes of whole lines, on disk */

    struct checkpoint newest; /* zero state: there is none */
    uint8_t newest_hash[SHA256_LEN];
    int64_t newest_us; /* clock_mono_us() when it was signed, or found */

    struct chain chain;   /* up to the last line that was read again */
    struct merkle tree;   /* over the lines since the newest checkpoint */
    struct reader reader; /* first 0: not open */
};

static int failed(struct kms_error *err, const char *what)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "%s of " CHECKPOINTS_FILE ": %s", what,
                           strerrordesc_np(errno));
}

static int refuse(struct kms_error *err, const char *why)
{
    return kms_fail(err, KMS_ERR_INTEGRITY, CHECKPOINTS_FILE ": %s", why);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int open_file(const char *dir, struct checkpoints *c, struct kms_error *err)
{
    struct stat file;

    c->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir_fd >= 0)
        c->fd = openat(c->dir_fd, CHECKPOINTS_FILE,
                       O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (c->fd < 0 || fstat(c->fd, &file) < 0 || fsync(c->dir_fd) < 0)
        return failed(err, "opening");
    if (!S_ISREG(file.st_mode))
        return refuse(err, "it is not a file");
    c->size = file.st_size;
    return 0;
}

/* Bytes up to and with the last newline. */
static size_t whole_lines(struct span bytes)
{
    const uint8_t *const newline = bytes.len ? memrchr(bytes.ptr, '\n', bytes.len) : NULL;

    return newline ? (size_t)(newline - bytes.ptr) + 1 : 0;
}

/* Takes the last whole line; a torn one behind it was never counted on and is cut off. */
static int take_last_line(struct checkpoints *c, struct kms_error *err)
{
    uint8_t end[END_BYTES];
    const size_t room = c->size < (int64_t)sizeof(end) ? (size_t)c->size : sizeof(end);
    const ssize_t got = pread(c->fd, end, room, c->size - (int64_t)room);

    if (got != (ssize_t)room)
        return failed(err, "reading");
    const size_t whole = whole_lines(span_of(end, room));
    if (whole == 0 && c->size > (int64_t)room)
        return refuse(err, "it does not end with a checkpoint");
    c->size -= (int64_t)(room - whole);
    if (whole < room && (ftruncate(c->fd, c->size) < 0 || fdatasync(c->fd) < 0))
        return failed(err, "cutting");
    if (whole == 0)
        return 0;
    const size_t begin = whole_lines(span_of(end, whole - 1));
    const struct span line = span_of(end + begin, whole - 1 - begin);
    if (checkpoint_parse(line, &c->newest, err) < 0)
        return -1;
    return sha256_of(line, c->newest_hash, err);
}

/* Whose the newest checkpoint is, and whether it is the newest. */
static int check_newest(const struct checkpoints *c, struct kms_error *err)
{
    const struct checkpoint *const newest = &c->newest;

    if (newest->seq < c->config.known_seq)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        CHECKPOINTS_FILE " ends with line %" PRIu64 ", the database knows of a "
                                         "checkpoint of line %" PRIu64 ": restore the newest file",
                        newest->seq, c->config.known_seq);
    if (newest->seq == 0)
        return 0;
    if (!span_equal(SPAN_ARRAY(newest->key), SPAN_ARRAY(c->config.key)) ||
        strcmp(newest->origin, c->origin) != 0)
        return refuse(err, "its last checkpoint was not signed by this installation");
    return 0;
}

/* The trail holds the line that the newest checkpoint covers; reading goes on behind it. */
static int check_covered(struct checkpoints *c, struct kms_error *err)
{
    struct audit_status status;
    struct span line;
    uint8_t hash[SHA256_LEN];

    audit_status(c->audit, &status);
    if (status.seq < c->newest.seq)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the audit trail ends with line %" PRIu64 ", a checkpoint covers line "
                        "%" PRIu64 ": restore the newest segments",
                        status.seq, c->newest.seq);
    if (c->newest.seq == 0)
        return 0;
    if (reader_open(c->dir_fd, c->newest.seq, &c->reader, err) < 0 ||
        reader_next(&c->reader, &line, err) < 0 || sha256_of(line, hash, err) < 0)
        return -1;
    reader_rest(&c->reader);
    if (!span_equal(SPAN_ARRAY(hash), SPAN_ARRAY(c->newest.head)))
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "line %" PRIu64 " of the audit trail is not the one that was signed",
                        c->newest.seq);
    c->chain.seq = c->newest.seq;
    memcpy(c->chain.head, hash, SHA256_LEN);
    return 0;
}

int checkpoints_open(const char *dir, struct audit *audit, const struct checkpoints_config *config,
                     struct checkpoints **ret, uint64_t *ret_state_sequence, struct kms_error *err)
{
    struct checkpoints *const c = calloc(1, sizeof(*c));

    if (c == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for checkpoints");
    c->config = *config;
    c->audit = audit;
    c->dir_fd = c->fd = -1;
    c->newest_us = clock_mono_us();
    (void)snprintf(c->origin, sizeof(c->origin), "%s", config->origin);
    if (open_file(dir, c, err) < 0 || take_last_line(c, err) < 0 || check_newest(c, err) < 0 ||
        check_covered(c, err) < 0) {
        checkpoints_close(c);
        return -1;
    }
    *ret_state_sequence = c->newest.state_sequence;
    *ret = c;
    return 0;
}

/* --- signing ---------------------------------------------------------------------------------- */

bool checkpoints_due(struct checkpoints *c)
{
    struct audit_status status;

    audit_status(c->audit, &status);
    return status.seq - c->newest.seq >= (uint64_t)c->config.records ||
           (status.seq > c->newest.seq &&
            clock_mono_us() - c->newest_us >= c->config.seconds * US_PER_SECOND);
}

static int add_line(struct checkpoints *c, struct kms_error *err)
{
    merkle_hash leaf;
    struct span line;

    if (c->reader.first == 0 && reader_open(c->dir_fd, c->chain.seq + 1, &c->reader, err) < 0)
        return -1;
    if (reader_next(&c->reader, &line, err) < 0)
        return -1;
    c->chain.carry = c->reader.first == c->chain.seq + 1; /* it begins a segment */
    c->chain.trust_carried = true;                        /* the writer knew; verify looks */
    const char *const problem = chain_check(&c->chain, line);
    if (problem)
        return kms_fail(err, KMS_ERR_INTEGRITY, "audit line %" PRIu64 ": %s", c->chain.seq + 1,
                        problem);
    return merkle_leaf(line, leaf, err) < 0 ? -1 : merkle_add(&c->tree, leaf, err);
}

/* Begins again behind the newest checkpoint, after a failure half-way. */
static void begin_again(struct checkpoints *c)
{
    c->chain = (struct chain){ .seq = c->newest.seq };
    memcpy(c->chain.head, c->newest.head, SHA256_LEN);
    c->tree = (struct merkle){ 0 };
    reader_done(&c->reader);
}

/* Reads what was written since, and sees that it is that. */
static int read_new_lines(struct checkpoints *c, const struct audit_status *status,
                          struct kms_error *err)
{
    int result = 0;

    while (result == 0 && c->chain.seq < status->seq)
        result = add_line(c, err);
    reader_rest(&c->reader);
    if (result == 0 && !span_equal(SPAN_ARRAY(c->chain.head), SPAN_ARRAY(status->head)))
        result =
            kms_fail(err, KMS_ERR_INTEGRITY,
                     "audit line %" PRIu64 " on disk is not the one that was written", status->seq);
    return result;
}

static int append(struct checkpoints *c, struct span bytes, struct kms_error *err)
{
    const ssize_t written = write(c->fd, bytes.ptr, bytes.len);

    if (written == (ssize_t)bytes.len && fdatasync(c->fd) == 0) {
        c->size += written;
        return 0;
    }
    const int result = failed(err, "writing");
    const int cut = ftruncate(c->fd, c->size);
    (void)cut; /* where that failed too, the next start cuts off what is torn */
    return result;
}

/* Signs, writes, and counts on it only then. */
static int sign(struct checkpoints *c, struct checkpoint *next, struct kms_error *err)
{
    uint8_t digest[SHA256_LEN], hash[SHA256_LEN];
    AUTO(buf) signature = { 0 };
    AUTO(buf) line = { 0 };

    if (checkpoint_digest(next, digest, err) < 0 ||
        c->config.sign(c->config.ctx, digest, &signature, err) < 0 ||
        checkpoint_format(next, buf_span(&signature), &line, err) < 0 ||
        sha256_of(buf_span(&line), hash, err) < 0)
        return -1;
    buf_u8(&line, '\n');
    if (buf_check(&line, err) < 0 || append(c, buf_span(&line), err) < 0)
        return -1;
    c->newest = *next;
    memcpy(c->newest_hash, hash, SHA256_LEN);
    c->newest_us = clock_mono_us();
    c->tree = (struct merkle){ 0 };
    return 0;
}

int checkpoints_add(struct checkpoints *c, uint64_t state_sequence, int64_t wall_ms,
                    uint64_t *ret_seq, struct kms_error *err)
{
    struct audit_status status;
    struct checkpoint next = { .from = c->newest.seq + 1, .state_sequence = state_sequence };

    audit_status(c->audit, &status);
    if (status.seq > c->newest.seq) {
        if (read_new_lines(c, &status, err) < 0) {
            begin_again(c);
            return -1;
        }
        next.seq = c->chain.seq;
        memcpy(next.head, c->chain.head, SHA256_LEN);
        memcpy(next.prev, c->newest_hash, SHA256_LEN);
        memcpy(next.key, c->config.key, sizeof(next.key));
        memcpy(next.origin, c->origin, sizeof(next.origin));
        memcpy(next.time, clock_iso8601(wall_ms).text, sizeof(next.time));
        if (merkle_root(&c->tree, next.root, err) < 0 || sign(c, &next, err) < 0)
            return -1;
    }
    *ret_seq = c->newest.seq;
    return 0;
}

void checkpoints_close(struct checkpoints *c)
{
    if (c == NULL)
        return;
    reader_done(&c->reader);
    if (c->fd >= 0)
        (void)close(c->fd); /* what counts was synced */
    if (c->dir_fd >= 0)
        (void)close(c->dir_fd); /* read-only */
    free(c);
}
