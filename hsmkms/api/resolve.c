#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/audit_call.h"
#include "hsmkms/api/policy.h"
#include "hsmkms/api/violations.h"
#include "hsmkms/keys/lifecycle.h"

/* How operations find the keys they are about; one resolver per way of naming them. */

static int absent(const struct op_call *c, size_t offset, struct kms_error *err)
{
    AUTO(violations) violations = { 0 };
    const struct field *field = c->op->request->fields;

    while (field->offset != offset)
        field++;
    violations_add(&violations, (struct shown){ SHOWN_NULL, { 0 } }, field_path(field->name).text,
                   "not be null");
    return violations_check(&violations, err);
}

/* In an account without keys every key id and alias that is no ARN names nothing. */
static int none_of_theirs(const struct op_call *c, const char *identifier, struct kms_error *err)
{
    const char *const account = c->call->principal.account;

    if (strncmp(identifier, "alias/", 6) == 0)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Alias arn:aws:kms:%s:%s:%s is not found.",
                        c->keyring->region, account, identifier);
    return kms_fail(err, KMS_ERR_NOT_FOUND, "Key 'arn:aws:kms:%s:%s:key/%s' does not exist",
                    c->keyring->region, account, identifier);
}

/* keyring_resolve, with AWS's words for keys of another account: keys/ knows no principal. */
static int find_key(const struct op_call *c, const struct op_demand *demand, const char *identifier,
                    bool aliases, struct key **ret, struct kms_error *err)
{
    const bool stranger = op_is_stranger(c);

    if (stranger && strncmp(identifier, "arn:", 4) != 0)
        return none_of_theirs(c, identifier, err);
    if (keyring_resolve(c->keyring, identifier, aliases, ret, err) == 0)
        return 0;
    if (err->code != KMS_ERR_ACCESS_DENIED && !(stranger && err->code == KMS_ERR_NOT_FOUND))
        return -1;
    kms_error_clear(err);
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "User: %s is not authorized to perform: kms:%s on this resource because the "
                    "resource does not exist in this Region, no resource-based policies allow "
                    "access, or a resource-based policy explicitly denies access",
                    c->call->principal.arn, demand->action ? demand->action : c->op->name);
}

int resolve_id(struct op_call *c, struct kms_error *err)
{
    struct key *key = NULL;

    if (find_key(c, &c->op->key, c->head->key_id, false, &key, err) < 0)
        return -1;
    op_set_key(c, key);
    return 0;
}

int resolve_id_if_given(struct op_call *c, struct kms_error *err)
{
    return c->head->key_id ? resolve_id(c, err) : 0;
}

/* The name of a predefined alias that has no key yet, or NULL. */
static const char *unmade_alias(const struct op_call *c, const char *identifier)
{
    const struct arn_text arn = keyring_alias_arn(c->keyring, "alias/");
    const size_t prefix = strlen(arn.text) - strlen("alias/");
    struct alias found;

    if (strncmp(identifier, arn.text, prefix) == 0)
        identifier += prefix;
    else if (op_is_stranger(c))
        return NULL; /* of their own account, which has none */
    if (!keyring_alias_is_predefined(identifier) ||
        catalog_alias(c->keyring->catalog, identifier, &found))
        return NULL;
    return identifier;
}

/* The making has an intent and a result of its own in the audit trail. */
static int make_managed_key(struct op_call *c, const char *alias, struct key **ret,
                            struct kms_error *err)
{
    struct service_event event = { .name = "CreateKey", .keyring = c->keyring };
    struct kms_error unrecorded = { 0 };
    struct key *key = NULL;

    if (audit_service_intent(c->api, &event, err) < 0)
        return -1;
    if (lifecycle_managed_key(c->keyring, alias, &key, err) < 0 ||
        policy_publish(c->api, &key->record.id, err) < 0)
        event.failed = err;
    else
        event.key_id = &key->record.id;
    if (audit_service_result(c->api, &event, &unrecorded) < 0 && err->code == KMS_ERR_NONE)
        *err = unrecorded;
    if (err->code != KMS_ERR_NONE) {
        key_unref(key);
        return -1;
    }
    *ret = key;
    return 0;
}

int make_named_keys(struct op_call *c, struct kms_error *err)
{
    struct key *key = NULL;

    if (c->unmade) {
        if (make_managed_key(c, c->unmade, &key, err) < 0)
            return -1;
        op_set_key(c, key);
    }
    if (c->other_unmade) {
        if (make_managed_key(c, c->other_unmade, &c->other, err) < 0)
            return -1;
        c->other_arn = keyring_key_arn(c->keyring, &c->other->record.id);
    }
    return 0;
}

/*
 * AWS makes the managed key of a service when it is first asked for. A request that is refused or
 * a dry run asks for nothing, so the alias stands for the key, also before iam, until run.
 */
int resolve_name(struct op_call *c, struct kms_error *err)
{
    struct key *key = NULL;

    c->unmade = unmade_alias(c, c->head->key_id);
    if (c->unmade) {
        c->alias_arn = keyring_alias_arn(c->keyring, c->unmade);
        return 0;
    }
    if (find_key(c, &c->op->key, c->head->key_id, true, &key, err) < 0)
        return -1;
    op_set_key(c, key);
    return 0;
}

int resolve_destination(struct op_call *c, struct kms_error *err)
{
    const char *const identifier = c->head->destination_id;

    c->other_unmade = unmade_alias(c, identifier);
    if (c->other_unmade)
        return 0;
    if (find_key(c, &c->op->other, identifier, true, &c->other, err) < 0)
        return -1;
    c->other_arn = keyring_key_arn(c->keyring, &c->other->record.id);
    return 0;
}

static int unknown_ciphertext(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "The ciphertext refers to a customer master key that does not exist, does not "
                    "exist in this region, or you are not allowed to access.");
}

/* The key that the ciphertext names. */
static int key_of_blob(struct op_call *c, struct kms_error *err)
{
    if (!uuid_equal(&c->envelope.installation, &c->keyring->installation))
        return unknown_ciphertext(err);

    struct key *const key = catalog_find_owner(c->keyring->catalog, &c->envelope.key_id);
    if (key == NULL || !key_visible(key)) {
        key_unref(key);
        return unknown_ciphertext(err);
    }
    op_set_key(c, key);
    return 0;
}

/*
 * The key that the request names must be that of the ciphertext. What an RSA key has encrypted
 * names none, so anything may be its ciphertext but the blob of another key. Looked at behind iam:
 * without permission nobody learns what a ciphertext is, nor whether a key is there.
 */
int check_blob_key(struct op_call *c, struct kms_error *err)
{
    struct kms_error no_blob = { 0 };

    if (c->head->key_id == NULL || c->head->blob.ptr == NULL ||
        c->head->dry_run_modifiers.count > 0)
        return 0; /* found by the ciphertext, or told to ignore it */
    if (envelope_parse(buf_span(&c->head->blob), &c->envelope, &no_blob) < 0) {
        if (c->key && !keyspec_is_symmetric(c->key->spec))
            return 0;
        *err = no_blob;
        return -1;
    }
    if (c->key && uuid_equal(&c->envelope.installation, &c->keyring->installation) &&
        uuid_equal(&c->envelope.key_id, key_owner(c->key)))
        return 0;
    return kms_fail(err, KMS_ERR_INCORRECT_KEY,
                    "The key ID in the request does not identify a CMK that can perform this "
                    "operation.");
}

int resolve_blob(struct op_call *c, struct kms_error *err)
{
    const struct request_head *const head = c->head;
    const bool ignored = head->dry_run_modifiers.count > 0; /* IGNORE_CIPHERTEXT is the only one */

    if (ignored && !head->dry_run)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "DryRunModifiers can only be specified when DryRun is true.");
    if (ignored && head->key_id == NULL)
        return absent(c, offsetof(struct request_head, key_id), err);
    if (ignored)
        return resolve_name(c, err);
    if (head->blob.ptr == NULL)
        return absent(c, offsetof(struct request_head, blob), err);
    if (head->key_id)
        return resolve_name(c, err);
    if (envelope_parse(buf_span(&head->blob), &c->envelope, err) < 0)
        return -1;
    return key_of_blob(c, err);
}

/* ReEncrypt: the ciphertext's key, and the destination by name. */
int resolve_blob_and_name(struct op_call *c, struct kms_error *err)
{
    if (resolve_blob(c, err) < 0)
        return -1;
    if (resolve_destination(c, err) == 0)
        return 0;
    if (err->code != KMS_ERR_ACCESS_DENIED)
        return -1;
    kms_error_clear(err); /* said by the gate, behind what it says about the ciphertext's key */
    return 0;
}

/* The rules of alias names that no pattern says. */
static int alias_name(struct op_call *c, struct kms_error *err)
{
    static const char prefix[] = "alias/", reserved[] = "alias/aws/";
    const char *const name = c->head->alias_name;

    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Alias must start with the prefix \"alias/\". Please see "
                        "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html");
    if (strncmp(name, reserved, strlen(reserved)) == 0)
        return kms_fail(err, KMS_ERR_NOT_AUTHORIZED, "%s", "");
    if (strchr(name, ':') || name[strlen(prefix)] == '\0')
        return kms_fail(err, KMS_ERR_VALIDATION, "%s contains invalid characters for an alias",
                        name);
    c->alias_arn = keyring_alias_arn(c->keyring, name);
    return 0;
}

static int alias_target(struct op_call *c, struct kms_error *err)
{
    const char *const target = c->head->key_id;

    if (strncmp(target, "alias/", 6) == 0 || strstr(target, ":alias/"))
        return kms_fail(err, KMS_ERR_VALIDATION, "Aliases must refer to keys. Not aliases");
    return resolve_id(c, err);
}

/* The key an alias points at now. */
static int alias_key(const struct op_call *c, struct key **ret, struct kms_error *err)
{
    struct alias alias;

    if (!catalog_alias(c->keyring->catalog, c->head->alias_name, &alias))
        return kms_fail(err, KMS_ERR_NOT_FOUND, "Alias %s is not found.", c->alias_arn.text);
    *ret = catalog_find(c->keyring->catalog, &alias.key_id);
    if (*ret == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "an alias points at no key");
    return 0;
}

int resolve_new_alias(struct op_call *c, struct kms_error *err)
{
    return alias_name(c, err) < 0 || alias_target(c, err) < 0 ? -1 : 0;
}

/* An account without keys has no aliases: said before anything is looked for. */
static int alias_of_caller(const struct op_call *c, struct kms_error *err)
{
    return op_is_stranger(c) ? none_of_theirs(c, c->head->alias_name, err) : 0;
}

int resolve_moved_alias(struct op_call *c, struct kms_error *err)
{
    if (alias_name(c, err) < 0 || alias_of_caller(c, err) < 0 || alias_target(c, err) < 0 ||
        alias_key(c, &c->other, err) < 0)
        return -1;
    c->other_arn = keyring_key_arn(c->keyring, &c->other->record.id);
    return 0;
}

int resolve_alias(struct op_call *c, struct kms_error *err)
{
    struct key *key = NULL;

    if (alias_name(c, err) < 0 || alias_of_caller(c, err) < 0 || alias_key(c, &key, err) < 0)
        return -1;
    op_set_key(c, key);
    return 0;
}
