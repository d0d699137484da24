#include "hsmkms/audit/merkle.h"

#include <assert.h>

/* First bytes of what is hashed, so that no node can be taken for a leaf. */
#define OF_LEAF 0x00
#define OF_NODE 0x01

int merkle_leaf(struct span line, merkle_hash ret, struct kms_error *err)
{
    static const uint8_t begin[] = { OF_LEAF };
    AUTO(sha256) sha = { 0 };

    if (sha256_init(&sha, err) < 0)
        return -1;
    sha256_update(&sha, SPAN_ARRAY(begin));
    sha256_update(&sha, line);
    return sha256_final(&sha, ret, err);
}

/* ret may be left or right. */
static int node(const merkle_hash left, const merkle_hash right, merkle_hash ret,
                struct kms_error *err)
{
    uint8_t bytes[1 + 2 * SHA256_LEN] = { OF_NODE };

    memcpy(bytes + 1, left, SHA256_LEN);
    memcpy(bytes + 1 + SHA256_LEN, right, SHA256_LEN);
    return sha256_of(SPAN_ARRAY(bytes), ret, err);
}

static bool is_set(uint64_t number, unsigned bit)
{
    return (number >> bit & 1) != 0;
}

int merkle_add(struct merkle *tree, const merkle_hash leaf, struct kms_error *err)
{
    merkle_hash sum;
    unsigned level = 0;

    memcpy(sum, leaf, SHA256_LEN);
    for (; is_set(tree->count, level); level++)
        if (node(tree->peaks[level], sum, sum, err) < 0)
            return -1;
    memcpy(tree->peaks[level], sum, SHA256_LEN);
    tree->count++;
    return 0;
}

int merkle_root(const struct merkle *tree, merkle_hash ret, struct kms_error *err)
{
    merkle_hash sum;
    bool begun = false;

    assert(tree->count > 0);
    for (unsigned level = 0; level < MERKLE_LEVELS; level++) {
        if (!is_set(tree->count, level))
            continue;
        if (!begun)
            memcpy(sum, tree->peaks[level], SHA256_LEN);
        else if (node(tree->peaks[level], sum, sum, err) < 0)
            return -1;
        begun = true;
    }
    memcpy(ret, sum, SHA256_LEN);
    return 0;
}

static int root_of(const merkle_hash *leaves, uint64_t count, merkle_hash ret,
                   struct kms_error *err)
{
    struct merkle tree = { 0 };

    for (uint64_t i = 0; i < count; i++)
        if (merkle_add(&tree, leaves[i], err) < 0)
            return -1;
    return merkle_root(&tree, ret, err);
}

/* The largest power of two below count, which is 2 or more. */
static uint64_t split_of(uint64_t count)
{
    uint64_t split = 1;

    while (split < count - split)
        split *= 2;
    return split;
}

static void turn_round(struct merkle_path *path)
{
    for (size_t i = 0; i < path->len / 2; i++) {
        merkle_hash kept;
        memcpy(kept, path->hashes[i], SHA256_LEN);
        memcpy(path->hashes[i], path->hashes[path->len - 1 - i], SHA256_LEN);
        memcpy(path->hashes[path->len - 1 - i], kept, SHA256_LEN);
    }
}

int merkle_path_make(const merkle_hash *leaves, uint64_t count, uint64_t index,
                     struct merkle_path *ret, struct kms_error *err)
{
    struct merkle_path path = { 0 };

    assert(index < count);
    while (count > 1) { /* from the root down: at each fork the half that is not ours */
        const uint64_t split = split_of(count);
        const bool left = index < split;

        if (root_of(left ? leaves + split : leaves, left ? count - split : split,
                    path.hashes[path.len], err) < 0)
            return -1;
        path.len++;
        leaves += left ? 0 : split;
        index -= left ? 0 : split;
        count = left ? split : count - split;
    }
    turn_round(&path);
    *ret = path;
    return 0;
}

int merkle_path_follow(const struct merkle_path *path, const merkle_hash leaf, uint64_t count,
                       uint64_t index, merkle_hash ret, bool *ret_good, struct kms_error *err)
{
    uint64_t own = index, last = count - 1;
    merkle_hash sum;

    *ret_good = index < count;
    memcpy(sum, leaf, SHA256_LEN);
    for (size_t i = 0; i < path->len && *ret_good; i++) {
        const bool right = own % 2 == 1 || own == last;

        *ret_good = last > 0;
        if (node(right ? path->hashes[i] : sum, right ? sum : path->hashes[i], sum, err) < 0)
            return -1;
        for (; right && own % 2 == 0 && own > 0; own /= 2)
            last /= 2;
        own /= 2;
        last /= 2;
    }
    *ret_good = *ret_good && last == 0;
    memcpy(ret, sum, SHA256_LEN);
    return 0;
}
