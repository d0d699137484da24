#include "pkcs11/pair_state.h"

#include <assert.h>

#include <sodium.h>

static CK_RV run_mac(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    return asym_mac(session, key, work->more, work->input, work->output);
}

static CK_RV prove_mac(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    return mac_prove(session, key, work->more, work->id, work->canary);
}

int token_mac(struct token *token, enum token_kind kind, const struct token_key *key,
              struct span data, struct token_mac *ret, struct kms_error *err)
{
    struct token_mac made = { 0 };

    if (pair_need(token, kind, TOKEN_MAC, err) < 0)
        return -1;
    if (data.len > TOKEN_MESSAGE_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION, "The message is longer than %d bytes.",
                        TOKEN_MESSAGE_MAX);
    assert(key->canary.len > 0);
    /* the row is const, and so is what run and prove make of it */
    const struct work work = { .id = &key->id,
                               .canary = key->canary,
                               .run = run_mac,
                               .prove = prove_mac,
                               .input = data,
                               .output = made.bytes,
                               .more = (void *)(uintptr_t)kind_of(kind) };

    if (token_run(token, &work, err) < 0)
        return -1;
    made.len = kind_of(kind)->bytes;
    *ret = made;
    return 0;
}

int token_mac_verify(struct token *token, enum token_kind kind, const struct token_key *key,
                     struct span data, struct span mac, bool *ret, struct kms_error *err)
{
    struct token_mac made;

    if (token_mac(token, kind, key, data, &made, err) < 0)
        return -1;
    *ret = mac.len == made.len && sodium_memcmp(mac.ptr, made.bytes, made.len) == 0;
    secret_wipe(made.bytes, sizeof(made.bytes)); /* the right one is not for who asked */
    return 0;
}
