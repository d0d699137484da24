#pragma once

/* Everything below the doors, in one process: a real token, database, audit trail and operations.
 */

#include "hsmkms/api/api.h"
#include "hsmkms/api/op.h"
#include "tests/support/iam_rig.h"

struct api_rig {
    struct iam_rig below;
    struct clock clock; /* of keys, audit and operations; fixed, so that a test can move it */
    struct log log;
    struct keyring keyring;
    struct audit *audit;
    char audit_dir[300];
    struct api *api;
    struct identity *tester; /* who calls */
};

int api_rig_up(void **state);
int api_rig_down(void **state);

/* How a call ended. */
struct outcome {
    struct kms_error err;
    json_t *result; /* NULL for operations without output */
};
void outcome_done(struct outcome *outcome);

/* Runs one call to its durable end. Takes over parameters. */
struct outcome rig_call(struct api_rig *rig, const char *operation, json_t *parameters);

/* The same, from JSON text in which a single quote stands for a double one. */
struct outcome rig_ask(struct api_rig *rig, const char *operation, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Succeeds, or fails the test; a new reference to the result, {} when there is none. */
json_t *rig_ok(struct api_rig *rig, const char *operation, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Is refused with this row; message NULL: any. Changes nothing in the database. */
void rig_refused(struct api_rig *rig, enum kms_err code, const char *message, const char *operation,
                 const char *format, ...) PRINTF_LIKE(5, 6);

/* The id of a new key. */
struct uuid_text rig_key(struct api_rig *rig);

/* A member, its text: or fails the test. check_names: the members are these, a JSON array. */
const json_t *member(const json_t *object, const char *name);
const char *text_of(const json_t *object, const char *name);
void check_names(const json_t *object, const char *names);

/* The last count audit records, oldest first, as an array. */
json_t *rig_records(struct api_rig *rig, uint64_t count);
