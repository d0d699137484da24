#include "hsmkms/audit/record.h"

#include <inttypes.h>
#include <string.h>

#include "hsmkms/base/clock.h"

/* Room taken at once, so that a common record grows its buffer once only. */
#define RECORD_TYPICAL 2048
#define JSON_TYPICAL   512

#define EVENT_VERSION    "1.11"
#define EVENT_SOURCE     "kms.amazonaws.com"
#define SERVICE_ITSELF   "AWS Internal"
#define RESOURCE_TYPE    "AWS::KMS::Key"
#define ARN_ACCOUNT_PART 4 /* arn:aws:kms:REGION:ACCOUNT:key/ID, counted from 0 */

/* A text member and where its value is found; an absent or empty value leaves the member out. */
struct text_member {
    const char *name;
    size_t offset;
};

#define AT(member) OFFSET_OF_TYPE(struct audit_record, member, const char *)

/* clang-format off */
static const struct text_member identity_members[] = {
    { "type",        AT(identity_type) },
    { "principalId", AT(principal_id) },
    { "arn",         AT(arn) },
    { "accountId",   AT(account) },
    { "accessKeyId", AT(access_key_id) },
    { "userName",    AT(user_name) },
};

static const struct text_member origin_members[] = {
    { "sourceIPAddress", AT(source_ip) },
    { "userAgent",       AT(user_agent) },
};

static const struct text_member error_members[] = {
    { "errorCode",    AT(error_code) },
    { "errorMessage", AT(error_message) },
};

static const struct text_member tls_members[] = {
    { "tlsVersion",               AT(tls_version) },
    { "cipherSuite",              AT(tls_cipher) },
    { "clientProvidedHostHeader", AT(host) },
};

static const char *const phase_names[] = {
    [AUDIT_CALL]   = "",
    [AUDIT_INTENT] = "intent",
    [AUDIT_RESULT] = "result",
};
/* clang-format on */

/*
 * Bytes of the UTF-8 sequence that text begins with; 0 when it is none. Overlong forms,
 * surrogates and code points past U+10FFFF are none: RFC 3629 section 4.
 */
static size_t utf8_len(struct span text)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t first = text.ptr[0];
    const size_t len = first < 0x80   ? 1
                       : first < 0xc2 ? 0
                       : first < 0xe0 ? 2
                       : first < 0xf0 ? 3
                       : first < 0xf5 ? 4
                                      : 0;
    if (len < 2 || len > text.len)
        return len == 1;

    uint32_t point = first & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((text.ptr[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (text.ptr[i] & 0x3f);
    }
    return point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : len;
}

/* Bytes at the front of text that stand in a JSON string as they are. */
static size_t plain_len(struct span text)
{
    size_t len = 0;

    while (len < text.len) {
        const uint8_t byte = text.ptr[len];
        size_t step = 1;

        if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f)
            break;
        if (byte >= 0x80)
            step = utf8_len(span_of(text.ptr + len, text.len - len));
        if (step == 0)
            break;
        len += step;
    }
    return len;
}

static void append_escaped_byte(struct buf *ret, uint8_t byte)
{
    if (byte == '"' || byte == '\\')
        buf_append(ret, span_of((const uint8_t[]){ '\\', byte }, 2));
    else if (byte >= 0x80)
        buf_append(ret, SPAN_LITERAL("\\ufffd")); /* no UTF-8: the replacement character */
    else
        buf_printf(ret, "\\u%04x", byte);
}

/* Appends a JSON string (RFC 8259 section 7) of any bytes. */
static void append_string(struct buf *ret, struct span text)
{
    buf_u8(ret, '"');
    while (text.len > 0) {
        struct span plain = { 0 }, odd = { 0 };
        if (span_take(&text, plain_len(text), &plain))
            buf_append(ret, plain);
        if (span_take(&text, 1, &odd))
            append_escaped_byte(ret, odd.ptr[0]);
    }
    buf_u8(ret, '"');
}

/* Begins a member. All objects are begun with '{' as their last byte, so commas find themselves. */
static void append_name(struct buf *ret, const char *name)
{
    const bool comma = ret->len && ret->ptr[ret->len - 1] != '{';
    const size_t len = strlen(name);
    uint8_t *room = buf_room(ret, comma + len + sizeof("\"\":") - 1);

    if (room == NULL)
        return;
    if (comma)
        *room++ = ',';
    *room++ = '"';
    memcpy(room, name, len);
    memcpy(room + len, "\":", 2);
}

static void append_text(struct buf *ret, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    append_name(ret, name);
    append_string(ret, span_text(value));
}

static void append_bool(struct buf *ret, const char *name, bool value)
{
    append_name(ret, name);
    buf_text(ret, value ? "true" : "false");
}

static void append_number(struct buf *ret, const char *name, int64_t value)
{
    append_name(ret, name);
    buf_printf(ret, "%" PRId64, value);
}

static void append_uuid(struct buf *ret, const char *name, const struct uuid *uuid)
{
    append_name(ret, name);
    append_string(ret, span_text(uuid_format(uuid).text));
}

static void append_texts(struct buf *ret, const struct audit_record *record,
                         const struct text_member *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        append_text(ret, rows[i].name, *(const char *const *)((uintptr_t)record + rows[i].offset));
}

#define APPEND_TEXTS(ret, record, rows) append_texts(ret, record, rows, ARRAY_LEN(rows))

/* Writes value into new room of len bytes; the bytes it takes, of which more than len are none. */
static size_t dump(struct buf *ret, const json_t *value, size_t len)
{
    char *const room = (char *)buf_room(ret, len);
    const size_t need = room ? json_dumpb(value, room, len, JSON_COMPACT | JSON_ENCODE_ANY) : 0;

    if (room)
        ret->len -= need <= len ? len - need : len;
    return need;
}

/* Appends a member that jansson writes; NULL is written as null. */
static int append_json(struct buf *ret, const char *name, const json_t *value,
                       struct kms_error *err)
{
    append_name(ret, name);
    if (value == NULL) {
        buf_text(ret, "null");
        return 0;
    }
    size_t need = dump(ret, value, JSON_TYPICAL); /* most fit at once */
    if (need > JSON_TYPICAL)
        need = dump(ret, value, need);
    if (need == 0 && !ret->failed)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "audit member %s cannot be written", name);
    return 0;
}

/* The account that an ARN names, or an empty span. */
static struct span arn_account(const char *arn)
{
    for (int part = 0; part < ARN_ACCOUNT_PART; part++) {
        arn = strchr(arn, ':');
        if (arn == NULL)
            return (struct span){ 0 };
        arn++;
    }
    return span_of(arn, strcspn(arn, ":"));
}

static void append_identity(struct buf *ret, const struct audit_record *record)
{
    append_name(ret, "userIdentity");
    buf_u8(ret, '{');
    if (record->service_event) {
        append_text(ret, "accountId", record->account);
        append_text(ret, "invokedBy", SERVICE_ITSELF);
    } else {
        APPEND_TEXTS(ret, record, identity_members);
    }
    buf_u8(ret, '}');
}

static void append_origin(struct buf *ret, const struct audit_record *record)
{
    if (record->service_event) {
        append_text(ret, "sourceIPAddress", SERVICE_ITSELF);
        append_text(ret, "userAgent", SERVICE_ITSELF);
    } else {
        APPEND_TEXTS(ret, record, origin_members);
    }
}

static void append_resources(struct buf *ret, const struct audit_record *record)
{
    if (record->resource_count == 0)
        return;
    append_name(ret, "resources");
    buf_u8(ret, '[');
    for (size_t i = 0; i < record->resource_count; i++) {
        const struct span account = arn_account(record->resources[i].arn);

        buf_text(ret, i ? ",{" : "{");
        if (account.len) {
            append_name(ret, "accountId");
            append_string(ret, account);
        }
        append_text(ret, "type", RESOURCE_TYPE);
        append_text(ret, "ARN", record->resources[i].arn);
        buf_u8(ret, '}');
    }
    buf_u8(ret, ']');
}

static void append_tls(struct buf *ret, const struct audit_record *record)
{
    if (record->service_event || record->tls_version == NULL || record->tls_version[0] == '\0')
        return;
    append_name(ret, "tlsDetails");
    buf_u8(ret, '{');
    APPEND_TEXTS(ret, record, tls_members);
    buf_u8(ret, '}');
}

/* Members that CloudTrail does not have. */
static void append_ours(struct buf *ret, const struct audit_record *record)
{
    append_text(ret, "phase", phase_names[record->phase]);
    if (record->state_sequence) {
        append_name(ret, "stateSequence");
        buf_printf(ret, "%" PRIu64, record->state_sequence);
    }
    append_text(ret, "keyVersion", record->version_id);
    append_number(ret, "latencyUs", record->latency_us);
}

static int append_parameters(struct buf *ret, const struct audit_record *record,
                             struct kms_error *err)
{
    if (append_json(ret, "requestParameters", record->request_parameters, err) < 0 ||
        append_json(ret, "responseElements", record->response_elements, err) < 0)
        return -1;
    if (record->additional == NULL)
        return 0;
    return append_json(ret, record->service_event ? "serviceEventDetails" : "additionalEventData",
                       record->additional, err);
}

int audit_record_format(const struct audit_record *record, struct buf *ret, struct kms_error *err)
{
    if (buf_room(ret, RECORD_TYPICAL))
        ret->len -= RECORD_TYPICAL;

    buf_u8(ret, '{');
    append_text(ret, "eventVersion", EVENT_VERSION);
    append_identity(ret, record);
    append_text(ret, "eventTime", clock_iso8601(record->time_ms).text);
    append_text(ret, "eventSource", EVENT_SOURCE);
    append_text(ret, "eventName", record->event_name);
    append_text(ret, "awsRegion", record->region);
    append_origin(ret, record);
    if (record->error_code && record->error_code[0] != '\0')
        APPEND_TEXTS(ret, record, error_members);
    if (append_parameters(ret, record, err) < 0)
        return -1;
    if (record->request_id && !record->service_event)
        append_uuid(ret, "requestID", record->request_id);
    append_uuid(ret, "eventID", &record->event_id);
    append_bool(ret, "readOnly", record->read_only);
    append_resources(ret, record);
    append_text(ret, "eventType", record->service_event ? "AwsServiceEvent" : "AwsApiCall");
    append_bool(ret, "managementEvent", true);
    append_text(ret, "recipientAccountId", record->account);
    append_text(ret, "eventCategory", "Management");
    append_tls(ret, record);
    append_ours(ret, record);
    buf_u8(ret, '}');
    return buf_check(ret, err);
}
