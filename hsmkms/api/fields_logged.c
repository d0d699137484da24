#include "hsmkms/api/fields.h"

/* Audit side of the field tables: what of a request is written down, in which names. */

static json_t *lower_object(json_t *object)
{
    json_t *const copy = json_object();
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)(void)
        json_object_set_new(copy, field_path(name).text, json_lower_camel(value));
    return copy;
}

static json_t *lower_array(const json_t *array)
{
    json_t *const copy = json_array();

    for (size_t i = 0; i < json_array_size(array); i++)
        (void)json_array_append_new(copy, json_lower_camel(json_array_get(array, i)));
    return copy;
}

json_t *json_lower_camel(const json_t *value)
{
    if (json_is_object(value))
        return lower_object((json_t *)value); /* jansson iterates over non-const objects only */
    if (json_is_array(value))
        return lower_array(value);
    return json_deep_copy(value);
}

static json_t *preset_of(const struct field *field)
{
    if (field->kind == FIELD_BOOL)
        return json_false();
    return json_string(field->kind == FIELD_ENUM ? field->texts[0] : "");
}

/* Only the names of the object's own members. */
static json_t *lower_members(json_t *object)
{
    json_t *const copy = json_object();
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)(void)
        json_object_set(copy, field_path(name).text, value);
    return copy;
}

/* Names inside an encryption context are the caller's and stay as they are. */
static json_t *logged_member(const struct field *field, json_t *value)
{
    if (value == NULL || json_is_null(value))
        return field->log == FILLED ? preset_of(field) : NULL;
    if (field->kind == FIELD_CONSTRAINTS)
        return lower_members(value);
    return field->kind == FIELD_TAGS ? json_lower_camel(value) : json_incref(value);
}

json_t *fields_logged(const struct field *fields, json_t *object)
{
    json_t *logged = NULL;

    for (const struct field *field = fields; field->name; field++) {
        if (field->log == UNLOGGED)
            continue;
        json_t *const value = logged_member(field, json_object_get(object, field->name));
        if (value && logged == NULL)
            logged = json_object();
        if (value)
            (void)json_object_set_new(logged, field_path(field->name).text, value);
    }
    return logged;
}
