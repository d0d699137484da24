#pragma once

/* A grant as a row of the database and back. One grant at a time; knows no store. */

#include "hsmkms/iam/grant.h"

/* A deep copy in one block of memory: one reference. Errors: INTERNAL. */
CHECKED int grant_copy(const struct grant *from, struct grant **ret, struct kms_error *err);

/* A record that borrows a grant's texts; in its zero state before. */
struct grant_row {
    struct grant_record record;
    struct buf operations, pairs;
};
CHECKED int grant_row_make(const struct grant *grant, struct grant_row *ret, struct kms_error *err);
void grant_row_done(struct grant_row *row);

/* ret: a reference. Errors: INTEGRITY (another program version wrote it), INTERNAL. */
CHECKED int grant_from_record(const struct grant_record *record, struct grant **ret,
                              struct kms_error *err);
