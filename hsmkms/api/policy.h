#pragma once

/* Key policies as operations write them: what is checked before, and published behind a commit. */

#include "hsmkms/api/op.h"

/*
 * Checks a policy that is to be written to a key, c->key or, NULL, one still to be made. Whoever
 * asks must be able to replace it afterwards, unless bypass says that they take the risk.
 *
 * policy    NULL passes: the default policy
 * ret_pins  whom it names; stored beside the text
 * Errors:   LIMIT_EXCEEDED, MALFORMED_POLICY
 */
CHECKED int policy_check(struct op_call *c, const char *policy, bool bypass, struct buf *ret_pins,
                         struct kms_error *err);

/*
 * The same for a key that is described by a question: it is asked with the new policy in it.
 */
CHECKED int policy_check_for(const struct op_call *c, const struct op_question *question,
                             const char *policy, bool bypass, struct buf *ret_pins,
                             struct kms_error *err);

/* Appends the text of a key's policy as it is shown. Errors: INTEGRITY, INTERNAL. */
CHECKED int policy_text(struct api *api, const struct key *key, struct buf *ret,
                        struct kms_error *err);

/*
 * Lets the policy in a key's newest record count from now on; after every commit of one.
 * Errors: INTEGRITY, INTERNAL
 */
CHECKED int policy_publish(struct api *api, const struct uuid *key_id, struct kms_error *err);

/* The same for every key, at start. */
CHECKED int policy_publish_all(struct api *api, struct kms_error *err);
