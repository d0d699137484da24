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
    struct uuid audit_key;       /* token pair that signs checkpoints of the audit trail */
    struct buf audit_public;     /* its public key, as the token gave it */
    int64_t audit_checkpoint;    /* number of the audit line that the newest checkpoint covers */
};

struct key_record {
    struct uuid id;
    char *manager;  /* CUSTOMER or AWS */
    char *spec, *usage, *origin;
    char *key_store; /* id of the custom key store whose token holds it; NULL: the service's own */
    char *state;    /* Creating, Enabled, Disabled, PendingDeletion, PendingImport, Unavailable,
                       Deleting, Deleted, Aborted */
    char *description;
    char *policy;   /* as stored by the caller; NULL: the default policy */
    char *policy_pins; /* JSON {ARN: unique id} of users and roles that policy names; NULL: none */
    int64_t created_ms;
    int64_t deletion_due_ms, deletion_window_days;
    int64_t rotation_enabled, rotation_period_days;
    int64_t rotation_next_ms;      /* when automatic rotation is due */
    int64_t rotation_last_ms;
    int64_t rotations_on_demand;   /* for life */
    struct uuid current_version;   /* nil until the first is verified */
    char *region;          /* that it belongs to */
    struct uuid family;    /* multi-Region keys: the id that related ones share; else nil */
    char *role;            /* PRIMARY or REPLICA; NULL: a single-Region key */
};

struct version_record {
    struct uuid id; /* CKA_ID of the token object */
    struct uuid key_id; /* of the key or, multi-Region, of its family */
    int64_t number;     /* 1, 2, ... within the key */
    char *state;        /* Creating, Usable, Aborted, Destroyed, Absent (imported material that was
                           deleted or expired, and may come back); which one encrypts is said by
                           key_record.current_version alone */
    char *reason;       /* first material: NULL; else ON_DEMAND or AUTOMATIC */
    int64_t created_ms;
    int64_t rotated_ms; /* when it became current by rotation */
    struct buf canary;     /* of symmetric and MAC keys; else empty */
    struct buf public_key; /* of pairs, as the token gave it; else empty */
    int64_t reserved;   /* GCM invocations that may have been used */
    char *imported;     /* where its wrapping was taken off, "Host"; NULL: made in the token */
    char *padding;      /* where RSA paddings are undone that its token lacked when the pair was made,
                           "Host", and then the pair may do the raw operation; NULL: in the token */
    char *description;  /* of imported material; NULL: none */
    int64_t valid_to_ms; /* when imported material expires */
};

struct alias_record {
    char *name; /* "alias/..." */
    char *region;
    struct uuid key_id;
    int64_t created_ms, updated_ms;
};

struct tag_record {
    struct uuid key_id;
    char *tag_key;
    char *tag_value;
};

struct access_key_record {
    char *id;      /* AKIA... */
    char *account; /* of its owner */
    char *owner;   /* unique id of the user; the account for its root */
    struct buf secret; /* iv, ciphertext and tag under the credential key */
    int64_t active;
    int64_t created_ms;
    int64_t serial;  /* grows with each change; bound into the ciphertext */
};

struct account_record {
    char *id; /* 12 digits */
    int64_t is_foreign; /* known by name only */
    int64_t root_enabled;
    int64_t root_until_ms; /* when an enabled root ends; 0: never */
    int64_t root_since_ms; /* when it was last enabled; sessions from before have ended */
    int64_t created_ms;
};

struct identity_record {
    char *unique_id; /* AIDA... or AROA... */
    char *kind;      /* User, Role */
    char *account, *name, *path;
    char *trust_policy, *trust_pins; /* roles; NULL for users */
    char *boundary;  /* ARN of a managed policy; NULL: none */
    int64_t enabled;
    int64_t max_session_s; /* roles */
    int64_t revoked_ms;    /* sessions issued before are invalid */
    int64_t created_ms;
};

struct managed_policy_record {
    char *arn;
    char *unique_id; /* ANPA... */
    char *account, *path, *name;
    char *document;
    int64_t created_ms, updated_ms;
};

struct inline_policy_record {
    char *identity; /* unique id */
    char *name;
    char *document;
};

struct attachment_record {
    char *identity; /* unique id */
    char *policy;   /* ARN */
    int64_t created_ms;
};

struct identity_tag_record {
    char *identity; /* unique id */
    char *tag_key;
    char *tag_value;
};

/* Keys that seal session tokens; one a day. */
struct sealing_key_record {
    struct uuid id;
    struct buf wrapped; /* iv, ciphertext and tag under the credential key */
    int64_t created_ms;
};

struct grant_record {
    struct uuid key_id;
    char *id; /* 64 hex letters */
    char *grantee, *grantee_id;   /* ARN as given; unique id of the user or role, or "" */
    char *retiring, *retiring_id; /* "" for none */
    char *issuing_account;
    char *operations; /* names, a blank between */
    char *constraint_kind; /* "", Equals, Subset */
    char *pairs;      /* JSON object */
    char *name;       /* "" for none */
    char *parent;     /* grant id, or "" */
    int64_t created_ms;
};

/* Whom the key of a client certificate stands for. */
struct certificate_binding_record {
    char *spki;     /* SHA-256 of its DER SubjectPublicKeyInfo, 64 lower-case hex digits */
    char *identity; /* unique id of a user */
    char *label;
    int64_t created_ms;
};

/* What stands for a principal at a front door that signs nothing. */
struct door_token_record {
    struct uuid id;
    char *kind;      /* Token, Secret (of an AppRole) */
    char *account;
    char *owner;     /* unique id of the user; the account for its root */
    char *label;
    struct buf hash; /* SHA-256 of its text */
    int64_t active;
    int64_t created_ms, expires_ms;
};

/* When a version of a key was last used, and for what. */
struct last_use_record {
    struct uuid version_id;
    struct uuid key_id;
    char *operation;
    int64_t time_ms;
    struct uuid event_id;   /* eventID of the audit record */
    struct uuid request_id;
};

/* RSA pairs of the token under whose public halves clients wrap key material. */
struct wrapping_record {
    struct uuid id;        /* CKA_ID of both halves */
    char *spec;            /* RSA_2048, ... */
    char *state;           /* Creating, Usable */
    struct buf public_key; /* as the token gave it */
    int64_t created_ms;
};

/* A name for a further token. */
struct key_store_record {
    char *id; /* cks-... */
    char *name;
    char *cluster;      /* NAME of the section [token.NAME] */
    char *trust_anchor; /* as a client gave it; nothing depends on it */
    int64_t connected;  /* wanted: whether it is, is seen by trying */
    int64_t created_ms;
};

extern const struct table installation_table, key_table, version_table, alias_table, tag_table,
    access_key_table, account_table, identity_table, managed_policy_table, inline_policy_table,
    attachment_table, identity_tag_table, sealing_key_table, grant_table, certificate_binding_table,
    door_token_table, last_use_table, wrapping_table, key_store_table;

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
