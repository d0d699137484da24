#include "hsmkms/audit/reader.h"

#include <inttypes.h>
#include <unistd.h>

#include "hsmkms/audit/segment.h"

static int lost(uint64_t seq, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INTEGRITY, "line %" PRIu64 " is not in the audit trail", seq);
}

static void close_segment(struct reader *reader)
{
    if (reader->first)
        (void)close(reader->lines.fd); /* read-only */
    lines_done(&reader->lines);
    reader->first = 0;
}

static int open_segment(struct reader *reader, uint64_t first, struct kms_error *err)
{
    close_segment(reader);
    const int fd = segment_open_to_read(reader->dir_fd, first, err);
    if (fd < 0)
        return -1;
    reader->lines.fd = fd;
    reader->first = first;
    return 0;
}

/* The segment whose name says that it holds the line. */
static int open_holder(struct reader *reader, uint64_t seq, struct kms_error *err)
{
    AUTO(segment_list) list = { 0 };
    size_t i;

    if (segment_list_load(reader->dir_fd, &list, err) < 0)
        return -1;
    for (i = list.count; i > 0 && list.first[i - 1] > seq; i--)
        ;
    if (i == 0)
        return lost(seq, err);
    reader->seq = list.first[i - 1];
    return open_segment(reader, reader->seq, err);
}

int reader_open(int dir_fd, uint64_t seq, struct reader *ret, struct kms_error *err)
{
    struct span line;

    *ret = (struct reader){ .dir_fd = dir_fd };
    if (open_holder(ret, seq, err) < 0)
        return -1;
    while (ret->seq < seq)
        if (reader_next(ret, &line, err) < 0)
            return -1;
    return 0;
}

int reader_next(struct reader *reader, struct span *ret, struct kms_error *err)
{
    enum lines_got got = lines_next(&reader->lines, ret);

    if (got == LINES_END && reader->first != reader->seq) {
        if (open_segment(reader, reader->seq, err) < 0) {
            kms_error_clear(err);
            return lost(reader->seq, err);
        }
        got = lines_next(&reader->lines, ret);
    }
    if (got != LINES_WHOLE)
        return lost(reader->seq, err);
    reader->seq++;
    return 0;
}

void reader_rest(struct reader *reader)
{
    reader->lines.begin = 0;
    buf_clear(&reader->lines.buf);
}

void reader_done(struct reader *reader)
{
    close_segment(reader);
    *reader = (struct reader){ 0 };
}
