#pragma once

/*
 * The file of checkpoints, checkpoints.jsonl beside the segments: what a running service has signed
 * of its trail. Opening it finds a trail that has lost lines at its end, which the chain alone
 * cannot show; signing goes over the lines once more as they lie on disk.
 *
 * Threads: one at a time.
 */

#include "hsmkms/audit/audit.h"
#include "hsmkms/audit/checkpoint.h"

#define CHECKPOINTS_FILE "checkpoints.jsonl"

/* Appends a DER signature of a digest. */
typedef int checkpoint_sign_fn(void *ctx, const uint8_t digest[SHA256_LEN], struct buf *ret,
                               struct kms_error *err);

struct checkpoints_config {
    const char *origin; /* UUID text of the installation; borrowed for the call */
    uint8_t key[CHECKPOINT_KEY_LEN];
    checkpoint_sign_fn *sign;
    void *ctx;
    int64_t records, seconds; /* a checkpoint is due after so many lines, or when one is so old */
    uint64_t known_seq;       /* of the newest checkpoint that the database knows of; 0: none */
};

struct checkpoints;

/*
 * Opens the file of an opened trail, makes it when it is missing and may be, and cuts off a torn
 * last line. The newest checkpoint must be of this key and installation, at or past known_seq, and
 * the trail must hold the very line that it covers.
 *
 * ret_state_sequence  of the database when the newest was signed; 0: there is none
 * Errors:             INTEGRITY; INTERNAL (disk)
 */
CHECKED int checkpoints_open(const char *dir, struct audit *audit,
                             const struct checkpoints_config *config, struct checkpoints **ret,
                             uint64_t *ret_state_sequence, struct kms_error *err);

/* Whether enough lines or time have passed; false while nothing is new. */
bool checkpoints_due(struct checkpoints *checkpoints);

/*
 * Signs what is durable now and puts it on disk; nothing when nothing is new.
 *
 * ret_seq  of the newest checkpoint
 * Errors:  INTEGRITY (the lines on disk are not those that were written; nothing was signed);
 *          INTERNAL (disk); those of sign
 */
CHECKED int checkpoints_add(struct checkpoints *checkpoints, uint64_t state_sequence,
                            int64_t wall_ms, uint64_t *ret_seq, struct kms_error *err);

/* Accepts NULL. */
void checkpoints_close(struct checkpoints *checkpoints);
