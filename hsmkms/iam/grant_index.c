#include "hsmkms/iam/grant_index.h"

#include <stdio.h>
#include <stdlib.h>

#define TABLE_SIZE_FIRST 64

/* Grants under one hash and the same operations. Not uthash: its tables allocate when a node is
 * added, and a grant that is durable must become visible. */
struct grant_bucket {
    struct grant_bucket *next; /* in a slot of the table */
    uint64_t hash;
    uint64_t operations;
    size_t count;
    struct grant_entry *first;
};

/* A grant in a bucket. */
struct grant_entry {
    struct grant_entry *next, *before;
    struct grant_bucket *bucket; /* before it is added: a spare one; NULL: not in use */
    struct grant *grant;
};

enum entry_kind {
    ENTRY_CONSTRAINED, /* for operations that its constraint limits */
    ENTRY_FREE,        /* for the others */
    ENTRY_NAME,        /* for requests that repeat it */
    ENTRY_KINDS
};

struct grant_node {
    struct grant_link by_key; /* first: its address is the node's */
    struct grant_link by_retiring;
    struct grant_entry entries[ENTRY_KINDS];
};

/* --- hashes ----------------------------------------------------------------------------------- */

/* A hash so far, and more bytes. */
static uint64_t hash_on(const struct grant_index *index, uint64_t hash, struct span bytes)
{
    const uint64_t both[] = { hash, short_hash(&index->key, bytes) };

    return short_hash(&index->key, SPAN_ARRAY(both));
}

static uint64_t hash_folded(const struct grant_index *index, uint64_t hash, const char *name)
{
    uint8_t chunk[128];

    do {
        size_t len = 0;
        while (*name && len < sizeof(chunk))
            chunk[len++] = grant_fold((uint8_t)*name++);
        hash = hash_on(index, hash, span_of(chunk, len));
    } while (*name);
    return hash;
}

static uint64_t hash_pair(const struct grant_index *index, const struct condition_pair *pair)
{
    return hash_on(index, hash_folded(index, 0, pair->name), span_text(pair->value));
}

static uint64_t hash_principal(const struct grant_index *index, const struct uuid *key_id,
                               const char *principal)
{
    return hash_on(index, short_hash(&index->key, uuid_span(key_id)), span_text(principal));
}

static uint64_t hash_with_pair(const struct grant_index *index, uint64_t principal, uint64_t pair)
{
    return hash_on(index, principal, span_of(&pair, sizeof(pair)));
}

static bool is_session(const char *arn)
{
    return strncmp(arn, "arn:aws:sts:", strlen("arn:aws:sts:")) == 0;
}

/* What of a grantee is hashed: a unique id where it stands for the whole user or role. */
static const char *grantee_text(const struct grant *grant)
{
    return grant->grantee_id[0] && !is_session(grant->grantee) ? grant->grantee_id : grant->grantee;
}

static uint64_t hash_name(const struct grant_index *index, const struct grant *grant)
{
    uint64_t hash = hash_principal(index, &grant->key_id, grant->name);

    hash = hash_on(index, hash, span_text(grantee_text(grant)));
    hash = hash_on(index, hash, span_text(grant->retiring));
    for (size_t i = 0; i < grant->pair_count; i++) /* in any order */
        hash ^= hash_pair(index, &grant->pairs[i]);
    return hash;
}

/* --- buckets ---------------------------------------------------------------------------------- */

static struct grant_bucket **slot_of(const struct grant_index *index, uint64_t hash)
{
    return &index->table[hash & (index->table_size - 1)];
}

static struct grant_bucket *find_bucket(const struct grant_index *index, uint64_t hash,
                                        uint64_t operations)
{
    struct grant_bucket *bucket = *slot_of(index, hash);

    while (bucket && (bucket->hash != hash || bucket->operations != operations))
        bucket = bucket->next;
    return bucket;
}

static size_t bucket_size(const struct grant_index *index, uint64_t hash, uint64_t operations)
{
    const struct grant_bucket *const bucket = find_bucket(index, hash, operations);

    return bucket ? bucket->count : 0;
}

/* Without memory the table stays as it is: slower, not wrong. */
static void grow_table(struct grant_index *index)
{
    const size_t size = index->table_size * 2;
    struct grant_index larger = { .table = calloc(size, sizeof(*larger.table)),
                                  .table_size = size };

    if (larger.table == NULL)
        return;
    for (size_t i = 0; i < index->table_size; i++)
        for (struct grant_bucket *bucket = index->table[i], *next; bucket; bucket = next) {
            struct grant_bucket **const slot = slot_of(&larger, bucket->hash);
            next = bucket->next;
            bucket->next = *slot;
            *slot = bucket;
        }
    free(index->table);
    index->table = larger.table;
    index->table_size = size;
}

/* The bucket of this hash, or the spare one made into it. */
static struct grant_bucket *take_bucket(struct grant_index *index, uint64_t hash,
                                        uint64_t operations, struct grant_bucket *spare)
{
    struct grant_bucket *const found = find_bucket(index, hash, operations);

    if (found) {
        free(spare);
        return found;
    }
    if (index->bucket_count >= index->table_size)
        grow_table(index);
    struct grant_bucket **const slot = slot_of(index, hash);
    *spare = (struct grant_bucket){ .next = *slot, .hash = hash, .operations = operations };
    *slot = spare;
    index->bucket_count++;
    return spare;
}

static void add_entry(struct grant_index *index, struct grant_entry *entry, uint64_t hash,
                      uint64_t operations)
{
    struct grant_bucket *const bucket = take_bucket(index, hash, operations, entry->bucket);

    entry->bucket = bucket;
    entry->before = NULL;
    entry->next = bucket->first;
    if (entry->next)
        entry->next->before = entry;
    bucket->first = entry;
    bucket->count++;
}

static void drop_bucket(struct grant_index *index, struct grant_bucket *bucket)
{
    struct grant_bucket **at = slot_of(index, bucket->hash);

    while (*at != bucket)
        at = &(*at)->next;
    *at = bucket->next;
    index->bucket_count--;
    free(bucket);
}

static void remove_entry(struct grant_index *index, struct grant_entry *entry)
{
    struct grant_bucket *const bucket = entry->bucket;

    if (entry->next)
        entry->next->before = entry->before;
    if (entry->before)
        entry->before->next = entry->next;
    else
        bucket->first = entry->next;
    if (--bucket->count == 0)
        drop_bucket(index, bucket);
    entry->bucket = NULL;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static uint64_t free_operations(const struct grant *grant)
{
    uint64_t mask = 0;

    if (grant->constraint == GRANT_UNCONSTRAINED)
        return grant->operations;
    for (size_t action = 0; action < action_count; action++)
        if (grant_ignores_constraint((int)action))
            mask |= UINT64_C(1) << action;
    return grant->operations & mask;
}

static bool uses_entry(const struct grant *grant, enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_CONSTRAINED:
        return (grant->operations & ~free_operations(grant)) != 0;
    case ENTRY_FREE:
        return free_operations(grant) != 0;
    case ENTRY_NAME:
        return grant->name[0] != '\0';
    case ENTRY_KINDS:
        break;
    }
    return false;
}

int grant_node_new(struct grant *grant, struct grant_node **ret, struct kms_error *err)
{
    struct grant_node *const node = calloc(1, sizeof(*node));

    if (node == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a grant");
    node->by_key.grant = node->by_retiring.grant = grant_ref(grant);
    for (enum entry_kind kind = 0; kind < ENTRY_KINDS; kind++) {
        struct grant_entry *const entry = &node->entries[kind];

        entry->grant = grant;
        if (!uses_entry(grant, kind))
            continue;
        entry->bucket = calloc(1, sizeof(*entry->bucket));
        if (entry->bucket == NULL) {
            grant_node_free(node);
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a grant");
        }
    }
    *ret = node;
    return 0;
}

void grant_node_free(struct grant_node *node)
{
    if (node == NULL)
        return;
    for (enum entry_kind kind = 0; kind < ENTRY_KINDS; kind++)
        free(node->entries[kind].bucket); /* spare, or NULL since it was removed */
    grant_unref(node->by_key.grant);
    free(node);
}

/* The bucket of a constrained grant: among those of its pairs the one with the fewest grants. A
 * constraint can be without pairs, "equals the empty context". */
static uint64_t constrained_hash(const struct grant_index *index, const struct grant *grant,
                                 uint64_t operations)
{
    const uint64_t principal = hash_principal(index, &grant->key_id, grantee_text(grant));
    uint64_t best = principal;
    size_t least = SIZE_MAX;

    for (size_t i = 0; i < grant->pair_count; i++) {
        const uint64_t hash = hash_with_pair(index, principal, hash_pair(index, &grant->pairs[i]));
        const size_t size = bucket_size(index, hash, operations);
        if (size < least) {
            least = size;
            best = hash;
        }
    }
    return best;
}

void grant_index_add(struct grant_index *index, struct grant_node *node)
{
    const struct grant *const grant = node->by_key.grant;
    const uint64_t unlimited = free_operations(grant), limited = grant->operations & ~unlimited;
    struct grant_entry *const entries = node->entries;

    node->by_key.priority = hash_on(index, 0, span_text(grant->id));
    node->by_retiring.priority = node->by_key.priority;
    grant_tree_add(&index->by_key, &node->by_key);
    if (grant->retiring[0])
        grant_tree_add(&index->by_retiring, &node->by_retiring);
    if (entries[ENTRY_CONSTRAINED].bucket)
        add_entry(index, &entries[ENTRY_CONSTRAINED], constrained_hash(index, grant, limited),
                  limited);
    if (entries[ENTRY_FREE].bucket)
        add_entry(index, &entries[ENTRY_FREE],
                  hash_principal(index, &grant->key_id, grantee_text(grant)), unlimited);
    if (entries[ENTRY_NAME].bucket)
        add_entry(index, &entries[ENTRY_NAME], hash_name(index, grant), 0);
}

void grant_index_remove(struct grant_index *index, const struct uuid *key_id, const char *id)
{
    const struct grant_place place = { .key_id = key_id, .id = id };
    struct grant_link *const link = grant_tree_find(&index->by_key, &place);

    if (link == NULL)
        return;
    struct grant_node *const node = (struct grant_node *)(void *)link;
    grant_tree_remove(&index->by_key, &node->by_key);
    if (link->grant->retiring[0])
        grant_tree_remove(&index->by_retiring, &node->by_retiring);
    for (enum entry_kind kind = 0; kind < ENTRY_KINDS; kind++)
        if (node->entries[kind].bucket)
            remove_entry(index, &node->entries[kind]);
    grant_node_free(node);
}

int grant_index_init(struct grant_index *ret, struct kms_error *err)
{
    *ret = (struct grant_index){ .key = short_hash_key_random(),
                                 .table = calloc(TABLE_SIZE_FIRST, sizeof(*ret->table)),
                                 .table_size = TABLE_SIZE_FIRST,
                                 .by_key = { .order = GRANTS_BY_KEY },
                                 .by_retiring = { .order = GRANTS_BY_RETIRING } };
    if (ret->table == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the grants");
    return 0;
}

void grant_index_done(struct grant_index *index)
{
    while (index->by_key.root) {
        const struct grant *const grant = index->by_key.root->grant;
        grant_index_remove(index, &grant->key_id, grant->id);
    }
    free(index->table);
    *index = (struct grant_index){ 0 };
}

/* --- asking ----------------------------------------------------------------------------------- */

struct grant *grant_index_get(const struct grant_index *index, const struct uuid *key_id,
                              const char *id)
{
    const struct grant_place place = { .key_id = key_id, .id = id };
    const struct grant_link *const link = grant_tree_find(&index->by_key, &place);

    return link ? link->grant : NULL;
}

struct grant *grant_index_same(const struct grant_index *index, const struct grant *wanted)
{
    const struct grant_bucket *const bucket =
        wanted->name[0] ? find_bucket(index, hash_name(index, wanted), 0) : NULL;

    for (const struct grant_entry *entry = bucket ? bucket->first : NULL; entry;
         entry = entry->next)
        if (grant_match_same(entry->grant, wanted))
            return entry->grant;
    return NULL;
}

size_t grant_index_count(const struct grant_index *index, const struct uuid *key_id)
{
    const struct grant_place first = { .key_id = key_id, .id = "" };
    const struct grant_place behind = { .key_id = key_id, .id = "g" }; /* ids are hex */

    return grant_tree_rank(&index->by_key, &behind) - grant_tree_rank(&index->by_key, &first);
}

/* One way in which a caller can be named, and how strongly it is then. */
struct form {
    const char *text;
    enum strength strength;
};
#define FORMS_MAX 3

/* The strongest first. root: room for the ARN of the account's root. */
static size_t forms_of(const struct principal *caller, char root[IDENTITY_ARN_MAX],
                       struct form ret[FORMS_MAX])
{
    size_t count = 0;

    (void)snprintf(root, IDENTITY_ARN_MAX, "arn:aws:iam::%s:root", caller->account);
    if (caller->kind == PRINCIPAL_ROLE_SESSION)
        ret[count++] = (struct form){ caller->arn, STRENGTH_DIRECT };
    if (caller->unique_id[0])
        ret[count++] =
            (struct form){ caller->unique_id,
                           caller->kind == PRINCIPAL_USER ? STRENGTH_DIRECT : STRENGTH_ROLE };
    ret[count++] =
        (struct form){ root, caller->kind == PRINCIPAL_ROOT ? STRENGTH_DIRECT : STRENGTH_ACCOUNT };
    return count;
}

/* Everything that a bucket's hash only promised. */
static bool fits(const struct grant *grant, const struct grant_query *query, enum strength strength,
                 const struct grant_draft *child)
{
    return uuid_equal(&grant->key_id, query->key_id) && grant->operations >> query->action & 1 &&
           grant_match_principal(grant->grantee, grant->grantee_id, query->caller) == strength &&
           (grant_ignores_constraint(query->action) ||
            grant_match_context(grant, query->pairs, query->pair_count)) &&
           (child == NULL || grant_match_child(grant, child));
}

static struct grant *ask_hash(const struct grant_index *index, const struct grant_query *query,
                              uint64_t hash, enum strength strength,
                              const struct grant_draft *child)
{
    for (const struct grant_bucket *bucket = *slot_of(index, hash); bucket; bucket = bucket->next) {
        if (bucket->hash != hash || !(bucket->operations >> query->action & 1))
            continue;
        for (const struct grant_entry *entry = bucket->first; entry; entry = entry->next)
            if (fits(entry->grant, query, strength, child))
                return entry->grant;
    }
    return NULL;
}

static struct grant *ask_form(const struct grant_index *index, const struct grant_query *query,
                              const struct form *form, const struct grant_draft *child)
{
    const uint64_t principal = hash_principal(index, query->key_id, form->text);
    struct grant *found = ask_hash(index, query, principal, form->strength, child);

    if (grant_ignores_constraint(query->action))
        return found;
    for (size_t i = 0; i < query->pair_count && found == NULL; i++)
        found = ask_hash(index, query,
                         hash_with_pair(index, principal, hash_pair(index, &query->pairs[i])),
                         form->strength, child);
    return found;
}

enum strength grant_index_ask(const struct grant_index *index, const struct grant_query *query,
                              struct grant **ret_grant)
{
    struct form forms[FORMS_MAX];
    char root[IDENTITY_ARN_MAX];
    const size_t count = forms_of(query->caller, root, forms);

    *ret_grant = NULL;
    for (size_t i = 0; index->bucket_count && i < count; i++) {
        struct grant *const found = ask_form(index, query, &forms[i], NULL);
        if (found == NULL)
            continue;
        *ret_grant = query->child ? ask_form(index, query, &forms[i], query->child) : found;
        return forms[i].strength;
    }
    return STRENGTH_NONE;
}
