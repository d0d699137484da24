#pragma once

/*
 * Wall time and monotonic time. Everything that decides by the calendar takes a struct clock, so
 * that a test can set it; durations are measured on the monotonic clock.
 */

#include "hsmkms/base/attrs.h"

#define MS_PER_SECOND INT64_C(1000)
#define MS_PER_DAY    (INT64_C(86400) * MS_PER_SECOND)

struct clock {
    int64_t fixed_ms; /* 0: the system's clock; else always this time */
};

/* Milliseconds since 1970-01-01 UTC. */
int64_t clock_wall_ms(const struct clock *clock);

/* Microseconds since some moment before the process began. */
int64_t clock_mono_us(void);

/* "2026-11-20T12:00:00Z" of a wall time. */
struct clock_text {
    char text[21];
};
struct clock_text clock_iso8601(int64_t wall_ms);

/* "20261120T120000Z", the form SigV4 signs; parse accepts exactly this form of a real date. */
struct clock_text clock_compact(int64_t wall_ms);
CHECKED bool clock_parse_compact(const char *text, int64_t *ret_wall_ms);

/* IMF-fixdate (RFC 9110 section 5.6.7), e.g. "Fri, 20 Nov 2026 12:00:00 GMT". */
struct clock_imf {
    char text[30];
};
struct clock_imf clock_imf_fixdate(int64_t wall_ms);
CHECKED bool clock_parse_imf_fixdate(const char *text, int64_t *ret_wall_ms);
