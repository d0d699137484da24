#pragma once

/* What the files of the KES door share. For door_kes.c and kes_*.c alone. */

#include "hsmkms/doors/door_kes.h"
#include "hsmkms/doors/kes_path.h"

struct kes_call;

/* Who may ask. */
enum kes_access {
    KES_EVERYBODY,
    KES_PROBES, /* with kes.open_probes everybody, else whom a certificate stands for */
    KES_KNOWN,  /* whom a certificate stands for; what is done is authorized as well */
};

/* A member of an answer and the member of an operation's result that it is. */
struct kes_member {
    const char *theirs, *ours;
};

struct kes_route {
    const char *path;
    enum kes_argument argument;
    enum kes_verbs verbs;
    enum kes_access access;
    void (*serve)(struct kes_call *call); /* ends the exchange */
    const struct kes_member *members;     /* of the answer; ended by NULL; NULL: no body */
};
extern const struct kes_route kes_routes[]; /* ended by a NULL path */

/* The state of an exchange. */
struct kes_call {
    struct door_call base; /* first */
    struct door_kes *door;
    const struct kes_route *route;
    char argument[KES_SEGMENT_MAX + 1];
};

/* What a KES error is: the client compares both. */
struct kes_fault {
    int status;
    const char *message;
};

/* Ends with a fault of the door itself, with a tree (taken over) or without a body. */
void kes_fail(struct kes_call *call, struct kes_fault fault);
void kes_answer(struct kes_call *call, json_t *tree);
void kes_answer_empty(struct kes_call *call);
/* Ends with call->base.call.err. */
void kes_end(struct kes_call *call);

/* Routes about keys. */
void kes_create(struct kes_call *call);
void kes_describe(struct kes_call *call);
void kes_delete(struct kes_call *call);
void kes_list(struct kes_call *call);
void kes_generate(struct kes_call *call);
void kes_encrypt(struct kes_call *call);
void kes_decrypt(struct kes_call *call);
void kes_hmac(struct kes_call *call);

/* KeyMetadata, in a new reference: of the key that the path names; of one by key id or alias. */
CHECKED int kes_describe_named(struct kes_call *call, json_t **ret, struct kms_error *err);
CHECKED int kes_describe_id(struct kes_call *call, const char *key_id, json_t **ret,
                            struct kms_error *err);

/* A member's text, "" when it has none. */
const char *kes_text_of(const json_t *object, const char *name);

/* A key that nobody will know of: goes as soon as a key can go; a failure is logged. */
void kes_drop_key(struct kes_call *call, const char *key_id);

/* The companion of a key, see kes_hmac.c: made before the key has a name, deleted with it. */
CHECKED int kes_hmac_make(struct kes_call *call, const char *key_id, struct kms_error *err);
CHECKED int kes_hmac_delete(struct kes_call *call, const char *key_id, int64_t days,
                            struct kms_error *err);

/* Routes about the service. */
void kes_version(struct kes_call *call);
void kes_ready(struct kes_call *call);
void kes_status(struct kes_call *call);
void kes_metrics(struct kes_call *call);
void kes_api(struct kes_call *call);
void kes_self(struct kes_call *call);
void kes_not_offered(struct kes_call *call);
