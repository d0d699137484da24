#include "hsmkms/iam/sealing_key.h"

#include <stdlib.h>

#include "hsmkms/crypto/aead.h"

#define SEALING_DOMAIN "hsmkms sealing key"
#define WRAPPED_LEN    (TOKEN_IV_LEN + AEAD_KEY_LEN + TOKEN_TAG_LEN)

static void sealing_key_done(struct sealing_key *key)
{
    secret_done(&key->key);
    *key = (struct sealing_key){ 0 };
}

void sealing_keys_done(struct sealing_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        sealing_key_done(&keys->keys[i]);
    keys->count = 0;
}

/* Takes it over, in order of age; the oldest falls off. */
static void add(struct sealing_keys *keys, struct sealing_key *key)
{
    size_t at = 0;

    while (at < keys->count && keys->keys[at].created_ms >= key->created_ms)
        at++;
    if (at == SEALING_KEYS_KEPT) {
        sealing_key_done(key);
        return;
    }
    if (keys->count == SEALING_KEYS_KEPT)
        sealing_key_done(&keys->keys[--keys->count]);
    memmove(&keys->keys[at + 1], &keys->keys[at], (keys->count - at) * sizeof(*key));
    keys->keys[at] = *key;
    keys->count++;
    *key = (struct sealing_key){ 0 };
}

/* --- wrapping --------------------------------------------------------------------------------- */

static int bound_bytes(const struct iam_config *config, const struct uuid *id, struct buf *ret,
                       struct kms_error *err)
{
    buf_text(ret, SEALING_DOMAIN);
    buf_append(ret, uuid_span(&config->installation));
    buf_append(ret, uuid_span(id));
    return buf_check(ret, err);
}

static struct token_key wrapping_key(const struct iam_config *config)
{
    return (struct token_key){ .id = config->credential_key, .canary = config->credential_canary };
}

static int wrap(const struct iam_config *config, const struct sealing_key *key, struct buf *ret,
                struct kms_error *err)
{
    const struct token_key by = wrapping_key(config);
    uint8_t wrapped[WRAPPED_LEN];
    AUTO(buf) aad = { 0 };

    if (bound_bytes(config, &key->id, &aad, err) < 0 ||
        token_random(config->token, wrapped, TOKEN_IV_LEN, err) < 0 ||
        token_encrypt(config->token, &by, wrapped, buf_span(&aad), secret_span(&key->key),
                      wrapped + TOKEN_IV_LEN, err) < 0)
        return -1;
    buf_append(ret, SPAN_ARRAY(wrapped));
    return buf_check(ret, err);
}

static int unwrap(const struct iam_config *config, const struct sealing_key_record *record,
                  struct secret *ret, struct kms_error *err)
{
    const struct token_key by = wrapping_key(config);
    const struct span wrapped = buf_span(&record->wrapped);
    AUTO(buf) aad = { 0 };

    if (wrapped.len != WRAPPED_LEN)
        return kms_fail(err, KMS_ERR_INTEGRITY, "a sealing key has %zu bytes", wrapped.len);
    if (bound_bytes(config, &record->id, &aad, err) < 0)
        return -1;
    if (token_decrypt(config->token, &by, wrapped.ptr, buf_span(&aad),
                      span_of(wrapped.ptr + TOKEN_IV_LEN, wrapped.len - TOKEN_IV_LEN), ret,
                      err) == 0)
        return 0;
    if (err->code != KMS_ERR_INVALID_CIPHERTEXT)
        return -1;
    kms_error_clear(err);
    return kms_fail(err, KMS_ERR_INTEGRITY, "a sealing key does not open");
}

/* --- reading and renewing --------------------------------------------------------------------- */

/* Rows are looked at under the store's turn, unwrapped behind it: no token call from a walk. */
struct rows {
    struct sealing_key_record items[SEALING_KEYS_KEPT + 1];
    size_t count;
};

static void rows_done(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        record_done(&sealing_key_table, &rows->items[i]);
}

static int take_row(void *arg, const void *record, struct kms_error *err)
{
    struct rows *const rows = arg;

    if (rows->count == ARRAY_LEN(rows->items))
        return kms_fail(err, KMS_ERR_INTEGRITY, "more sealing keys than are ever kept");
    return record_copy(&sealing_key_table, record, &rows->items[rows->count++], err);
}

int sealing_keys_load(const struct iam_config *config, struct sealing_keys *ret,
                      struct kms_error *err)
{
    AUTO(rows) rows = { 0 };

    if (store_each(config->store, &sealing_key_table, take_row, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        struct sealing_key key = { .id = rows.items[i].id, .created_ms = rows.items[i].created_ms };
        if (unwrap(config, &rows.items[i], &key.key, err) < 0)
            return -1;
        add(ret, &key);
    }
    return 0;
}

bool sealing_keys_stale(const struct sealing_keys *keys, int64_t now_ms)
{
    return keys->count == 0 || now_ms >= keys->keys[0].created_ms + MS_PER_DAY;
}

/* Puts the new one and removes the one that falls off, together. */
static int save(const struct iam_config *config, const struct sealing_keys *keys,
                const struct sealing_key *next, struct kms_error *err)
{
    struct sealing_key_record record = { .id = next->id, .created_ms = next->created_ms };
    struct store_tx *tx = NULL;
    int result = wrap(config, next, &record.wrapped, err);

    if (result == 0)
        result = store_begin(config->store, &tx, err);
    if (result == 0)
        result = store_put(tx, &sealing_key_table, &record, err);
    if (result == 0 && keys->count == SEALING_KEYS_KEPT) {
        const struct sealing_key_record gone = { .id = keys->keys[keys->count - 1].id };
        result = store_drop(tx, &sealing_key_table, &gone, err);
    }
    buf_done(&record.wrapped);
    if (result == 0)
        return store_commit(tx, err);
    if (tx)
        store_rollback(tx);
    return -1;
}

int sealing_keys_renew(const struct iam_config *config, struct sealing_keys *keys,
                       struct kms_error *err)
{
    AUTO(sealing_key) next = { .id = uuid_random(), .created_ms = clock_wall_ms(config->clock) };

    if (keys->count && next.created_ms <= keys->keys[0].created_ms)
        next.created_ms = keys->keys[0].created_ms + 1; /* order outlives a clock that went back */
    if (secret_new(&next.key, AEAD_KEY_LEN, err) < 0 ||
        token_random(config->token, next.key.ptr, next.key.len, err) < 0 ||
        save(config, keys, &next, err) < 0)
        return -1;
    add(keys, &next);
    return 0;
}

struct span sealing_key_find(const struct sealing_keys *keys, const struct uuid *id)
{
    for (size_t i = 0; i < keys->count; i++)
        if (uuid_equal(&keys->keys[i].id, id))
            return secret_span(&keys->keys[i].key);
    return (struct span){ 0 };
}
