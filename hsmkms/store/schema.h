#pragma once

/*
 * The tables and the migrations that made them. A record struct, its column rows and its table
 * stand together; a migration is never changed once released.
 *
 * Times are milliseconds since 1970 UTC; 0 means never.
 */

#include "hsmkms/store/db.h"
#include "hsmkms/store/store.h"

/* One row: who this database belongs to. */
struct installation_record {
    struct uuid id; /* bound into every ciphertext */
    char *account;
    int64_t created_ms;
    struct uuid meta_mac_key, credential_key; /* token objects of the service itself */
    struct buf credential_canary;
};

struct key_record {
    struct uuid id;
    char *manager;  /* CUSTOMER or AWS */
    char *spec, *usage, *origin;
    char *state;    /* Creating, Enabled, Disabled, PendingDeletion, Unavailable, Deleting,
                       Deleted, Aborted */
    char *description;
    char *policy;   /* as stored by the caller; NULL: the default policy */
    int64_t created_ms;
    int64_t deletion_due_ms, deletion_window_days;
    int64_t rotation_enabled, rotation_period_days;
    int64_t rotation_next_ms;      /* when automatic rotation is due */
    int64_t rotation_last_ms;
    int64_t rotations_on_demand;   /* for life */
    struct uuid current_version;   /* nil until the first is verified */
};

struct version_record {
    struct uuid id; /* CKA_ID of the token object */
    struct uuid key_id;
    int64_t number;     /* 1, 2, ... within the key */
    char *state;        /* Creating, Usable, Aborted, Destroyed; which one encrypts is said by
                           key_record.current_version alone */
    char *reason;       /* first material: NULL; else ON_DEMAND or AUTOMATIC */
    int64_t created_ms;
    int64_t rotated_ms; /* when it became current by rotation */
    struct buf canary;
    int64_t reserved;   /* GCM invocations that may have been used */
};

struct alias_record {
    char *name; /* "alias/..." */
    struct uuid key_id;
    int64_t created_ms, updated_ms;
};

struct tag_record {
    struct uuid key_id;
    char *tag_key;
    char *tag_value;
};

struct access_key_record {
    char *id;        /* AKIA... */
    char *principal; /* ARN */
    char *user_name;
    struct buf secret; /* iv, ciphertext and tag under the credential key */
    int64_t active;
    int64_t created_ms;
    int64_t serial;  /* grows with each change; bound into the ciphertext */
};

extern const struct table installation_table, key_table, version_table, alias_table, tag_table,
    access_key_table;

/* All of them, NULL-terminated. */
extern const struct table *const schema_tables[];

/*
 * Brings a database to SCHEMA_VERSION, inside the caller's transaction: a new database gets its
 * tables and its first state root together or not at all.
 *
 * Errors: CONFIG (the database is newer than this program); those of db.h
 */
#define SCHEMA_VERSION 1
CHECKED int schema_migrate(struct db *db, struct kms_error *err);
