#include <stdio.h>
#include <string.h>

#include "hsmkms/base/json_memory.h"
#include "hsmkms/doors/json_front.h"
#include "hsmkms/doors/kes_parts.h"
#include "hsmkms/iam/cert_binding.h"

#define CONTENT_TYPE "application/json"

/* clang-format off */
static const struct kes_member generated[] = { { "plaintext", "Plaintext" },
                                               { "ciphertext", "CiphertextBlob" }, { 0 } };
static const struct kes_member encrypted[] = { { "ciphertext", "CiphertextBlob" }, { 0 } };
static const struct kes_member decrypted[] = { { "plaintext", "Plaintext" }, { 0 } };
static const struct kes_member computed[] = { { "hmac", "Mac" }, { 0 } };

/* Source: MinIO KES, Server API. */
const struct kes_route kes_routes[] = {
    /* path                        argument     verbs       who            serve         answer */
    { "/version",                  KES_NOTHING, KES_GET,    KES_EVERYBODY, kes_version,  NULL },
    { "/v1/ready",                 KES_NOTHING, KES_GET,    KES_PROBES,    kes_ready,    NULL },
    { "/v1/status",                KES_NOTHING, KES_GET,    KES_PROBES,    kes_status,   NULL },
    { "/v1/metrics",               KES_NOTHING, KES_GET,    KES_PROBES,    kes_metrics,  NULL },
    { "/v1/api",                   KES_NOTHING, KES_GET,    KES_KNOWN,     kes_api,      NULL },
    { "/v1/key/create",            KES_NAME,    KES_WRITE,  KES_KNOWN,     kes_create,   NULL },
    { "/v1/key/describe",          KES_NAME,    KES_GET,    KES_KNOWN,     kes_describe, NULL },
    { "/v1/key/delete",            KES_NAME,    KES_DELETE, KES_KNOWN,     kes_delete,   NULL },
    { "/v1/key/list",              KES_PREFIX,  KES_GET,    KES_KNOWN,     kes_list,     NULL },
    { "/v1/key/generate",          KES_NAME,    KES_WRITE,  KES_KNOWN,     kes_generate, generated },
    { "/v1/key/encrypt",           KES_NAME,    KES_WRITE,  KES_KNOWN,     kes_encrypt,  encrypted },
    { "/v1/key/decrypt",           KES_NAME,    KES_WRITE,  KES_KNOWN,     kes_decrypt,  decrypted },
    { "/v1/key/hmac",              KES_NAME,    KES_WRITE,  KES_KNOWN,     kes_hmac,     computed },
    { "/v1/identity/self/describe", KES_NOTHING, KES_GET,   KES_KNOWN,     kes_self,     NULL },

    /* 501 lets MinIO go on where any other error would end its start */
    { "/v1/key/import",            KES_ANY,     KES_ANY_VERB, KES_KNOWN,   kes_not_offered, NULL },
    { "/v1/key/bulk",              KES_ANY,     KES_ANY_VERB, KES_KNOWN,   kes_not_offered, NULL },
    { "/v1/policy",                KES_ANY,     KES_ANY_VERB, KES_KNOWN,   kes_not_offered, NULL },
    { "/v1/identity",              KES_ANY,     KES_ANY_VERB, KES_KNOWN,   kes_not_offered, NULL },
    { "/v1/secret",                KES_ANY,     KES_ANY_VERB, KES_KNOWN,   kes_not_offered, NULL },
    { "/v1/log",                   KES_ANY,     KES_ANY_VERB, KES_KNOWN,   kes_not_offered, NULL },
    { 0 },
};

#define NOT_ALLOWED   { 403, "not authorized: insufficient permissions" }
#define NOT_AUTHENTIC { 400, "decryption failed: ciphertext is not authentic" }

/* Clients compare status and text. A message that is NULL is the error's own. */
static const struct {
    enum kms_err ours;
    struct kes_fault theirs;
} faults[] = {
    { KMS_ERR_NOT_FOUND,           { 404, "key does not exist" } },
    { KMS_ERR_ALREADY_EXISTS,      { 400, "key already exists" } },
    { KMS_ERR_ACCESS_DENIED,       NOT_ALLOWED },
    { KMS_ERR_UNRECOGNIZED_CLIENT, NOT_ALLOWED },
    { KMS_ERR_DISABLED,            NOT_ALLOWED },
    { KMS_ERR_INVALID_STATE,       NOT_ALLOWED },
    { KMS_ERR_MISSING_TOKEN,       { 400, "a client certificate is required" } },
    { KMS_ERR_INVALID_CIPHERTEXT,  NOT_AUTHENTIC },
    { KMS_ERR_INCORRECT_KEY,       NOT_AUTHENTIC },
    { KMS_ERR_UNKNOWN_OPERATION,   { 404, "not found" } },
    { KMS_ERR_BODY_TOO_LARGE,      { 413, NULL } },
    { KMS_ERR_THROTTLING,          { 429, NULL } },
    { KMS_ERR_KEY_UNAVAILABLE,     { 503, "key store is not reachable" } },
    { KMS_ERR_DEPENDENCY_TIMEOUT,  { 503, "key store is not reachable" } },
    { KMS_ERR_INTERNAL,            { 500, "internal error" } },
};
/* clang-format on */

/* --- answers ---------------------------------------------------------------------------------- */

/* Takes the tree over; without memory the status must do. */
static void write_tree(int status, json_t *tree, struct http_answer *ret)
{
    struct kms_error unused = { 0 };

    *ret = (struct http_answer){ .status = tree ? status : 500, .free_body = wiping_free };
    if (tree && json_text(tree, &ret->body, &ret->body_len, &unused) == 0)
        ret->content_type = CONTENT_TYPE;
    json_decref(tree);
}

static void write_fault(struct kes_fault fault, struct http_answer *ret)
{
    write_tree(fault.status, json_pack("{s:s}", "message", fault.message), ret);
}

static struct kes_fault fault_of(const struct kms_error *err)
{
    const bool ours = err->code >= KMS_ERR_CONFIG;

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        const struct kes_fault theirs = faults[i].theirs;
        if (faults[i].ours == (ours ? KMS_ERR_INTERNAL : err->code))
            return theirs.message ? theirs : (struct kes_fault){ theirs.status, err->message };
    }
    return (struct kes_fault){ 400, err->message[0] ? err->message : kms_err_name(err->code) };
}

static void write_error(const struct kms_error *err, const struct uuid *request_id,
                        struct http_answer *ret)
{
    (void)request_id; /* clients of KES know none */
    write_fault(fault_of(err), ret);
}

static const struct kes_call *call_of(const struct api_call *call)
{
    return (const struct kes_call *)(const void *)call; /* first of the first */
}

static int write_result(const struct api_call *call, struct http_answer *ret, struct kms_error *err)
{
    json_auto_t *body = json_object();

    for (const struct kes_member *m = call_of(call)->route->members; m && m->theirs; m++)
        (void)json_object_set(body, m->theirs, json_object_get(call->result, m->ours));
    *ret = (struct http_answer){ .status = 200,
                                 .content_type = CONTENT_TYPE,
                                 .free_body = wiping_free };
    return json_text(body, &ret->body, &ret->body_len, err);
}

static void count_answer(const struct door_call *state)
{
    struct door_kes *const door = ((const struct kes_call *)(const void *)state)->door;
    const int status = state->answer.status;

    (void)atomic_fetch_add(&door->answered[status >= 500 ? 2 : status >= 400 ? 1 : 0], 1);
}

static const struct door_dialect dialect = { .write_result = write_result,
                                             .write_error = write_error };

void kes_fail(struct kes_call *call, struct kes_fault fault)
{
    write_fault(fault, &call->base.answer);
    door_call_end(&call->base);
}

void kes_answer(struct kes_call *call, json_t *tree)
{
    write_tree(200, tree, &call->base.answer);
    door_call_end(&call->base);
}

void kes_answer_empty(struct kes_call *call)
{
    call->base.answer = (struct http_answer){ .status = 200 };
    door_call_end(&call->base);
}

void kes_end(struct kes_call *call)
{
    if (call->base.call.err.code == KMS_ERR_NONE) /* never a success by mistake */
        (void)kms_fail_detail(&call->base.call.err, KMS_ERR_INTERNAL, "failed without a reason");
    door_call_end(&call->base);
}

/* --- who and for what ------------------------------------------------------------------------- */

static const struct kes_route *find_route(const char *target, char ret[KES_SEGMENT_MAX + 1])
{
    for (const struct kes_route *route = kes_routes; route->path; route++)
        if (kes_path_matches(target, route->path, route->argument, ret))
            return route;
    return NULL;
}

static int identify(struct kes_call *call, const struct http_request *request,
                    struct kms_error *err)
{
    struct principal *const principal = &call->base.call.principal;
    const char *const spki = request->client_cert.spki_sha256;

    if (spki == NULL || spki[0] == '\0')
        return kms_fail(err, KMS_ERR_MISSING_TOKEN, "There is no client certificate.");
    const int known = cert_principal(call->door->config.iam, spki, principal, err);
    /* what was used to prove who it is, for the audit trail */
    (void)snprintf(principal->access_key_id, sizeof(principal->access_key_id), "%s", spki);
    return known;
}

static bool must_be_known(const struct kes_call *call)
{
    const enum kes_access access = call->route->access;

    return access == KES_KNOWN || (access == KES_PROBES && !call->door->config.open_probes);
}

static void serve_route(struct kes_call *call, const struct http_request *request)
{
    if (!kes_verb_fits(call->route->verbs, request->method)) {
        kes_fail(call, (struct kes_fault){ 405, "method not allowed" });
        return;
    }
    if (must_be_known(call) && identify(call, request, &call->base.call.err) < 0) {
        door_call_refuse(&call->base);
        return;
    }
    if (call->route->argument == KES_NAME && !kes_name_valid(call->argument)) {
        kes_fail(call, (struct kes_fault){ 400, "key name is invalid" });
        return;
    }
    call->route->serve(call);
}

static void serve(void *ctx, struct http_exchange *exchange)
{
    struct kes_call *const call = http_exchange_state(exchange);
    const struct http_request *const request = http_exchange_request(exchange);

    call->door = ctx;
    door_call_begin(&call->base,
                    &(struct door_call_config){ &dialect, call->door->config.api,
                                                call->door->config.log, API_KMS },
                    exchange);
    call->base.leaving = count_answer;
    call->route = find_route(request->target, call->argument);
    if (call->route)
        serve_route(call, request);
    else
        kes_fail(call, (struct kes_fault){ 404, "not found" });
}

static bool recognise_all(const struct http_request *request)
{
    (void)request;
    return true;
}

static bool recognise(const struct http_request *request)
{
    char unused[KES_SEGMENT_MAX + 1];

    return find_route(request->target, unused) != NULL;
}

static void refuse(void *ctx, const struct kms_error *err, struct http_answer *ret)
{
    (void)ctx;
    write_fault(fault_of(err), ret);
}

/* The key of a certificate is proven; without one, only the address is known. */
static void claim(const struct http_request *request, char ret[64])
{
    const char *const spki = request->client_cert.spki_sha256;

    (void)snprintf(ret, 64, "%s", spki && spki[0] ? spki : request->peer);
}

#define DOOR(which)                                                                                \
    {                                                                                              \
        .name = "kes", .state_size = sizeof(struct kes_call), .recognise = which, .serve = serve,  \
        .refuse = refuse, .claim = claim                                                           \
    }

const struct door door_kes = DOOR(recognise_all);
const struct door door_kes_shared = DOOR(recognise);

/* --- start and end ---------------------------------------------------------------------------- */

void door_kes_init(const struct door_kes_config *config, struct door_kes *ret)
{
    ret->config = *config;
    ret->started_us = clock_mono_us();
    (void)pthread_mutex_init(&ret->creating, NULL); /* cannot fail with default attributes */
}

void door_kes_done(struct door_kes *door)
{
    if (door->started_us)
        (void)pthread_mutex_destroy(&door->creating);
}
