#pragma once

/*
 * People and documents for the tests of policies. Documents are written with ` in place of ".
 */

#include "hsmkms/iam/decide.h"
#include "tests/support/check.h"

#define A_ID    "111122223333"
#define B_ID    "444455556666"
#define IAM_A   "arn:aws:iam::" A_ID ":"
#define IAM_B   "arn:aws:iam::" B_ID ":"
#define ALICE   IAM_A "user/alice"
#define APP     IAM_A "role/team/app"
#define SESSION "arn:aws:sts::" A_ID ":assumed-role/app/s1"
#define EVE     IAM_B "user/eve"
#define KEY_ARN "arn:aws:kms:eu-central-1:" A_ID ":key/1234abcd-12ab-34cd-56ef-1234567890ab"

/* alice = user, app_s1 = session of role app, root_a, all of account A; eve = user of B. */
extern const struct principal alice, app_s1, root_a, eve, root_b;

/* Row of an action that exists. */
int action_row(const char *name);

/* A document with quotes for backticks. */
struct document_text {
    char text[40000];
};
struct document_text document(const char *text);

/* Compiles what must compile, without a book of principals. */
struct policy *compile_ok(enum policy_kind kind, const char *text);

/* Compiles; 0 or -1 with err filled. */
int compile(enum policy_kind kind, const struct principal_book *book, const char *text,
            struct policy **ret, struct kms_error *err);

/* What a document answers to kms:Decrypt on KEY_ARN; the same with and without a trace, which shows
 * that statements passed over unseen had nothing to say. */
struct policy_answer ask_allow(const struct policy *policy, const struct principal *caller,
                               const struct policy_context *context);
struct policy_answer ask_deny(const struct policy *policy, const struct principal *caller,
                              const struct policy_context *context);
