#include "hsmkms/store/root_tree.h"

#include <stdlib.h>

/* What a hash is over comes first in it, so that no bucket can pass for an inner hash. */
enum { NODE_BUCKET = 0x00, NODE_INNER = 0x01 };

struct bucket {
    struct root_entry *entries; /* ascending by key */
    size_t count, cap;
};

struct root_tree {
    struct bucket buckets[ROOT_TREE_BUCKETS];
    /* Node 1 is the root, the children of n are 2n and 2n+1, the last half are the buckets. */
    uint8_t hash[2 * ROOT_TREE_BUCKETS][SHA256_LEN];
    bool stale[2 * ROOT_TREE_BUCKETS]; /* with a node, all above it are stale */
    size_t count;
};

static size_t bucket_of(const uint8_t key[SHA256_LEN])
{
    return (size_t)key[0] << 4 | key[1] >> 4; /* ROOT_TREE_LEVELS bits */
}

int root_tree_new(struct root_tree **ret, struct kms_error *err)
{
    struct root_tree *const tree = calloc(1, sizeof(*tree));

    if (tree == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the root tree");
    memset(tree->stale, true, sizeof(tree->stale));
    *ret = tree;
    return 0;
}

void root_tree_free(struct root_tree *tree)
{
    if (tree == NULL)
        return;
    for (size_t i = 0; i < ROOT_TREE_BUCKETS; i++)
        free(tree->buckets[i].entries);
    free(tree);
}

size_t root_tree_count(const struct root_tree *tree)
{
    return tree->count;
}

/* Where a key is in its bucket, or would be. */
static size_t place_of(const struct bucket *bucket, const uint8_t key[SHA256_LEN], bool *ret_there)
{
    size_t at = 0;
    int order = -1;

    while (at < bucket->count && (order = memcmp(bucket->entries[at].key, key, SHA256_LEN)) < 0)
        at++;
    *ret_there = at < bucket->count && order == 0;
    return at;
}

const struct root_entry *root_tree_find(const struct root_tree *tree, const uint8_t key[SHA256_LEN])
{
    const struct bucket *const bucket = &tree->buckets[bucket_of(key)];
    bool there;
    const size_t at = place_of(bucket, key, &there);

    return there ? &bucket->entries[at] : NULL;
}

static void mark(struct root_tree *tree, const uint8_t key[SHA256_LEN])
{
    for (size_t node = ROOT_TREE_BUCKETS + bucket_of(key); node >= 1 && !tree->stale[node];
         node /= 2)
        tree->stale[node] = true;
}

/* Room for one more entry. */
static bool grow(struct bucket *bucket)
{
    const size_t cap = bucket->cap ? 2 * bucket->cap : 4;

    if (bucket->count < bucket->cap)
        return true;
    struct root_entry *const moved = reallocarray(bucket->entries, cap, sizeof(*moved));
    if (moved == NULL)
        return false;
    bucket->entries = moved;
    bucket->cap = cap;
    return true;
}

int root_tree_put(struct root_tree *tree, const struct root_entry *entry, struct kms_error *err)
{
    struct bucket *const bucket = &tree->buckets[bucket_of(entry->key)];
    bool there;
    const size_t at = place_of(bucket, entry->key, &there);

    if (!there) {
        if (!grow(bucket))
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory in the root tree");
        memmove(bucket->entries + at + 1, bucket->entries + at,
                (bucket->count - at) * sizeof(*entry));
        bucket->count++;
        tree->count++;
    }
    bucket->entries[at] = *entry;
    mark(tree, entry->key);
    return 0;
}

void root_tree_remove(struct root_tree *tree, const uint8_t key[SHA256_LEN])
{
    struct bucket *const bucket = &tree->buckets[bucket_of(key)];
    bool there;
    const size_t at = place_of(bucket, key, &there);

    if (!there)
        return;
    bucket->count--;
    tree->count--;
    memmove(bucket->entries + at, bucket->entries + at + 1,
            (bucket->count - at) * sizeof(bucket->entries[0]));
    mark(tree, key);
}

static int hash_bucket(const struct bucket *bucket, uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    static const uint8_t tag[] = { NODE_BUCKET };
    AUTO(sha256) sha = { 0 };

    if (sha256_init(&sha, err) < 0)
        return -1;
    sha256_update(&sha, SPAN_ARRAY(tag));
    for (size_t i = 0; i < bucket->count; i++) {
        sha256_update(&sha, SPAN_ARRAY(bucket->entries[i].key));
        sha256_update(&sha, SPAN_ARRAY(bucket->entries[i].mac));
    }
    return sha256_final(&sha, ret, err);
}

static int hash_inner(struct root_tree *tree, size_t node, struct kms_error *err)
{
    uint8_t bytes[1 + 2 * SHA256_LEN] = { NODE_INNER };

    memcpy(bytes + 1, tree->hash[2 * node], 2 * (size_t)SHA256_LEN); /* children are neighbours */
    return sha256_of(SPAN_ARRAY(bytes), tree->hash[node], err);
}

/* Recursion is ROOT_TREE_LEVELS deep. */
static int refresh(struct root_tree *tree, size_t node, struct kms_error *err)
{
    if (!tree->stale[node])
        return 0;
    if (node >= ROOT_TREE_BUCKETS) {
        if (hash_bucket(&tree->buckets[node - ROOT_TREE_BUCKETS], tree->hash[node], err) < 0)
            return -1;
    } else if (refresh(tree, 2 * node, err) < 0 || refresh(tree, 2 * node + 1, err) < 0 ||
               hash_inner(tree, node, err) < 0) {
        return -1;
    }
    tree->stale[node] = false;
    return 0;
}

int root_tree_root(struct root_tree *tree, uint8_t ret[SHA256_LEN], struct kms_error *err)
{
    if (refresh(tree, 1, err) < 0)
        return -1;
    memcpy(ret, tree->hash[1], SHA256_LEN);
    return 0;
}
