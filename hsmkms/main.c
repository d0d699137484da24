/* clang-format off */
/*
 * hsmkmsd: reads the settings, builds the floors upwards, serves until a signal, takes them down in
 * reverse. Runs in the foreground; tells systemd when it is ready.
 *
 *   SIGTERM, SIGINT  stop: no new requests, running ones end, everything is recorded; again: at once
 *   SIGHUP           reads the TLS certificate again and verifies the whole database
 */
/* clang-format on */

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "hsmkms/admin/socket.h"
#include "hsmkms/doors/door_aws_json.h"
#include "hsmkms/doors/door_health.h"
#include "hsmkms/doors/door_kes.h"
#include "hsmkms/doors/door_sts.h"
#include "hsmkms/doors/door_transit.h"
#include "hsmkms/keys/regions.h"
#include "hsmkms/kms.h"

#define DRAIN_MS INT64_C(10000)
#define STOP_S   60 /* a token call that never returns does not keep the process for ever */

const char *argp_program_version = "hsmkmsd " HSMKMS_VERSION;

#define SERVICE_DOORS_MAX 8

/* What the listeners add to the service. */
struct front {
    struct door_aws kms, sts;
    char sts_regions[1200]; /* those of the service, and what means all of them */
    struct door_health *health;
    struct door_kes kes;
    struct http_door kes_doors[2];
    struct door_transit transit;
    /* each ended by a NULL door */
    struct http_door https_doors[SERVICE_DOORS_MAX], http_doors[SERVICE_DOORS_MAX], ops_doors[2];
    struct http_server *http;
    struct admin *admin;
};

/* --- command line ----------------------------------------------------------------------------- */

enum mode { MODE_SERVE, MODE_CHECK, MODE_PRINT, MODE_REFERENCE };

struct arguments {
    const char *config;
    enum mode mode;
};

static const struct argp_option options[] = {
    { "config", 'c', "FILE", 0, "the configuration", 0 },
    { "check-config", 'C', NULL, 0, "read the configuration, say whether it is good, end", 0 },
    { "print-config", 'p', NULL, 0, "show every setting with its value, end", 0 },
    { "settings-reference", 'r', NULL, 0, "show the table of all settings as Markdown, end", 0 },
    { 0 },
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct arguments *const arguments = state->input;

    switch (key) {
    case 'c':
        arguments->config = value;
        return 0;
    case 'C':
        arguments->mode = MODE_CHECK;
        return 0;
    case 'p':
        arguments->mode = MODE_PRINT;
        return 0;
    case 'r':
        arguments->mode = MODE_REFERENCE;
        return 0;
    case ARGP_KEY_END:
        if (arguments->config == NULL && arguments->mode != MODE_REFERENCE)
            argp_error(state, "--config FILE is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- serving ---------------------------------------------------------------------------------- */

/* Signals are taken by sigwait() in the main thread alone; all threads inherit this mask. */
static sigset_t block_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a client that went away is an error of its own write */
    return set;
}

/* The door's question to iam/, in the door's words. */
static int find_signing_key(void *ctx, const struct credential_claim *claim,
                            struct secret *ret_key, struct principal *ret_principal,
                            struct kms_error *err)
{
    return iam_signing_key(ctx, claim, ret_key, ret_principal, err);
}

/* What signs requests to STS often thinks that it is global. */
static void name_sts_regions(struct kms *kms, struct front *front)
{
    (void)snprintf(front->sts_regions, sizeof(front->sts_regions), "%s us-east-1 aws-global",
                   kms->settings.service_regions);
}

static struct door_aws door_of(struct kms *kms, const char *service, const char *regions)
{
    return (struct door_aws){ .api = kms->api,
                              .log = &kms->log,
                              .sigv4 = { .service = service,
                                         .regions = regions,
                                         .skew_s = kms->settings.sigv4_skew,
                                         .token_must_be_signed = true,
                                         .normalize_path = true,
                                         .signing_key = find_signing_key,
                                         .ctx = kms->iam } };
}

static void open_kes(struct kms *kms, struct front *front)
{
    const struct door_kes_config config = { .api = kms->api,
                                            .iam = kms->iam,
                                            .health = front->health,
                                            .log = &kms->log,
                                            .body_most = kms->settings.limits_body,
                                            .deletion_days = kms->settings.kes_deletion_window,
                                            .open_probes = kms->settings.kes_open_probes };

    door_kes_init(&config, &front->kes);
    front->kes_doors[0] = (struct http_door){ &door_kes, &front->kes };
}

static int open_transit(struct kms *kms, struct front *front, struct kms_error *err)
{
    front->transit = (struct door_transit){ .api = kms->api,
                                            .iam = kms->iam,
                                            .keyring = &kms->keyring,
                                            .clock = &kms->clock,
                                            .log = &kms->log,
                                            .health = front->health,
                                            .mounts = kms->settings.transit_mounts,
                                            .deletion_days = kms->settings.transit_deletion_window,
                                            .login_s = kms->settings.transit_login_time };
    return door_transit_check_mounts(front->transit.mounts, err);
}

/*
 * The doors that https.doors and http.doors may name, a name may be several. The first that
 * recognises a request serves it, so the particular ones come before those that take what is left.
 */
static const struct {
    const char *name;
    const struct door *door;
    size_t ctx; /* in struct front */
} service_doors[] = {
    { "kes", &door_kes_shared, offsetof(struct front, kes) },
    { "transit", &door_transit, offsetof(struct front, transit) },
    { "aws", &door_sts, offsetof(struct front, sts) },
    { "aws", &door_aws_json, offsetof(struct front, kms) },
    { "aws", &door_aws_rest, offsetof(struct front, kms) },
};
_Static_assert(ARRAY_LEN(service_doors) < SERVICE_DOORS_MAX, "all of them and the end fit");

/* Whether blank-separated names hold this one. */
static bool names_hold(const char *names, const char *name, size_t len)
{
    for (names += strspn(names, " "); *names; names += strspn(names, " ")) {
        const size_t word = strcspn(names, " ");
        if (word == len && strncmp(names, name, len) == 0)
            return true;
        names += word;
    }
    return false;
}

static int check_names(const char *setting, const char *names, struct kms_error *err)
{
    static const char known[] = "aws kes transit";

    if (names[strspn(names, " ")] == '\0')
        return kms_fail(err, KMS_ERR_CONFIG, "%s names no door", setting);
    for (names += strspn(names, " "); *names; names += strspn(names, " ")) {
        const size_t len = strcspn(names, " ");
        if (!names_hold(known, names, len))
            return kms_fail(err, KMS_ERR_CONFIG, "%s: there is no door '%.*s', only: %s", setting,
                            (int)len, names, known);
        names += len;
    }
    return 0;
}

/* Clients of the KES door are known by their certificates. */
static int check_kes(const struct settings *s, struct kms_error *err)
{
    if (names_hold(s->http_doors, "kes", strlen("kes")))
        return kms_fail(err, KMS_ERR_CONFIG, "http.doors: kes is a door of https");
    if (names_hold(s->https_doors, "kes", strlen("kes")) &&
        strcmp(s->https_client_certificates, "off") == 0)
        return kms_fail(err, KMS_ERR_CONFIG,
                        "https.doors: kes needs https.client_certificates request or require");
    return 0;
}

/* The doors of one listener. Errors: CONFIG. */
static int choose_doors(struct front *front, const char *setting, const char *names,
                        struct http_door ret[SERVICE_DOORS_MAX], struct kms_error *err)
{
    size_t count = 0;

    if (check_names(setting, names, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(service_doors); i++)
        if (names_hold(names, service_doors[i].name, strlen(service_doors[i].name)))
            ret[count++] = (struct http_door){ service_doors[i].door,
                                               (char *)front + service_doors[i].ctx };
    return 0;
}

static int open_doors(struct kms *kms, struct front *front, struct kms_error *err)
{
    const struct door_health_config health = {
        .token = kms->token,
        .audit = kms->audit,
        .api = kms->api,
        .keyring = &kms->keyring,
        .cache_ms = kms->settings.ops_health_cache,
    };

    name_sts_regions(kms, front);
    front->kms = door_of(kms, "kms", kms->settings.service_regions);
    front->kms.sigv4.target_must_be_signed = true;
    front->sts = door_of(kms, "sts", front->sts_regions);
    if (door_health_new(&health, &front->health, err) < 0)
        return -1;
    open_kes(kms, front);
    if (open_transit(kms, front, err) < 0 ||
        check_kes(&kms->settings, err) < 0 ||
        choose_doors(front, "https.doors", kms->settings.https_doors, front->https_doors, err) <
            0 ||
        choose_doors(front, "http.doors", kms->settings.http_doors, front->http_doors, err) < 0)
        return -1;
    front->ops_doors[0] = (struct http_door){ &door_health, front->health };
    return 0;
}

static int start_http(struct kms *kms, struct front *front, struct kms_error *err)
{
    const struct http_config config = { .settings = &kms->settings,
                                        .clock = &kms->clock,
                                        .log = &kms->log,
                                        .https_doors = front->https_doors,
                                        .http_doors = front->http_doors,
                                        .ops_doors = front->ops_doors,
                                        .kes_doors = front->kes_doors,
                                        .key_token = kms->tls_token };

    if (http_server_start(&config, &front->http, err) < 0)
        return -1;
    door_health_set_server(front->health, front->http);
    return 0;
}

static int start_admin(struct kms *kms, struct front *front, struct kms_error *err)
{
    const struct kms_path path = kms_admin_socket(kms);
    const struct admin_config config = {
        .path = path.text,
        .services = { .iam = kms->iam,
                      .api = kms->api,
                      .keyring = &kms->keyring,
                      .audit = kms->audit,
                      .token = kms->token,
                      .store = kms->store,
                      .http = front->http,
                      .clock = &kms->clock,
                      .account = kms->keyring.account,
                      .region = kms->keyring.region,
                      .started_us = clock_mono_us() },
        .log = &kms->log,
    };

    return admin_start(&config, &front->admin, err);
}

static int start(struct kms *kms, struct front *front, struct kms_error *err)
{
    if (kms_open(kms, err) < 0 || kms_open_tls_token(kms, err) < 0 ||
        open_doors(kms, front, err) < 0 || api_worker_start(kms->api, err) < 0 ||
        start_http(kms, front, err) < 0 || start_admin(kms, front, err) < 0)
        return -1;
    return 0;
}

static void stop(struct kms *kms, struct front *front)
{
    admin_stop(front->admin);
    if (front->health)
        door_health_set_server(front->health, NULL);
    if (front->http)
        http_server_stop(front->http, DRAIN_MS);
    door_kes_done(&front->kes);
    door_health_free(front->health);
    if (kms->api)
        api_worker_stop(kms->api);
    kms_done(kms);
}

/*
 * Errors: INTEGRITY, after which nothing may be served. A token or disk that does not answer just
 * now proves nothing: the service goes on.
 */
static int reload(struct kms *kms, struct front *front, struct kms_error *err)
{
    struct kms_error tls = { 0 };

    if (http_server_reload_tls(front->http, &tls) < 0)
        log_error(&kms->log, LOG_LEVEL_ERROR, "tls-not-reloaded", &tls);
    if (store_verify(kms->store, err) < 0) {
        if (err->code == KMS_ERR_INTEGRITY)
            return -1;
        log_error(&kms->log, LOG_LEVEL_ERROR, "database-not-verified", err);
        kms_error_clear(err);
        return 0;
    }
    log_event(&kms->log, LOG_LEVEL_INFO, "reloaded", "sequence=%llu",
              (unsigned long long)store_sequence(kms->store));
    return 0;
}

static int wait_for_the_end(struct kms *kms, struct front *front, const sigset_t *signals,
                            struct kms_error *err)
{
    int caught = 0;

    while (sigwait(signals, &caught) == 0 && caught == SIGHUP)
        if (reload(kms, front, err) < 0)
            return -1;
    log_event(&kms->log, LOG_LEVEL_INFO, "stopping", "signal=%d", caught);
    return 0;
}

static int serve(struct kms *kms, struct kms_error *err)
{
    const sigset_t signals = block_signals();
    struct front front = { 0 };
    const struct log log = kms->log;

    int served = kms_harden(kms, err);
    if (served == 0)
        served = start(kms, &front, err);
    if (served == 0) {
        log_event(
            &log, LOG_LEVEL_INFO, "ready", "version=" HSMKMS_VERSION " keys=%zu sequence=%llu",
            keyring_count(&kms->keyring), (unsigned long long)store_sequence(kms->store));
        (void)sd_notify(0, "READY=1"); /* without systemd there is nobody to tell */
        served = wait_for_the_end(kms, &front, &signals, err);
    }
    (void)sd_notify(0, "STOPPING=1");
    (void)pthread_sigmask(SIG_UNBLOCK, &signals, NULL); /* a second signal ends at once */
    (void)alarm(STOP_S); /* what was acknowledged is durable already */
    stop(kms, &front);
    log_event(&log, LOG_LEVEL_INFO, "stopped", "clean=%s", served == 0 ? "yes" : "no");
    return served;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse_option, NULL, "An AWS KMS endpoint over a PKCS#11 token.", NULL, NULL, NULL
    };
    struct arguments arguments = { 0 };
    struct kms kms = { .lock_fd = -1 };
    struct kms_error err = { 0 };

    (void)argp_parse(&argp, argc, argv, 0, NULL, &arguments); /* ends the process when it fails */
    if (arguments.mode == MODE_REFERENCE) {
        settings_print_reference(STDOUT_FILENO);
        return EXIT_OK;
    }
    int done = kms_configure(arguments.config, &kms, &err);
    if (done == 0 && arguments.mode == MODE_PRINT)
        settings_print(&kms.settings, STDOUT_FILENO);
    if (done == 0 && arguments.mode == MODE_SERVE)
        done = serve(&kms, &err);
    if (done < 0)
        log_error(&(struct log){ LOG_LEVEL_ERROR }, LOG_LEVEL_ERROR, "cannot-serve", &err);
    kms_done(&kms);
    return done < 0 ? (int)kms_exit_code(&err) : EXIT_OK;
}
