#pragma once

/*
 * Records in and out of the database, authenticated: no decisions, no caching beyond the digest of
 * each row. A table is a const description of its columns; one codec turns records into rows and
 * into the bytes that are MACed, so a column cannot be forgotten.
 *
 * Every row carries HMAC(table, sequence, columns). One state-root row carries the sequence of the
 * last write, the number of rows and the root of a hash tree over all row MACs, itself MACed, and
 * is renewed in the transaction of every write. Rows are never deleted: a removed one becomes a
 * tombstone. So an edited, swapped, missing, added or older row is seen by store_open.
 *
 * A write is staged in memory, MACed, and only then put into one SQL transaction: no transaction
 * spans a call to the token.
 *
 * Threads: one store_tx exists at a time; store_begin waits for the one before. store_each and
 * store_verify take such a turn too: never call them, or store_begin, while holding a store_tx or
 * from inside a store_each_fn. store_sequence may be asked at any time.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/base/uuid.h"

#define STORE_MAC_LEN 32

/* Who computes the MACs: the token, or in tests a software key. */
struct store_mac {
    int (*sign)(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN], struct kms_error *err);
    void *ctx;
};

enum column_kind {
    COLUMN_UUID, /* struct uuid */
    COLUMN_TEXT, /* char *, owned, UTF-8; NULL is SQL NULL and differs from "" */
    COLUMN_INT,  /* int64_t */
    COLUMN_BLOB, /* struct buf, owned; never NULL */
};

struct column {
    const char *name;
    enum column_kind kind;
    size_t offset; /* of the member in the record */
};

/* Kind and place of a member; a member of another type does not compile. */
#define COLUMN_AT_UUID(S, m) COLUMN_UUID, OFFSET_OF_TYPE(S, m, struct uuid)
#define COLUMN_AT_TEXT(S, m) COLUMN_TEXT, OFFSET_OF_TYPE(S, m, char *)
#define COLUMN_AT_INT(S, m)  COLUMN_INT, OFFSET_OF_TYPE(S, m, int64_t)
#define COLUMN_AT_BLOB(S, m) COLUMN_BLOB, OFFSET_OF_TYPE(S, m, struct buf)

#define TABLE_COLUMNS_MAX 24

struct table {
    const char *name;
    const struct column *columns; /* the primary key's columns first */
    size_t column_count, key_columns;
    size_t record_size;
};

/* Frees what a record owns and zeroes it; deep copy into a zero record. */
void record_done(const struct table *table, void *record);
CHECKED int record_copy(const struct table *table, const void *from, void *ret,
                        struct kms_error *err);

struct store;
struct store_tx;

/*
 * Opens or creates the database and brings its schema to the newest version.
 *
 * tables   every table of the schema, NULL-terminated, in an order that never changes
 * Errors:  INTEGRITY (message names table and key of the first row that is not as written);
 *          CONFIG (newer schema than this program, not a database); INTERNAL
 */
CHECKED int store_open(const char *path, const struct table *const *tables, struct store_mac mac,
                       struct store **ret, struct kms_error *err);
void store_close(struct store *store);

/* Verifies every row and the root again, as store_open did. Errors: INTEGRITY. */
CHECKED int store_verify(struct store *store, struct kms_error *err);

/*
 * Calls each for every live record, in primary key order; the record is borrowed. A row that
 * changed in the file since it was verified is refused.
 *
 * Errors:  INTEGRITY; INTERNAL; the first failure of each, which ends the walk
 */
typedef int store_each_fn(void *arg, const void *record, struct kms_error *err);
CHECKED int store_each(struct store *store, const struct table *table, store_each_fn *each,
                       void *arg, struct kms_error *err);

/* Sequence of the last committed write; 0 for a new database. */
uint64_t store_sequence(struct store *store);

/* The sequence that the next commit will have: what an intent record announces. */
uint64_t store_next_sequence(struct store *store);

CHECKED int store_begin(struct store *store, struct store_tx **ret, struct kms_error *err);

/*
 * Stages one record: insert or replace. The record is copied.
 * Errors: INTERNAL (out of memory; larger than DB_VALUE_MAX)
 */
CHECKED int store_put(struct store_tx *tx, const struct table *table, const void *record,
                      struct kms_error *err);

/* Stages a tombstone for the record with these key columns; others are not looked at. */
CHECKED int store_drop(struct store_tx *tx, const struct table *table, const void *record,
                       struct kms_error *err);

/*
 * Makes all staged records durable, or none; frees tx either way. Nothing staged: nothing is
 * written, the sequence stays. A record staged twice: the later one counts. After a failure the
 * database is as it was, or, where the outcome of COMMIT is unknown, the store reads the root back
 * to learn it.
 *
 * Errors:  INTERNAL (disk full, I/O error); INTEGRITY (another process wrote to the database)
 */
CHECKED int store_commit(struct store_tx *tx, struct kms_error *err);
void store_rollback(struct store_tx *tx);
