#include "hsmkms/api/op.h"

#include <stdlib.h>

#include "hsmkms/api/audit_call.h"
#include "hsmkms/api/metrics.h"
#include "hsmkms/api/policy.h"
#include "hsmkms/api/rates.h"
#include "hsmkms/api/worker.h"

#define REFUSALS_PER_SECOND 20 /* audited; more are only counted, so that nobody fills the disk */

int api_new(const struct api_config *config, struct api **ret, struct kms_error *err)
{
    struct api *const api = calloc(1, sizeof(*api));

    if (api == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the operations");
    api->config = *config;
    (void)pthread_mutex_init(&api->publish, NULL);
    if (metrics_new(&api->metrics, err) < 0 || rates_new(&config->rates, &api->rates, err) < 0 ||
        policy_publish_all(api, err) < 0) {
        api_free(api);
        return -1;
    }
    *ret = api;
    return 0;
}

void api_free(struct api *api)
{
    if (api == NULL)
        return;
    api_worker_stop(api);
    metrics_free(api->metrics);
    rates_free(api->rates);
    (void)pthread_mutex_destroy(&api->publish);
    free(api);
}

void api_call_release(struct api_call *call)
{
    json_decref(call->parameters); /* jansson's allocators wipe the texts */
    json_decref(call->result);
    call->parameters = call->result = NULL;
}

void api_call_done(struct api_call *call)
{
    api_call_release(call);
    principal_done(&call->principal);
    secret_wipe(call, sizeof(*call));
}

/* True while this second's share of audited refusals is not used up. */
static bool refusal_in_share(struct api *api)
{
    const long long second = clock_mono_us() / 1000000;
    long long seen = atomic_load(&api->refused_second);

    if (seen != second && atomic_compare_exchange_strong(&api->refused_second, &seen, second))
        atomic_store(&api->refused_count, 0);
    return atomic_fetch_add(&api->refused_count, 1) < REFUSALS_PER_SECOND;
}

static void forget(void *arg, bool durable)
{
    (void)arg;
    (void)durable; /* no answer depends on it */
}

void api_refused(struct api *api, const struct api_call *call)
{
    struct kms_error err = { 0 };
    AUTO(buf) record = { 0 };

    metrics_count(api->metrics, NULL, call->err.code, op_call_us(call));
    if (!refusal_in_share(api) || audit_reserve(api->config.audit, &err) < 0)
        return;
    if (audit_refusal_format(api, call, &record, &err) < 0)
        audit_release(api->config.audit);
    else
        audit_submit(api->config.audit, buf_take(&record), forget, NULL);
}
