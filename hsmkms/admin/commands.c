#include "hsmkms/admin/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hsmkms/api/fields.h"
#include "hsmkms/audit/record.h"
#include "hsmkms/admin/parts.h"

#define SOURCE_IP  "admin.sock"
#define USER_AGENT "hsmkms-admin"
#define IAM_SOURCE "iam.amazonaws.com"

/* --- what handlers ask ------------------------------------------------------------------------ */

const char *admin_text(const struct admin_call *call, const char *field)
{
    return json_string_value(json_object_get(call->request, field));
}

/* How the field is given on the command line, for the texts of errors. */
static const char *shown(const char *field)
{
    const struct admin_field *const row = admin_field_find(field);

    return row && row->option ? row->option : field;
}

int admin_need(const struct admin_call *call, const char *field, const char **ret,
               struct kms_error *err)
{
    const char *const text = admin_text(call, field);

    if (text == NULL)
        return kms_fail(err, KMS_ERR_VALIDATION, "--%s is missing", shown(field));
    *ret = text;
    return 0;
}

int admin_number(const struct admin_call *call, const char *field, int64_t most, int64_t *ret,
                 struct kms_error *err)
{
    const char *const text = admin_text(call, field);
    char *end = NULL;

    if (text == NULL) {
        *ret = 0;
        return 0;
    }
    const long long number = strtoll(text, &end, 10);
    if (text[0] < '1' || text[0] > '9' || *end != '\0' || number > most)
        return kms_fail(err, KMS_ERR_VALIDATION, "--%s must be 1 to %" PRId64, shown(field), most);
    *ret = number;
    return 0;
}

const char *admin_account(const struct admin_call *call)
{
    const char *const given = admin_text(call, "Account");

    return given ? given : call->services->account;
}

int admin_whose(const struct admin_call *call, struct identity_name *ret, struct kms_error *err)
{
    const char *const user = admin_text(call, "UserName"), *const role =
                                                               admin_text(call, "RoleName");

    if ((user == NULL) == (role == NULL))
        return kms_fail(err, KMS_ERR_VALIDATION, "either --user or --role must be given");
    *ret = (struct identity_name){ .kind = user ? IDENTITY_USER : IDENTITY_ROLE,
                                   .account = admin_account(call),
                                   .name = user ? user : role };
    return 0;
}

int admin_answer(json_t *made, json_t **ret, struct kms_error *err)
{
    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    *ret = made;
    return 0;
}

int admin_done(json_t **ret, struct kms_error *err)
{
    return admin_answer(json_object(), ret, err);
}

/* --- from a line to a call -------------------------------------------------------------------- */

static admin_run_fn *handler_of(const char *name)
{
    static const struct admin_handler *const chapters[] = {
        admin_identity_handlers, admin_policy_handlers, admin_key_handlers, admin_transfer_handlers,
        admin_cert_handlers, admin_token_handlers, admin_use_handlers, admin_status_handlers
    };

    for (size_t i = 0; i < ARRAY_LEN(chapters); i++)
        for (const struct admin_handler *row = chapters[i]; row->name; row++)
            if (strcmp(row->name, name) == 0)
                return row->run;
    return NULL;
}

static int find_row(const json_t *request, const struct admin_row **ret, struct kms_error *err)
{
    const json_t *const name = json_object_get(request, "Command");

    if (!json_is_string(name))
        return kms_fail(err, KMS_ERR_VALIDATION, "Command must be a string");
    *ret = admin_row_find(json_string_value(name));
    if (*ret == NULL)
        return kms_fail(err, KMS_ERR_UNKNOWN_OPERATION, "There is no such command");
    return 0;
}

static int check_text(const struct admin_field *field, const json_t *value, struct kms_error *err)
{
    if (!json_is_string(value) ||
        memchr(json_string_value(value), '\0', json_string_length(value)))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s must be a string", field->name);
    if (json_string_length(value) > field->max)
        return kms_fail(err, KMS_ERR_VALIDATION, "%s has at most %zu characters", field->name,
                        field->max);
    return 0;
}

static int check_field(const struct admin_field *field, const json_t *value, struct kms_error *err)
{
    if (field->source != ADMIN_LIST)
        return check_text(field, value, err);
    if (!json_is_array(value))
        return kms_fail(err, KMS_ERR_VALIDATION, "%s must be an array", field->name);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (check_text(field, json_array_get(value, i), err) < 0)
            return -1;
    return 0;
}

/* Every member must be a field of the row, and its words must be there. */
static int check_fields(const struct admin_call *call, struct kms_error *err)
{
    json_t *const request = (json_t *)(uintptr_t)call->request; /* only to walk it */
    const struct admin_row *const row = call->row;
    const char *name;
    json_t *value;

    for (size_t i = 0; i < ARRAY_LEN(row->words) && row->words[i]; i++)
        if (json_object_get(request, row->words[i]) == NULL)
            return kms_fail(err, KMS_ERR_VALIDATION, "%s is missing", row->words[i]);
    json_object_foreach(request, name, value)
    {
        if (strcmp(name, "Command") == 0)
            continue;
        if (!admin_row_has(row, name))
            return kms_fail(err, KMS_ERR_VALIDATION, "'%s' has a field that it does not know",
                            row->name);
        if (check_field(admin_field_find(name), value, err) < 0)
            return -1;
    }
    return 0;
}

/* --- audit ------------------------------------------------------------------------------------ */

static json_t *request_parameters(const struct admin_call *call)
{
    json_t *const parameters = json_object();
    json_t *const request = (json_t *)(uintptr_t)call->request; /* only to walk it */
    const char *name;
    json_t *value;

    json_object_foreach(request, name, value)
    {
        if (strcmp(name, "Command") != 0)
            (void)json_object_set(parameters, field_path(name).text, value);
    }
    if (strcmp(call->row->event, "UpdateAccessKey") == 0 ||
        strcmp(call->row->event, "UpdateToken") == 0)
        (void)json_object_set_new(
            parameters, "status",
            json_string(strstr(call->row->name, " enable") ? "Active" : "Inactive"));
    return parameters;
}

/* What of a result may be recorded: the name of an access key or token, never the rest. */
static json_t *response_elements(const json_t *result)
{
    json_t *const id = json_object_get(result, "AccessKeyId");

    json_t *const token_id = json_object_get(result, "TokenId");

    return id         ? json_pack("{s:O}", "accessKeyId", id)
           : token_id ? json_pack("{s:O}", "tokenId", token_id)
                      : NULL;
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

    principal_of_root(services->account, "", &root);
    (void)snprintf(user_name, sizeof(user_name), "uid:%ju", (uintmax_t)call->uid);
    const struct audit_record made = {
        .phase = phase,
        .time_ms = clock_wall_ms(services->clock),
        .event_source = IAM_SOURCE,
        .event_name = call->row->event,
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
static int run_audited(const struct admin_call *call, admin_run_fn *handler, json_t **ret,
                       struct kms_error *err)
{
    json_auto_t *result = NULL;
    struct kms_error failure = { 0 };

    if (record(call, AUDIT_INTENT, NULL, NULL, err) < 0)
        return -1;
    const int outcome = handler(call, &result, &failure);
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
    json_auto_t *request =
        json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
    struct admin_call call = {
        .services = services, .request = request, .uid = uid, .request_id = uuid_random()
    };

    if (!json_is_object(request))
        return kms_fail(err, KMS_ERR_SERIALIZATION, "The line is not one JSON object");
    if (find_row(request, &call.row, err) < 0)
        return -1;
    *ret_command = call.row->name;
    if (check_fields(&call, err) < 0)
        return -1;
    admin_run_fn *const handler = handler_of(call.row->name);
    if (handler == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no handler for '%s'", call.row->name);
    return call.row->event ? run_audited(&call, handler, ret, err) : handler(&call, ret, err);
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
