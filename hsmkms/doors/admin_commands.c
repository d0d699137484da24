#include "hsmkms/doors/admin_commands.h"

#include <inttypes.h>
#include <stdio.h>

#include "hsmkms/audit/record.h"

#define FIELDS_MAX 2
#define SOURCE_IP  "admin.sock"
#define USER_AGENT "hsmkms-admin"

enum need { OPTIONAL, REQUIRED };

struct field {
    const char *name; /* in the request */
    enum need need;
    size_t max;             /* bytes */
    const char *audit_name; /* in requestParameters */
};

struct command {
    const char *name;
    const char *event;  /* audited as this; NULL: changes nothing */
    const char *status; /* what an access key becomes, or NULL */
    int (*run)(const struct admin_services *services, const struct command *command,
               const char *const values[FIELDS_MAX], json_t **ret, struct kms_error *err);
    struct field fields[FIELDS_MAX]; /* values stand in this order; NULL: not given */
};

/* A command being run. */
struct admin_call {
    const struct admin_services *services;
    const struct command *command;
    const char *values[FIELDS_MAX]; /* borrowed from the request */
    uid_t uid;
    struct uuid request_id;
};

/* Takes over what json_pack made. */
static int hand_out(json_t *made, json_t **ret, struct kms_error *err)
{
    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    *ret = made;
    return 0;
}

/* --- handlers --------------------------------------------------------------------------------- */

static int key_create(const struct admin_services *services, const struct command *command,
                      const char *const values[FIELDS_MAX], json_t **ret, struct kms_error *err)
{
    const char *const user_name = values[0] ? values[0] : "";
    char id[ACCESS_KEY_ID_LEN + 1];
    struct principal owner;
    AUTO(secret) secret = { 0 };

    if (access_key_create(services->iam, user_name, id, &secret, err) < 0 ||
        principal_of_user(services->account, user_name, id, &owner, err) < 0)
        return -1;
    return hand_out(json_pack("{s:s, s:s%, s:s, s:s, s:s}", "AccessKeyId", id, "SecretAccessKey",
                              (const char *)secret.ptr, secret.len, "Status", command->status,
                              "UserName", user_name, "Arn", owner.arn),
                    ret, err);
}

static int key_update(const struct admin_services *services, const struct command *command,
                      const char *const values[FIELDS_MAX], json_t **ret, struct kms_error *err)
{
    const bool active = strcmp(command->status, "Active") == 0;

    if (access_key_set_active(services->iam, values[0], active, err) < 0)
        return -1;
    return hand_out(json_pack("{s:s, s:s}", "AccessKeyId", values[0], "Status", command->status),
                    ret, err);
}

/* A failed append shows in the number of entries. */
static void append_key(void *arg, const struct access_key_record *record)
{
    const struct clock_text created = clock_iso8601(record->created_ms);

    (void)json_array_append_new(
        arg, json_pack("{s:s, s:s, s:s, s:s, s:s}", "AccessKeyId", record->id, "UserName",
                       record->user_name, "Arn", record->principal, "Status",
                       record->active ? "Active" : "Inactive", "CreateDate", created.text));
}

static void count_key(void *arg, const struct access_key_record *record)
{
    (void)record;
    ++*(size_t *)arg;
}

static int key_list(const struct admin_services *services, const struct command *command,
                    const char *const values[FIELDS_MAX], json_t **ret, struct kms_error *err)
{
    json_auto_t *keys = json_array();
    size_t count = 0;

    (void)command;
    (void)values;
    access_key_each(services->iam, count_key, &count); /* keys are never removed */
    access_key_each(services->iam, append_key, keys);
    return hand_out(json_array_size(keys) < count ? NULL : json_pack("{s:O}", "AccessKeys", keys),
                    ret, err);
}

/* clang-format off */
static json_t *token_json(struct token *token)
{
    struct token_status now;

    token_status(token, &now);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b,"
                     " s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                     "Label",               now.label,
                     "Manufacturer",        now.manufacturer,
                     "Model",               now.model,
                     "Serial",              now.serial,
                     "Library",             now.library,
                     "Profile",             now.profile,
                     "EnforcesExtraction",  now.enforces_extraction,
                     "Copies",              now.copies,
                     "Available",           now.available,
                     "Sessions",            (json_int_t)now.sessions,
                     "SessionsReplaced",    (json_int_t)now.sessions_replaced,
                     "Keys",                (json_int_t)now.keys,
                     "KeysCopied",          (json_int_t)now.keys_copied,
                     "ObjectsIgnored",      (json_int_t)now.objects_ignored,
                     "Calls",               (json_int_t)now.calls,
                     "Errors",              (json_int_t)now.errors,
                     "SlowestMicroseconds", (json_int_t)now.slowest_us);
}

static json_t *audit_json(struct audit *audit)
{
    struct audit_status now;

    audit_status(audit, &now);
    return json_pack("{s:b, s:I, s:I, s:I, s:I}",
                     "Healthy",      now.healthy,
                     "Records",      (json_int_t)now.seq,
                     "Groups",       (json_int_t)now.groups,
                     "Queued",       (json_int_t)now.queued,
                     "LargestGroup", (json_int_t)now.largest_group);
}

/* NULL where there is no server: the member is left out. */
static json_t *http_json(struct http_server *http)
{
    struct http_status now;

    if (http == NULL)
        return NULL;
    http_server_status(http, &now);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}",
                     "Connections", (json_int_t)now.connections,
                     "Queued",      (json_int_t)now.queued,
                     "QueuedMost",  (json_int_t)now.queued_most,
                     "Requests",    (json_int_t)now.requests,
                     "Refused",     (json_int_t)now.refused,
                     "Throttled",   (json_int_t)now.throttled);
}

static json_t *status_json(const struct admin_services *services)
{
    const int64_t uptime_s = (clock_mono_us() - services->started_us) / INT64_C(1000000);

    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o*}",
                     "Account",       services->account,
                     "Region",        services->region,
                     "UptimeSeconds", (json_int_t)uptime_s,
                     "CustomerKeys",  (json_int_t)catalog_count(services->catalog),
                     "StoreSequence", (json_int_t)store_sequence(services->store),
                     "Token",         token_json(services->token),
                     "Audit",         audit_json(services->audit),
                     "Http",          http_json(services->http));
}
/* clang-format on */

static int status(const struct admin_services *services, const struct command *command,
                  const char *const values[FIELDS_MAX], json_t **ret, struct kms_error *err)
{
    (void)command;
    (void)values;
    return hand_out(status_json(services), ret, err);
}

/* clang-format off */
static const struct command commands[] = {
    /* name           audited as         status      handler      fields */
    { "key create",  "CreateAccessKey", "Active",   key_create, { { "UserName",    OPTIONAL, 64,  "userName" } } },
    { "key disable", "UpdateAccessKey", "Inactive", key_update, { { "AccessKeyId", REQUIRED, 128, "accessKeyId" } } },
    { "key enable",  "UpdateAccessKey", "Active",   key_update, { { "AccessKeyId", REQUIRED, 128, "accessKeyId" } } },
    { "key list",    NULL,              NULL,       key_list,   { { 0 } } },
    { "status",      NULL,              NULL,       status,     { { 0 } } },
};
/* clang-format on */

/* --- from a line to a call -------------------------------------------------------------------- */

static const struct command *command_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int find_command(const json_t *request, const struct command **ret, struct kms_error *err)
{
    const json_t *const name = json_object_get(request, "Command");

    if (!json_is_string(name))
        return kms_fail(err, KMS_ERR_VALIDATION, "Command must be a string");
    *ret = command_of(json_string_value(name));
    if (*ret == NULL)
        return kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "There is no such command");
    return 0;
}

/* Fills the values; every member of the request must be a field of the row. */
static int read_fields(const json_t *request, struct admin_call *call, struct kms_error *err)
{
    size_t used = 1; /* Command itself */

    for (size_t i = 0; i < FIELDS_MAX && call->command->fields[i].name; i++) {
        const struct field *const field = &call->command->fields[i];
        const json_t *const value = json_object_get(request, field->name);
        if (value == NULL && field->need == REQUIRED)
            return kms_fail(err, KMS_ERR_VALIDATION, "%s is missing", field->name);
        if (value == NULL)
            continue;
        if (!json_is_string(value))
            return kms_fail(err, KMS_ERR_VALIDATION, "%s must be a string", field->name);
        if (json_string_length(value) > field->max)
            return kms_fail(err, KMS_ERR_VALIDATION, "%s has at most %zu characters", field->name,
                            field->max);
        call->values[i] = json_string_value(value);
        used++;
    }
    if (json_object_size(request) != used)
        return kms_fail(err, KMS_ERR_VALIDATION, "'%s' has a field that it does not know",
                        call->command->name);
    return 0;
}

/* --- audit ------------------------------------------------------------------------------------ */

static json_t *request_parameters(const struct admin_call *call)
{
    const struct command *const command = call->command;
    json_t *const parameters = json_object();

    for (size_t i = 0; i < FIELDS_MAX; i++)
        if (call->values[i])
            (void)json_object_set_new(parameters, command->fields[i].audit_name,
                                      json_string(call->values[i]));
    (void)json_object_set_new(parameters, "status", json_string(command->status));
    return parameters;
}

/* What of a result may be recorded: the name of the key, never the rest. */
static json_t *response_elements(const json_t *result)
{
    json_t *const id = json_object_get(result, "AccessKeyId");

    return id ? json_pack("{s:O}", "accessKeyId", id) : NULL;
}

/* Writes an intent or, with what came of it, a result, and waits until it is durable. */
static int record(const struct admin_call *call, enum audit_phase phase, const json_t *result,
                  const struct kms_error *failure, struct kms_error *err)
{
    const struct admin_services *const services = call->services;
    const bool failed = failure && failure->code != KMS_ERR_NONE;
    json_auto_t *parameters = request_parameters(call);
    json_auto_t *elements = response_elements(result);
    char user_name[32];
    struct principal root;
    AUTO(buf) text = { 0 };

    if (principal_of_user(services->account, "", "", &root, err) < 0)
        return -1;
    (void)snprintf(user_name, sizeof(user_name), "uid:%ju", (uintmax_t)call->uid);
    const struct audit_record made = {
        .phase = phase,
        .time_ms = clock_wall_ms(services->clock),
        .event_name = call->command->event,
        .identity_type = "Root",
        .principal_id = root.id,
        .arn = root.arn,
        .account = root.account,
        .user_name = user_name,
        .source_ip = SOURCE_IP,
        .user_agent = USER_AGENT,
        .region = services->region,
        .request_id = &call->request_id,
        .event_id = uuid_random(),
        .error_code = failed ? kms_err_name(failure->code) : NULL,
        .error_message = failed ? failure->message : NULL,
        .request_parameters = parameters,
        .response_elements = elements,
        .state_sequence = phase == AUDIT_INTENT ? store_next_sequence(services->store)
                                                : store_sequence(services->store),
    };
    if (audit_record_format(&made, &text, err) < 0)
        return -1;
    return audit_write(services->audit, buf_take(&text), err);
}

/* --- running ---------------------------------------------------------------------------------- */

/* A change that cannot be recorded is answered as failed, and its secret is not handed out. */
static int run_audited(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    json_auto_t *result = NULL;
    struct kms_error failure = { 0 };

    if (record(call, AUDIT_INTENT, NULL, NULL, err) < 0)
        return -1;
    const int outcome =
        call->command->run(call->services, call->command, call->values, &result, &failure);
    if (record(call, AUDIT_RESULT, result, &failure, err) < 0)
        return -1;
    if (outcome < 0) {
        *err = failure;
        return -1;
    }
    *ret = result;
    result = NULL; /* now owned by the caller */
    return 0;
}

static int run_line(const struct admin_services *services, uid_t uid, struct span line,
                    const char **ret_command, json_t **ret, struct kms_error *err)
{
    struct admin_call call = { .services = services, .uid = uid, .request_id = uuid_random() };
    json_auto_t *request =
        json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(request))
        return kms_fail(err, KMS_ERR_SERIALIZATION, "The line is not one JSON object");
    if (find_command(request, &call.command, err) < 0)
        return -1;
    *ret_command = call.command->name;
    if (read_fields(request, &call, err) < 0)
        return -1;
    if (call.command->event)
        return run_audited(&call, ret, err);
    return call.command->run(services, call.command, call.values, ret, err);
}

struct admin_outcome admin_run(const struct admin_services *services, uid_t uid, struct span line)
{
    struct admin_outcome outcome = { .command = "-" };
    struct kms_error err = { 0 };
    json_t *result = NULL;

    if (run_line(services, uid, line, &outcome.command, &result, &err) < 0) {
        outcome.code = err.code;
        outcome.answer = admin_error_answer(&err);
    } else {
        outcome.answer = json_pack("{s:o}", "Result", result); /* takes the result over */
    }
    return outcome;
}

/* Operators may read what clients may not: the detail, where there is nothing else. */
json_t *admin_error_answer(const struct kms_error *err)
{
    return json_pack("{s:{s:s, s:s}}", "Error", "Code", kms_err_name(err->code), "Message",
                     err->message[0] ? err->message : err->detail);
}
