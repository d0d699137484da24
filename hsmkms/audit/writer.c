#include "hsmkms/audit/writer.h"

#include "hsmkms/base/clock.h"

/* Memory kept for the next group; more is given back. */
#define LINES_KEPT ((size_t)1 << 20)

static bool segment_is_due(const struct writer *writer)
{
    const struct segment *const segment = &writer->segment;

    if (segment->size == 0)
        return segment->first == 0;
    return segment->size >= writer->segment_bytes ||
           clock_mono_us() - segment->born_us >= writer->segment_us;
}

static int roll(struct writer *writer, struct kms_error *err)
{
    struct segment next = { 0 };

    if (segment_create(writer->segment.dir_fd, writer->chain.seq + 1, &next, err) < 0)
        return -1;
    segment_done(&writer->segment);
    writer->segment = next;
    return 0;
}

/* Makes the lines of a group. A record that is no line by itself is left out, not the group. */
static struct chain make_lines(struct writer *writer, struct audit_entry *entries, size_t count)
{
    struct chain chain = writer->chain;

    buf_clear(&writer->lines);
    chain.carry = writer->segment.size == 0;
    for (size_t i = 0; i < count; i++) {
        struct kms_error ignored = { 0 };
        entries[i].durable =
            !entries[i].record.failed &&
            chain_append(&chain, buf_span(&entries[i].record), &writer->lines, &ignored) == 0;
    }
    return chain;
}

static int write_group(struct writer *writer, struct audit_entry *entries, size_t count,
                       struct kms_error *err)
{
    if (segment_is_due(writer) && roll(writer, err) < 0)
        return -1;
    const struct chain chain = make_lines(writer, entries, count);
    if (buf_check(&writer->lines, err) < 0)
        return -1;
    if (writer->lines.len && segment_append(&writer->segment, buf_span(&writer->lines), err) < 0)
        return -1;
    writer->chain = chain;
    return 0;
}

static void discard_if_empty(struct segment *segment)
{
    if (segment->first && segment->size == 0)
        segment_discard(segment);
}

void writer_commit(struct writer *writer, struct audit_entry *entries, size_t count)
{
    struct kms_error err = { 0 };
    const bool good = (!writer->broken || writer_recover(writer)) &&
                      write_group(writer, entries, count, &err) == 0;

    if (!good) {
        writer->broken = true;
        discard_if_empty(&writer->segment);
        for (size_t i = 0; i < count; i++)
            entries[i].durable = false;
    }
    if (writer->lines.cap > LINES_KEPT)
        buf_done(&writer->lines);
}

bool writer_recover(struct writer *writer)
{
    struct segment *const segment = &writer->segment;
    struct kms_error err = { 0 };

    writer->broken =
        (segment->first == 0 && roll(writer, &err) < 0) || segment_recover(segment, &err) < 0;
    discard_if_empty(segment); /* the next group makes it anew */
    return !writer->broken;
}

void writer_done(struct writer *writer)
{
    segment_done(&writer->segment);
    buf_done(&writer->lines);
}
