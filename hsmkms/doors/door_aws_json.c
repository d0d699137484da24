#include "hsmkms/doors/door_aws_json.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "hsmkms/base/json_memory.h"
#include "hsmkms/doors/json_front.h"

#define TARGET_PREFIX "TrentService."
#define OPERATION_MAX 64 /* letters of a name; the longest has 35 */
#define CONTENT_TYPE  "application/x-amz-json-1.1"

/* One request in this door: the exchange's state. */
struct aws_request {
    struct api_call call;
    const struct door_aws *door;
    struct http_exchange *exchange;
    struct http_answer answer;
    enum kms_err answered; /* what the answer says */
};

/* Answers */

/* What of an error a client reads. */
struct error_shape {
    const char *type, *member, *text;
};

/*
 * AccessDeniedException spells its member with a capital. Our own faults say no more than their
 * name, and those that are none of a client's business not even that.
 */
static struct error_shape error_shape(const struct kms_error *err)
{
    const bool hidden = err->code >= KMS_ERR_CONFIG;

    return (struct error_shape){
        .type = kms_err_name(hidden ? KMS_ERR_INTERNAL : err->code),
        .member = err->code == KMS_ERR_ACCESS_DENIED ? "Message" : "message",
        .text = hidden || err->code == KMS_ERR_INTERNAL ? "" : err->message,
    };
}

/* A text as JSON also when it is not UTF-8, e.g. because it was cut inside a character. */
static json_t *json_of_text(const char *text)
{
    char ascii[sizeof((struct kms_error){ 0 }.message)];
    size_t i = 0;
    json_t *const whole = json_string(text);

    if (whole)
        return whole;
    for (; text[i] && i < sizeof(ascii) - 1; i++)
        ascii[i] = (char)(text[i] & 0x80 ? '?' : text[i]);
    ascii[i] = '\0';
    return json_string(ascii);
}

static void name_answer(const struct uuid *request_id, struct http_answer *ret)
{
    ret->content_type = CONTENT_TYPE;
    ret->free_body = wiping_free;
    ret->request_id_header = "x-amzn-RequestId";
    (void)snprintf(ret->request_id, sizeof(ret->request_id), "%s", uuid_format(request_id).text);
}

/* Without memory for a body the status must do. */
static void answer_error(const struct kms_error *err, const struct uuid *request_id,
                         struct http_answer *ret)
{
    const struct error_shape shape = error_shape(err);
    struct kms_error unused = { 0 };
    json_auto_t *body = json_object();

    *ret = (struct http_answer){ .status = kms_err_status(err->code) };
    name_answer(request_id, ret);
    (void)json_object_set_new(body, "__type", json_string(shape.type));
    if (shape.text[0])
        (void)json_object_set_new(body, shape.member, json_of_text(shape.text));
    if (json_text(body, &ret->body, &ret->body_len, &unused) < 0)
        ret->body_len = 0;
}

/* An operation without output is answered with an empty body. */
static int answer_result(const struct api_call *call, struct http_answer *ret,
                         struct kms_error *err)
{
    *ret = (struct http_answer){ .status = 200 };
    name_answer(&call->request_id, ret);
    return call->result ? json_text(call->result, &ret->body, &ret->body_len, err) : 0;
}

/* Log */

static const char *text_or_dash(const char *text)
{
    return text[0] ? text : "-";
}

/* One line per request; a second one where the operator needs to know why. */
static void log_request(const struct log *log, const struct api_call *call)
{
    const enum kms_err code = call->err.code;
    const struct uuid_text id = uuid_format(&call->request_id);

    (call->principal.arn[0] ? log_event : log_refusal)(
        log, LOG_LEVEL_INFO, "call",
        "id=%s action=%s key=%s principal=%s access_key=%s result=%s ms=%.3f", id.text,
        text_or_dash(call->operation), text_or_dash(call->key_arn),
        text_or_dash(call->principal.arn), text_or_dash(call->principal.access_key_id),
        code ? kms_err_name(code) : "ok", (double)(clock_mono_us() - call->begun_us) / 1000);
    if (kms_err_status(code) >= 500)
        log_event(log, LOG_LEVEL_ERROR, "call-failed", "id=%s error=%s detail=\"%s\" where=%s",
                  id.text, kms_err_name(code), call->err.detail, call->err.where);
}

/* The end of a request */

static void write_answer(struct aws_request *state)
{
    struct api_call *const call = &state->call;

    if (call->err.code != KMS_ERR_NONE || answer_result(call, &state->answer, &call->err) < 0)
        answer_error(&call->err, &call->request_id, &state->answer);
    state->answered = call->err.code;
    log_request(state->door->log, call);
}

static struct aws_request *request_of(struct api_call *call)
{
    return (struct aws_request *)(void *)((char *)call - offsetof(struct aws_request, call));
}

/* In the worker: writing, logging and wiping are done by the time the record is durable. */
static void settle_call(struct api_call *call)
{
    write_answer(request_of(call));
    api_call_release(call);
}

static void end(struct aws_request *state)
{
    struct http_exchange *const exchange = state->exchange;

    if (state->answer.status == 0 || state->answered != state->call.err.code) {
        wiping_free(state->answer.body); /* it said what is not to be known */
        write_answer(state);
    }
    const struct http_answer answer = state->answer;
    api_call_done(&state->call);
    http_answer(exchange, &answer); /* state is gone with the exchange */
}

static void end_call(struct api_call *call)
{
    end(request_of(call));
}

/* The request */

/* Client bytes for the audit record: printable ASCII, cut where room ends. NULL is empty. */
static void copy_ascii(char *room, size_t size, const char *text)
{
    size_t i = 0;

    for (; text && text[i] && i < size - 1; i++)
        room[i] = (char)(text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?');
    room[i] = '\0';
}

/* Length of the word of letters, digits and underscores at the start of text, at most most. */
static size_t word_len(const char *text, size_t most)
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

    return span_of(id, word_len(id, 63));
}

/*
 * Nothing is proven yet, so the address comes first and whole: who names another's access key uses
 * up no share but that of their own address. An IPv6 address leaves room for the 20 characters of
 * an access key id.
 */
static void claim(const struct http_request *request, char ret[64])
{
    const struct span id = named_access_key(request);

    (void)snprintf(ret, 64, "%s %.*s", request->peer, (int)id.len, (const char *)id.ptr);
}

static void begin_call(const struct http_request *request, struct api_call *call)
{
    call->operation = "";
    call->request_id = uuid_random();
    call->begun_us = clock_mono_us();
    call->settle = settle_call;
    call->done = end_call;
    copy_ascii(call->source_ip, sizeof(call->source_ip), request->peer);
    copy_ascii(call->user_agent, sizeof(call->user_agent), http_header_find(request, "user-agent"));
    copy_ascii(call->tls_version, sizeof(call->tls_version), request->tls_version);
    copy_ascii(call->tls_cipher, sizeof(call->tls_cipher), request->tls_cipher);
    copy_ascii(call->host, sizeof(call->host), http_header_find(request, "host"));
}

static int read_operation(const struct http_request *request, const char **ret,
                          struct kms_error *err)
{
    const size_t prefix = strlen(TARGET_PREFIX);
    const char *const target = http_header_find(request, "x-amz-target");

    if (target == NULL || strncmp(target, TARGET_PREFIX, prefix) != 0 ||
        target[prefix + word_len(target + prefix, OPERATION_MAX)] != '\0')
        return kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "%s", "");
    *ret = target + prefix;
    return 0;
}

/* True for this type, with or without parameters. */
static bool is_our_type(const char *type)
{
    const size_t len = strlen(CONTENT_TYPE);

    return type && strncasecmp(type, CONTENT_TYPE, len) == 0 &&
           (type[len] == '\0' || type[len] == ';' || type[len] == ' ');
}

static int check_content(const struct http_request *request, struct kms_error *err)
{
    const char *const encoding = http_header_find(request, "content-encoding");

    if (!is_our_type(http_header_find(request, "content-type")))
        return kms_fail(err, KMS_ERR_SERIALIZATION, "Content-Type must be %s.", CONTENT_TYPE);
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return kms_fail(err, KMS_ERR_SERIALIZATION, "Content-Encoding is not supported.");
    return 0;
}

/* Nothing of the body is looked at before its signature was. */
static int read_call(const struct door_aws *door, const struct http_request *request,
                     struct api_call *call)
{
    struct kms_error *const err = &call->err;

    if (sigv4_verify(&door->sigv4, request, request->received_ms, &call->principal, err) < 0) {
        const struct span named = named_access_key(request);
        (void)snprintf(call->principal.access_key_id, sizeof(call->principal.access_key_id), "%.*s",
                       (int)named.len, (const char *)named.ptr);
        return -1;
    }
    if (read_operation(request, &call->operation, err) < 0 || check_content(request, err) < 0)
        return -1;
    return json_front(request->body, &call->parameters, err);
}

static void serve(void *ctx, struct http_exchange *exchange)
{
    const struct door_aws *const door = ctx;
    const struct http_request *const request = http_exchange_request(exchange);
    struct aws_request *const state = http_exchange_state(exchange);

    state->door = door;
    state->exchange = exchange;
    begin_call(request, &state->call);
    if (read_call(door, request, &state->call) < 0) {
        api_refused(door->api, &state->call);
        end(state);
        return;
    }
    api_call_run(door->api, &state->call); /* ends in end_call */
}

static bool is_root(const struct http_request *request)
{
    return strcmp(request->target, "/") == 0 || strcmp(request->target, "/?") == 0;
}

static bool recognise(const struct http_request *request)
{
    return is_root(request) && strcmp(request->method, "POST") == 0;
}

static void refuse(void *ctx, const struct kms_error *err, struct http_answer *ret)
{
    const struct uuid id = uuid_random();

    (void)ctx;
    answer_error(err, &id, ret);
}

const struct door door_aws_json = {
    .name = "aws-json",
    .state_size = sizeof(struct aws_request),
    .recognise = recognise,
    .serve = serve,
    .refuse = refuse,
    .claim = claim,
};

/* Everything else */

static bool recognise_rest(const struct http_request *request)
{
    (void)request;
    return true;
}

static void serve_rest(void *ctx, struct http_exchange *exchange)
{
    const struct door_aws *const door = ctx;
    const struct kms_error err = { .code = KMS_ERR_UNKNOWN_OPERATION };
    const struct uuid id = uuid_random();
    struct http_answer answer;

    answer_error(&err, &id, &answer);
    answer.status = is_root(http_exchange_request(exchange)) ? 405 : 404;
    log_refusal(door->log, LOG_LEVEL_INFO, "call", "id=%s action=- result=%d",
                uuid_format(&id).text, answer.status);
    http_answer(exchange, &answer);
}

const struct door door_aws_rest = {
    .name = "aws-rest",
    .recognise = recognise_rest,
    .serve = serve_rest,
    .refuse = refuse,
    .claim = claim,
};
