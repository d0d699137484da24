#pragma once

/*
 * The verified in-memory view of one region that requests read: keys by id, aliases by name, both
 * in order, so that lists can be paged by the last entry seen. Filled from the store at start;
 * changed only by change.c after a commit.
 *
 * Threads: any; one reader-writer lock, never held over a token or disk call.
 */

#include "hsmkms/keys/key.h"

struct catalog;

struct catalog *catalog_new(void);
void catalog_free(struct catalog *catalog);

/* A reference to the newest snapshot, or NULL; key_unref() it. Any state. */
struct key *catalog_find(struct catalog *catalog, const struct uuid *id);

/*
 * The key of a multi-Region family: the one that is not gone, where there is one, else one of those
 * that were. A reference, or NULL.
 */
struct key *catalog_find_family(struct catalog *catalog, const struct uuid *family);

/* The key that a ciphertext names, single-Region or not. The same otherwise. */
struct key *catalog_find_owner(struct catalog *catalog, const struct uuid *owner);

/*
 * Visible keys with an id greater than after (NULL: from the first), at most most.
 * Returns how many references were written to ret.
 */
size_t catalog_keys(struct catalog *catalog, const struct uuid *after, struct key **ret,
                    size_t most);

/* Every key in any state, for upkeep. */
size_t catalog_all(struct catalog *catalog, const struct uuid *after, struct key **ret,
                   size_t most);
size_t catalog_count(struct catalog *catalog); /* visible customer keys */

/* What an alias points at. */
struct alias {
    char name[257];
    struct uuid key_id;
    int64_t created_ms, updated_ms;
};
CHECKED bool catalog_alias(struct catalog *catalog, const char *name, struct alias *ret);

/*
 * Aliases with a name greater than after (NULL: first), of one key or of all (NULL). Both take
 * time by what they return, not by how many aliases there are.
 */
size_t catalog_aliases(struct catalog *catalog, const char *after, const struct uuid *key_id,
                       struct alias *ret, size_t most);
size_t catalog_alias_count(struct catalog *catalog, const struct uuid *key_id);

/* For lifecycle.c: takes over the reference; replaces the snapshot with the same id. */
CHECKED int catalog_publish(struct catalog *catalog, struct key *key, struct kms_error *err);
CHECKED int catalog_alias_put(struct catalog *catalog, const struct alias *alias,
                              struct kms_error *err);
void catalog_alias_drop(struct catalog *catalog, const char *name);
