#include "hsmkms/base/log.h"

#include <stdio.h>
#include <unistd.h>

#include "hsmkms/base/clock.h"

#define LOG_LINE_MAX 2048

static const char *const level_names[] = { "error", "warn", "info", "debug" };

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
    const ssize_t written = write(STDERR_FILENO, line, (size_t)len);
    (void)written; /* nowhere left to say so */
}

void log_error(const struct log *log, enum log_level level, const char *event,
               const struct kms_error *err)
{
    log_event(log, level, event, "error=%s message=\"%s\" detail=\"%s\" where=%s",
              kms_err_name(err->code), err->message, err->detail, err->where ? err->where : "-");
}
