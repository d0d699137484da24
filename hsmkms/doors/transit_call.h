#pragma once

/*
 * A request of the transit dialect and the parts that its chapters share: routes, answers, what a
 * body says. A route prepares the last operation of a request, running others before it where it
 * takes several, and writes the data of the answer.
 *
 * Source: HashiCorp Vault HTTP API, Overview and Transit secrets engine.
 */

#include "hsmkms/doors/door_call.h"
#include "hsmkms/doors/door_transit.h"
#include "hsmkms/doors/transit_text.h"
#include "hsmkms/iam/door_token.h"

struct transit_route;

/* The state of an exchange. */
struct transit_call {
    struct door_call base; /* first */
    const struct door_transit *door;
    const struct transit_route *route;
    struct transit_path path;
    struct span name;              /* of the key, where the route has one */
    struct transit_key_id key_id;  /* the same for operations */
    struct span token;             /* that was sent, or empty */
    struct door_token_facts facts; /* of it */
    bool stepped;                  /* an operation ran, so there is a record of the request */
};

enum transit_method {
    TRANSIT_GET = 1,
    TRANSIT_WRITE = 2, /* POST and PUT: clients differ */
    TRANSIT_DELETE = 4,
    TRANSIT_LIST = 8,
    TRANSIT_HEAD = 16,
};

enum transit_access {
    TRANSIT_OPEN,  /* for everybody */
    TRANSIT_KNOWN, /* who comes with a credential */
};

struct transit_route {
    const char *path; /* segments; '*' is a key's name */
    bool in_mount;    /* behind a mount, else behind /v1 */
    unsigned methods; /* of enum transit_method */
    enum transit_access access;
    bool query; /* may have one */
    const struct door_dialect *answers;

    /*
     * Names the last operation in base.call; one that needs no more, or none, leaves its name
     * empty and puts the data of its answer into base.call.result.
     */
    int (*prepare)(struct transit_call *t, const json_t *body, struct kms_error *err);

    /* The data of an answer out of base.call.result: a new reference. NULL: there is no body. */
    int (*write)(const struct transit_call *t, json_t **ret, struct kms_error *err);
};

/* transit_crypto.c, transit_keys.c, transit_sys.c: rows, each table ended by a NULL path. */
extern const struct transit_route transit_crypto_routes[], transit_key_routes[],
    transit_sys_routes[];

/* Ways of answering: with an unknown key as 400, or as 404 where it was only to be read; the others
 * say what a dry run was made for. */
extern const struct door_dialect transit_answers, transit_answers_reading,
    transit_answers_no_context, transit_answers_version;
/* What is written is no data but who the caller is from now on. */
extern const struct door_dialect transit_answers_auth;

static inline struct transit_call *transit_call_of(const struct api_call *call)
{
    return (struct transit_call *)(void *)(uintptr_t)call; /* the first member of the first */
}

/* Takes over parameters. */
void transit_set_operation(struct transit_call *t, const char *name, json_t *parameters);

/* Runs one of several operations, as door_call_step() does; ret may be NULL. */
CHECKED int transit_step(struct transit_call *t, const char *operation, json_t *parameters,
                         json_t **ret, struct kms_error *err);

/* The key that the request names as it is now, or NULL; key_unref(). For what operations do not
 * tell: tags and version numbers. Who may use the key is decided by operations alone. */
struct key *transit_key(const struct transit_call *t);
const char *transit_tag(const struct key *key, const char *tag_key); /* "" when absent */

/* Member of a body; absent when it is not there or null. Errors: VALIDATION (another type). */
CHECKED int transit_string(const json_t *body, const char *name, struct span *ret,
                           struct kms_error *err);
CHECKED int transit_int(const json_t *body, const char *name, int64_t preset, int64_t *ret,
                        struct kms_error *err);
CHECKED int transit_bool(const json_t *body, const char *name, bool *ret, struct kms_error *err);

/* An answer's envelope around data, which is taken over. Errors: INTERNAL. */
CHECKED int transit_envelope(const struct api_call *call, json_t *data, json_t *auth,
                             struct http_answer *ret, struct kms_error *err);

/* A tree, which is taken over, as the whole body. Errors: INTERNAL. */
CHECKED int transit_bare(json_t *tree, struct http_answer *ret, struct kms_error *err);

/* {"errors": [text]}; text NULL: an empty list. */
void transit_error(int status, const char *text, struct http_answer *ret);

/* What an error is in this dialect; answers says what a dry run was made for. */
struct transit_failure {
    int status;
    const char *text; /* borrowed from the error, or constant */
};
struct transit_failure transit_failure(const struct kms_error *err,
                                       const struct door_dialect *answers);
