/* Changes of door tokens. */

#include <stdio.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/iam/door_token_parts.h"

#define TOKEN_BYTES 32

int door_token_text(const struct iam *iam, const char *prefix, struct secret *ret,
                    struct kms_error *err)
{
    const size_t before = strlen(prefix);
    AUTO(secret) bytes = { 0 };
    AUTO(secret) text = { 0 };

    if (secret_new(&bytes, TOKEN_BYTES, err) < 0 ||
        secret_new(&text, before + BASE64_LEN(TOKEN_BYTES) + 1, err) < 0 ||
        token_random(iam->config.token, bytes.ptr, bytes.len, err) < 0)
        return -1;
    memcpy(text.ptr, prefix, before);
    base64_format((char *)text.ptr + before, secret_span(&bytes));
    for (size_t i = before; i < before + DOOR_SECRET_LEN; i++) /* RFC 4648 section 5 */
        text.ptr[i] = (uint8_t)(text.ptr[i] == '+' ? '-' : text.ptr[i] == '/' ? '_' : text.ptr[i]);
    secret_shorten(&text, before + DOOR_SECRET_LEN); /* drops the padding and the NUL */
    *ret = secret_take(&text);
    return 0;
}

/* --- drafts ----------------------------------------------------------------------------------- */

/* Unique id of a user, or for "" the account whose root it is. */
static int find_owner(struct iam *iam, const struct door_token_draft *draft,
                      char ret[UNIQUE_ID_LEN + 1], struct kms_error *err)
{
    if (draft->user_name[0] == '\0') {
        if (directory_account(iam->directory, span_text(draft->account)) != ACCOUNT_OWN)
            return kms_fail(err, KMS_ERR_NOT_FOUND, "Account %.20s cannot be found.",
                            draft->account);
        (void)snprintf(ret, UNIQUE_ID_LEN + 1, "%s", draft->account);
        return 0;
    }
    struct identity *const user =
        directory_find(iam->directory, IDENTITY_USER, draft->account, draft->user_name);
    if (user == NULL)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "The user with name %.64s cannot be found.",
                        draft->user_name);
    memcpy(ret, user->unique_id, sizeof(user->unique_id));
    identity_unref(user);
    return 0;
}

static int check_label(const char *label, struct kms_error *err)
{
    for (const char *c = label; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            return kms_fail(err, KMS_ERR_VALIDATION, "A label is printable ASCII.");
    if (strlen(label) > DOOR_TOKEN_LABEL_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION, "A label has at most %d characters.",
                        DOOR_TOKEN_LABEL_MAX);
    return 0;
}

/* A new text and the hash that it is found by. */
static int make_text(struct iam *iam, enum door_token_kind kind, uint8_t ret[SHA256_LEN],
                     struct secret *ret_text, struct kms_error *err)
{
    if (door_token_text(iam, kind == DOOR_TOKEN ? DOOR_TOKEN_PREFIX : "", ret_text, err) < 0)
        return -1;
    return sha256_of(secret_span(ret_text), ret, err);
}

/* --- storing ---------------------------------------------------------------------------------- */

/* One record, put or dropped. */
static int store_change(struct iam *iam, const struct door_token_record *record, bool drop,
                        struct kms_error *err)
{
    struct store_tx *tx = NULL;

    if (store_begin(iam->config.store, &tx, err) < 0)
        return -1;
    if ((drop ? store_drop(tx, &door_token_table, record, err)
              : store_put(tx, &door_token_table, record, err)) < 0) {
        store_rollback(tx);
        return -1;
    }
    return store_commit(tx, err);
}

/* In a change. */
static int check_room(const struct door_tokens *tokens, const struct door_token_key *key,
                      struct kms_error *err)
{
    if (door_token_find(tokens, key)) /* 256 bits do not meet by chance */
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the token's random numbers repeat");
    if (tokens->stored >= DOOR_TOKENS_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED, "There are %d door tokens already.",
                        DOOR_TOKENS_MAX);
    return 0;
}

/* In a change: stores and publishes an entry, which it takes over. */
static int add(struct door_tokens *tokens, struct door_token *token, struct kms_error *err)
{
    (void)pthread_rwlock_rdlock(&tokens->lock);
    const int room = check_room(tokens, &token->key, err);
    (void)pthread_rwlock_unlock(&tokens->lock);
    if (room < 0 || store_change(tokens->iam, &token->record, false, err) < 0) {
        door_token_free(token);
        return -1;
    }
    (void)pthread_rwlock_wrlock(&tokens->lock);
    door_token_insert(tokens, token); /* now owned by tokens */
    (void)pthread_rwlock_unlock(&tokens->lock);
    return 0;
}

int door_token_create(struct iam *iam, const struct door_token_draft *draft, struct uuid *ret_id,
                      struct secret *ret_text, struct kms_error *err)
{
    struct door_tokens *const tokens = iam->door_tokens;
    const int64_t now_ms = clock_wall_ms(iam->config.clock);
    char owner[UNIQUE_ID_LEN + 1];
    uint8_t hash[SHA256_LEN];
    struct door_token *token = NULL;
    AUTO(secret) text = { 0 };

    if (check_label(draft->label, err) < 0 || find_owner(iam, draft, owner, err) < 0 ||
        make_text(iam, draft->kind, hash, &text, err) < 0)
        return -1;
    /* borrows its texts, hence the casts: the entry has copies */
    const struct door_token_record record = {
        .id = uuid_random(),
        .kind = (char *)(uintptr_t)door_token_kind_names[draft->kind],
        .account = (char *)(uintptr_t)draft->account,
        .owner = owner,
        .label = (char *)(uintptr_t)draft->label,
        .hash = { .ptr = hash, .len = sizeof(hash) },
        .active = 1,
        .created_ms = now_ms,
        .expires_ms = draft->days ? now_ms + draft->days * MS_PER_DAY : 0,
    };
    if (door_token_new(draft->kind, &record, &token, err) < 0)
        return -1;
    (void)pthread_mutex_lock(&tokens->change);
    const int result = add(tokens, token, err);
    (void)pthread_mutex_unlock(&tokens->change);
    if (result < 0)
        return -1;
    *ret_id = record.id;
    *ret_text = secret_take(&text);
    return 0;
}

/* --- changing --------------------------------------------------------------------------------- */

static int no_such_token(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_NOT_FOUND, "There is no such credential.");
}

/* In a change: nobody else writes stored entries, so one stays when the lock is given back. */
static struct door_token *stored_of_id(struct door_tokens *tokens, const struct uuid *id)
{
    (void)pthread_rwlock_rdlock(&tokens->lock);
    struct door_token *const token = door_token_of_id(tokens, id);
    (void)pthread_rwlock_unlock(&tokens->lock);
    return token;
}

/* In a change. */
static int change_active(struct door_tokens *tokens, const struct uuid *id, bool active,
                         struct kms_error *err)
{
    struct door_token *const token = stored_of_id(tokens, id);

    if (token == NULL)
        return no_such_token(err);
    struct door_token_record next = token->record; /* borrows its texts */
    next.active = active;
    if (store_change(tokens->iam, &next, false, err) < 0)
        return -1;
    (void)pthread_rwlock_wrlock(&tokens->lock);
    token->record.active = active;
    (void)pthread_rwlock_unlock(&tokens->lock);
    return 0;
}

int door_token_set_active(struct iam *iam, const struct uuid *id, bool active,
                          struct kms_error *err)
{
    struct door_tokens *const tokens = iam->door_tokens;

    (void)pthread_mutex_lock(&tokens->change);
    const int result = change_active(tokens, id, active, err);
    (void)pthread_mutex_unlock(&tokens->change);
    return result;
}

/* In a change. */
static int drop(struct door_tokens *tokens, struct door_token *token, struct kms_error *err)
{
    if (token == NULL)
        return no_such_token(err);
    if (store_change(tokens->iam, &token->record, true, err) < 0)
        return -1;
    (void)pthread_rwlock_wrlock(&tokens->lock);
    door_token_remove(tokens, token);
    (void)pthread_rwlock_unlock(&tokens->lock);
    return 0;
}

int door_token_delete(struct iam *iam, const struct uuid *id, struct kms_error *err)
{
    struct door_tokens *const tokens = iam->door_tokens;

    (void)pthread_mutex_lock(&tokens->change);
    const int result = drop(tokens, stored_of_id(tokens, id), err);
    (void)pthread_mutex_unlock(&tokens->change);
    return result;
}

/* --- reading ---------------------------------------------------------------------------------- */

bool door_token_owned(struct iam *iam, const char *owner)
{
    struct door_tokens *const tokens = iam->door_tokens;
    bool owned = false;

    (void)pthread_rwlock_rdlock(&tokens->lock);
    for (size_t i = 0; i < tokens->count && !owned; i++)
        owned = tokens->tokens[i]->key.kind != DOOR_LOGIN &&
                strcmp(tokens->tokens[i]->record.owner, owner) == 0;
    (void)pthread_rwlock_unlock(&tokens->lock);
    return owned;
}

void door_token_each(struct iam *iam, door_token_each_fn *each, void *arg)
{
    struct door_tokens *const tokens = iam->door_tokens;

    (void)pthread_rwlock_rdlock(&tokens->lock);
    for (size_t i = 0; i < tokens->count; i++)
        if (tokens->tokens[i]->key.kind != DOOR_LOGIN)
            each(arg, &tokens->tokens[i]->record);
    (void)pthread_rwlock_unlock(&tokens->lock);
}
