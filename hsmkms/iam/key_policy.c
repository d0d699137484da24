#include "hsmkms/iam/key_policy.h"

#include <pthread.h>
#include <stdlib.h>

#include <jansson.h>
#include <uthash.h>

#include "hsmkms/base/lock.h"
#include "hsmkms/base/json_text.h"

struct entry {
    struct uuid key_id;
    struct policy *policy; /* a reference */
    UT_hash_handle hh;
};

struct key_policies {
    struct policy *defaults[2]; /* by enum key_policy_default */
    pthread_rwlock_t lock;      /* guards the table and what its entries point at */
    struct entry *entries;
};

/* --- default policies ------------------------------------------------------------------------- */

/* What the principals of the account may be allowed to do with a key that the service manages. */
static const char managed_actions[] =
    "[ \"kms:Encrypt\", \"kms:Decrypt\", \"kms:ReEncrypt*\", \"kms:GenerateDataKey*\", "
    "\"kms:DescribeKey\", \"kms:Get*\", \"kms:List*\" ]";

void key_policy_default_text(const struct iam *iam, enum key_policy_default which, struct buf *ret)
{
    static const struct {
        const char *id, *sid, *action;
    } rows[] = {
        [KEY_POLICY_CUSTOMER] = { "key-default-1", "Enable IAM User Permissions", "\"kms:*\"" },
        [KEY_POLICY_MANAGED] = { "auto-managed-1", "Allow use through policies of the account",
                                 managed_actions },
    };

    buf_printf(ret,
               "{\n"
               "  \"Version\" : \"2012-10-17\",\n"
               "  \"Id\" : \"%s\",\n"
               "  \"Statement\" : [ {\n"
               "    \"Sid\" : \"%s\",\n"
               "    \"Effect\" : \"Allow\",\n"
               "    \"Principal\" : {\n"
               "      \"AWS\" : \"arn:aws:iam::%s:root\"\n"
               "    },\n"
               "    \"Action\" : %s,\n"
               "    \"Resource\" : \"*\"\n"
               "  } ]\n"
               "}",
               rows[which].id, rows[which].sid, iam->config.account, rows[which].action);
}

static int compile_default(struct iam *iam, enum key_policy_default which, struct policy **ret,
                           struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    key_policy_default_text(iam, which, &text);
    if (buf_check(&text, err) < 0)
        return -1;
    return policy_compile(buf_span(&text), POLICY_KEY, NULL, ret, err);
}

/* --- start and end ---------------------------------------------------------------------------- */

int key_policies_open(struct iam *iam, struct key_policies **ret, struct kms_error *err)
{
    struct key_policies *const made = calloc(1, sizeof(*made));

    if (made == NULL || !lock_init_fair(&made->lock)) {
        free(made);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for key policies");
    }
    for (size_t i = 0; i < ARRAY_LEN(made->defaults); i++) {
        if (compile_default(iam, (enum key_policy_default)i, &made->defaults[i], err) < 0) {
            key_policies_close(made);
            return -1;
        }
    }
    *ret = made;
    return 0;
}

static void entry_free(struct entry *entry)
{
    policy_unref(entry->policy);
    free(entry);
}

void key_policies_close(struct key_policies *policies)
{
    struct entry *entry, *next;

    if (policies == NULL)
        return;
    HASH_ITER(hh, policies->entries, entry, next)
    {
        HASH_DEL(policies->entries, entry);
        entry_free(entry);
    }
    for (size_t i = 0; i < ARRAY_LEN(policies->defaults); i++)
        policy_unref(policies->defaults[i]);
    (void)pthread_rwlock_destroy(&policies->lock);
    free(policies);
}

/* --- writing a policy ------------------------------------------------------------------------- */

struct pinning {
    json_t *pins;
    bool failed;
};

static void add_pin(void *arg, const char *arn, const char *id)
{
    struct pinning *const pinning = arg;

    if (json_object_set_new(pinning->pins, arn, json_string(id)) != 0)
        pinning->failed = true;
}

static int write_pins(const struct policy *policy, struct buf *ret, struct kms_error *err)
{
    json_auto_t *pins = json_object();
    struct pinning pinning = { pins, false };

    policy_pins(policy, add_pin, &pinning);
    if (pinning.failed)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for pins");
    json_text_append(ret, pins);
    buf_u8(ret, 0);
    return buf_check(ret, err);
}

int key_policy_compile(struct iam *iam, const char *text, struct policy **ret,
                       struct buf *ret_pins, struct kms_error *err)
{
    const struct principal_book book = directory_book(iam->directory);
    struct policy *policy = NULL;

    const size_t most =
        iam->config.key_policy_bytes ? iam->config.key_policy_bytes : KEY_POLICY_MAX;
    if (strlen(text) > most)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "The key policy must not be larger than %zu bytes.", most);
    if (policy_compile(span_text(text), POLICY_KEY, &book, &policy, err) < 0)
        return -1;
    if (write_pins(policy, ret_pins, err) < 0) {
        policy_unref(policy);
        return -1;
    }
    *ret = policy;
    return 0;
}

/* --- a stored policy -------------------------------------------------------------------------- */

/* Principals are whom they were when the policy was written, whoever has their names now. */
static enum principal_found find_pinned(void *ctx, struct span arn, char ret_id[UNIQUE_ID_LEN + 1])
{
    const char *const id =
        json_string_value(json_object_getn(ctx, (const char *)arn.ptr, arn.len));

    if (id == NULL || strlen(id) != UNIQUE_ID_LEN)
        return PRINCIPAL_ACCEPTED;
    memcpy(ret_id, id, UNIQUE_ID_LEN + 1);
    return PRINCIPAL_PINNED;
}

static int compile_stored(const char *text, const char *pins, struct policy **ret,
                          struct kms_error *err)
{
    json_auto_t *pinned = json_loads(pins ? pins : "{}", JSON_REJECT_DUPLICATES, NULL);
    const struct principal_book book = { find_pinned, pinned };
    struct kms_error failed = { 0 };

    if (pinned && policy_compile(span_text(text), POLICY_KEY, &book, ret, &failed) == 0)
        return 0;
    return kms_fail(err, KMS_ERR_INTEGRITY, "a stored key policy does not compile: %s",
                    failed.detail);
}

int key_policy_set(struct iam *iam, const struct uuid *key_id, enum key_policy_default which,
                   const char *text, const char *pins, struct kms_error *err)
{
    struct key_policies *const policies = iam->key_policies;
    struct policy *policy = NULL, *before = NULL;
    struct entry *entry, *const fresh = calloc(1, sizeof(*fresh));

    if (fresh == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a key policy");
    if (text == NULL) {
        policy = policy_ref(policies->defaults[which]);
    } else if (compile_stored(text, pins, &policy, err) < 0) {
        free(fresh);
        return -1;
    }
    *fresh = (struct entry){ .key_id = *key_id, .policy = policy };

    (void)pthread_rwlock_wrlock(&policies->lock);
    HASH_FIND(hh, policies->entries, key_id, sizeof(*key_id), entry);
    if (entry) {
        before = entry->policy;
        entry->policy = policy;
    } else {
        HASH_ADD(hh, policies->entries, key_id, sizeof(fresh->key_id), fresh);
    }
    (void)pthread_rwlock_unlock(&policies->lock);
    policy_unref(before);
    if (entry)
        free(fresh);
    return 0;
}

void key_policy_drop(struct iam *iam, const struct uuid *key_id)
{
    struct key_policies *const policies = iam->key_policies;
    struct entry *entry;

    (void)pthread_rwlock_wrlock(&policies->lock);
    HASH_FIND(hh, policies->entries, key_id, sizeof(*key_id), entry);
    if (entry)
        HASH_DEL(policies->entries, entry);
    (void)pthread_rwlock_unlock(&policies->lock);
    if (entry)
        entry_free(entry);
}

struct policy *key_policy_find(struct iam *iam, const struct uuid *key_id)
{
    struct key_policies *const policies = iam->key_policies;
    struct policy *policy = NULL;
    struct entry *entry;

    (void)pthread_rwlock_rdlock(&policies->lock);
    HASH_FIND(hh, policies->entries, key_id, sizeof(*key_id), entry);
    if (entry)
        policy = policy_ref(entry->policy);
    (void)pthread_rwlock_unlock(&policies->lock);
    return policy;
}

struct policy *key_policy_of_default(struct iam *iam, enum key_policy_default which)
{
    return policy_ref(iam->key_policies->defaults[which]);
}

/* --- showing one ------------------------------------------------------------------------------ */

static bool is_gone(struct iam *iam, const char *unique_id)
{
    struct identity *const identity = directory_get(iam->directory, unique_id);

    identity_unref(identity);
    return identity == NULL;
}

/* Replaces the ARN by the id wherever it stands as a whole JSON string. */
static int replace_string(struct buf *text, const char *arn, const char *id, struct kms_error *err)
{
    const size_t arn_len = strlen(arn);
    const uint8_t *at = text->ptr, *const end = text->ptr + text->len;
    AUTO(buf) made = { 0 };

    while (at < end) {
        const uint8_t *const found = memmem(at, (size_t)(end - at), arn, arn_len);
        const uint8_t *const stop = found ? found : end;
        const bool whole = found && found > text->ptr && found[-1] == '"' &&
                           found + arn_len < end && found[arn_len] == '"';
        buf_append(&made, span_of(at, (size_t)(stop - at)));
        if (found)
            buf_text(&made, whole ? id : arn);
        at = found ? found + arn_len : end;
    }
    if (buf_check(&made, err) < 0)
        return -1;
    buf_done(text);
    *text = buf_take(&made);
    return 0;
}

int key_policy_shown(struct iam *iam, const char *text, const char *pins, struct buf *ret,
                     struct kms_error *err)
{
    json_auto_t *pinned = json_loads(pins ? pins : "{}", 0, NULL);
    const char *arn;
    json_t *id;

    buf_text(ret, text);
    if (buf_check(ret, err) < 0)
        return -1;
    json_object_foreach(pinned, arn, id)
    {
        if (json_is_string(id) && is_gone(iam, json_string_value(id)) &&
            replace_string(ret, arn, json_string_value(id), err) < 0)
            return -1;
    }
    return 0;
}
