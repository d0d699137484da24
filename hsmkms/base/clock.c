#include "hsmkms/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char weekdays[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

int64_t clock_wall_ms(const struct clock *clock)
{
    struct timespec now;

    if (clock->fixed_ms)
        return clock->fixed_ms;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    return (int64_t)now.tv_sec * MS_PER_SECOND + now.tv_nsec / 1000000;
}

int64_t clock_mono_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct tm utc(int64_t wall_ms)
{
    const time_t seconds = (time_t)(wall_ms / MS_PER_SECOND);
    struct tm parts = { 0 };

    (void)gmtime_r(&seconds, &parts); /* fails only past the year 2^31 */
    return parts;
}

/* The text of a second, made once for all requests of a thread that fall into it. */
struct second {
    bool known;
    int64_t number;
    struct clock_text text;
};

static struct clock_text text_of(struct second *last, const char *format, int64_t wall_ms)
{
    const int64_t number = wall_ms / MS_PER_SECOND;

    if (!last->known || last->number != number) {
        const struct tm t = utc(wall_ms);
        (void)strftime(last->text.text, sizeof(last->text.text), format, &t);
        last->number = number;
        last->known = true;
    }
    return last->text;
}

struct clock_text clock_iso8601(int64_t wall_ms)
{
    static _Thread_local struct second last;

    return text_of(&last, "%Y-%m-%dT%H:%M:%SZ", wall_ms);
}

struct clock_text clock_compact(int64_t wall_ms)
{
    static _Thread_local struct second last;

    return text_of(&last, "%Y%m%dT%H%M%SZ", wall_ms);
}

struct clock_imf clock_imf_fixdate(int64_t wall_ms)
{
    const struct tm t = utc(wall_ms);
    struct clock_imf made;

    /* not strftime: names of days and months must not follow the locale */
    (void)snprintf(made.text, sizeof(made.text), "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
                   weekdays[t.tm_wday], (unsigned)t.tm_mday % 100, months[t.tm_mon],
                   (unsigned)(t.tm_year + 1900) % 10000, (unsigned)t.tm_hour % 100,
                   (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
    return made;
}

/* Reads count digits; -1 when one is none. */
static int digits(const char *text, size_t count)
{
    int value = 0;

    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* True when the parts name a moment that exists: timegm() normalises, so it must change nothing. */
static bool to_wall(struct tm parts, int64_t *ret_wall_ms)
{
    struct tm normal = parts;
    const time_t seconds = timegm(&normal);

    if (parts.tm_year < 70 || normal.tm_mon != parts.tm_mon || normal.tm_mday != parts.tm_mday ||
        normal.tm_hour != parts.tm_hour || normal.tm_min != parts.tm_min ||
        normal.tm_sec != parts.tm_sec)
        return false;
    *ret_wall_ms = (int64_t)seconds * MS_PER_SECOND;
    return true;
}

bool clock_parse_compact(const char *text, int64_t *ret_wall_ms)
{
    if (strlen(text) != 16 || text[8] != 'T' || text[15] != 'Z')
        return false;

    const int year = digits(text, 4), month = digits(text + 4, 2), day = digits(text + 6, 2);
    const int hour = digits(text + 9, 2), minute = digits(text + 11, 2);
    const int second = digits(text + 13, 2);
    if (year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0)
        return false;
    return to_wall((struct tm){ .tm_year = year - 1900,
                                .tm_mon = month - 1,
                                .tm_mday = day,
                                .tm_hour = hour,
                                .tm_min = minute,
                                .tm_sec = second },
                   ret_wall_ms);
}

bool clock_parse_imf_fixdate(const char *text, int64_t *ret_wall_ms)
{
    int month = 0;

    /* "Fri, 20 Nov 2026 12:00:00 GMT"; the day's name carries nothing and is not checked */
    if (strlen(text) != 29 || memcmp(text + 3, ", ", 2) != 0 || text[7] != ' ' || text[11] != ' ' ||
        text[16] != ' ' || text[19] != ':' || text[22] != ':' || memcmp(text + 25, " GMT", 4) != 0)
        return false;
    while (month < 12 && memcmp(text + 8, months[month], 3) != 0)
        month++;

    const int day = digits(text + 5, 2), year = digits(text + 12, 4), hour = digits(text + 17, 2);
    const int minute = digits(text + 20, 2), second = digits(text + 23, 2);
    if (month == 12 || year < 0 || day < 0 || hour < 0 || minute < 0 || second < 0)
        return false;
    return to_wall((struct tm){ .tm_year = year - 1900,
                                .tm_mon = month,
                                .tm_mday = day,
                                .tm_hour = hour,
                                .tm_min = minute,
                                .tm_sec = second },
                   ret_wall_ms);
}
