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

/* The names of a blank-separated list. */
struct names {
    char text[KEYRING_REGIONS_MAX][sizeof(((struct keyring *)0)->region)];
    size_t count;
};

static int take_name(struct span name, struct names *ret, struct kms_error *err)
{
    if (name.len >= sizeof(ret->text[0]))
        return kms_fail(err, KMS_ERR_CONFIG, "service.regions: a name is longer than %zu letters",
                        sizeof(ret->text[0]) - 1);
    if (ret->count == KEYRING_REGIONS_MAX)
        return kms_fail(err, KMS_ERR_CONFIG, "service.regions has more than %d names",
                        KEYRING_REGIONS_MAX);
    for (size_t i = 0; i < ret->count; i++)
        if (span_equal(name, span_text(ret->text[i])))
            return kms_fail(err, KMS_ERR_CONFIG, "service.regions names %s twice", ret->text[i]);
    memcpy(ret->text[ret->count], name.ptr, name.len);
    ret->text[ret->count++][name.len] = '\0';
    return 0;
}

static int take_names(const char *list, struct names *ret, struct kms_error *err)
{
    for (list += strspn(list, " "); *list; list += strspn(list, " ")) {
        const size_t len = strcspn(list, " ");
        if (take_name(span_of(list, len), ret, err) < 0)
            return -1;
        list += len;
    }
    return ret->count
               ? 0
               : kms_fail(err, KMS_ERR_CONFIG, "service.regions must begin with a region name");
}

int regions_check(const char *regions, struct kms_error *err)
{
    struct names names = { .count = 0 };

    return take_names(regions, &names, err);
}

/* Another region's keyring: its own are region and catalog. */
static int add_region(struct keyring *last, const char *name, struct kms_error *err)
{
    struct keyring *const added = calloc(1, sizeof(*added));

    if (added == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a region");
    *added = *last; /* nobody takes the lock that is in it: home's counts */
    added->next = NULL;
    (void)snprintf(added->region, sizeof(added->region), "%s", name);
    added->catalog = catalog_new();
    last->next = added; /* now owned by home */
    return added->catalog ? 0
                          : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a catalog");
}

int regions_open(struct keyring *home, const char *regions, struct kms_error *err)
{
    struct names names = { .count = 0 };
    struct keyring *last = home;

    home->home = home;
    if (take_names(regions, &names, err) < 0)
        return -1;
    (void)snprintf(home->region, sizeof(home->region), "%s", names.text[0]);
    for (size_t i = 1; i < names.count; i++, last = last->next)
        if (add_region(last, names.text[i], err) < 0)
            return -1;
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
