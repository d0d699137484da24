/* Changes of users and roles themselves. */

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/directory_parts.h"

#define SESSION_LEAST_S 3600
#define SESSION_MOST_S  43200

/* --- unique ids ------------------------------------------------------------------------------- */

int directory_unique_id(struct directory *directory, const char *prefix,
                        char ret[UNIQUE_ID_LEN + 1], struct kms_error *err)
{
    uint8_t bits[UNIQUE_ID_BITS];

    if (token_random(directory->config.token, bits, sizeof(bits), err) < 0)
        return -1;
    unique_id_format(ret, prefix, bits);
    return 0;
}

/* --- checks ----------------------------------------------------------------------------------- */

static int check_max_session(int64_t seconds, struct kms_error *err)
{
    if (seconds < SESSION_LEAST_S || seconds > SESSION_MOST_S)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The specified value for maxSessionDuration is invalid. It must be between "
                        "%d and %d seconds.",
                        SESSION_LEAST_S, SESSION_MOST_S);
    return 0;
}

static int check_name(const struct identity_name *name, struct kms_error *err)
{
    if (!identity_name_valid(name->name))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The specified value for %sName is invalid. It must contain 1 to %d "
                        "alphanumeric characters and/or the following: +=,.@_-",
                        identity_nouns[name->kind], IDENTITY_NAME_MAX);
    return 0;
}

static int check_draft(const struct identity_draft *draft, struct kms_error *err)
{
    const bool is_role = draft->name.kind == IDENTITY_ROLE;

    if (check_name(&draft->name, err) < 0 || (draft->path && check_path(draft->path, err) < 0) ||
        (is_role && draft->max_session_s && check_max_session(draft->max_session_s, err) < 0))
        return -1;
    if (is_role && draft->trust_policy == NULL)
        return kms_fail(err, KMS_ERR_VALIDATION, "A role needs a trust policy.");
    if (!is_role && (draft->trust_policy || draft->max_session_s))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "A user has neither a trust policy nor a session duration.");
    return 0;
}

/* --- trust policies --------------------------------------------------------------------------- */

static int compile_trust(const char *text, struct trust_book *who, struct document **ret,
                         struct kms_error *err)
{
    const struct principal_book book = trust_book(who);

    if (check_policy_text(text, err) < 0)
        return -1;
    if (document_weight(text) > TRUST_POLICY_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed quota for ACLSizePerRole: %d",
                        TRUST_POLICY_MAX);
    return document_compile(text, POLICY_TRUST, &book, ret, err);
}

int directory_set_trust(struct directory *directory, const char *account, const char *role,
                        const char *text, struct kms_error *err)
{
    const struct identity_name name = { IDENTITY_ROLE, account, role };
    struct trust_book book = { .directory = directory };
    struct document *document = NULL;
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, &name, &edit, err) < 0 ||
        compile_trust(text, &book, &document, err) < 0)
        return -1;
    document_unref(edit.next->trust);
    edit.next->trust = document; /* now owned by the dossier */
    return edit_commit(&edit, err);
}

/* --- creating --------------------------------------------------------------------------------- */

/* The dossier of a new user or role, but for the trust policy. */
static int draft_dossier(struct directory *directory, const struct identity_draft *draft,
                         struct dossier **ret, struct kms_error *err)
{
    static const char *const prefixes[IDENTITY_KINDS] = { "AIDA", "AROA" };
    const enum identity_kind kind = draft->name.kind;
    char id[UNIQUE_ID_LEN + 1];

    if (directory_unique_id(directory, prefixes[kind], id, err) < 0)
        return -1;
    /* the casts: copied, not changed */
    const struct identity_record record = {
        .unique_id = id,
        .kind = (char *)identity_kinds[kind],
        .account = (char *)draft->name.account,
        .name = (char *)draft->name.name,
        .path = (char *)(draft->path ? draft->path : "/"),
        .enabled = 1,
        .max_session_s = kind == IDENTITY_USER  ? 0
                         : draft->max_session_s ? draft->max_session_s
                                                : SESSION_LEAST_S,
        .created_ms = clock_wall_ms(directory->config.clock),
    };
    struct dossier *const made = calloc(1, sizeof(*made));
    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    if (record_copy(&identity_table, &record, &made->record, err) < 0) {
        dossier_free(made);
        return -1;
    }
    made->kind = kind;
    *ret = made;
    return 0;
}

/* In a change: an entry in no table yet, and its snapshot. */
static int prepare(struct directory *directory, const struct identity_draft *draft,
                   struct entry *entry, struct identity **ret, struct kms_error *err)
{
    char arn[IDENTITY_ARN_MAX];
    struct trust_book book = { directory, arn, entry->id };

    if (draft_dossier(directory, draft, &entry->dossier, err) < 0)
        return -1;
    const struct identity_record *const record = &entry->dossier->record;
    memcpy(entry->id, record->unique_id, sizeof(entry->id));
    (void)snprintf(arn, sizeof(arn), "arn:aws:iam::%s:%s%s%s", record->account,
                   identity_nouns[entry->dossier->kind], record->path, record->name);
    if (draft->trust_policy &&
        compile_trust(draft->trust_policy, &book, &entry->dossier->trust, err) < 0)
        return -1;
    return directory_snapshot(directory, entry->dossier, (struct substitute){ 0 }, ret, err);
}

/* In a change: into the tables, into the store, into view. */
static int introduce(struct directory *directory, const struct identity_draft *draft,
                     struct identity **ret, struct kms_error *err)
{
    struct entry *const entry = calloc(1, sizeof(*entry));
    struct identity *snapshot = NULL;

    if (entry == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    if (prepare(directory, draft, entry, &snapshot, err) < 0 ||
        entry_add(directory, entry, err) < 0) {
        identity_unref(snapshot);
        entry_free(entry);
        return -1;
    }
    if (dossier_store(directory, NULL, entry->dossier, err) < 0) {
        identity_unref(snapshot);
        entry_remove(directory, entry);
        return -1;
    }
    *ret = identity_ref(snapshot);
    entry_show(directory, entry, snapshot);
    return 0;
}

int directory_create(struct directory *directory, const struct identity_draft *draft,
                     struct identity **ret, struct kms_error *err)
{
    int result = -1;

    if (check_draft(draft, err) < 0)
        return -1;
    directory_change_begin(directory);
    if (account_find_own(directory, draft->name.account) == NULL)
        kms_fail(err, KMS_ERR_NOT_FOUND, "Account %.20s cannot be found.", draft->name.account);
    else if (HASH_CNT(by_id, directory->by_id) >= IDENTITIES_MAX)
        kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "Cannot exceed quota for UsersAndRoles: %d",
                 IDENTITIES_MAX);
    else
        result = introduce(directory, draft, ret, err);
    directory_change_end(directory);
    return result;
}

/* --- changing and deleting -------------------------------------------------------------------- */

int directory_delete(struct directory *directory, const struct identity_name *name, bool has_keys,
                     struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0)
        return -1;
    if (has_keys)
        return kms_fail(err, KMS_ERR_CONFLICT,
                        "Cannot delete entity, must delete access keys first.");
    if (dossier_store(directory, edit.entry->dossier, NULL, err) < 0)
        return -1;
    entry_remove(directory, edit.entry);
    return 0;
}

int directory_set_enabled(struct directory *directory, const struct identity_name *name,
                          bool enabled, struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0)
        return -1;
    edit.next->record.enabled = enabled;
    return edit_commit(&edit, err);
}

int directory_set_max_session(struct directory *directory, const char *account, const char *role,
                              int64_t seconds, struct kms_error *err)
{
    const struct identity_name name = { IDENTITY_ROLE, account, role };
    AUTO(edit) edit = { 0 };

    if (check_max_session(seconds, err) < 0 || edit_begin(directory, &name, &edit, err) < 0)
        return -1;
    edit.next->record.max_session_s = seconds;
    return edit_commit(&edit, err);
}

int directory_revoke_sessions(struct directory *directory, const struct identity_name *name,
                              struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0)
        return -1;
    /* those of this millisecond, too; and never back, whatever the clock says */
    const int64_t after_ms = clock_wall_ms(directory->config.clock) + 1;
    if (after_ms > edit.next->record.revoked_ms)
        edit.next->record.revoked_ms = after_ms;
    return edit_commit(&edit, err);
}

/* --- tags ------------------------------------------------------------------------------------- */

int directory_tag(struct directory *directory, const struct identity_name *name, const char *key,
                  const char *value, struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (check_tag(key, value, err) < 0 || edit_begin(directory, name, &edit, err) < 0 ||
        dossier_put_tag(edit.next, key, value, err) < 0 || dossier_check_limits(edit.next, err) < 0)
        return -1;
    return edit_commit(&edit, err);
}

int directory_untag(struct directory *directory, const struct identity_name *name, const char *key,
                    struct kms_error *err)
{
    AUTO(edit) edit = { 0 };

    if (edit_begin(directory, name, &edit, err) < 0)
        return -1;
    struct item *const tag = dossier_tag(edit.next, key);
    if (tag == NULL) /* as in IAM: what is not there is gone */
        return 0;
    items_remove(&edit.next->tags, tag);
    return edit_commit(&edit, err);
}
