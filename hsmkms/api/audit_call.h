#pragma once

/*
 * Audit records of calls and of the service's own doings: what CloudTrail would show of them.
 * Never a plaintext, a ciphertext or a grant token: only members whose field row says so.
 *
 * Source: AWS KMS Developer Guide, Logging AWS KMS API calls with AWS CloudTrail.
 */

#include "hsmkms/api/op.h"

/* Appends the record of a call in its present state. Errors: INTERNAL. */
CHECKED int audit_call_format(const struct op_call *c, enum audit_phase phase, struct buf *ret,
                              struct kms_error *err);

/* The same for a request that never became a call. */
CHECKED int audit_refusal_format(const struct api *api, const struct api_call *call,
                                 struct buf *ret, struct kms_error *err);

/* Something the service does by itself. */
struct service_event {
    const char *name;               /* RotateKey, DeleteKey, CreateKey */
    const struct keyring *keyring;  /* of the region; NULL: the key's own */
    const struct uuid *key_id;      /* NULL while it has none */
    const char *rotation_type;      /* RotateKey: AUTOMATIC; else NULL */
    const struct kms_error *failed; /* result: why it did not succeed; NULL: it did */
};

/* Both wait until the record is durable. Errors: THROTTLING, INTERNAL. */
CHECKED int audit_service_intent(struct api *api, const struct service_event *event,
                                 struct kms_error *err);
CHECKED int audit_service_result(struct api *api, const struct service_event *event,
                                 struct kms_error *err);
