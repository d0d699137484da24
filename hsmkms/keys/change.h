#pragma once

/*
 * One change of keys/ in progress: the change lock, a copy of the newest snapshot to be altered,
 * where it is a multi-Region key copies of its relatives, and the records staged for the store.
 * What is staged becomes durable and visible by change_commit, together; a change that goes out of
 * scope before has no effect. Used by lifecycle.c, multi_region.c, reconcile.c and relatives.c
 * only.
 *
 * Errors of all: INTERNAL (store), beside those named.
 */

#include "hsmkms/keys/keyring.h"

#define CHANGE_ALIASES_MAX 64 /* more than a key may have */

struct change_alias_step {
    struct alias alias;
    bool drop;
};

/* A key of the same family in another region: what next shares with it is its own too. */
struct relative {
    struct keyring *keyring;
    struct key *next; /* becomes durable and visible with the change's */
};

struct change {
    struct keyring *keyring; /* of the region; NULL: not begun */
    struct key *next;        /* being altered; NULL in changes of an alias alone */
    struct relative relatives[KEYRING_REGIONS_MAX]; /* all that are not gone */
    size_t relative_count;
    struct key *published;   /* a reference to what change_commit made visible */
    struct store_tx *tx;     /* opened by the first staged record */
    bool forget_copies;
    struct change_alias_step *aliases; /* to be applied to the catalog after the commit */
    size_t alias_count;
};

/* Takes the lock and copies a key whose state allows the use. Errors: as key_may; NOT_FOUND. */
CHECKED int change_begin(struct change *ret, struct keyring *keyring, const struct uuid *id,
                         enum key_use use, struct kms_error *err);

/* The same for a key in any state. */
CHECKED int change_begin_any(struct change *ret, struct keyring *keyring, const struct uuid *id,
                             struct kms_error *err);

/* Takes the lock alone: for a key to be made, or an alias. */
void change_begin_new(struct change *ret, struct keyring *keyring);

/* Rolls back what is not committed and gives the lock back. */
void change_done(struct change *change);

/*
 * Makes a version in the token, intent-first: commits the key's record and the version as
 * Creating, makes and verifies the token object, then stages the version as Usable and current.
 * reason: ON_DEMAND, AUTOMATIC, or NULL for a key's first.
 *
 * Errors: KEY_UNAVAILABLE, INTEGRITY (the token made something else than was asked for)
 */
CHECKED int change_make_version(struct change *change, const char *reason, struct kms_error *err);

struct change_material; /* change_import.h */

/*
 * The same for material of a client: the version becomes current only where the key has none, and
 * else waits for a rotation.
 */
CHECKED int change_import_version(struct change *change, const struct change_material *material,
                                  struct kms_error *err);

/* Makes next and what is staged durable as an intent; nothing is shown of it yet. */
CHECKED int change_save(struct change *change, struct kms_error *err);

/* Notes in next that a version was made by rotation: when, how often, and when again. */
void change_note_rotation(struct change *change, const char *reason);

/* Stages a version's record as it is, in next or about to be. */
CHECKED int change_put_version(struct change *change, const struct version_record *record,
                               struct kms_error *err);

/* Makes a new upper bound of GCM invocations durable by itself; the key is not published anew. */
CHECKED int change_reserve(struct change *change, const struct version *version, int64_t reserved,
                           struct kms_error *err);

/* relatives.c: copies the relatives of next; writes into them, before a commit, what next shares. */
CHECKED int change_gather_relatives(struct change *change, struct kms_error *err);
CHECKED int change_share(struct change *change, struct kms_error *err);

/* The relative in a region, or NULL. */
struct relative *change_relative(struct change *change, const char *region);

/* Errors: UNSUPPORTED (next is a replica: its primary leads) */
CHECKED int change_must_lead(const struct change *change, struct kms_error *err);

/* next leaves its family: the material stays, and a primary that waited for it begins to count. */
CHECKED int change_leave_family(struct change *change, struct kms_error *err);

CHECKED int change_put_tag(struct change *change, const struct tag_record *tag,
                           struct kms_error *err);
CHECKED int change_drop_tag(struct change *change, const char *tag_key, struct kms_error *err);
CHECKED int change_drop_tags(struct change *change, struct kms_error *err); /* in next too */

/* An alias of the key in next, made at a time. */
struct alias change_alias(const struct change *change, const char *name, int64_t now_ms);
CHECKED int change_put_alias(struct change *change, const struct alias *alias,
                             struct kms_error *err);
CHECKED int change_drop_alias(struct change *change, const struct alias *alias,
                              struct kms_error *err);
CHECKED int change_drop_aliases(struct change *change, struct kms_error *err);

CHECKED int change_put_key_store(struct change *change, const struct key_store_record *record,
                                 struct kms_error *err);
CHECKED int change_drop_key_store(struct change *change, const struct key_store_record *record,
                                  struct kms_error *err);

/* After the commit the token's session copies of the key are dropped. */
void change_forget_copies(struct change *change);

/* Stages next and its relatives, makes everything durable, publishes it. */
CHECKED int change_commit(struct change *change, struct kms_error *err);

/*
 * Publishes next, of which only what no record says has changed: nothing is written. May be done
 * again with another next.
 */
CHECKED int change_publish(struct change *change, struct kms_error *err);

/* For records that live on the stack. */
void key_record_done(struct key_record *record);
void version_record_done(struct version_record *record);
