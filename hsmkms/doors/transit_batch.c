#include "hsmkms/doors/transit_batch.h"

#define BAD_REQUEST 400

typedef int prepare_item(struct transit_call *t, const json_t *body, struct kms_error *err);

/* What became of the items so far. */
struct batch {
    json_t *results; /* an array, one element for each */
    size_t failed;
    int status;            /* that all failures have, BAD_REQUEST when they differ */
    struct kms_error last; /* failure */
    bool blocked;          /* the items left would fail as the last one did */
    int partial_status;    /* the client's choice for when some failed, or 0 */
};

static void batch_done(struct batch *batch)
{
    json_decref(batch->results);
}

/* --- what may be sent ------------------------------------------------------------------------- */

bool transit_is_batch(const json_t *body)
{
    const json_t *const items = json_object_get(body, "batch_input");

    return items && !json_is_null(items);
}

/* Clients fill in what they must and do not want by null or an empty text. */
static bool says_nothing(const json_t *value)
{
    return value == NULL || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

static int check_alone(const json_t *body, struct kms_error *err)
{
    static const char *const of_items[] = { "plaintext", "ciphertext", "context", "associated_data",
                                            "key_version" };

    for (size_t i = 0; i < ARRAY_LEN(of_items); i++)
        if (!says_nothing(json_object_get(body, of_items[i])))
            return kms_fail(err, KMS_ERR_VALIDATION, "%s belongs into the items of batch_input",
                            of_items[i]);
    return 0;
}

static int check_item(const json_t *item, struct kms_error *err)
{
    static const char *const texts[] = { "plaintext", "ciphertext", "context", "associated_data",
                                         "reference" };
    struct span unused;
    int64_t version;

    if (!json_is_object(item) || json_object_get(item, "batch_input"))
        return kms_fail(err, KMS_ERR_VALIDATION, "an item of batch_input must be a request");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (transit_string(item, texts[i], &unused, err) < 0)
            return -1;
    return transit_int(item, "key_version", 0, &version, err);
}

static int check_items(const json_t *items, struct kms_error *err)
{
    const size_t count = json_array_size(items);

    if (!json_is_array(items))
        return kms_fail(err, KMS_ERR_VALIDATION, "batch_input must be a list");
    if (count == 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "missing batch_input to process");
    if (count > TRANSIT_BATCH_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION, "batch_input has more than %d items",
                        TRANSIT_BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        if (check_item(json_array_get(items, i), err) < 0)
            return -1;
    return 0;
}

/* RFC 9110 sections 15.2, 15.3.5, 15.3.6 and 15.4.5: not every status can have a body. */
static bool can_have_body(int64_t status)
{
    return status >= 200 && status <= 599 && status != 204 && status != 205 && status != 304;
}

static int read_partial_status(const json_t *body, int *ret, struct kms_error *err)
{
    int64_t status = 0;

    if (transit_int(body, "partial_failure_response_code", 0, &status, err) < 0)
        return -1;
    if (status && !can_have_body(status))
        return kms_fail(err, KMS_ERR_VALIDATION, "partial_failure_response_code is out of range");
    *ret = (int)status;
    return 0;
}

/* --- one item --------------------------------------------------------------------------------- */

/* Runs what was prepared, and empties its place for the next. */
static int run_prepared(struct transit_call *t, json_t **ret, struct kms_error *err)
{
    struct api_call *const call = &t->base.call;
    const char *const operation = call->operation;
    json_t *const parameters = json_incref(call->parameters);

    transit_set_operation(t, "", NULL);
    if (transit_step(t, operation, parameters, &call->result, err) < 0)
        return -1;
    const int written = t->route->write(t, ret, err);
    json_decref(call->result);
    call->result = NULL;
    return written;
}

/* An item that makes no operation is recorded as a request that makes none. */
static void record_refusal(struct transit_call *t, const struct kms_error *err)
{
    t->base.call.err = *err;
    api_refused(t->base.api, &t->base.call);
    kms_error_clear(&t->base.call.err);
    t->stepped = true;
}

static int run_item(struct transit_call *t, const json_t *item, prepare_item *prepare, json_t **ret,
                    struct kms_error *err)
{
    t->base.dialect = t->route->answers;
    if (prepare(t, item, err) == 0)
        return run_prepared(t, ret, err);
    record_refusal(t, err);
    return -1;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* Takes data over; NULL is no memory. */
static int add_result(struct batch *batch, const json_t *item, json_t *data, struct kms_error *err)
{
    json_t *const reference = json_object_get(item, "reference");
    json_auto_t *owned = data;

    if (owned == NULL || (reference && json_object_set(owned, "reference", reference) < 0) ||
        json_array_append(batch->results, owned) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    return 0;
}

/* Never empty: clients take an item without a text for one that succeeded. */
static json_t *error_data(const struct kms_error *err, const char *text)
{
    json_t *const shown = text[0] ? json_string(text) : NULL; /* NULL too when it is no UTF-8 */

    return json_pack("{s:o}", "error", shown ? shown : json_string(kms_err_name(err->code)));
}

/* In last is why. */
static int add_failure(struct batch *batch, const struct transit_call *t, const json_t *item,
                       struct kms_error *err)
{
    const struct transit_failure failure = transit_failure(&batch->last, t->base.dialect);

    if (batch->failed++ == 0)
        batch->status = failure.status;
    else if (batch->status != failure.status)
        batch->status = BAD_REQUEST;
    batch->blocked = failure.status == 429 || failure.status >= 500;
    return add_result(batch, item, error_data(&batch->last, failure.text), err);
}

/* What is throttled or out of reach does not come back within a request: trying on is only slow. */
static int run_items(struct transit_call *t, const json_t *items, prepare_item *prepare,
                     struct batch *batch, struct kms_error *err)
{
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *const item = json_array_get(items, i);
        json_t *data = NULL;
        if (!batch->blocked)
            kms_error_clear(&batch->last);
        const bool failed = batch->blocked || run_item(t, item, prepare, &data, &batch->last) < 0;
        const int added =
            failed ? add_failure(batch, t, item, err) : add_result(batch, item, data, err);
        if (added < 0)
            return -1;
    }
    return 0;
}

/* Failures that are the service's are told as such: such a request is sent again. */
static int status_of(const struct batch *batch, bool all)
{
    if (batch->failed == 0)
        return 200;
    if (!all && batch->partial_status)
        return batch->partial_status;
    return batch->status >= 500 ? batch->status : BAD_REQUEST;
}

static int answer(struct transit_call *t, struct batch *batch, struct kms_error *err)
{
    const bool all = batch->failed == json_array_size(batch->results);
    struct http_answer written;

    if (all && batch->status != BAD_REQUEST) {
        *err = batch->last;
        return -1;
    }
    if (transit_envelope(&t->base.call, json_pack("{s:O}", "batch_results", batch->results), NULL,
                         &written, err) < 0)
        return -1;
    written.status = status_of(batch, all);
    t->base.answer = written;
    t->base.answered = KMS_ERR_NONE;
    return 0;
}

int transit_prepare(struct transit_call *t, const json_t *body, prepare_item *item,
                    struct kms_error *err)
{
    AUTO(batch) batch = { 0 };

    if (!transit_is_batch(body))
        return item(t, body, err);
    const json_t *const items = json_object_get(body, "batch_input");
    if (check_alone(body, err) < 0 || check_items(items, err) < 0 ||
        read_partial_status(body, &batch.partial_status, err) < 0)
        return -1;
    batch.results = json_array();
    if (batch.results == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    if (run_items(t, items, item, &batch, err) < 0)
        return -1;
    return answer(t, &batch, err);
}
