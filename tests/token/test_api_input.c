#include <stdlib.h>

#include "hsmkms/base/encode.h"
#include "tests/support/api_rig.h"
#include "tests/support/check.h"

/* Hostile input in every field of every operation, and many callers at once. */

#define NO_SUCH_KEY "00000000-0000-4000-8000-000000000000"

static struct api_rig rig;

/* --- many callers at once --------------------------------------------------------------------- */

struct caller {
    pthread_t thread;
    const char *key_id;
    int failures; /* cmocka's checks belong to the main thread */
};

static int round_trip(const char *key_id)
{
    AUTO(outcome)
    made = rig_ask(&rig, "GenerateDataKey", "{'KeyId':'%s','KeySpec':'AES_256'}", key_id);
    if (made.err.code != KMS_ERR_NONE)
        return 1;
    AUTO(outcome)
    opened =
        rig_ask(&rig, "Decrypt", "{'CiphertextBlob':'%s'}", text_of(made.result, "CiphertextBlob"));
    if (opened.err.code != KMS_ERR_NONE)
        return 1;
    return !json_equal(json_object_get(opened.result, "Plaintext"),
                       json_object_get(made.result, "Plaintext"));
}

static void *call_often(void *arg)
{
    struct caller *const caller = arg;

    for (int i = 0; i < 40; i++)
        caller->failures += round_trip(caller->key_id);
    return NULL;
}

/* Data keys go on being made and opened while the key is rotated under them. */
static void test_many_callers(void **state)
{
    const struct uuid_text id = rig_key(&rig);
    struct caller callers[4] = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        callers[i].key_id = id.text;
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        json_decref(rig_ok(&rig, "RotateKeyOnDemand", "{'KeyId':'%s'}", id.text));
    for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
        assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
        assert_int_equal(callers[i].failures, 0);
    }
}

/* --- bad input in every field of every operation ---------------------------------------------- */

/* A value that a required field takes. */
static json_t *good_value(const struct field *field, const char *key)
{
    if (field->kind == FIELD_SECRET)
        return json_string("aGk=");
    if (field->kind == FIELD_ENUM)
        return json_string(field->texts[0]);
    if (field->kind == FIELD_TAGS)
        return json_pack("[{s:s, s:s}]", "TagKey", "k", "TagValue", "v");
    if (field->kind == FIELD_STRINGS)
        return json_pack("[s]", field->texts ? field->texts[0] : "k");
    if (field->offset == offsetof(struct request_head, key_id) ||
        field->offset == offsetof(struct request_head, destination_id))
        return json_string(key);
    if (field->offset == offsetof(struct request_head, alias_name))
        return json_string("alias/bad-input");
    return json_string("{}");
}

/* Parameters that would do something, so that a bad one beside them has to stop it. */
static json_t *good_parameters(const struct op *op, const char *key, const char *blob)
{
    json_t *const good = json_object();

    for (const struct field *field = op->request->fields; field->name; field++) {
        if (field->kind == FIELD_BLOB)
            CHECK(json_object_set_new(good, field->name, json_string(blob)) == 0);
        else if (field->need == REQUIRED)
            CHECK(json_object_set_new(good, field->name, good_value(field, key)) == 0);
    }
    return good;
}

static void check_bad(const struct op *op, const json_t *good, const struct field *field,
                      json_t *value)
{
    const uint64_t before = store_sequence(rig.below.store);
    json_t *const parameters = json_deep_copy(good);
    char *const text = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

    CHECK(json_object_set_new(parameters, "NoSuchMember", json_true()) == 0);
    if (value)
        CHECK(json_object_set_new(parameters, field->name, value) == 0);
    else
        CHECK(json_object_del(parameters, field->name) == 0);
    AUTO(outcome) outcome = rig_call(&rig, op->name, parameters);
    if (outcome.err.code != KMS_ERR_VALIDATION && outcome.err.code != KMS_ERR_SERIALIZATION)
        fail_msg("%s.%s = %.60s: %s %s", op->name, field->name, text ? text : "absent",
                 kms_err_name(outcome.err.code), outcome.err.message);
    assert_int_equal(kms_err_status(outcome.err.code), 400);
    assert_int_equal(store_sequence(rig.below.store), before);
    free(text);
}

static json_t *long_text(size_t len)
{
    char *const text = malloc(len + 1);

    memset(text, 'A', len);
    text[len] = '\0';
    json_t *const value = json_string(text);
    free(text);
    return value;
}

/* Values of a JSON type that no kind but one takes. */
static void check_types(const struct op *op, const json_t *good, const struct field *field)
{
    const enum field_kind kind = field->kind;
    const bool textual =
        kind == FIELD_STRING || kind == FIELD_ENUM || kind == FIELD_SECRET || kind == FIELD_BLOB;
    const bool structured =
        kind == FIELD_CONTEXT || kind == FIELD_PRESENCE || kind == FIELD_CONSTRAINTS;
    const bool listed = kind == FIELD_STRINGS || kind == FIELD_TAGS;

    if (!textual)
        check_bad(op, good, field, json_string("x"));
    if (kind != FIELD_INT && kind != FIELD_TIME)
        check_bad(op, good, field, json_integer(7));
    if (kind != FIELD_TIME)
        check_bad(op, good, field, json_real(1.5));
    if (kind != FIELD_BOOL)
        check_bad(op, good, field, json_true());
    if (!structured)
        check_bad(op, good, field, json_object());
    if (!listed)
        check_bad(op, good, field, json_array());
    if (field->need == REQUIRED) {
        check_bad(op, good, field, NULL);
        check_bad(op, good, field, json_null());
    }
}

static void check_values(const struct op *op, const json_t *good, const struct field *field)
{
    const bool base64 = field->kind == FIELD_SECRET || field->kind == FIELD_BLOB;

    if (field->kind == FIELD_STRING) {
        check_bad(op, good, field, long_text(field->max + 1));
        if (field->min)
            check_bad(op, good, field, json_string(""));
        if (field->pattern)
            check_bad(op, good, field, json_string("\u20ac"));
    } else if (field->kind == FIELD_ENUM) {
        check_bad(op, good, field, json_string("nonsense"));
    } else if (field->kind == FIELD_INT) {
        check_bad(op, good, field, json_integer((json_int_t)field->max + 1));
        check_bad(op, good, field, json_integer((json_int_t)field->min - 1));
        check_bad(op, good, field, json_integer(-1));
    } else if (field->kind == FIELD_TIME) {
        check_bad(op, good, field, json_integer(0));
        check_bad(op, good, field, json_integer(-1));
        check_bad(op, good, field, json_real(1e300));
    } else if (base64) {
        check_bad(op, good, field, json_string(""));
        check_bad(op, good, field, json_string("not base64!"));
        check_bad(op, good, field, json_string("YQ"));
        check_bad(op, good, field, long_text(BASE64_LEN(field->max + 3)));
    } else if (field->kind == FIELD_CONTEXT) {
        check_bad(op, good, field, json_pack("{s:i}", "a", 1));
        check_bad(op, good, field, json_pack("{s:s}", "", "x"));
        check_bad(op, good, field, json_pack("{s:o}", "a", long_text(CONTEXT_BYTES_MAX)));
    } else if (field->kind == FIELD_TAGS) {
        check_bad(op, good, field, json_pack("[{s:s}]", "TagKey", "k"));
        check_bad(op, good, field, json_pack("[{s:s, s:s}]", "TagKey", "", "TagValue", "v"));
    } else if (field->kind == FIELD_STRINGS) {
        check_bad(op, good, field, json_pack("[i]", 1));
        check_bad(op, good, field, json_pack("[o]", long_text(field->item_max + 1)));
    }
}

static void test_bad_input_everywhere(void **state)
{
    const struct uuid_text id = rig_key(&rig);
    json_auto_t *made = rig_ok(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'aGk='}", id.text);

    (void)state;
    json_decref(
        rig_ok(&rig, "CreateAlias", "{'AliasName':'alias/bad-input','TargetKeyId':'%s'}", id.text));
    for (size_t i = 0; i < op_count; i++) {
        if (ops[i].service != API_KMS)
            continue;
        json_auto_t *good = good_parameters(&ops[i], id.text, text_of(made, "CiphertextBlob"));
        for (const struct field *field = ops[i].request->fields; field->name; field++) {
            check_types(&ops[i], good, field);
            check_values(&ops[i], good, field);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_callers),
        cmocka_unit_test(test_bad_input_everywhere),
    };
    return run_group(tests, ARRAY_LEN(tests), api_rig_up, api_rig_down, &rig);
}
