#include "hsmkms/api/op.h"
#include "tests/support/check.h"

/* Walks the table of operations: what a row must have, whatever the operation. */

static const size_t sizes[FIELD_KINDS] = {
    [FIELD_STRING] = sizeof(const char *),
    [FIELD_ENUM] = sizeof(const char *),
    [FIELD_INT] = sizeof(int64_t),
    [FIELD_BOOL] = sizeof(bool),
    [FIELD_SECRET] = sizeof(struct secret),
    [FIELD_BLOB] = sizeof(struct buf),
    [FIELD_CONTEXT] = sizeof(struct request_context),
    [FIELD_STRINGS] = sizeof(struct string_list),
    [FIELD_TAGS] = sizeof(struct tag_list),
    [FIELD_PRESENCE] = sizeof(bool),
    [FIELD_CONSTRAINTS] = sizeof(struct request_constraints),
    [FIELD_TIME] = sizeof(int64_t),
};

static void test_rows_are_whole(void **state)
{
    (void)state;
    CHECK(op_count > 0);
    for (size_t i = 0; i < op_count; i++) {
        CHECK(ops[i].name && ops[i].run && ops[i].request && ops[i].request->fields);
        CHECK(ops[i].request->size >= sizeof(struct request_head));
        CHECK(op_find(ops[i].service, ops[i].name) == &ops[i]); /* so names are unique */
        assert_string_equal(api_operation_name(i), ops[i].name);
        if (ops[i].effect == OP_READS)
            CHECK(ops[i].answer == ANSWER_UNLOGGED || ops[i].answer == ANSWER_WITHOUT_SECRETS);
    }
    CHECK(api_operation_name(op_count) == NULL);
}

static void test_names_are_exact(void **state)
{
    static const char *const none[] = { "", "encrypt", "Encrypt ", "sign", "ReEncryptFrom" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        CHECK(op_find(API_KMS, none[i]) == NULL);
}

static void check_field(const struct op *op, const struct field *field)
{
    if (field->kind >= FIELD_KINDS || field->offset + sizes[field->kind] > op->request->size)
        fail_msg("%s.%s lies outside its request", op->name, field->name);
    if (field->min > field->max)
        fail_msg("%s.%s has no value in its bounds", op->name, field->name);
    if (field->kind == FIELD_INT && field->min < 1)
        fail_msg("%s.%s cannot tell 0 from absent", op->name, field->name);
    if (field->kind == FIELD_ENUM && (field->texts == NULL || field->texts[0] == NULL))
        fail_msg("%s.%s has no texts", op->name, field->name);
    if (field->need == PRESET && field->kind != FIELD_ENUM)
        fail_msg("%s.%s has no preset", op->name, field->name);
    if (field->kind == FIELD_STRINGS && field->texts == NULL && field->item_max == 0)
        fail_msg("%s.%s has elements without bounds", op->name, field->name);
    if (field->log == FILLED && field->kind != FIELD_ENUM && field->kind != FIELD_BOOL &&
        field->kind != FIELD_STRING)
        fail_msg("%s.%s cannot be filled in", op->name, field->name);
}

/* What carries private or sealed bytes never reaches the audit trail. */
static void check_private(const struct op *op, const struct field *field)
{
    const bool sealed = field->kind == FIELD_SECRET || field->kind == FIELD_BLOB ||
                        strncmp(field->name, "GrantToken", 10) == 0;

    if (field->sensitive && field->log != UNLOGGED)
        fail_msg("%s.%s is shown nowhere but logged", op->name, field->name);
    if (sealed && field->log != UNLOGGED)
        fail_msg("%s.%s must not be logged", op->name, field->name);
}

static void test_fields_are_sane(void **state)
{
    (void)state;
    for (size_t i = 0; i < op_count; i++)
        for (const struct field *field = ops[i].request->fields; field->name; field++) {
            check_field(&ops[i], field);
            check_private(&ops[i], field);
            for (const struct field *other = ops[i].request->fields; other != field; other++)
                if (strcmp(other->name, field->name) == 0 || other->offset == field->offset)
                    fail_msg("%s.%s stands twice", ops[i].name, field->name);
        }
}

/* Decoding an empty object neither crashes nor leaks, and says what is missing. */
static void test_empty_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < op_count; i++) {
        struct kms_error err = { 0 };
        json_auto_t *empty = json_object();
        uint8_t room[16384] __attribute__((aligned(16))) = { 0 };
        bool needs = false;

        for (const struct field *field = ops[i].request->fields; field->name; field++)
            needs = needs || field->need == REQUIRED;
        CHECK(ops[i].request->size <= sizeof(room));
        assert_int_equal(fields_decode(ops[i].request->fields, empty, room, &err), needs ? -1 : 0);
        assert_int_equal(err.code, needs ? KMS_ERR_VALIDATION : KMS_ERR_NONE);
        fields_release(ops[i].request->fields, room);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_names_are_exact),
        cmocka_unit_test(test_fields_are_sane),
        cmocka_unit_test(test_empty_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
