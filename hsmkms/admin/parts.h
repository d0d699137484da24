#pragma once

/* What the files of administration commands share; for this folder alone. */

#include "hsmkms/admin/commands.h"
#include "hsmkms/admin/table.h"

/* A command being run. */
struct admin_call {
    const struct admin_services *services;
    const struct admin_row *row;
    const json_t *request;
    uid_t uid;
    struct uuid request_id;
};

/* One command. ret: a new reference; untouched on failure. */
typedef int admin_run_fn(const struct admin_call *call, json_t **ret, struct kms_error *err);

struct admin_handler {
    const char *name; /* of the row */
    admin_run_fn *run;
};
extern const struct admin_handler admin_identity_handlers[], admin_policy_handlers[],
    admin_key_handlers[], admin_transfer_handlers[], admin_cert_handlers[],
    admin_token_handlers[], admin_use_handlers[], admin_status_handlers[]; /* each ended by a NULL name */

/* A field's text, or NULL. */
const char *admin_text(const struct admin_call *call, const char *field);
/* The same for one that must be there. Errors: VALIDATION. */
CHECKED int admin_need(const struct admin_call *call, const char *field, const char **ret,
                       struct kms_error *err);
/* Its number; 0 when absent. Errors: VALIDATION (not 1..most). */
CHECKED int admin_number(const struct admin_call *call, const char *field, int64_t most,
                         int64_t *ret, struct kms_error *err);

/* The account of the command: as given, or the keys' own. */
const char *admin_account(const struct admin_call *call);

/* The user or role that a command is about. Errors: VALIDATION (none, or both). */
CHECKED int admin_whose(const struct admin_call *call, struct identity_name *ret,
                        struct kms_error *err);

/* Takes over what json_pack made, NULL included. */
CHECKED int admin_answer(json_t *made, json_t **ret, struct kms_error *err);
/* The answer of commands that have nothing to say. */
CHECKED int admin_done(json_t **ret, struct kms_error *err);

/* A user or role as `aws iam get-account-authorization-details` shows it; NULL: memory. */
json_t *admin_identity_json(struct directory *directory, const struct identity *identity);
