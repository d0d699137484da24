#include "hsmkms/doors/door_sts.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hsmkms/base/json_memory.h"
#include "hsmkms/doors/query_form.h"

#define FORM_TYPE     "application/x-www-form-urlencoded"
#define XML_TYPE      "text/xml"
#define NAMESPACE     "https://sts.amazonaws.com/doc/2011-06-15/"
#define VERSION       "2011-06-15"

/* --- XML -------------------------------------------------------------------------------------- */

/* Text of an element: XML 1.0 section 2.4; control characters cannot stand in XML at all. */
static void append_escaped(struct buf *ret, const char *text)
{
    for (; *text; text++) {
        if (strncmp(text, "\xef\xbf\xbe", 3) == 0 || strncmp(text, "\xef\xbf\xbf", 3) == 0) {
            buf_u8(ret, '?'); /* U+FFFE and U+FFFF, which are no characters of XML */
            text += 2;
            continue;
        }
        switch (*text) {
        case '<':
            buf_text(ret, "&lt;");
            break;
        case '>':
            buf_text(ret, "&gt;");
            break;
        case '&':
            buf_text(ret, "&amp;");
            break;
        case '"':
            buf_text(ret, "&quot;");
            break;
        default:
            buf_u8(ret, (uint8_t)((uint8_t)*text < 0x20 ? '?' : *text));
        }
    }
}

static void append_element(struct buf *ret, const char *name, const char *text)
{
    buf_printf(ret, "<%s>", name);
    append_escaped(ret, text);
    buf_printf(ret, "</%s>", name);
}

/* Members of a result; its structures have one level inside. */
static void append_members(struct buf *ret, json_t *object)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (json_is_string(value))
            append_element(ret, name, json_string_value(value));
        else if (json_is_integer(value))
            buf_printf(ret, "<%s>%" JSON_INTEGER_FORMAT "</%s>", name, json_integer_value(value),
                       name);
    }
}

static void append_result(struct buf *ret, json_t *result)
{
    const char *name;
    json_t *value;

    append_members(ret, result);
    json_object_foreach(result, name, value)
    {
        if (!json_is_object(value))
            continue;
        buf_printf(ret, "<%s>", name);
        append_members(ret, value);
        buf_printf(ret, "</%s>", name);
    }
}

/* Hands the text over to an answer, as memory that wipes itself: it may carry a secret. */
static int hand_over(struct buf *text, struct http_answer *ret, struct kms_error *err)
{
    char *body = NULL;

    if (buf_check(text, err) < 0)
        return -1;
    body = wiping_malloc(text->len);
    if (body == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    memcpy(body, text->ptr, text->len);
    secret_wipe(text->ptr, text->len);
    ret->body = body;
    ret->body_len = text->len;
    return 0;
}

#define XML_ROOM 16384 /* reserved at once, so that a growing buffer leaves no copy behind */

static int write_result(const struct api_call *call, struct http_answer *ret,
                        struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    if (buf_room(&text, XML_ROOM))
        buf_clear(&text);
    buf_printf(&text, "<%sResponse xmlns=\"" NAMESPACE "\"><%sResult>", call->operation,
               call->operation);
    append_result(&text, call->result);
    buf_printf(&text,
               "</%sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata>"
               "</%sResponse>",
               call->operation, uuid_format(&call->request_id).text, call->operation);
    *ret = (struct http_answer){ .status = 200 };
    aws_name_answer(&call->request_id, XML_TYPE, ret);
    return hand_over(&text, ret, err);
}

/* What our errors are called in this dialect. Source: AWS STS API Reference, Common Errors. */
static const struct {
    enum kms_err ours;
    const char *code;
    int status;
} errors[] = {
    { KMS_ERR_MISSING_TOKEN, "MissingAuthenticationToken", 403 },
    { KMS_ERR_INCOMPLETE_SIGNATURE, "IncompleteSignature", 400 },
    { KMS_ERR_INVALID_SIGNATURE, "SignatureDoesNotMatch", 403 },
    { KMS_ERR_UNRECOGNIZED_CLIENT, "InvalidClientTokenId", 403 },
    { KMS_ERR_EXPIRED_TOKEN, "ExpiredToken", 403 },
    { KMS_ERR_ACCESS_DENIED, "AccessDenied", 403 },
    { KMS_ERR_UNKNOWN_OPERATION, "InvalidAction", 400 },
    { KMS_ERR_SERIALIZATION, "MalformedQueryString", 400 },
    { KMS_ERR_VALIDATION, "ValidationError", 400 },
    { KMS_ERR_NOT_FOUND, "ValidationError", 400 },
    { KMS_ERR_MALFORMED_POLICY, "MalformedPolicyDocument", 400 },
    { KMS_ERR_PACKED_POLICY_TOO_LARGE, "PackedPolicyTooLarge", 400 },
    { KMS_ERR_THROTTLING, "Throttling", 400 },
    { KMS_ERR_BODY_TOO_LARGE, "RequestEntityTooLarge", 413 },
    { KMS_ERR_INTERNAL, "InternalFailure", 500 },
};

static size_t row_of(enum kms_err code)
{
    size_t i = 0;

    while (i < ARRAY_LEN(errors) - 1 && errors[i].ours != code)
        i++;
    return i; /* the last row for whatever has none */
}

static void write_error(const struct kms_error *err, const struct uuid *request_id,
                        struct http_answer *ret)
{
    const struct aws_error_shape shape = aws_error_shape(err);
    const size_t row = row_of(shape.code);
    struct kms_error unused = { 0 };
    AUTO(buf) text = { 0 };

    buf_printf(&text, "<ErrorResponse xmlns=\"" NAMESPACE "\"><Error><Type>%s</Type>",
               errors[row].status < 500 ? "Sender" : "Receiver");
    append_element(&text, "Code", errors[row].code);
    append_element(&text, "Message", shape.text);
    buf_printf(&text, "</Error><RequestId>%s</RequestId></ErrorResponse>",
               uuid_format(request_id).text);
    *ret = (struct http_answer){ .status = errors[row].status };
    aws_name_answer(request_id, XML_TYPE, ret);
    if (hand_over(&text, ret, &unused) < 0)
        ret->body_len = 0; /* the status must do */
}

/* --- requests --------------------------------------------------------------------------------- */

/* A form has strings only: what is a number becomes one, where it looks like one. */
static void make_number(json_t *parameters, const char *name)
{
    const char *const text = json_string_value(json_object_get(parameters, name));
    const size_t len = text ? strlen(text) : 0;

    if (len > 0 && len <= 9 && strspn(text, "0123456789") == len)
        (void)json_object_set_new(parameters, name, json_integer(strtol(text, NULL, 10)));
}

/* [{"arn": "a"}] becomes ["a"]: the structure has no other member. */
static void flatten(json_t *parameters, const char *name, const char *member)
{
    json_t *const list = json_object_get(parameters, name);

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *const value = json_object_get(json_array_get(list, i), member);
        if (json_is_string(value))
            (void)json_array_set(list, i, value);
    }
}

/* The name of the operation's row: a constant. */
static int read_operation(json_t *parameters, const char **ret, struct kms_error *err)
{
    const char *const action = json_string_value(json_object_get(parameters, "Action"));
    const char *const version = json_string_value(json_object_get(parameters, "Version"));

    if (action == NULL || (version && strcmp(version, VERSION) != 0))
        return kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "Could not find operation for version %s",
                        VERSION);
    for (size_t i = 0; api_operation_name(i); i++) {
        if (strcmp(api_operation_name(i), action) == 0) {
            *ret = api_operation_name(i);
            return 0;
        }
    }
    return kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "Could not find operation for version %s",
                    VERSION);
}

static int read(const struct http_request *request, struct api_call *call, struct kms_error *err)
{
    json_auto_t *parameters = NULL;

    if (query_form_parse(request->body, &parameters, err) < 0 ||
        read_operation(parameters, &call->operation, err) < 0)
        return -1;
    (void)json_object_del(parameters, "Action");
    (void)json_object_del(parameters, "Version");
    make_number(parameters, "DurationSeconds");
    flatten(parameters, "PolicyArns", "arn");
    call->parameters = json_incref(parameters);
    return 0;
}

static const struct aws_dialect dialect = { .service = API_STS,
                                            .read = read,
                                            .answers = { .write_result = write_result,
                                                         .write_error = write_error } };

static void serve(void *ctx, struct http_exchange *exchange)
{
    aws_call_serve(&dialect, ctx, exchange);
}

static bool recognise(const struct http_request *request)
{
    const char *const type = http_header_find(request, "content-type");
    const size_t len = strlen(FORM_TYPE);

    return strcmp(request->method, "POST") == 0 &&
           (strcmp(request->target, "/") == 0 || strcmp(request->target, "/?") == 0) && type &&
           strncasecmp(type, FORM_TYPE, len) == 0 &&
           (type[len] == '\0' || type[len] == ';' || type[len] == ' ');
}

static void refuse(void *ctx, const struct kms_error *err, struct http_answer *ret)
{
    (void)ctx;
    aws_call_refuse(&dialect, err, ret);
}

const struct door door_sts = {
    .name = "sts",
    .state_size = sizeof(struct door_call),
    .recognise = recognise,
    .serve = serve,
    .refuse = refuse,
    .claim = aws_call_claim,
};
