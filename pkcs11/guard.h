#pragma once

/*
 * SoftHSM keeps a token in a directory of files and, at each login, empties the file that holds
 * the token's own key before it writes it again; nothing is synced. A process killed in between
 * loses the token. The guard makes that survivable: one starter at a time (flock on the token
 * directory), a copy of token.object in the state directory before the login, the file put back
 * when it came out shorter, and what a new key wrote made durable before the key counts.
 *
 * Does nothing, successfully, when it is off (struct in its zero state, or another kind of token).
 *
 * Threads: guard_sync any; the rest at start or with the token's exclusive lock held.
 */

#include <pthread.h>

#include "pkcs11/module.h"

struct guard {
    bool on;
    const char *state_dir; /* borrowed */
    char *tokens;          /* SoftHSM's directories.tokendir */
    char *token;           /* name of our token's directory in it; NULL until known */
    int lock;              /* tokens, locked while starting; -1: not held */
    int watch;             /* inotify: files that appear in our token; -1: none */
    pthread_mutex_t mutex; /* guards the reading of watch */
};

/*
 * Before C_Initialize: reads SoftHSM's configuration, waits for other starters, puts back what an
 * earlier start has lost.
 *
 * Errors:  CONFIG (no token directory, or another starter holds it too long)
 */
CHECKED int guard_enter(struct guard *guard, const char *state_dir, struct kms_error *err);

/* After the token was found, before its login: copies its record. Errors: CONFIG (disk full). */
CHECKED int guard_before_login(struct guard *guard, const struct module *module,
                               struct kms_error *err);

/* After the login, good or bad: puts the record back if it shrank, makes it durable. */
CHECKED int guard_after_login(struct guard *guard, struct kms_error *err);

/* Other starters may go on. */
void guard_leave(struct guard *guard);

/* Makes every file durable that has appeared in the token. Errors: KEY_UNAVAILABLE. */
CHECKED int guard_sync(struct guard *guard, struct kms_error *err);

/* Accepts the zero state. */
void guard_close(struct guard *guard);
