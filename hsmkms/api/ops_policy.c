#include "hsmkms/api/policy.h"

#include <string.h>

#include "hsmkms/api/ops.h"
#include "hsmkms/api/paging.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/regions.h"

/* GetKeyPolicy, PutKeyPolicy, ListKeyPolicies. A key has one policy, "default". */

struct get_policy_request {
    struct request_head head;
    const char *policy_name;
};

struct put_policy_request {
    struct request_head head;
    const char *policy, *policy_name;
    bool bypass; /* of the lockout check */
};

struct list_policies_request {
    struct request_head head;
    int64_t limit;
    const char *marker;
};

/* clang-format off */
static const struct field get_policy_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "PolicyName", OPTIONAL, AT(get_policy, STRING, policy_name), 1, 128, .log = LOGGED, .pattern = &pattern_policy_name },
    { 0 },
};

static const struct field put_policy_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "PolicyName", OPTIONAL, AT(put_policy, STRING, policy_name), 1, 128,    .log = LOGGED, .pattern = &pattern_policy_name },
    { "Policy",     REQUIRED, AT(put_policy, STRING, policy),      1, 131072, .log = LOGGED, .pattern = &pattern_policy },
    { "BypassPolicyLockoutSafetyCheck", OPTIONAL, AT(put_policy, BOOL, bypass), 0, 1, .log = FILLED, .slot = KMS_BYPASS_LOCKOUT_CHECK },
    { 0 },
};

static const struct field list_policies_fields[] = {
    KEY_ID_ROW(REQUIRED),
    LIMIT_ROW(list_policies),
    MARKER_ROW(list_policies),
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(get_policy);
REQUEST_SHAPE(put_policy);
REQUEST_SHAPE(list_policies);

/* May whoever asks replace the policy once it is in force? */
static int check_lockout(const struct op_call *c, const struct op_question *question,
                         const struct policy *policy, struct kms_error *err)
{
    struct op_question asked = *question;
    struct kms_error denied = { 0 };

    asked.action = "PutKeyPolicy";
    asked.policy = policy;
    asked.policy_alone = true;
    if (op_authorize(c, &asked, NULL, &denied) == 0)
        return 0;
    if (denied.code != KMS_ERR_ACCESS_DENIED) {
        *err = denied;
        return -1;
    }
    return kms_fail(err, KMS_ERR_MALFORMED_POLICY,
                    "The new key policy will not allow you to update the key policy in the "
                    "future.");
}

int policy_check(struct op_call *c, const char *policy, bool bypass, struct buf *ret_pins,
                 struct kms_error *err)
{
    static const struct uuid unmade = { { 0 } };
    const struct arn_text arn = c->key ? c->key_arn : keyring_key_arn(c->keyring, &unmade);
    const struct op_question question = { .arn = arn.text, .key = c->key };

    return policy_check_for(c, &question, policy, bypass, ret_pins, err);
}

int policy_check_for(const struct op_call *c, const struct op_question *question,
                     const char *policy, bool bypass, struct buf *ret_pins, struct kms_error *err)
{
    struct policy *compiled = NULL;

    if (policy == NULL)
        return 0;
    if (key_policy_compile(c->api->config.iam, policy, &compiled, ret_pins, err) < 0)
        return -1;
    const int result = bypass ? 0 : check_lockout(c, question, compiled, err);
    policy_unref(compiled);
    return result;
}

static int publish(struct api *api, const struct key *key, struct kms_error *err)
{
    const struct key_record *const record = &key->record;

    return key_policy_set(api->config.iam, &record->id,
                          key_is_aws_managed(key) ? KEY_POLICY_MANAGED : KEY_POLICY_CUSTOMER,
                          record->policy, record->policy_pins, err);
}

int policy_publish(struct api *api, const struct uuid *key_id, struct kms_error *err)
{
    (void)pthread_mutex_lock(&api->publish);
    struct key *const key = keyring_find(api->config.keyring, key_id);
    const int result = key ? publish(api, key, err) : 0; /* gone: nothing to decide */
    (void)pthread_mutex_unlock(&api->publish);
    key_unref(key);
    return result;
}

static int publish_region(struct api *api, const struct keyring *keyring, struct kms_error *err)
{
    struct uuid after = { { 0 } };
    struct key *key = NULL;
    bool first = true;
    int result = 0;

    while (result == 0 && catalog_all(keyring->catalog, first ? NULL : &after, &key, 1) == 1) {
        first = false;
        after = key->record.id;
        result = publish(api, key, err);
        key_unref(key);
    }
    return result;
}

int policy_publish_all(struct api *api, struct kms_error *err)
{
    for (const struct keyring *each = api->config.keyring; each; each = each->next)
        if (publish_region(api, each, err) < 0)
            return -1;
    return 0;
}

static bool is_default(const char *policy_name)
{
    return policy_name == NULL || strcmp(policy_name, "default") == 0;
}

int check_get_policy(struct op_call *c, struct kms_error *err)
{
    if (!is_default(OP_REQUEST(get_policy, c)->policy_name))
        return kms_fail(err, KMS_ERR_NOT_FOUND, "No such policy exists");
    return 0;
}

int policy_text(struct api *api, const struct key *key, struct buf *ret, struct kms_error *err)
{
    const struct key_record *const record = &key->record;
    struct iam *const iam = api->config.iam;

    if (record->policy == NULL)
        key_policy_default_text(
            iam, key_is_aws_managed(key) ? KEY_POLICY_MANAGED : KEY_POLICY_CUSTOMER, ret);
    else if (key_policy_shown(iam, record->policy, record->policy_pins, ret, err) < 0)
        return -1;
    return buf_check(ret, err);
}

int op_get_policy(struct op_call *c, struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    if (policy_text(c->api, c->key, &text, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s%, s:s}", "Policy", (const char *)text.ptr, text.len,
                               "PolicyName", "default"),
                     err);
}

int check_put_policy(struct op_call *c, struct kms_error *err)
{
    struct put_policy_request *const request = OP_REQUEST(put_policy, c);

    if (!is_default(request->policy_name))
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "The only valid policy name is default.");
    return policy_check(c, request->policy, request->bypass, &request->head.pins, err);
}

int op_put_policy(struct op_call *c, struct kms_error *err)
{
    const struct put_policy_request *const request = OP_REQUEST(put_policy, c);
    const struct uuid *const id = &c->key->record.id;

    if (lifecycle_set_policy(c->keyring, id, request->policy, (const char *)request->head.pins.ptr,
                             err) < 0)
        return -1;
    return policy_publish(c->api, id, err);
}

/* There is one entry, so no marker was ever given out. */
int op_list_policies(struct op_call *c, struct kms_error *err)
{
    AUTO(buf) after = { 0 };

    if (page_after(c, OP_REQUEST(list_policies, c)->marker, &after, err) < 0)
        return -1;
    return page_answer(c, "PolicyNames", json_pack("[s]", "default"), false, (struct span){ 0 },
                       err);
}
