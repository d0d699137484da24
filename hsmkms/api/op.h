#pragma once

/*
 * An operation (a row of the table in ops.c) and a request in flight. What one operation needs
 * that others do not is its field table, its check and its run; everything else happens in
 * dispatch.c, once for all.
 */

#include "hsmkms/api/api.h"
#include "hsmkms/api/fields.h"
#include "hsmkms/audit/record.h"
#include "hsmkms/iam/authorize.h"
#include "hsmkms/keys/envelope.h"

struct metrics;
struct rates;
struct worker;

struct api {
    struct api_config config;
    struct metrics *metrics;
    struct rates *rates;
    struct worker *worker;
    pthread_mutex_t publish; /* held while a key's policy is read and made to count, so that of two
                                changes the later one stays */
    atomic_llong refused_second; /* monotonic second of refused_count */
    atomic_uint refused_count;   /* refusals audited in that second */
};

/* Begins every request struct: what the gate looks at before an operation does. */
struct request_head {
    const char *key_id;         /* KeyId, SourceKeyId or TargetKeyId, as given */
    const char *destination_id; /* DestinationKeyId */
    const char *alias_name;
    struct buf blob; /* CiphertextBlob */
    struct string_list dry_run_modifiers;
    struct string_list grant_tokens;
    bool dry_run;
    bool recipient;  /* Recipient is there */
    struct buf pins; /* of a policy that is to be written, with a NUL; made by its check */
};
#define IN_HEAD(kind, m) AT_##kind(struct request_head, m)

/* Rows that many field tables share. */
/* clang-format off */
#define KEY_ID_ROW(need) { "KeyId", need, IN_HEAD(STRING, key_id), 1, 2048, .log = LOGGED }
#define GRANT_TOKENS_ROW { "GrantTokens", OPTIONAL, IN_HEAD(STRINGS, grant_tokens), 0, 10, .item_max = 8192 }
#define DRY_RUN_ROW      { "DryRun", OPTIONAL, IN_HEAD(BOOL, dry_run), 0, 1, .log = LOGGED }
#define RECIPIENT_ROW    { "Recipient", OPTIONAL, IN_HEAD(PRESENCE, recipient), 0, 1, .log = UNLOGGED }
#define LIMIT_ROW(op)    { "Limit", OPTIONAL, AT(op, INT, limit), 1, 1000, .log = LOGGED }
#define MARKER_ROW(op)   { "Marker", OPTIONAL, AT(op, STRING, marker), 1, 1024, .log = LOGGED, .pattern = &pattern_marker }
/* clang-format on */

/* The request of one operation: its field table and the size of its struct. */
struct request_shape {
    const struct field *fields;
    size_t size;
};
#define REQUEST_SHAPE(op)                                                                          \
    const struct request_shape op##_shape = { op##_fields, sizeof(struct op##_request) }

struct op_call;
typedef int op_step(struct op_call *c, struct kms_error *err);

enum op_effect {
    OP_READS,   /* changes nothing that lasts; one audit record */
    OP_CHANGES, /* an intent is durable before it, a result after it */
};

/* What the audit trail keeps of the answer. */
enum op_answer_log {
    ANSWER_UNLOGGED,
    ANSWER_KEY_ID,
    ANSWER_WHOLE,
    ANSWER_GRANT,           /* ids of the grant and of its key, not its token */
    ANSWER_WITHOUT_SECRETS, /* but for the secret and the token of Credentials */
};

/* What is asked of a key: the action that must be allowed and the use its state must allow. */
struct op_demand {
    const char *action; /* NULL: the operation's name */
    enum key_use use;
    bool tracked;       /* a success is what GetKeyLastUsage tells of */
};

struct op {
    const char *name; /* on the wire, in policies, in the audit trail */
    const struct request_shape *request;
    op_step *resolve; /* finds the keys; NULL: the operation is about none */
    struct op_demand key, other;
    enum op_effect effect;
    enum op_answer_log answer;
    op_step *check; /* what the fields cannot say; NULL: nothing */
    op_step *run;
    op_step *authorize; /* in place of the questions about action and keys; NULL: those */
    enum api_service service;
};

extern const struct op ops[];
extern const size_t op_count;

/* The row of a name, or NULL. */
const struct op *op_find(enum api_service service, const char *name);

struct op_call {
    struct api *api;
    struct api_call *call;
    const struct op *op; /* NULL: unknown */
    struct keyring *keyring;   /* of the region that the request was signed for */
    struct request_head *head; /* the request; its struct is the operation's own */
    bool decoded;              /* the request is as the fields say */
    struct key *key, *other; /* references; other: ReEncrypt's destination, an alias's former key */
    const char *unmade, *other_unmade; /* predefined aliases in place of keys that make_named_keys()
                                          is to make; NULL: none */
    struct envelope envelope;          /* of head->blob, where the operation opens one */
    struct grant *grant;               /* a reference; the grant that an operation is about */
    const char *resource;              /* what policies name instead of "*", where there is no key */
    struct arn_text key_arn, other_arn, alias_arn; /* "" when there is none */
    struct authorized authorized;      /* how the question about the first key was decided */
    int64_t now_ms;                    /* one reading of the clock for all decisions */
    struct uuid_text version;                      /* of the key, that was used; "" for none */
    struct uuid version_id, other_version_id;      /* of each key, that was used */
    char material_id[65], other_material_id[65];
    struct uuid event_id; /* of the audit record: a read's only one, a change's result */
    enum audit_phase phase;
    bool reserved; /* a place in the audit queue is held */
};

/* The request struct of operation op: struct encrypt_request *r = OP_REQUEST(encrypt, c). */
#define OP_REQUEST(op, c) ((struct op##_request *)(void *)(c)->head)

/* The keyring of the region that a call is about; the first's where it names none of ours. */
struct keyring *op_keyring(const struct api *api, const struct api_call *call);

/* True for principals of accounts that own no keys here. */
bool op_is_stranger(const struct op_call *c);

/* A question to iam that belongs to a call. */
struct op_question {
    const char *action; /* "Decrypt", of kms: */
    const char *arn;    /* of the resource, or "*" */
    bool other_side;    /* parameters of the second key count */
    const struct key *key;     /* NULL: what is asked about is no key */
    const struct policy *policy; /* decides in place of the key's own: a key still to be made, a
                                    policy still to be written; NULL: the key's own */
    bool policy_alone;  /* no grant counts */
    const char *region; /* where it is asked; NULL: in the region of the call */
    const struct key *replica_of; /* what is asked about is still to be made, as its replica */
};

/* Errors: ACCESS_DENIED with AWS's text. ret: how it was decided; may be NULL. */
CHECKED int op_authorize(const struct op_call *c, const struct op_question *question,
                         struct authorized *ret, struct kms_error *err);

/* How long a call has been running; 0 for one that never began. */
static inline int64_t op_call_us(const struct api_call *call)
{
    return call->begun_us ? clock_mono_us() - call->begun_us : 0;
}

/* Takes over a reference and writes down its ARN. */
void op_set_key(struct op_call *c, struct key *key);
