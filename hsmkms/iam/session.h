#pragma once

/*
 * Temporary credentials: sealed into the session token that the client carries, so nothing is
 * stored for a session. A token opens only with its own access key id; what it says is cached as
 * one immutable, counted struct session. The sealing key is renewed every day, wrapped by the
 * token's credential key in the database; the two before it still open.
 *
 * Threads: any after iam_open.
 * Source:  AWS STS API Reference, Credentials; NIST SP 800-38D (AES-GCM).
 */

#include "hsmkms/iam/iam.h"

#define SESSION_NAME_MAX   64
#define SESSION_POLICY_MAX 2048 /* characters of all session policies, white space not counted */
#define SESSION_TOKEN_MAX  8192 /* letters of a token */
#define SESSION_POLICIES_MAX 11 /* one inline and ten by ARN */

/* What a session is; immutable. */
struct session {
    atomic_uint references;
    char access_key_id[UNIQUE_ID_LEN + 1]; /* ASIA… */
    char unique_id[UNIQUE_ID_LEN + 1];     /* of the role or user */
    char account[13];                      /* of a root session, too */
    char name[SESSION_NAME_MAX + 1];       /* role sessions; "" for a user's or root's */
    char source_identity[SESSION_NAME_MAX + 1];
    char issued_by[UNIQUE_ID_LEN + 1];     /* access key that asked for it */
    int64_t issued_ms, expires_ms;
    bool chained;                          /* a role session made by a role session */
    const struct identity_tag *tags;
    size_t tag_count;
    const char *const *transitive; /* keys of tags that a role session made from here inherits */
    size_t transitive_count;
    const struct named_policy *policies;   /* session policies, compiled */
    size_t policy_count;                   /* 0: none were given */
    struct secret secret;                  /* the secret access key */
    void *arena;
};
struct session *session_ref(struct session *session);
void session_unref(struct session *session); /* accepts NULL; wipes */

CHECKED int sessions_open(struct iam *iam, struct sessions **ret, struct kms_error *err);
void sessions_close(struct sessions *sessions); /* accepts NULL */

/* What AssumeRole and GetSessionToken ask for, checked already. */
struct session_draft {
    const struct identity *identity; /* NULL: an account's root */
    const char *account;
    const char *name, *source_identity, *issued_by;
    int64_t duration_s;
    bool chained;
    const struct identity_tag *tags;
    size_t tag_count;
    const char *const *transitive;
    size_t transitive_count;
    const char *policy;             /* inline, or NULL */
    const char *const *policy_arns; /* managed; compiled as they are when the session is used */
    size_t policy_arn_count;
};

/* Temporary credentials as a client gets them. */
struct session_credentials {
    char access_key_id[UNIQUE_ID_LEN + 1];
    struct secret secret; /* letters, no NUL */
    struct buf token;     /* letters */
    int64_t expires_ms;
    unsigned packed_percent; /* of what policies and tags may take */
};
void session_credentials_done(struct session_credentials *credentials);

/* Errors: MALFORMED_POLICY; PACKED_POLICY_TOO_LARGE; KEY_UNAVAILABLE; INTERNAL. */
CHECKED int session_issue(struct iam *iam, const struct session_draft *draft,
                          struct session_credentials *ret, struct kms_error *err);

/* iam_signing_key() for an access key id that begins with ASIA. */
CHECKED int session_signing_key(struct iam *iam, const struct credential_claim *claim,
                                struct secret *ret_key, struct principal *ret_principal,
                                struct kms_error *err);

/* Upkeep: renews the sealing key when it is a day old. Errors: KEY_UNAVAILABLE, INTERNAL. */
CHECKED int sessions_tick(struct iam *iam, struct kms_error *err);
