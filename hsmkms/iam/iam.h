#pragma once

/*
 * Who may: everything iam/ works with, in one place. Built once at start, read-only afterwards;
 * what is inside locks for itself.
 */

#include "hsmkms/iam/directory.h"
#include "hsmkms/iam/signing_key.h"

struct access_keys;
struct sessions;
struct grants;
struct key_policies;
struct cert_bindings;
struct door_tokens;

struct iam_config {
    struct token *token;
    struct store *store;
    const struct clock *clock;
    struct uuid installation, credential_key;
    struct uuid mac_key; /* HMAC key of the token that authenticates grant tokens */
    struct span credential_canary; /* lives as long as the iam */
    const char *account;           /* that owns the keys */
    size_t signing_keys;           /* most cached */
    size_t grants_per_key, key_policy_bytes; /* most of each; 0: GRANTS_PER_KEY, KEY_POLICY_MAX */
};

struct iam {
    struct iam_config config;
    struct directory *directory;       /* accounts, users, roles, managed policies */
    struct access_keys *access_keys;   /* long-term credentials */
    struct sessions *sessions;         /* temporary ones */
    struct key_policies *key_policies; /* compiled policy of each key */
    struct grants *grants;             /* of all keys */
    struct cert_bindings *cert_bindings; /* users by client certificate */
    struct door_tokens *door_tokens;   /* bearer tokens */
};

/* Reads everything. Errors: INTEGRITY, KEY_UNAVAILABLE, INTERNAL. */
CHECKED int iam_open(const struct iam_config *config, struct iam **ret, struct kms_error *err);
void iam_close(struct iam *iam); /* accepts NULL */

/* What a signature names: an access key, and the session token of temporary credentials. */
struct credential_claim {
    struct signing_scope scope;
    struct span session_token; /* empty: none was sent */
    int64_t now_ms;
};

/*
 * The day's signing key for a scope and the principal it belongs to. The scope's region and
 * service are the caller's to check.
 *
 * ret_key  in its zero state; SHA256_LEN bytes
 * Errors:  UNRECOGNIZED_CLIENT (unknown, inactive, disabled; a token that is not authentic, missing
 *          or too many); EXPIRED_TOKEN (a session past its end or revoked); KEY_UNAVAILABLE (not
 *          cached and the token is out of reach); INTERNAL (a stored secret that does not open)
 */
CHECKED int iam_signing_key(struct iam *iam, const struct credential_claim *claim,
                            struct secret *ret_key, struct principal *ret_principal,
                            struct kms_error *err);
