#pragma once

/*
 * When a key version last did something for somebody. A mark is shared by all snapshots of a
 * version and costs a request one short lock; the database gets it later, with others
 * (last_use_save). What a crash may take is therefore what was noted since the last save: the audit
 * trail still has it.
 *
 * Threads: any. A save and another save one after the other: the worker's, then the last one.
 * Source: AWS KMS API Reference, GetKeyLastUsage.
 */

#include "hsmkms/base/error.h"
#include "hsmkms/base/uuid.h"

struct keyring;

struct last_use {
    char operation[40]; /* "Encrypt"; "" for none yet */
    int64_t time_ms;
    struct uuid event_id, request_id; /* of the audit record, of the request */
};

struct use_mark;

struct use_mark *use_mark_new(void); /* NULL: no memory */
struct use_mark *use_mark_ref(struct use_mark *mark);
void use_mark_unref(struct use_mark *mark); /* accepts NULL */

/* Notes a use. What is noted last counts, also where a clock was set back in between. */
void use_mark_note(struct use_mark *mark, const struct last_use *use);

/* For what the database says: a use that is saved already. */
void use_mark_load(struct use_mark *mark, const struct last_use *use);

/* The last use; false when there was none. */
CHECKED bool use_mark_read(struct use_mark *mark, struct last_use *ret);

/*
 * Writes every use that the database does not have yet, some keys per transaction.
 *
 * ret_saved  versions written, also when a later transaction failed
 * Errors:    those of store_commit(); what was not written is tried again by the next call
 */
CHECKED int last_use_save(struct keyring *keyring, size_t *ret_saved, struct kms_error *err);
