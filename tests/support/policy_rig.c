#include "tests/support/policy_rig.h"

const struct principal alice = {
    .kind = PRINCIPAL_USER,
    .account = A_ID,
    .arn = ALICE,
    .principal_arn = ALICE,
    .id = "AIDAALICEAAAAAAAAAAA",
    .unique_id = "AIDAALICEAAAAAAAAAAA",
    .user_name = "alice",
};
const struct principal app_s1 = {
    .kind = PRINCIPAL_ROLE_SESSION,
    .account = A_ID,
    .arn = SESSION,
    .principal_arn = APP,
    .id = "AROAAPPAAAAAAAAAAAAA:s1",
    .unique_id = "AROAAPPAAAAAAAAAAAAA",
    .session_name = "s1",
};
const struct principal root_a = {
    .kind = PRINCIPAL_ROOT,
    .account = A_ID,
    .arn = IAM_A "root",
    .principal_arn = IAM_A "root",
    .id = A_ID,
};
const struct principal eve = {
    .kind = PRINCIPAL_USER,
    .account = B_ID,
    .arn = EVE,
    .principal_arn = EVE,
    .id = "AIDAEVEAAAAAAAAAAAAA",
    .unique_id = "AIDAEVEAAAAAAAAAAAAA",
    .user_name = "eve",
};
const struct principal root_b = {
    .kind = PRINCIPAL_ROOT,
    .account = B_ID,
    .arn = IAM_B "root",
    .principal_arn = IAM_B "root",
    .id = B_ID,
};

int action_row(const char *name)
{
    const int row = action_find(name);

    CHECK(row >= 0);
    return row;
}

struct document_text document(const char *text)
{
    struct document_text ret;
    const size_t len = strlen(text);

    CHECK(len < sizeof(ret.text));
    for (size_t i = 0; i <= len; i++)
        ret.text[i] = (char)(text[i] == '`' ? '"' : text[i]);
    return ret;
}

int compile(enum policy_kind kind, const struct principal_book *book, const char *text,
            struct policy **ret, struct kms_error *err)
{
    const struct document_text quoted = document(text);

    return policy_compile(span_text(quoted.text), kind, book, ret, err);
}

struct policy *compile_ok(enum policy_kind kind, const char *text)
{
    struct policy *policy = NULL;
    struct kms_error err = { 0 };

    if (compile(kind, NULL, text, &policy, &err) < 0)
        fail_msg("%s\n%s", text, err.detail);
    return policy;
}

typedef void ask_fn(const struct policy *policy, const struct policy_question *question,
                    struct policy_answer *ret);

static void ignore(void *arg, const char *where, const char *what)
{
    (void)arg;
    (void)where;
    (void)what;
}

static struct policy_answer ask(ask_fn *run, const struct policy *policy,
                                const struct principal *caller,
                                const struct policy_context *context)
{
    struct policy_question question = { .caller = caller,
                                        .action = action_row("kms:Decrypt"),
                                        .resource = KEY_ARN,
                                        .context = context };
    struct policy_answer answer, traced;

    run(policy, &question, &answer);
    question.trace = ignore;
    run(policy, &question, &traced);
    CHECK(traced.denied == answer.denied && traced.allowed == answer.allowed &&
          traced.broken == answer.broken && traced.statement == answer.statement);
    return answer;
}

struct policy_answer ask_allow(const struct policy *policy, const struct principal *caller,
                               const struct policy_context *context)
{
    return ask(policy_ask_allow, policy, caller, context);
}

struct policy_answer ask_deny(const struct policy *policy, const struct principal *caller,
                              const struct policy_context *context)
{
    return ask(policy_ask_deny, policy, caller, context);
}
