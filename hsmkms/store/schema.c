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
    { "audit_key",            AT(UUID, installation, audit_key) },
    { "audit_public",         AT(BLOB, installation, audit_public) },
    { "audit_checkpoint",     AT(INT,  installation, audit_checkpoint) },
};

static const struct column key_columns[] = {
    { "id",                   AT(UUID, key, id) },
    { "manager",              AT(TEXT, key, manager) },
    { "spec",                 AT(TEXT, key, spec) },
    { "usage",                AT(TEXT, key, usage) },
    { "origin",               AT(TEXT, key, origin) },
    { "key_store",            AT(TEXT, key, key_store) },
    { "state",                AT(TEXT, key, state) },
    { "description",          AT(TEXT, key, description) },
    { "policy",               AT(TEXT, key, policy) },
    { "policy_pins",          AT(TEXT, key, policy_pins) },
    { "created_ms",           AT(INT,  key, created_ms) },
    { "deletion_due_ms",      AT(INT,  key, deletion_due_ms) },
    { "deletion_window_days", AT(INT,  key, deletion_window_days) },
    { "rotation_enabled",     AT(INT,  key, rotation_enabled) },
    { "rotation_period_days", AT(INT,  key, rotation_period_days) },
    { "rotation_next_ms",     AT(INT,  key, rotation_next_ms) },
    { "rotation_last_ms",     AT(INT,  key, rotation_last_ms) },
    { "rotations_on_demand",  AT(INT,  key, rotations_on_demand) },
    { "current_version",      AT(UUID, key, current_version) },
    { "region",               AT(TEXT, key, region) },
    { "family",               AT(UUID, key, family) },
    { "role",                 AT(TEXT, key, role) },
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
    { "public_key",           AT(BLOB, version, public_key) },
    { "reserved",             AT(INT,  version, reserved) },
    { "imported",             AT(TEXT, version, imported) },
    { "padding",              AT(TEXT, version, padding) },
    { "description",          AT(TEXT, version, description) },
    { "valid_to_ms",          AT(INT,  version, valid_to_ms) },
};

static const struct column wrapping_columns[] = {
    { "id",                   AT(UUID, wrapping, id) },
    { "spec",                 AT(TEXT, wrapping, spec) },
    { "state",                AT(TEXT, wrapping, state) },
    { "public_key",           AT(BLOB, wrapping, public_key) },
    { "created_ms",           AT(INT,  wrapping, created_ms) },
};

static const struct column alias_columns[] = {
    { "name",                 AT(TEXT, alias, name) },
    { "region",               AT(TEXT, alias, region) },
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
    { "account",              AT(TEXT, access_key, account) },
    { "owner",                AT(TEXT, access_key, owner) },
    { "secret",               AT(BLOB, access_key, secret) },
    { "active",               AT(INT,  access_key, active) },
    { "created_ms",           AT(INT,  access_key, created_ms) },
    { "serial",               AT(INT,  access_key, serial) },
};

static const struct column account_columns[] = {
    { "id",                   AT(TEXT, account, id) },
    { "is_foreign",           AT(INT,  account, is_foreign) },
    { "root_enabled",         AT(INT,  account, root_enabled) },
    { "root_until_ms",        AT(INT,  account, root_until_ms) },
    { "root_since_ms",        AT(INT,  account, root_since_ms) },
    { "created_ms",           AT(INT,  account, created_ms) },
};

static const struct column identity_columns[] = {
    { "unique_id",            AT(TEXT, identity, unique_id) },
    { "kind",                 AT(TEXT, identity, kind) },
    { "account",              AT(TEXT, identity, account) },
    { "name",                 AT(TEXT, identity, name) },
    { "path",                 AT(TEXT, identity, path) },
    { "trust_policy",         AT(TEXT, identity, trust_policy) },
    { "trust_pins",           AT(TEXT, identity, trust_pins) },
    { "boundary",             AT(TEXT, identity, boundary) },
    { "enabled",              AT(INT,  identity, enabled) },
    { "max_session_s",        AT(INT,  identity, max_session_s) },
    { "revoked_ms",           AT(INT,  identity, revoked_ms) },
    { "created_ms",           AT(INT,  identity, created_ms) },
};

static const struct column managed_policy_columns[] = {
    { "arn",                  AT(TEXT, managed_policy, arn) },
    { "unique_id",            AT(TEXT, managed_policy, unique_id) },
    { "account",              AT(TEXT, managed_policy, account) },
    { "path",                 AT(TEXT, managed_policy, path) },
    { "name",                 AT(TEXT, managed_policy, name) },
    { "document",             AT(TEXT, managed_policy, document) },
    { "created_ms",           AT(INT,  managed_policy, created_ms) },
    { "updated_ms",           AT(INT,  managed_policy, updated_ms) },
};

static const struct column inline_policy_columns[] = {
    { "identity",             AT(TEXT, inline_policy, identity) },
    { "name",                 AT(TEXT, inline_policy, name) },
    { "document",             AT(TEXT, inline_policy, document) },
};

static const struct column attachment_columns[] = {
    { "identity",             AT(TEXT, attachment, identity) },
    { "policy",               AT(TEXT, attachment, policy) },
    { "created_ms",           AT(INT,  attachment, created_ms) },
};

static const struct column identity_tag_columns[] = {
    { "identity",             AT(TEXT, identity_tag, identity) },
    { "tag_key",              AT(TEXT, identity_tag, tag_key) },
    { "tag_value",            AT(TEXT, identity_tag, tag_value) },
};

static const struct column sealing_key_columns[] = {
    { "id",                   AT(UUID, sealing_key, id) },
    { "wrapped",              AT(BLOB, sealing_key, wrapped) },
    { "created_ms",           AT(INT,  sealing_key, created_ms) },
};

static const struct column grant_columns[] = {
    { "key_id",               AT(UUID, grant, key_id) },
    { "id",                   AT(TEXT, grant, id) },
    { "grantee",              AT(TEXT, grant, grantee) },
    { "grantee_id",           AT(TEXT, grant, grantee_id) },
    { "retiring",             AT(TEXT, grant, retiring) },
    { "retiring_id",          AT(TEXT, grant, retiring_id) },
    { "issuing_account",      AT(TEXT, grant, issuing_account) },
    { "operations",           AT(TEXT, grant, operations) },
    { "constraint_kind",      AT(TEXT, grant, constraint_kind) },
    { "pairs",                AT(TEXT, grant, pairs) },
    { "name",                 AT(TEXT, grant, name) },
    { "parent",               AT(TEXT, grant, parent) },
    { "created_ms",           AT(INT,  grant, created_ms) },
};

static const struct column certificate_binding_columns[] = {
    { "spki",                 AT(TEXT, certificate_binding, spki) },
    { "identity",             AT(TEXT, certificate_binding, identity) },
    { "label",                AT(TEXT, certificate_binding, label) },
    { "created_ms",           AT(INT,  certificate_binding, created_ms) },
};

static const struct column door_token_columns[] = {
    { "id",                   AT(UUID, door_token, id) },
    { "kind",                 AT(TEXT, door_token, kind) },
    { "account",              AT(TEXT, door_token, account) },
    { "owner",                AT(TEXT, door_token, owner) },
    { "label",                AT(TEXT, door_token, label) },
    { "hash",                 AT(BLOB, door_token, hash) },
    { "active",               AT(INT,  door_token, active) },
    { "created_ms",           AT(INT,  door_token, created_ms) },
    { "expires_ms",           AT(INT,  door_token, expires_ms) },
};

static const struct column last_use_columns[] = {
    { "version_id",           AT(UUID, last_use, version_id) },
    { "key_id",               AT(UUID, last_use, key_id) },
    { "operation",            AT(TEXT, last_use, operation) },
    { "time_ms",              AT(INT,  last_use, time_ms) },
    { "event_id",             AT(UUID, last_use, event_id) },
    { "request_id",           AT(UUID, last_use, request_id) },
};

static const struct column key_store_columns[] = {
    { "id",                   AT(TEXT, key_store, id) },
    { "name",                 AT(TEXT, key_store, name) },
    { "cluster",              AT(TEXT, key_store, cluster) },
    { "trust_anchor",         AT(TEXT, key_store, trust_anchor) },
    { "connected",            AT(INT,  key_store, connected) },
    { "created_ms",           AT(INT,  key_store, created_ms) },
};

/*                                          name            columns         key  record */
const struct table installation_table = TABLE("installation", installation_columns, 1, installation);
const struct table key_table          = TABLE("master_key",   key_columns,          1, key);
const struct table version_table      = TABLE("key_version",  version_columns,      1, version);
const struct table alias_table        = TABLE("alias",        alias_columns,        2, alias);
const struct table tag_table          = TABLE("tag",          tag_columns,          2, tag);
const struct table access_key_table   = TABLE("access_key",   access_key_columns,   1, access_key);
const struct table account_table = TABLE("account", account_columns, 1, account);
const struct table identity_table = TABLE("identity", identity_columns, 1, identity);
const struct table managed_policy_table = TABLE("managed_policy", managed_policy_columns, 1, managed_policy);
const struct table inline_policy_table = TABLE("inline_policy", inline_policy_columns, 2, inline_policy);
const struct table attachment_table = TABLE("attachment", attachment_columns, 2, attachment);
const struct table identity_tag_table = TABLE("identity_tag", identity_tag_columns, 2, identity_tag);
const struct table sealing_key_table = TABLE("sealing_key", sealing_key_columns, 1, sealing_key);
const struct table grant_table = TABLE("key_grant", grant_columns, 2, grant);
const struct table certificate_binding_table = TABLE("certificate_binding", certificate_binding_columns, 1, certificate_binding);
const struct table door_token_table = TABLE("door_token", door_token_columns, 1, door_token);
const struct table last_use_table = TABLE("last_use", last_use_columns, 1, last_use);
const struct table wrapping_table = TABLE("wrapping_pair", wrapping_columns, 1, wrapping);
const struct table key_store_table = TABLE("custom_key_store", key_store_columns, 1, key_store);

const struct table *const schema_tables[] = {
    &installation_table, &key_table, &version_table, &alias_table, &tag_table, &access_key_table,
    &account_table, &identity_table, &managed_policy_table, &inline_policy_table,
    &attachment_table, &identity_tag_table, &sealing_key_table, &grant_table,
    &certificate_binding_table, &door_token_table, &last_use_table, &wrapping_table,
    &key_store_table,
    NULL,
};

/*
 * Step n brings schema n to schema n + 1. STRICT: the engine refuses a value of another type.
 * WITHOUT ROWID: the primary key is the table itself, there is no index to disagree with it.
 */
#define TRAILER "row_sequence INTEGER NOT NULL, dead INTEGER NOT NULL, mac BLOB NOT NULL"
#define OPTIONS ") STRICT, WITHOUT ROWID;"

/* SQL texts of a step: a string literal has its limits (C17 5.2.4.1). */
#define STEP_PARTS 5

static const char *const migrations[SCHEMA_VERSION][STEP_PARTS] = { {
    STATE_ROOT_SQL

    "CREATE TABLE installation (id BLOB NOT NULL PRIMARY KEY, account TEXT,"
    " created_ms INTEGER NOT NULL, meta_mac_key BLOB NOT NULL, credential_key BLOB NOT NULL,"
    " credential_canary BLOB NOT NULL, audit_key BLOB NOT NULL, audit_public BLOB NOT NULL,"
    " audit_checkpoint INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE master_key (id BLOB NOT NULL PRIMARY KEY, manager TEXT, spec TEXT, usage TEXT,"
    " origin TEXT, key_store TEXT, state TEXT, description TEXT, policy TEXT, policy_pins TEXT,"
    " created_ms INTEGER NOT NULL,"
    " deletion_due_ms INTEGER NOT NULL, deletion_window_days INTEGER NOT NULL,"
    " rotation_enabled INTEGER NOT NULL, rotation_period_days INTEGER NOT NULL,"
    " rotation_next_ms INTEGER NOT NULL, rotation_last_ms INTEGER NOT NULL,"
    " rotations_on_demand INTEGER NOT NULL, current_version BLOB NOT NULL,"
    " region TEXT, family BLOB NOT NULL, role TEXT, " TRAILER OPTIONS

    "CREATE TABLE key_version (id BLOB NOT NULL PRIMARY KEY, key_id BLOB NOT NULL,"
    " number INTEGER NOT NULL, state TEXT, reason TEXT, created_ms INTEGER NOT NULL,"
    " rotated_ms INTEGER NOT NULL, canary BLOB NOT NULL, public_key BLOB NOT NULL,"
    " reserved INTEGER NOT NULL, imported TEXT, padding TEXT, description TEXT,"
    " valid_to_ms INTEGER NOT NULL, "
    TRAILER OPTIONS

    "CREATE TABLE alias (name TEXT NOT NULL, region TEXT NOT NULL, key_id BLOB NOT NULL,"
    " created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, " TRAILER
    ", PRIMARY KEY (name, region)" OPTIONS

    "CREATE TABLE tag (key_id BLOB NOT NULL, tag_key TEXT NOT NULL, tag_value TEXT, " TRAILER
    ", PRIMARY KEY (key_id, tag_key)" OPTIONS

    "CREATE TABLE access_key (id TEXT NOT NULL PRIMARY KEY, account TEXT, owner TEXT,"
    " secret BLOB NOT NULL, active INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " serial INTEGER NOT NULL, " TRAILER OPTIONS,

    /* who may */
    "CREATE TABLE account (id TEXT NOT NULL PRIMARY KEY, is_foreign INTEGER NOT NULL, "
    "root_enabled INTEGER NOT NULL, root_until_ms INTEGER NOT NULL, "
    "root_since_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE identity (unique_id TEXT NOT NULL PRIMARY KEY, kind TEXT, account TEXT, "
    "name TEXT, path TEXT, trust_policy TEXT, trust_pins TEXT, boundary TEXT, enabled "
    "INTEGER NOT NULL, max_session_s INTEGER NOT NULL, revoked_ms INTEGER NOT NULL, "
    "created_ms INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE managed_policy (arn TEXT NOT NULL PRIMARY KEY, unique_id TEXT, account "
    "TEXT, path TEXT, name TEXT, document TEXT, created_ms INTEGER NOT NULL, updated_ms "
    "INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE inline_policy (identity TEXT NOT NULL, name TEXT NOT NULL, document TEXT, " TRAILER
    ", PRIMARY KEY (identity, name)" OPTIONS

    "CREATE TABLE attachment (identity TEXT NOT NULL, policy TEXT NOT NULL, created_ms "
    "INTEGER NOT NULL, " TRAILER
    ", PRIMARY KEY (identity, policy)" OPTIONS

    "CREATE TABLE identity_tag (identity TEXT NOT NULL, tag_key TEXT NOT NULL, tag_value "
    "TEXT, " TRAILER
    ", PRIMARY KEY (identity, tag_key)" OPTIONS

    "CREATE TABLE sealing_key (id BLOB NOT NULL PRIMARY KEY, wrapped BLOB NOT NULL, "
    "created_ms INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE key_grant (key_id BLOB NOT NULL, id TEXT NOT NULL, grantee TEXT, "
    "grantee_id TEXT, retiring TEXT, retiring_id TEXT, issuing_account TEXT, operations "
    "TEXT, constraint_kind TEXT, pairs TEXT, name TEXT, parent TEXT, created_ms INTEGER NOT "
    "NULL, " TRAILER
    ", PRIMARY KEY (key_id, id)" OPTIONS,

    /* who holds what, at doors without signatures */
    "CREATE TABLE certificate_binding (spki TEXT NOT NULL PRIMARY KEY, identity TEXT, label TEXT, "
    "created_ms INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE door_token (id BLOB NOT NULL PRIMARY KEY, kind TEXT, account TEXT, owner "
    "TEXT, label TEXT, hash BLOB NOT NULL, active INTEGER NOT NULL, created_ms INTEGER NOT "
    "NULL, expires_ms INTEGER NOT NULL, " TRAILER OPTIONS

    "CREATE TABLE last_use (version_id BLOB NOT NULL PRIMARY KEY, key_id BLOB NOT NULL, "
    "operation TEXT, time_ms INTEGER NOT NULL, event_id BLOB NOT NULL, request_id BLOB NOT NULL, "
    TRAILER OPTIONS,
    "CREATE TABLE wrapping_pair (id BLOB NOT NULL PRIMARY KEY, spec TEXT, state TEXT, "
    "public_key BLOB NOT NULL, created_ms INTEGER NOT NULL, " TRAILER OPTIONS,
    /* further tokens */
    "CREATE TABLE custom_key_store (id TEXT NOT NULL PRIMARY KEY, name TEXT, cluster TEXT, "
    "trust_anchor TEXT, connected INTEGER NOT NULL, created_ms INTEGER NOT NULL, " TRAILER OPTIONS,
} };
/* clang-format on */

int schema_migrate(struct db *db, struct kms_error *err)
{
    int64_t version = 0;

    if (db_version(db, &version, err) < 0)
        return -1;
    if (version < 0 || version > SCHEMA_VERSION)
        return kms_fail(err, KMS_ERR_CONFIG, "the database has schema %" PRId64 ", not 0 to %d",
                        version, SCHEMA_VERSION);
    for (; version < SCHEMA_VERSION; version++) {
        for (size_t i = 0; i < STEP_PARTS && migrations[version][i]; i++)
            if (db_exec(db, migrations[version][i], err) < 0)
                return -1;
        if (db_set_version(db, version + 1, err) < 0)
            return -1;
    }
    return 0;
}
