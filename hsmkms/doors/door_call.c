#include "hsmkms/doors/door_call.h"

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "hsmkms/base/json_memory.h"

/* --- log ---------------------------------------------------------------------------------------
 */

static const char *text_or_dash(const char *text)
{
    return text[0] ? text : "-";
}

/* One line per operation; a second one where the operator needs to know why. */
static void log_call(const struct log *log, const struct api_call *call)
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

/* --- the end -----------------------------------------------------------------------------------
 */

static void write_answer(struct door_call *state)
{
    struct api_call *const call = &state->call;
    const struct door_dialect *const dialect = state->dialect;

    if (call->err.code != KMS_ERR_NONE ||
        dialect->write_result(call, &state->answer, &call->err) < 0)
        dialect->write_error(&call->err, &call->request_id, &state->answer);
    state->answered = call->err.code;
    log_call(state->log, call);
}

/* call is the first member */
static struct door_call *state_of(struct api_call *call)
{
    return (struct door_call *)(void *)call;
}

/* In the worker: writing, logging and wiping are done by the time the record is durable. */
static void settle_call(struct api_call *call)
{
    write_answer(state_of(call));
    api_call_release(call);
}

void door_call_end(struct door_call *state)
{
    struct http_exchange *const exchange = state->exchange;

    if (state->answer.status == 0 || state->answered != state->call.err.code) {
        wiping_free(state->answer.body); /* it said what is not to be known */
        write_answer(state);
    }
    if (state->leaving)
        state->leaving(state);
    const struct http_answer answer = state->answer;
    api_call_done(&state->call);
    http_answer(exchange, &answer); /* state is gone with the exchange */
}

static void end_call(struct api_call *call)
{
    door_call_end(state_of(call));
}

/* --- the beginning -----------------------------------------------------------------------------
 */

/* Client bytes for a record: printable ASCII, cut where room ends. NULL is empty. */
static void copy_ascii(char *room, size_t size, const char *text)
{
    size_t i = 0;

    for (; text && text[i] && i < size - 1; i++)
        room[i] = (char)(text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?');
    room[i] = '\0';
}

/* What of the request is the same for all its operations. */
static void describe(const struct http_request *request, struct api_call *call)
{
    copy_ascii(call->source_ip, sizeof(call->source_ip), request->peer);
    copy_ascii(call->user_agent, sizeof(call->user_agent), http_header_find(request, "user-agent"));
    copy_ascii(call->tls_version, sizeof(call->tls_version), request->tls_version);
    copy_ascii(call->tls_cipher, sizeof(call->tls_cipher), request->tls_cipher);
    copy_ascii(call->host, sizeof(call->host), http_header_find(request, "host"));
    call->referer = http_header_find(request, "referer");
    call->listener = request->listener;
    if (request->client_cert.verified) /* else its names are whatever the client wrote */
        call->client_cert = (struct api_client_cert){ .spki = request->client_cert.spki_sha256,
                                                      .subject = request->client_cert.subject,
                                                      .sans = request->client_cert.sans,
                                                      .san_count = request->client_cert.san_count };
}

void door_call_begin(struct door_call *state, const struct door_call_config *config,
                     struct http_exchange *exchange)
{
    struct api_call *const call = &state->call;

    state->dialect = config->dialect;
    state->api = config->api;
    state->log = config->log;
    state->exchange = exchange;
    call->service = config->service;
    call->operation = "";
    call->request_id = uuid_random();
    call->begun_us = clock_mono_us();
    describe(http_exchange_request(exchange), call);
}

/* --- operations --------------------------------------------------------------------------------
 */

/* An operation that somebody waits for. */
struct step {
    struct api_call call; /* first */
    sem_t done;
};

static void wake(struct api_call *call)
{
    (void)sem_post(&((struct step *)(void *)call)->done); /* the one post there is */
}

/* The caller of the request asks, by the same way: who and from where are lent to the step. */
static void lend(struct door_call *state, struct step *step)
{
    step->call = state->call; /* principal and result are not copied but moved, see below */
    step->call.settle = NULL;
    step->call.done = wake;
    step->call.key_arn[0] = '\0';
    step->call.result = NULL;
    state->call.principal = (struct principal){ 0 };
}

static void give_back(struct door_call *state, struct step *step)
{
    state->call.principal = step->call.principal;
    step->call.principal = (struct principal){ 0 };
    memcpy(state->call.key_arn, step->call.key_arn, sizeof(state->call.key_arn));
}

int door_call_step(struct door_call *state, const char *operation, json_t *parameters, json_t **ret,
                   struct kms_error *err)
{
    struct step step;

    if (parameters == NULL || sem_init(&step.done, 0, 0) < 0) {
        json_decref(parameters);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an operation");
    }
    lend(state, &step);
    step.call.operation = operation;
    step.call.parameters = parameters;
    api_call_run(state->api, &step.call);
    while (sem_wait(&step.done) < 0) /* interrupted by a signal */
        ;
    (void)sem_destroy(&step.done);
    log_call(state->log, &step.call);
    give_back(state, &step);
    const struct kms_error failure = step.call.err;
    *ret = json_incref(step.call.result);
    api_call_done(&step.call);
    if (failure.code == KMS_ERR_NONE)
        return 0;
    *err = failure;
    return -1;
}

void door_call_run(struct door_call *state)
{
    state->call.settle = settle_call;
    state->call.done = end_call;
    api_call_run(state->api, &state->call);
}

void door_call_refuse(struct door_call *state)
{
    api_refused(state->api, &state->call);
    door_call_end(state);
}
