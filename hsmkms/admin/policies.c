#include <string.h>

#include "hsmkms/api/explain.h"
#include "hsmkms/api/policy.h"
#include "hsmkms/admin/parts.h"
#include "hsmkms/keys/lifecycle.h"
#include "hsmkms/keys/regions.h"

/* Policies of users and roles, managed policies, and what policies come to. */

/* --- inline policies -------------------------------------------------------------------------- */

static int policy_put(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct identity_name name;
    const char *policy_name = NULL;

    if (admin_whose(call, &name, err) < 0 ||
        admin_need(call, "PolicyName", &policy_name, err) < 0 ||
        directory_put_policy(call->services->iam->directory, &name, policy_name,
                             admin_text(call, "PolicyDocument"), err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int policy_get(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct identity_name name;
    const char *policy_name = NULL;
    AUTO(buf) text = { 0 };

    if (admin_whose(call, &name, err) < 0 ||
        admin_need(call, "PolicyName", &policy_name, err) < 0 ||
        directory_inline_text(call->services->iam->directory, &name, policy_name, &text, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s, s:s%}", "PolicyName", policy_name, "PolicyDocument",
                                  (const char *)text.ptr, text.len),
                        ret, err);
}

static int policy_delete(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct identity_name name;
    const char *policy_name = NULL;

    if (admin_whose(call, &name, err) < 0 ||
        admin_need(call, "PolicyName", &policy_name, err) < 0 ||
        directory_delete_policy(call->services->iam->directory, &name, policy_name, err) < 0)
        return -1;
    return admin_done(ret, err);
}

/* --- managed policies ------------------------------------------------------------------------- */

static int policy_create(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const char *const path = admin_text(call, "Path");
    const char *policy_name = NULL;
    char arn[IDENTITY_ARN_MAX];

    if (admin_need(call, "PolicyName", &policy_name, err) < 0 ||
        directory_put_managed(call->services->iam->directory, admin_account(call),
                              path ? path : "/", policy_name, admin_text(call, "PolicyDocument"),
                              arn, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:{s:s, s:s}}", "Policy", "PolicyName", policy_name, "Arn", arn),
                        ret, err);
}

static int policy_remove(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    if (directory_delete_managed(call->services->iam->directory, admin_text(call, "PolicyArn"),
                                 err) < 0)
        return -1;
    return admin_done(ret, err);
}

static void append_managed(void *arg, const struct managed_policy *policy)
{
    (void)json_array_append_new(
        arg, json_pack("{s:s, s:s, s:s, s:I, s:s}", "PolicyName", policy->name, "Path",
                       policy->path, "Arn", policy->arn, "AttachmentCount",
                       (json_int_t)policy->attachments, "PolicyDocument", policy->text));
}

static int policy_list(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    json_t *const policies = json_array();

    directory_each_managed(call->services->iam->directory, append_managed, policies);
    return admin_answer(json_pack("{s:o}", "Policies", policies), ret, err);
}

/* What attach, detach and boundary do with a user or role and an ARN. */
typedef int link_fn(struct directory *directory, const struct identity_name *name,
                    const char *policy_arn, struct kms_error *err);

static int link_policy(const struct admin_call *call, link_fn *link, json_t **ret,
                       struct kms_error *err)
{
    struct identity_name name;

    if (admin_whose(call, &name, err) < 0 ||
        link(call->services->iam->directory, &name, admin_text(call, "PolicyArn"), err) < 0)
        return -1;
    return admin_done(ret, err);
}

static int attach(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return link_policy(call, directory_attach, ret, err);
}

static int detach(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return link_policy(call, directory_detach, ret, err);
}

/* Without an ARN, as boundary clear asks it, there is none any more. */
static int boundary(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    return link_policy(call, directory_set_boundary, ret, err);
}

/* --- what policies come to -------------------------------------------------------------------- */

static void append_warning(void *arg, const char *where, const char *what)
{
    (void)json_array_append_new(arg, json_pack("{s:s, s:s}", "Statement", where, "Finding", what));
}

static int kind_of(const struct admin_call *call, enum policy_kind *ret, struct kms_error *err)
{
    static const char *const names[POLICY_KINDS] = {
        [POLICY_IDENTITY] = "identity", [POLICY_KEY] = "key", [POLICY_TRUST] = "trust"
    };
    const char *const asked = admin_text(call, "Kind");

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(asked ? asked : names[POLICY_IDENTITY], names[i]) == 0) {
            *ret = (enum policy_kind)i;
            return 0;
        }
    }
    return kms_fail(err, KMS_ERR_VALIDATION, "--kind must be identity, key or trust");
}

static int lint(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    const struct principal_book book = directory_book(call->services->iam->directory);
    enum policy_kind kind = POLICY_IDENTITY;
    struct policy *policy = NULL;

    if (kind_of(call, &kind, err) < 0 ||
        policy_compile(span_text(admin_text(call, "PolicyDocument")), kind, &book, &policy, err) <
            0)
        return -1;
    json_t *const warnings = json_array();
    policy_warnings(policy, append_warning, warnings);
    policy_unref(policy);
    return admin_answer(json_pack("{s:b, s:o}", "Valid", true, "Warnings", warnings), ret, err);
}

/* "NAME=VALUE" words; the texts live in room. */
struct pairs {
    struct condition_pair items[EXPLAIN_PAIRS_MAX];
    char *room[EXPLAIN_PAIRS_MAX];
    size_t count;
};

static void pairs_done(struct pairs *pairs)
{
    for (size_t i = 0; i < pairs->count; i++)
        free(pairs->room[i]);
}

static int read_pairs(const json_t *words, struct pairs *ret, struct kms_error *err)
{
    for (size_t i = 0; i < json_array_size(words); i++) {
        char *const word = strdup(json_string_value(json_array_get(words, i)));
        char *const equals = word ? strchr(word, '=') : NULL;

        if (equals == NULL || ret->count == EXPLAIN_PAIRS_MAX) {
            free(word);
            return kms_fail(err, KMS_ERR_VALIDATION,
                            "--context takes NAME=VALUE, at most %d times", EXPLAIN_PAIRS_MAX);
        }
        *equals = '\0';
        ret->room[ret->count] = word;
        ret->items[ret->count++] = (struct condition_pair){ word, equals + 1 };
    }
    return 0;
}

static int explain(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    AUTO(pairs) pairs = { 0 };
    struct explain_question question = { .key_id = admin_text(call, "Key"),
                                         .source_ip = admin_text(call, "SourceIp") };

    if (admin_need(call, "As", &question.as, err) < 0 ||
        admin_need(call, "Action", &question.action, err) < 0 ||
        read_pairs(json_object_get(call->request, "Context"), &pairs, err) < 0)
        return -1;
    question.pairs = pairs.items;
    question.pair_count = pairs.count;
    return api_explain(call->services->api, &question, ret, err);
}

/* For a key that its policy locked everybody out of. */
static int key_policy_reset(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct keyring *const keyring =
        keyring_named(call->services->keyring, admin_text(call, "KeyId"));
    struct key *key = NULL;

    if (keyring_resolve(keyring, admin_text(call, "KeyId"), true, &key, err) < 0)
        return -1;
    const struct uuid id = key->record.id;
    key_unref(key);
    if (lifecycle_set_policy(keyring, &id, NULL, NULL, err) < 0 ||
        policy_publish(call->services->api, &id, err) < 0)
        return -1;
    return admin_answer(json_pack("{s:s}", "KeyId", keyring_key_arn(keyring, &id).text), ret, err);
}

const struct admin_handler admin_policy_handlers[] = {
    { "policy put", policy_put },
    { "policy get", policy_get },
    { "policy delete", policy_delete },
    { "policy create", policy_create },
    { "policy remove", policy_remove },
    { "policy list", policy_list },
    { "attach", attach },
    { "detach", detach },
    { "boundary set", boundary },
    { "boundary clear", boundary },
    { "lint", lint },
    { "explain", explain },
    { "key-policy reset", key_policy_reset },
    { 0 },
};
