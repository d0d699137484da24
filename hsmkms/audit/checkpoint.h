#pragma once

/*
 * A checkpoint: what a key of the token says of the trail at one moment, in one line. Pure
 * functions over bytes; knows nothing of files and of tokens.
 *
 *   {"seq":N,"from":M,"head":"<hex>","root":"<hex>","stateSequence":S,"time":"<UTC>",
 *    "origin":"<installation>","prev":"<hex>","key":"<hex>","signature":"<hex>"}
 *
 * Signed, by ECDSA on P-256 with SHA-256, is CHECKPOINT_DOMAIN and the line up to the comma before
 * "signature". There is one way to write a checkpoint: other blanks, orders and digits are refused.
 */

#include "hsmkms/audit/merkle.h"
#include "hsmkms/base/buf.h"

#define CHECKPOINT_DOMAIN        "hsmkms audit checkpoint 1\n"
#define CHECKPOINT_KEY_LEN       65 /* uncompressed point (SEC 1, section 2.3.3) */
#define CHECKPOINT_SIGNATURE_MAX 72 /* bytes of the DER text of two numbers of 256 bits */
#define CHECKPOINT_LINE_MAX      1024

struct checkpoint {
    uint64_t seq;             /* the newest line that it covers */
    uint64_t from;            /* the oldest that root covers: one after the checkpoint before */
    uint8_t head[SHA256_LEN]; /* SHA-256 of line seq, and so of all before */
    merkle_hash root;         /* over lines from .. seq */
    uint64_t state_sequence;  /* of the database at that moment */
    char time[21];            /* 2026-11-20T12:00:00Z */
    char origin[37];          /* UUID text of the installation */
    uint8_t prev[SHA256_LEN]; /* SHA-256 of the checkpoint line before; zeros: none */
    uint8_t key[CHECKPOINT_KEY_LEN];
};

/* What is to be signed: the digest. Errors: INTERNAL. */
CHECKED int checkpoint_digest(const struct checkpoint *checkpoint, uint8_t ret[SHA256_LEN],
                              struct kms_error *err);

/* Appends the line without a newline. signature: DER. */
CHECKED int checkpoint_format(const struct checkpoint *checkpoint, struct span signature,
                              struct buf *ret, struct kms_error *err);

/*
 * Reads a line, without its newline, and verifies its signature by the key that it names; whether
 * that is the right key is for the caller to see.
 *
 * Errors:  INTEGRITY (no checkpoint; signature); INTERNAL
 */
CHECKED int checkpoint_parse(struct span line, struct checkpoint *ret, struct kms_error *err);

/*
 * Checks that next may follow before: it covers what comes after, of the same installation, by the
 * same key, of no older database. before is in its zero state where there is none.
 *
 * before_hash  SHA-256 of its line
 * Errors:      INTEGRITY
 */
CHECKED int checkpoint_follows(const struct checkpoint *before,
                               const uint8_t before_hash[SHA256_LEN], const struct checkpoint *next,
                               struct kms_error *err);
