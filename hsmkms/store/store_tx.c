#include "hsmkms/store/store.h"

#include <assert.h>
#include <stdlib.h>

#include "hsmkms/store/store_internal.h"

/* Room left in DB_VALUE_MAX for what the engine adds to a row. */
#define ROW_BYTES_MAX (DB_VALUE_MAX - 4096)

struct staged {
    const struct table *table;
    void *record; /* owned; of a tombstone the primary key alone */
    bool dead;
    struct root_entry entry;  /* of the new row */
    struct root_entry before; /* of the row it replaces */
    bool applied, replaces;   /* entry is in the tree; before was */
};

struct store_tx {
    struct store *store;
    struct staged *staged;
    size_t count, cap;
};

/* ---- staging ---------------------------------------------------------------------------- */

int store_begin(struct store *store, struct store_tx **ret, struct kms_error *err)
{
    struct store_tx *const tx = calloc(1, sizeof(*tx));

    if (tx == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a transaction");
    tx->store = store;
    store_take_turn(store);
    if (store_ready(store, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    *ret = tx;
    return 0;
}

void store_rollback(struct store_tx *tx)
{
    if (tx == NULL)
        return;
    for (size_t i = 0; i < tx->count; i++) {
        record_done(tx->staged[i].table, tx->staged[i].record);
        free(tx->staged[i].record);
    }
    store_end_turn(tx->store);
    free(tx->staged);
    free(tx);
}

static bool grow(struct store_tx *tx)
{
    const size_t cap = tx->cap ? 2 * tx->cap : 8;

    if (tx->count < tx->cap)
        return true;
    struct staged *const moved = reallocarray(tx->staged, cap, sizeof(*moved));
    if (moved == NULL)
        return false;
    tx->staged = moved;
    tx->cap = cap;
    return true;
}

/* A primary key is never NULL, and a row must be readable again. */
static int check_record(const struct table *table, const void *record, struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };
    struct row row = { 0 };

    row_from_record(table, record, &row);
    for (size_t i = 0; i < table->key_columns; i++)
        assert(row.values[i].kind != DB_NULL);
    row_bytes(table, &row, &bytes);
    if (buf_check(&bytes, err) < 0)
        return -1;
    if (bytes.len > ROW_BYTES_MAX)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a %s record of %zu bytes is too large",
                               table->name, bytes.len);
    return 0;
}

/* copied says which columns of the record are taken over; the others stay empty. */
static int stage(struct store_tx *tx, const struct table *table, const struct table *copied,
                 const void *record, struct kms_error *err)
{
    (void)table_index(tx->store->tables, table); /* asserts that it is one of ours */
    void *const copy = calloc(1, table->record_size);
    if (copy == NULL || !grow(tx)) {
        free(copy);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory staging a record");
    }
    if (record_copy(copied, record, copy, err) < 0 || check_record(table, copy, err) < 0) {
        record_done(table, copy);
        free(copy);
        return -1;
    }
    tx->staged[tx->count++] =
        (struct staged){ .table = table, .record = copy, .dead = copied != table };
    return 0;
}

int store_put(struct store_tx *tx, const struct table *table, const void *record,
              struct kms_error *err)
{
    return stage(tx, table, table, record, err);
}

int store_drop(struct store_tx *tx, const struct table *table, const void *record,
               struct kms_error *err)
{
    struct table key_only = *table;

    key_only.column_count = table->key_columns;
    return stage(tx, table, &key_only, record, err);
}

/* ---- MACs and the tree ------------------------------------------------------------------ */

static void row_of(const struct staged *staged, uint64_t sequence, struct row *ret)
{
    row_from_record(staged->table, staged->record, ret);
    ret->sequence = sequence;
    ret->dead = staged->dead;
    memcpy(ret->mac, staged->entry.mac, STORE_MAC_LEN);
}

static int apply(struct store *store, struct staged *staged, uint64_t sequence,
                 struct kms_error *err)
{
    struct row row = { 0 };

    row_of(staged, sequence, &row);
    if (row_entry(staged->table, &row, store->mac, &staged->entry, err) < 0)
        return -1;
    const struct root_entry *const before = root_tree_find(store->now.tree, staged->entry.key);
    staged->replaces = before != NULL;
    if (before)
        staged->before = *before;
    if (root_tree_put(store->now.tree, &staged->entry, err) < 0)
        return -1;
    staged->applied = true;
    store->now.rows[table_index(store->tables, staged->table)] += !staged->replaces;
    return 0;
}

/* Takes everything staged out of the tree again, the last first. */
static void undo(struct store_tx *tx)
{
    struct verified *const now = &tx->store->now;
    struct kms_error never = { 0 };

    for (size_t i = tx->count; i-- > 0;) {
        struct staged *const staged = &tx->staged[i];
        if (!staged->applied)
            continue;
        if (!staged->replaces)
            root_tree_remove(now->tree, staged->entry.key);
        else if (root_tree_put(now->tree, &staged->before, &never) < 0)
            abort(); /* root_tree.h: replacing needs no memory */
        now->rows[table_index(tx->store->tables, staged->table)] -= !staged->replaces;
        staged->applied = false;
    }
}

/* Everything that needs the MAC key, before the database is touched. */
static int seal(struct store_tx *tx, struct state_root *ret, struct kms_error *err)
{
    struct store *const store = tx->store;
    struct state_root next = store->now.root;

    next.sequence++;
    for (size_t i = 0; i < tx->count; i++)
        if (apply(store, &tx->staged[i], next.sequence, err) < 0)
            return -1;
    next.row_count = root_tree_count(store->now.tree);
    if (root_tree_root(store->now.tree, next.root, err) < 0 ||
        state_root_seal(&next, store->mac, err) < 0)
        return -1;
    *ret = next;
    return 0;
}

/* ---- the database ----------------------------------------------------------------------- */

/* Nobody else may have written since: their rows are not in our tree. */
static int check_unmoved(struct store *store, struct kms_error *err)
{
    struct state_root found;

    if (state_root_read(store->db, &found, err) < 0)
        return -1;
    if (!state_root_equal(&found, &store->now.root))
        return kms_fail(err, KMS_ERR_INTEGRITY, "another process has written to the database");
    return 0;
}

static int write_row(struct db *db, const struct staged *staged, uint64_t sequence,
                     struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *put = NULL;
    AUTO(buf) sql = { 0 };
    struct db_value values[TABLE_COLUMNS_MAX + ROW_TRAILER_COLUMNS];
    struct row row = { 0 };

    row_of(staged, sequence, &row);
    const size_t count = row_bind_values(staged->table, &row, values);
    table_sql_put(staged->table, &sql);
    if (buf_check(&sql, err) < 0 || db_prepare(db, (const char *)sql.ptr, &put, err) < 0 ||
        db_bind(put, values, count, err) < 0)
        return -1;
    return db_step(put, err) < 0 ? -1 : 0;
}

static int write_all(struct store_tx *tx, const struct state_root *next, struct kms_error *err)
{
    struct store *const store = tx->store;

    if (db_begin(store->db, err) < 0 || check_unmoved(store, err) < 0)
        return -1;
    for (size_t i = 0; i < tx->count; i++)
        if (write_row(store->db, &tx->staged[i], next->sequence, err) < 0)
            return -1;
    if (state_root_replace(store->db, next, err) < 0)
        return -1;
    return db_commit(store->db, err);
}

/*
 * After a failure: was it committed? Only the database knows. A connection that saw an I/O error
 * is closed and a new one asked, once; the next turn then verifies everything. What it shows may
 * be in memory only, a sync having failed: it counts after a checkpoint has written and synced it
 * anew. If there is no answer, the answer is "no", and store_ready() refuses to go on should that
 * turn out wrong.
 */
static bool committed_after_all(struct store *store, const struct state_root *next)
{
    struct state_root found = { 0 };
    struct kms_error ignored = { 0 }; /* the first error is the one to report */

    db_rollback(store->db);
    const bool lost = db_is_lost(store->db);
    if (lost) {
        store_close_db(store);
        if (db_open_sqlite(store->path, &store->db, &ignored) < 0)
            return false;
    }
    const bool answered = state_root_read(store->db, &found, &ignored) == 0;
    const bool committed =
        answered && state_root_equal(&found, next) && db_checkpoint(store->db, &ignored) == 0;
    if (lost || !(committed || (answered && state_root_equal(&found, &store->now.root))))
        store_close_db(store);
    return committed;
}

static int commit(struct store_tx *tx, struct kms_error *err)
{
    struct store *const store = tx->store;
    struct state_root next;

    if (tx->count == 0)
        return 0;
    if (seal(tx, &next, err) < 0) {
        undo(tx);
        return -1;
    }
    if (write_all(tx, &next, err) < 0) {
        if (!committed_after_all(store, &next)) {
            undo(tx);
            return -1;
        }
        kms_error_clear(err);
    }
    store->now.root = next;
    return 0;
}

int store_commit(struct store_tx *tx, struct kms_error *err)
{
    const int result = commit(tx, err);

    store_rollback(tx); /* frees, and ends the turn */
    return result;
}
