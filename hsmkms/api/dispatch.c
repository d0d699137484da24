#include "hsmkms/api/dispatch.h"

#include <stdlib.h>

#include "hsmkms/api/audit_call.h"
#include "hsmkms/api/facts.h"
#include "hsmkms/api/last_use.h"
#include "hsmkms/api/metrics.h"
#include "hsmkms/api/ops.h"
#include "hsmkms/api/rates.h"
#include "hsmkms/keys/imported.h"
#include "hsmkms/keys/regions.h"

/* What the committer's thread needs to end a call. */
struct ending {
    struct api *api;
    struct api_call *call;
    const struct op *op;
};

struct keyring *op_keyring(const struct api *api, const struct api_call *call)
{
    struct keyring *const own = keyring_in(api->config.keyring, call->principal.region);

    return own ? own : api->config.keyring; /* STS is asked from everywhere */
}

bool op_is_stranger(const struct op_call *c)
{
    return strcmp(c->call->principal.account, c->keyring->account) != 0;
}

static enum strength ask_retiring(void *ctx)
{
    const struct op_call *const c = ctx;

    return grant_retire_strength(c->grant, &c->call->principal);
}

/* Whose the resource is; who issued a grant may let its identities retire it. */
static const char *account_of(const struct op_call *c, const struct op_question *question,
                              int action)
{
    if (c->grant && actions[action].class == ACTION_BY_GRANT)
        return c->grant->issuing_account;
    if (question->key || question->policy || question->arn == c->alias_arn.text)
        return c->keyring->account;
    return "";
}

int op_authorize(const struct op_call *c, const struct op_question *question,
                 struct authorized *ret, struct kms_error *err)
{
    const int action = action_of("kms", question->action);
    UNINITIALIZED struct facts facts;

    if (action < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "kms:%s is no action", question->action);
    facts_gather(c, question->other_side ? SIDE_OTHER : SIDE_KEY, question->key, &facts);
    if (question->replica_of)
        facts_add_replica(question->replica_of, &facts);
    if (question->region)
        context_set(&facts.context, AWS_REQUESTED_REGION, question->region);
    const struct authorization request = {
        .caller = &c->call->principal,
        .action = action,
        .resource = question->arn,
        .account = account_of(c, question, action),
        .key_id = question->key ? &question->key->record.id : NULL,
        .policy = question->policy,
        .policy_name = "key policy",
        .context = &facts.context,
        .grants_apply = !question->policy_alone && question->key,
        .ask_grant = c->grant && !question->policy_alone ? ask_retiring : NULL,
        .grant_ctx = (void *)(uintptr_t)c, /* read only */
        .foreign_hidden = c->head->blob.ptr && c->head->key_id == NULL && !question->other_side,
    };
    return authorize(c->api->config.iam, &request, ret, err);
}

void op_set_key(struct op_call *c, struct key *key)
{
    key_unref(c->key);
    c->key = key;
    c->key_arn = keyring_arn_of(c->keyring, key);
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

static const char *action_of_demand(const struct op_call *c, const struct op_demand *demand)
{
    return demand->action ? demand->action : c->op->name;
}

/* A predefined alias whose key nobody asked for yet is decided as that key would be. */
static int authorize_unmade(const struct op_call *c, const char *action, bool other_side,
                            struct kms_error *err)
{
    static const struct uuid unmade = { { 0 } };
    const struct arn_text arn = keyring_key_arn(c->keyring, &unmade);
    struct policy *const policy = key_policy_of_default(c->api->config.iam, KEY_POLICY_MANAGED);
    const struct op_question question = {
        .action = action, .arn = arn.text, .other_side = other_side, .policy = policy
    };
    const int result = op_authorize(c, &question, NULL, err);

    policy_unref(policy);
    return result;
}

static int authorize_first(struct op_call *c, struct kms_error *err)
{
    const char *const action = action_of_demand(c, &c->op->key);
    const struct op_question about_alias = { .action = action, .arn = c->alias_arn.text };
    const struct op_question about_key = { .action = action,
                                           .arn = c->key_arn.text,
                                           .key = c->key };
    const struct op_question about_all = { .action = action,
                                           .arn = c->resource ? c->resource : "*" };

    if (c->unmade)
        return authorize_unmade(c, action, false, err);
    if (c->alias_arn.text[0] && op_authorize(c, &about_alias, NULL, err) < 0)
        return -1;
    if (c->key)
        return op_authorize(c, &about_key, &c->authorized, err);
    return c->alias_arn.text[0] ? 0 : op_authorize(c, &about_all, &c->authorized, err);
}

static int authorize_all(struct op_call *c, struct kms_error *err)
{
    const char *const action = action_of_demand(c, &c->op->other);
    const struct op_question about_other = {
        .action = action, .arn = c->other_arn.text, .other_side = true, .key = c->other
    };

    if (authorize_first(c, err) < 0)
        return -1;
    if (c->head->destination_id && c->other == NULL && c->other_unmade == NULL)
        return resolve_destination(c, err); /* says why there is none */
    if (c->other_unmade)
        return authorize_unmade(c, action, true, err);
    return c->other ? op_authorize(c, &about_other, NULL, err) : 0;
}

/* Material that is past its time is of no use any more, also before the worker takes it away. */
static int check_state(const struct op_call *c, const struct key *key, enum key_use use,
                       const char *arn, struct kms_error *err)
{
    if (key_may(key, use, arn, err) < 0)
        return -1;
    if ((use == KEY_USE_CRYPTO || use == KEY_USE_ROTATE) && key_is_expired(key, c->now_ms))
        return kms_fail(err, KMS_ERR_INVALID_STATE, "%s is pending import.", arn);
    return 0;
}

static int check_states(const struct op_call *c, struct kms_error *err)
{
    if (c->key && check_state(c, c->key, c->op->key.use, c->key_arn.text, err) < 0)
        return -1;
    if (c->other && check_state(c, c->other, c->op->other.use, c->other_arn.text, err) < 0)
        return -1;
    return 0;
}

static int check_request(struct op_call *c, struct kms_error *err)
{
    if (c->head->recipient) /* ignoring it would hand out plaintext that was to stay sealed */
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "The Recipient parameter is not supported by this service.");
    if (op_check_grant_tokens(c, err) < 0)
        return -1;
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
    if (rates_count(c->api->rates, c, err) < 0)
        return -1;
    if ((c->op->authorize ? c->op->authorize : authorize_all)(c, err) < 0 ||
        check_states(c, err) < 0)
        return -1;
    if (check_request(c, err) < 0 || answer_dry_run(c, err) < 0)
        return -1;
    return announce(c, err);
}

void dispatch_release(struct op_call *c)
{
    if (c->head) {
        fields_release(c->op->request->fields, c->head);
        buf_done(&c->head->pins);
    }
    free(c->head);
    key_unref(c->key);
    key_unref(c->other);
    grant_unref(c->grant);
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
                         .op = op_find(call->service, call->operation),
                         .keyring = op_keyring(api, call),
                         .phase = AUDIT_CALL,
                         .event_id = uuid_random(),
                         .now_ms = clock_wall_ms(api->config.clock) };
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
    if (done)
        last_use_note(&c);
    record_and_end(&c, ending);
}
