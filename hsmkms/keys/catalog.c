#include "hsmkms/keys/catalog.h"

#include <pthread.h>
#include <stdlib.h>

/* Pointers in ascending order of what compare says; grows by doubling. */
struct sorted {
    void **items;
    size_t count, cap;
};

struct catalog {
    pthread_rwlock_t lock; /* guards both arrays and the reference counts' first increment */
    struct sorted keys;    /* struct key *, by id */
    struct sorted aliases; /* struct alias *, by name */
    size_t visible;        /* customer keys that clients can see */
};

typedef int compare_fn(const void *wanted, const void *item);

static int compare_key(const void *wanted, const void *item)
{
    return uuid_compare(wanted, &((const struct key *)item)->record.id);
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
        const size_t cap = sorted->cap ? 2 * sorted->cap : 64;
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

struct catalog *catalog_new(void)
{
    struct catalog *const catalog = calloc(1, sizeof(*catalog));
    pthread_rwlockattr_t prefer_writer;

    if (catalog == NULL)
        return NULL;
    /* a change must not wait for readers that never stop coming */
    (void)pthread_rwlockattr_init(&prefer_writer);
    (void)pthread_rwlockattr_setkind_np(&prefer_writer,
                                        PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&catalog->lock, &prefer_writer);
    (void)pthread_rwlockattr_destroy(&prefer_writer);
    return catalog;
}

void catalog_free(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    for (size_t i = 0; i < catalog->keys.count; i++)
        key_unref(catalog->keys.items[i]);
    for (size_t i = 0; i < catalog->aliases.count; i++)
        free(catalog->aliases.items[i]);
    free(catalog->keys.items);
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

int catalog_publish(struct catalog *catalog, struct key *key, struct kms_error *err)
{
    bool found = false;
    struct key *old = NULL;

    (void)pthread_rwlock_wrlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->keys, &key->record.id, compare_key, &found);
    const bool stored = found || sorted_insert(&catalog->keys, place, key);
    if (found) {
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

size_t catalog_aliases(struct catalog *catalog, const char *after, const struct uuid *key_id,
                       struct alias *ret, size_t most)
{
    size_t count = 0;

    (void)pthread_rwlock_rdlock(&catalog->lock);
    for (size_t i = sorted_after(&catalog->aliases, after, compare_alias);
         i < catalog->aliases.count && count < most; i++) {
        const struct alias *const alias = catalog->aliases.items[i];
        if (key_id == NULL || uuid_equal(&alias->key_id, key_id))
            ret[count++] = *alias;
    }
    (void)pthread_rwlock_unlock(&catalog->lock);
    return count;
}

size_t catalog_alias_count(struct catalog *catalog, const struct uuid *key_id)
{
    size_t count = 0;

    (void)pthread_rwlock_rdlock(&catalog->lock);
    for (size_t i = 0; i < catalog->aliases.count; i++)
        count += uuid_equal(&((const struct alias *)catalog->aliases.items[i])->key_id, key_id);
    (void)pthread_rwlock_unlock(&catalog->lock);
    return count;
}

int catalog_alias_put(struct catalog *catalog, const struct alias *alias, struct kms_error *err)
{
    bool found = false, stored = true;
    struct alias *const copy = malloc(sizeof(*copy));

    if (copy == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory in the catalog");
    *copy = *alias;
    (void)pthread_rwlock_wrlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->aliases, copy->name, compare_alias, &found);
    if (found) {
        free(catalog->aliases.items[place]);
        catalog->aliases.items[place] = copy;
    } else {
        stored = sorted_insert(&catalog->aliases, place, copy);
    }
    (void)pthread_rwlock_unlock(&catalog->lock);
    if (stored)
        return 0;
    free(copy);
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory in the catalog");
}

void catalog_alias_drop(struct catalog *catalog, const char *name)
{
    bool found = false;

    (void)pthread_rwlock_wrlock(&catalog->lock);
    const size_t place = sorted_place(&catalog->aliases, name, compare_alias, &found);
    if (found) {
        free(catalog->aliases.items[place]);
        sorted_remove(&catalog->aliases, place);
    }
    (void)pthread_rwlock_unlock(&catalog->lock);
}
