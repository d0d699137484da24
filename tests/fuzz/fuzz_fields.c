/*
 * fields_decode, fields_logged, json_lower_camel: any JSON through the field table of every
 * operation. What is accepted keeps its bounds; what is not is a 4xx row with a message that is
 * UTF-8.
 */

#include <stdlib.h>

#include "hsmkms/api/op.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void demand_bounds(const struct field *field, const void *place)
{
    const struct secret *const secret = place;
    const struct buf *const blob = place;

    if (field->kind == FIELD_SECRET)
        demand(secret->ptr == NULL || (secret->len >= field->min && secret->len <= field->max));
    if (field->kind == FIELD_BLOB)
        demand(blob->ptr == NULL || (blob->len >= field->min && blob->len <= field->max));
    if (field->kind == FIELD_INT && *(const int64_t *)place != 0)
        demand(*(const int64_t *)place >= (int64_t)field->min &&
               *(const int64_t *)place <= (int64_t)field->max);
    if (field->kind == FIELD_CONTEXT)
        demand(((const struct request_context *)place)->canonical.len <= CONTEXT_BYTES_MAX);
}

static void demand_error(const struct kms_error *err)
{
    json_t *const text = json_string(err->message);

    demand(err->code == KMS_ERR_VALIDATION || err->code == KMS_ERR_SERIALIZATION);
    demand(text != NULL);
    json_decref(text);
}

static void run(const struct op *op, json_t *object)
{
    struct kms_error err = { 0 };
    uint8_t *const request = calloc(1, op->request->size);

    demand(request != NULL);
    if (fields_decode(op->request->fields, object, request, &err) < 0)
        demand_error(&err);
    else
        for (const struct field *field = op->request->fields; field->name; field++)
            demand_bounds(field, request + field->offset);
    fields_release(op->request->fields, request);
    free(request);

    json_decref(fields_logged(op->request->fields, object));
    json_t *const lower = json_lower_camel(object);
    demand(lower != NULL);
    json_decref(lower);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *const object = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);

    for (size_t i = 0; object && i < op_count; i++)
        run(&ops[i], object);
    json_decref(object);
    return 0;
}
