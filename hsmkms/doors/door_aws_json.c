#include "hsmkms/doors/door_aws_json.h"

#include <string.h>
#include <strings.h>

#include "hsmkms/doors/json_front.h"

#define TARGET_PREFIX "TrentService."
#define OPERATION_MAX 64 /* letters of a name; the longest has 35 */
#define CONTENT_TYPE  "application/x-amz-json-1.1"

/* Answers */

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

/* Without memory for a body the status must do. */
static void write_error(const struct kms_error *err, const struct uuid *request_id,
                        struct http_answer *ret)
{
    const struct aws_error_shape shape = aws_error_shape(err);
    struct kms_error unused = { 0 };
    json_auto_t *body = json_object();

    *ret = (struct http_answer){ .status = kms_err_status(err->code) };
    aws_name_answer(request_id, CONTENT_TYPE, ret);
    (void)json_object_set_new(body, "__type", json_string(kms_err_name(shape.code)));
    if (shape.text[0]) /* AWS spells the member of AccessDeniedException with a capital */
        (void)json_object_set_new(body,
                                  err->code == KMS_ERR_ACCESS_DENIED ? "Message" : "message",
                                  json_of_text(shape.text));
    if (json_text(body, &ret->body, &ret->body_len, &unused) < 0)
        ret->body_len = 0;
}

/* An operation without output is answered with an empty body. */
static int write_result(const struct api_call *call, struct http_answer *ret,
                        struct kms_error *err)
{
    *ret = (struct http_answer){ .status = 200 };
    aws_name_answer(&call->request_id, CONTENT_TYPE, ret);
    return call->result ? json_text(call->result, &ret->body, &ret->body_len, err) : 0;
}

/* The request */

static int read_operation(const struct http_request *request, const char **ret,
                          struct kms_error *err)
{
    const size_t prefix = strlen(TARGET_PREFIX);
    const char *const target = http_header_find(request, "x-amz-target");

    if (target == NULL || strncmp(target, TARGET_PREFIX, prefix) != 0 ||
        target[prefix + aws_word_len(target + prefix, OPERATION_MAX)] != '\0')
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

static int read(const struct http_request *request, struct api_call *call, struct kms_error *err)
{
    if (read_operation(request, &call->operation, err) < 0 || check_content(request, err) < 0)
        return -1;
    return json_front(request->body, &call->parameters, err);
}

static const struct aws_dialect dialect = { .service = API_KMS,
                                            .read = read,
                                            .answers = { .write_result = write_result,
                                                         .write_error = write_error } };

static void serve(void *ctx, struct http_exchange *exchange)
{
    aws_call_serve(&dialect, ctx, exchange);
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
    (void)ctx;
    aws_call_refuse(&dialect, err, ret);
}

const struct door door_aws_json = {
    .name = "aws-json",
    .state_size = sizeof(struct door_call),
    .recognise = recognise,
    .serve = serve,
    .refuse = refuse,
    .claim = aws_call_claim,
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

    write_error(&err, &id, &answer);
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
    .claim = aws_call_claim,
};
