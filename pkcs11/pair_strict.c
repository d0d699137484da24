/* What a strict private key must refuse: one row, one try. Declared in pair_probe.h. */

#include "pkcs11/state.h"

#define PART_MAX (TOKEN_RSA_MAX + 16)

/* A key under trial, and the session to try it on. */
struct trial {
    struct session *session;
    CK_OBJECT_HANDLE key, wrapper;
    const struct pair *pair;
    enum token_use use;
};

/* Each returns CKR_OK when the forbidden thing worked; what does not apply is refused. */
typedef CK_RV try_fn(const struct trial *trial);

static CK_RV try_read_parts(const struct trial *trial)
{
    static const CK_ATTRIBUTE_TYPE parts[] = { CKA_VALUE,      CKA_PRIVATE_EXPONENT, CKA_PRIME_1,
                                               CKA_PRIME_2,    CKA_EXPONENT_1,       CKA_EXPONENT_2,
                                               CKA_COEFFICIENT };
    uint8_t part[PART_MAX];
    CK_RV rv = CKR_ATTRIBUTE_SENSITIVE;

    for (size_t i = 0; rv != CKR_OK && i < ARRAY_LEN(parts); i++) {
        struct attrs got = { 0 };

        attrs_room(&got, parts[i], part, sizeof(part));
        rv = P11_TRY(trial->session, C_GetAttributeValue, trial->key, got.list, got.count);
        if (rv == CKR_OK && got.list[0].ulValueLen == 0)
            rv = CKR_ATTRIBUTE_SENSITIVE; /* nothing is there, as for a part of another type */
    }
    secret_wipe(part, sizeof(part));
    return rv;
}

static CK_RV try_wrap(const struct trial *trial)
{
    return strict_wrap(trial->session, trial->key, trial->wrapper);
}

static CK_RV try_copy_extractable(const struct trial *trial)
{
    return strict_copy(trial->session, trial->key, CKA_EXTRACTABLE, true);
}

static CK_RV try_copy_readable(const struct trial *trial)
{
    return strict_copy(trial->session, trial->key, CKA_SENSITIVE, false);
}

static CK_RV try_set_extractable(const struct trial *trial)
{
    return strict_set(trial->session, trial->key, CKA_EXTRACTABLE, true);
}

static CK_RV try_set_readable(const struct trial *trial)
{
    return strict_set(trial->session, trial->key, CKA_SENSITIVE, false);
}

/* An operation that could begin stays open, so its session is of no more use. */
static CK_RV begun(const struct trial *trial, CK_RV rv)
{
    trial->session->broken = trial->session->broken || rv == CKR_OK;
    return rv;
}

static CK_RV begin_sign(const struct trial *trial, CK_MECHANISM_TYPE type)
{
    CK_MECHANISM mechanism = { type, NULL, 0 };

    return begun(trial, P11_TRY(trial->session, C_SignInit, &mechanism, trial->key));
}

static CK_RV begin_decrypt(const struct trial *trial, CK_MECHANISM_TYPE type)
{
    CK_MECHANISM mechanism = { type, NULL, 0 };

    return begun(trial, P11_TRY(trial->session, C_DecryptInit, &mechanism, trial->key));
}

static CK_RV try_sign(const struct trial *trial)
{
    if (trial->use == TOKEN_SIGNS)
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    return begin_sign(trial, trial->pair->type == CKK_RSA ? CKM_RSA_PKCS : CKM_ECDSA);
}

static CK_RV try_decrypt(const struct trial *trial)
{
    if (trial->use == TOKEN_DECRYPTS || trial->pair->type != CKK_RSA)
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    const CK_RV rv = begin_decrypt(trial, CKM_RSA_PKCS);
    return rv == CKR_OK ? rv : begin_decrypt(trial, CKM_RSA_X_509);
}

static CK_RV try_derive(const struct trial *trial)
{
    uint8_t x[TOKEN_PUBLIC_MAX];

    if (trial->use == TOKEN_AGREES || trial->pair->generator.len == 0)
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    return asym_agree(trial->session, trial->key, trial->pair, trial->pair->generator, x);
}

/* The use it has, by a mechanism that none of our algorithms needs. */
static CK_RV try_other_mechanism(const struct trial *trial)
{
    if (trial->pair->type != CKK_RSA)
        return CKR_MECHANISM_INVALID;
    return trial->use == TOKEN_SIGNS ? begin_sign(trial, CKM_SHA1_RSA_PKCS)
                                     : begin_decrypt(trial, CKM_RSA_PKCS);
}

/* clang-format off */
static const struct {
    const char *name;
    bool extraction;
    try_fn *run;
} tries[PAIR_TRIES] = {
    [PAIR_READ_PARTS]       = { "reading its private parts", true,  try_read_parts },
    [PAIR_WRAP]             = { "wrapping it",               true,  try_wrap },
    [PAIR_COPY_EXTRACTABLE] = { "an extractable copy",       true,  try_copy_extractable },
    [PAIR_COPY_READABLE]    = { "a copy not sensitive",      true,  try_copy_readable },
    [PAIR_SET_EXTRACTABLE]  = { "making it extractable",     true,  try_set_extractable },
    [PAIR_SET_READABLE]     = { "making it not sensitive",   true,  try_set_readable },
    [PAIR_SIGN]             = { "signing with it",           false, try_sign },
    [PAIR_DECRYPT]          = { "decrypting with it",        false, try_decrypt },
    [PAIR_DERIVE]           = { "deriving from it",          false, try_derive },
    [PAIR_OTHER_MECHANISM]  = { "another mechanism",         false, try_other_mechanism },
};
/* clang-format on */

/* On a session without an open operation, which would refuse for its own reasons. */
static int try_one(struct token *token, enum pair_try which, struct trial *trial, bool *ret_refused,
                   struct kms_error *err)
{
    if (token->manage.broken && token_renew_manage(token, err) < 0)
        return -1;
    trial->session = &token->manage;
    trial->wrapper = token->probe.wrapper;
    const CK_RV rv = tries[which].run(trial);
    if (rv != CKR_OK && !strict_refused(rv))
        return session_fail(trial->session, err);
    *ret_refused = rv != CKR_OK;
    return 0;
}

int pair_refusals(struct token *token, const struct pair_probe *probe, CK_OBJECT_HANDLE key,
                  const struct pair *pair, enum token_use use, struct kms_error *err)
{
    struct trial trial = { .key = key, .pair = pair, .use = use };

    for (enum pair_try i = 0; i < PAIR_TRIES; i++) {
        bool refused = true;

        if (!probe->refuses[i])
            continue;
        if (try_one(token, i, &trial, &refused, err) < 0)
            return -1;
        if (!refused)
            return kms_fail(err, KMS_ERR_INTEGRITY, "the token allowed %s", tries[i].name);
    }
    return 0;
}

int pair_probe_strictness(struct token *token, struct pair_probe *probe, CK_OBJECT_HANDLE key,
                          const struct pair *pair, enum token_use use, struct kms_error *err)
{
    struct trial trial = { .key = key, .pair = pair, .use = use };

    probe->enforces_extraction = true;
    for (enum pair_try i = 0; i < PAIR_TRIES; i++) {
        if (try_one(token, i, &trial, &probe->refuses[i], err) < 0)
            return -1;
        if (tries[i].extraction && !probe->refuses[i])
            probe->enforces_extraction = false;
    }
    return 0;
}
