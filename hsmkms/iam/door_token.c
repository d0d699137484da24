#include "hsmkms/iam/door_token.h"

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/arn.h"
#include "hsmkms/iam/door_token_parts.h"

const char *const door_token_kind_names[DOOR_TOKEN_KINDS] = {
    [DOOR_TOKEN] = "Token",
    [DOOR_SECRET] = "Secret",
    [DOOR_LOGIN] = "Login",
};

/* --- entries ---------------------------------------------------------------------------------- */

void door_token_free(struct door_token *token)
{
    if (token == NULL)
        return;
    record_done(&door_token_table, &token->record);
    free(token);
}

int door_token_new(enum door_token_kind kind, const struct door_token_record *record,
                   struct door_token **ret, struct kms_error *err)
{
    struct door_token *const token = calloc(1, sizeof(*token));

    if (token == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a token");
    if (record_copy(&door_token_table, record, &token->record, err) < 0) {
        door_token_free(token);
        return -1;
    }
    token->key.kind = (uint8_t)kind;
    memcpy(token->key.hash, record->hash.ptr, SHA256_LEN);
    *ret = token;
    return 0;
}

/* Index of the first entry whose key is not less. */
static size_t place_of(const struct door_tokens *tokens, const struct door_token_key *key)
{
    size_t low = 0, high = tokens->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (memcmp(&tokens->tokens[middle]->key, key, sizeof(*key)) < 0) /* public: hashes */
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct door_token *door_token_find(const struct door_tokens *tokens,
                                   const struct door_token_key *key)
{
    const size_t i = place_of(tokens, key);

    if (i == tokens->count ||
        memcmp(&tokens->tokens[i]->key, key, sizeof(*key)) != 0) /* public: hashes */
        return NULL;
    return tokens->tokens[i];
}

struct door_token *door_token_of_id(const struct door_tokens *tokens, const struct uuid *id)
{
    for (size_t i = 0; i < tokens->count; i++)
        if (tokens->tokens[i]->key.kind != DOOR_LOGIN &&
            uuid_equal(&tokens->tokens[i]->record.id, id))
            return tokens->tokens[i];
    return NULL;
}

void door_token_insert(struct door_tokens *tokens, struct door_token *token)
{
    const size_t at = place_of(tokens, &token->key);

    memmove(&tokens->tokens[at + 1], &tokens->tokens[at],
            (tokens->count - at) * sizeof(struct door_token *));
    tokens->tokens[at] = token;
    tokens->count++;
    tokens->stored += token->key.kind != DOOR_LOGIN;
}

void door_token_remove(struct door_tokens *tokens, struct door_token *token)
{
    const size_t at = place_of(tokens, &token->key);

    tokens->count--;
    tokens->stored -= token->key.kind != DOOR_LOGIN;
    memmove(&tokens->tokens[at], &tokens->tokens[at + 1],
            (tokens->count - at) * sizeof(struct door_token *));
    door_token_free(token);
}

/* --- start and end ---------------------------------------------------------------------------- */

static int kind_of(const char *name)
{
    for (int i = 0; i < DOOR_LOGIN; i++)
        if (name && strcmp(door_token_kind_names[i], name) == 0)
            return i;
    return -1;
}

/* Rows are authentic; these are the things that another program version could have written. */
static int load_one(void *arg, const void *found, struct kms_error *err)
{
    struct door_tokens *const tokens = arg;
    const struct door_token_record *const record = found;
    const int kind = kind_of(record->kind);
    struct door_token *token = NULL;

    if (kind < 0 || record->hash.len != SHA256_LEN || record->label == NULL ||
        record->account == NULL || !account_id_valid(span_text(record->account)) ||
        record->owner == NULL)
        return kms_fail(err, KMS_ERR_INTEGRITY, "door token '%s' is not well-formed",
                        uuid_format(&record->id).text);
    if (tokens->stored >= DOOR_TOKENS_MAX)
        return kms_fail(err, KMS_ERR_INTEGRITY, "more than %d door tokens", DOOR_TOKENS_MAX);
    if (door_token_new((enum door_token_kind)kind, record, &token, err) < 0)
        return -1;
    door_token_insert(tokens, token); /* now owned by tokens */
    return 0;
}

int door_tokens_open(struct iam *iam, struct door_tokens **ret, struct kms_error *err)
{
    struct door_tokens *const tokens = calloc(1, sizeof(*tokens));
    struct door_token **const room = calloc((size_t)2 * DOOR_TOKENS_MAX, sizeof(*room));

    if (tokens == NULL || room == NULL || !lock_init_fair(&tokens->lock) ||
        pthread_mutex_init(&tokens->change, NULL) != 0) {
        free(room);
        free(tokens);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for door tokens");
    }
    tokens->iam = iam;
    tokens->tokens = room;
    if (store_each(iam->config.store, &door_token_table, load_one, tokens, err) < 0) {
        door_tokens_close(tokens);
        return -1;
    }
    *ret = tokens;
    return 0;
}

void door_tokens_close(struct door_tokens *tokens)
{
    if (tokens == NULL)
        return;
    for (size_t i = 0; i < tokens->count; i++)
        door_token_free(tokens->tokens[i]);
    free(tokens->tokens);
    (void)pthread_mutex_destroy(&tokens->change);
    (void)pthread_rwlock_destroy(&tokens->lock);
    free(tokens);
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Everything that does not hold is the same to whoever asks. */
static int refuse(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT, "The token is not valid.");
}

/* A credential as one request sees it. */
struct sighting {
    bool active;
    struct door_token_facts facts;
    char account[13], owner[UNIQUE_ID_LEN + 1];
};

/* With the lock. A login is as good as the secret it came from. */
static void see(const struct door_tokens *tokens, const struct door_token *token, int64_t now_ms,
                struct sighting *ret)
{
    const struct door_token_record *const record = &token->record;
    const struct door_token *const secret =
        token->key.kind == DOOR_LOGIN ? door_token_find(tokens, &token->secret) : token;

    if (secret == NULL || !secret->record.active ||
        (secret->record.expires_ms && secret->record.expires_ms <= now_ms) ||
        (record->expires_ms && record->expires_ms <= now_ms))
        return;
    ret->active = true;
    ret->facts = (struct door_token_facts){ (enum door_token_kind)token->key.kind, record->id,
                                            record->created_ms, record->expires_ms };
    (void)snprintf(ret->account, sizeof(ret->account), "%s", record->account);
    (void)snprintf(ret->owner, sizeof(ret->owner), "%s", record->owner);
}

static bool look_up(struct iam *iam, const struct door_token_key *key, struct sighting *ret)
{
    struct door_tokens *const tokens = iam->door_tokens;
    const int64_t now_ms = clock_wall_ms(iam->config.clock);

    (void)pthread_rwlock_rdlock(&tokens->lock);
    const struct door_token *const token = door_token_find(tokens, key);
    if (token)
        see(tokens, token, now_ms, ret);
    (void)pthread_rwlock_unlock(&tokens->lock);
    return ret->active;
}

/* Whom it stands for now: identities change, also between two requests of one connection. */
static int principal_now(struct iam *iam, const struct sighting *seen, struct principal *ret,
                         struct kms_error *err)
{
    const struct uuid_text id = uuid_format(&seen->facts.id);

    if (strcmp(seen->owner, seen->account) == 0) {
        if (!directory_root_enabled(iam->directory, seen->account))
            return refuse(err);
        principal_of_root(seen->account, id.text, ret);
        return 0;
    }
    struct identity *const user = directory_get(iam->directory, seen->owner);
    if (user == NULL || !user->enabled || user->kind != IDENTITY_USER ||
        strcmp(user->account, seen->account) != 0) {
        identity_unref(user);
        return refuse(err);
    }
    principal_of_user(user, NULL, id.text, ret);
    return 0;
}

int door_token_use(struct iam *iam, struct span token, struct door_token_facts *ret,
                   struct principal *ret_principal, struct kms_error *err)
{
    struct door_token_key key = { .kind = DOOR_TOKEN };
    struct sighting seen = { 0 };

    if (sha256_of(token, key.hash, err) < 0)
        return -1;
    if (!look_up(iam, &key, &seen)) {
        key.kind = DOOR_LOGIN;
        if (!look_up(iam, &key, &seen))
            return refuse(err);
    }
    if (principal_now(iam, &seen, ret_principal, err) < 0)
        return -1;
    *ret = seen.facts;
    return 0;
}

/* --- logins ----------------------------------------------------------------------------------- */

/* With the lock: drops logins that have ended, and of one secret the one that ends first when it
 * has all it may. */
static void make_room(struct door_tokens *tokens, const struct uuid *secret_id, int64_t now_ms)
{
    struct door_token *first = NULL;
    size_t own = 0;

    for (size_t i = tokens->count; i-- > 0;) {
        struct door_token *const token = tokens->tokens[i];
        if (token->key.kind != DOOR_LOGIN)
            continue;
        if (token->record.expires_ms <= now_ms) {
            door_token_remove(tokens, token);
        } else if (uuid_equal(&token->record.id, secret_id)) {
            own++;
            if (first == NULL || token->record.expires_ms < first->record.expires_ms)
                first = token;
        }
    }
    if (own >= DOOR_LOGINS_MAX)
        door_token_remove(tokens, first);
}

static int add_login(struct iam *iam, const struct door_token_key *secret,
                     const struct sighting *seen, struct span text, struct kms_error *err)
{
    struct door_tokens *const tokens = iam->door_tokens;
    const int64_t now_ms = clock_wall_ms(iam->config.clock);
    uint8_t hash[SHA256_LEN];
    struct door_token *token = NULL;

    if (sha256_of(text, hash, err) < 0)
        return -1;
    /* borrows its texts, hence the casts: the entry has copies */
    const struct door_token_record draft = { .id = seen->facts.id,
                                             .account = (char *)(uintptr_t)seen->account,
                                             .owner = (char *)(uintptr_t)seen->owner,
                                             .hash = { .ptr = hash, .len = sizeof(hash) },
                                             .active = 1,
                                             .created_ms = seen->facts.created_ms,
                                             .expires_ms = seen->facts.expires_ms };
    if (door_token_new(DOOR_LOGIN, &draft, &token, err) < 0)
        return -1;
    token->secret = *secret;
    (void)pthread_rwlock_wrlock(&tokens->lock);
    make_room(tokens, &seen->facts.id, now_ms);
    const bool room = tokens->count - tokens->stored < DOOR_TOKENS_MAX;
    if (room)
        door_token_insert(tokens, token); /* now owned by tokens */
    (void)pthread_rwlock_unlock(&tokens->lock);
    if (room)
        return 0;
    door_token_free(token);
    return kms_fail(err, KMS_ERR_THROTTLING, "Too many tokens of logins.");
}

int door_token_login(struct iam *iam, struct span role_id, struct span secret_id, int64_t ttl_s,
                     struct secret *ret_token, struct door_token_facts *ret, struct kms_error *err)
{
    struct door_token_key key = { .kind = DOOR_SECRET };
    struct principal principal = { 0 };
    struct sighting seen = { 0 };
    AUTO(secret) text = { 0 };

    if (sha256_of(secret_id, key.hash, err) < 0)
        return -1;
    if (!look_up(iam, &key, &seen) || !span_equal(role_id, span_text(seen.owner)))
        return refuse(err);
    if (principal_now(iam, &seen, &principal, err) < 0)
        return -1;
    principal_done(&principal); /* only whether there is one mattered */
    seen.facts.kind = DOOR_LOGIN;
    seen.facts.created_ms = clock_wall_ms(iam->config.clock);
    seen.facts.expires_ms = seen.facts.created_ms + ttl_s * MS_PER_SECOND;
    if (door_token_text(iam, DOOR_TOKEN_PREFIX, &text, err) < 0 ||
        add_login(iam, &key, &seen, secret_span(&text), err) < 0)
        return -1;
    *ret = seen.facts;
    *ret_token = secret_take(&text);
    return 0;
}

int door_token_renew(struct iam *iam, struct span token, int64_t ttl_s,
                     struct door_token_facts *ret, struct kms_error *err)
{
    struct door_tokens *const tokens = iam->door_tokens;
    const int64_t now_ms = clock_wall_ms(iam->config.clock);
    struct door_token_key key = { .kind = DOOR_LOGIN };
    struct sighting seen = { 0 };

    if (sha256_of(token, key.hash, err) < 0)
        return -1;
    (void)pthread_rwlock_wrlock(&tokens->lock);
    struct door_token *const login = door_token_find(tokens, &key);
    if (login)
        see(tokens, login, now_ms, &seen);
    if (seen.active)
        login->record.expires_ms = seen.facts.expires_ms = now_ms + ttl_s * MS_PER_SECOND;
    (void)pthread_rwlock_unlock(&tokens->lock);
    if (!seen.active)
        return kms_fail(err, KMS_ERR_VALIDATION, "lease is not renewable");
    *ret = seen.facts;
    return 0;
}
