#include "hsmkms/store/schema.h"

#include <inttypes.h>

#include "hsmkms/store/state_root.h"

/* clang-format off */
#define AT(kind, record, m) COLUMN_AT_##kind(struct record##_record, m)
#define TABLE(name, columns, keys, record) \
    { name, columns, ARRAY_LEN(columns), keys, sizeof(struct record##_record) }

static const struct column installation_columns[] = {
    { "id",                   AT(UUID, installation, id) },
    { "account",              AT(TEXT, installation, account) },
    { "created_ms",           AT(INT,  installation, created_ms) },
    { "meta_mac_key",         AT(UUID, installation, meta_mac_key) },
    { "credential_key",       AT(UUID, installation, credential_key) },
    { "credential_canary",    AT(BLOB, installation, credential_canary) },
};

static const struct column key_columns[] = {
    { "id",                   AT(UUID, key, id) },
    { "manager",              AT(TEXT, key, manager) },
    { "spec",                 AT(TEXT, key, spec) },
    { "usage",                AT(TEXT, key, usage) },
    { "origin",               AT(TEXT, key, origin) },
    { "state",                AT(TEXT, key, state) },
    { "description",          AT(TEXT, key, description) },
    { "policy",               AT(TEXT, key, policy) },
    { "created_ms",           AT(INT,  key, created_ms) },
    { "deletion_due_ms",      AT(INT,  key, deletion_due_ms) },
    { "deletion_window_days", AT(INT,  key, deletion_window_days) },
    { "rotation_enabled",     AT(INT,  key, rotation_enabled) },
    { "rotation_period_days", AT(INT,  key, rotation_period_days) },
    { "rotation_next_ms",     AT(INT,  key, rotation_next_ms) },
    { "rotation_last_ms",     AT(INT,  key, rotation_last_ms) },
    { "rotations_on_demand",  AT(INT,  key, rotations_on_demand) },
    { "current_version",      AT(UUID, key, current_version) },
};

static const struct column version_columns[] = {
    { "id",                   AT(UUID, version, id) },
    { "key_id",               AT(UUID, version, key_id) },
    { "number",               AT(INT,  version, number) },
    { "state",                AT(TEXT, version, state) },
    { "reason",               AT(TEXT, version, reason) },
    { "created_ms",           AT(INT,  version, created_ms) },
    { "rotated_ms",           AT(INT,  version, rotated_ms) },
    { "canary",               AT(BLOB, version, canary) },
    { "reserved",             AT(INT,  version, reserved) },
};

static const struct column alias_columns[] = {
    { "name",                 AT(TEXT, alias, name) },
    { "key_id",               AT(UUID, alias, key_id) },
    { "created_ms",           AT(INT,  alias, created_ms) },
    { "updated_ms",           AT(INT,  alias, updated_ms) },
};

static const struct column tag_columns[] = {
    { "key_id",               AT(UUID, tag, key_id) },
    { "tag_key",              AT(TEXT, tag, tag_key) },
    { "tag_value",            AT(TEXT, tag, tag_value) },
};

static const struct column access_key_columns[] = {
    { "id",                   AT(TEXT, access_key, id) },
    { "principal",            AT(TEXT, access_key, principal) },
    { "user_name",            AT(TEXT, access_key, user_name) },
    { "secret",               AT(BLOB, access_key, secret) },
    { "active",               AT(INT,  access_key, active) },
    { "created_ms",           AT(INT,  access_key, created_ms) },
    { "serial",               AT(INT,  access_key, serial) },
};

/*                                          name            columns         key  record */
const struct table installation_table = TABLE("installation", installation_columns, 1, installation);
const struct table key_table          = TABLE("master_key",   key_columns,          1, key);
const struct table version_table      = TABLE("key_version",  version_columns,      1, version);
const struct table alias_table        = TABLE("alias",        alias_columns,        1, alias);
const struct table tag_table          = TABLE("tag",          tag_columns,          2, tag);
const struct table access_key_table   = TABLE("access_key",   access_key_columns,   1, access_key);

const struct table *const schema_tables[] = {
    &installation_table, &key_table, &version_table, &alias_table, &tag_table, &access_key_table,
    NULL,
};

/*
 * Step n brings schema n to schema n + 1. STRICT: the engine refuses a value of another type.
 * WITHOUT ROWID: the primary key is the table itself, there is no index to disagree with it.
 */
#define TRAILER "row_sequence INTEGER NOT NULL, dead INTEGER NOT NULL, mac BLOB NOT NULL"
#define OPTIONS ") STRICT, WITHOUT ROWID;"

static const char *const migrations[SCHEMA_VERSION] = {
    STATE_ROOT_SQL

    "CREATE TABLE installation (id BLOB NOT NULL PRIMARY KEY, account TEXT,"
    " created_ms INTEGER NOT NULL, meta_mac_key BLOB NOT NULL, credential_key BLOB NOT NULL,"
    " credential_canary BLOB NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE master_key (id BLOB NOT NULL PRIMARY KEY, manager TEXT, spec TEXT, usage TEXT,"
    " origin TEXT, state TEXT, description TEXT, policy TEXT, created_ms INTEGER NOT NULL,"
    " deletion_due_ms INTEGER NOT NULL, deletion_window_days INTEGER NOT NULL,"
    " rotation_enabled INTEGER NOT NULL, rotation_period_days INTEGER NOT NULL,"
    " rotation_next_ms INTEGER NOT NULL, rotation_last_ms INTEGER NOT NULL,"
    " rotations_on_demand INTEGER NOT NULL, current_version BLOB NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE key_version (id BLOB NOT NULL PRIMARY KEY, key_id BLOB NOT NULL,"
    " number INTEGER NOT NULL, state TEXT, reason TEXT, created_ms INTEGER NOT NULL,"
    " rotated_ms INTEGER NOT NULL, canary BLOB NOT NULL, reserved INTEGER NOT NULL, "
    TRAILER OPTIONS

    "CREATE TABLE alias (name TEXT NOT NULL PRIMARY KEY, key_id BLOB NOT NULL,"
    " created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE tag (key_id BLOB NOT NULL, tag_key TEXT NOT NULL, tag_value TEXT, " TRAILER
    ", PRIMARY KEY (key_id, tag_key)" OPTIONS

    "CREATE TABLE access_key (id TEXT NOT NULL PRIMARY KEY, principal TEXT, user_name TEXT,"
    " secret BLOB NOT NULL, active INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " serial INTEGER NOT NULL, " TRAILER OPTIONS,
};
/* clang-format on */

int schema_migrate(struct db *db, struct kms_error *err)
{
    int64_t version = 0;

    if (db_version(db, &version, err) < 0)
        return -1;
    if (version < 0 || version > SCHEMA_VERSION)
        return kms_fail(err, KMS_ERR_CONFIG, "the database has schema %" PRId64 ", not 0 to %d",
                        version, SCHEMA_VERSION);
    for (; version < SCHEMA_VERSION; version++)
        if (db_exec(db, migrations[version], err) < 0 || db_set_version(db, version + 1, err) < 0)
            return -1;
    return 0;
}
