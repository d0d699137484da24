#pragma once

/*
 * Paths of the KES API: which route a request is for, and the name that its last segment carries.
 * Pure.
 *
 * Source: MinIO KES, Server API (Concepts and API reference); RFC 3986 section 2.1.
 */

#include "hsmkms/base/attrs.h"

#define KES_NAME_MAX 80

/* What comes behind a route's path. */
enum kes_argument {
    KES_NOTHING,
    KES_NAME,   /* of a key */
    KES_PREFIX, /* of keys: may be empty or end in '*' */
    KES_ANY,    /* not looked at */
};

/* Verbs of a route. Releases of KES differ in POST and PUT: a route that writes takes both. */
enum kes_verbs { KES_GET, KES_WRITE, KES_DELETE, KES_ANY_VERB };
CHECKED bool kes_verb_fits(enum kes_verbs verbs, const char *method);

/*
 * True when target is path, and behind a path that takes an argument a slash and something; a
 * query does not count.
 *
 * ret      what is behind, percent-decoded; "" for nothing. False also when it does not fit.
 */
#define KES_SEGMENT_MAX 511
CHECKED bool kes_path_matches(const char *target, const char *path, enum kes_argument argument,
                              char ret[KES_SEGMENT_MAX + 1]);

/* 1..80 of [0-9A-Za-z_-], no '-' at either end, not "_". */
CHECKED bool kes_name_valid(const char *name);

/*
 * A prefix, with or without a '*' behind it, and where an earlier answer ended: clients give what
 * it said back in place of the prefix, so it is "PREFIX~MARKER"; no name has a '~'. The marker is
 * that of the operation, with letters that need no escape in a path.
 */
#define KES_MARKER_MAX 400
struct kes_listing {
    char prefix[KES_NAME_MAX + 1];   /* "": all */
    char marker[KES_MARKER_MAX + 1]; /* base64 as the operation has it; "": from the beginning */
};
CHECKED bool kes_listing_parse(const char *text, struct kes_listing *ret);

/* "PREFIX~MARKER"; false when there is no room. */
CHECKED bool kes_listing_format(const struct kes_listing *listing, char ret[KES_SEGMENT_MAX + 1]);
