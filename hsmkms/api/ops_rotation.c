#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/paging.h"
#include "hsmkms/api/reply.h"
#include "hsmkms/keys/imported.h"
#include "hsmkms/keys/lifecycle.h"

/*
 * EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand,
 * ListKeyRotations.
 */

struct enable_rotation_request {
    struct request_head head;
    int64_t period_days;
};

struct list_rotations_request {
    struct request_head head;
    const char *include;
    int64_t limit;
    const char *marker;
};

static const char *const include_texts[] = { "ROTATIONS_ONLY", "ALL_KEY_MATERIAL", NULL };

/* clang-format off */
static const struct field enable_rotation_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "RotationPeriodInDays", OPTIONAL, AT(enable_rotation, INT, period_days), 90, 2560, .log = LOGGED, .slot = KMS_ROTATION_PERIOD_IN_DAYS, .preset = "365" },
    { 0 },
};

static const struct field list_rotations_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "IncludeKeyMaterial", PRESET, AT(list_rotations, ENUM, include), 0, 0, .log = LOGGED, .texts = include_texts },
    LIMIT_ROW(list_rotations),
    MARKER_ROW(list_rotations),
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(enable_rotation);
REQUEST_SHAPE(list_rotations);

/* Only symmetric keys rotate. AWS refuses the others without words. */
int check_rotation(struct op_call *c, struct kms_error *err)
{
    return keyspec_is_symmetric(c->key->spec) ? 0 : kms_fail(err, KMS_ERR_UNSUPPORTED, "%s", "");
}

/* For what changes rotation: related multi-Region keys follow their primary. */
int check_rotation_change(struct op_call *c, struct kms_error *err)
{
    if (check_rotation(c, err) < 0)
        return -1;
    return key_is_replica(c->key)
               ? kms_fail(err, KMS_ERR_UNSUPPORTED, "%s is not a multi-region primary key.",
                          c->key_arn.text)
               : 0;
}

/* Imported material is changed by its owner alone. */
int check_automatic_rotation(struct op_call *c, struct kms_error *err)
{
    if (key_is_external(c->key))
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "%s origin is EXTERNAL which is not valid for this operation.",
                        c->key_arn.text);
    return check_rotation_change(c, err);
}

int op_enable_rotation(struct op_call *c, struct kms_error *err)
{
    return lifecycle_enable_rotation(c->keyring, &c->key->record.id,
                                     OP_REQUEST(enable_rotation, c)->period_days, err);
}

int op_disable_rotation(struct op_call *c, struct kms_error *err)
{
    return lifecycle_disable_rotation(c->keyring, &c->key->record.id, err);
}

int op_rotation_status(struct op_call *c, struct kms_error *err)
{
    const struct key_record *const record = &c->key->record;
    const bool enabled = record->rotation_enabled && c->key->state != KEY_PENDING_DELETION &&
                         c->key->state != KEY_PENDING_REPLICA_DELETION;

    if (!enabled)
        return op_answer(
            c, json_pack("{s:s, s:b}", "KeyId", c->key_arn.text, "KeyRotationEnabled", 0), err);
    return op_answer(c,
                     json_pack("{s:s, s:b, s:I, s:o}", "KeyId", c->key_arn.text,
                               "KeyRotationEnabled", 1, "RotationPeriodInDays",
                               (json_int_t)record->rotation_period_days, "NextRotationDate",
                               reply_time(record->rotation_next_ms)),
                     err);
}

int op_rotate(struct op_call *c, struct kms_error *err)
{
    if (lifecycle_rotate(c->keyring, &c->key->record.id, ROTATE_ON_DEMAND, err) < 0)
        return -1;
    return op_answer(c, json_pack("{s:s}", "KeyId", c->key_arn.text), err);
}

/* Versions that are or were in use; the first was made by no rotation. */
static bool listed(const struct version *version, bool all)
{
    return version_is_known(version) && (all || version->record.reason != NULL);
}

static const char *material_state(const struct key *key, const struct version *version)
{
    if (version == key_waiting_version(key))
        return "PENDING_ROTATION";
    return version == key_current(key) ? "CURRENT" : "NON_CURRENT";
}

/* What is said of imported material alone. */
static void add_import(json_t *item, const struct version *version)
{
    const struct version_record *const record = &version->record;
    const bool present = version_is_usable(version);

    (void)json_object_set_new(item, "ImportState",
                              json_string(present ? "IMPORTED" : "PENDING_IMPORT"));
    if (record->description)
        (void)json_object_set_new(item, "KeyMaterialDescription", json_string(record->description));
    if (present)
        reply_expiration(item, version);
}

static int append_rotation(json_t *items, const struct key *key, const struct version *version,
                           struct kms_error *err)
{
    json_t *const item =
        json_pack("{s:s, s:s, s:s}", "KeyId", key_name(key).text, "KeyMaterialId",
                  version->material_id, "KeyMaterialState", material_state(key, version));

    if (item && version->record.reason) {
        (void)json_object_set_new(item, "RotationDate", reply_time(version->record.rotated_ms));
        (void)json_object_set_new(item, "RotationType", json_string(version->record.reason));
    }
    if (item && key_is_external(key))
        add_import(item, version);
    if (json_array_append_new(items, item) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for an answer");
    return 0;
}

/* The number of the version that a page goes on behind; 0 for the first page. */
static int number_after(const struct op_call *c, int64_t *ret, struct kms_error *err)
{
    AUTO(buf) after = { 0 };

    if (page_after(c, OP_REQUEST(list_rotations, c)->marker, &after, err) < 0)
        return -1;
    *ret = 0;
    for (size_t i = 0; i < after.len && i < 8; i++)
        *ret = (int64_t)((uint64_t)*ret << 8 | after.ptr[i]);
    return 0;
}

int op_list_rotations(struct op_call *c, struct kms_error *err)
{
    static const struct page_size size = { .preset = 100, .most = 1000 };
    const struct list_rotations_request *const request = OP_REQUEST(list_rotations, c);
    const size_t limit = page_limit(size, request->limit);
    const bool all = strcmp(request->include, "ALL_KEY_MATERIAL") == 0;
    json_auto_t *items = json_array();
    AUTO(buf) last = { 0 };
    int64_t after = 0;
    bool more = false;

    if (number_after(c, &after, err) < 0)
        return -1;
    for (size_t i = 0; i < c->key->version_count && !more; i++) {
        const struct version *const version = &c->key->versions[i];
        if (version->record.number <= after || !listed(version, all))
            continue;
        more = json_array_size(items) == limit;
        if (more)
            continue;
        if (append_rotation(items, c->key, version, err) < 0)
            return -1;
        buf_clear(&last);
        buf_u64(&last, (uint64_t)version->record.number);
    }
    return page_answer(c, "Rotations", json_incref(items), more, buf_span(&last), err);
}
