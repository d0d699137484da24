#include "pkcs11/mech.h"

#include <assert.h>

/* clang-format off */
static const struct kind kinds[TOKEN_KINDS] = {
    /*                     name        made by                     used by          type                bytes encrypts signs */
    [TOKEN_AES_GCM]  = { "AES-GCM",  CKM_AES_KEY_GEN,            CKM_AES_GCM,     CKK_AES,            32,   true,    false },
    [TOKEN_HMAC]     = { "HMAC",     CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC, CKK_GENERIC_SECRET, 32,   false,   true  },

    /* pairs have their rows in pair.c */
    [TOKEN_HMAC_224] = { "HMAC-224", CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA224_HMAC, CKK_GENERIC_SECRET, 28,   false,   true  },
    [TOKEN_HMAC_256] = { "HMAC-256", CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC, CKK_GENERIC_SECRET, 32,   false,   true  },
    [TOKEN_HMAC_384] = { "HMAC-384", CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA384_HMAC, CKK_GENERIC_SECRET, 48,   false,   true  },
    [TOKEN_HMAC_512] = { "HMAC-512", CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA512_HMAC, CKK_GENERIC_SECRET, 64,   false,   true  },
};

/*
 * SoftHSM cannot copy a key that is not modifiable, even to a session; its ALLOWED_MECHANISMS
 * carries the lock instead and cannot be changed on key or copy. NSS refuses to generate token
 * keys with ALLOWED_MECHANISMS and reports CKA_LOCAL = false for all.
 */
static const struct profile profiles[] = {
    /* name      manufacturer   modifiable allowed copies local  guarded serial locks */
    { "softhsm", "SoftHSM",     true,      true,   true,  true,  true,   true,  false },
    { "nss",     "Mozilla",     false,     false,  false, false, false,  false, false },
    { "default", "",            false,     true,   false, true,  false,  false, true  },
};
/* clang-format on */

const struct kind *kind_of(enum token_kind kind)
{
    assert(kinds[kind].name);
    return &kinds[kind];
}

const struct profile *profile_for(const CK_INFO *info)
{
    const struct profile *row = profiles;

    /* the last row fits all */
    while (memcmp(info->manufacturerID, row->manufacturer, strlen(row->manufacturer)) != 0)
        row++;
    return row;
}

/* Class, type and every flag: what a strict key has wherever its value comes from. */
static void add_strict(struct attrs *ret, const struct kind *kind, const struct profile *profile,
                       enum key_place place)
{
    attrs_ulong(ret, CKA_CLASS, CKO_SECRET_KEY);
    attrs_ulong(ret, CKA_KEY_TYPE, kind->type);
    attrs_bool(ret, CKA_TOKEN, place == KEY_IN_TOKEN);
    attrs_bool(ret, CKA_PRIVATE, true);
    attrs_bool(ret, CKA_SENSITIVE, true);
    attrs_bool(ret, CKA_EXTRACTABLE, false);
    attrs_bool(ret, CKA_MODIFIABLE, profile->modifiable);
    attrs_bool(ret, CKA_ENCRYPT, kind->encrypts);
    attrs_bool(ret, CKA_DECRYPT, kind->encrypts);
    attrs_bool(ret, CKA_SIGN, kind->signs);
    attrs_bool(ret, CKA_VERIFY, kind->signs);
    attrs_bool(ret, CKA_WRAP, false);
    attrs_bool(ret, CKA_UNWRAP, false);
    attrs_bool(ret, CKA_DERIVE, false);
    if (profile->allowed_mechanisms)
        attrs_bytes(ret, CKA_ALLOWED_MECHANISMS, span_of(&kind->use, sizeof(kind->use)));
}

void mech_template(struct attrs *ret, const struct kind *kind, const struct profile *profile,
                   enum key_place place)
{
    add_strict(ret, kind, profile, place);
    attrs_ulong(ret, CKA_VALUE_LEN, kind->bytes);
}

void mech_import_template(struct attrs *ret, const struct kind *kind,
                          const struct profile *profile, enum key_place place, struct span value)
{
    add_strict(ret, kind, profile, place);
    attrs_bytes(ret, CKA_VALUE, value);
}

CK_GCM_PARAMS mech_gcm(const uint8_t iv[TOKEN_IV_LEN], struct span aad)
{
    /* the module reads what these point to; the struct has no const */
    return (CK_GCM_PARAMS){ .pIv = (CK_BYTE_PTR)iv,
                            .ulIvLen = TOKEN_IV_LEN,
                            .ulIvBits = TOKEN_IV_LEN * 8,
                            .pAAD = (CK_BYTE_PTR)aad.ptr,
                            .ulAADLen = aad.len,
                            .ulTagBits = TOKEN_TAG_LEN * 8 };
}
