#pragma once

/*
 * Lists by pages. A marker is the base64 of
 *   check (16 bytes): start of SHA-256 over the operation's name, the list's filter and the rest
 *   the sort key of the last entry that was shown
 * so it survives the removal of that entry, and one that is damaged or belongs to another
 * operation or key is recognised. It is no secret and grants nothing.
 *
 * Source: AWS KMS API Reference, Marker and Truncated of the List operations.
 */

#include "hsmkms/api/op.h"

/* Which list: pages of one cannot go on in another. filter: bytes of the key id, the
 * resource, or none. */
struct list {
    const char *operation;
    struct span filter;
};

/* A list operation's own page sizes. */
struct page_size {
    size_t preset, most;
};

/* Entries to show: the preset when limit is 0, never more than most. */
size_t page_limit(struct page_size size, int64_t limit);

/* Appends the text of a marker behind last. */
CHECKED int marker_format(const struct list *list, struct span last, struct buf *ret,
                          struct kms_error *err);

/*
 * Appends the sort key in a marker.
 *
 * Errors:  INVALID_MARKER
 */
CHECKED int marker_parse(const struct list *list, const char *marker, struct buf *ret,
                         struct kms_error *err);

/* The list of a call: its operation, filtered by its resource or key when it has one. */
struct list page_list(const struct op_call *c);

/* The sort key to go on after: nothing appended when marker is NULL. Errors: INVALID_MARKER. */
CHECKED int page_after(const struct op_call *c, const char *marker, struct buf *ret,
                       struct kms_error *err);

/*
 * Answers a page: name is the member of the entries, items is taken over (NULL included), last is
 * the sort key of its last entry, looked at only when there are more.
 */
CHECKED int page_answer(struct op_call *c, const char *name, json_t *items, bool more,
                        struct span last, struct kms_error *err);
