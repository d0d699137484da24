#include "hsmkms/keys/catalog.h"

#include <pthread.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1 /* a table that cannot grow does not end the process */
#include <uthash.h>

#include "hsmkms/base/lock.h"

/* Pointers in ascending order of what compare says; grows by doubling. */
struct sorted {
    void **items;
    size_t count, cap;
};

/* The aliases of one key, while it has one; struct alias *, by name, borrowed from the catalog. */
struct pointing {
    struct uuid key_id;
    struct sorted aliases;
    UT_hash_handle hh;
};

struct catalog {
    pthread_rwlock_t lock; /* guards what follows and the reference counts' first increment */
    struct sorted keys;    /* struct key *, by id */
    struct sorted families; /* those of them that are multi-Region, by family, then id */
    struct sorted aliases; /* struct alias *, by name */
    struct pointing *by_key;
    size_t visible; /* customer keys that clients can see */
};

typedef int compare_fn(const void *wanted, const void *item);

static int compare_key(const void *wanted, const void *item)
{
    return uuid_compare(wanted, &((const struct key *)item)->record.id);
}

/* What the entries of a family are in order of. */
static int compare_member(const void *wanted, const void *item)
{
    const struct key_record *const a = &((const struct key *)wanted)->record;
    const struct key_record *const b = &((const struct key *)item)->record;
    const int order = uuid_compare(&a->family, &b->family);

    return order ? order : uuid_compare(&a->id, &b->id);
}

/* Never equal, so that the place found is that of a family's first entry. */
static int compare_family(const void *wanted, const void *item)
{
    return uuid_compare(wanted, &((const struct key *)item)->record.family) > 0 ? 1 : -1;
}

static int compare_alias(const void *wanted, const void *item)
{
    return strcmp(wanted, ((const struct alias *)item)->name);
}

/* Index of the first item that is not before wanted; found tells whether it is the one. */
static size_t sorted_place(const struct sorted *sorted, const void *wanted, compare_fn *compare,
                           bool *ret_found)
{
    size_t low = 0, high = sorted->count;

    *ret_found = false;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare(wanted, sorted->items[middle]);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* First index after wanted, or 0 when wanted is NULL. */
static size_t sorted_after(const struct sorted *sorted, const void *wanted, compare_fn *compare)
{
    bool found = false;

    if (wanted == NULL)
        return 0;
    const size_t place = sorted_place(sorted, wanted, compare, &found);
    return place + found;
}

static bool sorted_insert(struct sorted *sorted, size_t place, void *item)
{
    if (sorted->count == sorted->cap) {
        const size_t cap = sorted->cap ? 2 * sorted->cap : 2;
        void **const moved = reallocarray(sorted->items, cap, sizeof(*moved));
        if (moved == NULL)
            return false;
        sorted->items = moved;
        sorted->cap = cap;
    }
    memmove(sorted->items + place + 1, sorted->items + place,
            (sorted->count - place) * sizeof(*sorted->items));
    sorted->items[place] = item;
    sorted->count++;
    return true;
}

static void sorted_remove(struct sorted *sorted, size_t place)
{
    sorted->count--;
    memmove(sorted->items + place, sorted->items + place + 1,
            (sorted->count - place) * sizeof(*sorted->items));
}

/* Under the lock. NULL: the key has no alias. */
static struct pointing *pointing_find(const struct catalog *catalog, const struct uuid *key_id)
{
    struct pointing *pointing = NULL;

    HASH_FIND(hh, catalog->by_key, key_id, sizeof(*key_id), pointing);
    return pointing;
}

/* Under the lock. NULL: out of memory. */
static struct pointing *pointing_get(struct catalog *catalog, const struct uuid *key_id)
{
    struct pointing *pointing = pointing_find(catalog, key_id);

    if (pointing)
        return pointing;
    pointing = calloc(1, sizeof(*pointing));
    if (pointing == NULL)
        return NULL;
    pointing->key_id = *key_id;
    HASH_ADD(hh, catalog->by_key, key_id, sizeof(*key_id), pointing);
    if (pointing->hh.tbl == NULL) { /* no memory: it was not added */
        free(pointing);
        return NULL;
    }
    return pointing;
}

/* Under the lock: forgets a key without aliases. */
static void pointing_tidy(struct catalog *catalog, struct pointing *pointing)
{
    if (pointing->aliases.count > 0)
        return;
    HASH_DEL(catalog->by_key, pointing);
    free(pointing->aliases.items);
    free(pointing);
}

/* Under the lock. False: out of memory. */
static bool pointing_add(struct catalog *catalog, const struct uuid *key_id, struct alias *alias)
{
    struct pointing *const pointing = pointing_get(catalog, key_id);
    bool found = false;

    if (pointing == NULL)
        return false;
    const size_t place = sorted_place(&pointing->aliases, alias->name, compare_alias, &found);
    const bool added = sorted_insert(&pointing->aliases, place, alias);
    pointing_tidy(catalog, pointing);
    return added;
}

/* Under the lock: an alias that was added to the key it names. */
static void pointing_remove(struct catalog *catalog, const struct alias *alias)
{
    struct pointing *const pointing = pointing_find(catalog, &alias->key_id);
    bool found = false;

    sorted_remove(&pointing->aliases,
                  sorted_place(&pointing->aliases, alias->name, compare_alias, &found));
    pointing_tidy(catalog, pointing);
}

struct catalog *catalog_new(void)
{
    struct catalog *const catalog = calloc(1, sizeof(*catalog));

    if (catalog && !lock_init_fair(&catalog->lock)) {
        free(catalog);
        return NULL;
    }
    return catalog;
}

void catalog_free(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    for (size_t i = 0; i < catalog->keys.count; i++)
        key_unref(catalog->keys.items[i]);
    for (size_t i = 0; i < catalog->aliases.count; i++) {
        pointing_remove(catalog, catalog->aliases.items[i]);
        free(catalog->aliases.items[i]);
    }
    free(catalog->keys.items);
    free(catalog->families.items);
    free(catalog->aliases.items);
    (void)pthread_rwlock_destroy(&catalog->lock);
    free(catalog);
}

static bool counts(const struct key *key)
{
    return key_visible(key) && !key_is_aws_managed(key);
}

struct key *catalog_find(struct catalog *catalog, const struct uuid *id)
{
    bool found = false;
    struct key *key = NULL;

    (void)pthread_rwlock_rdlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->keys, id, compare_key, &found);
    if (found)
        key = key_ref(catalog->keys.items[place]);
    (void)pthread_rwlock_unlock(&catalog->lock);
    return key;
}

struct key *catalog_find_family(struct catalog *catalog, const struct uuid *family)
{
    bool unused = false;
    struct key *found = NULL;

    (void)pthread_rwlock_rdlock(&catalog->lock);
    const struct sorted *const sorted = &catalog->families;
    for (size_t i = sorted_place(sorted, family, compare_family, &unused); i < sorted->count; i++) {
        struct key *const key = sorted->items[i];
        if (!uuid_equal(&key->record.family, family))
            break;
        if (found == NULL || key_is_gone(found))
            found = key;
    }
    if (found)
        found = key_ref(found);
    (void)pthread_rwlock_unlock(&catalog->lock);
    return found;
}

struct key *catalog_find_owner(struct catalog *catalog, const struct uuid *owner)
{
    struct key *const key = catalog_find(catalog, owner);

    if (key && !key_is_multi_region(key))
        return key;
    key_unref(key); /* its own id is known to nobody outside */
    return catalog_find_family(catalog, owner);
}

static size_t collect(struct catalog *catalog, const struct uuid *after, bool only_visible,
                      struct key **ret, size_t most)
{
    size_t count = 0;

    (void)pthread_rwlock_rdlock(&catalog->lock);
    for (size_t i = sorted_after(&catalog->keys, after, compare_key);
         i < catalog->keys.count && count < most; i++) {
        struct key *const key = catalog->keys.items[i];
        if (!only_visible || key_visible(key))
            ret[count++] = key_ref(key);
    }
    (void)pthread_rwlock_unlock(&catalog->lock);
    return count;
}

size_t catalog_keys(struct catalog *catalog, const struct uuid *after, struct key **ret,
                    size_t most)
{
    return collect(catalog, after, true, ret, most);
}

size_t catalog_all(struct catalog *catalog, const struct uuid *after, struct key **ret, size_t most)
{
    return collect(catalog, after, false, ret, most);
}

size_t catalog_count(struct catalog *catalog)
{
    (void)pthread_rwlock_rdlock(&catalog->lock);
    const size_t count = catalog->visible;
    (void)pthread_rwlock_unlock(&catalog->lock);
    return count;
}

/* Under the lock: into the order of families, in place of the snapshot before. */
static bool place_in_family(struct catalog *catalog, struct key *key)
{
    bool found = false;

    if (!key_is_multi_region(key))
        return true;
    const size_t place = sorted_place(&catalog->families, key, compare_member, &found);
    if (!found)
        return sorted_insert(&catalog->families, place, key);
    catalog->families.items[place] = key;
    return true;
}

/* Under the lock: a key that found no place among all keys has none in its family either. */
static void leave_family(struct catalog *catalog, const struct key *key)
{
    bool found = false;
    const size_t place = sorted_place(&catalog->families, key, compare_member, &found);

    if (found)
        sorted_remove(&catalog->families, place);
}

int catalog_publish(struct catalog *catalog, struct key *key, struct kms_error *err)
{
    bool found = false;
    struct key *old = NULL;

    (void)pthread_rwlock_wrlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->keys, &key->record.id, compare_key, &found);
    const bool placed = place_in_family(catalog, key);
    const bool stored = placed && (found || sorted_insert(&catalog->keys, place, key));
    if (placed && !stored)
        leave_family(catalog, key);
    if (found && stored) {
        old = catalog->keys.items[place];
        catalog->keys.items[place] = key;
    }
    if (stored)
        catalog->visible = catalog->visible + counts(key) - (old && counts(old));
    (void)pthread_rwlock_unlock(&catalog->lock);

    if (!stored) {
        key_unref(key);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory in the catalog");
    }
    key_unref(old);
    return 0;
}

bool catalog_alias(struct catalog *catalog, const char *name, struct alias *ret)
{
    bool found = false;

    (void)pthread_rwlock_rdlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->aliases, name, compare_alias, &found);
    if (found)
        *ret = *(const struct alias *)catalog->aliases.items[place];
    (void)pthread_rwlock_unlock(&catalog->lock);
    return found;
}

/* Under the lock: all aliases, or those of one key. */
static struct sorted aliases_of(const struct catalog *catalog, const struct uuid *key_id)
{
    const struct pointing *const pointing = key_id ? pointing_find(catalog, key_id) : NULL;

    if (key_id == NULL)
        return catalog->aliases;
    return pointing ? pointing->aliases : (struct sorted){ 0 };
}

size_t catalog_aliases(struct catalog *catalog, const char *after, const struct uuid *key_id,
                       struct alias *ret, size_t most)
{
    size_t count = 0;

    (void)pthread_rwlock_rdlock(&catalog->lock);
    const struct sorted aliases = aliases_of(catalog, key_id);
    for (size_t i = sorted_after(&aliases, after, compare_alias); i < aliases.count && count < most;
         i++)
        ret[count++] = *(const struct alias *)aliases.items[i];
    (void)pthread_rwlock_unlock(&catalog->lock);
    return count;
}

size_t catalog_alias_count(struct catalog *catalog, const struct uuid *key_id)
{
    (void)pthread_rwlock_rdlock(&catalog->lock);
    const size_t count = aliases_of(catalog, key_id).count;
    (void)pthread_rwlock_unlock(&catalog->lock);
    return count;
}

/* Under the lock: into both orders, or into none. */
static bool insert_alias(struct catalog *catalog, size_t place, const struct alias *alias)
{
    struct alias *const copy = malloc(sizeof(*copy));

    if (copy == NULL)
        return false;
    *copy = *alias;
    if (pointing_add(catalog, &copy->key_id, copy)) {
        if (sorted_insert(&catalog->aliases, place, copy))
            return true;
        pointing_remove(catalog, copy);
    }
    free(copy);
    return false;
}

/* Under the lock: one of the same name, that may point at another key. */
static bool replace_alias(struct catalog *catalog, struct alias *held, const struct alias *alias)
{
    if (!uuid_equal(&held->key_id, &alias->key_id)) {
        if (!pointing_add(catalog, &alias->key_id, held))
            return false;
        pointing_remove(catalog, held);
    }
    *held = *alias;
    return true;
}

int catalog_alias_put(struct catalog *catalog, const struct alias *alias, struct kms_error *err)
{
    bool found = false;

    (void)pthread_rwlock_wrlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->aliases, alias->name, compare_alias, &found);
    const bool stored = found ? replace_alias(catalog, catalog->aliases.items[place], alias)
                              : insert_alias(catalog, place, alias);
    (void)pthread_rwlock_unlock(&catalog->lock);

    if (!stored)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory in the catalog");
    return 0;
}

void catalog_alias_drop(struct catalog *catalog, const char *name)
{
    bool found = false;

    (void)pthread_rwlock_wrlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->aliases, name, compare_alias, &found);
    if (found) {
        struct alias *const dropped = catalog->aliases.items[place];
        pointing_remove(catalog, dropped);
        sorted_remove(&catalog->aliases, place);
        free(dropped);
    }
    (void)pthread_rwlock_unlock(&catalog->lock);
}
