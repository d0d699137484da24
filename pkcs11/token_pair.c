#include "pkcs11/pair_state.h"

#include <assert.h>

/* A key that is not what its name says. */
static int not_this_pair(struct session *session, CK_RV rv, struct kms_error *err)
{
    const enum ck_class class = ck_class(rv);

    if (class == RV_CIPHERTEXT || class == RV_DOUBT)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the private key does not belong to the public key");
    return session_fail(session, err);
}

static int prove(struct session *session, CK_OBJECT_HANDLE key, enum token_kind kind,
                 enum token_use use, struct span public_key, struct kms_error *err)
{
    const CK_RV rv = pair_prove(session, key, kind, use, public_key);

    return rv == CKR_OK ? 0 : not_this_pair(session, rv, err);
}

/* Generating */

/* Exclusive lock held; steps aside while the pair is made. */
static int generate(struct token *token, const struct pair_probe *known, enum token_kind kind,
                    enum token_use use, const struct uuid *id, const char *label,
                    struct token_public *ret, struct kms_error *err)
{
    struct session *const session = &token->manage;
    struct object *object = NULL;
    struct halves made = { 0 };
    struct mechanisms allowed;

    pair_allowed(known, pair_of(kind), use, &allowed);
    token_aside(token);
    const CK_RV rv = pair_make(session, pair_of(kind), use, &allowed, id, label, &made);
    if (token_aside_done(token, err) < 0)
        return -1;
    if (rv != CKR_OK || pair_read_public(session, made.public_key, kind, ret) != CKR_OK)
        return session_fail(session, err);
    if (object_bind(&token->cache, id, made.private_key, &object, err) < 0)
        return -1;
    token->cache.keys++;
    return 0;
}

/* Something of this use must work, in the token or raw, in this size. */
static int can_make(struct token *token, enum token_kind kind, enum token_use use,
                    struct kms_error *err)
{
    for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++) {
        enum token_support support = TOKEN_LACKS;

        if (algorithm_of(i)->use != use)
            continue;
        if (token_supports(token, kind, i, &support, err) < 0)
            return -1;
        if (support != TOKEN_LACKS)
            return 0;
    }
    return kms_fail_detail(err, KMS_ERR_UNSUPPORTED, "this token has no %s key that %s",
                           token_kind_name(kind), token_use_name(use));
}

int token_pair_generate(struct token *token, enum token_kind kind, enum token_use use,
                        const struct uuid *id, const char *label, struct token_public *ret,
                        struct kms_error *err)
{
    const struct pair_probe *known = NULL;
    struct token_public public_key;

    assert(pair_of(kind));
    if (token_pass(token, err) < 0 || pair_random(token, err) < 0 ||
        pair_known(token, kind, use, &known, err) < 0 || can_make(token, kind, use, err) < 0 ||
        token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int made = generate(token, known, kind, use, id, label, &public_key, err);
    token_alone_done(token, made < 0);
    if (made < 0 || guard_sync(&token->guard, err) < 0 ||
        token_pair_verify(token, kind, use, id, token_public_span(&public_key), err) < 0)
        return -1;
    *ret = public_key;
    return 0;
}

/* Verifying */

/* Exclusive lock held. The private key with this id. */
static int bound(struct token *token, const struct uuid *id, struct object **ret,
                 struct kms_error *err)
{
    struct object *object = object_lookup(&token->cache, id);

    if ((object == NULL || object->handle == CK_INVALID_HANDLE) &&
        token_rebind(token, id, &object, err) < 0)
        return -1;
    if (object->fault == OBJECT_ABSENT)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "the token has no key with this id");
    if (object->fault != OBJECT_GOOD)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s", object_fault_text(object->fault));
    *ret = object;
    return 0;
}

static int verify(struct token *token, const struct pair_probe *known, enum token_kind kind,
                  enum token_use use, const struct uuid *id, struct span public_key,
                  struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);
    struct object *object = NULL;
    struct mechanisms allowed;

    pair_allowed(known, pair, use, &allowed);
    if (bound(token, id, &object, err) < 0 ||
        pair_attributes(&token->manage, object->handle, pair, use, &allowed, err) < 0 ||
        prove(&token->manage, object->handle, kind, use, public_key, err) < 0)
        return -1;
    return pair_refusals(token, known, object->handle, pair, use, err);
}

int token_pair_verify(struct token *token, enum token_kind kind, enum token_use use,
                      const struct uuid *id, struct span public_key, struct kms_error *err)
{
    const struct pair_probe *known = NULL;

    assert(pair_of(kind));
    if (token_pass(token, err) < 0 || pair_known(token, kind, use, &known, err) < 0 ||
        token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int good = verify(token, known, kind, use, id, public_key, err);
    token_alone_done(token, good < 0 && err->code != KMS_ERR_NOT_FOUND);
    return good;
}

/* The public key of an interrupted creation */

static int public_of(struct token *token, enum token_kind kind, enum token_use use,
                     const struct uuid *id, struct token_public *ret, struct kms_error *err)
{
    struct session *const session = &token->manage;
    CK_OBJECT_HANDLE half = CK_INVALID_HANDLE;
    struct object *object = NULL;
    struct token_public got;

    if (bound(token, id, &object, err) < 0 || object_public(session, id, &half, err) < 0)
        return -1;
    const CK_RV rv = pair_read_public(session, half, kind, &got);
    if (rv != CKR_OK)
        return not_this_pair(session, rv, err);
    if (prove(session, object->handle, kind, use, token_public_span(&got), err) < 0)
        return -1;
    *ret = got;
    return 0;
}

int token_pair_public(struct token *token, enum token_kind kind, enum token_use use,
                      const struct uuid *id, struct token_public *ret, struct kms_error *err)
{
    assert(pair_of(kind));
    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int got = public_of(token, kind, use, id, ret, err);
    token_alone_done(token, got < 0 && err->code != KMS_ERR_NOT_FOUND);
    return got;
}
