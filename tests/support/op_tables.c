#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/api/ops.h"

/* Prints the operations of AWS KMS that have a row, with their field tables, and the names of all
 * errors, as JSON. */

static const char *const kinds[FIELD_KINDS] = {
    [FIELD_STRING] = "string",
    [FIELD_ENUM] = "enum",
    [FIELD_INT] = "int",
    [FIELD_BOOL] = "bool",
    [FIELD_SECRET] = "blob",
    [FIELD_BLOB] = "blob",
    [FIELD_CONTEXT] = "context",
    [FIELD_STRINGS] = "strings",
    [FIELD_TAGS] = "tags",
    [FIELD_PRESENCE] = "presence",
    [FIELD_CONSTRAINTS] = "constraints",
};

static json_t *texts_of(const struct field *field)
{
    json_t *const texts = json_array();

    for (const char *const *text = field->texts; text && *text; text++)
        (void)json_array_append_new(texts, json_string(*text));
    return texts;
}

static json_t *field_of(const struct field *field)
{
    const char *const kind = kinds[field->kind];

    return json_pack("{s:s, s:b, s:I, s:I, s:I, s:s*, s:o}", "kind", kind ? kind : "other",
                     "required", field->need == REQUIRED, "min", (json_int_t)field->min, "max",
                     (json_int_t)field->max, "item_max", (json_int_t)field->item_max, "pattern",
                     field->pattern ? field->pattern->text : NULL, "texts", texts_of(field));
}

static json_t *fields_of(const struct op *op)
{
    json_t *const fields = json_object();

    for (const struct field *field = op->request->fields; field->name; field++)
        (void)json_object_set_new(fields, field->name, field_of(field));
    return fields;
}

static json_t *operations(void)
{
    json_t *const all = json_object();

    for (size_t i = 0; i < op_count; i++)
        if (ops[i].service == API_KMS)
            (void)json_object_set_new(all, ops[i].name, fields_of(&ops[i]));
    return all;
}

static json_t *errors(void)
{
    json_t *const all = json_array();

    for (enum kms_err code = KMS_ERR_NONE + 1; code < KMS_ERR_COUNT; code++)
        (void)json_array_append_new(all, json_string(kms_err_name(code)));
    return all;
}

int main(void)
{
    json_auto_t *all = json_pack("{s:o, s:o}", "operations", operations(), "errors", errors());

    return json_dumpf(all, stdout, JSON_INDENT(1) | JSON_SORT_KEYS) == 0 ? EXIT_SUCCESS
                                                                         : EXIT_FAILURE;
}
