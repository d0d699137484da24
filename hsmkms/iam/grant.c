#include "hsmkms/iam/grant.h"

#include <pthread.h>
#include <stdlib.h>

#include "hsmkms/base/lock.h"
#include "hsmkms/base/encode.h"
#include "hsmkms/iam/grant_index.h"
#include "hsmkms/iam/grant_principal.h"
#include "hsmkms/iam/grant_record.h"

#define ID_BYTES   (GRANT_ID_LEN / 2)
#define DROP_BATCH 256 /* grants that go in one transaction when their key does */

struct grants {
    pthread_rwlock_t lock; /* guards index; never held over a token or disk call */
    struct grant_index index;

    /* One change at a time; held over token and disk calls on purpose. Whoever holds it may read
     * the index without the lock, because nobody else writes. */
    pthread_mutex_t change;
};

/* --- start and end ---------------------------------------------------------------------------- */

static int load_one(void *arg, const void *record, struct kms_error *err)
{
    struct grants *const grants = arg;
    struct grant_node *node = NULL;
    struct grant *grant = NULL;

    if (grant_from_record(record, &grant, err) < 0)
        return -1;
    const int result = grant_node_new(grant, &node, err);
    grant_unref(grant);
    if (result == 0)
        grant_index_add(&grants->index, node);
    return result;
}

int grants_open(struct iam *iam, struct grants **ret, struct kms_error *err)
{
    struct grants *const grants = calloc(1, sizeof(*grants));

    if (grants == NULL || !lock_init_fair(&grants->lock)) {
        free(grants);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the grants");
    }
    (void)pthread_mutex_init(&grants->change, NULL); /* cannot fail on Linux */
    if (grant_index_init(&grants->index, err) < 0 ||
        store_each(iam->config.store, &grant_table, load_one, grants, err) < 0) {
        grants_close(grants);
        return -1;
    }
    *ret = grants;
    return 0;
}

void grants_close(struct grants *grants)
{
    if (grants == NULL)
        return;
    grant_index_done(&grants->index);
    (void)pthread_mutex_destroy(&grants->change);
    (void)pthread_rwlock_destroy(&grants->lock);
    free(grants);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* A draft with its principals found, as a grant that owns nothing yet and has no id. */
struct template
{
    struct grant_principal grantee, retiring;
    struct grant grant;
};

static void put_text(char *room, size_t size, const char *text)
{
    const size_t len = strnlen(text ? text : "", size - 1);

    if (len)
        memcpy(room, text, len);
    room[len] = '\0';
}

static int make_template(struct iam *iam, const struct grant_draft *draft, struct template *ret,
                         struct kms_error *err)
{
    struct grant *const grant = &ret->grant;

    if (grant_principal_find(iam->directory, draft->grantee, &ret->grantee, err) < 0 ||
        (draft->retiring &&
         grant_principal_find(iam->directory, draft->retiring, &ret->retiring, err) < 0))
        return -1;
    *grant = (struct grant){ .key_id = draft->key_id,
                             .grantee = ret->grantee.arn,
                             .retiring = ret->retiring.arn,
                             .operations = draft->operations,
                             .constraint = draft->constraint,
                             .pairs = draft->pairs,
                             .pair_count = draft->pair_count,
                             .name = draft->name ? draft->name : "",
                             .created_ms = clock_wall_ms(iam->config.clock) };
    memcpy(grant->grantee_id, ret->grantee.unique_id, sizeof(grant->grantee_id));
    memcpy(grant->retiring_id, ret->retiring.unique_id, sizeof(grant->retiring_id));
    put_text(grant->issuing_account, sizeof(grant->issuing_account), draft->issuing_account);
    put_text(grant->parent, sizeof(grant->parent), draft->parent);
    return 0;
}

static int make_id(const struct iam *iam, struct grant *grant, struct kms_error *err)
{
    uint8_t bytes[ID_BYTES];

    if (token_random(iam->config.token, bytes, sizeof(bytes), err) < 0)
        return -1;
    hex_format(grant->id, SPAN_ARRAY(bytes));
    if (grant_index_get(&iam->grants->index, &grant->key_id, grant->id))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the token's random numbers repeat");
    return 0;
}

static int store_one(const struct iam *iam, const struct grant *grant, struct kms_error *err)
{
    AUTO(grant_row) row = { 0 };
    struct store_tx *tx = NULL;

    if (grant_row_make(grant, &row, err) < 0 || store_begin(iam->config.store, &tx, err) < 0)
        return -1;
    if (store_put(tx, &grant_table, &row.record, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

/* In a change: durable, then visible. The template gets its id. */
static int add(struct iam *iam, struct grant *template, struct grant **ret, struct kms_error *err)
{
    struct grants *const grants = iam->grants;
    struct grant_node *node = NULL;
    struct grant *grant = NULL;

    const size_t most = iam->config.grants_per_key ? iam->config.grants_per_key : GRANTS_PER_KEY;
    if (grant_index_count(&grants->index, &template->key_id) >= most)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "You have reached the quota of grants for the key.");
    if (make_id(iam, template, err) < 0 || grant_copy(template, &grant, err) < 0)
        return -1;
    if (grant_node_new(grant, &node, err) < 0 || store_one(iam, grant, err) < 0) {
        grant_node_free(node);
        grant_unref(grant);
        return -1;
    }
    (void)pthread_rwlock_wrlock(&grants->lock);
    grant_index_add(&grants->index, node);
    (void)pthread_rwlock_unlock(&grants->lock);
    *ret = grant;
    return 0;
}

int grant_create(struct iam *iam, const struct grant_draft *draft, struct grant **ret,
                 struct kms_error *err)
{
    struct grants *const grants = iam->grants;
    struct template template = { 0 };
    int result = 0;

    if (make_template(iam, draft, &template, err) < 0)
        return -1;
    (void)pthread_mutex_lock(&grants->change);
    struct grant *const same = grant_index_same(&grants->index, &template.grant);
    if (same)
        *ret = grant_ref(same);
    else
        result = add(iam, &template.grant, ret, err);
    (void)pthread_mutex_unlock(&grants->change);
    return result;
}

/* In a change: ends grants together; durable, then out of sight. */
static int drop(struct iam *iam, struct grant *const *dropped, size_t count, struct kms_error *err)
{
    struct grants *const grants = iam->grants;
    struct store_tx *tx = NULL;

    if (store_begin(iam->config.store, &tx, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct grant_record key = { .key_id = dropped[i]->key_id, .id = dropped[i]->id };
        if (store_drop(tx, &grant_table, &key, err) < 0) {
            store_rollback(tx);
            return -1;
        }
    }
    if (store_commit(tx, err) < 0)
        return -1;
    (void)pthread_rwlock_wrlock(&grants->lock);
    for (size_t i = 0; i < count; i++)
        grant_index_remove(&grants->index, &dropped[i]->key_id, dropped[i]->id);
    (void)pthread_rwlock_unlock(&grants->lock);
    return 0;
}

int grant_remove(struct iam *iam, const struct uuid *key_id, const char *id, struct kms_error *err)
{
    (void)pthread_mutex_lock(&iam->grants->change);
    struct grant *const found = grant_find(iam, key_id, id);
    const int result = found ? drop(iam, &found, 1, err)
                             : kms_fail(err, KMS_ERR_NOT_FOUND, "Grant ID %.128s not found", id);
    (void)pthread_mutex_unlock(&iam->grants->change);
    grant_unref(found);
    return result;
}

static void unref_all(struct grant **grants, size_t count)
{
    for (size_t i = 0; i < count; i++)
        grant_unref(grants[i]);
}

/* In batches, so that other changes of the store need not wait for fifty thousand. */
int grants_drop_key(struct iam *iam, const struct uuid *key_id, struct kms_error *err)
{
    struct grant *batch[DROP_BATCH];
    size_t count = DROP_BATCH;
    int result = 0;

    while (result == 0 && count == DROP_BATCH) {
        (void)pthread_mutex_lock(&iam->grants->change);
        count = grants_of_key(iam, key_id, "", batch, DROP_BATCH);
        if (count)
            result = drop(iam, batch, count, err);
        (void)pthread_mutex_unlock(&iam->grants->change);
        unref_all(batch, count);
    }
    return result;
}

/* --- asking ----------------------------------------------------------------------------------- */

struct grant *grant_find(struct iam *iam, const struct uuid *key_id, const char *id)
{
    (void)pthread_rwlock_rdlock(&iam->grants->lock);
    struct grant *const found = grant_index_get(&iam->grants->index, key_id, id);
    if (found)
        (void)grant_ref(found);
    (void)pthread_rwlock_unlock(&iam->grants->lock);
    return found;
}

static enum strength ask(struct iam *iam, const struct grant_query *query, struct grant **ret_grant)
{
    struct grant *found = NULL;

    (void)pthread_rwlock_rdlock(&iam->grants->lock);
    const enum strength strength = grant_index_ask(&iam->grants->index, query, &found);
    if (found && ret_grant)
        *ret_grant = grant_ref(found);
    (void)pthread_rwlock_unlock(&iam->grants->lock);
    return strength;
}

enum strength grant_strength(struct iam *iam, const struct uuid *key_id,
                             const struct principal *caller, int action,
                             const struct condition_pair *pairs, size_t pair_count,
                             struct grant **ret_grant)
{
    const struct grant_query query = { .key_id = key_id,
                                       .caller = caller,
                                       .action = action,
                                       .pairs = pairs,
                                       .pair_count = pair_count };
    return ask(iam, &query, ret_grant);
}

struct grant *grant_find_parent(struct iam *iam, const struct principal *caller,
                                const struct grant_draft *child)
{
    const struct grant_query query = { .key_id = &child->key_id,
                                       .caller = caller,
                                       .action = action_of("kms", "CreateGrant"),
                                       .child = child };
    struct grant *found = NULL;

    (void)ask(iam, &query, &found);
    return found;
}

const char *grant_shown_principal(struct iam *iam, const char *arn, const char *unique_id)
{
    if (unique_id[0] == '\0')
        return arn;
    struct identity *const identity = directory_get(iam->directory, unique_id);
    identity_unref(identity);
    return identity ? arn : unique_id; /* only whether there was one */
}

/* --- lists ------------------------------------------------------------------------------------ */

size_t grants_of_key(struct iam *iam, const struct uuid *key_id, const char *after,
                     struct grant **ret, size_t most)
{
    struct grant_place place = { .key_id = key_id, .id = after };
    size_t count = 0;

    (void)pthread_rwlock_rdlock(&iam->grants->lock);
    for (; count < most; count++) {
        const struct grant_link *const link = grant_tree_after(&iam->grants->index.by_key, &place);
        if (link == NULL || !uuid_equal(&link->grant->key_id, key_id))
            break;
        ret[count] = grant_ref(link->grant);
        place.id = link->grant->id;
    }
    (void)pthread_rwlock_unlock(&iam->grants->lock);
    return count;
}

size_t grants_of_retiring(struct iam *iam, const char *arn, const struct uuid *after_key,
                          const char *after, struct grant **ret, size_t most)
{
    struct grant_place place = { .retiring = arn, .key_id = after_key, .id = after };
    size_t count = 0;

    (void)pthread_rwlock_rdlock(&iam->grants->lock);
    for (; count < most; count++) {
        const struct grant_link *const link =
            grant_tree_after(&iam->grants->index.by_retiring, &place);
        if (link == NULL || strcmp(link->grant->retiring, arn) != 0)
            break;
        ret[count] = grant_ref(link->grant);
        place = (struct grant_place){ arn, &link->grant->key_id, link->grant->id };
    }
    (void)pthread_rwlock_unlock(&iam->grants->lock);
    return count;
}

size_t grants_count(struct iam *iam, const struct uuid *key_id)
{
    (void)pthread_rwlock_rdlock(&iam->grants->lock);
    const size_t count = grant_index_count(&iam->grants->index, key_id);
    (void)pthread_rwlock_unlock(&iam->grants->lock);
    return count;
}
