#pragma once

/*
 * What the files of the directory share: how it lies in memory, and how a change is made. For
 * directory_*.c alone.
 *
 * A change has three steps: it prepares everything that can fail (room in the tables, compiled
 * policies, snapshots), makes its rows durable, and then shows itself to readers, which cannot
 * fail. What is in a table and not yet durable is not shown.
 */

#include <pthread.h>

#define HASH_NONFATAL_OOM 1 /* a table that cannot grow does not end the process */
#include <uthash.h>

#include "hsmkms/iam/arn.h"
#include "hsmkms/iam/dossier.h"

#define ACCOUNT_LEN     12
#define POLICY_KEY_SIZE (ACCOUNT_LEN + 1 + POLICY_NAME_MAX + 1)
#define NAME_KEY_SIZE   (ACCOUNT_LEN + 3 + IDENTITY_NAME_MAX + 1)
#define POLICY_TEXT_MAX 131072 /* bytes of a document, white space and all; IAM API Reference */

struct account {
    char id[ACCOUNT_LEN + 1];
    bool shown; /* durable */
    bool foreign, root_enabled;
    int64_t root_until_ms; /* 0: for good */
    int64_t root_since_ms; /* sessions of the root from before have ended */
    int64_t created_ms;    /* 0: the keys' own account, which no row knows yet */
    size_t members;        /* users, roles and managed policies */
    UT_hash_handle hh;
};

struct managed {
    struct managed_policy_record record; /* without the document's text */
    char name_key[POLICY_KEY_SIZE];      /* account and folded name */
    struct document *document;           /* NULL: not shown yet */
    size_t attachments, boundaries;      /* users and roles that have it */
    bool builtin;
    UT_hash_handle by_arn, by_name;
};

struct entry {
    char id[UNIQUE_ID_LEN + 1];
    char name_key[NAME_KEY_SIZE]; /* account, kind and folded name */
    struct dossier *dossier;
    struct identity *shown; /* a reference; NULL: not shown yet */
    UT_hash_handle by_id, by_name;
};

struct directory {
    struct directory_config config;

    /* One change at a time; held over token and disk calls on purpose. Whoever holds it may read
     * what follows without the lock, because nobody else writes. */
    pthread_mutex_t change;

    /* Guards what follows; held for a moment, never over a token or disk call. */
    pthread_rwlock_t lock;
    struct account *accounts;
    struct entry *by_id, *by_name;
    struct entry **order; /* those shown, by account, kind and name */
    size_t count, room;
    struct managed *by_arn, *managed_by_name;
    atomic_uint_fast64_t generation;
};

/* --- finding: with the lock, or in a change --------------------------------------------------- */

/* NULL: there is none. */
struct account *account_find(const struct directory *directory, struct span id);
/* An account of 12 digits whose principals may sign. */
struct account *account_find_own(const struct directory *directory, const char *id);
/* Break-glass ends by the clock. */
bool account_root_enabled(const struct account *account, int64_t now_ms);
/* By exact name; what is not shown yet is not found. */
struct entry *entry_find(const struct directory *directory, enum identity_kind kind,
                         const char *account, struct span name);
struct entry *entry_of_id(const struct directory *directory, const char *unique_id);
struct entry *entry_of_arn(const struct directory *directory, struct span arn);
struct managed *managed_of_arn(const struct directory *directory, const char *arn);

/* Names that differ in case alone have the same key. */
void entry_name_key(enum identity_kind kind, const char *account, const char *name,
                    char ret[NAME_KEY_SIZE]);
void managed_name_key(const char *account, const char *name, char ret[POLICY_KEY_SIZE]);

/* Order of users and roles in lists. */
int entry_compare(const struct entry *a, const struct entry *b);

/* "User" and "Role", "user" and "role". */
extern const char *const identity_kinds[IDENTITY_KINDS], *const identity_nouns[IDENTITY_KINDS];

/* --- putting into the tables, without showing ------------------------------------------------- */

/* These take what is added over on success. Errors: ALREADY_EXISTS, INTERNAL. */
CHECKED int account_add(struct directory *directory, struct account *account,
                        struct kms_error *err);
CHECKED int entry_add(struct directory *directory, struct entry *entry, struct kms_error *err);
CHECKED int managed_add(struct directory *directory, struct managed *managed,
                        struct kms_error *err);

void entry_free(struct entry *entry); /* in no table; accepts NULL */

/* At start: every entry has its snapshot and is put in order and counted. Errors: INTERNAL. */
CHECKED int directory_order(struct directory *directory, struct kms_error *err);

/* Take it out of the tables and free it. */
void account_remove(struct directory *directory, struct account *account);
void entry_remove(struct directory *directory, struct entry *entry);
void managed_remove(struct directory *directory, struct managed *managed);

/* What a user or role counts in its account and its managed policies; step 1 or -1. */
void dossier_count(struct directory *directory, const struct dossier *dossier, int step);

/* --- a change of one user or role ------------------------------------------------------------- */

/* A document that is about to take the place of a managed policy's; zero: none. */
struct substitute {
    const char *arn;
    struct policy *policy;
};

/* Errors: those of dossier_snapshot(). */
CHECKED int directory_snapshot(struct directory *directory, const struct dossier *dossier,
                               struct substitute substitute, struct identity **ret,
                               struct kms_error *err);

struct edit {
    struct directory *directory; /* has its change mutex; NULL: not begun */
    struct entry *entry;
    struct dossier *next; /* a copy to be edited */
};

/* Errors: NOT_FOUND, INTERNAL. */
CHECKED int edit_begin(struct directory *directory, const struct identity_name *name,
                       struct edit *ret, struct kms_error *err);
/* Writes what differs and shows it. Errors: KEY_UNAVAILABLE, INTERNAL. */
CHECKED int edit_commit(struct edit *edit, struct kms_error *err);
void edit_done(struct edit *edit); /* gives the mutex back; accepts the zero state */

/* Writes the rows in which two dossiers differ; NULL: there is none, before or afterwards. Errors:
 * KEY_UNAVAILABLE, INTERNAL. */
CHECKED int dossier_store(struct directory *directory, const struct dossier *before,
                          const struct dossier *next, struct kms_error *err);

/* What is new and durable is shown from now on; these take the last argument over. */
void account_show(struct directory *directory, struct account *account);
void entry_show(struct directory *directory, struct entry *entry, struct identity *snapshot);
void managed_show(struct directory *directory, struct managed *managed, struct document *document);

/* A row of one table. Errors: KEY_UNAVAILABLE, INTERNAL. */
CHECKED int directory_store(struct directory *directory, const struct table *table,
                            const void *record, struct kms_error *err);
CHECKED int directory_unstore(struct directory *directory, const struct table *table,
                              const void *record, struct kms_error *err);

/* --- small things ----------------------------------------------------------------------------- */

void directory_change_begin(struct directory *directory);
void directory_change_end(struct directory *directory);

/* Errors: KEY_UNAVAILABLE */
CHECKED int directory_unique_id(struct directory *directory, const char *prefix,
                                char ret[UNIQUE_ID_LEN + 1], struct kms_error *err);

/* Errors: VALIDATION, LIMIT_EXCEEDED, with AWS's words. */
CHECKED int check_path(const char *path, struct kms_error *err);
CHECKED int check_policy_name(const char *name, struct kms_error *err);
CHECKED int check_policy_text(const char *text, struct kms_error *err);
CHECKED int check_tag(const char *key, const char *value, struct kms_error *err);

/*
 * The book that trust policies are compiled with. self_arn: a role that is being made and may trust
 * itself; NULL: none.
 */
struct trust_book {
    struct directory *directory;
    const char *self_arn, *self_id;
};
struct principal_book trust_book(struct trust_book *book);
