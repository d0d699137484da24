#include "pkcs11/pair_state.h"

/* Making objects */

/* Never tried twice: a failed call may have made an object. name: NULL in a session. */
static CK_RV create_private(struct session *session, const struct pair *pair, enum token_use use,
                            const struct mechanisms *allowed, const struct token_private *numbers,
                            const struct pair_name *name, CK_OBJECT_HANDLE *ret)
{
    struct attrs want = { 0 };

    pair_template(&want, pair, use, session->module->profile, name ? KEY_IN_TOKEN : KEY_IN_SESSION,
                  allowed);
    pair_import_template(&want, pair, numbers);
    if (name) {
        attrs_bytes(&want, CKA_ID, uuid_span(name->id));
        attrs_bytes(&want, CKA_LABEL, span_text(name->label));
    }
    return P11_TRY(session, C_CreateObject, want.list, want.count, ret);
}

static CK_RV create_halves(struct session *session, const struct pair *pair, enum token_use use,
                           const struct mechanisms *allowed, const struct token_private *numbers,
                           struct span public_key, const struct pair_name *name, struct halves *ret)
{
    const CK_RV rv = pair_create_public(session, pair, use, public_key, name, &ret->public_key);

    if (rv != CKR_OK)
        return rv;
    return create_private(session, pair, use, allowed, numbers, name, &ret->private_key);
}

/* Trying */

static void destroy(struct session *session, CK_OBJECT_HANDLE handle)
{
    if (handle != CK_INVALID_HANDLE)
        (void)P11_TRY(session, C_DestroyObject, handle); /* goes with the session otherwise */
}

/*
 * Exclusive lock held. The objects are the owner's, because a failed try may cost the manage
 * session. Numbers that the token refuses outright are no pair either.
 */
static int try_once(struct token *token, const struct pair_probe *known, enum token_kind kind,
                    enum token_use use, const struct token_private *numbers, struct span public_key,
                    bool *ret, struct kms_error *err)
{
    struct halves made = { CK_INVALID_HANDLE, CK_INVALID_HANDLE };
    struct session *const owner = &token->owner;
    struct mechanisms allowed;

    pair_allowed(known, pair_of(kind), use, &allowed);
    const CK_RV rv =
        create_halves(owner, pair_of(kind), use, &allowed, numbers, public_key, NULL, &made);
    *ret = rv == CKR_OK &&
           pair_prove(&token->manage, made.private_key, kind, use, public_key) == CKR_OK &&
           pair_works(&token->manage, &made, kind, use, known);
    destroy(owner, made.private_key);
    destroy(owner, made.public_key);
    if (rv != CKR_OK && !strict_refused(rv))
        return ck_fail(err, "C_CreateObject", rv);
    return *ret ? 0 : token_renew_manage(token, err);
}

#define TRIES 2 /* not every fault lasts */

/* A no of a sick token is none: it has to be well afterwards. */
static int try_pair(struct token *token, const struct pair_probe *known, enum token_kind kind,
                    enum token_use use, const struct token_private *numbers, struct span public_key,
                    bool *ret, struct kms_error *err)
{
    bool good = false;

    for (int i = 0; !good && i < TRIES; i++)
        if (try_once(token, known, kind, use, numbers, public_key, &good, err) < 0)
            return -1;
    if (token_renew_manage(token, err) < 0 || probe_health(&token->probe, &token->manage, err) < 0)
        return -1;
    *ret = good;
    return 0;
}

int token_pair_try(struct token *token, enum token_kind kind, enum token_use use,
                   const struct token_private *numbers, struct span public_key, bool *ret,
                   struct kms_error *err)
{
    const struct pair_probe *known = NULL;

    if (token_pass(token, err) < 0 || pair_known(token, kind, use, &known, err) < 0 ||
        token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int done = try_pair(token, known, kind, use, numbers, public_key, ret, err);
    token_alone_done(token, done < 0);
    return done;
}

/* Making it for good */

/* Exclusive lock held. */
static int import(struct token *token, const struct pair_probe *known, enum token_kind kind,
                  enum token_use use, const struct token_private *numbers, struct span public_key,
                  const struct pair_name *name, struct kms_error *err)
{
    struct halves made = { CK_INVALID_HANDLE, CK_INVALID_HANDLE };
    struct object *object = NULL;
    struct mechanisms allowed;

    pair_allowed(known, pair_of(kind), use, &allowed);
    if (create_halves(&token->manage, pair_of(kind), use, &allowed, numbers, public_key, name,
                      &made) != CKR_OK)
        return session_fail(&token->manage, err);
    if (object_bind(&token->cache, name->id, made.private_key, &object, err) < 0)
        return -1;
    token->cache.keys++;
    return 0;
}

int token_pair_import(struct token *token, enum token_kind kind, enum token_use use,
                      const struct token_private *numbers, struct span public_key,
                      const struct uuid *id, const char *label, struct kms_error *err)
{
    const struct pair_name name = { id, label };
    const struct pair_probe *known = NULL;

    if (token_pass(token, err) < 0 || pair_known(token, kind, use, &known, err) < 0 ||
        token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int made = import(token, known, kind, use, numbers, public_key, &name, err);
    token_alone_done(token, made < 0);
    if (made < 0 || guard_sync(&token->guard, err) < 0)
        return -1;
    return token_pair_import_verify(token, kind, use, id, public_key, err);
}

/* Verifying */

static int attributes(struct session *session, CK_OBJECT_HANDLE key, const struct pair *pair,
                      enum token_use use, const struct mechanisms *allowed, struct kms_error *err)
{
    struct attrs want = { 0 };

    pair_template(&want, pair, use, session->module->profile, KEY_IN_TOKEN, allowed);
    if (session->module->profile->local)
        attrs_bool(&want, CKA_LOCAL, false);
    return probe_is_as(session, key, &want, err);
}

static int verify(struct token *token, const struct pair_probe *known, enum token_kind kind,
                  enum token_use use, const struct uuid *id, struct span public_key,
                  struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);
    struct object *object = object_lookup(&token->cache, id);
    struct mechanisms allowed;

    if ((object == NULL || object->handle == CK_INVALID_HANDLE) &&
        token_rebind(token, id, &object, err) < 0)
        return -1;
    if (object->fault == OBJECT_ABSENT)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "the token has no key with this id");
    if (object->fault != OBJECT_GOOD)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s", object_fault_text(object->fault));
    pair_allowed(known, pair, use, &allowed);
    if (attributes(&token->manage, object->handle, pair, use, &allowed, err) < 0)
        return -1;
    const CK_RV rv = pair_prove(&token->manage, object->handle, kind, use, public_key);
    if (ck_class(rv) == RV_CIPHERTEXT || ck_class(rv) == RV_DOUBT)
        return kms_fail(err, KMS_ERR_INTEGRITY,
                        "the private key does not belong to the public key");
    if (rv != CKR_OK)
        return session_fail(&token->manage, err);
    return pair_refusals(token, known, object->handle, pair, use, err);
}

int token_pair_import_verify(struct token *token, enum token_kind kind, enum token_use use,
                             const struct uuid *id, struct span public_key, struct kms_error *err)
{
    const struct pair_probe *known = NULL;

    if (token_pass(token, err) < 0 || pair_known(token, kind, use, &known, err) < 0 ||
        token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int good = verify(token, known, kind, use, id, public_key, err);
    token_alone_done(token, good < 0 && err->code != KMS_ERR_NOT_FOUND);
    return good;
}
