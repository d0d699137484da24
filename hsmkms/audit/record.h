#pragma once

/*
 * The text of one audit record, in the member names and value forms of AWS CloudTrail. Plain data
 * in, JSON text out; never plaintext, ciphertext, signatures, tokens or secrets.
 *
 * Source: AWS CloudTrail User Guide, CloudTrail record contents; AWS KMS Developer Guide, Logging
 * AWS KMS API calls.
 */

#include <jansson.h>

#include "hsmkms/base/buf.h"
#include "hsmkms/base/uuid.h"

enum audit_phase {
    AUDIT_CALL,   /* the one record of a call that changes nothing */
    AUDIT_INTENT, /* synced before a change is begun; carries the state sequence it will reach */
    AUDIT_RESULT, /* how the change ended; carries the state sequence reached */
};

struct audit_resource {
    const char *arn;
};

struct audit_record {
    enum audit_phase phase;
    int64_t time_ms;
    const char *event_source; /* NULL: kms.amazonaws.com */
    const char *event_name;   /* "Encrypt" */
    bool read_only;
    bool service_event;       /* AwsServiceEvent: the worker's own doing; no caller */

    /* who: userIdentity */
    const char *identity_type; /* IAMUser, Root, AssumedRole, AWSService */
    const char *principal_id, *arn, *account, *access_key_id, *user_name; /* NULL or "": absent */

    int64_t session_created_ms; /* temporary credentials: when they were made; 0: long-term ones */
    const char *issuer_id, *issuer_arn, *issuer_name; /* role behind a session, or NULL */

    /* from where */
    const char *source_ip, *user_agent, *host, *tls_version, *tls_cipher;

    const char *region;
    const struct uuid *request_id; /* NULL for service events */
    struct uuid event_id;

    const char *error_code, *error_message; /* NULL: success */
    json_t *request_parameters;  /* borrowed; NULL is written as null */
    json_t *response_elements;   /* borrowed; NULL is written as null */
    json_t *additional;          /* additionalEventData or serviceEventDetails; borrowed; NULL: absent */
    struct audit_resource resources[2];
    size_t resource_count;

    uint64_t state_sequence; /* intents and results; 0: absent */
    const char *version_id;  /* key version used, or NULL */
    const char *decided_by;  /* policy statement or grant that allowed it, or NULL */
    int64_t latency_us;
};

/* Appends one JSON object without a newline. */
CHECKED int audit_record_format(const struct audit_record *record, struct buf *ret,
                                struct kms_error *err);
