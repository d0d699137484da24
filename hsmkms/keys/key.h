#pragma once

/*
 * What a key is: its record, its versions, its tags, and the table that says what each state
 * allows. A struct key is an immutable snapshot: whoever changes a key publishes a new one, so a
 * request works with one consistent key from beginning to end.
 *
 * Source: AWS KMS Developer Guide, Key states of AWS KMS keys.
 */

#include <stdatomic.h>

#include "hsmkms/keys/keyspec.h"
#include "hsmkms/keys/last_use.h"
#include "hsmkms/store/schema.h"

enum key_state {
    KEY_CREATING,
    KEY_ENABLED,
    KEY_DISABLED,
    KEY_PENDING_DELETION,
    KEY_PENDING_REPLICA_DELETION, /* a primary whose waiting period begins behind its replicas */
    KEY_UNAVAILABLE, /* its token object is missing or does not open its canary */
    KEY_DELETING,    /* due; token objects are being destroyed */
    KEY_DELETED,     /* kept as a row, so that the id is never used again */
    KEY_ABORTED,     /* creation did not finish */
    KEY_PENDING_IMPORT, /* of imported material some is missing, or none was there yet */
    KEY_STATES
};

/* What somebody wants to do with a key; a column of the state table each. */
enum key_use {
    KEY_USE_CRYPTO,
    KEY_USE_READ,     /* describe, list, policies, rotation status */
    KEY_USE_EDIT,     /* tags, description, aliases pointing here */
    KEY_USE_SWITCH,   /* enable, disable */
    KEY_USE_ROTATION, /* enable or disable automatic rotation */
    KEY_USE_ROTATE,   /* rotate now */
    KEY_USE_SCHEDULE, /* schedule deletion */
    KEY_USE_CANCEL,   /* cancel deletion */
    KEY_USE_GRANT,    /* create a grant */
    KEY_USE_IMPORT,   /* import material */
    KEY_USES
};

/* GCM invocations of one version: shared by all snapshots of its key, counted. */
struct budget {
    atomic_uint references;
    atomic_llong used;     /* invocations begun */
    atomic_llong reserved; /* durable upper bound of used */
};

struct budget *budget_new(int64_t used, int64_t reserved);
struct budget *budget_ref(struct budget *budget);
void budget_unref(struct budget *budget); /* accepts NULL */

struct version {
    struct version_record record;
    char material_id[65]; /* what KeyMaterialId shows: SHA-256 of key_owner() and version id, hex */
    struct budget *budget;
    struct use_mark *use; /* shared by all snapshots too */
};

struct key {
    atomic_uint references;
    struct key_record record;
    const struct keyspec *spec; /* what the record says */
    enum spec_usage usage;
    enum key_state state; /* what the record says, or KEY_UNAVAILABLE while unavailable is set */
    bool unavailable;     /* a token object is missing, or its token is not connected */
    struct version *versions; /* in order of number; the record's current_version is one of them */
    size_t version_count;
    struct tag_record *tags; /* in order of tag_key */
    size_t tag_count;
};

struct key *key_ref(struct key *key);
void key_unref(struct key *key); /* accepts NULL */

/*
 * A key with a copy of a record and no versions.
 * Errors: INTEGRITY (a state, spec, usage or role that nobody wrote).
 */
CHECKED int key_new(const struct key_record *record, struct key **ret, struct kms_error *err);

/* A deep copy to be changed and published; budgets are shared. */
CHECKED int key_copy(const struct key *key, struct key **ret, struct kms_error *err);

/* Adds a copy of a version record; a usable version shares or gets a budget. */
CHECKED int key_add_version(struct key *key, const struct version_record *record,
                            struct budget *budget, struct kms_error *err);

/* Sets or replaces one tag, in order. */
CHECKED int key_set_tag(struct key *key, const struct tag_record *tag, struct kms_error *err);
void key_remove_tag(struct key *key, const char *tag_key);
bool key_has_tag(const struct key *key, const char *tag_key);

/* Changes the state, in the record too. */
CHECKED int key_set_state(struct key *key, enum key_state state, struct kms_error *err);

/* Changes what the token has of the key, and the state that clients see with it. */
void key_set_unavailable(struct key *key, bool unavailable);

/* Replaces an owned text of a record by a copy; NULL stays NULL. */
CHECKED int record_set_text(char **text, const char *value, struct kms_error *err);

/* Takes all versions out of a key that is being altered. */
void key_clear_versions(struct key *key);

/* Multi-Region keys: related ones share material and id; one of them, the primary, leads. */
static inline bool key_is_multi_region(const struct key *key)
{
    return !uuid_is_nil(&key->record.family);
}
bool key_is_primary(const struct key *key);
bool key_is_replica(const struct key *key);

/* True for Deleted and Aborted: a row that keeps an id from being used again. */
bool key_is_gone(const struct key *key);

/* What versions and ciphertexts name the key by: its id or, multi-Region, that of its family. */
const struct uuid *key_owner(const struct key *key);

/* What clients call it: a UUID, or "mrk-" and 32 hex digits. */
struct uuid_text key_name(const struct key *key);

/* The version that encrypts; NULL before the first is verified. */
const struct version *key_current(const struct key *key);
const struct version *key_version_find(const struct key *key, const struct uuid *version_id);

/* The last use of any of its versions; false when there was none. */
CHECKED bool key_last_use(const struct key *key, struct last_use *ret);

/* True while the version may encrypt or decrypt: neither being made, nor aborted, nor destroyed. */
bool version_is_usable(const struct version *version);

/* How a version is named to the token, with what proves that it is the right one. */
struct token_key version_token_key(const struct version *version);

/* True for keys that clients can see: not Creating, Deleting, Deleted or Aborted. */
bool key_visible(const struct key *key);
bool key_is_aws_managed(const struct key *key);

/*
 * Asks the state table. arn is what the texts name the key by.
 *
 * Errors:  DISABLED, INVALID_STATE with AWS's texts
 */
CHECKED int key_may(const struct key *key, enum key_use use, const char *arn,
                    struct kms_error *err);

const char *key_state_text(enum key_state state); /* as in the row and in KeyState */
CHECKED bool key_state_parse(const char *text, enum key_state *ret);
