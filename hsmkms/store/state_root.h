#pragma once

/*
 * The one row that speaks for all others: how many there are, the root of the tree over their
 * MACs, the sequence of the last write and the number of the schema, under a MAC of its own.
 *
 * Threads: one at a time.
 */

#include "hsmkms/crypto/digest.h"
#include "hsmkms/store/db.h"
#include "hsmkms/store/store.h"

/* Part of the first migration. */
#define STATE_ROOT_SQL                                                                             \
    "CREATE TABLE state_root (sequence INTEGER NOT NULL PRIMARY KEY, row_count INTEGER NOT NULL,"  \
    " schema_version INTEGER NOT NULL, root BLOB NOT NULL, mac BLOB NOT NULL)"                     \
    " STRICT, WITHOUT ROWID;"

struct state_root {
    uint64_t sequence, row_count, schema_version;
    uint8_t root[SHA256_LEN];
    uint8_t mac[STORE_MAC_LEN];
};

/* Computes the MAC over the other members. Errors: of the callback. */
CHECKED int state_root_seal(struct state_root *root, struct store_mac mac, struct kms_error *err);

/* Errors: INTEGRITY when the MAC is another. */
CHECKED int state_root_check(const struct state_root *root, struct store_mac mac,
                             struct kms_error *err);

/* Errors: INTEGRITY when there is not exactly one row, or a value was never written so. */
CHECKED int state_root_read(struct db *db, struct state_root *ret, struct kms_error *err);

/* The first one; and the one that takes the place of all. Inside the caller's transaction. */
CHECKED int state_root_insert(struct db *db, const struct state_root *root, struct kms_error *err);
CHECKED int state_root_replace(struct db *db, const struct state_root *root, struct kms_error *err);

bool state_root_equal(const struct state_root *a, const struct state_root *b);
