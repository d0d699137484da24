#pragma once

/*
 * Accounts, users, roles and managed policies: what `aws iam get-account-authorization-details`
 * would show. Held in memory, verified when read from the store; every change is one transaction,
 * visible to the next request.
 *
 * One account owns the keys (the installation's own). Further accounts can be added, whose
 * principals then sign requests and use those keys as far as key policies let them; or accounts
 * can be made known as foreign, so that key policies may name them.
 *
 * Threads: any after directory_open(). Lookups take a reader lock for a moment; changes run one
 *          after the other.
 * Errors of changes: NOT_FOUND, ALREADY_EXISTS, CONFLICT (in use), VALIDATION, LIMIT_EXCEEDED,
 *          MALFORMED_POLICY (detail says what and where), KEY_UNAVAILABLE (no random numbers),
 *          INTERNAL
 * Source:  AWS IAM API Reference; AWS IAM User Guide, IAM and AWS STS quotas.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/base/clock.h"
#include "hsmkms/iam/identity.h"
#include "hsmkms/store/schema.h"
#include "pkcs11/token.h"

#define IDENTITIES_MAX           100000 /* users and roles of all accounts */
#define MANAGED_POLICIES_MAX     5000
#define ATTACHED_POLICIES_MAX    20   /* of a user or role */
#define IDENTITY_TAGS_MAX        50
#define INLINE_USER_MAX          2048 /* characters of all inline policies, white space not counted */
#define INLINE_ROLE_MAX          10240
#define MANAGED_POLICY_MAX       6144
#define TRUST_POLICY_MAX         4096
#define POLICY_NAME_MAX          128  /* of [A-Za-z0-9+=,.@_-] */

/* Policies that every account has; they cannot be changed. */
#define ADMINISTRATOR_POLICY "arn:aws:iam::aws:policy/AdministratorAccess"
#define POWER_USER_POLICY    "arn:aws:iam::aws:policy/AWSKeyManagementServicePowerUser"

struct directory;

struct directory_config {
    struct token *token; /* random numbers of unique ids */
    struct store *store;
    const struct clock *clock;
    const char *account; /* that owns the keys; lives as long as the directory */
};

/* Reads everything. Errors: INTEGRITY (records that contradict each other), INTERNAL. */
CHECKED int directory_open(const struct directory_config *config, struct directory **ret,
                           struct kms_error *err);
void directory_close(struct directory *directory); /* accepts NULL */

/* --- asking ----------------------------------------------------------------------------------- */

enum account_kind {
    ACCOUNT_UNKNOWN,
    ACCOUNT_FOREIGN, /* may be named in key policies; nobody can sign as its principals */
    ACCOUNT_OWN,     /* the keys' own, or one whose principals may sign */
};
enum account_kind directory_account(struct directory *directory, struct span account);

/* A reference, or NULL; identity_unref(). Disabled ones are found as well. */
struct identity *directory_find(struct directory *directory, enum identity_kind kind,
                                const char *account, const char *name);
struct identity *directory_get(struct directory *directory, const char *unique_id);
/* By the ARN of a user, role, or a role's session. */
struct identity *directory_find_arn(struct directory *directory, struct span arn);

/* Grows with every change: what was made from managed policies then is made anew. */
uint64_t directory_generation(struct directory *directory);

/* May the root of this account sign now? Break-glass ends by the clock. */
bool directory_root_enabled(struct directory *directory, const char *account);
/* Of a session: false too when the root was disabled since it was issued, or its time was over. */
bool directory_root_session(struct directory *directory, const char *account, int64_t issued_ms);

/* What policy_compile() asks; good as long as the directory. */
struct principal_book directory_book(struct directory *directory);

/*
 * The compiled managed policies of these ARNs for a session, and their length without white space.
 * Errors: NOT_FOUND
 */
CHECKED int directory_managed_policy(struct directory *directory, const char *arn,
                                     struct policy **ret, size_t *ret_len, struct kms_error *err);

/* --- changing --------------------------------------------------------------------------------- */

/* Names a user or role of an account. */
struct identity_name {
    enum identity_kind kind;
    const char *account, *name;
};

CHECKED int directory_add_account(struct directory *directory, const char *account, bool foreign,
                                  struct kms_error *err);
/* Errors: CONFLICT (it has users or roles, or owns the keys). */
CHECKED int directory_remove_account(struct directory *directory, const char *account,
                                     struct kms_error *err);

/*
 * until_ms 0: for good. Disabling the root of an account that has no enabled principal with an
 * identity policy that allows every kms action is refused (CONFLICT).
 */
CHECKED int directory_set_root(struct directory *directory, const char *account, bool enabled,
                               int64_t until_ms, struct kms_error *err);

struct identity_draft {
    struct identity_name name;
    const char *path;         /* NULL: "/" */
    const char *trust_policy; /* roles only */
    int64_t max_session_s;    /* roles; 0: 3600 */
};
/* ret: a reference. */
CHECKED int directory_create(struct directory *directory, const struct identity_draft *draft,
                             struct identity **ret, struct kms_error *err);
/* Errors: CONFLICT (its access keys must go first: has_keys says whether there are any). */
CHECKED int directory_delete(struct directory *directory, const struct identity_name *name,
                             bool has_keys, struct kms_error *err);
CHECKED int directory_set_enabled(struct directory *directory, const struct identity_name *name,
                                  bool enabled, struct kms_error *err);
CHECKED int directory_set_trust(struct directory *directory, const char *account, const char *role,
                                const char *policy, struct kms_error *err);
CHECKED int directory_set_max_session(struct directory *directory, const char *account,
                                      const char *role, int64_t seconds, struct kms_error *err);

/* Sessions issued until now are invalid from the next request on. */
CHECKED int directory_revoke_sessions(struct directory *directory, const struct identity_name *name,
                                      struct kms_error *err);

/* Inline policies. put adds or replaces. */
CHECKED int directory_put_policy(struct directory *directory, const struct identity_name *name,
                                 const char *policy_name, const char *text, struct kms_error *err);
CHECKED int directory_delete_policy(struct directory *directory, const struct identity_name *name,
                                    const char *policy_name, struct kms_error *err);

/* Managed policies; put makes or replaces one. ret_arn: IDENTITY_ARN_MAX bytes. */
CHECKED int directory_put_managed(struct directory *directory, const char *account,
                                  const char *path, const char *policy_name, const char *text,
                                  char *ret_arn, struct kms_error *err);
CHECKED int directory_delete_managed(struct directory *directory, const char *arn,
                                     struct kms_error *err);
CHECKED int directory_attach(struct directory *directory, const struct identity_name *name,
                             const char *policy_arn, struct kms_error *err);
CHECKED int directory_detach(struct directory *directory, const struct identity_name *name,
                             const char *policy_arn, struct kms_error *err);
/* policy_arn NULL: no boundary any more. */
CHECKED int directory_set_boundary(struct directory *directory, const struct identity_name *name,
                                   const char *policy_arn, struct kms_error *err);

/* Keys are the same when they differ in case alone. */
CHECKED int directory_tag(struct directory *directory, const struct identity_name *name,
                          const char *key, const char *value, struct kms_error *err);
CHECKED int directory_untag(struct directory *directory, const struct identity_name *name,
                            const char *key, struct kms_error *err);

/* --- listing ---------------------------------------------------------------------------------- */

/*
 * Calls each for every user and role in order of account, kind and name; the snapshot is borrowed.
 * each must not call back into the directory.
 */
typedef void identity_each_fn(void *arg, const struct identity *identity);
void directory_each(struct directory *directory, identity_each_fn *each, void *arg);

struct managed_policy {
    const char *arn, *name, *path, *unique_id, *text;
    int64_t created_ms, updated_ms;
    size_t attachments;
};
typedef void managed_each_fn(void *arg, const struct managed_policy *policy);
void directory_each_managed(struct directory *directory, managed_each_fn *each, void *arg);

struct account_info {
    const char *account;
    enum account_kind kind;
    bool owns_keys, root_enabled;
    int64_t root_until_ms;
};
typedef void account_each_fn(void *arg, const struct account_info *account);
void directory_each_account(struct directory *directory, account_each_fn *each, void *arg);

/* The text of an inline policy, appended as it was given. Errors: NOT_FOUND. */
CHECKED int directory_inline_text(struct directory *directory, const struct identity_name *name,
                                  const char *policy_name, struct buf *ret, struct kms_error *err);
