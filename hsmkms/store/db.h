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

/* One value going in or coming out; a NULL blob or text has ptr NULL. */
enum db_kind { DB_NULL, DB_INT, DB_TEXT, DB_BLOB };
struct db_value {
    enum db_kind kind;
    int64_t integer;
    struct span bytes; /* out: valid until the next step */
};

/* SQLite at a path: WAL, synchronous=FULL, one connection. Errors: CONFIG, INTERNAL. */
CHECKED int db_open_sqlite(const char *path, struct db **ret, struct kms_error *err);
void db_close(struct db *db);

/* Runs statements without parameters or rows. */
CHECKED int db_exec(struct db *db, const char *sql, struct kms_error *err);

CHECKED int db_prepare(struct db *db, const char *sql, struct db_statement **ret,
                       struct kms_error *err);
void db_finish(struct db_statement *statement);

/* Binds all parameters and starts over. */
CHECKED int db_bind(struct db_statement *statement, const struct db_value *values, size_t count,
                    struct kms_error *err);

/* 1: a row is there; 0: no more; -1: error. */
CHECKED int db_step(struct db_statement *statement, struct kms_error *err);

struct db_value db_column(struct db_statement *statement, size_t column);
