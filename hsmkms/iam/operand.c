#include "hsmkms/iam/operand.h"

#include <arpa/inet.h>

#include "hsmkms/iam/glob.h"

bool boolean_parse(struct span text, bool *ret)
{
    *ret = span_equal_folded(text, SPAN_LITERAL("true"));
    return *ret || span_equal_folded(text, SPAN_LITERAL("false"));
}

static bool take_digits(struct span *text, struct span *ret)
{
    size_t len = 0;

    while (len < text->len && text->ptr[len] >= '0' && text->ptr[len] <= '9')
        len++;
    return span_take(text, len, ret) && len > 0;
}

/* One of these letters, or NUL when none of them comes. */
static char take_one_of(struct span *text, const char *letters)
{
    struct span taken;

    if (text->len == 0 || *text->ptr == '\0' || strchr(letters, *text->ptr) == NULL ||
        !span_take(text, 1, &taken))
        return '\0';
    return (char)*taken.ptr;
}

bool number_parse(struct span text, struct number *ret)
{
    struct number number = { 0 };

    number.negative = take_one_of(&text, "+-") == '-';
    if (!take_digits(&text, &number.whole))
        return false;
    if (take_one_of(&text, ".") && !take_digits(&text, &number.fraction))
        return false;
    while (number.whole.len && *number.whole.ptr == '0')
        number.whole = span_of(number.whole.ptr + 1, number.whole.len - 1);
    while (number.fraction.len && number.fraction.ptr[number.fraction.len - 1] == '0')
        number.fraction.len--;
    if (number.whole.len == 0 && number.fraction.len == 0)
        number.negative = false; /* -0 */
    *ret = number;
    return text.len == 0;
}

int number_compare(const struct number *a, const struct number *b)
{
    int order;

    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    if (a->whole.len != b->whole.len)
        order = a->whole.len < b->whole.len ? -1 : 1;
    else
        order = span_compare(a->whole, b->whole);
    if (order == 0)
        order = span_compare(a->fraction, b->fraction);
    return a->negative ? -order : order;
}

/* Exactly so many digits. */
static bool take_number(struct span *text, size_t digits, int64_t *ret)
{
    struct span taken;

    if (!span_take(text, digits, &taken))
        return false;
    *ret = 0;
    for (size_t i = 0; i < digits; i++) {
        if (taken.ptr[i] < '0' || taken.ptr[i] > '9')
            return false;
        *ret = *ret * 10 + (taken.ptr[i] - '0');
    }
    return true;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days since 1970-01-01 in the Gregorian calendar, year 1 or later. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    const int64_t past = year - 1;

    return past * 365 + past / 4 - past / 100 + past / 400 - 719162 + before[month - 1] +
           (month > 2 && is_leap(year)) + day - 1;
}

static bool take_day(struct span *text, int64_t *ret_days)
{
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t year, month, day;

    if (!take_number(text, 4, &year) || !take_one_of(text, "-") || !take_number(text, 2, &month) ||
        !take_one_of(text, "-") || !take_number(text, 2, &day))
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 ||
        day > lengths[month - 1] + (month == 2 && is_leap(year)))
        return false;
    *ret_days = days_of(year, month, day);
    return true;
}

static bool take_hours_minutes(struct span *text, int64_t *ret_minutes)
{
    int64_t hours, minutes;

    if (!take_number(text, 2, &hours) || !take_one_of(text, ":") ||
        !take_number(text, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_minutes = hours * 60 + minutes;
    return true;
}

/* Behind the T; ret: milliseconds of the day in UTC, which may lie in the day before or after. */
static bool take_time(struct span *text, int64_t *ret_ms)
{
    int64_t minutes, seconds = 0, ms = 0, offset = 0;

    if (!take_hours_minutes(text, &minutes))
        return false;
    if (take_one_of(text, ":")) {
        if (!take_number(text, 2, &seconds) || seconds > 59)
            return false;
        if (take_one_of(text, ".") && !take_number(text, 3, &ms))
            return false;
    }
    const char zone = take_one_of(text, "Z+-");
    if (zone == '\0' || (zone != 'Z' && !take_hours_minutes(text, &offset)))
        return false;
    minutes += zone == '-' ? offset : -offset;
    *ret_ms = (minutes * 60 + seconds) * 1000 + ms;
    return true;
}

bool date_parse(struct span text, int64_t *ret_ms)
{
    struct span rest = text;
    int64_t days, ms = 0;

    if (text.len >= 1 && text.len <= 15 && take_number(&rest, text.len, ret_ms)) {
        *ret_ms *= 1000; /* seconds since 1970; 15 digits of them stay far below 2^63 */
        return true;
    }
    rest = text;
    if (!take_day(&rest, &days))
        return false;
    if (take_one_of(&rest, "T") && !take_time(&rest, &ms))
        return false;
    *ret_ms = days * INT64_C(86400000) + ms;
    return rest.len == 0;
}

#define V4_BITS_BEFORE 96

/* ret_before: bits of the mapping in front of an IPv4 address, else 0. */
static bool parse_either(struct span text, uint8_t ret[16], unsigned *ret_before)
{
    static const uint8_t mapped[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    char copy[INET6_ADDRSTRLEN + 1];

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *ret_before = 0;
    if (inet_pton(AF_INET6, copy, ret) == 1)
        return true;
    memcpy(ret, mapped, sizeof(mapped));
    *ret_before = V4_BITS_BEFORE;
    return inet_pton(AF_INET, copy, ret + sizeof(mapped)) == 1;
}

bool address_parse(struct span text, uint8_t ret[16])
{
    unsigned before;

    return parse_either(text, ret, &before);
}

bool network_parse(struct span text, struct network *ret)
{
    const uint8_t *const slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
    const size_t len = slash ? (size_t)(slash - text.ptr) : text.len;
    int64_t bits = 0;
    unsigned before;

    if (!parse_either(span_of(text.ptr, len), ret->address, &before))
        return false;
    if (slash == NULL) {
        ret->bits = 128;
        return true;
    }
    struct span digits = span_of(slash + 1, text.len - len - 1);
    if (digits.len < 1 || digits.len > 3 || !take_number(&digits, digits.len, &bits) ||
        bits > 128 - before)
        return false;
    ret->bits = (unsigned)bits + before;
    return true;
}

bool network_has(const struct network *network, const uint8_t address[16])
{
    const size_t whole = network->bits / 8;
    const unsigned more = network->bits % 8;

    if (memcmp(network->address, address, whole) != 0)
        return false;
    return more == 0 || (network->address[whole] ^ address[whole]) >> (8 - more) == 0;
}
