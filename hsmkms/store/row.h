#pragma once

/*
 * The codec of a row: record to values of the database and back, and the canonical bytes that are
 * MACed. Driven by struct table alone, so a column that is stored is also authenticated. The byte
 * layout is described in docs/STORE.md.
 *
 * Threads: any; nothing is shared.
 */

#include "hsmkms/crypto/digest.h"
#include "hsmkms/store/db.h"
#include "hsmkms/store/store.h"

/* After its own columns every table has row_sequence, dead, mac, in this order. */
#define ROW_TRAILER_COLUMNS 3

struct row {
    struct db_value values[TABLE_COLUMNS_MAX]; /* borrowed from a record or a statement */
    uint64_t sequence;                         /* of the write that made it */
    bool dead;                                 /* a tombstone: only the primary key is left */
    uint8_t mac[STORE_MAC_LEN];
};

/* The values of a record, borrowed from it. */
void row_from_record(const struct table *table, const void *record, struct row *ret);

/* A new record from values that row_read() has accepted. ret in its zero state. */
CHECKED int row_to_record(const struct table *table, const struct row *row, void *ret,
                          struct kms_error *err);

/* Values for the statement of table_sql_put(). Returns how many. */
size_t row_bind_values(const struct table *table, const struct row *row,
                       struct db_value ret[TABLE_COLUMNS_MAX + ROW_TRAILER_COLUMNS]);

/*
 * Takes the row under a statement of table_sql_select(), values borrowed until the next step.
 * Nothing is coerced: a value of another kind or an impossible length is refused.
 *
 * Errors:  INTEGRITY, naming table and key
 */
CHECKED int row_read(const struct table *table, struct db_statement *select, struct row *ret,
                     struct kms_error *err);

/* Appends the canonical bytes of everything but the MAC. */
void row_bytes(const struct table *table, const struct row *row, struct buf *ret);

/* SHA-256 over table name and primary key: what names a row in the root tree. */
CHECKED int row_key_hash(const struct table *table, const struct row *row, uint8_t ret[SHA256_LEN],
                         struct kms_error *err);

/* "alias 'alias/a'": table and primary key for a message, cut when long. */
struct row_label {
    char text[200];
};
struct row_label row_label(const struct table *table, const struct row *row);

/* SQL texts made from the description, appended with a NUL: all rows in primary key order; insert
 * or replace. */
void table_sql_select(const struct table *table, struct buf *ret);
void table_sql_put(const struct table *table, struct buf *ret);
