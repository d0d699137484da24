#include "hsmkms/base/log.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "hsmkms/base/clock.h"

#define LOG_LINE_MAX 2048

static const char *const level_names[] = { "error", "warn", "info", "debug" };

/*
 * What one process shares because it has one standard error: whose turn it is, and how many lines
 * nobody wanted. With one writer at a time a pipe that polls as writable takes a line whole.
 */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static unsigned long lost;

static bool has_reader(void)
{
    struct pollfd error = { .fd = STDERR_FILENO, .events = POLLOUT };

    return poll(&error, 1, 0) == 1 && (error.revents & POLLOUT);
}

/* A reader that has stopped must not stop the service: its lines are counted and dropped. */
static void write_line(const char *line, size_t len)
{
    char note[96];
    ssize_t written = 0;

    (void)pthread_mutex_lock(&turn);
    if (lost && has_reader()) {
        const int note_len =
            snprintf(note, sizeof(note), "%s level=warn event=log-lines-lost count=%lu\n",
                     clock_iso8601(clock_wall_ms(&(struct clock){ 0 })).text, lost);
        written = write(STDERR_FILENO, note, (size_t)note_len);
        lost = 0;
    }
    if (has_reader())
        written = write(STDERR_FILENO, line, len);
    else
        lost++;
    (void)pthread_mutex_unlock(&turn);
    (void)written; /* nowhere left to say so */
}

void log_event(const struct log *log, enum log_level level, const char *event, const char *format,
               ...)
{
    char line[LOG_LINE_MAX];
    va_list args;

    if (level > log->level)
        return;

    const struct clock_text now = clock_iso8601(clock_wall_ms(&(struct clock){ 0 }));
    int len =
        snprintf(line, sizeof(line), "%s level=%s event=%s ", now.text, level_names[level], event);
    va_start(args, format);
    len += vsnprintf(line + len, sizeof(line) - (size_t)len, format, args);
    va_end(args);
    if ((size_t)len > sizeof(line) - 2)
        len = (int)sizeof(line) - 2; /* a cut line is still one line */

    for (int i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?'; /* an event cannot forge another line */
    line[len++] = '\n';
    write_line(line, (size_t)len);
}

void log_error(const struct log *log, enum log_level level, const char *event,
               const struct kms_error *err)
{
    log_event(log, level, event, "error=%s message=\"%s\" detail=\"%s\" where=%s",
              kms_err_name(err->code), err->message, err->detail, err->where ? err->where : "-");
}
