#include "hsmkms/store/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "hsmkms/store/schema.h"
#include "hsmkms/store/store_internal.h"

/* ---- turns ------------------------------------------------------------------------------ */

void store_take_turn(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->busy)
        pthread_cond_wait(&store->idle, &store->lock);
    store->busy = true;
    pthread_mutex_unlock(&store->lock);
}

void store_end_turn(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->busy = false;
    store->sequence = store->now.root.sequence;
    pthread_cond_signal(&store->idle);
    pthread_mutex_unlock(&store->lock);
}

void store_close_db(struct store *store)
{
    db_close(store->db);
    store->db = NULL;
}

/* ---- opening ---------------------------------------------------------------------------- */

/* Tables and the first root, together or not at all. */
static int create(struct store *store, struct kms_error *err)
{
    struct state_root root = { .schema_version = SCHEMA_VERSION };
    struct root_tree *empty = NULL;

    if (root_tree_new(&empty, err) < 0)
        return -1;
    const bool sealed =
        root_tree_root(empty, root.root, err) == 0 && state_root_seal(&root, store->mac, err) == 0;
    root_tree_free(empty);
    if (!sealed || db_begin(store->db, err) < 0)
        return -1;
    if (schema_migrate(store->db, err) < 0 || state_root_insert(store->db, &root, err) < 0 ||
        db_commit(store->db, err) < 0) {
        db_rollback(store->db);
        return -1;
    }
    return 0;
}

/* Opens, creates if allowed, verifies all. store->db is open after success. */
static int open_verified(struct store *store, bool may_create, struct verified *ret,
                         struct kms_error *err)
{
    bool is_new = false;

    if (db_open_sqlite(store->path, &store->db, err) < 0)
        return -1;
    if (verify_is_new(store->db, &is_new, err) < 0 ||
        (is_new && may_create && create(store, err) < 0) ||
        verify_database(store->db, store->tables, store->mac, ret, err) < 0) {
        store_close_db(store);
        return -1;
    }
    return 0;
}

int store_open(const char *path, const struct table *const *tables, struct store_mac mac,
               struct store **ret, struct kms_error *err)
{
    struct store *const store = calloc(1, sizeof(*store));

    if (store == NULL || (store->path = strdup(path)) == NULL) {
        free(store);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory opening the store");
    }
    store->tables = tables;
    store->mac = mac;
    (void)pthread_mutex_init(&store->lock, NULL); /* cannot fail with default attributes */
    (void)pthread_cond_init(&store->idle, NULL);
    if (open_verified(store, true, &store->now, err) < 0) {
        store_close(store);
        return -1;
    }
    store->sequence = store->now.root.sequence;
    *ret = store;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    assert(!store->busy);
    store_close_db(store);
    verified_done(&store->now);
    (void)pthread_cond_destroy(&store->idle);
    (void)pthread_mutex_destroy(&store->lock);
    free(store->path);
    free(store);
}

/*
 * Opens the database again after an I/O error. It must be as it was after the last commit that
 * was acknowledged: what the floors above hold in memory is no later than that.
 */
static int reopen(struct store *store, struct kms_error *err)
{
    struct verified found = { 0 };

    if (open_verified(store, false, &found, err) < 0)
        return -1;
    const uint64_t sequence = found.root.sequence;
    const bool same = state_root_equal(&found.root, &store->now.root);
    verified_done(&found);
    if (same)
        return 0;
    store_close_db(store);
    return kms_fail_detail(err, KMS_ERR_INTERNAL,
                           "after an I/O error the database is at write %" PRIu64
                           ", the service at %" PRIu64 "; restart the service",
                           sequence, store->now.root.sequence);
}

int store_ready(struct store *store, struct kms_error *err)
{
    return store->db ? 0 : reopen(store, err);
}

/* ---- reading ---------------------------------------------------------------------------- */

int store_verify(struct store *store, struct kms_error *err)
{
    struct verified found = { 0 };
    int result = -1;

    store_take_turn(store);
    if (store_ready(store, err) == 0 &&
        verify_database(store->db, store->tables, store->mac, &found, err) == 0) {
        result = 0;
        if (!state_root_equal(&found.root, &store->now.root))
            result = kms_fail(err, KMS_ERR_INTEGRITY,
                              "the database is at write %" PRIu64 ", this process wrote %" PRIu64,
                              found.root.sequence, store->now.root.sequence);
    }
    verified_done(&found);
    store_end_turn(store);
    return result;
}

/* The row is still the one whose MAC was verified, or which this process wrote. */
static int check_known(struct store *store, const struct table *table, const struct row *row,
                       struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };
    uint8_t key[SHA256_LEN], digest[SHA256_LEN];

    row_bytes(table, row, &bytes);
    if (buf_check(&bytes, err) < 0 || row_key_hash(table, row, key, err) < 0 ||
        sha256_of(buf_span(&bytes), digest, err) < 0)
        return -1;
    const struct root_entry *const known = root_tree_find(store->now.tree, key);
    if (known == NULL || !equal_ct(SPAN_ARRAY(known->digest), SPAN_ARRAY(digest)))
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s was changed since it was verified",
                        row_label(table, row).text);
    return 0;
}

static int yield(struct store *store, const struct table *table, struct db_statement *select,
                 store_each_fn *each, void *arg, struct kms_error *err)
{
    struct row row = { 0 };

    if (row_read(table, select, &row, err) < 0 || check_known(store, table, &row, err) < 0)
        return -1;
    if (row.dead)
        return 0;
    void *const record = calloc(1, table->record_size);
    if (record == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a record");
    int result = row_to_record(table, &row, record, err);
    if (result == 0)
        result = each(arg, record, err);
    record_done(table, record);
    free(record);
    return result;
}

static int each_row(struct store *store, const struct table *table, store_each_fn *each, void *arg,
                    struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *select = NULL;
    AUTO(buf) sql = { 0 };
    size_t rows = 0;
    int more;

    table_sql_select(table, &sql);
    if (store_ready(store, err) < 0 || buf_check(&sql, err) < 0 ||
        db_prepare(store->db, (const char *)sql.ptr, &select, err) < 0)
        return -1;
    for (; (more = db_step(select, err)) > 0; rows++)
        if (yield(store, table, select, each, arg, err) < 0)
            return -1;
    if (more == 0 && rows != store->now.rows[table_index(store->tables, table)])
        return kms_fail(err, KMS_ERR_INTEGRITY, "rows of %s are missing since they were verified",
                        table->name);
    return more;
}

int store_each(struct store *store, const struct table *table, store_each_fn *each, void *arg,
               struct kms_error *err)
{
    store_take_turn(store);
    const int result = each_row(store, table, each, arg, err);
    store_end_turn(store);
    return result;
}

uint64_t store_sequence(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    const uint64_t sequence = store->sequence;
    pthread_mutex_unlock(&store->lock);
    return sequence;
}

uint64_t store_next_sequence(struct store *store)
{
    return store_sequence(store) + 1;
}
