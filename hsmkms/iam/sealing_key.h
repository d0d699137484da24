#pragma once

/*
 * The keys that seal session tokens: a new one every day, random, kept in locked memory and, in
 * the database, wrapped by the token's credential key. The two before the newest still open, so
 * that no session ends before its time.
 *
 * Threads: the caller's lock.
 */

#include "hsmkms/iam/iam.h"

#define SEALING_KEYS_KEPT 3

struct sealing_key {
    struct uuid id;
    struct secret key;
    int64_t created_ms;
};

struct sealing_keys {
    struct sealing_key keys[SEALING_KEYS_KEPT]; /* the newest first */
    size_t count;
};
void sealing_keys_done(struct sealing_keys *keys);

/* Reads and unwraps them. Errors: KEY_UNAVAILABLE; INTERNAL (one that does not open). */
CHECKED int sealing_keys_load(const struct iam_config *config, struct sealing_keys *ret,
                              struct kms_error *err);

/* True when the newest is a day old, or there is none. */
bool sealing_keys_stale(const struct sealing_keys *keys, int64_t now_ms);

/* Makes the next one durable, then the newest; the oldest goes. Errors: KEY_UNAVAILABLE, INTERNAL. */
CHECKED int sealing_keys_renew(const struct iam_config *config, struct sealing_keys *keys,
                               struct kms_error *err);

/* The key of an id, or an empty span. */
struct span sealing_key_find(const struct sealing_keys *keys, const struct uuid *id);
