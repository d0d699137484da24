/*
 * Decisions over lines: reads a request as one JSON object per line of standard input, writes what
 * the policy engine says as one JSON object per line. What the suites in this folder talk to.
 *
 *   {"caller": {"kind": "root" | "user" | "session", "account", "arn", "principal_arn",
 *               "unique_id", "user_name", "session_name"},
 *    "action": "kms:Decrypt", "resource": ARN or "*", "account": of the resource or "" (for
 *    kms:RetireGrant the account that issued the grant),
 *    "context": {"slots": {KEY: text | number | boolean | [text]}, "families": {PREFIX:
 *                [[name, value]]}, "now_ms": number},
 *    "key_policy" | "trust_policy": text or null, "identity": [text], "boundary": text or null,
 *    "session": [text], "grant": "none" | "account" | "role" | "direct",
 *    "book": {ARN or account: unique id | "accepted"}, may be absent}
 *
 * gives {"allowed", "explicit", "layer", "policy", "statement", "sid", "broken"}, or {"malformed":
 * document, "message", "detail"}. {"compile": text, "kind": "identity" | "key" | "trust"} gives
 * {"warnings": [[where, what]], "pins": [[arn, id]]} or malformed. {"list": true} gives the rows of
 * actions.
 *
 * A request that is not of this form ends the program: the suite is wrong.
 */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/decide.h"

#define LAYERS_MAX 16 /* identity or session policies of a request */

/* The documents of a request, compiled. */
struct documents {
    struct named_policy resource, boundary, identity[LAYERS_MAX], session[LAYERS_MAX];
    size_t identity_count, session_count;
};

/* A context and the arrays it borrows. */
struct facts {
    struct policy_context context;
    const char *lists[SLOT_COUNT][LAYERS_MAX];
    struct condition_pair pairs[FAMILY_COUNT][LAYERS_MAX];
};

static void demand(bool condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "policy_eval: %s\n", what);
    exit(2);
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *const text = json_string_value(json_object_get(object, name));

    demand(text != NULL, name);
    return text;
}

/* Prints and gives back. */
static void answer(json_t *reply)
{
    demand(reply != NULL && json_dumpf(reply, stdout, JSON_COMPACT) == 0, "answer");
    (void)putchar('\n');
    json_decref(reply);
}

/* -- the request --------------------------------------------------------------------------------
 */

static void copy(char *to, size_t size, const json_t *object, const char *name)
{
    const int len = snprintf(to, size, "%s", text_of(object, name));

    demand(len >= 0 && (size_t)len < size, name);
}

static void read_caller(const json_t *from, struct principal *ret)
{
    static const char *const kinds[] = {
        [PRINCIPAL_ROOT] = "root",
        [PRINCIPAL_USER] = "user",
        [PRINCIPAL_ROLE_SESSION] = "session",
    };
    const char *const kind = text_of(from, "kind");
    size_t found = 0;

    while (found < sizeof(kinds) / sizeof(kinds[0]) && strcmp(kinds[found], kind) != 0)
        found++;
    demand(found < sizeof(kinds) / sizeof(kinds[0]), "kind");
    *ret = (struct principal){ .kind = (enum principal_kind)found };
    copy(ret->account, sizeof(ret->account), from, "account");
    copy(ret->arn, sizeof(ret->arn), from, "arn");
    copy(ret->principal_arn, sizeof(ret->principal_arn), from, "principal_arn");
    copy(ret->unique_id, sizeof(ret->unique_id), from, "unique_id");
    copy(ret->user_name, sizeof(ret->user_name), from, "user_name");
    copy(ret->session_name, sizeof(ret->session_name), from, "session_name");
}

static void set_list(struct facts *facts, enum context_slot slot, const json_t *values)
{
    const char **const list = facts->lists[slot];
    const size_t count = json_array_size(values);

    demand(count <= LAYERS_MAX, "values of a context key");
    for (size_t i = 0; i < count; i++) {
        list[i] = json_string_value(json_array_get(values, i));
        demand(list[i] != NULL, "value of a context key");
    }
    context_set_list(&facts->context, slot, list, count);
}

static void set_slot(struct facts *facts, const char *name, const json_t *value)
{
    enum context_slot slot = SLOT_COUNT;
    enum context_family family = FAMILY_COUNT;
    struct span rest;

    demand(context_key_find(span_text(name), &slot, &family, &rest), name);
    demand(family == FAMILY_COUNT && context_keys[slot].many == json_is_array(value), name);
    if (json_is_array(value))
        set_list(facts, slot, value);
    else if (json_is_boolean(value))
        context_set_bool(&facts->context, slot, json_is_true(value));
    else if (json_is_integer(value))
        context_set_number(&facts->context, slot, json_integer_value(value));
    else
        context_set(&facts->context, slot, json_string_value(value));
}

static void set_family(struct facts *facts, const char *prefix, const json_t *pairs)
{
    const size_t count = json_array_size(pairs);
    size_t family = 0;

    while (family < FAMILY_COUNT && strcmp(context_family_prefixes[family], prefix) != 0)
        family++;
    demand(family < FAMILY_COUNT && count <= LAYERS_MAX, prefix);
    for (size_t i = 0; i < count; i++) {
        const json_t *const pair = json_array_get(pairs, i);
        struct condition_pair *const to = &facts->pairs[family][i];
        to->name = json_string_value(json_array_get(pair, 0));
        to->value = json_string_value(json_array_get(pair, 1));
        demand(to->name != NULL && to->value != NULL, prefix);
    }
    context_set_family(&facts->context, (enum context_family)family, facts->pairs[family], count);
}

static void read_facts(json_t *from, struct facts *facts)
{
    const char *name;
    json_t *value;

    facts->context = (struct policy_context){
        .now_ms = json_integer_value(json_object_get(from, "now_ms")),
    };
    json_object_foreach(json_object_get(from, "slots"), name, value) set_slot(facts, name, value);
    json_object_foreach(json_object_get(from, "families"), name, value)
        set_family(facts, name, value);
}

/* -- documents ----------------------------------------------------------------------------------
 */

static enum principal_found find_in_book(void *ctx, struct span arn, char ret_id[UNIQUE_ID_LEN + 1])
{
    char name[IDENTITY_ARN_MAX];

    (void)snprintf(name, sizeof(name), "%.*s", (int)arn.len, (const char *)arn.ptr);
    const char *const id = json_string_value(json_object_get(ctx, name));
    if (id == NULL)
        return PRINCIPAL_UNKNOWN;
    if (strcmp(id, "accepted") == 0)
        return PRINCIPAL_ACCEPTED;
    (void)snprintf(ret_id, UNIQUE_ID_LEN + 1, "%s", id);
    return PRINCIPAL_PINNED;
}

/* False, and said so, when the document is refused. */
static bool compile(const char *name, const json_t *text, enum policy_kind kind, json_t *book,
                    struct named_policy *ret)
{
    const struct principal_book principals = { .find = find_in_book, .ctx = book };
    const struct span document = span_of(json_string_value(text), json_string_length(text));
    struct policy *policy = NULL;
    struct kms_error err = { 0 };

    ret->name = name;
    if (json_is_null(text) || text == NULL)
        return true;
    if (policy_compile(document, kind, book ? &principals : NULL, &policy, &err) == 0) {
        ret->policy = policy;
        return true;
    }
    demand(err.code == KMS_ERR_MALFORMED_POLICY, err.detail);
    answer(json_pack("{s:s, s:s, s:s}", "malformed", name, "message", err.message, "detail",
                     err.detail));
    return false;
}

static bool compile_list(const char *const names[LAYERS_MAX], const json_t *texts,
                         struct named_policy *ret, size_t *ret_count)
{
    const size_t count = json_array_size(texts);

    demand(count <= LAYERS_MAX, "number of policies");
    for (size_t i = 0; i < count; i++) {
        if (!compile(names[i], json_array_get(texts, i), POLICY_IDENTITY, NULL, &ret[i]))
            return false;
        *ret_count = i + 1;
    }
    return true;
}

static bool compile_documents(const json_t *request, struct documents *ret)
{
    static const char *const identity[LAYERS_MAX] = { "identity 0", "identity 1", "identity 2",
                                                      "identity 3", "identity 4", "identity 5" };
    static const char *const session[LAYERS_MAX] = { "session 0", "session 1", "session 2",
                                                     "session 3", "session 4", "session 5" };
    const json_t *const trust = json_object_get(request, "trust_policy");
    const bool of_role = trust && !json_is_null(trust);
    const json_t *const resource = of_role ? trust : json_object_get(request, "key_policy");

    return compile("resource", resource, of_role ? POLICY_TRUST : POLICY_KEY,
                   json_object_get(request, "book"), &ret->resource) &&
           compile_list(identity, json_object_get(request, "identity"), ret->identity,
                        &ret->identity_count) &&
           compile("boundary", json_object_get(request, "boundary"), POLICY_IDENTITY, NULL,
                   &ret->boundary) &&
           compile_list(session, json_object_get(request, "session"), ret->session,
                        &ret->session_count);
}

/* The engine only lends compiled policies as const; these references are ours. */
static void release(const struct named_policy *policy)
{
    policy_unref((struct policy *)(uintptr_t)policy->policy);
}

static void documents_done(struct documents *documents)
{
    release(&documents->resource);
    release(&documents->boundary);
    for (size_t i = 0; i < LAYERS_MAX; i++) {
        release(&documents->identity[i]);
        release(&documents->session[i]);
    }
}

/* -- answers ------------------------------------------------------------------------------------
 */

static enum strength grant_strength(void *ctx)
{
    return *(const enum strength *)ctx;
}

static enum strength read_grant(const json_t *request)
{
    static const char *const names[] = { "none", "account", "role", "direct" };
    const char *const name = text_of(request, "grant");
    size_t found = 0;

    while (found < 4 && strcmp(names[found], name) != 0)
        found++;
    demand(found < 4, "grant");
    return (enum strength)found;
}

static void ignore(void *arg, const char *where, const char *what)
{
    (void)arg;
    (void)where;
    (void)what;
}

/* A policy that names the action in no Deny is passed over, but not by a trace: no difference. */
static void demand_mask(const struct named_policy *policy, const struct policy_question *question)
{
    struct policy_question traced = *question;
    struct policy_answer quick, whole;

    if (policy->policy == NULL)
        return;
    traced.trace = ignore;
    policy_ask_deny(policy->policy, question, &quick);
    policy_ask_deny(policy->policy, &traced, &whole);
    demand(quick.denied == whole.denied && quick.broken == whole.broken, "denied only by a trace");
}

static void tell(const struct decision *decision)
{
    static const char *const layers[LAYER_COUNT] = {
        [LAYER_RESOURCE] = "resource", [LAYER_IDENTITY] = "identity", [LAYER_BOUNDARY] = "boundary",
        [LAYER_SESSION] = "session",   [LAYER_GRANT] = "grant",
    };

    answer(json_pack("{s:b, s:b, s:s, s:s?, s:i, s:s?, s:b}", "allowed", decision->allowed,
                     "explicit", decision->explicit_deny, "layer", layers[decision->layer],
                     "policy", decision->policy, "statement", decision->statement, "sid",
                     decision->sid, "broken", decision->broken));
}

static void decide_one(json_t *request)
{
    static struct facts facts;
    struct principal caller;
    struct documents documents = { 0 };
    struct decision decision;
    enum strength grant = read_grant(request);
    const char *const action = text_of(request, "action");

    read_caller(json_object_get(request, "caller"), &caller);
    read_facts(json_object_get(request, "context"), &facts);
    if (compile_documents(request, &documents)) {
        const struct decision_request asked = {
            .question = { .caller = &caller,
                          .action = action_find(action),
                          .resource = text_of(request, "resource"),
                          .context = &facts.context },
            .account = text_of(request, "account"),
            .resource = documents.resource,
            .identity = documents.identity,
            .identity_count = documents.identity_count,
            .boundary = documents.boundary.policy ? &documents.boundary : NULL,
            .session = documents.session,
            .session_count = documents.session_count,
            .grant = grant_strength,
            .grant_ctx = &grant,
        };
        demand(asked.question.action >= 0, action);
        demand_mask(&documents.resource, &asked.question);
        for (size_t i = 0; i < documents.identity_count; i++)
            demand_mask(&documents.identity[i], &asked.question);
        decide(&asked, &decision);
        tell(&decision);
    }
    documents_done(&documents);
}

static void add_pair(void *arg, const char *first, const char *second)
{
    demand(json_array_append_new(arg, json_pack("[ss]", first, second)) == 0, "memory");
}

static void compile_one(json_t *request)
{
    static const char *const kinds[POLICY_KINDS] = {
        [POLICY_IDENTITY] = "identity",
        [POLICY_KEY] = "key",
        [POLICY_TRUST] = "trust",
    };
    struct named_policy made = { 0 };
    const char *const kind = text_of(request, "kind");
    size_t found = 0;

    while (found < POLICY_KINDS && strcmp(kinds[found], kind) != 0)
        found++;
    demand(found < POLICY_KINDS, "kind");
    if (!compile("document", json_object_get(request, "compile"), (enum policy_kind)found,
                 json_object_get(request, "book"), &made))
        return;
    json_t *const warnings = json_array(), *const pins = json_array();
    policy_warnings(made.policy, add_pair, warnings);
    policy_pins(made.policy, add_pair, pins);
    answer(json_pack("{s:o, s:o}", "warnings", warnings, "pins", pins));
    release(&made);
}

static void list_actions(void)
{
    json_t *const rows = json_array();

    for (size_t i = 0; i < action_count; i++)
        demand(json_array_append_new(rows, json_pack("{s:s, s:b, s:b}", "name", actions[i].name,
                                                     "cross_account", actions[i].cross_account,
                                                     "grantable", actions[i].grantable)) == 0,
               "memory");
    answer(json_pack("{s:o}", "actions", rows));
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    while ((len = getline(&line, &size, stdin)) > 0) {
        json_error_t error;
        json_t *const request = json_loadb(line, (size_t)len, JSON_ALLOW_NUL, &error);
        demand(request != NULL, error.text);
        if (json_object_get(request, "list"))
            list_actions();
        else if (json_object_get(request, "compile"))
            compile_one(request);
        else
            decide_one(request);
        json_decref(request);
        (void)fflush(stdout);
    }
    free(line);
    return 0;
}
