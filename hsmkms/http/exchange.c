#include "hsmkms/http/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/base/secret.h"
#include "hsmkms/http/client_cert.h"

/* A first block for bodies of unknown length, and the largest that is made on a client's word. */
#define BODY_FIRST_CAP ((size_t)16384)

struct http_exchange *exchange_new(const char *target)
{
    struct http_exchange *const exchange = calloc(1, sizeof(*exchange));

    if (exchange == NULL)
        return NULL;
    exchange->target = strdup(target);
    if (exchange->target == NULL) {
        free(exchange);
        return NULL;
    }
    atomic_init(&exchange->refs, 1);
    atomic_init(&exchange->settled, false);
    exchange->begun_us = clock_mono_us();
    exchange->request.method = "";
    exchange->request.target = exchange->target;
    exchange->request.peer = exchange->peer;
    exchange->request.tls_version = exchange->tls_version;
    exchange->request.tls_cipher = exchange->tls_cipher;
    exchange->request.listener = "";
    exchange->request.client_cert = (struct http_client_cert){ .spki_sha256 = "", .subject = "" };
    return exchange;
}

void exchange_ref(struct http_exchange *exchange)
{
    (void)atomic_fetch_add(&exchange->refs, 1);
}

static void wipe_free(void *ptr, size_t len)
{
    if (ptr)
        secret_wipe(ptr, len);
    free(ptr);
}

void exchange_unref(struct http_exchange *exchange)
{
    if (atomic_fetch_sub(&exchange->refs, 1) != 1)
        return;
    exchange_drop_body(exchange);
    wipe_free(exchange->head, exchange->head_len); /* a header can carry a bearer token */
    wipe_free(exchange->target, strlen(exchange->target));
    if (exchange->state)
        wipe_free(exchange->state, exchange->door->door->state_size);
    answer_drop(&exchange->answer);
    client_cert_unref(exchange->client);
    free(exchange);
}

static size_t trimmed_len(struct span value)
{
    size_t len = value.len;

    while (len && (value.ptr[len - 1] == ' ' || value.ptr[len - 1] == '\t'))
        len--;
    return len;
}

/* Copies bytes and a NUL to *at and moves it on. */
static const char *put_text(char **at, const void *bytes, size_t len)
{
    char *const text = *at;

    if (len)
        memcpy(text, bytes, len);
    text[len] = '\0';
    *at += len + 1;
    return text;
}

bool exchange_take_head(struct http_exchange *exchange, const char *method,
                        const struct framing_line *lines, size_t count)
{
    const size_t table = count * sizeof(struct http_header);
    size_t len = table + strlen(method) + 1;

    for (size_t i = 0; i < count; i++)
        len += lines[i].name.len + lines[i].value.len + 2;

    char *const block = calloc(1, len);
    if (block == NULL)
        return false;
    struct http_header *const headers = (void *)block;
    char *at = block + table;
    exchange->request.method = put_text(&at, method, strlen(method));
    for (size_t i = 0; i < count; i++) {
        headers[i].name = put_text(&at, lines[i].name.ptr, lines[i].name.len);
        headers[i].value = put_text(&at, lines[i].value.ptr, trimmed_len(lines[i].value));
    }
    exchange->head = block;
    exchange->head_len = len;
    exchange->request.headers = headers;
    exchange->request.header_count = count;
    return true;
}

bool exchange_set_door(struct http_exchange *exchange, const struct http_door *door)
{
    const size_t size = door->door->state_size;

    exchange->door = door;
    if (size == 0)
        return true;
    exchange->state = calloc(1, size);
    return exchange->state != NULL;
}

bool exchange_append(struct http_exchange *exchange, struct span bytes, size_t expected)
{
    const size_t need = exchange->body_len + bytes.len; /* both under the body limit */
    size_t cap = exchange->body_cap;

    if (cap == 0)
        cap = expected && expected < BODY_FIRST_CAP ? expected : BODY_FIRST_CAP;
    while (cap < need)
        cap *= 2;
    if (cap != exchange->body_cap) {
        uint8_t *const grown = malloc(cap);
        if (grown == NULL)
            return false;
        if (exchange->body_len)
            memcpy(grown, exchange->body, exchange->body_len);
        wipe_free(exchange->body, exchange->body_len);
        exchange->body = grown;
        exchange->body_cap = cap;
    }
    memcpy(exchange->body + exchange->body_len, bytes.ptr, bytes.len);
    exchange->body_len = need;
    exchange->request.body = span_of(exchange->body, need);
    return true;
}

void exchange_drop_body(struct http_exchange *exchange)
{
    wipe_free(exchange->body, exchange->body_len);
    exchange->body = NULL;
    exchange->body_len = exchange->body_cap = 0;
    exchange->request.body = (struct span){ 0 };
}

bool exchange_settle(struct http_exchange *exchange, const struct http_answer *answer)
{
    if (atomic_exchange(&exchange->settled, true))
        return false;
    exchange->answer = *answer; /* published to the epoll worker by the resume */
    return true;
}

void answer_drop(struct http_answer *answer)
{
    if (answer->body && answer->free_body)
        answer->free_body(answer->body);
    answer->body = NULL;
    answer->body_len = 0;
}

void exchange_refusal(const struct http_exchange *exchange, const struct kms_error *err,
                      struct http_answer *ret)
{
    struct http_answer made = { .status = kms_err_status(err->code), .content_type = "text/plain" };

    if (exchange->door) {
        exchange->door->door->refuse(exchange->door->ctx, err, &made);
    } else {
        made.body = strdup(err->message);
        made.body_len = made.body ? strlen(made.body) : 0;
        made.free_body = free;
    }
    *ret = made;
}

const struct http_request *http_exchange_request(const struct http_exchange *exchange)
{
    return &exchange->request;
}

void *http_exchange_state(struct http_exchange *exchange)
{
    return exchange->state;
}

const char *http_header_find(const struct http_request *request, const char *name)
{
    return framing_header(request->headers, request->header_count, name);
}
