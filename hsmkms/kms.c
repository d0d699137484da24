#include "hsmkms/kms.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hsmkms/base/json_memory.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/regions.h"
#include "hsmkms/kms_parts.h"
#include "pkcs11/side_token.h"

/* How the labels of key versions begin. */
#define LABEL_VERSIONS "hsmkms:kv:"

enum kms_exit kms_exit_code(const struct kms_error *err)
{
    static const struct {
        enum kms_err code;
        enum kms_exit exit;
    } rows[] = {
        { KMS_ERR_CONFIG, EXIT_CONFIG },
        { KMS_ERR_PIN_LATCHED, EXIT_PIN_LATCHED },
        { KMS_ERR_INTEGRITY, EXIT_INTEGRITY },
        { KMS_ERR_ROLLBACK, EXIT_ROLLBACK },
        { KMS_ERR_TOKEN_MISSING, EXIT_TOKEN_MISSING },
        { KMS_ERR_TOKEN_UNSUITABLE, EXIT_TOKEN_UNSUITABLE },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == err->code)
            return rows[i].exit;
    return EXIT_FAILED;
}

/* --- settings --------------------------------------------------------------------------------- */

static struct kms_path under_state_dir(const struct kms *kms, const char *set, const char *name)
{
    struct kms_path path;

    if (set[0])
        (void)snprintf(path.text, sizeof(path.text), "%s", set);
    else
        (void)snprintf(path.text, sizeof(path.text), "%s/%s", kms->settings.service_state_dir,
                       name);
    return path;
}

struct kms_path kms_admin_socket(const struct kms *kms)
{
    return under_state_dir(kms, kms->settings.admin_socket, "admin.sock");
}

static bool is_account(const char *text)
{
    for (size_t i = 0; i < 12; i++)
        if (!isdigit((unsigned char)text[i]))
            return false;
    return text[12] == '\0';
}

struct arn_text kms_region(const struct settings *settings)
{
    struct arn_text region;
    const char *const names = settings->service_regions + strspn(settings->service_regions, " ");

    (void)snprintf(region.text, sizeof(region.text), "%.*s", (int)strcspn(names, " "), names);
    return region;
}

static int set_log_level(const char *name, struct log *ret, struct kms_error *err)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) == 0) {
            ret->level = (enum log_level)i;
            return 0;
        }
    }
    return kms_fail(err, KMS_ERR_CONFIG, "log.level must be error, warn, info or debug");
}

static int check_tokens(const struct settings *settings, struct kms_error *err)
{
    for (size_t i = 0; i < settings->token_count; i++) {
        const struct token_settings *const token = &settings->tokens[i];
        if (!key_store_is_cluster_id(token->name))
            return kms_fail(err, KMS_ERR_CONFIG,
                            "[token.%.64s]: the name must be cluster- and 11 to 16 letters or "
                            "digits 2 to 7",
                            token->name);
        if (!token->module[0] || !token->uri[0] || !token->pin_file[0])
            return kms_fail(err, KMS_ERR_CONFIG, "[token.%s] needs module, uri and pin_file",
                            token->name);
    }
    return 0;
}

/* What one row of the settings table cannot say. */
static int check_settings(const struct settings *settings, struct kms_error *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } required[] = {
        { "service.state_dir", OFFSET_OF_TYPE(struct settings, service_state_dir, char *) },
        { "token.module", OFFSET_OF_TYPE(struct settings, token_module, char *) },
        { "token.uri", OFFSET_OF_TYPE(struct settings, token_uri, char *) },
        { "token.pin_file", OFFSET_OF_TYPE(struct settings, token_pin_file, char *) },
    };

    for (size_t i = 0; i < ARRAY_LEN(required); i++) {
        const char *const *const value =
            (const void *)((const char *)settings + required[i].offset);
        if ((*value)[0] == '\0')
            return kms_fail(err, KMS_ERR_CONFIG, "%s must be set", required[i].name);
    }
    if (!is_account(settings->service_account))
        return kms_fail(err, KMS_ERR_CONFIG, "service.account must be 12 digits");
    if (regions_check(settings->service_regions, err) < 0)
        return -1;
    if ((settings->service_secure_memory & (settings->service_secure_memory - 1)) != 0)
        return kms_fail(err, KMS_ERR_CONFIG, "service.secure_memory must be a power of two");
    if (settings->keys_gcm_rotate > settings->keys_gcm_refuse)
        return kms_fail(err, KMS_ERR_CONFIG, "keys.gcm_rotate must not be above keys.gcm_refuse");
    if (settings->https_port && (!settings->https_certificate[0] || !settings->https_key[0]))
        return kms_fail(err, KMS_ERR_CONFIG, "https.port needs https.certificate and https.key");
    return check_tokens(settings, err);
}

int kms_configure(const char *config_path, struct kms *ret, struct kms_error *err)
{
    ret->lock_fd = -1;
    ret->log.level = LOG_LEVEL_INFO;
    if (settings_load(config_path, &ret->settings, err) < 0 ||
        check_settings(&ret->settings, err) < 0)
        return -1;
    return set_log_level(ret->settings.log_level, &ret->log, err);
}

/* --- the process ------------------------------------------------------------------------------ */

int kms_harden(struct kms *kms, struct kms_error *err)
{
    const struct rlimit no_core = { 0, 0 };

    if (setrlimit(RLIMIT_CORE, &no_core) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return kms_fail_detail(err, KMS_ERR_CONFIG, "cannot refuse core dumps: %s",
                               strerrordesc_np(errno));
#ifndef HSMKMS_SANITIZED /* a sanitizer's shadow memory cannot be locked */
    /* the secure heap below is locked for certain; this is for copies that libraries make */
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
        log_event(&kms->log, LOG_LEVEL_WARN, "memory-not-locked",
                  "errno=%d advice=\"raise RLIMIT_MEMLOCK\"", errno);
#endif
    json_set_alloc_funcs(wiping_malloc, wiping_free); /* plaintext passes through JSON texts */
    return secret_heap_open((size_t)kms->settings.service_secure_memory, err);
}

int kms_lock_state_dir(struct kms *kms, struct kms_error *err)
{
    const struct kms_path path = under_state_dir(kms, "", "lock");
    const char *const dir = kms->settings.service_state_dir;
    struct stat info;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot make %s: %s", dir, strerrordesc_np(errno));
    if (stat(dir, &info) < 0 || !S_ISDIR(info.st_mode) || (info.st_mode & 0077) != 0 ||
        (info.st_uid != geteuid() && info.st_uid != 0))
        return kms_fail(err, KMS_ERR_CONFIG,
                        "%s must be a directory of the service's own user, or root's, with mode "
                        "0700",
                        dir);
    kms->lock_fd = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (kms->lock_fd < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot open %s: %s", path.text,
                        strerrordesc_np(errno));
    if (flock(kms->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "another process works in %s", dir);
    return 0;
}

/* --- token and database ----------------------------------------------------------------------- */

int kms_open_token(struct kms *kms, struct kms_error *err)
{
    const struct settings *const settings = &kms->settings;
    const struct token_config config = {
        .module = settings->token_module,
        .uri = settings->token_uri,
        .init_args = settings->token_init_args,
        .pin_file = settings->token_pin_file,
        .state_dir = settings->service_state_dir,
        .sessions = (unsigned)settings->service_workers,
        .copies = (unsigned)settings->token_copies,
        .call_time_ms = (unsigned)settings->token_call_time,
        .accept_extractable = settings->token_accept_extractable,
    };

    return token_open(&config, &kms->token, err);
}

static int take_own_object(void *arg, const struct uuid *id, const char *label,
                           struct kms_error *err)
{
    struct own_objects *const own = arg;

    (void)err;
    if (strcmp(label, LABEL_META_MAC) == 0) {
        own->meta_mac = *id;
        own->meta_macs++;
    } else if (strcmp(label, LABEL_CREDENTIAL) == 0) {
        own->credential = *id;
        own->credentials++;
    } else if (strcmp(label, LABEL_AUDIT) == 0) {
        own->audit = *id;
        own->audits++;
    } else if (strncmp(label, LABEL_VERSIONS, sizeof(LABEL_VERSIONS) - 1) == 0) {
        own->versions++;
    }
    return 0;
}

int kms_find_own_objects(struct kms *kms, struct own_objects *ret, struct kms_error *err)
{
    if (token_inventory(kms->token, take_own_object, ret, err) < 0)
        return -1;
    if (ret->meta_macs > 1 || ret->credentials > 1 || ret->audits > 1)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the token holds service keys of more than one installation");
    return 0;
}

static int sign_row(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN], struct kms_error *err)
{
    const struct kms *const kms = ctx;

    return token_hmac(kms->token, &kms->installation.meta_mac_key, data, ret, err);
}

int kms_open_store(struct kms *kms, struct kms_error *err)
{
    const struct kms_path path = under_state_dir(kms, "", "hsmkms.db");

    return store_open(path.text, schema_tables, (struct store_mac){ sign_row, kms }, &kms->store,
                      err);
}

static int take_installation(void *arg, const void *record, struct kms_error *err)
{
    struct kms *const kms = arg;

    record_done(&installation_table, &kms->installation);
    return record_copy(&installation_table, record, &kms->installation, err);
}

int kms_read_installation(struct kms *kms, struct kms_error *err)
{
    return store_each(kms->store, &installation_table, take_installation, kms, err);
}

static int load_installation(struct kms *kms, const struct own_objects *own, struct kms_error *err)
{
    if (kms_read_installation(kms, err) < 0)
        return -1;
    if (uuid_is_nil(&kms->installation.id) ||
        !uuid_equal(&kms->installation.meta_mac_key, &own->meta_mac) ||
        !uuid_equal(&kms->installation.audit_key, &own->audit))
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the database and the token do not belong together");
    if (strcmp(kms->installation.account, kms->settings.service_account) != 0)
        return kms_fail(err, KMS_ERR_CONFIG, "the database belongs to account %s, not to %s",
                        kms->installation.account, kms->settings.service_account);
    return 0;
}

bool kms_has_database(const struct kms *kms)
{
    return access(under_state_dir(kms, "", "hsmkms.db").text, F_OK) == 0;
}

static int open_database(struct kms *kms, struct kms_error *err)
{
    struct own_objects own = { 0 };

    if (kms_find_own_objects(kms, &own, err) < 0)
        return -1;
    if (!kms_has_database(kms) && own.meta_macs == 0)
        return kms_fail(err, KMS_ERR_CONFIG, "not initialised: run hsmkms-admin init");
    if (!kms_has_database(kms) || own.meta_macs == 0)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s is missing: restore it from its backup",
                        own.meta_macs ? "the database of this token"
                                      : "the token of this database");
    kms->installation.meta_mac_key = own.meta_mac;
    if (kms_open_store(kms, err) < 0)
        return -1;
    return load_installation(kms, &own, err);
}

/* --- the floors above ------------------------------------------------------------------------- */

int kms_open_trail(struct kms *kms, struct audit_tail *ret, struct kms_error *err)
{
    const struct settings *const settings = &kms->settings;
    const struct kms_path dir = under_state_dir(kms, settings->audit_dir, "audit");
    const struct audit_config config = { .dir = dir.text,
                                         .segment_bytes = settings->audit_segment,
                                         .segment_seconds = settings->audit_segment_time,
                                         .queue = (size_t)settings->audit_queue };

    return audit_open(&config, &kms->audit, ret, err);
}

/* Trail and database tell the same story, as far as each can know. */
static int open_audit(struct kms *kms, struct kms_error *err)
{
    struct audit_tail tail = { 0 };

    if (kms_open_trail(kms, &tail, err) < 0)
        return -1;
    if (tail.cut)
        log_event(&kms->log, LOG_LEVEL_WARN, "audit-line-cut",
                  "seq=%llu reason=\"it was not whole, so nothing was answered for it\"",
                  (unsigned long long)tail.seq);
    if (tail.seq == 0) /* init writes the first record before it makes the database */
        return kms_fail(err, KMS_ERR_INTEGRITY, "the audit trail is empty or missing: restore it");
    if (store_sequence(kms->store) < tail.state_sequence)
        return kms_fail(err, KMS_ERR_ROLLBACK,
                        "the database is at change %llu, the audit trail has seen change %llu: "
                        "restore the newest database",
                        (unsigned long long)store_sequence(kms->store),
                        (unsigned long long)tail.state_sequence);
    return 0;
}

int kms_open_notary(struct kms *kms, struct kms_error *err)
{
    const struct settings *const settings = &kms->settings;
    const struct kms_path dir = under_state_dir(kms, settings->audit_dir, "audit");
    const struct notary_config config = { .token = kms->token,
                                          .store = kms->store,
                                          .audit = kms->audit,
                                          .clock = &kms->clock,
                                          .dir = dir.text,
                                          .installation = &kms->installation,
                                          .records = settings->audit_checkpoint_records,
                                          .seconds = settings->audit_checkpoint_time };

    return notary_open(&config, &kms->notary, err);
}

static int open_keyring(struct kms *kms, struct kms_error *err)
{
    const struct settings *const settings = &kms->settings;
    const struct keyring_limits limits = {
        .keys_most = settings->keys_most,
        .aliases_most = settings->keys_aliases,
        .gcm_block = settings->keys_gcm_block,
        .gcm_rotate = settings->keys_gcm_rotate,
        .gcm_refuse = settings->keys_gcm_refuse,
        .on_demand_rotations = settings->keys_on_demand_rotations,
        .deletion_hold_s = settings->keys_deletion_hold,
    };

    if (keyring_open(&kms->keyring, kms->token, kms->store, &kms->clock, limits, &kms->installation,
                     settings->service_regions, &kms->strangers, err) < 0)
        return -1;
    if (kms->strangers)
        log_event(&kms->log, LOG_LEVEL_WARN, "unknown-token-objects",
                  "count=%u advice=\"left alone; a restored database may miss them\"",
                  kms->strangers);
    return 0;
}

static void log_store(void *arg, const struct key_store_view *store, const struct kms_error *why)
{
    const struct kms *const kms = arg;

    if (why->code != KMS_ERR_NONE)
        log_error(&kms->log, LOG_LEVEL_ERROR, "key-store-not-connected", why);
    else
        log_event(&kms->log, LOG_LEVEL_INFO, "key-store-connected", "id=%s cluster=%s",
                  store->record.id, store->record.cluster);
}

/* The tokens behind custom key stores; one that is away does not keep the others from serving. */
static int open_key_stores(struct kms *kms, struct kms_error *err)
{
    const struct settings *const settings = &kms->settings;

    for (size_t i = 0; i < settings->token_count; i++) {
        const struct token_settings *const token = &settings->tokens[i];
        kms->store_tokens[i] = (struct token_config){
            .module = token->module,
            .uri = token->uri,
            .init_args = token->init_args,
            .pin_file = token->pin_file,
            .state_dir = settings->service_state_dir,
            .name = token->name,
            .sessions = (unsigned)settings->service_workers,
            .copies = (unsigned)token->copies,
            .call_time_ms = (unsigned)token->call_time,
            .accept_extractable = token->accept_extractable,
        };
    }
    return key_stores_start(&kms->keyring, kms->store_tokens, settings->token_count, log_store, kms,
                            err);
}

int kms_open_iam(struct kms *kms, struct kms_error *err)
{
    const struct iam_config config = {
        .token = kms->token,
        .store = kms->store,
        .clock = &kms->clock,
        .installation = kms->installation.id,
        .credential_key = kms->installation.credential_key,
        .mac_key = kms->installation.meta_mac_key,
        .credential_canary = buf_span(&kms->installation.credential_canary),
        .account = kms->installation.account,
        .signing_keys = (size_t)kms->settings.sigv4_signing_keys,
        .grants_per_key = (size_t)kms->settings.keys_grants,
        .key_policy_bytes = (size_t)kms->settings.keys_policy,
    };

    return iam_open(&config, &kms->iam, err);
}

static struct rate_limits rate_limits(const struct settings *settings)
{
    return (struct rate_limits){ {
        [RATE_SYMMETRIC] = settings->rates_symmetric,
        [RATE_RSA] = settings->rates_rsa,
        [RATE_ECC] = settings->rates_ecc,
        [RATE_PAIRS] = settings->rates_pairs,
        [RATE_DESCRIBE] = settings->rates_describe,
        [RATE_STATUS] = settings->rates_status,
        [RATE_LIST] = settings->rates_list,
        [RATE_LIST_GRANTS] = settings->rates_list_grants,
        [RATE_CREATE_GRANT] = settings->rates_create_grant,
        [RATE_END_GRANT] = settings->rates_end_grant,
        [RATE_MANAGE] = settings->rates_manage,
        [RATE_TAG] = settings->rates_tag,
        [RATE_CHANGE] = settings->rates_change,
    } };
}

static int open_api(struct kms *kms, struct kms_error *err)
{
    const struct api_config config = {
        .keyring = &kms->keyring,
        .iam = kms->iam,
        .audit = kms->audit,
        .clock = &kms->clock,
        .log = &kms->log,
        .due_check_s = kms->settings.keys_due_check,
        .last_use_save_s = kms->settings.keys_last_use_save,
        .rates = rate_limits(&kms->settings),
        .notary = kms->notary,
    };

    return api_new(&config, &kms->api, err);
}

int kms_open(struct kms *kms, struct kms_error *err)
{
    static int (*const floors[])(struct kms *, struct kms_error *) = {
        kms_lock_state_dir, kms_open_token, open_database,   open_audit, kms_open_notary,
        open_keyring,       kms_open_iam,   open_key_stores, open_api,
    };

    for (size_t i = 0; i < ARRAY_LEN(floors); i++)
        if (floors[i](kms, err) < 0)
            return -1;
    return 0;
}

int kms_open_tls_token(struct kms *kms, struct kms_error *err)
{
    const struct settings *const settings = &kms->settings;
    const struct kms_path dir = under_state_dir(kms, "", "tls-token");
    const struct side_token_config config = { .module = settings->https_key_module,
                                              .uri = settings->https_key,
                                              .pin_file = settings->https_key_pin_file,
                                              .state_dir = dir.text,
                                              .master = kms->token };

    if (settings->https_key_module[0] == '\0' ||
        (settings->https_port == 0 && settings->kes_port == 0))
        return 0;
    if (mkdir(dir.text, 0700) < 0 && errno != EEXIST)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot make %s: %s", dir.text,
                        strerrordesc_np(errno));
    return side_token_open(&config, &kms->tls_token, err);
}

/* The last checkpoint covers everything that was answered. */
static void sign_the_end(struct kms *kms)
{
    struct kms_error err = { 0 };

    if (kms->notary && notary_sign(kms->notary, &err) < 0)
        log_error(&kms->log, LOG_LEVEL_ERROR, "checkpoint", &err);
    notary_close(kms->notary);
}

void kms_done(struct kms *kms)
{
    api_free(kms->api);
    sign_the_end(kms);
    iam_close(kms->iam);
    keyring_close(&kms->keyring);
    audit_close(kms->audit);
    store_close(kms->store);
    side_token_close(kms->tls_token);
    token_close(kms->token);
    record_done(&installation_table, &kms->installation);
    settings_done(&kms->settings);
    if (kms->lock_fd >= 0)
        (void)close(kms->lock_fd); /* gives the lock back */
    *kms = (struct kms){ .lock_fd = -1 };
}
