#pragma once

/*
 * Brings back the TLS key in a token after a handshake got no signature from it: a thread that
 * looks once a second whether there are new failures and then loads the key again, as SIGHUP does,
 * after 1, 2, 4 ... 60 s until that succeeds. A login stays under the rule of one try per PIN.
 */

#include "hsmkms/base/log.h"

struct key_keeper;

struct key_keeper_config {
    const struct log *log;
    void *arg;
    uint64_t (*failures)(void *arg); /* so far */
    int (*load)(void *arg, struct kms_error *err);
};

CHECKED int key_keeper_start(const struct key_keeper_config *config, struct key_keeper **ret,
                             struct kms_error *err);

/* A handshake failed and the key was not found again since. Accepts NULL: false. */
bool key_keeper_misses_key(const struct key_keeper *keeper);

/* Waits for a load that is under way. Accepts NULL. */
void key_keeper_stop(struct key_keeper *keeper);
