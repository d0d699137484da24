#include <stdio.h>

#include "hsmkms/base/encode.h"
#include "tests/support/api_rig.h"
#include "tests/support/check.h"

/* The operations over a real token, database and audit trail: journeys and their refusals. */

#define ARN_OF_KEYS "arn:aws:kms:us-east-1:" RIG_ACCOUNT ":key/"
#define NO_SUCH_KEY "00000000-0000-4000-8000-000000000000"

static struct api_rig rig;

static void test_create_key_answer(void **state)
{
    (void)state;
    json_auto_t *made = rig_ok(&rig, "CreateKey",
                               "{'Description':'d','Tags':[{'TagKey':'k',"
                               "'TagValue':'v'}],'KeySpec':'SYMMETRIC_DEFAULT'}");
    const json_t *const key = member(made, "KeyMetadata");

    check_names(key, "[\"AWSAccountId\",\"Arn\",\"CreationDate\",\"CurrentKeyMaterialId\","
                     "\"CustomerMasterKeySpec\",\"Description\",\"Enabled\","
                     "\"EncryptionAlgorithms\",\"KeyId\",\"KeyManager\",\"KeySpec\",\"KeyState\","
                     "\"KeyUsage\",\"MultiRegion\",\"Origin\"]");
    assert_string_equal(text_of(key, "KeyState"), "Enabled");
    assert_string_equal(text_of(key, "Description"), "d");
    CHECK(json_real_value(member(key, "CreationDate")) == 1795176000.123);
    CHECK(json_is_true(member(key, "Enabled")));
    CHECK(strncmp(text_of(key, "Arn"), ARN_OF_KEYS, strlen(ARN_OF_KEYS)) == 0);
    json_auto_t *described = rig_ok(&rig, "DescribeKey", "{'KeyId':'%s'}", text_of(key, "Arn"));
    CHECK(json_equal(described, made));
}

static void test_create_key_refusals(void **state)
{
    static const struct {
        const char *parameters;
        enum kms_err code;
        const char *message;
    } rows[] = {
        { "{'KeySpec':'RSA_2048'}", KMS_ERR_VALIDATION,
          "You must specify a KeyUsage value for all KMS keys except for symmetric encryption "
          "keys." },
        { "{'KeySpec':'RSA_2048','KeyUsage':'KEY_AGREEMENT'}", KMS_ERR_VALIDATION,
          "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048" },
        { "{'KeyUsage':'SIGN_VERIFY'}", KMS_ERR_VALIDATION,
          "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT" },
        { "{'KeySpec':'SYMMETRIC_DEFAULT','CustomerMasterKeySpec':'SYMMETRIC_DEFAULT'}",
          KMS_ERR_VALIDATION, NULL },
        { "{'KeySpec':'ML_DSA_44','KeyUsage':'SIGN_VERIFY'}", KMS_ERR_UNSUPPORTED,
          "KeySpec ML_DSA_44 is not supported by this service." },
        { "{'CustomerMasterKeySpec':'SM2','KeyUsage':'KEY_AGREEMENT'}", KMS_ERR_UNSUPPORTED, NULL },
        { "{'MultiRegion':true,'Origin':'EXTERNAL'}", KMS_ERR_UNSUPPORTED, NULL },
        { "{'Origin':'EXTERNAL','KeySpec':'ECC_NIST_EDWARDS25519','KeyUsage':'SIGN_VERIFY'}",
          KMS_ERR_UNSUPPORTED, NULL },
        { "{'CustomKeyStoreId':'cks-1'}", KMS_ERR_VALIDATION, NULL },
        { "{'Origin':'AWS_CLOUDHSM'}", KMS_ERR_VALIDATION, NULL },
        { "{'Origin':'AWS_CLOUDHSM','CustomKeyStoreId':'cks-1'}", KMS_ERR_STORE_NOT_FOUND, NULL },
        { "{'XksKeyId':'x'}", KMS_ERR_UNSUPPORTED, NULL },
        { "{'Policy':'x'}", KMS_ERR_MALFORMED_POLICY, NULL },
        { "{'Policy':'[]'}", KMS_ERR_MALFORMED_POLICY, NULL },
        { "{'Tags':[{'TagKey':'a','TagValue':''},{'TagKey':'a','TagValue':''}]}", KMS_ERR_TAG,
          "Duplicate tag keys" },
        { "{'Tags':[{'TagKey':'Aws:a','TagValue':''}]}", KMS_ERR_TAG,
          "Tags beginning with aws: are reserved" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        rig_refused(&rig, rows[i].code, rows[i].message, "CreateKey", "%s", rows[i].parameters);
}

/* The main job: alias, data key, rotation, the old blob still opens, disabling closes it. */
static void test_journey(void **state)
{
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    json_auto_t *none =
        rig_ok(&rig, "CreateAlias", "{'AliasName':'alias/journey','TargetKeyId':'%s'}", id.text);
    assert_int_equal(json_object_size(none), 0);
    json_auto_t *made = rig_ok(&rig, "GenerateDataKey",
                               "{'KeyId':'alias/journey','KeySpec':'AES_256',"
                               "'EncryptionContext':{'a':'1','b':'2'}}");
    check_names(made, "[\"CiphertextBlob\",\"KeyId\",\"KeyMaterialId\",\"Plaintext\"]");
    assert_int_equal(strlen(text_of(made, "Plaintext")), 44);
    const char *const blob = text_of(made, "CiphertextBlob");

    json_auto_t *opened = rig_ok(&rig, "Decrypt",
                                 "{'CiphertextBlob':'%s',"
                                 "'EncryptionContext':{'b':'2','a':'1'}}",
                                 blob);
    check_names(opened, "[\"EncryptionAlgorithm\",\"KeyId\",\"KeyMaterialId\",\"Plaintext\"]");
    assert_string_equal(text_of(opened, "Plaintext"), text_of(made, "Plaintext"));
    CHECK(strncmp(text_of(opened, "KeyId"), ARN_OF_KEYS, strlen(ARN_OF_KEYS)) == 0);

    json_auto_t *rotated = rig_ok(&rig, "RotateKeyOnDemand", "{'KeyId':'%s'}", id.text);
    check_names(rotated, "[\"KeyId\"]");
    json_auto_t *again = rig_ok(&rig, "Decrypt",
                                "{'KeyId':'%s','CiphertextBlob':'%s',"
                                "'EncryptionContext':{'b':'2','a':'1'}}",
                                id.text, blob);
    CHECK(json_equal(again, opened));
    json_auto_t *newer = rig_ok(&rig, "GenerateDataKeyWithoutPlaintext",
                                "{'KeyId':'alias/journey','NumberOfBytes':1024}");
    check_names(newer, "[\"CiphertextBlob\",\"KeyId\",\"KeyMaterialId\"]");
    assert_string_not_equal(text_of(newer, "KeyMaterialId"), text_of(made, "KeyMaterialId"));

    json_decref(rig_ok(&rig, "DisableKey", "{'KeyId':'%s'}", id.text));
    rig_refused(&rig, KMS_ERR_DISABLED, NULL, "Decrypt",
                "{'CiphertextBlob':'%s','EncryptionContext':{'b':'2','a':'1'}}", blob);
    json_decref(rig_ok(&rig, "EnableKey", "{'KeyId':'%s'}", id.text));
    json_decref(rig_ok(&rig, "DeleteAlias", "{'AliasName':'alias/journey'}"));
    rig_refused(&rig, KMS_ERR_NOT_FOUND,
                "Alias arn:aws:kms:us-east-1:" RIG_ACCOUNT ":alias/journey is not found.",
                "DescribeKey", "{'KeyId':'alias/journey'}");
}

static void test_decrypt_choice_of_error(void **state)
{
    const struct uuid_text id = rig_key(&rig), other = rig_key(&rig);
    json_auto_t *made = rig_ok(&rig, "Encrypt",
                               "{'KeyId':'%s','Plaintext':'aGk=',"
                               "'EncryptionContext':{'a':'b'}}",
                               id.text);
    const char *const blob = text_of(made, "CiphertextBlob");

    (void)state;
    check_names(made, "[\"CiphertextBlob\",\"EncryptionAlgorithm\",\"KeyId\"]");
    rig_refused(&rig, KMS_ERR_INVALID_CIPHERTEXT, "", "Decrypt", "{'CiphertextBlob':'aGk='}");
    rig_refused(&rig, KMS_ERR_INVALID_CIPHERTEXT, "", "Decrypt", "{'CiphertextBlob':'%s'}", blob);
    rig_refused(&rig, KMS_ERR_INVALID_CIPHERTEXT, "", "Decrypt",
                "{'KeyId':'%s','CiphertextBlob':'%s','EncryptionContext':{'ab':''}}", id.text,
                blob);
    rig_refused(&rig, KMS_ERR_INCORRECT_KEY,
                "The key ID in the request does not identify a CMK that can perform this "
                "operation.",
                "Decrypt", "{'KeyId':'%s','CiphertextBlob':'%s'}", other.text, blob);
    rig_refused(&rig, KMS_ERR_NOT_FOUND, "Key '" ARN_OF_KEYS NO_SUCH_KEY "' does not exist",
                "Decrypt", "{'KeyId':'" NO_SUCH_KEY "','CiphertextBlob':'%s'}", blob);
    rig_refused(&rig, KMS_ERR_INVALID_KEY_USAGE,
                "Algorithm RSAES_OAEP_SHA_1 is incompatible with key spec SYMMETRIC_DEFAULT.",
                "Decrypt", "{'CiphertextBlob':'%s','EncryptionAlgorithm':'RSAES_OAEP_SHA_1'}",
                blob);
    rig_refused(&rig, KMS_ERR_VALIDATION,
                "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy "
                "constraint: Member must not be null",
                "Decrypt", "{'KeyId':'%s'}", id.text);
    rig_refused(&rig, KMS_ERR_UNSUPPORTED, NULL, "Decrypt",
                "{'CiphertextBlob':'%s','Recipient':{}}", blob);
}

/* Ciphertexts of a key that is not here, or of another installation. */
static void test_decrypt_foreign_blob(void **state)
{
    static const size_t offsets[] = { 8 /* installation */, 24 /* key */ };
    const struct uuid_text id = rig_key(&rig);
    json_auto_t *made = rig_ok(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'aGk='}", id.text);
    const char *const text = text_of(made, "CiphertextBlob");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        uint8_t blob[ENVELOPE_OVERHEAD + 2];
        char changed[BASE64_LEN(sizeof(blob)) + 1];

        CHECK(base64_parse(span_text(text), blob, sizeof(blob)));
        blob[offsets[i]] ^= 1;
        base64_format(changed, SPAN_ARRAY(blob));
        rig_refused(&rig, KMS_ERR_ACCESS_DENIED,
                    "The ciphertext refers to a customer master key that does not exist, does not "
                    "exist in this region, or you are not allowed to access.",
                    "Decrypt", "{'CiphertextBlob':'%s'}", changed);
        rig_refused(&rig, KMS_ERR_INCORRECT_KEY, NULL, "Decrypt",
                    "{'KeyId':'%s','CiphertextBlob':'%s'}", id.text, changed);
    }
}

static void test_re_encrypt(void **state)
{
    const struct uuid_text from = rig_key(&rig), to = rig_key(&rig);
    json_auto_t *made = rig_ok(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'aGk='}", from.text);
    json_auto_t *moved = rig_ok(&rig, "ReEncrypt",
                                "{'CiphertextBlob':'%s','DestinationKeyId':'%s',"
                                "'DestinationEncryptionContext':{'x':'y'}}",
                                text_of(made, "CiphertextBlob"), to.text);

    (void)state;
    check_names(moved, "[\"CiphertextBlob\",\"SourceKeyId\",\"KeyId\",\"SourceKeyMaterialId\","
                       "\"SourceEncryptionAlgorithm\",\"DestinationEncryptionAlgorithm\","
                       "\"DestinationKeyMaterialId\"]");
    CHECK(strstr(text_of(moved, "KeyId"), to.text) &&
          strstr(text_of(moved, "SourceKeyId"), from.text));
    json_auto_t *opened = rig_ok(&rig, "Decrypt",
                                 "{'CiphertextBlob':'%s',"
                                 "'EncryptionContext':{'x':'y'}}",
                                 text_of(moved, "CiphertextBlob"));
    assert_string_equal(text_of(opened, "Plaintext"), "aGk=");
    json_decref(rig_ok(&rig, "DisableKey", "{'KeyId':'%s'}", to.text));
    rig_refused(&rig, KMS_ERR_DISABLED, NULL, "ReEncrypt",
                "{'CiphertextBlob':'%s','DestinationKeyId':'%s'}", text_of(made, "CiphertextBlob"),
                to.text);
}

static void test_bad_identifiers(void **state)
{
    static const struct {
        const char *key_id;
        enum kms_err code;
    } rows[] = {
        { NO_SUCH_KEY, KMS_ERR_NOT_FOUND },
        { "nonsense", KMS_ERR_NOT_FOUND },
        { "arn:aws:kms:us-east-1:" RIG_ACCOUNT ":key/" NO_SUCH_KEY, KMS_ERR_NOT_FOUND },
        { "arn:aws:kms:eu-west-9:" RIG_ACCOUNT ":key/" NO_SUCH_KEY, KMS_ERR_NOT_FOUND },
        { "arn:aws:kms:us-east-1:999999999999:key/" NO_SUCH_KEY, KMS_ERR_ACCESS_DENIED },
        { "arn:aws:s3:::bucket", KMS_ERR_INVALID_ARN },
        { "alias/none", KMS_ERR_NOT_FOUND },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rig_refused(&rig, rows[i].code, NULL, "DescribeKey", "{'KeyId':'%s'}", rows[i].key_id);
        rig_refused(&rig, rows[i].code, NULL, "DisableKey", "{'KeyId':'%s'}", rows[i].key_id);
        rig_refused(&rig, rows[i].code, NULL, "GenerateDataKey",
                    "{'KeyId':'%s','KeySpec':'AES_256'}", rows[i].key_id);
    }
}

/* Whatever a client sends and wherever a message is cut, the message is UTF-8. */
static void test_messages_are_texts(void **state)
{
    char long_name[3 * 400 + 1];

    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        (void)snprintf(long_name, sizeof(long_name), "%.*s", (int)shift, "xxx");
        while (strlen(long_name) + 3 < sizeof(long_name))
            memcpy(long_name + strlen(long_name), "\u20ac", 4);
        AUTO(outcome) outcome = rig_ask(&rig, "DescribeKey", "{'KeyId':'%s'}", long_name);
        assert_int_equal(outcome.err.code, KMS_ERR_NOT_FOUND);
        json_auto_t *text = json_string(outcome.err.message);
        CHECK(text != NULL);
    }
}

static void test_data_key_and_random_refusals(void **state)
{
    static const char both[] = "Please specify either number of bytes or key spec.";
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    rig_refused(&rig, KMS_ERR_VALIDATION, both, "GenerateDataKey", "{'KeyId':'%s'}", id.text);
    rig_refused(&rig, KMS_ERR_VALIDATION, both, "GenerateDataKeyWithoutPlaintext",
                "{'KeyId':'%s','KeySpec':'AES_128','NumberOfBytes':16}", id.text);
    rig_refused(&rig, KMS_ERR_VALIDATION, "NumberOfBytes is required.", "GenerateRandom", "{}");
    rig_refused(&rig, KMS_ERR_STORE_NOT_FOUND, NULL, "GenerateRandom",
                "{'NumberOfBytes':8,'CustomKeyStoreId':'cks-1'}");
    rig_refused(&rig, KMS_ERR_UNSUPPORTED, NULL, "GenerateRandom",
                "{'NumberOfBytes':8,'Recipient':{}}");
    json_auto_t *random = rig_ok(&rig, "GenerateRandom", "{'NumberOfBytes':1024}");
    assert_int_equal(strlen(text_of(random, "Plaintext")), BASE64_LEN(1024));
}

static void test_dry_run(void **state)
{
    static const char would[] = "The request would have succeeded, but the DryRun option is set.";
    const struct uuid_text id = rig_key(&rig);
    json_auto_t *made = rig_ok(&rig, "Encrypt", "{'KeyId':'%s','Plaintext':'aGk='}", id.text);
    const char *const blob = text_of(made, "CiphertextBlob");

    (void)state;
    rig_refused(&rig, KMS_ERR_DRY_RUN, would, "Encrypt",
                "{'KeyId':'%s','Plaintext':'aGk=','DryRun':true}", id.text);
    rig_refused(&rig, KMS_ERR_DRY_RUN, would, "GenerateDataKey",
                "{'KeyId':'%s','KeySpec':'AES_256','DryRun':true}", id.text);
    rig_refused(&rig, KMS_ERR_DRY_RUN, would, "Decrypt", "{'CiphertextBlob':'%s','DryRun':true}",
                blob);
    rig_refused(&rig, KMS_ERR_INVALID_CIPHERTEXT, "", "Decrypt",
                "{'CiphertextBlob':'%s','EncryptionContext':{'a':'b'},'DryRun':true}", blob);
    rig_refused(&rig, KMS_ERR_DRY_RUN, would, "Decrypt",
                "{'KeyId':'%s','DryRun':true,'DryRunModifiers':['IGNORE_CIPHERTEXT']}", id.text);
    rig_refused(&rig, KMS_ERR_VALIDATION, NULL, "Decrypt",
                "{'DryRun':true,'DryRunModifiers':['IGNORE_CIPHERTEXT']}");
    rig_refused(&rig, KMS_ERR_VALIDATION, NULL, "Decrypt",
                "{'KeyId':'%s','DryRunModifiers':['IGNORE_CIPHERTEXT']}", id.text);
    rig_refused(&rig, KMS_ERR_DRY_RUN, would, "ReEncrypt",
                "{'CiphertextBlob':'%s','DestinationKeyId':'%s','DryRun':true}", blob, id.text);
    json_decref(rig_ok(&rig, "DisableKey", "{'KeyId':'%s'}", id.text));
    rig_refused(&rig, KMS_ERR_DISABLED, NULL, "Encrypt",
                "{'KeyId':'%s','Plaintext':'aGk=','DryRun':true}", id.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_key_answer),
        cmocka_unit_test(test_create_key_refusals),
        cmocka_unit_test(test_journey),
        cmocka_unit_test(test_decrypt_choice_of_error),
        cmocka_unit_test(test_decrypt_foreign_blob),
        cmocka_unit_test(test_re_encrypt),
        cmocka_unit_test(test_bad_identifiers),
        cmocka_unit_test(test_messages_are_texts),
        cmocka_unit_test(test_data_key_and_random_refusals),
        cmocka_unit_test(test_dry_run),
    };
    return run_group(tests, ARRAY_LEN(tests), api_rig_up, api_rig_down, &rig);
}
