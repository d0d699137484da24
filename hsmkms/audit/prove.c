#include "hsmkms/audit/prove.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "hsmkms/audit/reader.h"
#include "hsmkms/audit/witness.h"
#include "hsmkms/base/encode.h"
#include "hsmkms/base/json_text.h"

#define LEAVES_MOST (UINT64_C(1) << 24) /* half a gigabyte of hashes */

/* Leaves of what a checkpoint covers. */
struct leaves {
    merkle_hash *hashes;
    uint64_t count;
};

static void leaves_done(struct leaves *leaves)
{
    free(leaves->hashes);
    *leaves = (struct leaves){ 0 };
}

/* Reads the lines that a checkpoint covers; keeps the text of line seq. */
static int read_leaves(int dir_fd, const struct checkpoint *checkpoint, uint64_t seq,
                       struct leaves *ret, struct buf *ret_line, struct kms_error *err)
{
    AUTO(reader) reader = { 0 };
    struct span line;
    const uint64_t count = checkpoint->seq - checkpoint->from + 1;

    if (count > LEAVES_MOST)
        return kms_fail(err, KMS_ERR_INTERNAL, "a checkpoint covers %" PRIu64 " lines", count);
    ret->hashes = calloc(count, sizeof(*ret->hashes));
    if (ret->hashes == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a proof");
    ret->count = count;
    if (reader_open(dir_fd, checkpoint->from, &reader, err) < 0)
        return -1;
    for (uint64_t i = 0; i < count; i++) {
        if (reader_next(&reader, &line, err) < 0 || merkle_leaf(line, ret->hashes[i], err) < 0)
            return -1;
        if (checkpoint->from + i == seq)
            buf_append(ret_line, line);
    }
    return buf_check(ret_line, err);
}

/* The path must lead to what was signed: nothing is printed that does not hold. */
static int make_path(const struct leaves *leaves, uint64_t index, const merkle_hash root,
                     struct merkle_path *ret, struct kms_error *err)
{
    merkle_hash reached;
    bool good = false;

    if (merkle_path_make((const merkle_hash *)leaves->hashes, leaves->count, index, ret, err) < 0 ||
        merkle_path_follow(ret, leaves->hashes[index], leaves->count, index, reached, &good, err) <
            0)
        return -1;
    if (!good || memcmp(reached, root, SHA256_LEN) != 0)
        return kms_fail(err, KMS_ERR_INTEGRITY, "the lines are not those that were signed");
    return 0;
}

static int print(const struct checkpoint *checkpoint, uint64_t seq, struct span line,
                 const struct merkle_path *path, struct span signed_line, struct buf *ret,
                 struct kms_error *err)
{
    buf_printf(ret,
               "{\"seq\": %" PRIu64 ",\n \"index\": %" PRIu64 ",\n \"leaves\": %" PRIu64
               ",\n \"record\": ",
               seq, seq - checkpoint->from, checkpoint->seq - checkpoint->from + 1);
    json_text_append_string(ret, line);
    buf_text(ret, ",\n \"path\": [");
    for (size_t i = 0; i < path->len; i++) {
        buf_text(ret, i ? ",\n  \"" : "\n  \"");
        hex_append(ret, SPAN_ARRAY(path->hashes[i]));
        buf_u8(ret, '"');
    }
    buf_text(ret, "],\n \"checkpoint\": ");
    json_text_append_string(ret, signed_line);
    buf_text(ret, "}\n");
    return buf_check(ret, err);
}

static int prove(int dir_fd, uint64_t seq, struct buf *ret, struct kms_error *err)
{
    struct checkpoint checkpoint = { 0 };
    struct merkle_path path = { 0 };
    AUTO(leaves) leaves = { 0 };
    AUTO(buf) signed_line = { 0 };
    AUTO(buf) line = { 0 };

    if (witness_find(dir_fd, seq, &checkpoint, &signed_line, err) < 0 ||
        read_leaves(dir_fd, &checkpoint, seq, &leaves, &line, err) < 0 ||
        make_path(&leaves, seq - checkpoint.from, checkpoint.root, &path, err) < 0)
        return -1;
    return print(&checkpoint, seq, buf_span(&line), &path, buf_span(&signed_line), ret, err);
}

int audit_prove(const char *dir, uint64_t seq, struct buf *ret, struct kms_error *err)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "audit directory %s: %s", dir, strerrordesc_np(errno));
    const int result = prove(fd, seq, ret, err);
    (void)close(fd); /* read-only */
    return result;
}
