#include "hsmkms/api/dispatch.h"

#include <stdlib.h>

#include "hsmkms/api/audit_call.h"
#include "hsmkms/api/metrics.h"
#include "hsmkms/iam/authorize.h"

/* What the committer's thread needs to end a call. */
struct ending {
    struct api *api;
    struct api_call *call;
    const struct op *op;
};

int op_authorize(const struct op_call *c, const char *action, const char *arn,
                 const struct key *key, struct kms_error *err)
{
    const struct authorization request = {
        .principal = &c->call->principal,
        .action = action,
        .resource = arn,
        .account = c->keyring->account,
        .managed_by_service = key && key_is_aws_managed(key),
        .changes_key = c->op->effect == OP_CHANGES,
    };
    return authorize(&request, err);
}

void op_set_key(struct op_call *c, struct key *key)
{
    key_unref(c->key);
    c->key = key;
    c->key_arn = keyring_key_arn(c->keyring, &key->record.id);
    _Static_assert(sizeof(c->call->key_arn) >= sizeof(c->key_arn.text), "an ARN fits");
    memcpy(c->call->key_arn, c->key_arn.text, sizeof(c->key_arn.text));
}

static int decode(struct op_call *c, struct kms_error *err)
{
    c->head = calloc(1, c->op->request->size);
    if (c->head == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request");
    if (fields_decode(c->op->request->fields, c->call->parameters, c->head, err) < 0)
        return -1;
    c->decoded = true;
    return 0;
}

static const char *action_of(const struct op_call *c, const struct op_demand *demand)
{
    return demand->action ? demand->action : c->op->name;
}

static int authorize_all(const struct op_call *c, struct kms_error *err)
{
    const char *const action = action_of(c, &c->op->key);

    if (c->alias_arn.text[0] && op_authorize(c, action, c->alias_arn.text, NULL, err) < 0)
        return -1;
    if (c->key && op_authorize(c, action, c->key_arn.text, c->key, err) < 0)
        return -1;
    if (c->other &&
        op_authorize(c, action_of(c, &c->op->other), c->other_arn.text, c->other, err) < 0)
        return -1;
    if (c->key || c->alias_arn.text[0])
        return 0;
    return op_authorize(c, action, "*", NULL, err);
}

static int check_states(const struct op_call *c, struct kms_error *err)
{
    if (c->key && key_may(c->key, c->op->key.use, c->key_arn.text, err) < 0)
        return -1;
    if (c->other && key_may(c->other, c->op->other.use, c->other_arn.text, err) < 0)
        return -1;
    return 0;
}

static int check_request(struct op_call *c, struct kms_error *err)
{
    if (c->head->recipient) /* ignoring it would hand out plaintext that was to stay sealed */
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "The Recipient parameter is not supported by this service.");
    return c->op->check ? c->op->check(c, err) : 0;
}

static int answer_dry_run(const struct op_call *c, struct kms_error *err)
{
    if (!c->head->dry_run)
        return 0;
    return kms_fail(err, KMS_ERR_DRY_RUN,
                    "The request would have succeeded, but the DryRun option is set.");
}

/* From here on a record is certain; a change is announced before it is begun. */
static int announce(struct op_call *c, struct kms_error *err)
{
    AUTO(buf) record = { 0 };

    if (audit_reserve(c->api->config.audit, err) < 0)
        return -1;
    c->reserved = true;
    if (c->op->effect == OP_READS)
        return 0;

    if (audit_call_format(c, AUDIT_INTENT, &record, err) < 0 ||
        audit_write(c->api->config.audit, buf_take(&record), err) < 0)
        return -1;
    c->phase = AUDIT_RESULT;
    return 0;
}

int dispatch_gate(struct op_call *c, struct kms_error *err)
{
    if (decode(c, err) < 0)
        return -1;
    if (c->op->resolve && c->op->resolve(c, err) < 0)
        return -1;
    if (authorize_all(c, err) < 0 || check_states(c, err) < 0)
        return -1;
    if (check_request(c, err) < 0 || answer_dry_run(c, err) < 0)
        return -1;
    return announce(c, err);
}

void dispatch_release(struct op_call *c)
{
    if (c->head)
        fields_release(c->op->request->fields, c->head);
    free(c->head);
    key_unref(c->key);
    key_unref(c->other);
}

static void drop_result(struct api_call *call)
{
    json_decref(call->result);
    call->result = NULL;
}

/* Quoted input may have been cut inside a character, which JSON could not carry. */
static void mend_message(struct kms_error *err)
{
    json_auto_t *text = json_string(err->message);

    if (text)
        return;
    for (char *c = err->message; *c; c++)
        if ((uint8_t)*c >= 0x80)
            *c = '?';
}

static void end(struct api *api, const struct op *op, struct api_call *call)
{
    metrics_count(api->metrics, op, call->err.code, op_call_us(call));
    call->done(call);
}

static void replace_error(struct api_call *call, const char *detail)
{
    kms_error_clear(&call->err);
    drop_result(call);
    (void)kms_fail_detail(&call->err, KMS_ERR_INTERNAL, "%s", detail);
}

static void on_recorded(void *arg, bool durable)
{
    struct ending *const ending = arg;

    if (!durable)
        replace_error(ending->call, "the audit record could not be made durable");
    end(ending->api, ending->op, ending->call);
    free(ending);
}

/* Makes sure of a place for the record of a refusal. */
static int reserve_late(struct op_call *c)
{
    struct kms_error err = { 0 };

    if (c->reserved)
        return 0;
    if (audit_reserve(c->api->config.audit, &err) < 0) {
        c->call->err = err;
        return -1;
    }
    c->reserved = true;
    return 0;
}

/* The record of how a call ended, and with it, sooner or later, the call's end. */
static void record_and_end(struct op_call *c, struct ending *ending)
{
    struct api_call *const call = c->call;
    struct api *const api = c->api;
    struct kms_error err = { 0 };
    AUTO(buf) record = { 0 };

    if (call->err.code != KMS_ERR_NONE)
        drop_result(call);
    mend_message(&call->err);
    const bool place = reserve_late(c) == 0;
    const bool ready = place && audit_call_format(c, c->phase, &record, &err) == 0;
    dispatch_release(c);
    if (call->settle)
        call->settle(call);
    if (ready) {
        audit_submit(api->config.audit, buf_take(&record), on_recorded, ending);
        return; /* call and ending belong to the committer now */
    }
    if (place) {
        audit_release(api->config.audit);
        replace_error(call, "no audit record could be made");
    }
    end(api, ending->op, call);
    free(ending);
}

void api_call_run(struct api *api, struct api_call *call)
{
    struct op_call c = { .api = api,
                         .call = call,
                         .op = op_find(call->operation),
                         .keyring = api->config.keyring,
                         .phase = AUDIT_CALL };
    struct ending *const ending = malloc(sizeof(*ending));

    call->begun_us = clock_mono_us();
    if (ending == NULL || c.op == NULL) {
        (void)kms_fail(&call->err, c.op ? KMS_ERR_INTERNAL : KMS_ERR_UNKNOWN_OPERATION, "%s", "");
        api_refused(api, call);
        free(ending);
        call->done(call);
        return;
    }
    *ending = (struct ending){ api, call, c.op };
    const bool done = dispatch_gate(&c, &call->err) == 0 && c.op->run(&c, &call->err) == 0;
    if (!done && call->err.code == KMS_ERR_NONE) /* never a success by mistake */
        (void)kms_fail_detail(&call->err, KMS_ERR_INTERNAL, "failed without a reason");
    record_and_end(&c, ending);
}
