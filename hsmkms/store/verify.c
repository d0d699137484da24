#include "hsmkms/store/verify.h"

#include <assert.h>
#include <inttypes.h>

#include "hsmkms/store/schema.h"

void verified_done(struct verified *verified)
{
    root_tree_free(verified->tree);
    *verified = (struct verified){ 0 };
}

size_t table_index(const struct table *const *tables, const struct table *table)
{
    size_t at = 0;

    while (tables[at] != table) {
        assert(tables[at] != NULL);
        at++;
    }
    assert(at < STORE_TABLES_MAX);
    return at;
}

int row_entry(const struct table *table, const struct row *row, struct store_mac mac,
              struct root_entry *ret, struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };

    row_bytes(table, row, &bytes);
    if (buf_check(&bytes, err) < 0 || row_key_hash(table, row, ret->key, err) < 0 ||
        sha256_of(buf_span(&bytes), ret->digest, err) < 0)
        return -1;
    return mac.sign(mac.ctx, buf_span(&bytes), ret->mac, err);
}

/* Are tables, indexes, triggers and views those that the migrations make, no more, no less? */
static int compare_layout(struct db *db, bool *ret_same, struct kms_error *err)
{
    AUTO(buf) found = { 0 };
    AUTO(buf) expected = { 0 };
    struct db *scratch = NULL;

    if (db_layout(db, &found, err) < 0 || db_open_scratch(&scratch, err) < 0)
        return -1;
    const bool made = schema_migrate(scratch, err) == 0 && db_layout(scratch, &expected, err) == 0;
    db_close(scratch);
    if (!made)
        return -1;
    *ret_same = span_equal(buf_span(&found), buf_span(&expected));
    return 0;
}

/* The schema's number is authentic only through the root. */
static int check_version(struct db *db, const struct state_root *root, struct kms_error *err)
{
    int64_t version = 0;

    if (db_version(db, &version, err) < 0)
        return -1;
    if (version < 0 || root->schema_version != (uint64_t)version)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the schema's number is %" PRId64 ", but state_root was written under "
                        "%" PRIu64,
                        version, root->schema_version);
    if (version > SCHEMA_VERSION)
        return kms_fail(err, KMS_ERR_CONFIG,
                        "the database has schema %" PRId64 ", this program knows up to %d; "
                        "start the newer program",
                        version, SCHEMA_VERSION);
    return 0;
}

/* Another layout is a newer program's only if the root says so. */
static int refuse_layout(struct db *db, struct store_mac mac, struct kms_error *err)
{
    struct state_root root;
    struct kms_error reason = { 0 };

    if (state_root_read(db, &root, &reason) == 0 && state_root_check(&root, mac, &reason) == 0 &&
        check_version(db, &root, &reason) < 0 && reason.code == KMS_ERR_CONFIG) {
        *err = reason;
        return -1;
    }
    return kms_fail(err, KMS_ERR_INTEGRITY,
                    "the database's tables, indexes, triggers and views are not those that this "
                    "program makes");
}

static int check_root(struct db *db, struct store_mac mac, struct state_root *ret,
                      struct kms_error *err)
{
    bool same = false;

    if (compare_layout(db, &same, err) < 0)
        return -1;
    if (!same)
        return refuse_layout(db, mac, err);
    if (state_root_read(db, ret, err) < 0 || state_root_check(ret, mac, err) < 0)
        return -1;
    return check_version(db, ret, err);
}

static int check_row(const struct table *table, struct db_statement *select, struct store_mac mac,
                     struct root_tree *tree, struct kms_error *err)
{
    struct row row = { 0 };
    struct root_entry entry;

    if (row_read(table, select, &row, err) < 0 || row_entry(table, &row, mac, &entry, err) < 0)
        return -1;
    if (!equal_ct(SPAN_ARRAY(entry.mac), SPAN_ARRAY(row.mac)))
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s is not as it was written",
                        row_label(table, &row).text);
    if (root_tree_find(tree, entry.key) != NULL)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s is there twice", row_label(table, &row).text);
    return root_tree_put(tree, &entry, err);
}

static int check_table(struct db *db, const struct table *table, struct store_mac mac,
                       struct root_tree *tree, size_t *ret_rows, struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *select = NULL;
    AUTO(buf) sql = { 0 };
    int more;

    table_sql_select(table, &sql);
    if (buf_check(&sql, err) < 0 || db_prepare(db, (const char *)sql.ptr, &select, err) < 0)
        return -1;
    while ((more = db_step(select, err)) > 0) {
        if (check_row(table, select, mac, tree, err) < 0)
            return -1;
        (*ret_rows)++;
    }
    return more;
}

/* Each row was authentic by itself; are they all there, and is none an older one? */
static int check_tree(const struct state_root *root, struct root_tree *tree, struct kms_error *err)
{
    uint8_t found[SHA256_LEN];

    if (root_tree_count(tree) != root->row_count)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "there are %zu rows, but state_root was written over %" PRIu64,
                        root_tree_count(tree), root->row_count);
    if (root_tree_root(tree, found, err) < 0)
        return -1;
    if (!equal_ct(SPAN_ARRAY(found), SPAN_ARRAY(root->root)))
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the rows are not those that state_root %" PRIu64 " was written over: "
                        "one was replaced by another or by an older one",
                        root->sequence);
    return 0;
}

static int check_all(struct db *db, const struct table *const *tables, struct store_mac mac,
                     struct verified *ret, struct kms_error *err)
{
    if (check_root(db, mac, &ret->root, err) < 0 || root_tree_new(&ret->tree, err) < 0)
        return -1;
    for (size_t i = 0; tables[i]; i++)
        if (check_table(db, tables[i], mac, ret->tree, &ret->rows[i], err) < 0)
            return -1;
    if (check_tree(&ret->root, ret->tree, err) < 0)
        return -1;
    return db_check(db, err);
}

int verify_database(struct db *db, const struct table *const *tables, struct store_mac mac,
                    struct verified *ret, struct kms_error *err)
{
    struct verified made = { 0 };

    if (check_all(db, tables, mac, &made, err) < 0) {
        verified_done(&made);
        return -1;
    }
    *ret = made;
    return 0;
}

int verify_is_new(struct db *db, bool *ret, struct kms_error *err)
{
    AUTO(buf) layout = { 0 };
    int64_t version = 0;

    if (db_layout(db, &layout, err) < 0 || db_version(db, &version, err) < 0)
        return -1;
    *ret = layout.len == 0 && version == 0;
    return 0;
}
