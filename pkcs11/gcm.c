#include "pkcs11/gcm.h"

#include <unistd.h>

#define CANARY_TEXT  "hsmkms canary"
#define CANARY_PLAIN (TOKEN_CANARY_LEN - TOKEN_IV_LEN - TOKEN_TAG_LEN)

CK_RV gcm_seal(struct session *session, CK_OBJECT_HANDLE key, const uint8_t iv[TOKEN_IV_LEN],
               struct span aad, struct span plain, uint8_t *ret)
{
    CK_GCM_PARAMS params = mech_gcm(iv, aad);
    CK_MECHANISM mechanism = { CKM_AES_GCM, &params, sizeof(params) };
    CK_ULONG len = plain.len + TOKEN_TAG_LEN;
    CK_RV rv = P11(session, C_EncryptInit, &mechanism, key);

    if (rv != CKR_OK)
        return rv;
    /* the parameter is not const in the standard; modules read it */
    rv = P11(session, C_Encrypt, (CK_BYTE_PTR)plain.ptr, plain.len, ret, &len);
    if (rv == CKR_OK && len != plain.len + TOKEN_TAG_LEN)
        return session_saw(session, "C_Encrypt (length)", CKR_DEVICE_ERROR);
    return rv;
}

CK_RV gcm_open(struct session *session, CK_OBJECT_HANDLE key, const uint8_t iv[TOKEN_IV_LEN],
               struct span aad, struct span sealed, uint8_t *ret)
{
    CK_GCM_PARAMS params = mech_gcm(iv, aad);
    CK_MECHANISM mechanism = { CKM_AES_GCM, &params, sizeof(params) };
    CK_ULONG len = sealed.len;
    CK_RV rv = P11(session, C_DecryptInit, &mechanism, key);

    if (rv == CKR_OK) {
        rv = P11(session, C_Decrypt, (CK_BYTE_PTR)sealed.ptr, sealed.len, ret, &len);
        if (rv == CKR_OK && len != sealed.len - TOKEN_TAG_LEN)
            rv = session_saw(session, "C_Decrypt (length)", CKR_DEVICE_ERROR);
    } else if (ck_class(rv) == RV_CIPHERTEXT || ck_class(rv) == RV_DOUBT) {
        /* no ciphertext was shown to it yet, so this is no verdict on one */
        rv = session_saw(session, "C_DecryptInit", CKR_DEVICE_ERROR);
    }
    return rv;
}

struct canary_aad {
    uint8_t bytes[sizeof(CANARY_TEXT) - 1 + sizeof(struct uuid)];
};

static struct canary_aad canary_aad(const struct uuid *id)
{
    struct canary_aad aad;

    memcpy(aad.bytes, CANARY_TEXT, sizeof(CANARY_TEXT) - 1);
    memcpy(aad.bytes + sizeof(CANARY_TEXT) - 1, id->bytes, sizeof(id->bytes));
    return aad;
}

CK_RV canary_make(struct session *session, CK_OBJECT_HANDLE key, const struct uuid *id,
                  uint8_t ret[TOKEN_CANARY_LEN])
{
    static const uint8_t zeros[CANARY_PLAIN];
    const struct canary_aad aad = canary_aad(id);

    if (getentropy(ret, TOKEN_IV_LEN) != 0)
        return session_saw(session, "getentropy", CKR_DEVICE_ERROR);
    return gcm_seal(session, key, ret, SPAN_ARRAY(aad.bytes), SPAN_ARRAY(zeros),
                    ret + TOKEN_IV_LEN);
}

CK_RV canary_open(struct session *session, CK_OBJECT_HANDLE key, const struct uuid *id,
                  const uint8_t canary[TOKEN_CANARY_LEN])
{
    static const uint8_t zeros[CANARY_PLAIN];
    uint8_t plain[CANARY_PLAIN + TOKEN_TAG_LEN] = { 0 };
    const struct canary_aad aad = canary_aad(id);
    const CK_RV rv = gcm_open(session, key, canary, SPAN_ARRAY(aad.bytes),
                              span_of(canary + TOKEN_IV_LEN, CANARY_PLAIN + TOKEN_TAG_LEN), plain);

    if (rv == CKR_OK && memcmp(plain, zeros, CANARY_PLAIN) != 0) /* public: always zeros */
        return session_saw(session, "C_Decrypt (canary)", CKR_ENCRYPTED_DATA_INVALID);
    return rv;
}
