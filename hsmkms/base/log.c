#include "hsmkms/base/log.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "hsmkms/base/clock.h"

#define LOG_LINE_MAX 2048

static const char *const level_names[] = { "error", "warn", "info", "debug" };

/*
 * What one process shares because it has one standard error: whose turn it is, how many lines
 * nobody wanted, and how many refusals were written and left out in a second of the monotonic
 * clock. With one writer at a time a pipe that polls as writable takes a line whole.
 */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static unsigned long lost;
static struct {
    int64_t second;
    unsigned written;
    unsigned long suppressed;
} refusals;

static bool has_reader(void)
{
    struct pollfd error = { .fd = STDERR_FILENO, .events = POLLOUT };

    return poll(&error, 1, 0) == 1 && (error.revents & POLLOUT);
}

/* Under the turn: says how many lines are missing here. */
static void write_note(const char *event, unsigned long *count)
{
    char note[96];

    if (*count == 0 || !has_reader())
        return;
    const int len =
        snprintf(note, sizeof(note), "%s level=warn event=%s count=%lu\n",
                 clock_iso8601(clock_wall_ms(&(struct clock){ 0 })).text, event, *count);
    *count = 0;
    const ssize_t written = write(STDERR_FILENO, note, (size_t)len);
    (void)written; /* nowhere left to say so */
}

/* Under the turn. */
static void begin_second(void)
{
    const int64_t second = clock_mono_us() / 1000000;

    if (second == refusals.second)
        return;
    refusals.second = second;
    refusals.written = 0;
    write_note("refused-lines-suppressed", &refusals.suppressed);
}

/* A reader that has stopped must not stop the service: its lines are counted and dropped. */
static void write_line(const char *line, size_t len)
{
    ssize_t written = 0;

    (void)pthread_mutex_lock(&turn);
    write_note("log-lines-lost", &lost);
    begin_second();
    if (has_reader())
        written = write(STDERR_FILENO, line, len);
    else
        lost++;
    (void)pthread_mutex_unlock(&turn);
    (void)written; /* nowhere left to say so */
}

/* False: this second has had its refusals. */
static bool take_refusal_place(void)
{
    (void)pthread_mutex_lock(&turn);
    begin_second();
    const bool place = refusals.written < LOG_REFUSALS_PER_SECOND;
    if (place)
        refusals.written++;
    else
        refusals.suppressed++;
    (void)pthread_mutex_unlock(&turn);
    return place;
}

static void format_line(enum log_level level, const char *event, const char *format, va_list args)
    PRINTF_LIKE(3, 0);

static void format_line(enum log_level level, const char *event, const char *format, va_list args)
{
    char line[LOG_LINE_MAX];
    const struct clock_text now = clock_iso8601(clock_wall_ms(&(struct clock){ 0 }));
    int len =
        snprintf(line, sizeof(line), "%s level=%s event=%s ", now.text, level_names[level], event);

    len += vsnprintf(line + len, sizeof(line) - (size_t)len, format, args);
    if ((size_t)len > sizeof(line) - 2)
        len = (int)sizeof(line) - 2; /* a cut line is still one line */

    for (int i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?'; /* an event cannot forge another line */
    line[len++] = '\n';
    write_line(line, (size_t)len);
}

void log_event(const struct log *log, enum log_level level, const char *event, const char *format,
               ...)
{
    va_list args;

    if (level > log->level)
        return;
    va_start(args, format);
    format_line(level, event, format, args);
    va_end(args);
}

void log_refusal(const struct log *log, enum log_level level, const char *event, const char *format,
                 ...)
{
    va_list args;

    if (level > log->level || !take_refusal_place())
        return;
    va_start(args, format);
    format_line(level, event, format, args);
    va_end(args);
}

void log_error(const struct log *log, enum log_level level, const char *event,
               const struct kms_error *err)
{
    log_event(log, level, event, "error=%s message=\"%s\" detail=\"%s\" where=%s",
              kms_err_name(err->code), err->message, err->detail, err->where ? err->where : "-");
}
