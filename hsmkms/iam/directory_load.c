/* The directory at start and end. Rows are authentic; what is checked here is what another version
 * of the program could have written. */

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/base/lock.h"

#include "hsmkms/iam/directory_parts.h"

/* --- accounts --------------------------------------------------------------------------------- */

static int load_account(void *arg, const void *record, struct kms_error *err)
{
    struct directory *const directory = arg;
    const struct account_record *const row = record;

    if (!account_id_valid(span_text(row->id)))
        return kms_fail(err, KMS_ERR_INTEGRITY, "account '%.20s' is not well-formed", row->id);
    struct account *const account = calloc(1, sizeof(*account));
    if (account == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an account");
    (void)snprintf(account->id, sizeof(account->id), "%s", row->id);
    account->shown = true;
    account->foreign = row->is_foreign != 0;
    account->root_enabled = row->root_enabled != 0;
    account->root_until_ms = row->root_until_ms;
    account->root_since_ms = row->root_since_ms;
    account->created_ms = row->created_ms;
    if (account_add(directory, account, err) < 0) {
        free(account);
        return -1;
    }
    return 0;
}

/* The keys' own account is there without a row: its root may sign from the first start on. */
static int ensure_own_account(struct directory *directory, struct kms_error *err)
{
    /* the cast: only read */
    const struct account_record own = { .id = (char *)directory->config.account,
                                        .root_enabled = 1 };
    const struct account *const found = account_find(directory, span_text(own.id));

    if (found && found->foreign)
        return kms_fail(err, KMS_ERR_INTEGRITY, "account %s owns the keys and is foreign", own.id);
    return found ? 0 : load_account(directory, &own, err);
}

/* --- managed policies ------------------------------------------------------------------------- */

static bool name_is_taken(const struct directory *directory,
                          const struct managed_policy_record *row)
{
    char key[POLICY_KEY_SIZE];
    const struct managed *managed = NULL;

    managed_name_key(row->account, row->name, key);
    HASH_FIND(by_name, directory->managed_by_name, key, strlen(key), managed);
    return managed != NULL;
}

static bool managed_whole(const struct directory *directory,
                          const struct managed_policy_record *row)
{
    return row->unique_id && row->account && row->path && row->name && row->document &&
           account_find_own(directory, row->account) && strlen(row->name) <= POLICY_NAME_MAX &&
           !name_is_taken(directory, row);
}

static int add_stored(struct directory *directory, struct managed *managed, const char *text,
                      struct kms_error *err)
{
    struct document *document = NULL;

    if (document_load(text, POLICY_IDENTITY, NULL, &document, err) < 0 ||
        managed_add(directory, managed, err) < 0) {
        document_unref(document);
        return -1;
    }
    managed->document = document;
    struct account *const account = account_find_own(directory, managed->record.account);
    if (account)
        account->members++;
    return 0;
}

static int load_managed(void *arg, const void *record, struct kms_error *err)
{
    struct directory *const directory = arg;
    const struct managed_policy_record *const row = record;
    struct managed_policy_record shallow = *row;

    if (!managed_whole(directory, row))
        return kms_fail(err, KMS_ERR_INTEGRITY, "managed policy %.700s is not well-formed",
                        row->arn);
    shallow.document = NULL; /* kept by the document */
    struct managed *const managed = calloc(1, sizeof(*managed));
    if (managed == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a managed policy");
    if (record_copy(&managed_policy_table, &shallow, &managed->record, err) == 0 &&
        add_stored(directory, managed, row->document, err) == 0)
        return 0;
    record_done(&managed_policy_table, &managed->record);
    free(managed);
    return -1;
}

static const struct {
    const char *name, *path, *arn, *id, *text;
} builtins[] = {
    { "AdministratorAccess", "/", ADMINISTRATOR_POLICY, "ANPAAAAAAAAAAAAAAAAA",
      "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\","
      "\"Resource\":\"*\"}]}" },
    { "AWSKeyManagementServicePowerUser", "/", POWER_USER_POLICY, "ANPAAAAAAAAAAAAAAAAB",
      "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":["
      "\"kms:CreateAlias\",\"kms:CreateKey\",\"kms:DeleteAlias\",\"kms:Describe*\","
      "\"kms:GenerateRandom\",\"kms:Get*\",\"kms:List*\",\"kms:TagResource\","
      "\"kms:UntagResource\",\"iam:ListGroups\",\"iam:ListRoles\",\"iam:ListUsers\"],"
      "\"Resource\":\"*\"}]}" },
};

static int add_builtin(struct directory *directory, size_t i, struct kms_error *err)
{
    static char account[] = "aws"; /* never written to */
    /* the casts: copied, not changed */
    const struct managed_policy_record record = { .arn = (char *)builtins[i].arn,
                                                  .unique_id = (char *)builtins[i].id,
                                                  .account = account,
                                                  .path = (char *)builtins[i].path,
                                                  .name = (char *)builtins[i].name };
    struct managed *const managed = calloc(1, sizeof(*managed));

    if (managed == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a managed policy");
    managed->builtin = true;
    if (record_copy(&managed_policy_table, &record, &managed->record, err) == 0 &&
        add_stored(directory, managed, builtins[i].text, err) == 0)
        return 0;
    record_done(&managed_policy_table, &managed->record);
    free(managed);
    return -1;
}

/* --- users and roles -------------------------------------------------------------------------- */

static bool kind_of(const char *text, enum identity_kind *ret)
{
    for (size_t kind = 0; kind < IDENTITY_KINDS; kind++) {
        if (strcmp(text, identity_kinds[kind]) == 0) {
            *ret = (enum identity_kind)kind;
            return true;
        }
    }
    return false;
}

static bool identity_whole(const struct directory *directory, const struct identity_record *row,
                           enum identity_kind *ret_kind)
{
    static const char *const prefixes[IDENTITY_KINDS] = { "AIDA", "AROA" };
    struct kms_error unused = { 0 };

    return row->kind && row->account && row->name && row->path && kind_of(row->kind, ret_kind) &&
           unique_id_valid(span_text(row->unique_id), prefixes[*ret_kind]) &&
           identity_name_valid(row->name) && check_path(row->path, &unused) == 0 &&
           account_find_own(directory, row->account) &&
           (row->trust_policy != NULL) == (*ret_kind == IDENTITY_ROLE);
}

static int make_dossier(const struct identity_record *row, enum identity_kind kind,
                        struct dossier **ret, struct kms_error *err)
{
    struct identity_record shallow = *row;
    struct dossier *const made = calloc(1, sizeof(*made));

    if (made == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    made->kind = kind;
    shallow.trust_policy = shallow.trust_pins = NULL; /* kept by the document */
    if (record_copy(&identity_table, &shallow, &made->record, err) < 0 ||
        (row->trust_policy &&
         document_load(row->trust_policy, POLICY_TRUST, row->trust_pins, &made->trust, err) < 0)) {
        dossier_free(made);
        return -1;
    }
    *ret = made;
    return 0;
}

static bool is_taken(const struct directory *directory, enum identity_kind kind,
                     const struct identity_record *row)
{
    char key[NAME_KEY_SIZE];
    const struct entry *entry = NULL;

    entry_name_key(kind, row->account, row->name, key);
    HASH_FIND(by_name, directory->by_name, key, strlen(key), entry);
    return entry != NULL;
}

static int load_identity(void *arg, const void *record, struct kms_error *err)
{
    struct directory *const directory = arg;
    const struct identity_record *const row = record;
    enum identity_kind kind = IDENTITY_USER;

    if (!identity_whole(directory, row, &kind) || is_taken(directory, kind, row))
        return kms_fail(err, KMS_ERR_INTEGRITY, "user or role %.30s is not well-formed",
                        row->unique_id);
    struct entry *const entry = calloc(1, sizeof(*entry));
    if (entry == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a user or role");
    (void)snprintf(entry->id, sizeof(entry->id), "%s", row->unique_id);
    if (make_dossier(row, kind, &entry->dossier, err) < 0 || entry_add(directory, entry, err) < 0) {
        entry_free(entry);
        return -1;
    }
    return 0;
}

/* The dossier that a row belongs to; NULL fills err. */
static struct dossier *owner_of(struct directory *directory, const char *id, const void *content,
                                struct kms_error *err)
{
    struct entry *entry = NULL;

    HASH_FIND(by_id, directory->by_id, id, strlen(id), entry);
    if (entry == NULL || content == NULL)
        kms_fail(err, KMS_ERR_INTEGRITY, "a policy or tag belongs to '%.30s', which there is not",
                 id);
    return err->code ? NULL : entry->dossier;
}

static int load_inline(void *arg, const void *record, struct kms_error *err)
{
    const struct inline_policy_record *const row = record;
    struct dossier *const dossier = owner_of(arg, row->identity, row->document, err);
    struct document *document = NULL;

    if (dossier == NULL || document_load(row->document, POLICY_IDENTITY, NULL, &document, err) < 0)
        return -1;
    return dossier_put_inline(dossier, row->name, document, err);
}

static int load_attachment(void *arg, const void *record, struct kms_error *err)
{
    const struct attachment_record *const row = record;
    struct dossier *const dossier = owner_of(arg, row->identity, row->policy, err);

    return dossier ? dossier_put_attached(dossier, row->policy, row->created_ms, err) : -1;
}

static int load_tag(void *arg, const void *record, struct kms_error *err)
{
    const struct identity_tag_record *const row = record;
    struct dossier *const dossier = owner_of(arg, row->identity, row->tag_value, err);

    return dossier ? dossier_put_tag(dossier, row->tag_key, row->tag_value, err) : -1;
}

/* Now that everything is read. */
static int make_snapshots(struct directory *directory, struct kms_error *err)
{
    struct entry *entry, *next;

    HASH_ITER(by_id, directory->by_id, entry, next)
    {
        if (directory_snapshot(directory, entry->dossier, (struct substitute){ 0 }, &entry->shown,
                               err) < 0)
            return -1;
    }
    return directory_order(directory, err);
}

/* --- start and end ---------------------------------------------------------------------------- */

/* In this order: each may name what was read before. */
static int load(struct directory *directory, struct kms_error *err)
{
    struct store *const store = directory->config.store;

    for (size_t i = 0; i < ARRAY_LEN(builtins); i++)
        if (add_builtin(directory, i, err) < 0)
            return -1;
    if (store_each(store, &account_table, load_account, directory, err) < 0 ||
        ensure_own_account(directory, err) < 0 ||
        store_each(store, &managed_policy_table, load_managed, directory, err) < 0 ||
        store_each(store, &identity_table, load_identity, directory, err) < 0 ||
        store_each(store, &inline_policy_table, load_inline, directory, err) < 0 ||
        store_each(store, &attachment_table, load_attachment, directory, err) < 0 ||
        store_each(store, &identity_tag_table, load_tag, directory, err) < 0)
        return -1;
    return make_snapshots(directory, err);
}

static int make_locks(struct directory *directory, struct kms_error *err)
{
    if (!lock_init_fair(&directory->lock) || pthread_mutex_init(&directory->change, NULL) != 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no lock for the directory");
    return 0;
}

int directory_open(const struct directory_config *config, struct directory **ret,
                   struct kms_error *err)
{
    struct directory *const directory = calloc(1, sizeof(*directory));

    if (directory == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the directory");
    directory->config = *config;
    if (make_locks(directory, err) < 0 || load(directory, err) < 0) {
        directory_close(directory);
        return -1;
    }
    *ret = directory;
    return 0;
}

void directory_close(struct directory *directory)
{
    struct account *account, *next_account;
    struct entry *entry, *next_entry;
    struct managed *managed, *next_managed;

    if (directory == NULL)
        return;
    directory->count = 0;
    HASH_ITER(by_id, directory->by_id, entry, next_entry)
    {
        HASH_DELETE(by_id, directory->by_id, entry);
        HASH_DELETE(by_name, directory->by_name, entry);
        entry_free(entry);
    }
    HASH_ITER(by_arn, directory->by_arn, managed, next_managed)
    {
        managed_remove(directory, managed);
    }
    HASH_ITER(hh, directory->accounts, account, next_account)
    {
        account_remove(directory, account);
    }
    free(directory->order);
    (void)pthread_mutex_destroy(&directory->change);
    (void)pthread_rwlock_destroy(&directory->lock);
    free(directory);
}
