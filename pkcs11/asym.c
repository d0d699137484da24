#include "pkcs11/asym.h"

#include <assert.h>

/* Some modules refuse a NULL pointer, even to no bytes. Not const in the standard; only read. */
static CK_BYTE_PTR bytes_of(struct span input)
{
    static const uint8_t nothing[1];

    return (CK_BYTE_PTR)(uintptr_t)(input.len ? input.ptr : nothing);
}

static CK_RV sign(struct session *session, CK_OBJECT_HANDLE key, CK_MECHANISM *mechanism,
                  struct span input, uint8_t *ret, size_t len)
{
    CK_ULONG got = len;
    CK_RV rv = P11(session, C_SignInit, mechanism, key);

    if (rv != CKR_OK)
        return rv;
    rv = P11(session, C_Sign, bytes_of(input), input.len, ret, &got);
    if (rv == CKR_OK && got != len)
        return session_saw(session, "C_Sign (length)", CKR_DEVICE_ERROR);
    return rv;
}

/* What the mechanism is given: PKCS #1 v1.5 wants a whole DigestInfo. */
struct prepared {
    struct span input;
    uint8_t room[32 + TOKEN_MAC_MAX];
};

static void prepare(const struct algorithm *algorithm, struct span input, struct prepared *ret)
{
    const struct span info = algorithm->digest_info;

    ret->input = input;
    if (info.len == 0)
        return;
    assert(info.len + input.len <= sizeof(ret->room));
    memcpy(ret->room, info.ptr, info.len);
    memcpy(ret->room + info.len, input.ptr, input.len);
    ret->input = span_of(ret->room, info.len + input.len);
}

CK_RV asym_sign(struct session *session, CK_OBJECT_HANDLE key, const struct algorithm *algorithm,
                struct span input, uint8_t *ret, size_t len)
{
    struct pair_mechanism how;
    struct prepared prepared;

    pair_mechanism(algorithm, &how);
    prepare(algorithm, input, &prepared);
    return sign(session, key, &how.mechanism, prepared.input, ret, len);
}

CK_RV asym_verify(struct session *session, CK_OBJECT_HANDLE public_key,
                  const struct algorithm *algorithm, struct span input, struct span signature)
{
    struct pair_mechanism how;
    struct prepared prepared;

    pair_mechanism(algorithm, &how);
    prepare(algorithm, input, &prepared);
    const CK_RV rv = P11_TRY(session, C_VerifyInit, &how.mechanism, public_key);
    if (rv != CKR_OK)
        return rv;
    return P11_TRY(session, C_Verify, bytes_of(prepared.input), prepared.input.len,
                   bytes_of(signature), signature.len);
}

CK_RV asym_decrypt(struct session *session, CK_OBJECT_HANDLE key, const struct algorithm *algorithm,
                   struct span sealed, uint8_t *ret, size_t *ret_len)
{
    struct pair_mechanism how;
    CK_ULONG len = sealed.len;

    pair_mechanism(algorithm, &how);
    CK_RV rv = P11(session, C_DecryptInit, &how.mechanism, key);
    if (rv != CKR_OK) /* no ciphertext was shown to it yet, so this is no verdict on one */
        return ck_class(rv) == RV_CIPHERTEXT || ck_class(rv) == RV_DOUBT
                   ? session_saw(session, "C_DecryptInit", CKR_DEVICE_ERROR)
                   : rv;
    rv = P11(session, C_Decrypt, bytes_of(sealed), sealed.len, ret, &len);
    if (rv == CKR_OK && len > sealed.len)
        return session_saw(session, "C_Decrypt (length)", CKR_DEVICE_ERROR);
    *ret_len = len;
    return rv;
}

CK_RV asym_encrypt(struct session *session, CK_OBJECT_HANDLE public_key,
                   const struct algorithm *algorithm, struct span plain, uint8_t *ret, size_t len)
{
    struct pair_mechanism how;
    CK_ULONG got = len;

    pair_mechanism(algorithm, &how);
    CK_RV rv = P11_TRY(session, C_EncryptInit, &how.mechanism, public_key);
    if (rv == CKR_OK)
        rv = P11_TRY(session, C_Encrypt, bytes_of(plain), plain.len, ret, &got);
    if (rv == CKR_OK && got != len)
        return session_heard(session, "C_Encrypt (length)", CKR_DEVICE_ERROR);
    return rv;
}

CK_RV asym_raw(struct session *session, CK_OBJECT_HANDLE key, enum token_use use, struct span input,
               uint8_t *ret)
{
    static const struct algorithm raw = { .mechanism = CKM_RSA_X_509 };
    size_t len = 0;

    if (use == TOKEN_SIGNS)
        return asym_sign(session, key, &raw, input, ret, input.len);
    const CK_RV rv = asym_decrypt(session, key, &raw, input, ret, &len);
    if (rv == CKR_OK && len < input.len) { /* a token that leaves zeros out */
        memmove(ret + (input.len - len), ret, len);
        memset(ret, 0, input.len - len);
    }
    return rv;
}

/* Agreeing */

/* What comes out must come out: the one key of ours that is meant to be read. */
static void shared_template(struct attrs *ret, const struct pair *pair)
{
    attrs_ulong(ret, CKA_CLASS, CKO_SECRET_KEY);
    attrs_ulong(ret, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    attrs_ulong(ret, CKA_VALUE_LEN, pair->bytes);
    attrs_bool(ret, CKA_TOKEN, false);
    attrs_bool(ret, CKA_PRIVATE, true);
    attrs_bool(ret, CKA_SENSITIVE, false);
    attrs_bool(ret, CKA_EXTRACTABLE, true);
}

static CK_RV read_shared(struct session *session, CK_OBJECT_HANDLE shared, uint8_t *ret, size_t len)
{
    struct attrs got = { 0 };

    attrs_room(&got, CKA_VALUE, ret, len);
    const CK_RV rv = P11(session, C_GetAttributeValue, shared, got.list, got.count);
    if (rv == CKR_OK && got.list[0].ulValueLen != len)
        return session_saw(session, "C_GetAttributeValue (length)", CKR_DEVICE_ERROR);
    return rv;
}

CK_RV asym_agree(struct session *session, CK_OBJECT_HANDLE key, const struct pair *pair,
                 struct span peer, uint8_t *ret)
{
    CK_ECDH1_DERIVE_PARAMS params = { .kdf = CKD_NULL,
                                      .ulPublicDataLen = peer.len,
                                      .pPublicData = bytes_of(peer) };
    CK_MECHANISM mechanism = { CKM_ECDH1_DERIVE, &params, sizeof(params) };
    CK_OBJECT_HANDLE shared = CK_INVALID_HANDLE;
    struct attrs want = { 0 };

    shared_template(&want, pair);
    CK_RV rv = P11_TRY(session, C_DeriveKey, &mechanism, key, want.list, want.count, &shared);
    if (rv != CKR_OK) /* modules have many names for a bad point */
        return ck_class(rv) == RV_BUG || ck_class(rv) == RV_CIPHERTEXT
                   ? session_heard(session, "C_DeriveKey", CKR_DATA_INVALID)
                   : rv;
    rv = read_shared(session, shared, ret, pair->bytes);
    const CK_RV gone = session->module->list->C_DestroyObject(session->handle, shared);
    if (rv == CKR_OK && gone != CKR_OK) /* it goes with the session, so that goes */
        return session_saw(session, "C_DestroyObject", gone);
    return rv;
}

CK_RV asym_mac(struct session *session, CK_OBJECT_HANDLE key, const struct kind *kind,
               struct span data, uint8_t *ret)
{
    CK_MECHANISM mechanism = { kind->use, NULL, 0 };

    return sign(session, key, &mechanism, data, ret, kind->bytes);
}
