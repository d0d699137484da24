#include "hsmkms/doors/aws_call.h"

#include <stdio.h>
#include <string.h>

#include "hsmkms/base/json_memory.h"

/* --- answers ---------------------------------------------------------------------------------- */

void aws_name_answer(const struct uuid *request_id, const char *content_type,
                     struct http_answer *ret)
{
    ret->content_type = content_type;
    ret->free_body = wiping_free;
    ret->request_id_header = "x-amzn-RequestId";
    (void)snprintf(ret->request_id, sizeof(ret->request_id), "%s", uuid_format(request_id).text);
}

struct aws_error_shape aws_error_shape(const struct kms_error *err)
{
    const bool hidden = err->code >= KMS_ERR_CONFIG;

    return (struct aws_error_shape){
        .code = hidden ? KMS_ERR_INTERNAL : err->code,
        .text = hidden || err->code == KMS_ERR_INTERNAL ? "" : err->message,
    };
}

/* --- the request ------------------------------------------------------------------------------ */

size_t aws_word_len(const char *text, size_t most)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    const size_t len = strspn(text, chars);

    return len < most ? len : most;
}

/* The access key id that a request names, whether or not it is theirs. */
static struct span named_access_key(const struct http_request *request)
{
    static const char mark[] = "Credential=";
    const char *const authorization = http_header_find(request, "authorization");
    const char *const found = authorization ? strstr(authorization, mark) : NULL;
    const char *const id = found ? found + strlen(mark) : "";

    return span_of(id, aws_word_len(id, 63));
}

/*
 * Nothing is proven yet, so the address comes first and whole: who names another's access key uses
 * up no share but that of their own address. An IPv6 address leaves room for the 20 characters of
 * an access key id.
 */
void aws_call_claim(const struct http_request *request, char ret[64])
{
    const struct span id = named_access_key(request);

    (void)snprintf(ret, 64, "%s %.*s", request->peer, (int)id.len, (const char *)id.ptr);
}

/* Nothing of the body is looked at before its signature was. */
static int read_call(const struct aws_dialect *dialect, const struct door_aws *door,
                     const struct http_request *request, struct api_call *call)
{
    struct kms_error *const err = &call->err;

    if (sigv4_verify(&door->sigv4, request, request->received_ms, &call->principal, err) == 0)
        return dialect->read(request, call, err);

    const struct span named = named_access_key(request);
    (void)snprintf(call->principal.access_key_id, sizeof(call->principal.access_key_id), "%.*s",
                   (int)named.len, (const char *)named.ptr);
    return -1;
}

void aws_call_serve(const struct aws_dialect *dialect, const struct door_aws *door,
                    struct http_exchange *exchange)
{
    struct door_call *const state = http_exchange_state(exchange);
    const struct door_call_config config = { &dialect->answers, door->api, door->log,
                                             dialect->service };

    door_call_begin(state, &config, exchange);
    if (read_call(dialect, door, http_exchange_request(exchange), &state->call) < 0)
        door_call_refuse(state);
    else
        door_call_run(state);
}

void aws_call_refuse(const struct aws_dialect *dialect, const struct kms_error *err,
                     struct http_answer *ret)
{
    const struct uuid id = uuid_random();

    dialect->answers.write_error(err, &id, ret);
}
