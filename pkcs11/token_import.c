#include "pkcs11/token_import.h"

#include <assert.h>

#include "pkcs11/pair_state.h"

size_t token_key_bytes(enum token_kind kind)
{
    return kind_of(kind)->bytes;
}

/* Making objects */

/* Never tried twice: a failed call may have made an object. id and label: NULL in a session. */
static CK_RV create(struct token *token, const struct kind *kind, struct span value,
                    const struct uuid *id, const char *label, CK_OBJECT_HANDLE *ret)
{
    struct session *const session = &token->manage;
    struct attrs want = { 0 };

    mech_import_template(&want, kind, token->module.profile, id ? KEY_IN_TOKEN : KEY_IN_SESSION,
                         value);
    if (id) {
        attrs_bytes(&want, CKA_ID, uuid_span(id));
        attrs_bytes(&want, CKA_LABEL, span_text(label));
    }
    return P11(session, C_CreateObject, want.list, want.count, ret);
}

/* Exclusive lock held. */
static int import(struct token *token, const struct kind *kind, struct span value,
                  const struct uuid *id, const char *label, struct kms_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    struct object *object = NULL;

    if (create(token, kind, value, id, label, &handle) != CKR_OK)
        return session_fail(&token->manage, err);
    if (object_bind(&token->cache, id, handle, &object, err) < 0)
        return -1;
    token->cache.keys++;
    return 0;
}

int token_key_import(struct token *token, enum token_kind kind, struct span value,
                     const struct uuid *id, const char *label, struct kms_error *err)
{
    assert(value.len == token_key_bytes(kind));
    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int made = import(token, kind_of(kind), value, id, label, err);
    token_alone_done(token, made < 0);
    if (made < 0 || guard_sync(&token->guard, err) < 0)
        return -1;
    return token_import_verify(token, kind, id, err);
}

/* Verifying */

/* Exclusive lock held. */
static int verify(struct token *token, const struct kind *kind, const struct uuid *id,
                  struct kms_error *err)
{
    struct session *const session = &token->manage;
    struct object *object = object_lookup(&token->cache, id);
    struct attrs want = { 0 };

    if ((object == NULL || object->handle == CK_INVALID_HANDLE) &&
        token_rebind(token, id, &object, err) < 0)
        return -1;
    if (object->fault == OBJECT_ABSENT)
        return kms_fail(err, KMS_ERR_NOT_FOUND, "the token has no key with this id");
    if (object->fault != OBJECT_GOOD)
        return kms_fail(err, KMS_ERR_INTEGRITY, "%s", object_fault_text(object->fault));
    mech_template(&want, kind, token->module.profile, KEY_IN_TOKEN);
    if (token->module.profile->local)
        attrs_bool(&want, CKA_LOCAL, false);
    if (probe_is_as(session, object->handle, &want, err) < 0)
        return -1;
    return probe_refusals(&token->probe, session, kind, object->handle, err);
}

int token_import_verify(struct token *token, enum token_kind kind, const struct uuid *id,
                        struct kms_error *err)
{
    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int good = verify(token, kind_of(kind), id, err);
    token_alone_done(token, good < 0 && err->code != KMS_ERR_NOT_FOUND);
    return good;
}

/* Recognising a value */

static CK_RV prove(struct session *session, CK_OBJECT_HANDLE handle, enum token_kind kind,
                   const struct token_key *known)
{
    if (known->canary.len != TOKEN_CANARY_LEN)
        return CKR_ENCRYPTED_DATA_INVALID;
    return kind == TOKEN_AES_GCM
               ? canary_open(session, handle, &known->id, known->canary.ptr)
               : mac_prove(session, handle, kind_of(kind), &known->id, known->canary);
}

/* ret_doubt: some no may be one of a token that is not well. */
static int compare(struct session *session, CK_OBJECT_HANDLE handle, enum token_kind kind,
                   const struct token_key *known, size_t count, size_t *ret, bool *ret_doubt,
                   struct kms_error *err)
{
    *ret = 0;
    *ret_doubt = false;
    for (; *ret < count; ++*ret) {
        const CK_RV rv = prove(session, handle, kind, &known[*ret]);
        if (rv == CKR_OK)
            return 0;
        if (ck_class(rv) != RV_CIPHERTEXT && ck_class(rv) != RV_DOUBT)
            return session_fail(session, err);
        *ret_doubt = *ret_doubt || ck_class(rv) == RV_DOUBT;
    }
    return 0;
}

/* Exclusive lock held. Once around. */
static int match(struct token *token, enum token_kind kind, struct span value,
                 const struct token_key *known, size_t count, size_t *ret, bool *ret_doubt,
                 struct kms_error *err)
{
    struct session *const session = &token->manage;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;

    if (create(token, kind_of(kind), value, NULL, NULL, &handle) != CKR_OK)
        return session_fail(session, err);
    const int done = compare(session, handle, kind, known, count, ret, ret_doubt, err);
    if (P11(session, C_DestroyObject, handle) != CKR_OK && done == 0)
        return session_fail(session, err); /* it goes with the session, which is replaced */
    return done;
}

#define MATCH_TRIES 2 /* not every fault lasts */

/* What may have been no answer is asked again, and the token has to be well afterwards. */
static int match_surely(struct token *token, enum token_kind kind, struct span value,
                        const struct token_key *known, size_t count, size_t *ret,
                        struct kms_error *err)
{
    bool doubt = true;

    for (int i = 0; doubt && i < MATCH_TRIES; i++) {
        if (match(token, kind, value, known, count, ret, &doubt, err) < 0)
            return -1;
        if (*ret < count)
            return 0;
    }
    return count ? probe_health(&token->probe, &token->manage, err) : 0;
}

int token_key_match(struct token *token, enum token_kind kind, struct span value,
                    const struct token_key *known, size_t count, size_t *ret, struct kms_error *err)
{
    assert(value.len == token_key_bytes(kind));
    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int done = match_surely(token, kind, value, known, count, ret, err);
    token_alone_done(token, done < 0);
    return done;
}
