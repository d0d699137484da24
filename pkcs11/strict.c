/* What a strict key must refuse: one row, one try. Declared in probe.h. */

#include "pkcs11/probe.h"

#define VALUE_MAX   128
#define WRAPPED_MAX 4096 /* a private RSA-4096 key in PKCS #8 has some 2400 */

/* Each returns CKR_OK when the forbidden thing worked. */
typedef CK_RV try_fn(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper,
                     const struct kind *kind);

static CK_RV try_read_value(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper,
                            const struct kind *kind)
{
    uint8_t value[VALUE_MAX];
    struct attrs got = { 0 };

    (void)wrapper;
    (void)kind;
    attrs_room(&got, CKA_VALUE, value, sizeof(value));
    const CK_RV rv = P11_TRY(session, C_GetAttributeValue, key, got.list, got.count);
    secret_wipe(value, sizeof(value));
    return rv;
}

CK_RV strict_wrap(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper)
{
    static const CK_MECHANISM_TYPE ways[] = { CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_AES_ECB,
                                              CKM_AES_CBC, CKM_AES_CBC_PAD };
    uint8_t wrapped[WRAPPED_MAX], iv[16] = { 0 };
    CK_RV rv = CKR_MECHANISM_INVALID;

    for (size_t i = 0; rv != CKR_OK && i < ARRAY_LEN(ways); i++) {
        const bool chained = ways[i] == CKM_AES_CBC || ways[i] == CKM_AES_CBC_PAD;
        CK_MECHANISM mechanism = { ways[i], chained ? iv : NULL, chained ? sizeof(iv) : 0 };
        CK_ULONG len = sizeof(wrapped);

        rv = P11_TRY(session, C_WrapKey, &mechanism, wrapper, key, wrapped, &len);
    }
    secret_wipe(wrapped, sizeof(wrapped));
    return rv;
}

static CK_RV try_wrap(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper,
                      const struct kind *kind)
{
    (void)kind;
    return strict_wrap(session, key, wrapper);
}

CK_RV strict_copy(struct session *session, CK_OBJECT_HANDLE key, CK_ATTRIBUTE_TYPE flag, bool value)
{
    CK_OBJECT_HANDLE copy = CK_INVALID_HANDLE;
    struct attrs change = { 0 };

    attrs_bool(&change, CKA_TOKEN, false);
    attrs_bool(&change, flag, value);
    const CK_RV rv = P11_TRY(session, C_CopyObject, key, change.list, change.count, &copy);
    if (rv == CKR_OK)
        (void)session->module->list->C_DestroyObject(session->handle, copy); /* proof enough */
    return rv;
}

CK_RV strict_set(struct session *session, CK_OBJECT_HANDLE key, CK_ATTRIBUTE_TYPE flag, bool value)
{
    struct attrs change = { 0 };

    attrs_bool(&change, flag, value);
    return P11_TRY(session, C_SetAttributeValue, key, change.list, change.count);
}

static CK_RV try_copy_extractable(struct session *session, CK_OBJECT_HANDLE key,
                                  CK_OBJECT_HANDLE wrapper, const struct kind *kind)
{
    (void)wrapper;
    (void)kind;
    return strict_copy(session, key, CKA_EXTRACTABLE, true);
}

static CK_RV try_copy_readable(struct session *session, CK_OBJECT_HANDLE key,
                               CK_OBJECT_HANDLE wrapper, const struct kind *kind)
{
    (void)wrapper;
    (void)kind;
    return strict_copy(session, key, CKA_SENSITIVE, false);
}

static CK_RV try_set_extractable(struct session *session, CK_OBJECT_HANDLE key,
                                 CK_OBJECT_HANDLE wrapper, const struct kind *kind)
{
    (void)wrapper;
    (void)kind;
    return strict_set(session, key, CKA_EXTRACTABLE, true);
}

static CK_RV try_set_readable(struct session *session, CK_OBJECT_HANDLE key,
                              CK_OBJECT_HANDLE wrapper, const struct kind *kind)
{
    (void)wrapper;
    (void)kind;
    return strict_set(session, key, CKA_SENSITIVE, false);
}

static CK_RV try_ecb(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper,
                     const struct kind *kind)
{
    CK_MECHANISM mechanism = { CKM_AES_ECB, NULL, 0 };
    uint8_t block[16] = { 0 }, out[32];
    CK_ULONG len = sizeof(out);
    const CK_RV rv = P11_TRY(session, C_EncryptInit, &mechanism, key);

    (void)wrapper;
    (void)kind;
    return rv == CKR_OK ? P11_TRY(session, C_Encrypt, block, sizeof(block), out, &len) : rv;
}

static CK_RV try_derive(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper,
                        const struct kind *kind)
{
    uint8_t data[32] = { 0 };
    CK_KEY_DERIVATION_STRING_DATA params = { data, sizeof(data) };
    CK_MECHANISM mechanism = { CKM_AES_ECB_ENCRYPT_DATA, &params, sizeof(params) };
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    struct attrs want = { 0 };

    (void)wrapper;
    (void)kind;
    attrs_ulong(&want, CKA_CLASS, CKO_SECRET_KEY);
    attrs_ulong(&want, CKA_KEY_TYPE, CKK_AES);
    attrs_ulong(&want, CKA_VALUE_LEN, 32);
    attrs_bool(&want, CKA_TOKEN, false);
    const CK_RV rv = P11_TRY(session, C_DeriveKey, &mechanism, key, want.list, want.count, &made);
    if (rv == CKR_OK)
        (void)session->module->list->C_DestroyObject(session->handle, made); /* proof enough */
    return rv;
}

/* A signature by an encryption key, an encryption by a signature key. */
static CK_RV try_other_use(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper,
                           const struct kind *kind)
{
    static const uint8_t iv[TOKEN_IV_LEN];
    CK_GCM_PARAMS gcm = mech_gcm(iv, span_of(NULL, 0));
    CK_MECHANISM encrypt = { CKM_AES_GCM, &gcm, sizeof(gcm) };
    CK_MECHANISM sign = { CKM_SHA256_HMAC, NULL, 0 };
    CK_RV rv;

    (void)wrapper;
    if (kind->encrypts)
        rv = P11_TRY(session, C_SignInit, &sign, key);
    else
        rv = P11_TRY(session, C_EncryptInit, &encrypt, key);
    session->broken = session->broken || rv == CKR_OK; /* an operation is open now */
    return rv;
}

/* clang-format off */
static const struct {
    const char *name;
    bool extraction;
    try_fn *run;
} tries[STRICT_TRIES] = {
    [TRY_READ_VALUE]       = { "reading its value",          true,  try_read_value },
    [TRY_WRAP]             = { "wrapping it",                true,  try_wrap },
    [TRY_COPY_EXTRACTABLE] = { "an extractable copy",        true,  try_copy_extractable },
    [TRY_COPY_READABLE]    = { "a copy not sensitive",       true,  try_copy_readable },
    [TRY_SET_EXTRACTABLE]  = { "making it extractable",      true,  try_set_extractable },
    [TRY_SET_READABLE]     = { "making it not sensitive",    true,  try_set_readable },
    [TRY_ECB]              = { "encrypting by AES-ECB",      false, try_ecb },
    [TRY_DERIVE]           = { "deriving from it",           false, try_derive },
    [TRY_OTHER_USE]        = { "another use",                false, try_other_use },
};
/* clang-format on */

bool strict_refused(CK_RV rv)
{
    const enum ck_class class = ck_class(rv);

    return class == RV_BUG || class == RV_DOUBT;
}

static int try_one(enum strict_try which, struct session *session, CK_OBJECT_HANDLE wrapper,
                   const struct kind *kind, CK_OBJECT_HANDLE key, bool *ret_refused,
                   struct kms_error *err)
{
    const CK_RV rv = tries[which].run(session, key, wrapper, kind);

    if (rv != CKR_OK && !strict_refused(rv))
        return session_fail(session, err);
    *ret_refused = rv != CKR_OK;
    return 0;
}

int probe_refusals(const struct probe *probe, struct session *session, const struct kind *kind,
                   CK_OBJECT_HANDLE key, struct kms_error *err)
{
    for (enum strict_try i = 0; i < STRICT_TRIES; i++) {
        bool refused = true;

        if (!probe->refuses[i])
            continue;
        if (try_one(i, session, probe->wrapper, kind, key, &refused, err) < 0)
            return -1;
        if (!refused)
            return kms_fail(err, KMS_ERR_INTEGRITY, "the token allowed %s", tries[i].name);
    }
    return 0;
}

int probe_strictness(struct probe *probe, struct session *session, struct kms_error *err)
{
    const struct kind *const kind = kind_of(TOKEN_AES_GCM);

    probe->enforces_extraction = true;
    for (enum strict_try i = 0; i < STRICT_TRIES; i++) {
        if (try_one(i, session, probe->wrapper, kind, probe->health, &probe->refuses[i], err) < 0)
            return -1;
        if (tries[i].extraction && !probe->refuses[i])
            probe->enforces_extraction = false;
    }
    return 0;
}
