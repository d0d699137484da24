#pragma once

/*
 * The Merkle tree of RFC 9162, section 2.1, over lines of the trail: one hash stands for all of
 * them, and some 30 hashes show that one line is among a thousand million. Pure functions.
 *
 * Errors: INTERNAL (OpenSSL broken)
 */

#include "hsmkms/crypto/digest.h"

#define MERKLE_LEVELS 64

typedef uint8_t merkle_hash[SHA256_LEN];

/* A tree that grows leaf by leaf in bounded memory. The zero state has none. */
struct merkle {
    uint64_t count;
    merkle_hash peaks[MERKLE_LEVELS]; /* [n] is set where count has bit n: a full tree of 2^n */
};

CHECKED int merkle_leaf(struct span line, merkle_hash ret, struct kms_error *err);
CHECKED int merkle_add(struct merkle *tree, const merkle_hash leaf, struct kms_error *err);

/* Of one leaf or more. */
CHECKED int merkle_root(const struct merkle *tree, merkle_hash ret, struct kms_error *err);

/* The hashes that lead from a leaf to the root, the leaf's neighbour first (section 2.1.3). */
struct merkle_path {
    size_t len;
    merkle_hash hashes[MERKLE_LEVELS];
};

/* index: less than count */
CHECKED int merkle_path_make(const merkle_hash *leaves, uint64_t count, uint64_t index,
                             struct merkle_path *ret, struct kms_error *err);

/* The root that a path leads to (section 2.1.3.2); ret_good is false for a path of no tree. */
CHECKED int merkle_path_follow(const struct merkle_path *path, const merkle_hash leaf,
                               uint64_t count, uint64_t index, merkle_hash ret, bool *ret_good,
                               struct kms_error *err);
