#include <string.h>

#include "hsmkms/base/json_text.h"
#include "hsmkms/admin/parts.h"

/*
 * Users, roles and policies in the shape of `aws iam get-account-authorization-details`, out and
 * in. Secrets are no part of it.
 * Source: AWS IAM API Reference, GetAccountAuthorizationDetails.
 */

/* --- out -------------------------------------------------------------------------------------- */

/* A document as an object, or as its text where it should not be one. */
static json_t *document_json(const char *text, size_t len)
{
    json_t *const object = json_loadb(text, len, 0, NULL);

    return object ? object : json_stringn(text, len);
}

static json_t *inline_json(struct directory *directory, const struct identity *identity)
{
    const struct identity_name name = { identity->kind, identity->account, identity->name };
    json_t *const list = json_array();

    for (size_t i = 0; i < identity->inline_count; i++) {
        struct kms_error gone = { 0 };
        AUTO(buf) text = { 0 };
        if (directory_inline_text(directory, &name, identity->policies[i].name, &text, &gone) < 0)
            continue; /* removed since the snapshot */
        (void)json_array_append_new(
            list, json_pack("{s:s, s:o}", "PolicyName", identity->policies[i].name,
                            "PolicyDocument", document_json((const char *)text.ptr, text.len)));
    }
    return list;
}

static const char *last_part(const char *arn)
{
    const char *const slash = strrchr(arn, '/');

    return slash ? slash + 1 : arn;
}

static json_t *attached_json(const struct identity *identity)
{
    json_t *const list = json_array();

    for (size_t i = identity->inline_count; i < identity->policy_count; i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "PolicyName",
                                                    last_part(identity->policies[i].name),
                                                    "PolicyArn", identity->policies[i].name));
    return list;
}

static json_t *tags_json(const struct identity *identity)
{
    json_t *const list = json_array();

    for (size_t i = 0; i < identity->tag_count; i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "Key", identity->tags[i].key,
                                                    "Value", identity->tags[i].value));
    return list;
}

json_t *admin_identity_json(struct directory *directory, const struct identity *identity)
{
    const bool user = identity->kind == IDENTITY_USER;
    json_t *const made = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o}", user ? "UserName" : "RoleName",
        identity->name, user ? "UserId" : "RoleId", identity->unique_id, "Arn", identity->arn,
        "Path", identity->path, "CreateDate", clock_iso8601(identity->created_ms).text, "Enabled",
        identity->enabled, user ? "UserPolicyList" : "RolePolicyList",
        inline_json(directory, identity), "AttachedManagedPolicies", attached_json(identity),
        "Tags", tags_json(identity));

    if (identity->boundary)
        (void)json_object_set_new(made, "PermissionsBoundary",
                                  json_pack("{s:s, s:s}", "PermissionsBoundaryType", "Policy",
                                            "PermissionsBoundaryArn", identity->boundary->name));
    if (user)
        return made;
    (void)json_object_set_new(
        made, "AssumeRolePolicyDocument",
        document_json(identity->trust_text, strlen(identity->trust_text)));
    (void)json_object_set_new(made, "MaxSessionDuration", json_integer(identity->max_session_s));
    return made;
}

/* References to every identity: they are written down when the directory's lock is given back. */
struct gathered {
    struct identity **items;
    size_t count, room;
};

static void gathered_done(struct gathered *gathered)
{
    for (size_t i = 0; i < gathered->count; i++)
        identity_unref(gathered->items[i]);
    free(gathered->items);
}

static void gather(void *arg, const struct identity *identity)
{
    struct gathered *const gathered = arg;

    if (gathered->count == gathered->room) {
        const size_t room = gathered->room ? 2 * gathered->room : 64;
        struct identity **const more = realloc(gathered->items, room * sizeof(*more));
        if (more == NULL)
            return;
        gathered->items = more;
        gathered->room = room;
    }
    gathered->items[gathered->count++] =
        identity_ref((struct identity *)(uintptr_t)identity); /* counted, hence not const */
}

static void append_managed(void *arg, const struct managed_policy *policy)
{
    if (strncmp(policy->arn, "arn:aws:iam::aws:", 17) == 0)
        return; /* everybody has them */
    (void)json_array_append_new(
        arg, json_pack("{s:s, s:s, s:s, s:s, s:s, s:[{s:o, s:s, s:b}]}", "PolicyName",
                       policy->name, "PolicyId", policy->unique_id, "Arn", policy->arn, "Path",
                       policy->path, "DefaultVersionId", "v1", "PolicyVersionList", "Document",
                       document_json(policy->text, strlen(policy->text)), "VersionId", "v1",
                       "IsDefaultVersion", true));
}

static int export(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    struct directory *const directory = call->services->iam->directory;
    json_t *const users = json_array(), *const roles = json_array(), *const policies = json_array();
    AUTO(gathered) all = { 0 };

    directory_each(directory, gather, &all);
    directory_each_managed(directory, append_managed, policies);
    for (size_t i = 0; i < all.count; i++)
        (void)json_array_append_new(all.items[i]->kind == IDENTITY_USER ? users : roles,
                                    admin_identity_json(directory, all.items[i]));
    return admin_answer(json_pack("{s:o, s:[], s:o, s:o}", "UserDetailList", users,
                                  "GroupDetailList", "RoleDetailList", roles, "Policies",
                                  policies),
                        ret, err);
}

/* --- in --------------------------------------------------------------------------------------- */

/* An import under way: what was done, and what was refused and why. */
struct import {
    struct directory *directory;
    const char *account;
    json_t *done, *refused;
};

static void report(struct import *import, const char *what, const char *name,
                   const struct kms_error *err)
{
    if (err->code == KMS_ERR_NONE)
        (void)json_array_append_new(import->done, json_sprintf("%s %s", what, name));
    else
        (void)json_array_append_new(
            import->refused,
            json_pack("{s:o, s:s, s:s}", "Item", json_sprintf("%s %s", what, name), "Code",
                      kms_err_name(err->code), "Reason",
                      err->message[0] ? err->message : err->detail));
}

static const char *text_of(const json_t *object, const char *member)
{
    const char *const text = json_string_value(json_object_get(object, member));

    return text ? text : "";
}

/* A document, which may be an object or its text; free() it. NULL: neither, or no memory. */
static char *document_text(const json_t *document)
{
    const size_t len = json_is_object(document) ? json_text_len(document) : 0;
    char *const text = len ? malloc(len + 1) : NULL;

    if (json_is_string(document))
        return strdup(json_string_value(document));
    if (text) {
        json_text_write(document, text);
        text[len] = '\0';
    }
    return text;
}

static void import_inline(struct import *import, const struct identity_name *name,
                          const json_t *policies)
{
    for (size_t i = 0; i < json_array_size(policies); i++) {
        const json_t *const item = json_array_get(policies, i);
        char *const text = document_text(json_object_get(item, "PolicyDocument"));
        struct kms_error err = { 0 };

        (void)!directory_put_policy(import->directory, name, text_of(item, "PolicyName"),
                                    text ? text : "", &err);
        report(import, "inline policy", text_of(item, "PolicyName"), &err);
        free(text);
    }
}

static void import_links(struct import *import, const struct identity_name *name,
                         const json_t *item)
{
    const json_t *const attached = json_object_get(item, "AttachedManagedPolicies");

    for (size_t i = 0; i < json_array_size(attached); i++) {
        const char *const arn = text_of(json_array_get(attached, i), "PolicyArn");
        struct kms_error err = { 0 };
        (void)!directory_attach(import->directory, name, arn, &err);
        report(import, "attachment", arn, &err);
    }
}

/* False: it was refused. Without its limit nobody gets what it was to limit. */
static bool import_boundary(struct import *import, const struct identity_name *name,
                            const json_t *boundary)
{
    const char *const arn = text_of(boundary, "PermissionsBoundaryArn");
    struct kms_error err = { 0 };

    if (boundary == NULL)
        return true;
    (void)!directory_set_boundary(import->directory, name, arn, &err);
    report(import, "boundary", arn, &err);
    return err.code == KMS_ERR_NONE;
}

/* Who was disabled stays so. False: it could not be done. */
static bool import_disabled(struct import *import, const struct identity_name *name,
                            const json_t *item)
{
    struct kms_error err = { 0 };

    if (!json_is_false(json_object_get(item, "Enabled")) ||
        directory_set_enabled(import->directory, name, false, &err) == 0)
        return true;
    report(import, "disabling of", name->name, &err);
    return false;
}

static void import_tags(struct import *import, const struct identity_name *name, const json_t *tags)
{
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *const tag = json_array_get(tags, i);
        struct kms_error err = { 0 };
        (void)!directory_tag(import->directory, name, text_of(tag, "Key"), text_of(tag, "Value"),
                             &err);
        report(import, "tag", text_of(tag, "Key"), &err);
    }
}

/* One that exists already gets what the document says beside what it has. */
static void import_identity(struct import *import, enum identity_kind kind, const json_t *item)
{
    const bool user = kind == IDENTITY_USER;
    const struct identity_name name = { kind, import->account,
                                        text_of(item, user ? "UserName" : "RoleName") };
    char *const trust =
        user ? NULL : document_text(json_object_get(item, "AssumeRolePolicyDocument"));
    const char *const path = text_of(item, "Path");
    const struct identity_draft draft = {
        .name = name,
        .path = path[0] ? path : NULL,
        .trust_policy = user ? NULL : trust ? trust : "",
        .max_session_s = json_integer_value(json_object_get(item, "MaxSessionDuration")),
    };
    struct identity *made = NULL;
    struct kms_error err = { 0 };

    (void)!directory_create(import->directory, &draft, &made, &err);
    identity_unref(made);
    free(trust);
    report(import, user ? "user" : "role", name.name, &err);
    if (err.code != KMS_ERR_NONE && err.code != KMS_ERR_ALREADY_EXISTS)
        return;
    if (!import_boundary(import, &name, json_object_get(item, "PermissionsBoundary")) ||
        !import_disabled(import, &name, item))
        return;
    import_inline(import, &name, json_object_get(item, user ? "UserPolicyList" : "RolePolicyList"));
    import_links(import, &name, item);
    import_tags(import, &name, json_object_get(item, "Tags"));
}

/* The version that counts. */
static const json_t *default_document(const json_t *policy)
{
    const json_t *const versions = json_object_get(policy, "PolicyVersionList");

    for (size_t i = 0; i < json_array_size(versions); i++)
        if (json_is_true(json_object_get(json_array_get(versions, i), "IsDefaultVersion")))
            return json_object_get(json_array_get(versions, i), "Document");
    return NULL;
}

static void import_managed(struct import *import, const json_t *policy)
{
    const char *const name = text_of(policy, "PolicyName"), *const path = text_of(policy, "Path");
    char *const text = document_text(default_document(policy));
    char arn[IDENTITY_ARN_MAX];
    struct kms_error err = { 0 };

    if (strncmp(text_of(policy, "Arn"), "arn:aws:iam::aws:", 17) != 0) {
        (void)!directory_put_managed(import->directory, import->account, path[0] ? path : "/",
                                     name, text ? text : "", arn, &err);
        report(import, "managed policy", name, &err);
    }
    free(text);
}

/* Policies first, then who they are attached to; roles last, because they trust users. */
static void import_all(struct import *import, const json_t *document)
{
    static const char *const lists[] = { "UserDetailList", "RoleDetailList" };
    const json_t *const policies = json_object_get(document, "Policies");

    for (size_t i = 0; i < json_array_size(policies); i++)
        import_managed(import, json_array_get(policies, i));
    for (size_t kind = 0; kind < ARRAY_LEN(lists); kind++) {
        const json_t *const items = json_object_get(document, lists[kind]);
        for (size_t i = 0; i < json_array_size(items); i++)
            import_identity(import, (enum identity_kind)kind, json_array_get(items, i));
    }
}

static int import(const struct admin_call *call, json_t **ret, struct kms_error *err)
{
    json_auto_t *document = json_loads(admin_text(call, "Document"), JSON_REJECT_DUPLICATES, NULL);
    struct import import = { .directory = call->services->iam->directory,
                             .account = admin_account(call) };

    if (!json_is_object(document))
        return kms_fail(err, KMS_ERR_VALIDATION, "The document is not a JSON object");
    if (json_array_size(json_object_get(document, "GroupDetailList")) > 0)
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "This service has no groups: attach their policies to the users");
    import.done = json_array();
    import.refused = json_array();
    import_all(&import, document);
    return admin_answer(
        json_pack("{s:o, s:o}", "Imported", import.done, "Refused", import.refused), ret, err);
}

const struct admin_handler admin_transfer_handlers[] = {
    { "export", export },
    { "import", import },
    { 0 },
};
