#pragma once

/*
 * What the store needs of a database engine; the only files that include an engine's header are
 * db_<engine>.c. SQL is written once for all engines with parameters $1..$n, first used in
 * ascending order.
 *
 * Threads: one at a time; the store sees to it.
 */

#include "hsmkms/base/buf.h"

struct db;
struct db_statement;

/* Longest text or blob, and longest row, that is written or read. */
#define DB_VALUE_MAX (1024 * 1024)

/* One value going in or coming out. DB_OTHER comes out for what is never put in, as a float. */
enum db_kind { DB_NULL, DB_INT, DB_TEXT, DB_BLOB, DB_OTHER };
struct db_value {
    enum db_kind kind;
    int64_t integer;
    struct span bytes; /* out: valid until the next step */
};

/*
 * SQLite at a path: WAL, synchronous=FULL, one connection; the file is made with mode 0600.
 *
 * Errors, here and below: CONFIG (cannot be opened, not a database); INTEGRITY (the file is
 * damaged); INTERNAL (disk full, I/O error, locked by another process)
 */
CHECKED int db_open_sqlite(const char *path, struct db **ret, struct kms_error *err);

/* An empty database in memory, of the same engine. */
CHECKED int db_open_scratch(struct db **ret, struct kms_error *err);

/* Accepts NULL. */
void db_close(struct db *db);

/* An I/O error was seen: what the connection believes of the file may be wrong; open a new one. */
bool db_is_lost(const struct db *db);

/* The schema's number; 0 in an empty database. Part of a transaction like any other write. */
CHECKED int db_version(struct db *db, int64_t *ret, struct kms_error *err);
CHECKED int db_set_version(struct db *db, int64_t version, struct kms_error *err);

/*
 * Appends type, name, table and SQL text of everything in the database: tables, indexes, triggers,
 * views. Equal for two databases made by the same statements; empty for an empty one.
 */
CHECKED int db_layout(struct db *db, struct buf *ret, struct kms_error *err);

/* The engine's own check of the whole file. Errors: INTEGRITY. */
CHECKED int db_check(struct db *db, struct kms_error *err);

/* Runs statements without parameters or rows. */
CHECKED int db_exec(struct db *db, const char *sql, struct kms_error *err);

/* Begins a transaction as its only writer; ends by db_commit, or db_rollback after any failure. */
CHECKED int db_begin(struct db *db, struct kms_error *err);
CHECKED int db_commit(struct db *db, struct kms_error *err);
void db_rollback(struct db *db);

/* Puts everything committed into the database file itself and syncs that. */
CHECKED int db_checkpoint(struct db *db, struct kms_error *err);

CHECKED int db_prepare(struct db *db, const char *sql, struct db_statement **ret,
                       struct kms_error *err);
void db_finish(struct db_statement *statement);

/* A statement that finishes itself: AUTO_STATEMENT struct db_statement *select = NULL; */
#define AUTO_STATEMENT __attribute__((cleanup(db_finish_at)))
static inline void db_finish_at(struct db_statement **statement)
{
    db_finish(*statement);
}

/* Binds all parameters and starts over. */
CHECKED int db_bind(struct db_statement *statement, const struct db_value *values, size_t count,
                    struct kms_error *err);

/* 1: a row is there; 0: no more; -1: error. */
CHECKED int db_step(struct db_statement *statement, struct kms_error *err);

struct db_value db_column(struct db_statement *statement, size_t column);
