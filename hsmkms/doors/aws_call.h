#pragma once

/*
 * A request that Signature Version 4 signed, from its exchange to its answer: what the dialects of
 * AWS have in common. A dialect reads an operation out of a request and writes answers; it is a
 * row of functions.
 */

#include "hsmkms/doors/door_call.h"
#include "hsmkms/http/sigv4.h"

/* The context of these doors; read-only while the server runs. */
struct door_aws {
    struct api *api;
    const struct log *log;
    struct sigv4_policy sigv4; /* with the service of the door */
};

struct aws_dialect {
    enum api_service service;

    /* Behind a good signature: the operation's name and parameters. */
    int (*read)(const struct http_request *request, struct api_call *call, struct kms_error *err);

    struct door_dialect answers;
};

/* A door's serve, claim and refuse, for a dialect; the state of an exchange is a struct door_call.
 */
void aws_call_serve(const struct aws_dialect *dialect, const struct door_aws *door,
                    struct http_exchange *exchange);
void aws_call_claim(const struct http_request *request, char ret[64]);
void aws_call_refuse(const struct aws_dialect *dialect, const struct kms_error *err,
                     struct http_answer *ret);

/* Letters, digits and underscores at the start of text, at most most. */
size_t aws_word_len(const char *text, size_t most);

/* Content type, who frees the body, and the request id. */
void aws_name_answer(const struct uuid *request_id, const char *content_type,
                     struct http_answer *ret);

/* What of an error a client reads: nothing of faults that are ours alone. */
struct aws_error_shape {
    enum kms_err code;
    const char *text;
};
struct aws_error_shape aws_error_shape(const struct kms_error *err);
