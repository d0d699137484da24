#include "hsmkms/api/last_use.h"

#include <stdio.h>

#include "hsmkms/api/ops.h"
#include "hsmkms/api/reply.h"

/* GetKeyLastUsage, and what makes its answer. */

static void note(const struct op_call *c, const struct key *key, const struct uuid *version_id)
{
    const struct version *const version = key_version_find(key, version_id);
    struct last_use use = { .time_ms = clock_wall_ms(c->api->config.clock),
                            .event_id = c->event_id,
                            .request_id = c->call->request_id };

    (void)snprintf(use.operation, sizeof(use.operation), "%s", c->op->name);
    if (version)
        use_mark_note(version->use, &use);
}

void last_use_note(const struct op_call *c)
{
    if (c->op->key.tracked && c->key)
        note(c, c->key, &c->version_id);
    if (c->op->other.tracked && c->other)
        note(c, c->other, &c->other_version_id);
}

void last_use_store(struct api *api)
{
    struct kms_error err = { 0 };
    size_t saved = 0;

    if (last_use_save(api->config.keyring, &saved, &err) < 0)
        log_error(api->config.log, LOG_LEVEL_WARN, "last-use", &err);
}

static json_t *use_json(const struct last_use *use)
{
    return json_pack("{s:s, s:o, s:s, s:s}", "Operation", use->operation, "Timestamp",
                     reply_time(use->time_ms), "CloudTrailEventId",
                     uuid_format(&use->event_id).text, "KmsRequestId",
                     uuid_format(&use->request_id).text);
}

/* Every use is noted from a key's first second on: tracking began with its creation. */
int op_last_usage(struct op_call *c, struct kms_error *err)
{
    const struct key_record *const record = &c->key->record;
    struct last_use use;
    json_t *const last = key_last_use(c->key, &use) ? use_json(&use) : json_object();

    return op_answer(c,
                     json_pack("{s:s, s:o, s:o, s:o}", "KeyId", uuid_format(&record->id).text,
                               "KeyLastUsage", last, "TrackingStartDate",
                               reply_time(record->created_ms), "KeyCreationDate",
                               reply_time(record->created_ms)),
                     err);
}
