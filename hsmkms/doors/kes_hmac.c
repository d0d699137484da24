#include <stdio.h>
#include <string.h>

#include "hsmkms/doors/json_front.h"
#include "hsmkms/doors/kes_parts.h"

/*
 * A key of KES computes MACs too, and clients derive from them what must never change (MinIO its
 * root credentials). A key here has one use, so each key made through this door has a companion: an
 * HMAC_256 key whose alias carries the id, not the name, of the key that it belongs to. A new key of
 * an old name therefore never computes the MACs of the old one.
 *
 * The name of a key is given last, when its companion is complete: a crash before leaves keys that
 * nobody knows, never a name without a companion. Keys made elsewhere have none, and none is made
 * later: hmac is then not offered.
 *
 * Source: MinIO KES, Server API, /v1/key/hmac: HMAC-SHA256.
 */

#define COMPANION_PREFIX "alias/kes-hmac/"
#define COMPANION_MAX    (sizeof(COMPANION_PREFIX) + 36)
#define COMPANION_TEXT   "HMAC key of KES key "

static void alias_of(const char *key_id, char ret[COMPANION_MAX])
{
    (void)snprintf(ret, COMPANION_MAX, COMPANION_PREFIX "%s", key_id);
}

/* --- with the life of the key ----------------------------------------------------------------- */

static int make_key(struct kes_call *call, const char *key_id, json_t **ret, struct kms_error *err)
{
    char text[sizeof(COMPANION_TEXT) + 36];

    (void)snprintf(text, sizeof(text), COMPANION_TEXT "%s", key_id);
    return door_call_step(&call->base, "CreateKey",
                          json_pack("{s:s, s:s, s:s}", "KeySpec", "HMAC_256", "KeyUsage",
                                    "GENERATE_VERIFY_MAC", "Description", text),
                          ret, err);
}

int kes_hmac_make(struct kes_call *call, const char *key_id, struct kms_error *err)
{
    char alias[COMPANION_MAX];
    json_auto_t *made = NULL, *unused = NULL;

    if (make_key(call, key_id, &made, err) < 0)
        return -1;
    const char *const id = kes_text_of(json_object_get(made, "KeyMetadata"), "KeyId");
    alias_of(key_id, alias);
    if (door_call_step(&call->base, "CreateAlias",
                       json_pack("{s:s, s:s}", "AliasName", alias, "TargetKeyId", id), &unused,
                       err) == 0)
        return 0;
    kes_drop_key(call, id);
    return -1;
}

int kes_hmac_delete(struct kes_call *call, const char *key_id, int64_t days, struct kms_error *err)
{
    char alias[COMPANION_MAX];
    json_auto_t *companion = NULL, *unused = NULL;

    alias_of(key_id, alias);
    if (kes_describe_id(call, alias, &companion, err) < 0) {
        if (err->code != KMS_ERR_NOT_FOUND && err->code != KMS_ERR_ACCESS_DENIED)
            return -1;
        kms_error_clear(err); /* made elsewhere, gone already, or not this client's to delete */
        return 0;
    }
    if (strcmp(kes_text_of(companion, "KeyState"), "PendingDeletion") == 0)
        return 0;
    return door_call_step(&call->base, "ScheduleKeyDeletion",
                          json_pack("{s:s, s:I}", "KeyId", kes_text_of(companion, "KeyId"),
                                    "PendingWindowInDays", (json_int_t)days),
                          &unused, err);
}

/* --- hmac ------------------------------------------------------------------------------------- */

/* Of a key that may be used; untouched when it has none. */
static int find_companion(struct kes_call *call, json_t **ret, struct kms_error *err)
{
    char alias[COMPANION_MAX];
    json_auto_t *key = NULL;

    if (kes_describe_named(call, &key, err) < 0)
        return -1;
    if (strcmp(kes_text_of(key, "KeyState"), "Enabled") != 0)
        return kms_fail(err, KMS_ERR_DISABLED, "the key is not enabled");
    alias_of(kes_text_of(key, "KeyId"), alias);
    if (kes_describe_id(call, alias, ret, err) == 0)
        return 0;
    if (err->code != KMS_ERR_NOT_FOUND)
        return -1;
    kms_error_clear(err); /* the key itself was there */
    return 0;
}

static int add_parameters(struct kes_call *call, const json_t *companion, struct kms_error *err)
{
    json_auto_t *body = NULL;

    if (json_front(http_exchange_request(call->base.exchange)->body, &body, err) < 0)
        return -1;
    json_t *const message = json_object_get(body, "message");
    if (!json_is_string(message))
        return kms_fail(err, KMS_ERR_VALIDATION, "message is missing");
    call->base.call.parameters =
        json_pack("{s:s, s:s, s:O}", "KeyId", kes_text_of(companion, "KeyId"), "MacAlgorithm",
                  "HMAC_SHA_256", "Message", message);
    if (call->base.call.parameters == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for parameters");
    return 0;
}

void kes_hmac(struct kes_call *call)
{
    struct api_call *const api = &call->base.call;
    json_auto_t *companion = NULL;

    if (find_companion(call, &companion, &api->err) < 0) {
        kes_end(call);
        return;
    }
    if (companion == NULL) {
        kes_not_offered(call);
        return;
    }
    api->operation = "GenerateMac";
    if (add_parameters(call, companion, &api->err) < 0)
        door_call_refuse(&call->base);
    else
        door_call_run(&call->base);
}
