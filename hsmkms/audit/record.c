#include "hsmkms/audit/record.h"

#include <inttypes.h>
#include <string.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/base/json_text.h"

/* Room taken at once, so that a common record grows its buffer once only. */
#define RECORD_TYPICAL 2048

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
    json_text_append_string(ret, span_text(value));
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
    json_text_append_string(ret, span_text(uuid_format(uuid).text));
}

static void append_texts(struct buf *ret, const struct audit_record *record,
                         const struct text_member *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        append_text(ret, rows[i].name, *(const char *const *)((uintptr_t)record + rows[i].offset));
}

#define APPEND_TEXTS(ret, record, rows) append_texts(ret, record, rows, ARRAY_LEN(rows))

/* Appends a member that is a tree; NULL is written as null. */
static void append_json(struct buf *ret, const char *name, const json_t *value)
{
    append_name(ret, name);
    if (value)
        json_text_append(ret, value);
    else
        buf_text(ret, "null");
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

/* Source: AWS CloudTrail User Guide, CloudTrail userIdentity element. */
static void append_session(struct buf *ret, const struct audit_record *record)
{
    if (record->session_created_ms == 0)
        return;
    append_name(ret, "sessionContext");
    buf_u8(ret, '{');
    if (record->issuer_id) {
        append_name(ret, "sessionIssuer");
        buf_u8(ret, '{');
        append_text(ret, "type", "Role");
        append_text(ret, "principalId", record->issuer_id);
        append_text(ret, "arn", record->issuer_arn);
        append_text(ret, "accountId", record->account);
        append_text(ret, "userName", record->issuer_name);
        buf_u8(ret, '}');
    }
    append_name(ret, "attributes");
    buf_u8(ret, '{');
    append_text(ret, "creationDate", clock_iso8601(record->session_created_ms).text);
    append_text(ret, "mfaAuthenticated", "false");
    buf_text(ret, "}}");
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
        append_session(ret, record);
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
            json_text_append_string(ret, account);
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
    append_text(ret, "decidedBy", record->decided_by);
    append_number(ret, "latencyUs", record->latency_us);
}

static void append_parameters(struct buf *ret, const struct audit_record *record)
{
    append_json(ret, "requestParameters", record->request_parameters);
    append_json(ret, "responseElements", record->response_elements);
    if (record->additional)
        append_json(ret, record->service_event ? "serviceEventDetails" : "additionalEventData",
                    record->additional);
}

int audit_record_format(const struct audit_record *record, struct buf *ret, struct kms_error *err)
{
    if (buf_room(ret, RECORD_TYPICAL))
        ret->len -= RECORD_TYPICAL;

    buf_u8(ret, '{');
    append_text(ret, "eventVersion", EVENT_VERSION);
    append_identity(ret, record);
    append_text(ret, "eventTime", clock_iso8601(record->time_ms).text);
    append_text(ret, "eventSource", record->event_source ? record->event_source : EVENT_SOURCE);
    append_text(ret, "eventName", record->event_name);
    append_text(ret, "awsRegion", record->region);
    append_origin(ret, record);
    if (record->error_code && record->error_code[0] != '\0')
        APPEND_TEXTS(ret, record, error_members);
    append_parameters(ret, record);
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
