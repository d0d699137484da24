#include "hsmkms/audit/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsmkms/audit/checkpoints.h"
#include "hsmkms/base/encode.h"

static int bad(uint64_t number, const char *why, struct kms_error *err)
{
    kms_error_clear(err);
    return kms_fail(err, KMS_ERR_INTEGRITY, CHECKPOINTS_FILE " line %" PRIu64 ": %s", number, why);
}

/* The next checkpoint of the file; next is in its zero state after the last. */
static int load_next(struct witness *w, struct span *ret_line, struct kms_error *err)
{
    struct checkpoint next = { 0 };
    const uint64_t number = w->count + 1;
    const enum lines_got got = lines_next(&w->lines, ret_line);

    w->before = w->next;
    memcpy(w->before_hash, w->next_hash, SHA256_LEN);
    w->next = next;
    w->tree = (struct merkle){ 0 };
    if (got == LINES_END || got == LINES_TORN || w->lines.offset > w->limit)
        return 0; /* torn: it is being written, or was when a crash came */
    if (got != LINES_WHOLE)
        return bad(number, "it cannot be read", err);
    if (checkpoint_parse(*ret_line, &next, err) < 0 ||
        checkpoint_follows(&w->before, w->before_hash, &next, err) < 0) {
        const struct kms_error why = *err;
        return bad(number, why.message, err);
    }
    w->next = next;
    return sha256_of(*ret_line, w->next_hash, err);
}

static int open_file(int dir_fd, struct witness *ret, struct kms_error *err)
{
    struct stat file;

    *ret = (struct witness){ .fd = openat(dir_fd, CHECKPOINTS_FILE,
                                          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) };
    if (ret->fd < 0 && errno == ENOENT)
        return 0;
    if (ret->fd < 0 || fstat(ret->fd, &file) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "opening " CHECKPOINTS_FILE ": %s",
                               strerrordesc_np(errno));
    ret->limit = file.st_size;
    ret->lines.fd = ret->fd;
    return 0;
}

int witness_open(int dir_fd, struct witness *ret, struct kms_error *err)
{
    struct span line;

    if (open_file(dir_fd, ret, err) < 0)
        return -1;
    return ret->fd < 0 ? 0 : load_next(ret, &line, err);
}

/* The line that the next checkpoint covers: it is that line, and the lines before are those. */
static int check_reached(struct witness *w, struct span line, struct kms_error *err)
{
    uint8_t hash[SHA256_LEN];
    merkle_hash root;

    if (sha256_of(line, hash, err) < 0 || merkle_root(&w->tree, root, err) < 0)
        return -1;
    if (!span_equal(SPAN_ARRAY(hash), SPAN_ARRAY(w->next.head)) ||
        !span_equal(SPAN_ARRAY(root), SPAN_ARRAY(w->next.root)))
        return bad(w->count + 1, "the audit trail is not the one that was signed", err);
    w->count++;
    return load_next(w, &line, err);
}

static int look_at(struct witness *w, uint64_t seq, struct span line, struct kms_error *err)
{
    merkle_hash leaf;

    if (merkle_leaf(line, leaf, err) < 0 || merkle_add(&w->tree, leaf, err) < 0)
        return -1;
    return seq == w->next.seq ? check_reached(w, line, err) : 0;
}

void witness_line(struct witness *w, uint64_t seq, struct span line)
{
    if (w->next.seq != 0 && w->failed.code == KMS_ERR_NONE)
        (void)look_at(w, seq, line, &w->failed); /* kept there */
}

int witness_end(const struct witness *w, uint64_t last_seq, struct kms_error *err)
{
    if (w->failed.code != KMS_ERR_NONE) {
        *err = w->failed;
        return -1;
    }
    if (w->next.seq != 0)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the audit trail ends with line %" PRIu64 ", a checkpoint covers line "
                        "%" PRIu64,
                        last_seq, w->next.seq);
    return 0;
}

int witness_key(const struct witness *w, char ret[SHA256_HEX_LEN + 1], struct kms_error *err)
{
    uint8_t hash[SHA256_LEN];

    ret[0] = '\0';
    if (w->count == 0)
        return 0;
    if (sha256_of(SPAN_ARRAY(w->before.key), hash, err) < 0)
        return -1;
    hex_format(ret, SPAN_ARRAY(hash));
    return 0;
}

void witness_done(struct witness *w)
{
    if (w->fd > 0)
        (void)close(w->fd); /* read-only */
    lines_done(&w->lines);
    *w = (struct witness){ .fd = -1 };
}

int witness_find(int dir_fd, uint64_t seq, struct checkpoint *ret, struct buf *ret_line,
                 struct kms_error *err)
{
    AUTO(witness) w = { .fd = -1 };
    struct span line = { 0 };

    if (open_file(dir_fd, &w, err) < 0)
        return -1;
    do {
        if (w.fd < 0)
            break;
        if (load_next(&w, &line, err) < 0)
            return -1;
        w.count++;
    } while (w.next.seq != 0 && w.next.seq < seq);
    if (w.next.seq == 0 || seq == 0)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "no checkpoint covers line %" PRIu64 " yet", seq);
    buf_append(ret_line, line);
    *ret = w.next;
    return buf_check(ret_line, err);
}
