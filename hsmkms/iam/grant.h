#pragma once

/*
 * Grants: who besides the policies may use a key, for which operations, under which encryption
 * context. Found by key, grantee and one pair of the encryption context, so that a key with fifty
 * thousand grants is no slower than one without.
 *
 * Threads: any; a reader-writer lock held for lookups and list work; changes run one after the
 *          other and are durable before they are visible.
 * Source:  AWS KMS Developer Guide, Grants in AWS KMS; AWS KMS API Reference, CreateGrant.
 */

#include "hsmkms/iam/iam.h"

#define GRANT_ID_LEN        64    /* hex letters */
#define GRANT_TOKEN_MAX     8192  /* letters */
#define GRANTS_PER_KEY      50000 /* unless iam_config says otherwise */
#define GRANT_PAIRS_MAX     8     /* of a constraint */
#define GRANT_VALUE_MAX     384   /* characters of a constraint's value */

enum grant_constraint { GRANT_UNCONSTRAINED, GRANT_SUBSET, GRANT_EQUALS };

/*
 * A grant; immutable and counted. Texts belong to it. With its place in the index it takes about
 * 700 bytes of memory while its texts are short.
 */
struct grant {
    atomic_uint references;
    struct uuid key_id;
    char id[GRANT_ID_LEN + 1];
    const char *grantee, *retiring;  /* ARNs as they were given, of an account that of its root;
                                        retiring: "" for none */
    char grantee_id[UNIQUE_ID_LEN + 1]; /* user or role (of a session: its role) they were then;
                                           "" for others */
    char retiring_id[UNIQUE_ID_LEN + 1];
    char issuing_account[13];
    uint64_t operations; /* action bits */
    enum grant_constraint constraint;
    const struct condition_pair *pairs;
    size_t pair_count;
    const char *name;    /* "" for none */
    char parent[GRANT_ID_LEN + 1]; /* grant that its issuer's right came from; "" for none */
    int64_t created_ms;
};
struct grant *grant_ref(struct grant *grant);
void grant_unref(struct grant *grant); /* accepts NULL */

/* Reads everything; the directory is open. Errors: INTEGRITY, INTERNAL. */
CHECKED int grants_open(struct iam *iam, struct grants **ret, struct kms_error *err);
void grants_close(struct grants *grants); /* accepts NULL */

/* Borrowed texts of a grant to be made; checked already except for what grant_create() names. */
struct grant_draft {
    struct uuid key_id;
    const char *grantee, *retiring; /* retiring: NULL for none */
    const char *issuing_account;
    uint64_t operations;
    enum grant_constraint constraint;
    const struct condition_pair *pairs;
    size_t pair_count;
    const char *name;   /* NULL for none */
    const char *parent; /* NULL for none */
};

/*
 * Makes a grant, or finds the one that an identical request with the same name made before.
 *
 * ret      a reference
 * Errors:  INVALID_ARN (a principal that is none or does not exist); LIMIT_EXCEEDED;
 *          KEY_UNAVAILABLE; INTERNAL
 */
CHECKED int grant_create(struct iam *iam, const struct grant_draft *draft, struct grant **ret,
                         struct kms_error *err);

/* A token that names a grant: opaque, authentic, different each time.
 * Errors: KEY_UNAVAILABLE, INTERNAL. */
CHECKED int grant_token_make(struct iam *iam, const struct grant *grant, struct buf *ret,
                             struct kms_error *err);
/* Whom a token names, whether or not the grant still exists.
 * Errors: INVALID_GRANT_TOKEN, KEY_UNAVAILABLE, INTERNAL. */
CHECKED int grant_token_open(struct iam *iam, struct span token, struct uuid *ret_key_id,
                             char ret_id[GRANT_ID_LEN + 1], struct kms_error *err);

/* A reference, or NULL. */
struct grant *grant_find(struct iam *iam, const struct uuid *key_id, const char *id);

/* Ends a grant. Errors: NOT_FOUND; INTERNAL. */
CHECKED int grant_remove(struct iam *iam, const struct uuid *key_id, const char *id,
                         struct kms_error *err);
/* The key is gone: so are its grants. */
CHECKED int grants_drop_key(struct iam *iam, const struct uuid *key_id, struct kms_error *err);

/*
 * How strongly a grant allows this caller an action on a key, and which one (a reference in
 * ret_grant unless STRENGTH_NONE; ret_grant may be NULL).
 *
 * pairs  the encryption context of the request; constraints do not apply to actions without one
 */
enum strength grant_strength(struct iam *iam, const struct uuid *key_id,
                             const struct principal *caller, int action,
                             const struct condition_pair *pairs, size_t pair_count,
                             struct grant **ret_grant);

/*
 * A grant that lets the caller make this one: it is one of those by which grant_strength() allows
 * CreateGrant, has all its operations and a constraint that is no stricter. A reference, or NULL.
 */
struct grant *grant_find_parent(struct iam *iam, const struct principal *caller,
                                const struct grant_draft *child);

/*
 * How strongly this caller may retire a grant: as its retiring principal, as its grantee where
 * RetireGrant is among the operations, or as a principal of the account that issued it: ACCOUNT,
 * for its identity policies to decide, and DIRECT for its root.
 */
enum strength grant_retire_strength(const struct grant *grant, const struct principal *caller);

/*
 * A principal as lists show it and are asked for it: the ARN, or the unique id of a user or role
 * that is gone. Borrowed from the arguments.
 */
const char *grant_shown_principal(struct iam *iam, const char *arn, const char *unique_id);

/*
 * The form of a principal's name that grants keep: an account's 12 digits become the ARN of its
 * root, other texts stay. Whether there is such a principal is not looked at.
 *
 * ret      IDENTITY_ARN_MAX bytes
 * Errors:  INVALID_ARN (neither an ARN, a unique id nor an account)
 */
CHECKED int grant_principal_text(const char *text, char *ret, struct kms_error *err);

/* The bit of an operation's name as grants know it ("Decrypt"); 0: it cannot be granted. */
uint64_t grant_operation_bit(const char *name);

/* True for an operation that a constraint on the encryption context does not limit. */
bool grant_ignores_constraint(int action);

/* Grants in order of id; of one key, or by retiring principal over all keys in order of key and id.
 * after: the last one seen, "" for the first. Returns how many references were written. */
size_t grants_of_key(struct iam *iam, const struct uuid *key_id, const char *after,
                     struct grant **ret, size_t most);
size_t grants_of_retiring(struct iam *iam, const char *arn, const struct uuid *after_key,
                          const char *after, struct grant **ret, size_t most);
size_t grants_count(struct iam *iam, const struct uuid *key_id);
