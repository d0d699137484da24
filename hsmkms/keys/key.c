#include "hsmkms/keys/key.h"

#include <assert.h>
#include <stdlib.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/digest.h"

static const char *const state_texts[KEY_STATES] = {
    [KEY_CREATING] = "Creating",       [KEY_ENABLED] = "Enabled",
    [KEY_DISABLED] = "Disabled",       [KEY_PENDING_DELETION] = "PendingDeletion",
    [KEY_UNAVAILABLE] = "Unavailable", [KEY_DELETING] = "Deleting",
    [KEY_DELETED] = "Deleted",         [KEY_ABORTED] = "Aborted",
    [KEY_PENDING_REPLICA_DELETION] = "PendingReplicaDeletion",
    [KEY_PENDING_IMPORT] = "PendingImport",
};

/* How a use ends in a state: the error and what follows the ARN in its text. */
struct refusal {
    enum kms_err code; /* KMS_ERR_NONE: allowed */
    const char *text;
};

#define ALLOWED                                                                                    \
    {                                                                                              \
        KMS_ERR_NONE, NULL                                                                         \
    }
#define DISABLED                                                                                   \
    {                                                                                              \
        KMS_ERR_DISABLED, "is disabled."                                                           \
    }
#define PENDING                                                                                    \
    {                                                                                              \
        KMS_ERR_INVALID_STATE, "is pending deletion."                                              \
    }
#define REPLICAS                                                                                   \
    {                                                                                              \
        KMS_ERR_INVALID_STATE, "is pending replica deletion."                                      \
    }
#define NO_MATERIAL                                                                                \
    {                                                                                              \
        KMS_ERR_INVALID_STATE, "is pending import."                                                \
    }
#define NOT_PENDING                                                                                \
    {                                                                                              \
        KMS_ERR_INVALID_STATE, "is not pending deletion."                                          \
    }
#define AWAY                                                                                       \
    {                                                                                              \
        KMS_ERR_INVALID_STATE, "is unavailable."                                                   \
    }

/* clang-format off */
/* Only states that clients can see have a row; the others are resolved to "does not exist". */
static const struct refusal refusals[KEY_STATES][KEY_USES] = {
    /*                          CRYPTO       READ     EDIT     SWITCH       ROTATION  ROTATE       SCHEDULE CANCEL       GRANT        IMPORT */
    [KEY_ENABLED]          = { ALLOWED,     ALLOWED, ALLOWED, ALLOWED,     ALLOWED,  ALLOWED,     ALLOWED, NOT_PENDING, ALLOWED,     ALLOWED },
    [KEY_DISABLED]         = { DISABLED,    ALLOWED, ALLOWED, ALLOWED,     DISABLED, DISABLED,    ALLOWED, NOT_PENDING, DISABLED,    ALLOWED },
    [KEY_PENDING_DELETION] = { PENDING,     ALLOWED, PENDING, PENDING,     PENDING,  PENDING,     PENDING, ALLOWED,     PENDING,     PENDING },
    [KEY_PENDING_REPLICA_DELETION] = { REPLICAS, ALLOWED, REPLICAS, REPLICAS, REPLICAS, REPLICAS, REPLICAS, ALLOWED, REPLICAS, REPLICAS },
    [KEY_PENDING_IMPORT]   = { NO_MATERIAL, ALLOWED, ALLOWED, NO_MATERIAL, ALLOWED,  NO_MATERIAL, ALLOWED, NOT_PENDING, NO_MATERIAL, ALLOWED },
    [KEY_UNAVAILABLE]      = { AWAY,        ALLOWED, ALLOWED, ALLOWED,     AWAY,     AWAY,        ALLOWED, NOT_PENDING, ALLOWED,     ALLOWED },
};
/* clang-format on */

static int no_memory(struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a key");
}

struct budget *budget_new(int64_t used, int64_t reserved)
{
    struct budget *const budget = malloc(sizeof(*budget));

    if (budget) {
        atomic_init(&budget->references, 1);
        atomic_init(&budget->used, used);
        atomic_init(&budget->reserved, reserved);
    }
    return budget;
}

struct budget *budget_ref(struct budget *budget)
{
    atomic_fetch_add_explicit(&budget->references, 1, memory_order_relaxed);
    return budget;
}

void budget_unref(struct budget *budget)
{
    if (budget && atomic_fetch_sub_explicit(&budget->references, 1, memory_order_acq_rel) == 1)
        free(budget);
}

struct key *key_ref(struct key *key)
{
    atomic_fetch_add_explicit(&key->references, 1, memory_order_relaxed);
    return key;
}

void key_clear_versions(struct key *key)
{
    for (size_t i = 0; i < key->version_count; i++) {
        record_done(&version_table, &key->versions[i].record);
        budget_unref(key->versions[i].budget);
        use_mark_unref(key->versions[i].use);
    }
    key->version_count = 0;
}

void key_unref(struct key *key)
{
    if (key == NULL || atomic_fetch_sub_explicit(&key->references, 1, memory_order_acq_rel) > 1)
        return;
    key_clear_versions(key);
    for (size_t i = 0; i < key->tag_count; i++)
        record_done(&tag_table, &key->tags[i]);
    record_done(&key_table, &key->record);
    free(key->versions);
    free(key->tags);
    free(key);
}

/* The state that clients see: what the record says, unless the token has lost the key. */
static enum key_state seen_state(const struct key *key, enum key_state recorded)
{
    const bool hidden = key->unavailable && (recorded == KEY_ENABLED || recorded == KEY_DISABLED);

    return hidden ? KEY_UNAVAILABLE : recorded;
}

/* A family has roles, a single-Region key has none. */
static bool role_is_known(const struct key_record *record)
{
    if (uuid_is_nil(&record->family))
        return record->role == NULL;
    return record->role &&
           (strcmp(record->role, "PRIMARY") == 0 || strcmp(record->role, "REPLICA") == 0);
}

int key_new(const struct key_record *record, struct key **ret, struct kms_error *err)
{
    enum key_state state;
    enum spec_usage usage;

    if (!role_is_known(record))
        return kms_fail_detail(err, KMS_ERR_INTEGRITY, "key %s has no known role",
                               uuid_format(&record->id).text);
    if (!key_state_parse(record->state, &state))
        return kms_fail_detail(err, KMS_ERR_INTEGRITY, "key %s is in no known state",
                               uuid_format(&record->id).text);
    const struct keyspec *const spec = record->spec ? keyspec_find(record->spec) : NULL;
    if (spec == NULL || record->usage == NULL || !spec_usage_parse(record->usage, &usage) ||
        !keyspec_allows(spec, usage))
        return kms_fail_detail(err, KMS_ERR_INTEGRITY, "key %s is of no known spec and usage",
                               uuid_format(&record->id).text);
    struct key *const key = calloc(1, sizeof(*key));
    if (key == NULL)
        return no_memory(err);
    atomic_init(&key->references, 1);
    key->state = state;
    key->spec = spec;
    key->usage = usage;
    if (record_copy(&key_table, record, &key->record, err) < 0) {
        free(key);
        return -1;
    }
    *ret = key;
    return 0;
}

static int add_version(struct key *key, const struct version_record *record, struct budget *budget,
                       struct use_mark *use, struct kms_error *err);

static int copy_lists(const struct key *from, struct key *to, struct kms_error *err)
{
    for (size_t i = 0; i < from->version_count; i++) {
        const struct version *const version = &from->versions[i];
        if (add_version(to, &version->record, version->budget, version->use, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < from->tag_count; i++)
        if (key_set_tag(to, &from->tags[i], err) < 0)
            return -1;
    return 0;
}

int key_copy(const struct key *key, struct key **ret, struct kms_error *err)
{
    struct key *copy = NULL;

    if (key_new(&key->record, &copy, err) < 0)
        return -1;
    copy->unavailable = key->unavailable;
    copy->state = key->state;
    if (copy_lists(key, copy, err) < 0) {
        key_unref(copy);
        return -1;
    }
    *ret = copy;
    return 0;
}

static int name_material(struct version *version, struct kms_error *err)
{
    uint8_t ids[2 * sizeof(struct uuid)], digest[SHA256_LEN];

    memcpy(ids, version->record.key_id.bytes, sizeof(struct uuid));
    memcpy(ids + sizeof(struct uuid), version->record.id.bytes, sizeof(struct uuid));
    if (sha256_of(SPAN_ARRAY(ids), digest, err) < 0)
        return -1;
    hex_format(version->material_id, SPAN_ARRAY(digest));
    return 0;
}

/* What snapshots of a version share: given, or new. False: no memory. */
static bool share(struct version *version, struct budget *budget, struct use_mark *use)
{
    const int64_t reserved = version->record.reserved;

    version->budget = budget ? budget_ref(budget) : budget_new(reserved, reserved);
    version->use = use ? use_mark_ref(use) : use_mark_new();
    if (version->budget && version->use)
        return true;
    budget_unref(version->budget);
    use_mark_unref(version->use);
    return false;
}

static int add_version(struct key *key, const struct version_record *record, struct budget *budget,
                       struct use_mark *use, struct kms_error *err)
{
    size_t place = key->version_count;
    struct version added = { 0 };
    struct version *const moved =
        reallocarray(key->versions, key->version_count + 1, sizeof(*key->versions));

    if (moved == NULL)
        return no_memory(err);
    key->versions = moved;
    if (record_copy(&version_table, record, &added.record, err) < 0)
        return -1;
    if (name_material(&added, err) < 0) {
        record_done(&version_table, &added.record);
        return -1;
    }
    if (!share(&added, budget, use)) {
        record_done(&version_table, &added.record);
        return no_memory(err);
    }
    while (place > 0 && key->versions[place - 1].record.number > record->number)
        place--;
    memmove(key->versions + place + 1, key->versions + place,
            (key->version_count - place) * sizeof(*key->versions));
    key->versions[place] = added;
    key->version_count++;
    return 0;
}

int key_add_version(struct key *key, const struct version_record *record, struct budget *budget,
                    struct kms_error *err)
{
    return add_version(key, record, budget, NULL, err);
}

/* Place of a tag, or of where it would stand. */
static size_t tag_place(const struct key *key, const char *tag_key, bool *ret_found)
{
    size_t place = 0;
    int order = -1;

    while (place < key->tag_count && (order = strcmp(key->tags[place].tag_key, tag_key)) < 0)
        place++;
    *ret_found = place < key->tag_count && order == 0;
    return place;
}

bool key_has_tag(const struct key *key, const char *tag_key)
{
    bool found = false;

    (void)tag_place(key, tag_key, &found);
    return found;
}

int key_set_tag(struct key *key, const struct tag_record *tag, struct kms_error *err)
{
    bool found = false;
    const size_t place = tag_place(key, tag->tag_key, &found);

    if (found)
        return record_set_text(&key->tags[place].tag_value, tag->tag_value, err);

    struct tag_record added = { 0 };
    struct tag_record *const moved =
        reallocarray(key->tags, key->tag_count + 1, sizeof(*key->tags));
    if (moved == NULL)
        return no_memory(err);
    key->tags = moved;
    if (record_copy(&tag_table, tag, &added, err) < 0)
        return -1;
    memmove(key->tags + place + 1, key->tags + place,
            (key->tag_count - place) * sizeof(*key->tags));
    key->tags[place] = added;
    key->tag_count++;
    return 0;
}

void key_remove_tag(struct key *key, const char *tag_key)
{
    bool found = false;
    const size_t place = tag_place(key, tag_key, &found);

    if (!found)
        return;
    record_done(&tag_table, &key->tags[place]);
    key->tag_count--;
    memmove(key->tags + place, key->tags + place + 1,
            (key->tag_count - place) * sizeof(*key->tags));
}

int key_set_state(struct key *key, enum key_state state, struct kms_error *err)
{
    if (record_set_text(&key->record.state, key_state_text(state), err) < 0)
        return -1;
    key->state = seen_state(key, state);
    return 0;
}

void key_set_unavailable(struct key *key, bool unavailable)
{
    enum key_state recorded = key->state;

    /* a key was made from a record whose state could be read */
    if (!key_state_parse(key->record.state, &recorded))
        return;
    key->unavailable = unavailable;
    key->state = seen_state(key, recorded);
}

int record_set_text(char **text, const char *value, struct kms_error *err)
{
    char *const copy = value ? strdup(value) : NULL;

    if (value && copy == NULL)
        return no_memory(err);
    free(*text);
    *text = copy;
    return 0;
}

const struct version *key_version_find(const struct key *key, const struct uuid *version_id)
{
    for (size_t i = key->version_count; i > 0; i--) /* the newest is asked for most */
        if (uuid_equal(&key->versions[i - 1].record.id, version_id))
            return &key->versions[i - 1];
    return NULL;
}

bool key_last_use(const struct key *key, struct last_use *ret)
{
    struct last_use last = { 0 }, use;

    for (size_t i = 0; i < key->version_count; i++)
        if (use_mark_read(key->versions[i].use, &use) && use.time_ms >= last.time_ms)
            last = use;
    if (last.operation[0] == '\0')
        return false;
    *ret = last;
    return true;
}

const struct version *key_current(const struct key *key)
{
    return key_version_find(key, &key->record.current_version);
}

bool version_is_usable(const struct version *version)
{
    return strcmp(version->record.state, "Usable") == 0;
}

struct token_key version_token_key(const struct version *version)
{
    const struct version_record *const record = &version->record;
    const struct buf *const proof = record->public_key.len ? &record->public_key : &record->canary;

    return (struct token_key){ record->id, buf_span(proof) };
}

bool key_visible(const struct key *key)
{
    return key->state == KEY_ENABLED || key->state == KEY_DISABLED ||
           key->state == KEY_PENDING_DELETION || key->state == KEY_PENDING_REPLICA_DELETION ||
           key->state == KEY_UNAVAILABLE || key->state == KEY_PENDING_IMPORT;
}

bool key_is_primary(const struct key *key)
{
    return key->record.role && strcmp(key->record.role, "PRIMARY") == 0;
}

bool key_is_replica(const struct key *key)
{
    return key->record.role && strcmp(key->record.role, "REPLICA") == 0;
}

bool key_is_gone(const struct key *key)
{
    return key->state == KEY_DELETED || key->state == KEY_ABORTED;
}

const struct uuid *key_owner(const struct key *key)
{
    return key_is_multi_region(key) ? &key->record.family : &key->record.id;
}

struct uuid_text key_name(const struct key *key)
{
    static const char prefix[] = "mrk-";
    struct uuid_text name;

    if (!key_is_multi_region(key))
        return uuid_format(&key->record.id);
    memcpy(name.text, prefix, sizeof(prefix) - 1);
    hex_format(name.text + sizeof(prefix) - 1, uuid_span(&key->record.family));
    return name;
}

bool key_is_aws_managed(const struct key *key)
{
    return strcmp(key->record.manager, "AWS") == 0;
}

int key_may(const struct key *key, enum key_use use, const char *arn, struct kms_error *err)
{
    const struct refusal *const refusal = &refusals[key->state][use];

    if (!key_visible(key))
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Key '%s' does not exist", arn);
    if (refusal->code != KMS_ERR_NONE)
        return kms_fail(err, refusal->code, "%s %s", arn, refusal->text);
    return 0;
}

const char *key_state_text(enum key_state state)
{
    assert(state < KEY_STATES);
    return state_texts[state];
}

bool key_state_parse(const char *text, enum key_state *ret)
{
    for (enum key_state state = 0; state < KEY_STATES; state++) {
        if (strcmp(text, state_texts[state]) == 0) {
            *ret = state;
            return true;
        }
    }
    return false;
}
