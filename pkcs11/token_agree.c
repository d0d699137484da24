#include "pkcs11/pair_state.h"

static CK_RV run_agree(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    const struct pair_work *const more = work->more;

    return asym_agree(session, key, more->pair, work->input, work->output);
}

static int bad_peer(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_VALIDATION, "The public key is not a point on the key's curve.");
}

int token_agree(struct token *token, enum token_kind kind, const struct token_key *key,
                struct span peer, struct secret *ret, struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);
    struct pair_work more = { kind, TOKEN_AGREES, pair, algorithm_of(TOKEN_ECDH), 0 };
    AUTO(secret) shared = { 0 };

    if (pair_need(token, kind, TOKEN_ECDH, err) < 0 || pair_named(key, pair, err) < 0)
        return -1;
    /* by its form it is neither the identity (one byte 0) nor of a longer or shorter curve */
    if (peer.len != pair_public_len(pair) || peer.ptr[0] != 0x04)
        return bad_peer(err);
    if (secret_new(&shared, pair->bytes, err) < 0)
        return -1;
    struct work work = pair_work(key, &more, peer, shared.ptr);
    work.run = run_agree;
    work.opens = true; /* where the token says no, the proof tells whether the point is to blame */
    if (token_run(token, &work, err) < 0) {
        if (err->code != KMS_ERR_INVALID_CIPHERTEXT)
            return -1;
        kms_error_clear(err);
        return bad_peer(err);
    }
    *ret = secret_take(&shared);
    return 0;
}
