/* A new installation: kms_init() of kms.h. */

#include "hsmkms/audit/record.h"
#include "hsmkms/kms_parts.h"

/* An init that was interrupted may have left a database, but none with an installation in it. */
static int check_not_made(struct kms *kms, const struct own_objects *found, struct kms_error *err)
{
    if (!kms_has_database(kms))
        return 0;
    if (found->meta_macs) {
        kms->installation.meta_mac_key = found->meta_mac;
        if (kms_open_store(kms, err) < 0 || kms_read_installation(kms, err) < 0)
            return -1;
        if (uuid_is_nil(&kms->installation.id))
            return 0;
    }
    return kms_fail(err, KMS_ERR_CONFIG, "there is an installation in %s already",
                    kms->settings.service_state_dir);
}

/* The service's own token keys; those of an interrupted init are taken up again. */
static int make_own_objects(struct kms *kms, const struct own_objects *found, struct kms_error *err)
{
    struct installation_record *const installation = &kms->installation;
    uint8_t canary[TOKEN_CANARY_LEN] = { 0 };

    installation->meta_mac_key = found->meta_macs ? found->meta_mac : uuid_random();
    installation->credential_key = found->credentials ? found->credential : uuid_random();
    if (!found->meta_macs && token_key_generate(kms->token, TOKEN_HMAC, &installation->meta_mac_key,
                                                LABEL_META_MAC, canary, err) < 0)
        return -1;
    if ((found->credentials
             ? token_key_canary(kms->token, &installation->credential_key, canary, err)
             : token_key_generate(kms->token, TOKEN_AES_GCM, &installation->credential_key,
                                  LABEL_CREDENTIAL, canary, err)) < 0)
        return -1;
    buf_append(&installation->credential_canary, SPAN_ARRAY(canary));
    if (buf_check(&installation->credential_canary, err) < 0)
        return -1;
    return found->audits ? notary_find_key(kms->token, &found->audit, installation, err)
                         : notary_make_key(kms->token, installation, LABEL_AUDIT, err);
}

static int save_installation(struct kms *kms, struct kms_error *err)
{
    struct installation_record *const installation = &kms->installation;
    struct store_tx *tx = NULL;

    installation->id = uuid_random();
    installation->created_ms = clock_wall_ms(&kms->clock);
    installation->account = strdup(kms->settings.service_account);
    if (installation->account == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory");
    if ((kms->store == NULL && kms_open_store(kms, err) < 0) ||
        store_begin(kms->store, &tx, err) < 0)
        return -1;
    if (store_put(tx, &installation_table, installation, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

/* How the trail begins: an intent before there is anything, and what was made. */
static int record_init(struct kms *kms, enum audit_phase phase, const char *access_key_id,
                       struct kms_error *err)
{
    AUTO(buf) line = { 0 };
    json_auto_t *made = access_key_id ? json_pack("{s:s}", "accessKeyId", access_key_id) : NULL;

    const struct audit_record record = {
        .phase = phase,
        .time_ms = clock_wall_ms(&kms->clock),
        .event_name = "InitInstallation",
        .service_event = true,
        .account = kms->settings.service_account,
        .region = kms_region(&kms->settings).text,
        .event_id = uuid_random(),
        .additional = made,
        .state_sequence = phase == AUDIT_RESULT ? store_sequence(kms->store) : 0,
    };
    if (access_key_id && made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a record");
    if (audit_record_format(&record, &line, err) < 0)
        return -1;
    return audit_write(kms->audit, buf_take(&line), err);
}

/* Nothing that an installation could have left, but for what an interrupted init did. */
static int may_init(struct kms *kms, struct own_objects *ret_found, struct kms_error *err)
{
    struct audit_tail tail = { 0 };

    if (kms_find_own_objects(kms, ret_found, err) < 0)
        return -1;
    if (ret_found->versions && !kms_has_database(kms))
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the token holds %u key versions, but their database is not here: restore "
                        "it, or use another token",
                        ret_found->versions);
    if (check_not_made(kms, ret_found, err) < 0 || kms_open_trail(kms, &tail, err) < 0)
        return -1;
    if (tail.state_sequence > 0)
        return kms_fail(err, KMS_ERR_CONFIG, "the audit directory holds another trail already");
    return 0;
}

int kms_init(struct kms *kms, char ret_id[21], struct secret *ret_secret, struct kms_error *err)
{
    struct own_objects found = { 0 };

    if (kms_lock_state_dir(kms, err) < 0 || kms_open_token(kms, err) < 0 ||
        may_init(kms, &found, err) < 0 || record_init(kms, AUDIT_INTENT, NULL, err) < 0 ||
        make_own_objects(kms, &found, err) < 0 || save_installation(kms, err) < 0 ||
        kms_open_iam(kms, err) < 0 || access_key_create(kms->iam, kms->installation.account, "", ret_id,
                          ret_secret, err) < 0 ||
        record_init(kms, AUDIT_RESULT, ret_id, err) < 0 || kms_open_notary(kms, err) < 0)
        return -1;
    return notary_sign(kms->notary, err);
}
