#include "hsmkms/iam/grant_tree.h"

#include "hsmkms/iam/grant.h"

static int compare(const struct grant_tree *tree, const struct grant_link *link,
                   const struct grant_place *place)
{
    int order = 0;

    if (tree->order == GRANTS_BY_RETIRING)
        order = strcmp(link->grant->retiring, place->retiring);
    if (order == 0)
        order = uuid_compare(&link->grant->key_id, place->key_id);
    return order ? order : strcmp(link->grant->id, place->id);
}

static struct grant_place place_of(const struct grant_link *link)
{
    return (struct grant_place){ link->grant->retiring, &link->grant->key_id, link->grant->id };
}

static size_t size_of(const struct grant_link *link)
{
    return link ? link->size : 0;
}

static void recount(struct grant_link *link)
{
    link->size = 1 + size_of(link->child[0]) + size_of(link->child[1]);
}

/* Recursion here and below is as deep as the tree, a few times the logarithm of its size. */
static void split(const struct grant_tree *tree, struct grant_link *link,
                  const struct grant_place *place, struct grant_link **ret_before,
                  struct grant_link **ret_behind)
{
    if (link == NULL) {
        *ret_before = *ret_behind = NULL;
        return;
    }
    if (compare(tree, link, place) < 0) {
        split(tree, link->child[1], place, &link->child[1], ret_behind);
        *ret_before = link;
    } else {
        split(tree, link->child[0], place, ret_before, &link->child[0]);
        *ret_behind = link;
    }
    recount(link);
}

static struct grant_link *join(struct grant_link *before, struct grant_link *behind)
{
    if (before == NULL || behind == NULL)
        return before ? before : behind;
    if (before->priority > behind->priority) {
        before->child[1] = join(before->child[1], behind);
        recount(before);
        return before;
    }
    behind->child[0] = join(before, behind->child[0]);
    recount(behind);
    return behind;
}

void grant_tree_add(struct grant_tree *tree, struct grant_link *link)
{
    const struct grant_place place = place_of(link);
    struct grant_link *before, *behind;

    link->child[0] = link->child[1] = NULL;
    link->size = 1;
    split(tree, tree->root, &place, &before, &behind);
    tree->root = join(join(before, link), behind);
}

void grant_tree_remove(struct grant_tree *tree, const struct grant_link *link)
{
    const struct grant_place place = place_of(link);
    struct grant_link **at = &tree->root;

    while (*at != link) {
        (*at)->size--;
        at = &(*at)->child[compare(tree, *at, &place) < 0];
    }
    *at = join(link->child[0], link->child[1]);
}

struct grant_link *grant_tree_find(const struct grant_tree *tree, const struct grant_place *place)
{
    struct grant_link *link = tree->root;

    while (link) {
        const int order = compare(tree, link, place);
        if (order == 0)
            return link;
        link = link->child[order < 0];
    }
    return NULL;
}

struct grant_link *grant_tree_after(const struct grant_tree *tree, const struct grant_place *place)
{
    struct grant_link *found = NULL;

    for (struct grant_link *link = tree->root; link;) {
        const bool behind = compare(tree, link, place) > 0;
        if (behind)
            found = link;
        link = link->child[!behind];
    }
    return found;
}

size_t grant_tree_rank(const struct grant_tree *tree, const struct grant_place *place)
{
    size_t rank = 0;

    for (const struct grant_link *link = tree->root; link;) {
        const bool before = compare(tree, link, place) < 0;
        if (before)
            rank += 1 + size_of(link->child[0]);
        link = link->child[before];
    }
    return rank;
}
