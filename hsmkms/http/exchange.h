#pragma once

/*
 * One request and its answer as plain data: copies of what arrived, a growing body, the door's
 * state, and who still needs it. Copies, because an answer that comes too late (after a stop that
 * could not wait) finds the connection gone. Knows neither the HTTP library nor queues.
 *
 * An exchange lives until the connection and, once it was handed to a door, the door's answer have
 * both let go. Whatever carried bytes of the client is wiped then.
 */

#include <netinet/in.h>
#include <stdatomic.h>

#include "hsmkms/http/framing.h"
#include "hsmkms/http/queue.h"
#include "hsmkms/http/server.h"

struct MHD_Connection;
struct client_cert;
struct service;

struct http_exchange {
    struct queue_item waiting; /* first member: an item is its exchange */
    struct http_request request;
    const struct http_door *door; /* NULL: this listener has none */
    void *state;                  /* door->state_size bytes */
    char claim[QUEUE_CLAIM_LEN];

    struct service *service;           /* NULL until submitted */
    struct MHD_Connection *connection; /* suspended from then until it is answered */
    struct http_exchange *prev, *next; /* held by the service, under its lock */

    struct http_answer answer; /* valid once settled */
    atomic_bool settled;       /* the first answer counts */
    atomic_bool refused;       /* by http/ itself */
    bool last;                 /* the connection is closed after it */
    atomic_uint refs;

    char *target; /* as it arrived */
    char *head;   /* headers and the texts they point to, one block of head_len bytes */
    size_t head_len;
    bool head_seen;
    uint8_t *body;
    size_t body_len, body_cap;
    uint64_t expected;  /* Content-Length, 0 when chunked or absent */
    uint64_t body_seen; /* body bytes that arrived, kept or not */
    int64_t begun_us;
    char peer[INET6_ADDRSTRLEN];
    char tls_version[16], tls_cipher[48];
    struct client_cert *client; /* what request.client_cert points into: one reference, or NULL */
};

/* With one reference, or NULL: out of memory. */
struct http_exchange *exchange_new(const char *target);
void exchange_ref(struct http_exchange *exchange);
void exchange_unref(struct http_exchange *exchange);

/* Copies method and header lines, values without trailing blanks. False: out of memory. */
CHECKED bool exchange_take_head(struct http_exchange *exchange, const char *method,
                                const struct framing_line *lines, size_t count);

/* Makes the door's state. False: out of memory. */
CHECKED bool exchange_set_door(struct http_exchange *exchange, const struct http_door *door);

/*
 * Appends body bytes. expected: how long the body will be, 0 when unknown; sizes the first block.
 * Outgrown blocks are wiped. False: out of memory.
 */
CHECKED bool exchange_append(struct http_exchange *exchange, struct span bytes, size_t expected);

/* Wipes and drops the body. */
void exchange_drop_body(struct http_exchange *exchange);

/* True when this answer is the first; it is owned by the exchange then. */
CHECKED bool exchange_settle(struct http_exchange *exchange, const struct http_answer *answer);

/* Releases the body of an answer that nobody will send. */
void answer_drop(struct http_answer *answer);

/* The answer to an error in the dialect of a door, in plain words without one. */
void exchange_refusal(const struct http_exchange *exchange, const struct kms_error *err,
                      struct http_answer *ret);
