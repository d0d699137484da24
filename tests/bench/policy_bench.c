/*
 * Nanoseconds of processor time for one decision: key policies of 1 to 100 statements with 4
 * principals, 2 conditions and 3 values each, of which the last alone applies, under an identity
 * policy without a Deny.
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hsmkms/base/buf.h"
#include "hsmkms/iam/decide.h"

#define ACCOUNT "111122223333"
#define ALICE   "arn:aws:iam::" ACCOUNT ":user/alice"
#define KEY     "arn:aws:kms:eu-central-1:" ACCOUNT ":key/1234abcd-12ab-34cd-56ef-1234567890ab"

static const struct principal alice = { .kind = PRINCIPAL_USER,
                                        .account = ACCOUNT,
                                        .arn = ALICE,
                                        .principal_arn = ALICE,
                                        .unique_id = "AIDAALICEAAAAAAAAAAA",
                                        .user_name = "alice" };

static void append_statement(struct buf *text, const char *user, const char *app)
{
    buf_printf(text,
               "{\"Effect\":\"Allow\",\"Action\":[\"kms:Decrypt\",\"kms:GenerateDataKey*\"],"
               "\"Resource\":\"*\",\"Principal\":{\"AWS\":[\"arn:aws:iam::" ACCOUNT ":role/a\","
               "\"arn:aws:iam::" ACCOUNT ":role/b\",\"arn:aws:iam::" ACCOUNT ":user/c\","
               "\"arn:aws:iam::" ACCOUNT ":user/%s\"]},\"Condition\":{"
               "\"StringLike\":{\"kms:EncryptionContext:Bucket\":[\"a-*\",\"b-*-x\",\"c-*\"]},"
               "\"StringEquals\":{\"kms:EncryptionContext:App\":[\"one\",\"two\",\"%s\"]}}}",
               user, app);
}

static struct policy *compile(struct span text, enum policy_kind kind)
{
    struct kms_error err = { 0 };
    struct policy *policy = NULL;

    if (policy_compile(text, kind, NULL, &policy, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.detail);
        exit(1);
    }
    return policy;
}

/* Every statement names alice, so the conditions of each are looked at. */
static struct policy *key_policy(int statements)
{
    AUTO(buf) text = { 0 };

    buf_text(&text, "{\"Version\":\"2012-10-17\",\"Statement\":[");
    for (int i = 1; i <= statements; i++) {
        append_statement(&text, "alice", i == statements ? "mine" : "other");
        buf_text(&text, i == statements ? "]}" : ",");
    }
    return compile(buf_span(&text), POLICY_KEY);
}

static int64_t spent_ns(void)
{
    struct timespec spent;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (int64_t)spent.tv_sec * 1000000000 + spent.tv_nsec;
}

static void measure(int statements, const struct policy *identity)
{
    static const struct condition_pair pairs[] = { { "App", "mine" }, { "Bucket", "c-photos" } };
    enum { ROUNDS = 50000 };
    struct policy *const key = key_policy(statements);
    const struct named_policy attached = { "identity", identity };
    struct policy_context context = { .now_ms = 1795176000000 };
    struct decision decision;

    context_set_family(&context, FAMILY_ENCRYPTION_CONTEXT, pairs, ARRAY_LEN(pairs));
    const struct decision_request request = {
        .question = { &alice, action_find("kms:Decrypt"), KEY, &context, NULL, NULL },
        .account = ACCOUNT,
        .resource = { "key policy", key },
        .identity = &attached,
        .identity_count = 1,
    };
    const int64_t start = spent_ns();
    for (int i = 0; i < ROUNDS; i++) {
        decide(&request, &decision);
        if (!decision.allowed || decision.statement != statements - 1)
            exit(1);
    }
    printf("%3d statements %8.0f ns\n", statements, (double)(spent_ns() - start) / ROUNDS);
    policy_unref(key);
}

int main(void)
{
    static const int statements[] = { 1, 5, 20, 100 };
    struct policy *const identity =
        compile(SPAN_LITERAL("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"kms:*\","
                             "\"Resource\":\"*\"}}"),
                POLICY_IDENTITY);

    for (size_t i = 0; i < ARRAY_LEN(statements); i++)
        measure(statements[i], identity);
    policy_unref(identity);
    return 0;
}
