#pragma once

/*
 * A user or a role as it is at one moment: an immutable, counted snapshot with its policies
 * compiled. Whoever changes one publishes a new snapshot, so that a request is decided by one
 * consistent identity from beginning to end, and the next request by the new one.
 *
 * Source: AWS IAM User Guide; AWS IAM API Reference, UserDetail, RoleDetail.
 */

#include "hsmkms/iam/decide.h"

enum identity_kind { IDENTITY_USER, IDENTITY_ROLE, IDENTITY_KINDS };

struct identity_tag {
    const char *key, *value;
};

struct identity {
    atomic_uint references;
    enum identity_kind kind;
    char account[13];
    char name[IDENTITY_NAME_MAX + 1];
    char path[IDENTITY_PATH_MAX + 1];   /* "/" or "/a/b/" */
    char arn[IDENTITY_ARN_MAX];
    char unique_id[UNIQUE_ID_LEN + 1];
    bool enabled;
    int64_t created_ms;
    int64_t max_session_s; /* roles: 3600..43200 */
    int64_t revoked_ms;    /* sessions issued before are invalid; 0: none */

    const struct identity_tag *tags; /* in order of key, which differ in more than case */
    size_t tag_count;

    /* Inline policies by name, then attached ones by ARN. */
    const struct named_policy *policies;
    size_t policy_count, inline_count;
    const struct named_policy *boundary; /* NULL: none */
    struct policy *trust;                /* roles: compiled trust policy */
    const char *trust_text;              /* roles: as it was given */
    void *arena;                         /* what the pointers above point into */
};

struct identity *identity_ref(struct identity *identity);
void identity_unref(struct identity *identity); /* accepts NULL */

/* The value of a tag, or NULL; the key's case does not matter. */
const char *identity_tag_value(const struct identity *identity, const char *key);
