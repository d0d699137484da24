#include "hsmkms/keys/regions.h"

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/keys/identifier.h"

static struct keyring *home_of(const struct keyring *keyring)
{
    return keyring->home;
}

struct keyring *keyring_in(const struct keyring *keyring, const char *region)
{
    struct keyring *each = home_of(keyring);

    if (region == NULL || region[0] == '\0')
        return each;
    while (each && strcmp(each->region, region) != 0)
        each = each->next;
    return each;
}

struct keyring *keyring_of(const struct keyring *keyring, const struct key *key)
{
    struct keyring *const own = keyring_in(keyring, key->record.region);

    return own ? own : home_of(keyring);
}

struct keyring *keyring_named(const struct keyring *keyring, const char *identifier)
{
    struct kms_error not_one = { 0 };
    struct identifier parsed;

    if (identifier_parse(identifier, &parsed, &not_one) == 0 && parsed.is_arn)
        for (struct keyring *each = home_of(keyring); each; each = each->next)
            if (span_equal(parsed.region, span_text(each->region)))
                return each;
    return home_of(keyring);
}

struct key *keyring_find(const struct keyring *keyring, const struct uuid *id)
{
    struct key *key = NULL;

    for (const struct keyring *each = home_of(keyring); each && key == NULL; each = each->next)
        key = catalog_find(each->catalog, id);
    return key;
}

size_t keyring_count(const struct keyring *keyring)
{
    size_t count = 0;

    for (const struct keyring *each = home_of(keyring); each; each = each->next)
        count += catalog_count(each->catalog);
    return count;
}

/* --- start ------------------------------------------------------------------------------------ */

/* Takes the next name off a blank-separated list; false at its end. */
static bool take_name(const char **list, struct span *ret)
{
    const char *const start = *list + strspn(*list, " ");
    const size_t len = strcspn(start, " ");

    *list = start + len;
    *ret = span_of(start, len);
    return len > 0;
}

static int name_region(struct keyring *keyring, struct span name, struct kms_error *err)
{
    if (name.len >= sizeof(keyring->region))
        return kms_fail(err, KMS_ERR_CONFIG, "service.regions: a name is longer than %zu letters",
                        sizeof(keyring->region) - 1);
    memcpy(keyring->region, name.ptr, name.len);
    keyring->region[name.len] = '\0';
    return 0;
}

/* Another region's keyring: its own are region and catalog. */
static int add_region(struct keyring *last, struct span name, struct kms_error *err)
{
    struct keyring *const added = calloc(1, sizeof(*added));

    if (added == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a region");
    *added = *last; /* but for the lock, that nobody takes here: home's counts */
    added->next = NULL;
    added->catalog = catalog_new();
    last->next = added; /* now owned by home */
    if (added->catalog == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a catalog");
    return name_region(added, name, err);
}

int regions_open(struct keyring *home, const char *regions, struct kms_error *err)
{
    struct keyring *last = home;
    struct span name;
    size_t count = 1;

    home->home = home;
    if (!take_name(&regions, &name))
        return kms_fail(err, KMS_ERR_CONFIG, "service.regions must begin with a region name");
    if (name_region(home, name, err) < 0)
        return -1;
    for (; take_name(&regions, &name); last = last->next) {
        for (const struct keyring *each = home; each; each = each->next)
            if (span_equal(name, span_text(each->region)))
                return kms_fail(err, KMS_ERR_CONFIG, "service.regions names %s twice",
                                each->region);
        if (++count > KEYRING_REGIONS_MAX)
            return kms_fail(err, KMS_ERR_CONFIG, "service.regions has more than %d names",
                            KEYRING_REGIONS_MAX);
        if (add_region(last, name, err) < 0)
            return -1;
    }
    return 0;
}

void regions_close(struct keyring *home)
{
    while (home->next) {
        struct keyring *const closed = home->next;
        home->next = closed->next;
        catalog_free(closed->catalog);
        free(closed);
    }
}

/* Adds a version to a key; those of its family that have it already share their budget. */
static int add_version(struct key *key, const struct version_record *version,
                       struct budget **budget, struct kms_error *err)
{
    if (key_add_version(key, version, *budget, err) < 0)
        return -1;
    *budget = key_version_find(key, &version->id)->budget;
    return 0;
}

int regions_load_version(struct keyring *home, const struct version_record *version,
                         struct kms_error *err)
{
    struct key *gone = NULL;
    struct budget *budget = NULL;
    int added = 0;

    for (struct keyring *each = home; each && added == 0; each = each->next) {
        struct key *const key = catalog_find_owner(each->catalog, &version->key_id);
        if (key && !key_is_gone(key)) {
            added = add_version(key, version, &budget, err);
        } else if (key && gone == NULL) {
            gone = key_ref(key);
        }
        key_unref(key);
    }
    if (added == 0 && budget == NULL)
        added = gone ? add_version(gone, version, &budget, err)
                     : kms_fail_detail(err, KMS_ERR_INTEGRITY,
                                       "a version belongs to key %s, which is unknown",
                                       uuid_format(&version->key_id).text);
    key_unref(gone);
    return added;
}
