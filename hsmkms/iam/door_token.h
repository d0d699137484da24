#pragma once

/*
 * Bearer tokens of front doors whose requests carry no signature, and AppRole secrets with the
 * short-lived tokens they are exchanged for. Each stands for a user or the account root; a request
 * is decided by what that principal is at this moment. Only hashes are stored: a token has 256
 * random bits, so a plain SHA-256 is enough, and looking one up by its hash tells nothing by its
 * time.
 *
 * Tokens of AppRole logins live in memory alone and end with the process.
 *
 * Threads: any after iam_open; one lock, never held over a token or disk call. Changes run one
 *          after the other.
 */

#include "hsmkms/iam/iam.h"
#include "hsmkms/store/schema.h"

#define DOOR_TOKENS_MAX      10000 /* stored ones, and as many logins */
#define DOOR_LOGINS_MAX      64    /* of one secret; the one that ends first makes room */
#define DOOR_TOKEN_LABEL_MAX 128
#define DOOR_SECRET_LEN      43 /* 256 random bits, base64 for URLs without padding */
#define DOOR_TOKEN_PREFIX    "hvs."

enum door_token_kind {
    DOOR_TOKEN,
    DOOR_SECRET,
    DOOR_LOGIN, /* never stored */
    DOOR_TOKEN_KINDS
};

/* Errors: INTEGRITY, INTERNAL. directory is open. */
CHECKED int door_tokens_open(struct iam *iam, struct door_tokens **ret, struct kms_error *err);
void door_tokens_close(struct door_tokens *tokens); /* accepts NULL */

/* --- asking ----------------------------------------------------------------------------------- */

/* What a client may know of its own credential. */
struct door_token_facts {
    enum door_token_kind kind;
    struct uuid id; /* of a login: its secret's, so that the audit trail leads there */
    int64_t created_ms, expires_ms; /* expires_ms 0: never */
};

/*
 * Whom a bearer token stands for now.
 *
 * ret_principal  principal_done()
 * Errors:        UNRECOGNIZED_CLIENT (unknown, inactive, expired; its user is disabled or gone)
 */
CHECKED int door_token_use(struct iam *iam, struct span token, struct door_token_facts *ret,
                           struct principal *ret_principal, struct kms_error *err);

/*
 * Exchanges an AppRole's secret for a token of ttl_s seconds.
 *
 * role_id    unique id of the user, or the account id for its root
 * ret_token  in its zero state; text with its prefix, no NUL
 * Errors:    UNRECOGNIZED_CLIENT; KEY_UNAVAILABLE; INTERNAL
 */
CHECKED int door_token_login(struct iam *iam, struct span role_id, struct span secret_id,
                             int64_t ttl_s, struct secret *ret_token, struct door_token_facts *ret,
                             struct kms_error *err);

/* Lets the token of a login last ttl_s from now. Errors: VALIDATION (no login);
 * UNRECOGNIZED_CLIENT. */
CHECKED int door_token_renew(struct iam *iam, struct span token, int64_t ttl_s,
                             struct door_token_facts *ret, struct kms_error *err);

/* --- changing --------------------------------------------------------------------------------- */

struct door_token_draft {
    enum door_token_kind kind;
    const char *account, *user_name; /* user_name "": the root of the account */
    const char *label;               /* "" for none */
    int64_t days;                    /* until it expires; 0: never */
};

/*
 * Stores a credential. The text of a token or secret can be seen this one time.
 *
 * ret_text  in its zero state; no NUL
 * Errors:   NOT_FOUND (no such user); VALIDATION (label); LIMIT_EXCEEDED; KEY_UNAVAILABLE
 */
CHECKED int door_token_create(struct iam *iam, const struct door_token_draft *draft,
                              struct uuid *ret_id, struct secret *ret_text, struct kms_error *err);

/* A disabled one is refused from the next request on, with the logins it made. Errors: NOT_FOUND.
 */
CHECKED int door_token_set_active(struct iam *iam, const struct uuid *id, bool active,
                                  struct kms_error *err);
CHECKED int door_token_delete(struct iam *iam, const struct uuid *id, struct kms_error *err);

/* Whether a principal has any; its unique id, or the account for its root. */
bool door_token_owned(struct iam *iam, const char *owner);

/* Calls each for every stored one; each must not call back into the iam. */
typedef void door_token_each_fn(void *arg, const struct door_token_record *record);
void door_token_each(struct iam *iam, door_token_each_fn *each, void *arg);
