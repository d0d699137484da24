#pragma once

/*
 * The floors put together: what hsmkmsd serves with and what hsmkms-admin init prepares. Built
 * upwards, taken down in reverse. Runs before threads exist and before GnuTLS is used.
 */

#include "hsmkms/api/api.h"
#include "hsmkms/api/notary.h"
#include "hsmkms/base/settings.h"

struct kms {
    struct settings settings;
    struct log log;
    struct clock clock;
    int lock_fd; /* holds the state directory; -1: not held */
    struct token *token;
    struct side_token *tls_token; /* of https.key, NULL when that is a file */
    struct token_config store_tokens[SETTINGS_TOKENS_MAX]; /* behind custom key stores */
    struct store *store;
    struct installation_record installation;
    struct keyring keyring;
    struct iam *iam;
    struct audit *audit;
    struct notary *notary;
    struct api *api;
    unsigned strangers; /* token objects that look like ours and have no record */
};

/* Exit codes of the programs; README lists them. */
enum kms_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_CONFIG = 2,
    EXIT_PIN_LATCHED = 3,
    EXIT_INTEGRITY = 4,
    EXIT_ROLLBACK = 5,
    EXIT_TOKEN_MISSING = 6,
    EXIT_TOKEN_UNSUITABLE = 7,
};
enum kms_exit kms_exit_code(const struct kms_error *err);

/* Reads and checks the settings; opens nothing. Errors: CONFIG. */
CHECKED int kms_configure(const char *config_path, struct kms *ret, struct kms_error *err);

/* Locks memory, refuses core dumps. Errors: CONFIG. */
CHECKED int kms_harden(struct kms *kms, struct kms_error *err);

/*
 * Opens an initialised installation: state directory, token, database, audit trail, keys, access
 * keys, operations.
 *
 * Errors:  as the exit codes say; ROLLBACK when the audit trail has seen a newer database
 */
CHECKED int kms_open(struct kms *kms, struct kms_error *err);

/*
 * Makes an installation: the service's own token keys, an empty database, a first access key of
 * the account's root. Made once; a second call finds the installation and fails.
 *
 * ret_id      the first access key
 * Errors:     CONFIG (there is one already); INTEGRITY (the token holds keys of an installation
 *             whose database is not here)
 */
CHECKED int kms_init(struct kms *kms, char ret_id[21], struct secret *ret_secret,
                     struct kms_error *err);

/*
 * The token of https.key, when that is a URI and a listener needs it. After kms_open(), before
 * threads work with the master token: both may be in one module.
 * Errors: as side_token_open()
 */
CHECKED int kms_open_tls_token(struct kms *kms, struct kms_error *err);

/* Accepts one that was opened in part. */
void kms_done(struct kms *kms);

/* Paths that have a default under the state directory. */
struct kms_path {
    char text[4096];
};
struct kms_path kms_admin_socket(const struct kms *kms);
