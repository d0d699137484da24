#include "pkcs11/probe.h"

#include <assert.h>

#define PROBE_PLAIN 32
#define ATTR_ROOM   128 /* bytes; the longest is a list of mechanisms */

/* The session keys */

static int make_key(struct session *owner, const struct attrs *want, CK_OBJECT_HANDLE *ret,
                    struct kms_error *err)
{
    CK_MECHANISM make = { CKM_AES_KEY_GEN, NULL, 0 };

    /* the template is only read */
    if (P11(owner, C_GenerateKey, &make, (CK_ATTRIBUTE_PTR)want->list, want->count, ret) != CKR_OK)
        return session_fail(owner, err);
    return 0;
}

static int make_wrapper(struct session *owner, CK_OBJECT_HANDLE *ret, struct kms_error *err)
{
    struct attrs want = { 0 };

    attrs_ulong(&want, CKA_CLASS, CKO_SECRET_KEY);
    attrs_ulong(&want, CKA_KEY_TYPE, CKK_AES);
    attrs_ulong(&want, CKA_VALUE_LEN, 32);
    attrs_bool(&want, CKA_TOKEN, false);
    attrs_bool(&want, CKA_PRIVATE, true);
    attrs_bool(&want, CKA_SENSITIVE, true);
    attrs_bool(&want, CKA_EXTRACTABLE, false);
    attrs_bool(&want, CKA_ENCRYPT, false);
    attrs_bool(&want, CKA_DECRYPT, false);
    attrs_bool(&want, CKA_WRAP, true);
    attrs_bool(&want, CKA_UNWRAP, false);
    return make_key(owner, &want, ret, err);
}

int probe_keys(struct probe *probe, struct session *owner, struct kms_error *err)
{
    const struct kind *const kind = kind_of(TOKEN_AES_GCM);
    struct attrs want = { 0 };

    mech_template(&want, kind, owner->module->profile, KEY_IN_SESSION);
    if (make_wrapper(owner, &probe->wrapper, err) < 0 ||
        make_key(owner, &want, &probe->health, err) < 0)
        return -1;
    probe->health_id = uuid_random();
    if (canary_make(owner, probe->health, &probe->health_id, probe->health_canary) != CKR_OK)
        return session_fail(owner, err);
    return 0;
}

int probe_health(const struct probe *probe, struct session *session, struct kms_error *err)
{
    uint8_t canary[TOKEN_CANARY_LEN];

    if (canary_make(session, probe->health, &probe->health_id, canary) != CKR_OK ||
        canary_open(session, probe->health, &probe->health_id, canary) != CKR_OK)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "health key: %s: %s",
                               session->function, ck_name(session->rv));
    return 0;
}

/* AES-GCM, by doing */

static int unsuitable(struct kms_error *err, const char *why)
{
    return kms_fail(err, KMS_ERR_TOKEN_UNSUITABLE, "%s", why);
}

/* Bytes of a text of the standard, which is padded with blanks. */
#define padded_len(text) ((int)p11_kit_space_strlen((text), sizeof(text)))

static int has_gcm(const struct module *module, struct kms_error *err)
{
    CK_MECHANISM_INFO info = { 0 }; /* some modules only add bits to what they find */
    const CK_RV rv = module->list->C_GetMechanismInfo(module->slot, CKM_AES_GCM, &info);

    if (rv == CKR_OK && (info.flags & CKF_ENCRYPT) && (info.flags & CKF_DECRYPT))
        return 0;
    return kms_fail(err, KMS_ERR_TOKEN_UNSUITABLE,
                    "token '%.*s' (%.*s) cannot serve: %s, and keys are used by AES-GCM alone; "
                    "take a token that has it",
                    padded_len(module->token.label), module->token.label,
                    padded_len(module->token.model), module->token.model,
                    rv == CKR_OK ? "its CKM_AES_GCM does not both encrypt and decrypt"
                                 : "it has no CKM_AES_GCM");
}

/* Opens sealed with one bit flipped at the given place of iv, aad or sealed. */
static int tamper(const struct probe *probe, struct session *session, uint8_t *place,
                  const uint8_t iv[TOKEN_IV_LEN], struct span aad, struct span sealed,
                  struct kms_error *err)
{
    uint8_t plain[PROBE_PLAIN + TOKEN_TAG_LEN];

    *place ^= 1;
    const CK_RV rv = gcm_open(session, probe->health, iv, aad, sealed, plain);
    *place ^= 1;
    if (rv == CKR_OK)
        return unsuitable(err, "the token opens AES-GCM ciphertexts that were changed");
    return 0;
}

static int probe_gcm(const struct probe *probe, struct session *session, struct kms_error *err)
{
    uint8_t iv[TOKEN_IV_LEN] = { 1 }, aad[5] = "aaaa", plain[PROBE_PLAIN] = "probe";
    uint8_t sealed[PROBE_PLAIN + TOKEN_TAG_LEN], opened[PROBE_PLAIN + TOKEN_TAG_LEN] = { 0 };
    uint8_t *const places[] = { iv, aad, sealed, sealed + PROBE_PLAIN,
                                sealed + sizeof(sealed) - 1 };

    if (gcm_seal(session, probe->health, iv, SPAN_ARRAY(aad), SPAN_ARRAY(plain), sealed) !=
            CKR_OK ||
        gcm_open(session, probe->health, iv, SPAN_ARRAY(aad), SPAN_ARRAY(sealed), opened) != CKR_OK)
        return session_fail(session, err);
    const bool same = memcmp(plain, opened, sizeof(plain)) == 0;      /* public: a fixed text */
    const bool sealed_it = memcmp(plain, sealed, sizeof(plain)) != 0; /* public, likewise */
    if (!same || !sealed_it)
        return unsuitable(err, "the token's AES-GCM does not give back what went in");
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (tamper(probe, session, places[i], iv, SPAN_ARRAY(aad), SPAN_ARRAY(sealed), err) < 0)
            return -1;
    return 0;
}

/* Without an IV some tokens use a fixed one, which would be fatal; we only note it. */
static bool takes_empty_iv(const struct probe *probe, struct session *session)
{
    CK_GCM_PARAMS params = { .ulTagBits = TOKEN_TAG_LEN * 8 };
    CK_MECHANISM mechanism = { CKM_AES_GCM, &params, sizeof(params) };
    uint8_t plain[1] = { 0 }, sealed[1 + TOKEN_TAG_LEN + TOKEN_IV_LEN];
    CK_ULONG len = sizeof(sealed);

    if (P11_TRY(session, C_EncryptInit, &mechanism, probe->health) != CKR_OK)
        return false;
    session->broken = true; /* whatever it left behind goes with the session */
    return P11_TRY(session, C_Encrypt, plain, sizeof(plain), sealed, &len) == CKR_OK;
}

static bool copies_work(const struct probe *probe, struct session *session, struct session *owner)
{
    CK_OBJECT_HANDLE copy = CK_INVALID_HANDLE;
    struct kms_error refused = { 0 };
    struct attrs change = { 0 };

    attrs_bool(&change, CKA_TOKEN, false);
    if (P11_TRY(owner, C_CopyObject, probe->health, change.list, change.count, &copy) != CKR_OK)
        return false;
    const bool good =
        canary_open(session, copy, &probe->health_id, probe->health_canary) == CKR_OK &&
        probe_refusals(probe, session, kind_of(TOKEN_AES_GCM), copy, &refused) == 0;
    (void)P11(owner, C_DestroyObject, copy); /* goes with the session otherwise */
    return good;
}

int probe_run(struct probe *probe, struct session *session, struct session *owner,
              struct kms_error *err)
{
    if (has_gcm(session->module, err) < 0 || probe_keys(probe, owner, err) < 0 ||
        probe_gcm(probe, session, err) < 0 || probe_strictness(probe, session, err) < 0)
        return -1;
    probe->copies = session->module->profile->copies && probe->enforces_extraction &&
                    copies_work(probe, session, owner);
    probe->empty_iv = takes_empty_iv(probe, session);
    return 0;
}

/* Attributes of one key */

static int differs(struct kms_error *err, CK_ATTRIBUTE_TYPE type)
{
    return kms_fail(err, KMS_ERR_INTEGRITY, "key attribute %s is not as it was made",
                    attr_name(type));
}

int probe_is_as(struct session *session, CK_OBJECT_HANDLE key, const struct attrs *want,
                struct kms_error *err)
{
    uint8_t room[ATTRS_MAX][ATTR_ROOM];
    struct attrs got = { 0 };

    /* room of exactly the expected length: NSS takes no more for a number, and more is wrong */
    for (CK_ULONG i = 0; i < want->count; i++) {
        assert(want->list[i].ulValueLen <= ATTR_ROOM);
        attrs_room(&got, want->list[i].type, room[i], want->list[i].ulValueLen);
    }

    const CK_RV rv = P11_TRY(session, C_GetAttributeValue, key, got.list, got.count);
    if (rv != CKR_OK && ck_class(rv) != RV_BUG)
        return session_fail(session, err);
    for (CK_ULONG i = 0; i < want->count; i++)
        if (!attr_same(&got.list[i], &want->list[i]))
            return differs(err, want->list[i].type);
    return 0;
}

int probe_made_as(struct session *session, CK_OBJECT_HANDLE key, struct attrs *want,
                  struct kms_error *err)
{
    attrs_bool(want, CKA_ALWAYS_SENSITIVE, true);
    attrs_bool(want, CKA_NEVER_EXTRACTABLE, true);
    if (session->module->profile->local)
        attrs_bool(want, CKA_LOCAL, true);
    return probe_is_as(session, key, want, err);
}

int probe_attributes(struct session *session, const struct kind *kind, CK_OBJECT_HANDLE key,
                     struct kms_error *err)
{
    struct attrs want = { 0 };

    mech_template(&want, kind, session->module->profile, KEY_IN_TOKEN);
    return probe_made_as(session, key, &want, err);
}
