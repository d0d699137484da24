#include "hsmkms/api/audit_call.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "hsmkms/iam/session.h"
#include "hsmkms/keys/regions.h"

static const char *const identity_types[] = {
    [PRINCIPAL_ROOT] = "Root",
    [PRINCIPAL_USER] = "IAMUser",
    [PRINCIPAL_ROLE_SESSION] = "AssumedRole",
    [PRINCIPAL_SERVICE] = "AWSService",
};

static void say_error(struct audit_record *record, const struct kms_error *err)
{
    if (err->code == KMS_ERR_NONE)
        return;
    record->error_code = kms_err_name(err->code);
    record->error_message = err->message;
}

/* Who, from where, when. */
static struct audit_record record_of(const struct api *api, const struct api_call *call,
                                     struct uuid event_id)
{
    const struct principal *const who = &call->principal;
    struct audit_record record = {
        .phase = AUDIT_CALL,
        .time_ms = clock_wall_ms(api->config.clock),
        .event_source = call->service == API_STS ? "sts.amazonaws.com" : NULL,
        .event_name = call->operation,
        .identity_type = identity_types[who->kind],
        .principal_id = who->id,
        .arn = who->arn,
        .account = who->account,
        .access_key_id = who->access_key_id,
        .user_name = who->user_name,
        .source_ip = call->source_ip,
        .user_agent = call->user_agent,
        .host = call->host,
        .tls_version = call->tls_version,
        .tls_cipher = call->tls_cipher,
        .region = op_keyring(api, call)->region,
        .request_id = &call->request_id,
        .event_id = event_id,
        .latency_us = op_call_us(call),
    };

    if (who->session)
        record.session_created_ms = who->session->issued_ms;
    if (who->kind == PRINCIPAL_ROLE_SESSION && who->identity) {
        record.issuer_id = who->unique_id;
        record.issuer_arn = who->principal_arn;
        record.issuer_name = who->identity->name;
    }
    say_error(&record, &call->err);
    return record;
}

static void add_resource(struct audit_record *record, const char *arn)
{
    if (arn[0] && record->resource_count < ARRAY_LEN(record->resources))
        record->resources[record->resource_count++].arn = arn;
}

/* Which material was used, under the names that its operation's answer has; which grant ended. */
static json_t *additional_of(const struct op_call *c)
{
    if (c->grant && c->op->answer != ANSWER_GRANT)
        return json_pack("{s:s}", "grantId", c->grant->id);
    const char *const first = c->material_id[0] ? c->material_id : NULL;
    const char *const other = c->other_material_id[0] ? c->other_material_id : NULL;
    if (first == NULL && other == NULL)
        return NULL;
    if (c->other == NULL)
        return json_pack("{s:s}", "keyMaterialId", first);
    return json_pack("{s:s*, s:s*}", "sourceKeyMaterialId", first, "destinationKeyMaterialId",
                     other);
}

/* "Aug 10, 2022, 10:38:27 PM", as CloudTrail writes the times of an answer. */
static json_t *date_text(double seconds)
{
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    const time_t whole = (time_t)seconds;
    struct tm t;

    if (gmtime_r(&whole, &t) == NULL)
        return json_null();
    return json_sprintf("%s %d, %d, %d:%02d:%02d %s", months[t.tm_mon], t.tm_mday, t.tm_year + 1900,
                        (t.tm_hour + 11) % 12 + 1, t.tm_min, t.tm_sec,
                        t.tm_hour < 12 ? "AM" : "PM");
}

/* Real numbers in answers are times and nothing else. */
static void write_dates(json_t *object)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (json_is_real(value))
            (void)json_object_set_new(object, name, date_text(json_real_value(value)));
        else if (json_is_object(value))
            write_dates(value);
    }
}

static json_t *answer_of(const struct op_call *c)
{
    if (c->call->err.code != KMS_ERR_NONE || c->op->answer == ANSWER_UNLOGGED)
        return NULL;
    if (c->op->answer == ANSWER_KEY_ID)
        return json_pack("{s:s}", "keyId", c->key_arn.text);
    if (c->op->answer == ANSWER_GRANT)
        return json_pack("{s:s, s:s}", "grantId", c->grant->id, "keyId", c->key_arn.text);

    json_t *const answer = json_lower_camel(c->call->result);
    if (c->op->answer == ANSWER_WITHOUT_SECRETS) {
        (void)json_object_del(json_object_get(answer, "credentials"), "secretAccessKey");
        (void)json_object_del(json_object_get(answer, "credentials"), "sessionToken");
    }
    write_dates(answer);
    return answer;
}

int audit_call_format(const struct op_call *c, enum audit_phase phase, struct buf *ret,
                      struct kms_error *err)
{
    struct store *const store = c->keyring->store;
    struct audit_record record =
        record_of(c->api, c->call, phase == AUDIT_INTENT ? uuid_random() : c->event_id);
    json_auto_t *parameters =
        c->decoded ? fields_logged(c->op->request->fields, c->call->parameters) : NULL;
    json_auto_t *answer = phase == AUDIT_INTENT ? NULL : answer_of(c);
    json_auto_t *additional = additional_of(c);

    record.phase = phase;
    record.event_name = c->op->name;
    record.read_only = c->op->effect == OP_READS;
    record.request_parameters = parameters;
    record.response_elements = answer;
    record.additional = additional;
    record.version_id = c->version.text[0] ? c->version.text : NULL;
    record.decided_by = c->authorized.by[0] ? c->authorized.by : NULL;
    add_resource(&record, c->key_arn.text);
    add_resource(&record, c->alias_arn.text);
    add_resource(&record, c->other_arn.text);
    if (phase == AUDIT_INTENT)
        record.state_sequence = store_next_sequence(store);
    else if (phase == AUDIT_RESULT)
        record.state_sequence = store_sequence(store);
    return audit_record_format(&record, ret, err);
}

int audit_refusal_format(const struct api *api, const struct api_call *call, struct buf *ret,
                         struct kms_error *err)
{
    struct audit_record record = record_of(api, call, uuid_random());
    char name[128]; /* a client's text may be long */

    (void)snprintf(name, sizeof(name), "%s", call->operation ? call->operation : "");
    record.event_name = name;
    if (call->principal.account[0] == '\0')
        record.identity_type = "Unknown";
    return audit_record_format(&record, ret, err);
}

/* Where something happened. */
static const struct keyring *region_of(const struct api *api, const struct service_event *event)
{
    struct key *const key = event->key_id ? keyring_find(api->config.keyring, event->key_id) : NULL;
    const struct keyring *const own =
        key ? keyring_of(api->config.keyring, key) : api->config.keyring;

    key_unref(key);
    return event->keyring ? event->keyring : own;
}

static int write_service_event(struct api *api, const struct service_event *event,
                               enum audit_phase phase, struct kms_error *err)
{
    const struct keyring *const keyring = region_of(api, event);
    const struct uuid none = { { 0 } };
    const struct arn_text arn = keyring_key_arn(keyring, event->key_id ? event->key_id : &none);
    json_auto_t *details = event->key_id ? json_pack("{s:s, s:s*}", "keyId", arn.text,
                                                     "rotationType", event->rotation_type)
                                         : NULL;
    AUTO(buf) text = { 0 };
    struct audit_record record = {
        .phase = phase,
        .time_ms = clock_wall_ms(api->config.clock),
        .event_name = event->name,
        .service_event = true,
        .identity_type = identity_types[PRINCIPAL_SERVICE],
        .account = keyring->account,
        .region = keyring->region,
        .event_id = uuid_random(),
        .additional = details,
        .state_sequence = phase == AUDIT_INTENT ? store_next_sequence(keyring->store)
                                                : store_sequence(keyring->store),
    };

    if (event->key_id)
        add_resource(&record, arn.text);
    if (event->failed)
        say_error(&record, event->failed);
    if (audit_record_format(&record, &text, err) < 0)
        return -1;
    return audit_write(api->config.audit, buf_take(&text), err);
}

int audit_service_intent(struct api *api, const struct service_event *event, struct kms_error *err)
{
    return write_service_event(api, event, AUDIT_INTENT, err);
}

int audit_service_result(struct api *api, const struct service_event *event, struct kms_error *err)
{
    return write_service_event(api, event, AUDIT_RESULT, err);
}
