#include "hsmkms/iam/session_parts.h"

#include <stdlib.h>

#include <jansson.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/crypto/aead.h"
#include "hsmkms/iam/access_key.h"

/*
 * A token is base64 of
 *   version (1), sealing key id (16), IV (12), claims sealed by AES-256-GCM, tag (16)
 * with version, sealing key id, installation and access key id as AAD. Claims are a JSON object.
 */
#define TOKEN_VERSION  1
#define TOKEN_HEAD_LEN (1 + sizeof(struct uuid))
#define PACKED_MOST    4096 /* bytes of policies and tags that a token carries */

/* --- sealing ---------------------------------------------------------------------------------- */

static int bound_bytes(const struct iam *iam, struct span head, struct span access_key_id,
                       struct buf *ret, struct kms_error *err)
{
    buf_append(ret, head);
    buf_append(ret, uuid_span(&iam->config.installation));
    buf_append(ret, access_key_id);
    return buf_check(ret, err);
}

static int seal(struct iam *iam, const char *access_key_id, struct span claims, struct buf *ret,
                struct kms_error *err)
{
    struct sessions *const sessions = iam->sessions;
    AUTO(buf) aad = { 0 }, token = { 0 };

    (void)pthread_rwlock_rdlock(&sessions->sealing);
    const struct sealing_key *const newest = &sessions->keys.keys[0];
    buf_u8(&token, TOKEN_VERSION);
    buf_append(&token, uuid_span(&newest->id));
    int result = buf_check(&token, err);
    if (result == 0)
        result = bound_bytes(iam, buf_span(&token), span_text(access_key_id), &aad, err);
    if (result == 0)
        result = aead_seal(secret_span(&newest->key), buf_span(&aad), claims, &token, err);
    (void)pthread_rwlock_unlock(&sessions->sealing);
    if (result < 0)
        return -1;
    base64_append(ret, buf_span(&token));
    return buf_check(ret, err);
}

static int unseal(struct iam *iam, const struct credential_claim *claim, struct secret *ret,
                  struct kms_error *err)
{
    struct sessions *const sessions = iam->sessions;
    struct uuid id;
    size_t len = 0;
    AUTO(buf) token = { 0 }, aad = { 0 };

    if (claim->session_token.len > SESSION_TOKEN_MAX || !base64_size(claim->session_token, &len) ||
        len <= TOKEN_HEAD_LEN)
        return session_unrecognized(err);
    uint8_t *const room = buf_room(&token, len);
    if (buf_check(&token, err) < 0)
        return -1;
    if (!base64_parse(claim->session_token, room, len) || room[0] != TOKEN_VERSION)
        return session_unrecognized(err);
    memcpy(id.bytes, room + 1, sizeof(id.bytes));
    if (bound_bytes(iam, span_of(room, TOKEN_HEAD_LEN), claim->scope.access_key_id, &aad, err) < 0)
        return -1;

    (void)pthread_rwlock_rdlock(&sessions->sealing);
    const struct span key = sealing_key_find(&sessions->keys, &id);
    struct kms_error failed = { 0 };
    const int result = key.ptr ? aead_open(key, buf_span(&aad),
                                           span_of(room + TOKEN_HEAD_LEN, len - TOKEN_HEAD_LEN),
                                           ret, &failed)
                               : -1;
    (void)pthread_rwlock_unlock(&sessions->sealing);
    if (result == 0)
        return 0;
    if (failed.code == KMS_ERR_INTERNAL) {
        *err = failed;
        return -1;
    }
    return session_unrecognized(err);
}

/* --- issuing ---------------------------------------------------------------------------------- */

static size_t length_without_blanks(const char *text)
{
    size_t len = 0;

    for (; *text; text++)
        len += strchr(" \t\r\n", *text) == NULL;
    return len;
}

/* Policies must compile now, and all of them together keep their limit. */
static int check_policies(struct iam *iam, const struct session_draft *draft, size_t *ret_len,
                          struct kms_error *err)
{
    struct policy *compiled = NULL;
    size_t total = 0, len = 0;

    if (draft->policy) {
        if (policy_compile(span_text(draft->policy), POLICY_IDENTITY, NULL, &compiled, err) < 0)
            return -1;
        policy_unref(compiled);
        total = length_without_blanks(draft->policy);
    }
    for (size_t i = 0; i < draft->policy_arn_count; i++) {
        if (directory_managed_policy(iam->directory, draft->policy_arns[i], &compiled, &len, err) <
            0)
            return -1;
        policy_unref(compiled);
        total += strlen(draft->policy_arns[i]);
    }
    if (total > SESSION_POLICY_MAX)
        return kms_fail(err, KMS_ERR_PACKED_POLICY_TOO_LARGE,
                        "Packed size of session policies consumes %zu%% of allotted space.",
                        total * 100 / SESSION_POLICY_MAX);
    *ret_len = total;
    return 0;
}

static json_t *strings_of(const char *const *items, size_t count)
{
    json_t *const list = json_array();

    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list, json_string(items[i]));
    return list;
}

static json_t *tags_of(const struct session_draft *draft)
{
    json_t *const tags = json_object();

    for (size_t i = 0; i < draft->tag_count; i++)
        (void)json_object_set_new(tags, draft->tags[i].key, json_string(draft->tags[i].value));
    return tags;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

static int claims_of(const struct session_draft *draft, const struct session_credentials *made,
                     int64_t now_ms, json_t **ret, struct kms_error *err)
{
    json_t *const claims = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s%, s:o, s:o, s:s*, s:o}", "principal",
        draft->identity ? draft->identity->unique_id : "", "account", draft->account, "name",
        or_empty(draft->name), "source", or_empty(draft->source_identity), "by",
        or_empty(draft->issued_by), "issued", (json_int_t)now_ms, "expires",
        (json_int_t)made->expires_ms, "chained", draft->chained, "secret",
        (const char *)made->secret.ptr, made->secret.len, "tags", tags_of(draft), "transitive",
        strings_of(draft->transitive, draft->transitive_count), "policy", draft->policy, "arns",
        strings_of(draft->policy_arns, draft->policy_arn_count));

    if (claims == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a session");
    *ret = claims;
    return 0;
}

static int make_credentials(struct iam *iam, struct session_credentials *ret, struct kms_error *err)
{
    uint8_t bits[UNIQUE_ID_BITS];
    uint8_t bytes[ACCESS_KEY_SECRET_LEN * 3 / 4];
    char text[BASE64_LEN(sizeof(bytes)) + 1];

    if (token_random(iam->config.token, bits, sizeof(bits), err) < 0 ||
        token_random(iam->config.token, bytes, sizeof(bytes), err) < 0)
        return -1;
    unique_id_format(ret->access_key_id, "ASIA", bits);
    base64_format(text, SPAN_ARRAY(bytes));
    const int result = secret_copy(&ret->secret, span_of(text, ACCESS_KEY_SECRET_LEN), err);
    secret_wipe(bytes, sizeof(bytes));
    secret_wipe(text, sizeof(text));
    return result;
}

static int seal_claims(struct iam *iam, const json_t *claims, struct session_credentials *ret,
                       struct kms_error *err)
{
    const size_t len = json_dumpb(claims, NULL, 0, JSON_COMPACT);
    AUTO(secret) text = { 0 };

    if (len == 0 || len > SESSION_TOKEN_MAX / 4 * 3 - 64)
        return kms_fail(err, KMS_ERR_PACKED_POLICY_TOO_LARGE,
                        "Packed size of session policies and tags is larger than a token can be.");
    if (secret_new(&text, len, err) < 0)
        return -1;
    if (json_dumpb(claims, (char *)text.ptr, len, JSON_COMPACT) != len)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "claims changed while they were written");
    return seal(iam, ret->access_key_id, secret_span(&text), &ret->token, err);
}

int session_issue(struct iam *iam, const struct session_draft *draft,
                  struct session_credentials *ret, struct kms_error *err)
{
    const int64_t now_ms = clock_wall_ms(iam->config.clock);
    struct session_credentials made = { .expires_ms = now_ms + draft->duration_s * MS_PER_SECOND };
    json_auto_t *claims = NULL;
    size_t policies = 0, tags = 0;

    for (size_t i = 0; i < draft->tag_count; i++)
        tags += strlen(draft->tags[i].key) + strlen(draft->tags[i].value);
    if (check_policies(iam, draft, &policies, err) < 0 || sessions_tick(iam, err) < 0)
        return -1;
    made.packed_percent = (unsigned)((policies + tags) * 100 / PACKED_MOST);
    if (make_credentials(iam, &made, err) < 0 ||
        claims_of(draft, &made, now_ms, &claims, err) < 0 ||
        seal_claims(iam, claims, &made, err) < 0) {
        session_credentials_done(&made);
        return -1;
    }
    *ret = made;
    return 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int corrupt(struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "an authentic token has claims that are none");
}

static bool copy_text(char *room, size_t size, const char *text)
{
    if (text == NULL || strlen(text) >= size)
        return false;
    memcpy(room, text, strlen(text) + 1);
    return true;
}

static int read_names(const json_t *claims, struct session *ret, struct kms_error *err)
{
    const struct {
        const char *member;
        char *room;
        size_t size;
    } rows[] = {
        { "principal", ret->unique_id, sizeof(ret->unique_id) },
        { "account", ret->account, sizeof(ret->account) },
        { "name", ret->name, sizeof(ret->name) },
        { "source", ret->source_identity, sizeof(ret->source_identity) },
        { "by", ret->issued_by, sizeof(ret->issued_by) },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!copy_text(rows[i].room, rows[i].size,
                       json_string_value(json_object_get(claims, rows[i].member))))
            return corrupt(err);
    ret->issued_ms = json_integer_value(json_object_get(claims, "issued"));
    ret->expires_ms = json_integer_value(json_object_get(claims, "expires"));
    ret->chained = json_is_true(json_object_get(claims, "chained"));
    return 0;
}

static int read_lists(json_t *claims, struct session *ret, struct kms_error *err)
{
    json_t *const tags = json_object_get(claims, "tags");
    const json_t *const transitive = json_object_get(claims, "transitive");
    struct identity_tag *const pairs = calloc(json_object_size(tags) + 1, sizeof(*pairs));
    const char **const keys = calloc(json_array_size(transitive) + 1, sizeof(*keys));
    const char *key;
    json_t *value;

    ret->tags = pairs;
    ret->transitive = keys;
    if (pairs == NULL || keys == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a session");
    json_object_foreach(tags, key, value)
    {
        pairs[ret->tag_count++] = (struct identity_tag){ key, or_empty(json_string_value(value)) };
    }
    for (size_t i = 0; i < json_array_size(transitive); i++)
        keys[ret->transitive_count++] =
            or_empty(json_string_value(json_array_get(transitive, i)));
    return 0;
}

/* A managed policy that is gone by now gives nothing: an empty one stands in its place. */
static int managed_or_nothing(struct iam *iam, const char *arn, struct policy **ret,
                              struct kms_error *err)
{
    static const char nothing[] = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Deny\","
                                  "\"Action\":\"*\",\"Resource\":\"*\"}]}";
    size_t len;

    if (directory_managed_policy(iam->directory, arn, ret, &len, err) == 0)
        return 0;
    if (err->code != KMS_ERR_NOT_FOUND)
        return -1;
    kms_error_clear(err);
    return policy_compile(SPAN_LITERAL(nothing), POLICY_IDENTITY, NULL, ret, err);
}

static int read_policies(struct iam *iam, const json_t *claims, struct session *ret,
                         struct kms_error *err)
{
    const char *const text = json_string_value(json_object_get(claims, "policy"));
    const json_t *const arns = json_object_get(claims, "arns");
    struct named_policy *const policies =
        calloc(json_array_size(arns) + 1, sizeof(struct named_policy));
    struct policy *compiled = NULL;

    ret->policies = policies;
    if (policies == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a session");
    if (text) {
        if (policy_compile(span_text(text), POLICY_IDENTITY, NULL, &compiled, err) < 0)
            return -1;
        policies[ret->policy_count++] = (struct named_policy){ "session policy", compiled };
    }
    for (size_t i = 0; i < json_array_size(arns); i++) {
        const char *const arn = or_empty(json_string_value(json_array_get(arns, i)));
        if (managed_or_nothing(iam, arn, &compiled, err) < 0)
            return -1;
        policies[ret->policy_count++] = (struct named_policy){ arn, compiled };
    }
    return 0;
}

static int read_claims(struct iam *iam, struct span text, const struct credential_claim *claim,
                       struct session **ret, struct kms_error *err)
{
    json_t *const claims = json_loadb((const char *)text.ptr, text.len, 0, NULL);
    AUTO_SESSION made = calloc(1, sizeof(*made));

    if (made == NULL || claims == NULL) {
        json_decref(claims);
        return corrupt(err);
    }
    atomic_init(&made->references, 1);
    made->arena = claims; /* now owned by the session */
    const struct span secret = span_of(json_string_value(json_object_get(claims, "secret")),
                                       json_string_length(json_object_get(claims, "secret")));
    if (secret.len == 0 || claim->scope.access_key_id.len != UNIQUE_ID_LEN)
        return corrupt(err);
    memcpy(made->access_key_id, claim->scope.access_key_id.ptr, UNIQUE_ID_LEN);
    if (secret_copy(&made->secret, secret, err) < 0 || read_names(claims, made, err) < 0 ||
        read_lists(claims, made, err) < 0 || read_policies(iam, claims, made, err) < 0)
        return -1;
    (void)json_object_del(claims, "secret");
    *ret = made;
    made = NULL; /* now owned by the caller */
    return 0;
}

int session_token_open(struct iam *iam, const struct credential_claim *claim, struct session **ret,
                       struct kms_error *err)
{
    AUTO(secret) text = { 0 };

    if (unseal(iam, claim, &text, err) < 0)
        return -1;
    return read_claims(iam, secret_span(&text), claim, ret, err);
}
