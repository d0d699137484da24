#pragma once

/*
 * The operator's log: one event per line on standard error, key=value. Written by main.c, http/
 * and background workers only; other floors fill a struct kms_error. No client bytes are written
 * unquoted and no secrets at all. Safe in any thread: one write(2) per line. Never waits: lines that
 * nobody reads are dropped, and how many is said as soon as somebody reads again.
 */

#include "hsmkms/base/error.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log {
    enum log_level level;
};

/* event is one word; format writes the rest of the line, already key=value. */
void log_event(const struct log *log, enum log_level level, const char *event, const char *format,
               ...) PRINTF_LIKE(4, 5);

/*
 * An event that anybody may cause, without a credential: LOG_REFUSALS_PER_SECOND such lines in a
 * second, so that a stranger fills no disk. Of more only the number is said, before the first line
 * of a later second.
 */
#define LOG_REFUSALS_PER_SECOND 100
void log_refusal(const struct log *log, enum log_level level, const char *event, const char *format,
                 ...) PRINTF_LIKE(4, 5);

/* An event with everything an error knows. */
void log_error(const struct log *log, enum log_level level, const char *event,
               const struct kms_error *err);
