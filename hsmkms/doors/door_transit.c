#include "hsmkms/doors/door_transit.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "hsmkms/doors/json_front.h"
#include "hsmkms/doors/transit_call.h"
#include "hsmkms/iam/cert_binding.h"

/* --- mounts ----------------------------------------------------------------------------------- */

/* The next of blank-separated words; an empty one at the end. */
static struct span next_word(const char **rest)
{
    const char *const start = *rest + strspn(*rest, " ");
    const size_t len = strcspn(start, " ");

    *rest = start + len;
    return span_of(start, len);
}

static bool is_mount(const char *mounts, struct span name)
{
    for (struct span word = next_word(&mounts); word.len; word = next_word(&mounts))
        if (span_equal(word, name))
            return true;
    return false;
}

int door_transit_check_mounts(const char *mounts, struct kms_error *err)
{
    size_t count = 0;

    for (struct span word = next_word(&mounts); word.len; word = next_word(&mounts), count++)
        if (!transit_name_valid(word) || span_equal(word, SPAN_LITERAL("sys")) ||
            span_equal(word, SPAN_LITERAL("auth")))
            return kms_fail(err, KMS_ERR_CONFIG, "transit.mounts: '%.*s' cannot be a mount",
                            (int)word.len, (const char *)word.ptr);
    if (count == 0)
        return kms_fail(err, KMS_ERR_CONFIG, "transit.mounts names no mount");
    return 0;
}

/* --- routes ----------------------------------------------------------------------------------- */

static unsigned method_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned method;
    } rows[] = { { "GET", TRANSIT_GET },   { "HEAD", TRANSIT_HEAD },     { "POST", TRANSIT_WRITE },
                 { "PUT", TRANSIT_WRITE }, { "DELETE", TRANSIT_DELETE }, { "LIST", TRANSIT_LIST } };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].method;
    return 0;
}

/* Whether the path is the route's; ret_name: what stands for the last '*', or nothing. */
static bool fits(const struct transit_route *route, const struct transit_path *path,
                 struct span *ret_name)
{
    const char *rest = route->path;
    size_t at = route->in_mount ? 1 : 0;

    for (; *rest && at < path->count; at++) {
        const size_t len = strcspn(rest, "/");
        if (*rest == '*')
            *ret_name = path->segments[at];
        else if (!span_equal(path->segments[at], span_of(rest, len)))
            return false;
        rest += len + (rest[len] == '/');
    }
    return *rest == '\0' && at == path->count;
}

/* The table's first route that fits; ret_known: some route of another method does. */
static const struct transit_route *route_in(const struct transit_route *table,
                                            struct transit_call *t, unsigned method,
                                            bool *ret_known)
{
    const bool in_mount = is_mount(t->door->mounts, t->path.segments[0]);

    for (const struct transit_route *route = table; route->path; route++) {
        struct span name = { 0 };
        if (route->in_mount != in_mount || !fits(route, &t->path, &name))
            continue;
        *ret_known = true;
        if ((route->methods & method) == 0)
            continue;
        t->name = name;
        return route;
    }
    return NULL;
}

/* A path that is known, but not with this method. */
static int refuse_method(struct transit_call *t, struct kms_error *err)
{
    transit_error(405, "unsupported operation", &t->base.answer);
    t->base.answered = KMS_ERR_UNKNOWN_OPERATION;
    return kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "%s", "");
}

static int find_route(struct transit_call *t, const struct http_request *request,
                      struct kms_error *err)
{
    const struct transit_route *const tables[] = { transit_crypto_routes, transit_key_routes,
                                                   transit_sys_routes };
    const unsigned method = method_of(request->method);
    bool known = false;

    if (transit_path_parse(span_text(request->target), &t->path, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(tables) && t->route == NULL; i++)
        t->route = route_in(tables[i], t, method, &known);
    if (t->route == NULL)
        return known ? refuse_method(t, err) : kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "%s", "");
    if (t->path.query.ptr && t->path.query.len && !t->route->query)
        return kms_fail(err, KMS_ERR_VALIDATION, "unexpected query");
    if (t->name.len && !transit_name_valid(t->name))
        return kms_fail(err, KMS_ERR_VALIDATION, "malformed key name");
    if (t->name.len)
        t->key_id = transit_key_id(t->name);
    t->base.dialect = t->route->answers;
    return 0;
}

/* --- who asks --------------------------------------------------------------------------------- */

/* The token that a header line carries, if it is one that can. */
static struct span token_in(const struct http_header *header)
{
    static const char bearer[] = "Bearer ";

    if (strcasecmp(header->name, "x-vault-token") == 0)
        return span_text(header->value);
    if (strcasecmp(header->name, "authorization") == 0 &&
        strncasecmp(header->value, bearer, strlen(bearer)) == 0)
        return span_text(header->value + strlen(bearer));
    return (struct span){ 0 };
}

/*
 * Gateways send their token twice, or an empty one beside a certificate. Two that differ are
 * refused: nobody says which is meant.
 */
static int take_token(const struct http_request *request, struct span *ret, struct kms_error *err)
{
    struct span token = { 0 };

    for (size_t i = 0; i < request->header_count; i++) {
        const struct span found = token_in(&request->headers[i]);
        if (found.len == 0)
            continue;
        if (token.len && !span_equal(token, found))
            return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT, "Two tokens were sent.");
        token = found;
    }
    *ret = token;
    return 0;
}

/* There is one namespace, the root. */
static int check_namespace(const struct http_request *request, struct kms_error *err)
{
    const char *const name = http_header_find(request, "x-vault-namespace");

    if (name == NULL || name[0] == '\0' || strcmp(name, "/") == 0 || strcmp(name, "root") == 0 ||
        strcmp(name, "root/") == 0)
        return 0;
    return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT, "There is no such namespace.");
}

/* A token that is not good is refused, whatever certificate comes with it. */
static int authenticate(struct transit_call *t, const struct http_request *request,
                        struct kms_error *err)
{
    struct principal *const principal = &t->base.call.principal;

    if (check_namespace(request, err) < 0)
        return -1;
    if (t->route->access == TRANSIT_OPEN)
        return 0;
    if (take_token(request, &t->token, err) < 0)
        return -1;
    if (t->token.len)
        return door_token_use(t->door->iam, t->token, &t->facts, principal, err);
    if (!request->client_cert.verified)
        return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT, "No token was sent.");
    return cert_principal(t->door->iam, request->client_cert.spki_sha256, principal, err);
}

/* --- the door --------------------------------------------------------------------------------- */

static int read_request(struct transit_call *t, const struct http_request *request,
                        struct kms_error *err)
{
    json_auto_t *body = NULL;

    if (find_route(t, request, err) < 0 || authenticate(t, request, err) < 0)
        return -1;
    if ((t->route->methods & TRANSIT_WRITE) && json_front(request->body, &body, err) < 0)
        return -1;
    return t->route->prepare(t, body, err);
}

static void serve(void *ctx, struct http_exchange *exchange)
{
    const struct door_transit *const door = ctx;
    struct transit_call *const t = http_exchange_state(exchange);
    struct api_call *const call = &t->base.call;
    const struct door_call_config config = { &transit_answers, door->api, door->log, API_KMS };

    door_call_begin(&t->base, &config, exchange);
    t->door = door;
    const bool read = read_request(t, http_exchange_request(exchange), &call->err) == 0;
    if (!read && !t->stepped)
        door_call_refuse(&t->base);
    else if (read && call->operation[0])
        door_call_run(&t->base);
    else
        door_call_end(&t->base);
}

/* Which paths are mounts is not known yet: every path of Vault's API is taken. */
static bool recognise(const struct http_request *request)
{
    return strncmp(request->target, "/v1/", 4) == 0;
}

/* Nothing is proven yet: who asks is the address. */
static void claim(const struct http_request *request, char ret[64])
{
    (void)snprintf(ret, 64, "%s", request->peer);
}

static void refuse(void *ctx, const struct kms_error *err, struct http_answer *ret)
{
    (void)ctx;
    transit_answers.write_error(err, NULL, ret);
}

const struct door door_transit = {
    .name = "transit",
    .state_size = sizeof(struct transit_call),
    .recognise = recognise,
    .serve = serve,
    .refuse = refuse,
    .claim = claim,
};
