#pragma once

/*
 * Grants in an order, for pages and for finding one by its id: a treap. Its links are part of what
 * holds the grants, so adding and removing cannot fail. Where a link stands follows from a random
 * priority, so that the order of arrival, sorted when read from the store, makes no difference.
 *
 * Threads: none; whoever owns the tree locks it.
 * Source:  Seidel, Aragon, Randomized search trees.
 */

#include "hsmkms/base/uuid.h"

struct grant;

enum grant_order {
    GRANTS_BY_KEY,      /* key, id */
    GRANTS_BY_RETIRING, /* retiring principal, key, id */
};

struct grant_link {
    struct grant_link *child[2]; /* before, behind */
    uint64_t priority;           /* set by the owner before it is added */
    size_t size;                 /* links from here down */
    struct grant *grant;         /* borrowed */
};

struct grant_tree {
    enum grant_order order;
    struct grant_link *root;
};

/* A place in the order, whether or not a grant stands there. */
struct grant_place {
    const char *retiring; /* not looked at in GRANTS_BY_KEY */
    const struct uuid *key_id;
    const char *id; /* "" stands before all grants of the key */
};

/* There is no grant at its place yet. */
void grant_tree_add(struct grant_tree *tree, struct grant_link *link);
void grant_tree_remove(struct grant_tree *tree, const struct grant_link *link);

/* The link at a place; the first one behind it. NULL: none. */
struct grant_link *grant_tree_find(const struct grant_tree *tree, const struct grant_place *place);
struct grant_link *grant_tree_after(const struct grant_tree *tree, const struct grant_place *place);

/* How many grants stand before a place. */
size_t grant_tree_rank(const struct grant_tree *tree, const struct grant_place *place);
