/*
 * policy_compile: what it accepts answers questions, and the same ones each time; what it refuses
 * is malformed, for a reason.
 *
 * Input: one byte (kind of policy, and whether there is a book of principals), then the document.
 */

#include <stdlib.h>

#include "hsmkms/iam/decide.h"

#define ACCOUNT     "111122223333"
#define KEY         "arn:aws:kms:eu-central-1:" ACCOUNT ":key/1a1a1a1a-aaaa"
#define SMALL       1500 /* bytes of a document that cannot need many steps */
#define CALLERS     3
#define CONTEXTS    3
#define WITH_BOOK   0x10
#define LIST_LENGTH 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static const struct principal callers[CALLERS] = {
    { .kind = PRINCIPAL_ROOT,
      .account = ACCOUNT,
      .arn = "arn:aws:iam::" ACCOUNT ":root",
      .principal_arn = "arn:aws:iam::" ACCOUNT ":root" },
    { .kind = PRINCIPAL_USER,
      .account = ACCOUNT,
      .arn = "arn:aws:iam::" ACCOUNT ":user/alice",
      .principal_arn = "arn:aws:iam::" ACCOUNT ":user/alice",
      .unique_id = "AIDAAAAAAAAAAAAAAAAA",
      .user_name = "alice" },
    { .kind = PRINCIPAL_ROLE_SESSION,
      .account = ACCOUNT,
      .arn = "arn:aws:sts::" ACCOUNT ":assumed-role/app/s1",
      .principal_arn = "arn:aws:iam::" ACCOUNT ":role/app",
      .unique_id = "AROAAAAAAAAAAAAAAAAA",
      .session_name = "s1" },
};

static const char *const list[LIST_LENGTH] = { "App", "Env" };
static const struct condition_pair pairs[] = { { "App", "x" }, { "env", "a*b" }, { "p", "" } };
static const struct condition_pair colliding[] = { { "App", "x" }, { "APP", "y" } };

/* Nothing, something of everything, and keys that collide. */
static void fill(struct policy_context *context, int which)
{
    *context = (struct policy_context){ .now_ms = 1795176000000 };
    if (which == 0)
        return;
    for (enum context_slot slot = 0; slot < SLOT_COUNT; slot++) {
        if (context_keys[slot].many)
            context_set_list(context, slot, list, which == 1 ? LIST_LENGTH : 0);
        else if (context_keys[slot].type == TYPE_BOOL)
            context_set_bool(context, slot, which == 1);
        else if (context_keys[slot].type == TYPE_NUMBER)
            context_set_number(context, slot, 30);
        else if (slot != AWS_CURRENT_TIME && slot != AWS_EPOCH_TIME)
            context_set(context, slot, which == 1 ? "10.0.0.7" : callers[1].arn);
    }
    for (enum context_family family = 0; family < FAMILY_COUNT; family++)
        context_set_family(context, family, which == 1 ? pairs : colliding, which == 1 ? 3 : 2);
}

static enum principal_found find(void *ctx, struct span arn, char ret_id[UNIQUE_ID_LEN + 1])
{
    (void)ctx;
    demand(arn.len > 0 && arn.len < IDENTITY_ARN_MAX);
    if (arn.len % 3 == 0)
        return PRINCIPAL_ACCEPTED;
    memcpy(ret_id, callers[1].unique_id, UNIQUE_ID_LEN + 1);
    return arn.len % 3 == 1 ? PRINCIPAL_PINNED : PRINCIPAL_UNKNOWN;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void demand_same(const struct policy_answer *a, const struct policy_answer *b)
{
    demand(a->denied == b->denied && a->allowed == b->allowed && a->statement == b->statement &&
           a->broken == b->broken && same_text(a->sid, b->sid));
    demand(a->statement >= -1 && a->statement < POLICY_STATEMENTS_MAX);
    demand(!(a->denied && a->allowed != STRENGTH_NONE));
}

static void ignore(void *arg, const char *where, const char *what)
{
    (void)arg;
    (void)where;
    (void)what;
}

static void ask(const struct policy *one, const struct policy *other,
                const struct policy_question *question, bool small)
{
    struct policy_question traced = *question; /* a trace passes over no statement */
    struct policy_answer first = { 0 }, second = { 0 };

    traced.trace = ignore;
    policy_ask_deny(one, question, &first);
    policy_ask_deny(other, question, &second);
    demand_same(&first, &second);
    policy_ask_deny(one, &traced, &second);
    demand_same(&first, &second);
    demand(first.allowed == STRENGTH_NONE);
    demand(!small || !first.broken);

    policy_ask_allow(one, question, &first);
    policy_ask_allow(other, question, &second);
    demand_same(&first, &second);
    policy_ask_allow(one, &traced, &second);
    demand_same(&first, &second);
    demand(first.broken || !first.denied);
    demand(!small || !first.broken);
}

static void ask_all(const struct policy *one, const struct policy *other, bool small)
{
    static const char *const actions_asked[] = { "kms:Decrypt", "kms:PutKeyPolicy", "kms:CreateKey",
                                                 "sts:AssumeRole" };
    static struct policy_context context;

    for (int which = 0; which < CONTEXTS; which++) {
        fill(&context, which);
        for (size_t i = 0; i < CALLERS * 4; i++) {
            const struct policy_question question = {
                .caller = &callers[i % CALLERS],
                .action = action_find(actions_asked[i / CALLERS]),
                .resource = i / CALLERS == 2 ? "*" : KEY,
                .context = &context,
            };
            demand(question.action >= 0);
            ask(one, other, &question, small);
        }
    }
}

static void note(void *arg, const char *first, const char *second)
{
    demand(first != NULL && second != NULL && second[0] != '\0');
    ++*(size_t *)arg;
}

static void demand_same_notes(const struct policy *one, const struct policy *other)
{
    size_t counts[4] = { 0 };

    policy_warnings(one, note, &counts[0]);
    policy_warnings(other, note, &counts[1]);
    policy_pins(one, note, &counts[2]);
    policy_pins(other, note, &counts[3]);
    demand(counts[0] == counts[1] && counts[2] == counts[3]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct principal_book book = { .find = find };
    struct policy *one = NULL, *other = NULL;
    struct kms_error err = { 0 }, again = { 0 };

    if (size < 1)
        return 0;
    const enum policy_kind kind = (enum policy_kind)((data[0] & 0x0f) % POLICY_KINDS);
    const struct principal_book *const known = data[0] & WITH_BOOK ? &book : NULL;
    const struct span text = span_of(data + 1, size - 1);

    const int made = policy_compile(text, kind, known, &one, &err);
    demand(policy_compile(text, kind, known, &other, &again) == made);
    if (made == 0) {
        ask_all(one, other, size <= SMALL);
        demand_same_notes(one, other);
    } else {
        demand(one == NULL && other == NULL && err.code == KMS_ERR_MALFORMED_POLICY);
        demand(err.detail[0] != '\0' && strcmp(err.detail, again.detail) == 0);
    }
    policy_unref(one);
    policy_unref(other);
    return 0;
}
