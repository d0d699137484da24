#pragma once

/*
 * Compares a trail, line by line as it is walked, with its checkpoints as they were when the walk
 * began. Needs the public keys that the checkpoints name and no other; whose they are is for the
 * reader of the result to see.
 */

#include "hsmkms/audit/checkpoint.h"
#include "hsmkms/audit/lines.h"

struct witness {
    int fd; /* of the file; -1: there is none */
    int64_t limit;
    struct lines lines;
    struct checkpoint before, next; /* zero state: none */
    uint8_t before_hash[SHA256_LEN], next_hash[SHA256_LEN];
    struct merkle tree;
    uint64_t count;          /* checkpoints that the trail fulfils */
    struct kms_error failed; /* the first failure, when there was one */
};

/* ret: in its zero state. Errors: INTEGRITY; INTERNAL. */
CHECKED int witness_open(int dir_fd, struct witness *ret, struct kms_error *err);

/* Looks at line number seq; keeps what is wrong for witness_end(). */
void witness_line(struct witness *witness, uint64_t seq, struct span line);

/* Errors: INTEGRITY (message names the checkpoint, or the line that the trail has lost). */
CHECKED int witness_end(const struct witness *witness, uint64_t last_seq, struct kms_error *err);

/* SHA-256 of the key that signed, hex; "" without a checkpoint. Errors: INTERNAL. */
CHECKED int witness_key(const struct witness *witness, char ret[SHA256_HEX_LEN + 1],
                        struct kms_error *err);

void witness_done(struct witness *witness);

/*
 * The checkpoint that covers line seq, and its text; those before it are checked on the way.
 *
 * ret_line  appended to, without a newline
 * Errors:   NOT_FOUND (none covers it); INTEGRITY; INTERNAL
 */
CHECKED int witness_find(int dir_fd, uint64_t seq, struct checkpoint *ret, struct buf *ret_line,
                         struct kms_error *err);
