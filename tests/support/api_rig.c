#include "tests/support/api_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/support/check.h"

#define NOON INT64_C(1795176000123) /* 2026-11-20T12:00:00.123Z */

static void open_keyring(struct api_rig *rig)
{
    struct kms_error err = { 0 };
    const struct keyring_limits limits = { .keys_most = 1000,
                                           .gcm_block = 16,
                                           .gcm_rotate = 1000000,
                                           .gcm_refuse = 2000000,
                                           .on_demand_rotations = 3 };
    const struct installation_record installation = { .id = rig->below.installation,
                                                      .account = (char *)RIG_ACCOUNT };
    unsigned strangers = 0;

    CHECK_OK(keyring_open(&rig->keyring, rig->below.token, rig->below.store, &rig->clock, limits,
                          &installation, "us-east-1", &strangers, &err),
             err);
}

/* The user as whom calls are made: an administrator by an identity policy. */
static void make_tester(struct api_rig *rig)
{
    const struct identity_draft draft = { .name = { IDENTITY_USER, RIG_ACCOUNT, "tester" } };
    struct directory *const directory = rig->below.iam->directory;
    struct kms_error err = { 0 };

    CHECK_OK(directory_create(directory, &draft, &rig->tester, &err), err);
    identity_unref(rig->tester);
    CHECK_OK(directory_attach(directory, &draft.name, ADMINISTRATOR_POLICY, &err), err);
    rig->tester = directory_find(directory, IDENTITY_USER, RIG_ACCOUNT, "tester");
    CHECK(rig->tester != NULL);
}

int api_rig_up(void **state)
{
    struct api_rig *const rig = *state;
    struct kms_error err = { 0 };
    struct audit_tail tail;

    *rig = (struct api_rig){ .clock = { NOON }, .log = { LOG_LEVEL_ERROR } };
    iam_rig_up(&rig->below);
    iam_rig_begin(&rig->below);
    open_keyring(rig);

    (void)snprintf(rig->audit_dir, sizeof(rig->audit_dir), "%s/audit", rig->below.softhsm.dir);
    CHECK(mkdir(rig->audit_dir, 0700) == 0);
    const struct audit_config trail = {
        .dir = rig->audit_dir, .segment_bytes = 1 << 26, .segment_seconds = 3600, .queue = 64
    };
    CHECK_OK(audit_open(&trail, &rig->audit, &tail, &err), err);
    const struct api_config config = { .keyring = &rig->keyring,
                                       .iam = rig->below.iam,
                                       .audit = rig->audit,
                                       .clock = &rig->clock,
                                       .log = &rig->log,
                                       .due_check_s = 60 };
    CHECK_OK(api_new(&config, &rig->api, &err), err);
    make_tester(rig);
    return 0;
}

int api_rig_down(void **state)
{
    struct api_rig *const rig = *state;

    identity_unref(rig->tester);
    api_free(rig->api);
    audit_close(rig->audit);
    keyring_close(&rig->keyring);
    iam_rig_down(&rig->below);
    return 0;
}

void outcome_done(struct outcome *outcome)
{
    json_decref(outcome->result);
}

/* A call and what waits for its end. */
struct waiting {
    struct api_call call; /* first, so that done() finds the rest */
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    int times;
};

static void on_done(struct api_call *call)
{
    struct waiting *const waiting = (struct waiting *)(void *)call;

    pthread_mutex_lock(&waiting->mutex);
    waiting->times++;
    pthread_cond_signal(&waiting->ended);
    pthread_mutex_unlock(&waiting->mutex);
}

static void fill_call(const struct api_rig *rig, struct api_call *call, const char *operation,
                      json_t *parameters)
{
    call->operation = operation;
    call->parameters = parameters;
    call->request_id = uuid_random();
    call->done = on_done;
    (void)snprintf(call->source_ip, sizeof(call->source_ip), "127.0.0.1");
    principal_of_user(identity_ref(rig->tester), NULL, "AKIATEST", &call->principal);
}

struct outcome rig_call(struct api_rig *rig, const char *operation, json_t *parameters)
{
    struct waiting waiting = { .mutex = PTHREAD_MUTEX_INITIALIZER,
                               .ended = PTHREAD_COND_INITIALIZER };
    struct outcome outcome = { 0 };

    fill_call(rig, &waiting.call, operation, parameters);
    api_call_run(rig->api, &waiting.call);
    pthread_mutex_lock(&waiting.mutex);
    while (waiting.times == 0)
        pthread_cond_wait(&waiting.ended, &waiting.mutex);
    pthread_mutex_unlock(&waiting.mutex);
    assert_int_equal(waiting.times, 1);
    CHECK(waiting.call.err.code == KMS_ERR_NONE || waiting.call.result == NULL);

    outcome.err = waiting.call.err;
    outcome.result = json_incref(waiting.call.result);
    api_call_done(&waiting.call);
    return outcome;
}

static json_t *parse(const char *format, va_list args)
{
    char *text = NULL;

    CHECK(vasprintf(&text, format, args) >= 0);
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    json_t *const json = json_loads(text, 0, NULL);
    if (json == NULL)
        fail_msg("not JSON: %s", text);
    free(text);
    return json;
}

struct outcome rig_ask(struct api_rig *rig, const char *operation, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    json_t *const parameters = parse(format, args);
    va_end(args);
    return rig_call(rig, operation, parameters);
}

json_t *rig_ok(struct api_rig *rig, const char *operation, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    json_t *const parameters = parse(format, args);
    va_end(args);
    AUTO(outcome) outcome = rig_call(rig, operation, parameters);
    if (outcome.err.code != KMS_ERR_NONE)
        fail_msg("%s: %s %s %s at %s", operation, kms_err_name(outcome.err.code),
                 outcome.err.message, outcome.err.detail, outcome.err.where);
    return outcome.result ? json_incref(outcome.result) : json_object();
}

void rig_refused(struct api_rig *rig, enum kms_err code, const char *message, const char *operation,
                 const char *format, ...)
{
    const uint64_t before = store_sequence(rig->below.store);
    va_list args;

    va_start(args, format);
    json_t *const parameters = parse(format, args);
    va_end(args);
    AUTO(outcome) outcome = rig_call(rig, operation, parameters);
    if (outcome.err.code != code)
        fail_msg("%s %s: %s %s %s", operation, format, kms_err_name(outcome.err.code),
                 outcome.err.message, outcome.err.detail);
    if (message)
        assert_string_equal(outcome.err.message, message);
    assert_int_equal(store_sequence(rig->below.store), before);
}

const char *text_of(const json_t *object, const char *name)
{
    const char *const text = json_string_value(json_object_get(object, name));

    if (text == NULL)
        fail_msg("no text %s", name);
    return text;
}

struct uuid_text rig_key(struct api_rig *rig)
{
    json_auto_t *made = rig_ok(rig, "CreateKey", "{}");
    struct uuid_text id;

    (void)snprintf(id.text, sizeof(id.text), "%s", text_of(member(made, "KeyMetadata"), "KeyId"));
    return id;
}

const json_t *member(const json_t *object, const char *name)
{
    const json_t *const value = json_object_get(object, name);

    if (value == NULL)
        fail_msg("no member %s", name);
    return value;
}

void check_names(const json_t *object, const char *names)
{
    const char *name;
    json_t *value;
    json_auto_t *sorted = json_loads(names, 0, NULL);

    assert_int_equal(json_object_size(object), json_array_size(sorted));
    json_object_foreach((json_t *)object, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < json_array_size(sorted); i++)
            known = known || strcmp(json_string_value(json_array_get(sorted, i)), name) == 0;
        if (!known)
            fail_msg("unexpected member %s", name);
    }
}

static void collect(void *arg, uint64_t seq, struct span line)
{
    json_t *const record = json_loadb((const char *)line.ptr, line.len, 0, NULL);

    (void)seq;
    CHECK(record != NULL);
    CHECK(json_array_append_new(arg, record) == 0);
}

json_t *rig_records(struct api_rig *rig, uint64_t count)
{
    struct kms_error err = { 0 };
    json_t *const records = json_array();

    CHECK_OK(audit_last(rig->audit_dir, count, collect, records, &err), err);
    return records;
}
