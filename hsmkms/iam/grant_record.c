#include "hsmkms/iam/grant_record.h"

#include <stdlib.h>

#include "hsmkms/base/json_text.h"

static const char *const constraint_texts[] = {
    [GRANT_UNCONSTRAINED] = "",
    [GRANT_SUBSET] = "Subset",
    [GRANT_EQUALS] = "Equals",
};

/* --- one block of memory ---------------------------------------------------------------------- */

/* Moves one text behind the grant. */
static const char *keep(char **room, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *const kept = memcpy(*room, text, size);

    *room += size;
    return kept;
}

static size_t texts_size(const struct grant *grant)
{
    size_t size = strlen(grant->grantee) + strlen(grant->retiring) + strlen(grant->name) + 3;

    for (size_t i = 0; i < grant->pair_count; i++)
        size += strlen(grant->pairs[i].name) + strlen(grant->pairs[i].value) + 2;
    return size;
}

int grant_copy(const struct grant *from, struct grant **ret, struct kms_error *err)
{
    const size_t pairs_size = from->pair_count * sizeof(struct condition_pair);
    struct grant *const made = malloc(sizeof(*made) + pairs_size + texts_size(from));

    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a grant");
    struct condition_pair *const pairs = (void *)(made + 1);
    char *room = (char *)(pairs + from->pair_count);
    *made = *from;
    made->grantee = keep(&room, from->grantee);
    made->retiring = keep(&room, from->retiring);
    made->name = keep(&room, from->name);
    for (size_t i = 0; i < from->pair_count; i++) {
        pairs[i].name = keep(&room, from->pairs[i].name);
        pairs[i].value = keep(&room, from->pairs[i].value);
    }
    made->pairs = pairs;
    atomic_init(&made->references, 1);
    *ret = made;
    return 0;
}

struct grant *grant_ref(struct grant *grant)
{
    (void)atomic_fetch_add_explicit(&grant->references, 1, memory_order_relaxed);
    return grant;
}

void grant_unref(struct grant *grant)
{
    if (grant && atomic_fetch_sub_explicit(&grant->references, 1, memory_order_acq_rel) == 1)
        free(grant);
}

/* --- to a row --------------------------------------------------------------------------------- */

static void say_operations(uint64_t operations, struct buf *ret)
{
    for (size_t action = 0; action < action_count; action++)
        if (operations >> action & 1)
            buf_printf(ret, "%s%s", ret->len ? " " : "", action_short_name((int)action));
    buf_u8(ret, '\0');
}

static void say_pairs(const struct grant *grant, struct buf *ret)
{
    buf_text(ret, "{");
    for (size_t i = 0; i < grant->pair_count; i++) {
        buf_text(ret, i ? "," : "");
        json_text_append_string(ret, span_text(grant->pairs[i].name));
        buf_text(ret, ":");
        json_text_append_string(ret, span_text(grant->pairs[i].value));
    }
    buf_text(ret, "}");
    buf_u8(ret, '\0');
}

/* The store copies what it is given: borrowed texts are only read. */
static char *lend(const char *text)
{
    return (char *)(uintptr_t)text;
}

int grant_row_make(const struct grant *grant, struct grant_row *ret, struct kms_error *err)
{
    say_operations(grant->operations, &ret->operations);
    say_pairs(grant, &ret->pairs);
    if (buf_check(&ret->operations, err) < 0 || buf_check(&ret->pairs, err) < 0)
        return -1;
    ret->record = (struct grant_record){
        .key_id = grant->key_id,
        .id = lend(grant->id),
        .grantee = lend(grant->grantee),
        .grantee_id = lend(grant->grantee_id),
        .retiring = lend(grant->retiring),
        .retiring_id = lend(grant->retiring_id),
        .issuing_account = lend(grant->issuing_account),
        .operations = (char *)ret->operations.ptr,
        .constraint_kind = lend(constraint_texts[grant->constraint]),
        .pairs = (char *)ret->pairs.ptr,
        .name = lend(grant->name),
        .parent = lend(grant->parent),
        .created_ms = grant->created_ms,
    };
    return 0;
}

void grant_row_done(struct grant_row *row)
{
    buf_done(&row->operations);
    buf_done(&row->pairs);
    *row = (struct grant_row){ 0 };
}

/* --- from a row ------------------------------------------------------------------------------- */

static int malformed(const struct grant_record *record, const char *what, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INTEGRITY, "grant '%s' has no valid %s", record->id, what);
}

static bool take_text(const char *text, char *room, size_t size)
{
    if (text == NULL || strlen(text) >= size)
        return false;
    memcpy(room, text, strlen(text) + 1);
    return true;
}

static bool take_operations(const char *text, uint64_t *ret)
{
    char name[64];

    while (*text) {
        const size_t len = strcspn(text, " ");
        if (len >= sizeof(name))
            return false;
        memcpy(name, text, len);
        name[len] = '\0';
        const uint64_t bit = grant_operation_bit(name);
        if (bit == 0)
            return false;
        *ret |= bit;
        text += len + (text[len] == ' ');
    }
    return *ret != 0;
}

static bool take_constraint(const char *text, enum grant_constraint *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(constraint_texts); i++)
        if (strcmp(constraint_texts[i], text) == 0) {
            *ret = (enum grant_constraint)i;
            return true;
        }
    return false;
}

/* Texts stay borrowed from the JSON object. */
static bool take_pairs(json_t *object, struct condition_pair room[GRANT_PAIRS_MAX], size_t *ret)
{
    const char *name;
    json_t *value;

    if (!json_is_object(object) || json_object_size(object) > GRANT_PAIRS_MAX)
        return false;
    json_object_foreach(object, name, value)
    {
        if (!json_is_string(value))
            return false;
        room[(*ret)++] = (struct condition_pair){ name, json_string_value(value) };
    }
    return true;
}

static bool is_complete(const struct grant_record *record)
{
    return record->id && record->grantee && record->retiring && record->operations &&
           record->constraint_kind && record->pairs && record->name;
}

int grant_from_record(const struct grant_record *record, struct grant **ret, struct kms_error *err)
{
    struct condition_pair pairs[GRANT_PAIRS_MAX];
    struct grant draft = { .key_id = record->key_id,
                           .grantee = record->grantee,
                           .retiring = record->retiring,
                           .name = record->name,
                           .pairs = pairs,
                           .created_ms = record->created_ms };

    if (!is_complete(record))
        return kms_fail(err, KMS_ERR_INTEGRITY, "a grant lacks a column");
    json_auto_t *object =
        json_loads(record->pairs, JSON_REJECT_DUPLICATES, NULL); /* our own writing, authentic */
    if (!take_text(record->id, draft.id, sizeof(draft.id)) || strlen(draft.id) != GRANT_ID_LEN)
        return malformed(record, "id", err);
    if (!take_text(record->grantee_id, draft.grantee_id, sizeof(draft.grantee_id)) ||
        !take_text(record->retiring_id, draft.retiring_id, sizeof(draft.retiring_id)) ||
        !take_text(record->issuing_account, draft.issuing_account, sizeof(draft.issuing_account)))
        return malformed(record, "principal", err);
    if (!take_text(record->parent, draft.parent, sizeof(draft.parent)))
        return malformed(record, "parent", err);
    if (!take_operations(record->operations, &draft.operations))
        return malformed(record, "operations", err);
    if (!take_constraint(record->constraint_kind, &draft.constraint) ||
        !take_pairs(object, pairs, &draft.pair_count))
        return malformed(record, "constraint", err);
    return grant_copy(&draft, ret, err);
}
