#include "hsmkms/store/state_root.h"

#define STATE_ROOT_DOMAIN SPAN_LITERAL("hsmkms state root 1")

enum { SEQUENCE, ROW_COUNT, SCHEMA, ROOT, MAC, COLUMNS };

static int mac_of(const struct state_root *root, struct store_mac mac, uint8_t ret[STORE_MAC_LEN],
                  struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };

    buf_u32(&bytes, (uint32_t)STATE_ROOT_DOMAIN.len);
    buf_append(&bytes, STATE_ROOT_DOMAIN);
    buf_u64(&bytes, root->sequence);
    buf_u64(&bytes, root->row_count);
    buf_u64(&bytes, root->schema_version);
    buf_append(&bytes, SPAN_ARRAY(root->root));
    if (buf_check(&bytes, err) < 0)
        return -1;
    return mac.sign(mac.ctx, buf_span(&bytes), ret, err);
}

int state_root_seal(struct state_root *root, struct store_mac mac, struct kms_error *err)
{
    return mac_of(root, mac, root->mac, err);
}

int state_root_check(const struct state_root *root, struct store_mac mac, struct kms_error *err)
{
    uint8_t expected[STORE_MAC_LEN];

    if (mac_of(root, mac, expected, err) < 0)
        return -1;
    if (!equal_ct(SPAN_ARRAY(expected), SPAN_ARRAY(root->mac)))
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "state_root was not written by this installation's MAC key");
    return 0;
}

static bool take_row(struct db_statement *select, struct state_root *ret)
{
    static const enum db_kind kinds[COLUMNS] = { DB_INT, DB_INT, DB_INT, DB_BLOB, DB_BLOB };
    struct db_value values[COLUMNS];

    for (size_t i = 0; i < COLUMNS; i++) {
        values[i] = db_column(select, i);
        if (values[i].kind != kinds[i] || values[i].integer < 0)
            return false;
    }
    if (values[ROOT].bytes.len != SHA256_LEN || values[MAC].bytes.len != STORE_MAC_LEN)
        return false;
    ret->sequence = (uint64_t)values[SEQUENCE].integer;
    ret->row_count = (uint64_t)values[ROW_COUNT].integer;
    ret->schema_version = (uint64_t)values[SCHEMA].integer;
    memcpy(ret->root, values[ROOT].bytes.ptr, SHA256_LEN);
    memcpy(ret->mac, values[MAC].bytes.ptr, STORE_MAC_LEN);
    return true;
}

int state_root_read(struct db *db, struct state_root *ret, struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *select = NULL;
    struct state_root read;

    if (db_prepare(db, "SELECT sequence, row_count, schema_version, root, mac FROM state_root",
                   &select, err) < 0)
        return -1;
    const int first = db_step(select, err);
    if (first < 0)
        return -1;
    const bool good = first == 1 && take_row(select, &read);
    const int second = good ? db_step(select, err) : 0;
    if (second < 0)
        return -1;
    if (!good || second == 1)
        return kms_fail(err, KMS_ERR_INTEGRITY, "state_root does not hold one row as written");
    *ret = read;
    return 0;
}

static int write_row(struct db *db, const char *sql, const struct state_root *root,
                     struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *write = NULL;
    const struct db_value values[COLUMNS] = {
        [SEQUENCE] = { .kind = DB_INT, .integer = (int64_t)root->sequence },
        [ROW_COUNT] = { .kind = DB_INT, .integer = (int64_t)root->row_count },
        [SCHEMA] = { .kind = DB_INT, .integer = (int64_t)root->schema_version },
        [ROOT] = { .kind = DB_BLOB, .bytes = SPAN_ARRAY(root->root) },
        [MAC] = { .kind = DB_BLOB, .bytes = SPAN_ARRAY(root->mac) },
    };

    if (db_prepare(db, sql, &write, err) < 0 || db_bind(write, values, COLUMNS, err) < 0)
        return -1;
    return db_step(write, err) < 0 ? -1 : 0;
}

int state_root_insert(struct db *db, const struct state_root *root, struct kms_error *err)
{
    return write_row(db,
                     "INSERT INTO state_root (sequence, row_count, schema_version, root, mac)"
                     " VALUES ($1, $2, $3, $4, $5)",
                     root, err);
}

int state_root_replace(struct db *db, const struct state_root *root, struct kms_error *err)
{
    return write_row(db,
                     "UPDATE state_root SET sequence = $1, row_count = $2, schema_version = $3,"
                     " root = $4, mac = $5",
                     root, err);
}

bool state_root_equal(const struct state_root *a, const struct state_root *b)
{
    return a->sequence == b->sequence && a->row_count == b->row_count &&
           a->schema_version == b->schema_version &&
           span_equal(SPAN_ARRAY(a->root), SPAN_ARRAY(b->root)) &&
           span_equal(SPAN_ARRAY(a->mac), SPAN_ARRAY(b->mac));
}
