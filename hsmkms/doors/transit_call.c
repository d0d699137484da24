#include "hsmkms/doors/transit_call.h"

#include <string.h>

#include "hsmkms/base/json_memory.h"
#include "hsmkms/doors/json_front.h"

#define CONTENT_TYPE "application/json"

/* --- requests --------------------------------------------------------------------------------- */

void transit_set_operation(struct transit_call *t, const char *name, json_t *parameters)
{
    json_decref(t->base.call.parameters);
    t->base.call.operation = name;
    t->base.call.parameters = parameters;
}

int transit_step(struct transit_call *t, const char *operation, json_t *parameters, json_t **ret,
                 struct kms_error *err)
{
    json_auto_t *result = NULL;

    t->stepped = true;
    if (door_call_step(&t->base, operation, parameters, &result, err) < 0)
        return -1;
    if (ret)
        *ret = json_incref(result);
    return 0;
}

struct key *transit_key(const struct transit_call *t)
{
    const struct keyring *const keyring = t->door->keyring;
    struct kms_error unused = { 0 };
    struct key *key = NULL;

    if (strcmp(t->base.call.principal.account, keyring->account) != 0 ||
        keyring_resolve(keyring, t->key_id.text, true, &key, &unused) < 0)
        return NULL;
    return key;
}

const char *transit_tag(const struct key *key, const char *tag_key)
{
    for (size_t i = 0; key && i < key->tag_count; i++)
        if (strcmp(key->tags[i].tag_key, tag_key) == 0)
            return key->tags[i].tag_value;
    return "";
}

static const json_t *member(const json_t *body, const char *name)
{
    const json_t *const value = json_object_get(body, name);

    return json_is_null(value) ? NULL : value;
}

int transit_string(const json_t *body, const char *name, struct span *ret, struct kms_error *err)
{
    const json_t *const value = member(body, name);

    *ret = (struct span){ 0 };
    if (value == NULL)
        return 0;
    if (!json_is_string(value))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s must be a string", name);
    *ret = span_of(json_string_value(value), json_string_length(value));
    return 0;
}

int transit_int(const json_t *body, const char *name, int64_t preset, int64_t *ret,
                struct kms_error *err)
{
    const json_t *const value = member(body, name);

    if (value && !json_is_integer(value))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s must be a number", name);
    *ret = value ? json_integer_value(value) : preset;
    return 0;
}

int transit_bool(const json_t *body, const char *name, bool *ret, struct kms_error *err)
{
    const json_t *const value = member(body, name);

    if (value && !json_is_boolean(value))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s must be true or false", name);
    *ret = json_is_true(value);
    return 0;
}

/* --- answers ---------------------------------------------------------------------------------- */

int transit_bare(json_t *tree, struct http_answer *ret, struct kms_error *err)
{
    json_auto_t *owned = tree;

    if (owned == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    ret->content_type = CONTENT_TYPE;
    ret->free_body = wiping_free;
    return json_text(owned, &ret->body, &ret->body_len, err);
}

int transit_envelope(const struct api_call *call, json_t *data, json_t *auth,
                     struct http_answer *ret, struct kms_error *err)
{
    json_t *const whole =
        json_pack("{s:s, s:s, s:b, s:i, s:o?, s:n, s:n, s:o?}", "request_id",
                  uuid_format(&call->request_id).text, "lease_id", "", "renewable", 0,
                  "lease_duration", 0, "data", data, "wrap_info", "warnings", "auth", auth);

    *ret = (struct http_answer){ .status = 200 };
    return transit_bare(whole, ret, err);
}

static int write_result(const struct api_call *call, struct http_answer *ret, struct kms_error *err)
{
    const struct transit_call *const t = transit_call_of(call);
    json_t *data = NULL;

    if (t->route->write == NULL) {
        *ret = (struct http_answer){ .status = 204 };
        return 0;
    }
    if (t->route->write(t, &data, err) < 0)
        return -1;
    return transit_envelope(call, data, NULL, ret, err);
}

static int write_auth(const struct api_call *call, struct http_answer *ret, struct kms_error *err)
{
    const struct transit_call *const t = transit_call_of(call);
    json_t *auth = NULL;

    if (t->route->write(t, &auth, err) < 0)
        return -1;
    return transit_envelope(call, NULL, auth, ret, err);
}

void transit_error(int status, const char *text, struct http_answer *ret)
{
    struct kms_error unused = { 0 };
    json_t *const list = json_array();

    if (text && text[0]) /* a text that is no UTF-8 is left out: jansson makes no string of it */
        (void)json_array_append_new(list, json_string(text));
    *ret = (struct http_answer){ .status = status };
    if (transit_bare(json_pack("{s:o}", "errors", list), ret, &unused) < 0)
        ret->body_len = 0; /* the status must do */
}

/* What our errors are in this dialect; text NULL: the error's own. Clients look for words. */
static const struct {
    enum kms_err ours;
    int status;
    const char *text;
} errors[] = {
    { KMS_ERR_UNRECOGNIZED_CLIENT, 403, "permission denied" },
    { KMS_ERR_ACCESS_DENIED, 403, "permission denied" },
    { KMS_ERR_NOT_AUTHORIZED, 403, "permission denied" },
    { KMS_ERR_UNKNOWN_OPERATION, 404, "no handler for route. route entry not found." },
    { KMS_ERR_BODY_TOO_LARGE, 413, "request body too large" },
    { KMS_ERR_THROTTLING, 429, "request rate limit exceeded" },
    { KMS_ERR_NOT_FOUND, 400, "encryption key not found" }, /* a 404 would be taken for an object
                                                               that is missing */
    { KMS_ERR_DISABLED, 400, "encryption key is disabled" },
    { KMS_ERR_INVALID_CIPHERTEXT, 400, "cipher: message authentication failed" },
    { KMS_ERR_INCORRECT_KEY, 400, "cipher: message authentication failed" },
    { KMS_ERR_KEY_UNAVAILABLE, 503, "Vault is sealed" },
    { KMS_ERR_DEPENDENCY_TIMEOUT, 503, "Vault is sealed" },
    { KMS_ERR_INTERNAL, 500, "internal error" },
};

/* A request that cannot succeed for a reason of this dialect is run dry, so that it is authorized
 * and recorded as any other; only who would have been served learns the reason. */
static const char *dry_reason(const struct door_dialect *answers)
{
    if (answers == &transit_answers_no_context)
        return "missing 'context' for key derivation; the key was created with derived";
    if (answers == &transit_answers_version)
        return "only the latest version of a key encrypts";
    return NULL;
}

struct transit_failure transit_failure(const struct kms_error *err,
                                       const struct door_dialect *answers)
{
    const enum kms_err code = err->code >= KMS_ERR_CONFIG ? KMS_ERR_INTERNAL : err->code;
    const char *const reason = code == KMS_ERR_DRY_RUN ? dry_reason(answers) : NULL;

    if (reason)
        return (struct transit_failure){ 400, reason };
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        if (errors[i].ours == code)
            return (struct transit_failure){ errors[i].status, errors[i].text };
    return (struct transit_failure){ kms_err_status(code), err->message };
}

static void write_failure(const struct kms_error *err, const struct door_dialect *answers,
                          struct http_answer *ret)
{
    const struct transit_failure failure = transit_failure(err, answers);

    transit_error(failure.status, failure.text, ret);
}

static void write_error(const struct kms_error *err, const struct uuid *request_id,
                        struct http_answer *ret)
{
    (void)request_id; /* an error has no place for it */
    write_failure(err, &transit_answers, ret);
}

static void write_error_reading(const struct kms_error *err, const struct uuid *request_id,
                                struct http_answer *ret)
{
    if (err->code == KMS_ERR_NOT_FOUND)
        transit_error(404, NULL, ret);
    else
        write_error(err, request_id, ret);
}

static void write_error_no_context(const struct kms_error *err, const struct uuid *request_id,
                                   struct http_answer *ret)
{
    (void)request_id;
    write_failure(err, &transit_answers_no_context, ret);
}

static void write_error_version(const struct kms_error *err, const struct uuid *request_id,
                                struct http_answer *ret)
{
    (void)request_id;
    write_failure(err, &transit_answers_version, ret);
}

const struct door_dialect transit_answers = { write_result, write_error };
const struct door_dialect transit_answers_auth = { write_auth, write_error };
const struct door_dialect transit_answers_reading = { write_result, write_error_reading };
const struct door_dialect transit_answers_no_context = { write_result, write_error_no_context };
const struct door_dialect transit_answers_version = { write_result, write_error_version };
