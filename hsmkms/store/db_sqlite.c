#include "hsmkms/store/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#define BUSY_TIMEOUT_MS 5000
#define PAGE_MIN        512 /* bytes; sqlite.org/fileformat2.html section 1.2 */

struct db {
    sqlite3 *handle;
    bool lost;
};

struct db_statement {
    struct db *db;
    sqlite3_stmt *handle;
};

/* Result codes (sqlite.org/rescode.html) that are not INTERNAL. */
static const struct {
    int result;
    enum kms_err code;
} result_rows[] = {
    { SQLITE_CORRUPT, KMS_ERR_INTEGRITY },
    { SQLITE_TOOBIG, KMS_ERR_INTEGRITY }, /* longer than anything this program writes */
    { SQLITE_NOTADB, KMS_ERR_CONFIG },
    { SQLITE_CANTOPEN, KMS_ERR_CONFIG },
    { SQLITE_READONLY, KMS_ERR_CONFIG },
    { SQLITE_PERM, KMS_ERR_CONFIG },
};

/* Fills err from the connection's last failure; doing is a word for the operator. */
static int fail(struct db *db, const char *doing, struct kms_error *err)
{
    const int result = sqlite3_extended_errcode(db->handle);
    enum kms_err code = KMS_ERR_INTERNAL;

    for (size_t i = 0; i < ARRAY_LEN(result_rows); i++)
        if (result_rows[i].result == (result & 0xff))
            code = result_rows[i].code;
    if ((result & 0xff) == SQLITE_IOERR)
        db->lost = true;
    return kms_fail_detail(err, code, "SQLite, %s: %s (%d)", doing, sqlite3_errmsg(db->handle),
                           result);
}

/*
 * SQLite would make the file with the process's umask alone; and it takes a file of one byte for
 * an empty one, which only a file of no bytes is.
 */
static int make_private(const char *path, struct kms_error *err)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, S_IRUSR | S_IWUSR);
    struct stat about = { 0 };

    if (fd < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot open the database: %s",
                        strerrordesc_np(errno));
    const bool private = fchmod(fd, S_IRUSR | S_IWUSR) == 0 && fstat(fd, &about) == 0;
    (void)close(fd); /* nothing written; no connection of this process holds a lock on it yet */
    if (!private)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot make the database private: %s",
                        strerrordesc_np(errno));
    if (about.st_size > 0 && about.st_size < PAGE_MIN)
        return kms_fail(err, KMS_ERR_CONFIG, "the database file is cut short: not a database");
    return 0;
}

/* What a hostile file must not get at: sqlite.org/security.html. */
static int set_limits(struct db *db, struct kms_error *err)
{
    static const struct {
        int option, value;
    } rows[] = {
        { SQLITE_DBCONFIG_DEFENSIVE, 1 },      { SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 },
        { SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 }, { SQLITE_DBCONFIG_ENABLE_VIEW, 0 },
        { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 }, { SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0 },
        { SQLITE_DBCONFIG_DQS_DDL, 0 },        { SQLITE_DBCONFIG_DQS_DML, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (sqlite3_db_config(db->handle, rows[i].option, rows[i].value, NULL) != SQLITE_OK)
            return fail(db, "configuring", err);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, DB_VALUE_MAX);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
    if (sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS) != SQLITE_OK)
        return fail(db, "configuring", err);
    return 0;
}

static int set_up(struct db *db, struct kms_error *err)
{
    if (set_limits(db, err) < 0)
        return -1;
    return db_exec(db,
                   "PRAGMA trusted_schema = OFF;"
                   "PRAGMA cell_size_check = ON;"
                   "PRAGMA mmap_size = 0;"
                   "PRAGMA temp_store = MEMORY;"
                   "PRAGMA foreign_keys = ON;"
                   "PRAGMA secure_delete = ON;"
                   "PRAGMA journal_mode = WAL;"
                   "PRAGMA synchronous = FULL;",
                   err);
}

static int open_at(const char *path, struct db **ret, struct kms_error *err)
{
    struct db *const db = calloc(1, sizeof(*db));

    if (db == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory opening the database");
    /* no mutexes of SQLite's own: the store lets one thread in at a time */
    const int result = sqlite3_open_v2(path, &db->handle,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                           SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                       NULL);
    if (result != SQLITE_OK)
        (void)fail(db, "opening", err);
    if (result != SQLITE_OK || set_up(db, err) < 0) {
        db_close(db);
        return -1;
    }
    *ret = db;
    return 0;
}

int db_open_scratch(struct db **ret, struct kms_error *err)
{
    return open_at(":memory:", ret, err);
}

int db_open_sqlite(const char *path, struct db **ret, struct kms_error *err)
{
    if (make_private(path, err) < 0)
        return -1;
    return open_at(path, ret, err);
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    const int result = sqlite3_close(db->handle); /* BUSY: a statement was not finished */
    assert(result == SQLITE_OK);
    (void)result;
    free(db);
}

bool db_is_lost(const struct db *db)
{
    return db->lost;
}

int db_exec(struct db *db, const char *sql, struct kms_error *err)
{
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
        return fail(db, "executing", err);
    return 0;
}

int db_begin(struct db *db, struct kms_error *err)
{
    return db_exec(db, "BEGIN IMMEDIATE", err);
}

int db_commit(struct db *db, struct kms_error *err)
{
    return db_exec(db, "COMMIT", err);
}

void db_rollback(struct db *db)
{
    struct kms_error ignored = { 0 }; /* the caller reads the root back: that tells */

    if (!sqlite3_get_autocommit(db->handle) && db_exec(db, "ROLLBACK", &ignored) < 0)
        db->lost = true;
}

int db_checkpoint(struct db *db, struct kms_error *err)
{
    if (sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) !=
        SQLITE_OK)
        return fail(db, "checkpointing", err);
    return 0;
}

/* "$1" is the name of a parameter to SQLite, numbered by first use. */
static void assert_parameters_ascend(sqlite3_stmt *handle)
{
    char name[16];

    for (int i = 1; i <= sqlite3_bind_parameter_count(handle); i++) {
        (void)snprintf(name, sizeof(name), "$%d", i);
        assert(strcmp(sqlite3_bind_parameter_name(handle, i), name) == 0);
    }
}

int db_prepare(struct db *db, const char *sql, struct db_statement **ret, struct kms_error *err)
{
    struct db_statement *const made = calloc(1, sizeof(*made));

    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory preparing a statement");
    made->db = db;
    if (sqlite3_prepare_v2(db->handle, sql, -1, &made->handle, NULL) != SQLITE_OK) {
        (void)fail(db, "preparing", err);
        db_finish(made);
        return -1;
    }
    assert_parameters_ascend(made->handle);
    *ret = made;
    return 0;
}

void db_finish(struct db_statement *statement)
{
    if (statement == NULL)
        return;
    (void)sqlite3_finalize(statement->handle); /* repeats the error of the last step */
    free(statement);
}

static int bind_one(sqlite3_stmt *handle, int at, const struct db_value *value)
{
    const char *const bytes = value->bytes.len ? (const char *)value->bytes.ptr : "";

    switch (value->kind) {
    case DB_INT:
        return sqlite3_bind_int64(handle, at, value->integer);
    case DB_TEXT:
        return sqlite3_bind_text64(handle, at, bytes, value->bytes.len, SQLITE_TRANSIENT,
                                   SQLITE_UTF8);
    case DB_BLOB:
        return sqlite3_bind_blob64(handle, at, bytes, value->bytes.len, SQLITE_TRANSIENT);
    case DB_NULL:
    case DB_OTHER:
        break;
    }
    return sqlite3_bind_null(handle, at);
}

int db_bind(struct db_statement *statement, const struct db_value *values, size_t count,
            struct kms_error *err)
{
    assert(count == (size_t)sqlite3_bind_parameter_count(statement->handle));
    (void)sqlite3_reset(statement->handle); /* repeats the error of the last step */
    for (size_t i = 0; i < count; i++) {
        const int result = bind_one(statement->handle, (int)i + 1, &values[i]);
        if (result != SQLITE_OK)
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "SQLite, binding $%zu: %s", i + 1,
                                   sqlite3_errstr(result));
    }
    return 0;
}

int db_step(struct db_statement *statement, struct kms_error *err)
{
    switch (sqlite3_step(statement->handle)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return fail(statement->db, "running", err);
    }
}

/* A text or blob as it is stored; an empty one still has an address. */
static struct db_value bytes_value(enum db_kind kind, sqlite3_stmt *handle, int at, const void *ptr)
{
    const size_t len = ptr ? (size_t)sqlite3_column_bytes(handle, at) : 0;

    return (struct db_value){ .kind = kind, .bytes = span_of(ptr ? ptr : "", len) };
}

struct db_value db_column(struct db_statement *statement, size_t column)
{
    sqlite3_stmt *const handle = statement->handle;
    const int at = (int)column;

    switch (sqlite3_column_type(handle, at)) {
    case SQLITE_INTEGER:
        return (struct db_value){ .kind = DB_INT, .integer = sqlite3_column_int64(handle, at) };
    case SQLITE_TEXT:
        return bytes_value(DB_TEXT, handle, at, sqlite3_column_text(handle, at));
    case SQLITE_BLOB:
        return bytes_value(DB_BLOB, handle, at, sqlite3_column_blob(handle, at));
    case SQLITE_NULL:
        return (struct db_value){ .kind = DB_NULL };
    default:
        return (struct db_value){ .kind = DB_OTHER };
    }
}

int db_version(struct db *db, int64_t *ret, struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *select = NULL;

    if (db_prepare(db, "PRAGMA user_version", &select, err) < 0 || db_step(select, err) < 0)
        return -1;
    *ret = db_column(select, 0).integer;
    return 0;
}

int db_set_version(struct db *db, int64_t version, struct kms_error *err)
{
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %" PRId64, version);
    return db_exec(db, sql, err);
}

static void append_layout(struct buf *ret, struct db_statement *row, size_t columns)
{
    for (size_t i = 0; i < columns; i++) {
        const struct db_value value = db_column(row, i);
        buf_u8(ret, (uint8_t)value.kind);
        buf_u64(ret, value.kind == DB_INT ? (uint64_t)value.integer : value.bytes.len);
        buf_append(ret, value.bytes);
    }
}

int db_layout(struct db *db, struct buf *ret, struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *select = NULL;
    int more;

    if (db_prepare(db,
                   "SELECT type, name, tbl_name, sql FROM sqlite_schema"
                   " ORDER BY type, name, tbl_name, sql",
                   &select, err) < 0)
        return -1;
    while ((more = db_step(select, err)) > 0)
        append_layout(ret, select, 4);
    return more < 0 ? -1 : buf_check(ret, err);
}

int db_check(struct db *db, struct kms_error *err)
{
    AUTO_STATEMENT struct db_statement *select = NULL;

    if (db_prepare(db, "PRAGMA integrity_check(1)", &select, err) < 0 || db_step(select, err) < 0)
        return -1;
    const struct span said = db_column(select, 0).bytes;
    if (!span_equal(said, SPAN_LITERAL("ok")))
        return kms_fail(err, KMS_ERR_INTEGRITY, "the database file is damaged: %.*s",
                        (int)(said.len < 300 ? said.len : 300), (const char *)said.ptr);
    return 0;
}
