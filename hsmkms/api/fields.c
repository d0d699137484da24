#include "hsmkms/api/fields.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hsmkms/api/violations.h"
#include "hsmkms/base/clock.h"
#include "hsmkms/base/encode.h"

/* One member being decoded. */
struct member {
    const struct field *field;
    const json_t *value;
    void *place;
    struct violations *violations;
};

struct field_path field_path(const char *name)
{
    struct field_path path;

    (void)snprintf(path.text, sizeof(path.text), "%s", name);
    path.text[0] = (char)tolower((unsigned char)path.text[0]);
    return path;
}

/* Path of element i of a list, or of a member of it. */
static struct field_path element_path(const char *name, size_t i, const char *member)
{
    struct field_path path = field_path(name);
    const size_t len = strlen(path.text);

    (void)snprintf(path.text + len, sizeof(path.text) - len, ".%zu.member%s%s", i + 1,
                   *member ? "." : "", member);
    return path;
}

static struct span json_span(const json_t *text)
{
    return span_of(json_string_value(text), json_string_length(text));
}

static struct shown show(struct span text)
{
    return (struct shown){ SHOWN_TEXT, text };
}

/* The texts that AWS's JSON services send for a member of another type. */
static int wrong_type(const json_t *value, const char *wanted, struct kms_error *err)
{
    static const char *const names[] = {
        [JSON_STRING] = "STRING_VALUE", [JSON_INTEGER] = "NUMBER_VALUE",
        [JSON_REAL] = "NUMBER_VALUE",   [JSON_TRUE] = "TRUE_VALUE",
        [JSON_FALSE] = "FALSE_VALUE",   [JSON_NULL] = "NULL_VALUE",
    };

    if (json_is_object(value))
        return kms_fail(err, KMS_ERR_SERIALIZATION,
                        "Start of structure or map found where not expected.");
    if (json_is_array(value))
        return kms_fail(err, KMS_ERR_SERIALIZATION, "Start of list found where not expected.");
    return kms_fail(err, KMS_ERR_SERIALIZATION, "%s cannot be converted to %s",
                    names[json_typeof(value)], wanted);
}

/* A C string: JSON can carry a NUL that would hide what follows. */
static int need_text(const json_t *value, struct kms_error *err)
{
    if (!json_is_string(value))
        return wrong_type(value, "String", err);
    if (memchr(json_string_value(value), '\0', json_string_length(value)) != NULL)
        return kms_fail(err, KMS_ERR_SERIALIZATION, "NUL character in a String");
    return 0;
}

static void check_length(struct violations *violations, struct shown shown, const char *path,
                         size_t len, size_t min, size_t max)
{
    if (len > max)
        violations_add(violations, shown, path, "have length less than or equal to %zu", max);
    if (len < min)
        violations_add(violations, shown, path, "have length greater than or equal to %zu", min);
}

static void check_bounds(const struct member *member, struct shown shown, size_t len)
{
    check_length(member->violations, shown, field_path(member->field->name).text, len,
                 member->field->min, member->field->max);
}

/* The row's own text equal to this one, or NULL and a violation. */
static const char *check_texts(const struct field *field, const char *text, const char *path,
                               struct violations *violations)
{
    AUTO(buf) set = { 0 };

    for (const char *const *row = field->texts; *row; row++) {
        if (strcmp(*row, text) == 0)
            return *row;
        buf_printf(&set, "%s%s", row == field->texts ? "" : ", ", *row);
    }
    violations_add(violations, show(span_text(text)), path, "satisfy enum value set: [%.*s]",
                   (int)set.len, set.ptr ? (const char *)set.ptr : "");
    return NULL;
}

static int decode_string(const struct member *member, struct kms_error *err)
{
    if (need_text(member->value, err) < 0)
        return -1;

    const struct field *const field = member->field;
    const struct span text = json_span(member->value);
    const struct shown shown =
        field->sensitive ? (struct shown){ .kind = SHOWN_NOTHING } : show(text);
    check_bounds(member, shown, utf8_length(text));
    if (field->pattern && !pattern_matches(field->pattern, text))
        violations_add(member->violations, shown, field_path(field->name).text,
                       "satisfy regular expression pattern: %s", field->pattern->text);
    *(const char **)member->place = json_string_value(member->value);
    return 0;
}

static int decode_enum(const struct member *member, struct kms_error *err)
{
    if (need_text(member->value, err) < 0)
        return -1;
    *(const char **)member->place =
        check_texts(member->field, json_string_value(member->value),
                    field_path(member->field->name).text, member->violations);
    return 0;
}

/* A JSON number that is whole; clients also send 7.0. */
static bool whole_number(const json_t *value, int64_t *ret)
{
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return true;
    }
    const double number = json_real_value(value); /* 0 for other types */
    if (!json_is_real(value) || !(number > -9e15 && number < 9e15) ||
        (double)(int64_t)number != number)
        return false;
    *ret = (int64_t)number;
    return true;
}

static int decode_int(const struct member *member, struct kms_error *err)
{
    const struct field *const field = member->field;
    int64_t value = 0;
    char text[24];

    if (!whole_number(member->value, &value))
        return wrong_type(member->value, "Integer", err);
    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    if (value > (int64_t)field->max)
        violations_add(member->violations, show(span_text(text)), field_path(field->name).text,
                       "have value less than or equal to %zu", field->max);
    if (value < (int64_t)field->min)
        violations_add(member->violations, show(span_text(text)), field_path(field->name).text,
                       "have value greater than or equal to %zu", field->min);
    *(int64_t *)member->place = value;
    return 0;
}

/* Seconds since 1970, also with a fraction. Only times that a calendar has and 0 does not mean. */
static int decode_time(const struct member *member, struct kms_error *err)
{
    if (!json_is_number(member->value))
        return wrong_type(member->value, "Timestamp", err);
    const double seconds = json_number_value(member->value);
    if (!(seconds >= 0.001 && seconds < 253402300800.0)) /* the year 10000 */
        violations_add(member->violations, (struct shown){ SHOWN_NOTHING, { 0 } },
                       field_path(member->field->name).text, "be a time after 1970");
    else
        *(int64_t *)member->place = (int64_t)(seconds * (double)MS_PER_SECOND);
    return 0;
}

static int decode_bool(const struct member *member, struct kms_error *err)
{
    if (!json_is_boolean(member->value))
        return wrong_type(member->value, "Boolean", err);
    *(bool *)member->place = json_is_true(member->value);
    return 0;
}

static int bad_base64(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_SERIALIZATION, "A blob is not valid base64");
}

/* Decoded size of a blob that keeps its bounds; 0 and a violation for one that does not. */
static int blob_size(const struct member *member, size_t *ret, struct kms_error *err)
{
    const struct field *const field = member->field;

    if (!json_is_string(member->value))
        return wrong_type(member->value, "Blob", err);
    if (!base64_size(json_span(member->value), ret))
        return bad_base64(err);
    check_bounds(member, (struct shown){ SHOWN_NOTHING, { 0 } }, *ret);
    if (*ret < field->min || *ret > field->max)
        *ret = 0;
    return 0;
}

static int decode_secret(const struct member *member, struct kms_error *err)
{
    AUTO(secret) secret = { 0 };
    size_t len = 0;

    if (blob_size(member, &len, err) < 0)
        return -1;
    if (len == 0)
        return 0;
    if (secret_new(&secret, len, err) < 0)
        return -1;
    if (!base64_parse(json_span(member->value), secret.ptr, len))
        return bad_base64(err);
    *(struct secret *)member->place = secret_take(&secret);
    return 0;
}

static int decode_blob(const struct member *member, struct kms_error *err)
{
    AUTO(buf) blob = { 0 };
    size_t len = 0;

    if (blob_size(member, &len, err) < 0)
        return -1;
    if (len == 0)
        return 0;

    uint8_t *const room = buf_room(&blob, len);
    if (buf_check(&blob, err) < 0)
        return -1;
    if (!base64_parse(json_span(member->value), room, len))
        return bad_base64(err);
    *(struct buf *)member->place = buf_take(&blob);
    return 0;
}

/* A map of texts, not looked at further; the first CONTEXT_PAIRS_MAX pairs. */
static int decode_map(json_t *map, struct context *ret, struct kms_error *err)
{
    const char *name;
    size_t len;
    json_t *value;

    if (!json_is_object(map))
        return wrong_type(map, "Map", err);
    json_object_keylen_foreach(map, name, len, value)
    {
        if (need_text(value, err) < 0)
            return -1;
        if (ret->count < CONTEXT_PAIRS_MAX)
            ret->pairs[ret->count++] =
                (struct context_pair){ span_of(name, len), json_span(value) };
    }
    return 0;
}

static int decode_context(const struct member *member, struct kms_error *err)
{
    struct context *const context = &((struct request_context *)member->place)->pairs;
    json_t *const map = (json_t *)member->value; /* jansson iterates over non-const objects only */

    if (decode_map(map, context, err) < 0)
        return -1;
    check_length(member->violations, (struct shown){ SHOWN_NOTHING, { 0 } },
                 field_path(member->field->name).text, json_object_size(map), 0, CONTEXT_PAIRS_MAX);
    return 0;
}

/* One of the maps of a grant's constraints. */
static int decode_constraint(const struct member *member, const char *name, struct context *ret,
                             bool *ret_given, struct kms_error *err)
{
    json_t *const map = json_object_get(member->value, name);
    const struct field *const field = member->field;
    struct field_path path = field_path(field->name);
    const size_t len = strlen(path.text);

    if (map == NULL || json_is_null(map))
        return 0;
    if (decode_map(map, ret, err) < 0)
        return -1;
    if (snprintf(path.text + len, sizeof(path.text) - len, ".%s", field_path(name).text) < 0)
        path.text[len] = '\0';
    check_length(member->violations, (struct shown){ SHOWN_NOTHING, { 0 } }, path.text,
                 json_object_size(map), 0, field->max);
    for (size_t i = 0; i < ret->count && i < field->max; i++) {
        const struct context_pair *const pair = &ret->pairs[i];
        check_length(member->violations, show(pair->name), path.text, utf8_length(pair->name), 1,
                     CONTEXT_BYTES_MAX);
        check_length(member->violations, show(pair->value), path.text, utf8_length(pair->value), 0,
                     field->item_max);
    }
    *ret_given = true;
    return 0;
}

static int decode_constraints(const struct member *member, struct kms_error *err)
{
    struct request_constraints *const constraints = member->place;
    const json_t *const source = json_object_get(member->value, "SourceArn");

    if (!json_is_object(member->value))
        return wrong_type(member->value, "Structure", err);
    constraints->has_source_arn = source != NULL && !json_is_null(source);
    if (constraints->has_source_arn && need_text(source, err) < 0)
        return -1;
    if (decode_constraint(member, "EncryptionContextSubset", &constraints->subset,
                          &constraints->has_subset, err) < 0)
        return -1;
    return decode_constraint(member, "EncryptionContextEquals", &constraints->equals,
                             &constraints->has_equals, err);
}

/*
 * Room for the elements of a list; checks its size. One that is too long has no elements to look
 * at: a body full of them would be told in a message many times its size.
 */
static int list_room(const struct member *member, size_t item_size, void **ret, size_t *ret_count,
                     struct kms_error *err)
{
    const size_t count = json_array_size(member->value);

    if (!json_is_array(member->value))
        return wrong_type(member->value, "List", err);
    check_bounds(member, (struct shown){ SHOWN_NOTHING, { 0 } }, count);
    *ret_count = count > member->field->max ? 0 : count;
    *ret = calloc(*ret_count + 1, item_size);
    if (*ret == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory");
    return 0;
}

static int decode_strings(const struct member *member, struct kms_error *err)
{
    const struct field *const field = member->field;
    struct string_list *const list = member->place;
    void *room = NULL;
    size_t count = 0;

    if (list_room(member, sizeof(*list->items), &room, &count, err) < 0)
        return -1;
    list->items = room; /* owned by the request from here */
    for (size_t i = 0; i < count; i++) {
        const json_t *const item = json_array_get(member->value, i);
        const struct field_path path = element_path(field->name, i, "");

        if (need_text(item, err) < 0)
            return -1;
        const struct span text = json_span(item);
        if (field->texts)
            (void)check_texts(field, json_string_value(item), path.text, member->violations);
        else
            check_length(member->violations, show(text), path.text, utf8_length(text), 1,
                         field->item_max);
        list->items[list->count++] = json_string_value(item);
    }
    return 0;
}

/* One text of a tag; an absent one is a violation and leaves "". */
static int decode_tag_text(const struct member *member, size_t i, const char *name, size_t min,
                           size_t max, char **ret, struct kms_error *err)
{
    const json_t *const value = json_object_get(json_array_get(member->value, i), name);
    const struct field_path path = element_path(member->field->name, i, field_path(name).text);

    *ret = (char *)""; /* borrowed and only read, like the text below */
    if (value == NULL || json_is_null(value)) {
        violations_add(member->violations, (struct shown){ SHOWN_NULL, { 0 } }, path.text,
                       "not be null");
        return 0;
    }
    if (need_text(value, err) < 0)
        return -1;
    const struct span text = json_span(value);
    check_length(member->violations, show(text), path.text, utf8_length(text), min, max);
    *ret = (char *)json_string_value(value);
    return 0;
}

static int decode_tags(const struct member *member, struct kms_error *err)
{
    static const char *const of_kms[] = { "TagKey", "TagValue" };
    const char *const *const names = member->field->texts ? member->field->texts : of_kms;
    struct tag_list *const list = member->place;
    void *room = NULL;
    size_t count = 0;

    if (list_room(member, sizeof(*list->items), &room, &count, err) < 0)
        return -1;
    list->items = room; /* owned by the request from here */
    for (size_t i = 0; i < count; i++) {
        struct tag_record *const tag = &list->items[list->count++];
        const json_t *const item = json_array_get(member->value, i);

        if (!json_is_object(item))
            return wrong_type(item, "Structure", err);
        if (decode_tag_text(member, i, names[0], 1, 128, &tag->tag_key, err) < 0 ||
            decode_tag_text(member, i, names[1], 0, 256, &tag->tag_value, err) < 0)
            return -1;
    }
    return 0;
}

static int decode_presence(const struct member *member, struct kms_error *err)
{
    if (!json_is_object(member->value))
        return wrong_type(member->value, "Structure", err);
    *(bool *)member->place = true;
    return 0;
}

static int decode_member(const struct member *member, struct kms_error *err)
{
    static int (*const decoders[FIELD_KINDS])(const struct member *, struct kms_error *) = {
        [FIELD_STRING] = decode_string,   [FIELD_ENUM] = decode_enum,
        [FIELD_INT] = decode_int,         [FIELD_BOOL] = decode_bool,
        [FIELD_SECRET] = decode_secret,   [FIELD_BLOB] = decode_blob,
        [FIELD_CONTEXT] = decode_context, [FIELD_STRINGS] = decode_strings,
        [FIELD_TAGS] = decode_tags,       [FIELD_PRESENCE] = decode_presence,
        [FIELD_CONSTRAINTS] = decode_constraints, [FIELD_TIME] = decode_time,
    };
    return decoders[member->field->kind](member, err);
}

static void absent_member(const struct member *member)
{
    const struct field *const field = member->field;

    if (field->need == REQUIRED)
        violations_add(member->violations, (struct shown){ SHOWN_NULL, { 0 } },
                       field_path(field->name).text, "not be null");
    if (field->need == PRESET)
        *(const char **)member->place = field->texts[0];
}

/* Canonical bytes of every context, also of those that were not given. */
static int make_canonical(const struct field *fields, void *request, struct kms_error *err)
{
    for (const struct field *field = fields; field->name; field++) {
        if (field->kind != FIELD_CONTEXT)
            continue;
        struct request_context *const context = (void *)((uint8_t *)request + field->offset);
        if (context_canonical(&context->pairs, &context->canonical, err) < 0)
            return -1;
    }
    return 0;
}

int fields_decode(const struct field *fields, const json_t *object, void *request,
                  struct kms_error *err)
{
    AUTO(violations) violations = { 0 };

    if (!json_is_object(object))
        return kms_fail(err, KMS_ERR_SERIALIZATION, "%s", "");
    for (const struct field *field = fields; field->name; field++) {
        const struct member member = { field, json_object_get(object, field->name),
                                       (uint8_t *)request + field->offset, &violations };

        if (member.value == NULL || json_is_null(member.value))
            absent_member(&member);
        else if (decode_member(&member, err) < 0)
            return -1;
    }
    if (violations_check(&violations, err) < 0)
        return -1;
    return make_canonical(fields, request, err);
}

void fields_release(const struct field *fields, void *request)
{
    for (const struct field *field = fields; field->name; field++) {
        void *const place = (uint8_t *)request + field->offset;

        if (field->kind == FIELD_SECRET)
            secret_done(place);
        else if (field->kind == FIELD_BLOB)
            buf_done(place);
        else if (field->kind == FIELD_CONTEXT)
            buf_done(&((struct request_context *)place)->canonical);
        else if (field->kind == FIELD_STRINGS)
            free(((struct string_list *)place)->items);
        else if (field->kind == FIELD_TAGS)
            free(((struct tag_list *)place)->items);
    }
}
