#pragma once

/*
 * Is the database what this installation wrote last? Reads all of it, believes none of it, and
 * yields what the store then works with. What each check catches: docs/STORE.md.
 *
 * Threads: one at a time.
 */

#include "hsmkms/store/root_tree.h"
#include "hsmkms/store/row.h"
#include "hsmkms/store/state_root.h"

#define STORE_TABLES_MAX 32

/* The zero state owns nothing. */
struct verified {
    struct state_root root;
    struct root_tree *tree;        /* owned */
    size_t rows[STORE_TABLES_MAX]; /* of each table, in the order of the tables, tombstones too */
};
void verified_done(struct verified *verified);

/* Place of a table in its list. */
size_t table_index(const struct table *const *tables, const struct table *table);

/* Makes the tree's entry of a row from its values, and its MAC. */
CHECKED int row_entry(const struct table *table, const struct row *row, struct store_mac mac,
                      struct root_entry *ret, struct kms_error *err);

/*
 * ret      in its zero state
 * Errors:  INTEGRITY (message names table and key where one row is to blame); CONFIG (written by a
 *          newer program); those of the MAC callback and of db.h
 */
CHECKED int verify_database(struct db *db, const struct table *const *tables, struct store_mac mac,
                            struct verified *ret, struct kms_error *err);

/* True in *ret when the database holds nothing at all, not even a schema number. */
CHECKED int verify_is_new(struct db *db, bool *ret, struct kms_error *err);
