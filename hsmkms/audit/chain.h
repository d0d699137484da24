#pragma once

/*
 * One line of the trail: how it is written and how it is checked, side by side. Pure functions over
 * bytes; knows nothing of files.
 *
 *   {"seq":N,"prev":"<SHA-256 of line N-1>",<members of the record>}
 *   {"seq":N,"prev":"<...>","carried":M,<members of the record>}     first line of a segment
 *
 * carried is the greatest stateSequence of all results before the line, so that the newest segment
 * alone tells how far the database had come.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/crypto/digest.h"

#define CHAIN_LINE_MAX ((size_t)1 << 20) /* bytes of a line without its newline */

struct chain {
    uint64_t seq;             /* of the last line; 0: there is none */
    uint8_t head[SHA256_LEN]; /* SHA-256 of the last line without its newline; zeros: none */
    uint64_t state_sequence;  /* greatest stateSequence of a result so far */
    bool carry;               /* the next line begins a segment */
    bool trust_carried;       /* for the check: what came before was not read, believe the line */
};

/*
 * Appends the line of a record, newline included, and moves the chain on. Both are as before on
 * failure, but for a ret that ran out of memory: that one has failed for good.
 *
 * record   one JSON object, "{...}", with a member or more and without a newline
 * Errors:  INTERNAL (no such text, longer than a line may be, out of memory)
 */
CHECKED int chain_append(struct chain *chain, struct span record, struct buf *ret,
                         struct kms_error *err);

/*
 * Checks that a line, without its newline, is the next one and moves the chain on. Returns NULL,
 * or in a few words what is wrong; then the chain is as before.
 */
CHECKED const char *chain_check(struct chain *chain, struct span line);
