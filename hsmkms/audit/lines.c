#include "hsmkms/audit/lines.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsmkms/audit/chain.h"

#define READ_BLOCK ((size_t)128 << 10)

static void forget(struct lines *lines)
{
    lines->begin = 0;
    buf_clear(&lines->buf);
}

/* Reads one block behind what is there; the bytes read, 0 at the end, -1 with errno. */
static ssize_t read_more(struct lines *lines)
{
    const size_t kept = lines->buf.len - lines->begin;

    if (lines->begin) {
        memmove(lines->buf.ptr, lines->buf.ptr + lines->begin, kept);
        lines->buf.len = kept;
        lines->begin = 0;
    }
    uint8_t *const room = buf_room(&lines->buf, READ_BLOCK);
    if (room == NULL) {
        errno = ENOMEM;
        return -1;
    }
    ssize_t got;
    do
        got = pread(lines->fd, room, READ_BLOCK, lines->offset + (int64_t)kept);
    while (got < 0 && errno == EINTR);
    lines->buf.len = kept + (got > 0 ? (size_t)got : 0);
    return got;
}

enum lines_got lines_next(struct lines *lines, struct span *ret)
{
    for (;;) {
        const size_t kept = lines->buf.len - lines->begin;
        const uint8_t *const line = kept ? lines->buf.ptr + lines->begin : NULL;
        const uint8_t *const newline = kept ? memchr(line, '\n', kept) : NULL;

        if (newline && (size_t)(newline - line) <= CHAIN_LINE_MAX) {
            *ret = span_of(line, (size_t)(newline - line));
            lines->begin += ret->len + 1;
            lines->offset += (int64_t)ret->len + 1;
            return LINES_WHOLE;
        }
        if (kept > CHAIN_LINE_MAX)
            return LINES_TOO_LONG;

        const ssize_t got = read_more(lines);
        if (got <= 0) {
            forget(lines);
            return got < 0 ? LINES_FAILED : kept ? LINES_TORN : LINES_END;
        }
    }
}

enum lines_got lines_last(struct lines *lines, struct span *ret)
{
    struct stat file;
    enum lines_got got;
    bool found = false;

    if (fstat(lines->fd, &file) < 0)
        return LINES_FAILED;
    /* begin where the last line must lie whole; a cut line at the front is read past */
    const int64_t most = (int64_t)CHAIN_LINE_MAX + 2;
    forget(lines);
    lines->offset = file.st_size > most ? file.st_size - most : 0;

    struct span line;
    AUTO(buf) last = { 0 };
    while ((got = lines_next(lines, &line)) == LINES_WHOLE) {
        buf_clear(&last);
        buf_append(&last, line);
        found = true;
    }
    if (got != LINES_END)
        return got;
    forget(lines);
    buf_append(&lines->buf, buf_span(&last));
    *ret = buf_span(&lines->buf);
    return found ? LINES_WHOLE : LINES_END;
}

void lines_done(struct lines *lines)
{
    buf_done(&lines->buf);
    *lines = (struct lines){ 0 };
}
