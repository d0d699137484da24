#pragma once

/*
 * Grants in memory, found by what a request says. A grant stands in a bucket named by the 64-bit
 * hash of
 *   key id, principal, and one (name, value) pair of its constraint, the one whose bucket was
 *   emptiest, or no pair for operations that no constraint limits
 * so a request with n context pairs looks into n + 1 buckets for each way its caller can be named,
 * however many grants the key has. What is found there is verified in full: grants that share a
 * bucket by chance cost time, never a right. Besides, grants stand in two orders for lists.
 *
 * What can fail for want of memory is done before a grant is durable; adding it then cannot fail.
 *
 * Threads: none; whoever owns the index locks it.
 */

#include "hsmkms/crypto/short_hash.h"
#include "hsmkms/iam/grant_match.h"
#include "hsmkms/iam/grant_tree.h"

struct grant_bucket;
struct grant_node;

struct grant_index {
    struct short_hash_key key;
    struct grant_bucket **table; /* a power of two */
    size_t table_size, bucket_count;
    struct grant_tree by_key, by_retiring;
};

CHECKED int grant_index_init(struct grant_index *ret, struct kms_error *err);
void grant_index_done(struct grant_index *index); /* gives all grants back */

/* A grant with the memory for its place; takes a reference of its own. */
CHECKED int grant_node_new(struct grant *grant, struct grant_node **ret, struct kms_error *err);
void grant_node_free(struct grant_node *node); /* accepts NULL; not one that is in an index */

/* Takes the node over. No grant of this key and id is there. */
void grant_index_add(struct grant_index *index, struct grant_node *node);

/* Removes and frees; nothing happens when there is none. */
void grant_index_remove(struct grant_index *index, const struct uuid *key_id, const char *id);

/* --- grants found are borrowed from the index ------------------------------------------------- */

struct grant *grant_index_get(const struct grant_index *index, const struct uuid *key_id,
                              const char *id);

/* One with a name that an identical request made, or NULL. */
struct grant *grant_index_same(const struct grant_index *index, const struct grant *wanted);

struct grant_query {
    const struct uuid *key_id;
    const struct principal *caller;
    int action;
    const struct condition_pair *pairs;
    size_t pair_count;
    const struct grant_draft *child; /* NULL, or only a grant that may be its parent */
};

/*
 * The strongest of the grants that fit. With a child, one of those that are equally strong and may
 * be its parent: ret_grant NULL when none may.
 */
enum strength grant_index_ask(const struct grant_index *index, const struct grant_query *query,
                              struct grant **ret_grant);

size_t grant_index_count(const struct grant_index *index, const struct uuid *key_id);
