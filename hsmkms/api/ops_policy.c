#include "hsmkms/api/policy.h"

#include <string.h>

#include "hsmkms/api/ops.h"
#include "hsmkms/api/paging.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/keys/lifecycle.h"

/* GetKeyPolicy, PutKeyPolicy, ListKeyPolicies. A key has one policy, "default". */

struct get_policy_request {
    struct request_head head;
    const char *policy_name;
};

struct put_policy_request {
    struct request_head head;
    const char *policy, *policy_name;
    bool bypass; /* of the lockout check: nothing here can lock the account out yet */
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
    { "BypassPolicyLockoutSafetyCheck", OPTIONAL, AT(put_policy, BOOL, bypass), 0, 1, .log = FILLED },
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

int policy_check(const char *policy, struct kms_error *err)
{
    if (policy == NULL)
        return 0;
    if (strlen(policy) > POLICY_BYTES_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "The key policy must not be larger than %d bytes.", POLICY_BYTES_MAX);

    json_auto_t *document = json_loads(policy, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(document))
        return kms_fail(err, KMS_ERR_MALFORMED_POLICY,
                        "The key policy is not a valid JSON policy document.");
    return 0;
}

void policy_default(const struct keyring *keyring, struct buf *ret)
{
    buf_printf(ret,
               "{\n"
               "  \"Version\" : \"2012-10-17\",\n"
               "  \"Id\" : \"key-default-1\",\n"
               "  \"Statement\" : [ {\n"
               "    \"Sid\" : \"Enable IAM User Permissions\",\n"
               "    \"Effect\" : \"Allow\",\n"
               "    \"Principal\" : {\n"
               "      \"AWS\" : \"arn:aws:iam::%s:root\"\n"
               "    },\n"
               "    \"Action\" : \"kms:*\",\n"
               "    \"Resource\" : \"*\"\n"
               "  } ]\n"
               "}",
               keyring->account);
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

int op_get_policy(struct op_call *c, struct kms_error *err)
{
    const char *const stored = c->key->record.policy;
    AUTO(buf) text = { 0 };

    if (stored)
        buf_text(&text, stored);
    else
        policy_default(c->keyring, &text);
    if (buf_check(&text, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s%, s:s}", "Policy", (const char *)text.ptr, text.len,
                               "PolicyName", "default"),
                     err);
}

int check_put_policy(struct op_call *c, struct kms_error *err)
{
    const struct put_policy_request *const request = OP_REQUEST(put_policy, c);

    if (!is_default(request->policy_name))
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "The only valid policy name is default.");
    return policy_check(request->policy, err);
}

int op_put_policy(struct op_call *c, struct kms_error *err)
{
    return lifecycle_set_policy(c->keyring, &c->key->record.id, OP_REQUEST(put_policy, c)->policy,
                                err);
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
