#pragma once

/*
 * Why something is allowed or not: the decision of the gate for a made-up request, statement by
 * statement. For operators; nothing is done and no token is touched.
 */

#include "hsmkms/api/op.h"

#define EXPLAIN_PAIRS_MAX 16

struct explain_question {
    const char *as;     /* ARN of a user, role, session of a role, or account root */
    const char *action; /* "kms:Decrypt" */
    const char *key_id; /* key id, ARN, alias; NULL: the action is about no key */
    const struct condition_pair *pairs; /* encryption context */
    size_t pair_count;
    const char *source_ip; /* NULL: unknown */
};

/*
 * ret      {"Allowed": bool, "Reason": text, "DecidedBy": text, "Statements": [{...}]}; a new
 *          reference
 * Errors:  NOT_FOUND, VALIDATION, INVALID_ARN
 */
CHECKED int api_explain(struct api *api, const struct explain_question *question, json_t **ret,
                        struct kms_error *err);
