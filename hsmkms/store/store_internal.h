#pragma once

/* What store.c and store_tx.c share: the open store and its turns. */

#include <pthread.h>

#include "hsmkms/store/verify.h"

struct store {
    char *path;
    const struct table *const *tables;
    struct store_mac mac;

    /* Guards the two below: whose turn it is, and what readers ask meanwhile. */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    bool busy;
    uint64_t sequence; /* as in now.root */

    /* Used by whoever has the turn. */
    struct db *db;       /* NULL after an I/O error, until the next turn opens it again */
    struct verified now; /* as of the last commit */
};

/* Waits for the turn before; not twice in one thread. */
void store_take_turn(struct store *store);
void store_end_turn(struct store *store);

/* Has the turn: opens the database again if an I/O error closed it. Errors: those of store_open. */
CHECKED int store_ready(struct store *store, struct kms_error *err);
void store_close_db(struct store *store);
