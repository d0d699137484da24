#pragma once

/*
 * A hash tree over all rows, kept in memory: 4096 buckets of rows by the first bits of their key's
 * hash, and a binary tree of hashes above them. Its root changes with every row that is added,
 * removed or replaced. A change marks the way from its bucket to the root; the root is then
 * computed from the marked hashes alone: one bucket and 12 more for one row.
 *
 * Threads: one at a time.
 */

#include "hsmkms/crypto/digest.h"
#include "hsmkms/store/store.h"

#define ROOT_TREE_LEVELS  12
#define ROOT_TREE_BUCKETS (1 << ROOT_TREE_LEVELS)

struct root_entry {
    uint8_t key[SHA256_LEN];    /* names the row: row_key_hash() */
    uint8_t mac[STORE_MAC_LEN]; /* of the row */
    uint8_t digest[SHA256_LEN]; /* of the bytes under that MAC; kept, not part of the root */
};

struct root_tree;

CHECKED int root_tree_new(struct root_tree **ret, struct kms_error *err);
void root_tree_free(struct root_tree *tree); /* accepts NULL */

size_t root_tree_count(const struct root_tree *tree);

/* The entry of a key, or NULL; borrowed until the next change. */
const struct root_entry *root_tree_find(const struct root_tree *tree,
                                        const uint8_t key[SHA256_LEN]);

/* Adds or replaces. Errors: INTERNAL (out of memory), never when the key is there already. */
CHECKED int root_tree_put(struct root_tree *tree, const struct root_entry *entry,
                          struct kms_error *err);

/* Takes the entry of a key out, if it is there. */
void root_tree_remove(struct root_tree *tree, const uint8_t key[SHA256_LEN]);

/* Errors: INTERNAL (OpenSSL). */
CHECKED int root_tree_root(struct root_tree *tree, uint8_t ret[SHA256_LEN], struct kms_error *err);
