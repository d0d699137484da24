#include "hsmkms/http/request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/base/secret.h"
#include "hsmkms/http/client_cert.h"
#include "hsmkms/http/client_gate.h"

/*
 * A body over the limit is read and thrown away up to so many bytes more: its sender then gets an
 * answer and keeps its connection, where a close with unread bytes would reset both.
 */
#define DISCARD_MOST (UINT64_C(1) << 20)

static struct connection *connection_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void *request_line(void *handler, const char *target, struct MHD_Connection *mhd)
{
    struct request_handler *const self = handler;

    if (connection_of(mhd))
        connection_enter(self->shared->connections, connection_of(mhd), CONNECTION_RECEIVES);
    return exchange_new(target ? target : ""); /* the first call ends the request when NULL */
}

/* Answers */

static void log_answer(const struct request_handler *self, const struct http_exchange *exchange)
{
    const int status = exchange->answer.status;
    const bool refused = atomic_load(&exchange->refused);
    const enum log_level level = status >= 500 ? LOG_LEVEL_WARN
                                 : refused     ? LOG_LEVEL_INFO
                                               : LOG_LEVEL_DEBUG;

    if (level > self->shared->log->level)
        return;
    (refused ? log_refusal : log_event)(
        self->shared->log, level, refused ? "refused" : "request",
        "id=%s door=%s status=%d us=%" PRId64 " peer=%s bytes=%" PRIu64,
        exchange->answer.request_id[0] ? exchange->answer.request_id : "-",
        exchange->door ? exchange->door->door->name : "-", status,
        clock_mono_us() - exchange->begun_us, exchange->peer, exchange->body_seen);
}

static void add_headers(const struct request_handler *self, const struct http_exchange *exchange,
                        struct MHD_Response *response)
{
    const struct http_answer *const answer = &exchange->answer;
    const struct {
        const char *name, *value;
    } rows[] = {
        { MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type },
        { MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache, no-store, must-revalidate, private" },
        { answer->request_id_header, answer->request_id },
        { MHD_HTTP_HEADER_CONNECTION, exchange->last ? "close" : NULL },
    };

    /* fails only without memory: then a header is missing */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].name && rows[i].value)
            (void)MHD_add_response_header(response, rows[i].name, rows[i].value);
    if (self->shared->clock->fixed_ms) {
        const struct clock_imf date = clock_imf_fixdate(clock_wall_ms(self->shared->clock));
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_DATE, date.text);
    } /* else the library writes the system's time, which is our clock's */
}

/* The response owns the answer's body from here on. */
static struct MHD_Response *make_response(struct http_answer *answer)
{
    static const char nothing[] = "";
    struct MHD_Response *response = NULL;

    if (answer->body && answer->free_body)
        response = MHD_create_response_from_buffer_with_free_callback(
            answer->body_len, answer->body, answer->free_body);
    else if (answer->body)
        response =
            MHD_create_response_from_buffer(answer->body_len, answer->body, MHD_RESPMEM_PERSISTENT);
    else /* const cast: persistent bytes are only read */
        response =
            MHD_create_response_from_buffer(0, (void *)(uintptr_t)nothing, MHD_RESPMEM_PERSISTENT);
    if (response)
        answer->body = NULL;
    return response;
}

static enum MHD_Result send_answer(const struct request_handler *self, struct MHD_Connection *mhd,
                                   struct http_exchange *exchange)
{
    if (atomic_load(&self->shared->stopping))
        exchange->last = true;

    struct MHD_Response *const response = make_response(&exchange->answer);
    if (response == NULL)
        return MHD_NO;
    add_headers(self, exchange, response);
    (void)atomic_fetch_add(&self->shared->requests, 1);
    if (atomic_load(&exchange->refused))
        (void)atomic_fetch_add(&self->shared->refused, 1);
    log_answer(self, exchange);
    connection_enter(self->shared->connections, connection_of(mhd), CONNECTION_SENDS);
    const enum MHD_Result queued =
        MHD_queue_response(mhd, (unsigned)exchange->answer.status, response);
    MHD_destroy_response(response);
    return queued;
}

/* Settles an exchange that no door will see. */
static void refuse(struct http_exchange *exchange, const struct kms_error *err)
{
    struct http_answer answer = { 0 };

    exchange_refusal(exchange, err, &answer);
    atomic_store(&exchange->refused, true);
    exchange_drop_body(exchange);
    if (!exchange_settle(exchange, &answer))
        answer_drop(&answer); /* refused before; the first reason stands */
}

/* Answers before the body; the library closes the connection after such an answer. */
static enum MHD_Result refuse_now(const struct request_handler *self, struct MHD_Connection *mhd,
                                  struct http_exchange *exchange, const struct kms_error *err)
{
    refuse(exchange, err);
    exchange->last = true;
    return send_answer(self, mhd, exchange);
}

/* The head */

struct line_list {
    struct framing_line *lines;
    size_t count, most;
};

static enum MHD_Result take_line(void *arg, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len)
{
    struct line_list *const list = arg;

    (void)kind;
    if (list->count == list->most)
        return MHD_NO;
    list->lines[list->count++] =
        (struct framing_line){ span_of(name, name_len),
                               span_of(value ? value : name + name_len, value_len) };
    return MHD_YES;
}

static bool take_lines(struct MHD_Connection *mhd, struct http_exchange *exchange,
                       const char *method, const char *version, bool *ret_gapless)
{
    const int count = MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, NULL, NULL);
    const union MHD_ConnectionInfo *const info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct line_list list = { .most = count > 0 ? (size_t)count : 0 };

    list.lines = calloc(list.most + 1, sizeof(*list.lines));
    if (list.lines == NULL || info == NULL) {
        free(list.lines);
        return false;
    }
    (void)MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, take_line, &list);
    *ret_gapless = framing_is_gapless(&(struct framing_block){
        span_text(method), strlen(exchange->target), span_text(version), list.lines, list.count,
        (const uint8_t *)method + info->header_size });
    const bool taken = exchange_take_head(exchange, method, list.lines, list.count);
    free(list.lines);
    return taken;
}

/* NULL: the connection is plain. */
static gnutls_session_t session_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *const tls =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    return tls ? tls->tls_session : NULL;
}

static void describe_connection(const struct request_handler *self, struct MHD_Connection *mhd,
                                struct http_exchange *exchange)
{
    struct connection *const connection = connection_of(mhd);

    if (session_of(mhd) && connection->tls_version[0] == '\0')
        tls_describe(session_of(mhd), connection->tls_version, connection->tls_cipher);
    exchange->request.listener = self->listener;
    exchange->client = client_cert_ref(connection->client);
    if (exchange->client)
        exchange->request.client_cert = *client_cert_facts(exchange->client);
    memcpy(exchange->peer, connection->peer, sizeof(exchange->peer));
    memcpy(exchange->tls_version, connection->tls_version, sizeof(exchange->tls_version));
    memcpy(exchange->tls_cipher, connection->tls_cipher, sizeof(exchange->tls_cipher));
}

/* The first door that recognises the request; else the first one, to refuse in its dialect. */
static bool find_door(const struct request_handler *self, struct http_exchange *exchange,
                      bool *ret_recognised)
{
    const struct http_door *door = self->doors;

    while (door->door && !door->door->recognise(&exchange->request))
        door++;
    *ret_recognised = door->door != NULL;
    if (door->door == NULL)
        door = self->doors;
    return door->door == NULL || exchange_set_door(exchange, door);
}

static int check_framing(const struct request_handler *self, const struct framing_head *head,
                         bool gapless, struct framing *ret, struct kms_error *err)
{
    const struct settings *const settings = self->shared->settings;
    const struct framing_limits limits = { (size_t)settings->limits_headers,
                                           (size_t)settings->limits_header };

    if (framing_check(head, &limits, ret, err) < 0)
        return -1;
    if (!gapless)
        return kms_fail(err, KMS_ERR_VALIDATION, "The header lines are malformed");
    return 0;
}

static int fail_too_large(const struct request_handler *self, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_BODY_TOO_LARGE,
                    "The request body is larger than %" PRId64 " bytes",
                    self->shared->settings->limits_body);
}

/* Refusals that leave the connection usable. */
static int check_content(const struct request_handler *self, const struct framing_head *head,
                         const struct framing *framing, bool recognised, struct kms_error *err)
{
    if (framing->length > (uint64_t)self->shared->settings->limits_body)
        return fail_too_large(self, err);
    if (!recognised)
        return kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "There is nothing at this address");
    return framing_content_check(head, err);
}

static enum MHD_Result take_head(const struct request_handler *self, struct MHD_Connection *mhd,
                                 struct http_exchange *exchange, const char *method,
                                 const char *version)
{
    struct kms_error err = { 0 };
    struct framing framing = { 0 };
    bool gapless = false, recognised = false;

    exchange->head_seen = true;
    if (!take_lines(mhd, exchange, method, version, &gapless))
        return MHD_NO; /* out of memory */
    describe_connection(self, mhd, exchange);
    exchange->request.received_ms = clock_wall_ms(self->shared->clock);

    const struct framing_head head = { exchange->request.method, exchange->target, version,
                                       exchange->request.headers, exchange->request.header_count };
    const char *const path = framing_path(exchange->target);
    exchange->request.target = path ? path : "/"; /* never served as such: refused below */
    if (!find_door(self, exchange, &recognised))
        return MHD_NO; /* out of memory */
    if (client_gate_check(connection_of(mhd), session_of(mhd), &err) < 0 ||
        check_framing(self, &head, gapless, &framing, &err) < 0)
        return refuse_now(self, mhd, exchange, &err);
    exchange->expected = framing.length;
    if (check_content(self, &head, &framing, recognised, &err) == 0)
        return MHD_YES;
    if (framing.expects_continue ||
        framing.length > (uint64_t)self->shared->settings->limits_body + DISCARD_MOST)
        return refuse_now(self, mhd, exchange, &err);
    refuse(exchange, &err);
    return MHD_YES;
}

/* The body and the end */

static enum MHD_Result take_body(const struct request_handler *self, struct http_exchange *exchange,
                                 const char *upload, size_t len)
{
    const uint64_t most = (uint64_t)self->shared->settings->limits_body;
    enum MHD_Result result = MHD_YES;

    exchange->body_seen += len;
    if (atomic_load(&exchange->settled)) {
        if (exchange->body_seen > most + DISCARD_MOST)
            result = MHD_NO; /* closed: the library cannot answer in the middle of a body */
    } else if (exchange->body_seen > most) {
        struct kms_error err = { 0 };
        (void)fail_too_large(self, &err);
        refuse(exchange, &err);
    } else if (!exchange_append(exchange, span_of(upload, len), exchange->expected)) {
        result = MHD_NO;
    }
    /*
     * const is the library's promise to us, not ours to it: the bytes lie in the connection's own
     * read buffer, which is writable, and the library only skips over them after this call.
     */
    secret_wipe((void *)(uintptr_t)upload, len);
    return result;
}

static enum MHD_Result take_end(const struct request_handler *self, struct MHD_Connection *mhd,
                                struct http_exchange *exchange)
{
    if (atomic_load(&exchange->settled))
        return send_answer(self, mhd, exchange);
    if (atomic_load(&self->shared->stopped)) {
        struct kms_error err = { 0 };
        (void)kms_fail(&err, KMS_ERR_DEPENDENCY_TIMEOUT, "The service is stopping");
        refuse(exchange, &err);
        return send_answer(self, mhd, exchange);
    }
    exchange->door->door->claim(&exchange->request, exchange->claim);
    exchange->connection = mhd;
    connection_enter(self->shared->connections, connection_of(mhd), CONNECTION_SERVES);
    MHD_suspend_connection(mhd);
    service_submit(self->service, exchange); /* resumed by its first answer */
    return MHD_YES;
}

enum MHD_Result request_part(void *handler, struct MHD_Connection *mhd, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_len, void **exchange)
{
    const struct request_handler *const self = handler;
    const size_t len = *upload_len;

    (void)url; /* decoded by the library: never what was signed */
    if (*exchange == NULL || connection_of(mhd) == NULL)
        return MHD_NO; /* out of memory when it began */
    if (!((struct http_exchange *)*exchange)->head_seen)
        return take_head(self, mhd, *exchange, method, version);
    if (len == 0)
        return take_end(self, mhd, *exchange);
    *upload_len = 0;
    return take_body(self, *exchange, upload, len);
}

void request_done(void *handler, struct MHD_Connection *mhd, void **exchange,
                  enum MHD_RequestTerminationCode how)
{
    const struct request_handler *const self = handler;
    struct http_exchange *const ended = *exchange;

    (void)how;
    *exchange = NULL;
    if (connection_of(mhd))
        connection_enter(self->shared->connections, connection_of(mhd), CONNECTION_WAITS);
    if (ended == NULL)
        return;
    struct service *const service = ended->service;
    exchange_unref(ended); /* the connection's reference */
    if (service)
        service_sent(service);
}
