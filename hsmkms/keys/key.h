#pragma once

/*
 * What a key is: its record, its versions, its tags, and the table that says what each state
 * allows. A struct key is an immutable snapshot: whoever changes a key publishes a new one, so a
 * request works with one consistent key from beginning to end.
 *
 * Source: AWS KMS Developer Guide, Key states of AWS KMS keys.
 */

#include <stdatomic.h>

#include "hsmkms/store/schema.h"

enum key_state {
    KEY_CREATING,
    KEY_ENABLED,
    KEY_DISABLED,
    KEY_PENDING_DELETION,
    KEY_UNAVAILABLE, /* its token object is missing or does not open its canary */
    KEY_DELETING,    /* due; token objects are being destroyed */
    KEY_DELETED,     /* kept as a row, so that the id is never used again */
    KEY_ABORTED,     /* creation did not finish */
    KEY_STATES
};

/* What somebody wants to do with a key; a column of the state table each. */
enum key_use {
    KEY_USE_CRYPTO,
    KEY_USE_READ,          /* describe, list, policies, rotation status */
    KEY_USE_EDIT,          /* tags, description, aliases pointing here */
    KEY_USE_SWITCH,        /* enable, disable */
    KEY_USE_ROTATION,      /* enable or disable automatic rotation, rotate now */
    KEY_USE_SCHEDULE,      /* schedule deletion */
    KEY_USE_CANCEL,        /* cancel deletion */
    KEY_USES
};

/* Encryptions left under one version: shared by all snapshots of the key, never freed. */
struct budget {
    atomic_llong used;     /* invocations begun */
    atomic_llong reserved; /* durable upper bound of used */
};

struct version {
    struct version_record record;
    struct budget *budget;
};

struct key {
    atomic_uint references;
    struct key_record record;
    enum key_state state;
    struct version *versions; /* in order of number; the record's current_version is one of them */
    size_t version_count;
    struct tag_record *tags; /* in order of tag_key */
    size_t tag_count;
};

struct key *key_ref(struct key *key);
void key_unref(struct key *key); /* accepts NULL */

/* The version that encrypts; NULL before the first is verified. */
const struct version *key_current(const struct key *key);
const struct version *key_version_find(const struct key *key, const struct uuid *version_id);

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

/*
 * The 64 hex digits that KeyMaterialId shows for a version: SHA-256 of the key id and the version
 * id.
 */
CHECKED int key_material_id(const struct version *version, char ret[65], struct kms_error *err);
