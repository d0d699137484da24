#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "hsmkms/api/worker.h"
#include "tests/support/api_rig.h"
#include "tests/support/check.h"

/* What the audit trail keeps, what the worker does by itself, and a trail that cannot be written.
 */

static struct api_rig rig;

static const json_t *record(const json_t *records, size_t from_end)
{
    return json_array_get(records, json_array_size(records) - 1 - from_end);
}

static void test_audit_of_crypto(void **state)
{
    const struct uuid_text id = rig_key(&rig);
    json_auto_t *made = rig_ok(&rig, "Encrypt",
                               "{'KeyId':'%s','Plaintext':'c2VjcmV0',"
                               "'EncryptionContext':{'KeyId':'V'}}",
                               id.text);

    (void)state;
    rig_refused(&rig, KMS_ERR_INVALID_CIPHERTEXT, "", "Decrypt", "{'CiphertextBlob':'%s'}",
                text_of(made, "CiphertextBlob"));
    json_auto_t *records = rig_records(&rig, 2);
    const json_t *const encrypted = record(records, 1), *const refused = record(records, 0);
    assert_string_equal(text_of(encrypted, "eventName"), "Encrypt");
    CHECK(json_is_true(member(encrypted, "readOnly")));
    assert_int_equal(strlen(text_of(member(encrypted, "additionalEventData"), "keyMaterialId")),
                     64);
    json_auto_t *want = json_pack("{s:s, s:s, s:{s:s}}", "keyId", id.text, "encryptionAlgorithm",
                                  "SYMMETRIC_DEFAULT", "encryptionContext", "KeyId", "V");
    CHECK(json_equal(member(encrypted, "requestParameters"), want));
    CHECK(strstr(text_of(json_array_get(member(encrypted, "resources"), 0), "ARN"), id.text));
    assert_string_equal(text_of(refused, "errorCode"), "InvalidCiphertextException");
    assert_string_equal(text_of(member(refused, "userIdentity"), "userName"), "tester");

    char *const text = json_dumps(records, 0);
    CHECK(strstr(text, "c2VjcmV0") == NULL);
    CHECK(strstr(text, text_of(made, "CiphertextBlob")) == NULL);
    free(text);
}

static void test_audit_of_changes(void **state)
{
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    json_auto_t *due = rig_ok(&rig, "ScheduleKeyDeletion", "{'KeyId':'%s'}", id.text);
    json_auto_t *records = rig_records(&rig, 2);
    const json_t *const intent = record(records, 1), *const result = record(records, 0);
    assert_string_equal(text_of(intent, "phase"), "intent");
    assert_string_equal(text_of(result, "phase"), "result");
    CHECK(json_integer_value(member(intent, "stateSequence")) ==
          json_integer_value(member(result, "stateSequence")));
    CHECK(json_integer_value(member(result, "stateSequence")) ==
          (json_int_t)store_sequence(rig.below.store));
    CHECK(json_is_false(member(result, "readOnly")));
    assert_string_equal(text_of(member(result, "responseElements"), "deletionDate"),
                        "Dec 20, 2026, 12:00:00 PM");
    rig_refused(&rig, KMS_ERR_INVALID_STATE, NULL, "EnableKey", "{'KeyId':'%s'}", id.text);
    json_auto_t *last = rig_records(&rig, 1);
    assert_string_equal(text_of(record(last, 0), "errorCode"), "KMSInvalidStateException");
    CHECK(json_object_get(record(last, 0), "phase") == NULL); /* nothing was begun */
}

/* What the clock asks for is done by the worker, once, and audited as its own doing. */
static void test_worker(void **state)
{
    const int64_t now = rig.clock.fixed_ms;
    const struct uuid_text turned = rig_key(&rig), gone = rig_key(&rig);
    json_auto_t *made = rig_ok(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'aGk='}", gone.text);

    (void)state;
    json_decref(
        rig_ok(&rig, "EnableKeyRotation", "{'KeyId':'%s','RotationPeriodInDays':90}", turned.text));
    json_decref(
        rig_ok(&rig, "ScheduleKeyDeletion", "{'KeyId':'%s','PendingWindowInDays':7}", gone.text));
    assert_int_equal(worker_round(rig.api), 0);
    rig.clock.fixed_ms = now + 7 * MS_PER_DAY - 1;
    (void)worker_round(rig.api);
    json_decref(rig_ok(&rig, "DescribeKey", "{'KeyId':'%s'}", gone.text));
    rig.clock.fixed_ms = now + 90 * MS_PER_DAY;
    CHECK(worker_round(rig.api) >= 2);
    assert_int_equal(worker_round(rig.api), 0);
    json_auto_t *rotations = rig_ok(&rig, "ListKeyRotations", "{'KeyId':'%s'}", turned.text);
    assert_int_equal(json_array_size(member(rotations, "Rotations")), 1);
    rig_refused(&rig, KMS_ERR_NOT_FOUND, NULL, "DescribeKey", "{'KeyId':'%s'}", gone.text);
    rig_refused(&rig, KMS_ERR_ACCESS_DENIED, NULL, "Decrypt", "{'CiphertextBlob':'%s'}",
                text_of(made, "CiphertextBlob"));
    rig.clock.fixed_ms = now;

    json_auto_t *records = rig_records(&rig, 100);
    size_t events = 0;
    for (size_t i = 0; i < json_array_size(records); i++)
        events += strcmp(text_of(json_array_get(records, i), "eventType"), "AwsServiceEvent") == 0;
    CHECK(events >= 4);
}

/* One round of a worker that has just been started. */
static void run_worker_once(void)
{
    struct kms_error err = { 0 };

    CHECK_OK(api_worker_start(rig.api, &err), err);
    api_worker_stop(rig.api);
}

/* After a start nobody knows whether the clock is right: rotations are made, deletions wait. */
static void test_worker_holds_deletions(void **state)
{
    const int64_t now = rig.clock.fixed_ms;
    const struct uuid_text turned = rig_key(&rig), gone = rig_key(&rig);

    (void)state;
    json_decref(
        rig_ok(&rig, "EnableKeyRotation", "{'KeyId':'%s','RotationPeriodInDays':90}", turned.text));
    json_decref(
        rig_ok(&rig, "ScheduleKeyDeletion", "{'KeyId':'%s','PendingWindowInDays':7}", gone.text));
    rig.keyring.limits.deletion_hold_s = 3600;
    rig.clock.fixed_ms = now + 90 * MS_PER_DAY;
    run_worker_once();
    json_auto_t *rotations = rig_ok(&rig, "ListKeyRotations", "{'KeyId':'%s'}", turned.text);
    assert_int_equal(json_array_size(member(rotations, "Rotations")), 1);
    json_auto_t *described = rig_ok(&rig, "DescribeKey", "{'KeyId':'%s'}", gone.text);
    assert_string_equal(text_of(member(described, "KeyMetadata"), "KeyState"), "PendingDeletion");

    rig.keyring.limits.deletion_hold_s = 0;
    run_worker_once();
    rig_refused(&rig, KMS_ERR_NOT_FOUND, NULL, "DescribeKey", "{'KeyId':'%s'}", gone.text);
    rig.clock.fixed_ms = now;
}

static void test_worker_starts_and_stops(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(api_worker_start(rig.api, &err), err);
    api_worker_stop(rig.api);
    api_worker_stop(rig.api);
}

static void test_unknown_operation(void **state)
{
    static const char *const names[] = { "sign", "", "encrypt" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        rig_refused(&rig, KMS_ERR_UNKNOWN_OPERATION, "", names[i], "{}");
}

static void test_metrics(void **state)
{
    AUTO(buf) text = { 0 };

    (void)state;
    json_decref(rig_ok(&rig, "ListKeys", "{}"));
    api_metrics(rig.api, &text);
    buf_u8(&text, 0);
    CHECK(strstr((const char *)text.ptr,
                 "hsmkms_requests_total{operation=\"ListKeys\",result=\"ok\"}"));
    CHECK(strstr((const char *)text.ptr,
                 "hsmkms_requests_total{operation=\"none\",result=\"UnknownOperationException\"}"));
    CHECK(strstr((const char *)text.ptr, "hsmkms_audit_healthy 1"));
}

/* --- what cannot be recorded does not happen, or is not told ---------------------------------- */

static bool disk_fails; /* set between calls only */
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
    if (!disk_fails)
        return __real_fdatasync(fd);
    errno = EIO;
    return -1;
}

static void test_undurable_record(void **state)
{
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    disk_fails = true;
    rig_refused(&rig, KMS_ERR_INTERNAL, "", "GenerateDataKey", "{'KeyId':'%s','KeySpec':'AES_256'}",
                id.text);
    rig_refused(&rig, KMS_ERR_INTERNAL, "", "DisableKey", "{'KeyId':'%s'}", id.text);
    rig_refused(&rig, KMS_ERR_INTERNAL, "", "CreateKey", "{}");
    disk_fails = false;
    for (int tries = 0; tries < 100; tries++) {
        AUTO(outcome) outcome = rig_ask(&rig, "ListKeys", "{}");
        if (outcome.err.code == KMS_ERR_NONE)
            break;
        (void)usleep(50000);
    }
    json_decref(rig_ok(&rig, "GenerateDataKey", "{'KeyId':'%s','KeySpec':'AES_256'}", id.text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_audit_of_crypto),
        cmocka_unit_test(test_audit_of_changes),
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_worker_holds_deletions),
        cmocka_unit_test(test_worker_starts_and_stops),
        cmocka_unit_test(test_unknown_operation),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_undurable_record),
    };
    return run_group(tests, ARRAY_LEN(tests), api_rig_up, api_rig_down, &rig);
}
