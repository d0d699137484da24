#pragma once

/*
 * A request that becomes operations of api/, from its exchange to its answer: what every dialect
 * has in common. A dialect finds out who asks and for what, and writes answers; here are the facts
 * of the request, the way through the operations, the log line and the end.
 *
 * A request is one operation, or a few in sequence: each of these is authorized and recorded as if
 * it had come alone, and the answer leaves when the record of the last is durable.
 */

#include "hsmkms/api/api.h"
#include "hsmkms/http/server.h"

struct door_call;

struct door_dialect {
    /* In any thread. call->result is that of the last operation. */
    int (*write_result)(const struct api_call *call, struct http_answer *ret,
                        struct kms_error *err);
    void (*write_error)(const struct kms_error *err, const struct uuid *request_id,
                        struct http_answer *ret);
};

/* First in the state of an exchange, zeroed. */
struct door_call {
    struct api_call call; /* first */
    const struct door_dialect *dialect;
    struct api *api;
    const struct log *log;
    struct http_exchange *exchange;
    struct http_answer answer;
    enum kms_err answered;                          /* what the answer says */
    void (*leaving)(const struct door_call *state); /* NULL, or told of the answer at the end */
};

struct door_call_config {
    const struct door_dialect *dialect;
    struct api *api;
    const struct log *log;
    enum api_service service;
};

/* Begins: a request id, and from where the request came. The principal is the door's to fill in. */
void door_call_begin(struct door_call *state, const struct door_call_config *config,
                     struct http_exchange *exchange);

/*
 * Runs one operation of several and waits until its record is durable. In a service worker.
 *
 * parameters  taken over; NULL is no memory
 * ret         the result, a new reference, NULL without output; wipe by json_decref
 * Errors:     those of the operation; INTERNAL
 */
CHECKED int door_call_step(struct door_call *state, const char *operation, json_t *parameters,
                           json_t **ret, struct kms_error *err);

/*
 * Runs the operation, or the last of several, that call names; ends the exchange. The state is gone
 * then. In a service worker.
 */
void door_call_run(struct door_call *state);

/* Ends the exchange with call->err or call->result. The state is gone then. */
void door_call_end(struct door_call *state);

/* The same for who could not be authenticated or asked for no operation: counted and recorded. */
void door_call_refuse(struct door_call *state);
