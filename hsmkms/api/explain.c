#include "hsmkms/api/explain.h"

#include <stdio.h>
#include <string.h>

#include "hsmkms/api/facts.h"
#include "hsmkms/keys/regions.h"

/* --- who -------------------------------------------------------------------------------------- */

/* "arn:aws:iam::ACCOUNT:root" -> the account. */
static bool root_account(const char *arn, char ret[13])
{
    return sscanf(arn, "arn:aws:iam::%12[0-9]:root", ret) == 1 && strlen(ret) == 12 &&
           strcmp(arn + strlen("arn:aws:iam::") + 12, ":root") == 0;
}

/* As whom the decision is made. Session policies are not known here: there is no session. */
static int principal_of_arn(struct iam *iam, const char *arn, struct principal *ret,
                            struct kms_error *err)
{
    char account[13] = "";

    if (root_account(arn, account)) {
        principal_of_root(account, "", ret);
        return 0;
    }
    struct identity *const found = directory_find_arn(iam->directory, span_text(arn));
    if (found == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "There is no user or role %s", arn);
    const char *const session = strrchr(arn, '/');
    const bool is_session = strstr(arn, ":assumed-role/") != NULL;
    if (found->kind == IDENTITY_ROLE)
        principal_of_session(found, NULL, is_session ? session + 1 : "explain", "", ret);
    else
        principal_of_user(found, NULL, "", ret);
    return 0;
}

/* --- what was looked at ----------------------------------------------------------------------- */

/* A statement that could not be noted shows as a shorter list. */
static void note(void *arg, const char *where, const char *what)
{
    (void)json_array_append_new(arg, json_pack("{s:s, s:s}", "Statement", where, "Finding", what));
}

static json_t *answer_of(const struct authorized *how, const struct kms_error *denied,
                         json_t *statements)
{
    const bool allowed = denied->code == KMS_ERR_NONE;

    return json_pack("{s:b, s:s, s:s*, s:O}", "Allowed", allowed, "Reason",
                     allowed ? "allowed" : denied->message, "DecidedBy",
                     how->by[0] ? how->by : NULL, "Statements", statements);
}

/* --- the question ----------------------------------------------------------------------------- */

static void add_context(const struct explain_question *question, struct facts *ret)
{
    for (size_t i = 0; i < question->pair_count; i++)
        ret->encryption_names[i] = question->pairs[i].name;
    if (question->pair_count) {
        context_set_family(&ret->context, FAMILY_ENCRYPTION_CONTEXT, question->pairs,
                           question->pair_count);
        context_set_list(&ret->context, KMS_ENCRYPTION_CONTEXT_KEYS, ret->encryption_names,
                         question->pair_count);
    }
    context_set(&ret->context, AWS_SOURCE_IP, question->source_ip);
}

static int decide_for(struct api *api, const struct explain_question *question, int action,
                      const struct principal *caller, const struct key *key, json_t **ret,
                      struct kms_error *err)
{
    const struct keyring *const keyring =
        key ? keyring_of(api->config.keyring, key) : api->config.keyring;
    const struct arn_text arn = key ? keyring_arn_of(keyring, key) : (struct arn_text){ "*" };
    json_auto_t *statements = json_array();
    struct authorized how = { 0 };
    struct kms_error denied = { 0 };
    struct facts facts;

    memset(&facts.context, 0, sizeof(facts.context));
    authorize_caller_context(caller, clock_wall_ms(api->config.clock), &facts.caller,
                             &facts.context);
    add_context(question, &facts);
    if (key)
        facts_add_key(keyring, key, true, &facts);
    facts_add_twins(&facts);
    context_set(&facts.context, KMS_CALLER_ACCOUNT, key ? caller->account : NULL);
    context_set(&facts.context, AWS_REQUESTED_REGION, keyring->region);
    const struct authorization request = {
        .caller = caller,
        .action = action,
        .resource = arn.text,
        .account = key ? keyring->account : "",
        .key_id = key ? &key->record.id : NULL,
        .context = &facts.context,
        .grants_apply = true,
        .trace = note,
        .trace_arg = statements,
    };
    if (authorize(api->config.iam, &request, &how, &denied) < 0 &&
        denied.code != KMS_ERR_ACCESS_DENIED) {
        *err = denied;
        return -1;
    }
    *ret = answer_of(&how, &denied, statements);
    return *ret ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
}

int api_explain(struct api *api, const struct explain_question *question, json_t **ret,
                struct kms_error *err)
{
    const int action = action_find(question->action);
    AUTO(principal) caller = { 0 };
    struct key *key = NULL;

    if (action < 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "There is no action %s", question->action);
    if (question->key_id == NULL && actions[action].class == ACTION_ON_KEY)
        return kms_fail(err, KMS_ERR_VALIDATION, "%s is about a key: which one?",
                        question->action);
    if (principal_of_arn(api->config.iam, question->as, &caller, err) < 0)
        return -1;
    if (question->key_id && keyring_resolve(keyring_named(api->config.keyring, question->key_id),
                                            question->key_id, true, &key, err) < 0)
        return -1;
    const int result = decide_for(api, question, action, &caller, key, ret, err);
    key_unref(key);
    return result;
}
