#include "hsmkms/api/op.h"
#include "tests/support/api_rig.h"
#include "tests/support/check.h"

/* Operations that manage keys, aliases, tags and policies, over a real token and database. */

static struct api_rig rig;

static void test_deletion(void **state)
{
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    rig_refused(&rig, KMS_ERR_INVALID_STATE, NULL, "CancelKeyDeletion", "{'KeyId':'%s'}", id.text);
    json_auto_t *due =
        rig_ok(&rig, "ScheduleKeyDeletion", "{'KeyId':'%s','PendingWindowInDays':7}", id.text);
    check_names(due, "[\"KeyId\",\"DeletionDate\",\"KeyState\",\"PendingWindowInDays\"]");
    CHECK(json_real_value(member(due, "DeletionDate")) == 1795176000.123 + 7 * 86400);
    json_auto_t *described = rig_ok(&rig, "DescribeKey", "{'KeyId':'%s'}", id.text);
    assert_string_equal(text_of(member(described, "KeyMetadata"), "KeyState"), "PendingDeletion");
    CHECK(json_is_real(member(member(described, "KeyMetadata"), "DeletionDate")));
    rig_refused(&rig, KMS_ERR_INVALID_STATE, NULL, "ScheduleKeyDeletion", "{'KeyId':'%s'}",
                id.text);
    rig_refused(&rig, KMS_ERR_INVALID_STATE, NULL, "GenerateDataKey",
                "{'KeyId':'%s','KeySpec':'AES_256'}", id.text);
    rig_refused(&rig, KMS_ERR_INVALID_STATE, NULL, "EnableKey", "{'KeyId':'%s'}", id.text);
    json_auto_t *back = rig_ok(&rig, "CancelKeyDeletion", "{'KeyId':'%s'}", id.text);
    check_names(back, "[\"KeyId\"]");
    rig_refused(&rig, KMS_ERR_DISABLED, NULL, "GenerateDataKey",
                "{'KeyId':'%s','KeySpec':'AES_256'}", id.text);
}

static void test_aliases(void **state)
{
    const struct uuid_text id = rig_key(&rig), other = rig_key(&rig);
    static const struct {
        const char *name;
        enum kms_err code;
    } bad[] = {
        { "journey", KMS_ERR_VALIDATION },
        { "alias/", KMS_ERR_VALIDATION },
        { "alias/a:b", KMS_ERR_VALIDATION },
        { "alias/a b", KMS_ERR_VALIDATION },
        { "Alias/a", KMS_ERR_VALIDATION },
        { "alias/aws/s3", KMS_ERR_NOT_AUTHORIZED },
        { "alias/aws/mine", KMS_ERR_NOT_AUTHORIZED },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        rig_refused(&rig, bad[i].code, NULL, "CreateAlias", "{'AliasName':'%s','TargetKeyId':'%s'}",
                    bad[i].name, id.text);
        rig_refused(&rig, bad[i].code, NULL, "UpdateAlias", "{'AliasName':'%s','TargetKeyId':'%s'}",
                    bad[i].name, id.text);
        rig_refused(&rig, bad[i].code, NULL, "DeleteAlias", "{'AliasName':'%s'}", bad[i].name);
    }
    json_decref(rig_ok(&rig, "CreateAlias", "{'AliasName':'alias/a','TargetKeyId':'%s'}", id.text));
    rig_refused(&rig, KMS_ERR_ALREADY_EXISTS, NULL, "CreateAlias",
                "{'AliasName':'alias/a','TargetKeyId':'%s'}", other.text);
    rig_refused(&rig, KMS_ERR_VALIDATION, "Aliases must refer to keys. Not aliases", "CreateAlias",
                "{'AliasName':'alias/b','TargetKeyId':'alias/a'}");
    rig_refused(&rig, KMS_ERR_NOT_FOUND, NULL, "UpdateAlias",
                "{'AliasName':'alias/b','TargetKeyId':'%s'}", id.text);
    rig_refused(&rig, KMS_ERR_NOT_FOUND, NULL, "DeleteAlias", "{'AliasName':'alias/b'}");
    rig_refused(&rig, KMS_ERR_NOT_FOUND, NULL, "EnableKey", "{'KeyId':'alias/a'}");
    json_decref(
        rig_ok(&rig, "UpdateAlias", "{'AliasName':'alias/a','TargetKeyId':'%s'}", other.text));
    json_auto_t *listed = rig_ok(&rig, "ListAliases", "{'KeyId':'%s'}", other.text);
    const json_t *const entry = json_array_get(member(listed, "Aliases"), 0);
    check_names(entry, "[\"AliasName\",\"AliasArn\",\"TargetKeyId\",\"CreationDate\","
                       "\"LastUpdatedDate\"]");
    assert_string_equal(text_of(entry, "TargetKeyId"), other.text);
    json_decref(rig_ok(&rig, "ScheduleKeyDeletion", "{'KeyId':'%s'}", id.text));
    rig_refused(&rig, KMS_ERR_INVALID_STATE, NULL, "UpdateAlias",
                "{'AliasName':'alias/a','TargetKeyId':'%s'}", id.text);
    json_decref(rig_ok(&rig, "DeleteAlias", "{'AliasName':'alias/a'}"));
}

/* Walks a list in pages of one size; returns the number of entries. */
static size_t walk(const char *operation, const char *name, const char *key, int limit)
{
    json_t *page = rig_ok(&rig, operation, "{%s%s%s'Limit':%d}", key ? "'KeyId':'" : "",
                          key ? key : "", key ? "'," : "", limit);
    size_t count = 0;

    for (int pages = 0; pages < 100; pages++) {
        const json_t *const items = member(page, name);
        const bool more = json_is_true(member(page, "Truncated"));

        count += json_array_size(items);
        CHECK(json_array_size(items) <= (size_t)limit);
        CHECK(more == (json_object_get(page, "NextMarker") != NULL));
        if (!more) {
            json_decref(page);
            return count;
        }
        json_t *const next =
            rig_ok(&rig, operation, "{%s%s%s'Limit':%d,'Marker':'%s'}", key ? "'KeyId':'" : "",
                   key ? key : "", key ? "'," : "", limit, text_of(page, "NextMarker"));
        json_decref(page);
        page = next;
    }
    fail_msg("%s does not end", operation);
    return 0;
}

static void test_pages(void **state)
{
    static const int limits[] = { 1, 2, 3, 6, 7, 8 };
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    for (int i = 0; i < 7; i++) {
        json_decref(rig_ok(&rig, "CreateAlias", "{'AliasName':'alias/p%d','TargetKeyId':'%s'}", i,
                           id.text));
        json_decref(rig_ok(&rig, "TagResource",
                           "{'KeyId':'%s','Tags':[{'TagKey':'t%d','TagValue':''}]}", id.text, i));
    }
    for (int i = 0; i < 3; i++)
        json_decref(rig_ok(&rig, "RotateKeyOnDemand", "{'KeyId':'%s'}", id.text));
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        assert_int_equal(walk("ListAliases", "Aliases", id.text, limits[i]), 7);
        assert_int_equal(walk("ListResourceTags", "Tags", id.text, limits[i]), 7);
        assert_int_equal(walk("ListKeyRotations", "Rotations", id.text, limits[i]), 3);
        assert_int_equal(walk("ListKeyPolicies", "PolicyNames", id.text, limits[i]), 1);
        assert_int_equal(walk("ListKeys", "Keys", NULL, limits[i]),
                         catalog_count(rig.keyring.catalog));
    }
    json_auto_t *page = rig_ok(&rig, "ListAliases", "{'KeyId':'%s','Limit':1}", id.text);
    rig_refused(&rig, KMS_ERR_INVALID_MARKER, NULL, "ListAliases", "{'Marker':'%s'}",
                text_of(page, "NextMarker"));
    rig_refused(&rig, KMS_ERR_INVALID_MARKER, NULL, "ListKeyPolicies",
                "{'KeyId':'%s','Marker':'x'}", id.text);
    json_decref(rig_ok(&rig, "DeleteAlias", "{'AliasName':'alias/p0'}"));
    json_auto_t *rest = rig_ok(&rig, "ListAliases", "{'KeyId':'%s','Marker':'%s'}", id.text,
                               text_of(page, "NextMarker"));
    assert_int_equal(json_array_size(member(rest, "Aliases")), 6);
}

static void test_rotation(void **state)
{
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    json_auto_t *off = rig_ok(&rig, "GetKeyRotationStatus", "{'KeyId':'%s'}", id.text);
    check_names(off, "[\"KeyId\",\"KeyRotationEnabled\"]");
    json_decref(
        rig_ok(&rig, "EnableKeyRotation", "{'KeyId':'%s','RotationPeriodInDays':90}", id.text));
    json_auto_t *on = rig_ok(&rig, "GetKeyRotationStatus", "{'KeyId':'%s'}", id.text);
    check_names(on, "[\"KeyId\",\"KeyRotationEnabled\",\"RotationPeriodInDays\","
                    "\"NextRotationDate\"]");
    CHECK(json_real_value(member(on, "NextRotationDate")) == 1795176000.123 + 90 * 86400);
    for (int i = 0; i < 3; i++)
        json_decref(rig_ok(&rig, "RotateKeyOnDemand", "{'KeyId':'%s'}", id.text));
    rig_refused(&rig, KMS_ERR_LIMIT_EXCEEDED, NULL, "RotateKeyOnDemand", "{'KeyId':'%s'}", id.text);
    json_auto_t *all = rig_ok(&rig, "ListKeyRotations",
                              "{'KeyId':'%s','IncludeKeyMaterial':'ALL_KEY_MATERIAL'}", id.text);
    const json_t *const items = member(all, "Rotations");
    assert_int_equal(json_array_size(items), 4);
    check_names(json_array_get(items, 0), "[\"KeyId\",\"KeyMaterialId\",\"KeyMaterialState\"]");
    assert_string_equal(text_of(json_array_get(items, 3), "KeyMaterialState"), "CURRENT");
    assert_string_equal(text_of(json_array_get(items, 3), "RotationType"), "ON_DEMAND");
    json_decref(rig_ok(&rig, "DisableKeyRotation", "{'KeyId':'%s'}", id.text));
    json_decref(rig_ok(&rig, "DisableKey", "{'KeyId':'%s'}", id.text));
    rig_refused(&rig, KMS_ERR_DISABLED, NULL, "EnableKeyRotation", "{'KeyId':'%s'}", id.text);
    rig_refused(&rig, KMS_ERR_DISABLED, NULL, "RotateKeyOnDemand", "{'KeyId':'%s'}", id.text);
}

/* What gives the account's administrator the key. */
#define DELEGATION                                                                                 \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","                            \
    "\"Principal\":{\"AWS\":\"*\"},\"Action\":\"kms:*\",\"Resource\":\"*\"}]}"

static void put_policy(const struct uuid_text *id, const char *policy)
{
    json_t *const parameters = json_pack("{s:s, s:s}", "KeyId", id->text, "Policy", policy);
    AUTO(outcome) outcome = rig_call(&rig, "PutKeyPolicy", parameters);

    CHECK_OK(outcome.err.code == KMS_ERR_NONE ? 0 : -1, outcome.err);
}

static void test_tags_and_policy(void **state)
{
    const struct uuid_text id = rig_key(&rig);

    (void)state;
    json_decref(rig_ok(&rig, "TagResource",
                       "{'KeyId':'%s','Tags':[{'TagKey':'a','TagValue':'1'},"
                       "{'TagKey':'b','TagValue':'2'}]}",
                       id.text));
    json_decref(rig_ok(&rig, "UntagResource", "{'KeyId':'%s','TagKeys':['b','none']}", id.text));
    json_auto_t *tags = rig_ok(&rig, "ListResourceTags", "{'KeyId':'%s'}", id.text);
    json_auto_t *want = json_loads("{\"Tags\":[{\"TagKey\":\"a\",\"TagValue\":\"1\"}],"
                                   "\"Truncated\":false}",
                                   0, NULL);
    CHECK(json_equal(tags, want));
    rig_refused(&rig, KMS_ERR_TAG, "Duplicate tag keys", "TagResource",
                "{'KeyId':'%s','Tags':[{'TagKey':'x','TagValue':''},{'TagKey':'x',"
                "'TagValue':''}]}",
                id.text);

    json_auto_t *preset = rig_ok(&rig, "GetKeyPolicy", "{'KeyId':'%s'}", id.text);
    json_auto_t *policy = json_loads(text_of(preset, "Policy"), 0, NULL);
    assert_string_equal(text_of(policy, "Id"), "key-default-1");
    put_policy(&id, DELEGATION);
    json_auto_t *put =
        rig_ok(&rig, "GetKeyPolicy", "{'KeyId':'%s','PolicyName':'default'}", id.text);
    assert_string_equal(text_of(put, "Policy"), DELEGATION);
    rig_refused(&rig, KMS_ERR_NOT_FOUND, "No such policy exists", "GetKeyPolicy",
                "{'KeyId':'%s','PolicyName':'other'}", id.text);
    rig_refused(&rig, KMS_ERR_UNSUPPORTED, NULL, "PutKeyPolicy",
                "{'KeyId':'%s','PolicyName':'other','Policy':'{}'}", id.text);
    rig_refused(&rig, KMS_ERR_MALFORMED_POLICY, NULL, "PutKeyPolicy", "{'KeyId':'%s','Policy':'{'}",
                id.text);
    rig_refused(&rig, KMS_ERR_MALFORMED_POLICY, NULL, "PutKeyPolicy",
                "{'KeyId':'%s','Policy':'{}'}", id.text);
    rig_refused(&rig, KMS_ERR_LIMIT_EXCEEDED, NULL, "PutKeyPolicy",
                "{'KeyId':'%s','Policy':'{%32767s}'}", id.text, "");

    char longest[KEY_POLICY_MAX + 1];
    (void)snprintf(longest, sizeof(longest), "%s%*s", DELEGATION,
                   (int)(KEY_POLICY_MAX - strlen(DELEGATION)), "");
    put_policy(&id, longest);
}

static void test_managed_key(void **state)
{
    (void)state;
    json_auto_t *first = rig_ok(&rig, "DescribeKey", "{'KeyId':'alias/aws/s3'}");
    json_auto_t *second = rig_ok(&rig, "DescribeKey",
                                 "{'KeyId':'arn:aws:kms:us-east-1:" RIG_ACCOUNT ":alias/aws/s3'}");
    const json_t *const key = member(first, "KeyMetadata");
    CHECK(json_equal(first, second));
    assert_string_equal(text_of(key, "KeyManager"), "AWS");
    json_decref(rig_ok(&rig, "GenerateDataKey", "{'KeyId':'alias/aws/s3','KeySpec':'AES_256'}"));
    json_decref(rig_ok(&rig, "GenerateDataKey", "{'KeyId':'alias/aws/ebs','KeySpec':'AES_256'}"));
    rig_refused(&rig, KMS_ERR_ACCESS_DENIED, NULL, "DisableKey", "{'KeyId':'%s'}",
                text_of(key, "KeyId"));
    rig_refused(&rig, KMS_ERR_ACCESS_DENIED, NULL, "CreateAlias",
                "{'AliasName':'alias/mine','TargetKeyId':'%s'}", text_of(key, "KeyId"));
    rig_refused(&rig, KMS_ERR_NOT_FOUND, NULL, "DescribeKey", "{'KeyId':'alias/aws/nothing'}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deletion),        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_pages),           cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_tags_and_policy), cmocka_unit_test(test_managed_key),
    };
    return run_group(tests, ARRAY_LEN(tests), api_rig_up, api_rig_down, &rig);
}
