#pragma once

/*
 * Where a request ends and what its header lines are: pure checks over what the HTTP library
 * parsed, made because the library is lax. Two readers of one byte stream that disagree about
 * framing are how requests get smuggled, so whatever is not plain is refused.
 *
 * Source: RFC 9110 sections 5 and 7.2, RFC 9112 sections 3, 5 and 6.
 */

#include "hsmkms/base/error.h"
#include "hsmkms/http/server.h"

/* One header line where it lies in the received block. */
struct framing_line {
    struct span name;  /* up to the colon */
    struct span value; /* without leading blanks */
};

/* The head of a request where it lies in memory. */
struct framing_block {
    struct span method;  /* begins the request line */
    size_t target_len;   /* up to its first NUL */
    struct span version; /* ends the request line */
    const struct framing_line *lines;
    size_t count;
    const uint8_t *end; /* just behind the empty line */
};

struct framing_limits {
    size_t headers;      /* header lines */
    size_t header_bytes; /* names and values together, target included */
};

struct framing_head {
    const char *method;
    const char *target; /* as it arrived */
    const char *version;
    const struct http_header *headers;
    size_t count;
};

/* How the body is delimited. */
struct framing {
    bool chunked;
    bool expects_continue;
    uint64_t length; /* 0 when chunked */
};

/*
 * True when the parts of the request line are one blank apart and the lines lie back to back,
 * each ended by CR LF. The library cuts texts at a NUL, joins folded lines into wrong names and
 * takes a bare LF for a line end; every one of these leaves a gap or an overlap.
 */
CHECKED bool framing_is_gapless(const struct framing_block *block);

/*
 * After a failure the end of the request is unknown: the connection must be closed.
 * Errors: VALIDATION (message says what is wrong; it repeats no client bytes)
 */
CHECKED int framing_check(const struct framing_head *head, const struct framing_limits *limits,
                          struct framing *ret, struct kms_error *err);

/* Refusals that leave the framing sound. Errors: SERIALIZATION (content coding) */
CHECKED int framing_content_check(const struct framing_head *head, struct kms_error *err);

/*
 * The path and query of a request target: what follows the authority of an absolute-form target
 * ("/" when nothing does), the target itself otherwise. NULL: neither form.
 */
const char *framing_path(const char *target);

/* The only value of a header (name in lower case), or NULL. */
const char *framing_header(const struct http_header *headers, size_t count, const char *name);
