#pragma once

/*
 * The audit trail: one JSON object per line in append-only segment files, numbered and chained by
 * SHA-256, durable before the answer it belongs to leaves. Knows nothing of keys or requests: a
 * record arrives as the text of a JSON object.
 *
 * A line is {"seq":N,"prev":"<hex>",<the record's members>}; prev is the SHA-256 of the line
 * before, without its newline, 64 zeros for the first of all. The first line of a segment has
 * "carried":M after prev: the state sequence reached before it. Segments are
 * audit-<first seq, 20 digits>.jsonl. docs/AUDIT.md describes the format.
 *
 * One committer thread writes what has queued up and syncs once for all of it.
 *
 * Threads: all functions but audit_open and audit_close may run in any thread.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/crypto/digest.h"

struct audit;

struct audit_config {
    const char *dir;
    int64_t segment_bytes, segment_seconds;
    size_t queue; /* most records waiting */
};

#define AUDIT_HEAD_LEN 64

/* What the trail ends with, for the check against the database. */
struct audit_tail {
    uint64_t seq;                  /* of the last whole line; 0: the trail is empty */
    uint64_t state_sequence;       /* greatest "stateSequence" member of a result record; 0: none */
    char head[AUDIT_HEAD_LEN + 1]; /* SHA-256 of the last whole line, hex */
    size_t segments;
    bool cut; /* audit_open: a torn last line was cut off */

    /* audit_verify alone */
    uint64_t checkpoints;         /* that cover lines, and do so rightly */
    uint64_t checkpoint_seq;      /* the last line that they cover */
    char key[AUDIT_HEAD_LEN + 1]; /* SHA-256 of the key that signed them, hex; "": none */
};

/*
 * Opens the trail, verifies the chain of the newest segment, cuts off a torn last line, and starts
 * the committer.
 *
 * Errors:  INTEGRITY (chain broken; message names segment and line); CONFIG (directory)
 */
CHECKED int audit_open(const struct audit_config *config, struct audit **ret,
                       struct audit_tail *ret_tail, struct kms_error *err);

/* Writes out what is queued, stops the committer, closes. Accepts NULL. */
void audit_close(struct audit *audit);

/*
 * Takes a place in the queue before the work begins, so that work is never done which cannot be
 * recorded. Each reserved place is given back by exactly one audit_submit or audit_release.
 *
 * Errors:  THROTTLING (queue full); INTERNAL (the last write failed and the trail is not yet
 *          healthy again)
 */
CHECKED int audit_reserve(struct audit *audit, struct kms_error *err);
void audit_release(struct audit *audit);

/*
 * Hands over a record: the text of one JSON object without a newline, "{...}". Takes ownership.
 * done runs once, in the committer's thread, with durable false when the record could not be
 * written: then no answer that depends on it may leave. It must not block.
 */
typedef void audit_done_fn(void *arg, bool durable);
void audit_submit(struct audit *audit, struct buf record, audit_done_fn *done, void *arg);

/* Reserves, submits and waits. Takes ownership of record. Errors: as audit_reserve; INTERNAL. */
CHECKED int audit_write(struct audit *audit, struct buf record, struct kms_error *err);

struct audit_status {
    bool healthy;
    uint64_t seq;    /* of the last durable record */
    uint8_t head[SHA256_LEN]; /* and its SHA-256 */
    uint64_t groups; /* group commits since start */
    size_t queued;
    size_t largest_group;
};
void audit_status(struct audit *audit, struct audit_status *ret);

/*
 * Reads a whole trail: chain, numbers, segments, the state sequence, and the checkpoints there
 * are, as far as they had been written when it began. Used by hsmkms-audit.
 *
 * each     called for every good line, or NULL
 * Errors:  INTEGRITY; message names segment, line and what is wrong
 */
typedef void audit_line_fn(void *arg, uint64_t seq, struct span line);
CHECKED int audit_verify(const char *dir, audit_line_fn *each, void *arg, struct audit_tail *ret,
                         struct kms_error *err);

/*
 * Reads the last count lines without checking them; each is called in their order.
 *
 * Errors:  CONFIG (directory); INTEGRITY (names of segments); INTERNAL
 */
CHECKED int audit_last(const char *dir, uint64_t count, audit_line_fn *each, void *arg,
                       struct kms_error *err);
