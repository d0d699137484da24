#pragma once

/*
 * The values that conditions compare, read from their texts. Strict: what is not read completely
 * is not read.
 */

#include "hsmkms/base/span.h"

/* "true" or "false" in any case. */
CHECKED bool boolean_parse(struct span text, bool *ret);

/* Digits with a sign and a fraction, of any size: compared as digits, so nothing is rounded. */
struct number {
    bool negative;
    struct span whole;    /* without zeros in front */
    struct span fraction; /* without zeros behind */
};
CHECKED bool number_parse(struct span text, struct number *ret); /* ret borrows from text */
int number_compare(const struct number *a, const struct number *b);

/*
 * Milliseconds since 1970: YYYY-MM-DD, the same with Thh:mm[:ss[.fff]] and Z or +hh:mm, or seconds
 * since 1970.
 * Source: W3C, Date and Time Formats.
 */
CHECKED bool date_parse(struct span text, int64_t *ret_ms);

/* An IPv6 network; IPv4 is mapped (RFC 4291 section 2.5.5.2). */
struct network {
    uint8_t address[16];
    unsigned bits; /* 0..128 in front that count */
};
CHECKED bool network_parse(struct span text, struct network *ret); /* "address" or "address/bits" */
CHECKED bool address_parse(struct span text, uint8_t ret[16]);
CHECKED bool network_has(const struct network *network, const uint8_t address[16]);
