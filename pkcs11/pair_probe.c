#include "pkcs11/state.h"

#include <unistd.h>

void pair_allowed(const struct pair_probe *probe, const struct pair *pair, enum token_use use,
                  struct mechanisms *ret)
{
    *ret = (struct mechanisms){ 0 };
    for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++) {
        const struct algorithm *const algorithm = algorithm_of(i);

        if (algorithm->use != use || !algorithm_fits(algorithm, pair))
            continue;
        if (probe->support[i] == TOKEN_WITHIN)
            mechanisms_add(ret, algorithm->mechanism);
        if (probe->support[i] == TOKEN_BY_RAW)
            mechanisms_add(ret, CKM_RSA_X_509);
    }
}

CK_RV pair_make(struct session *session, const struct pair *pair, enum token_use use,
                const struct mechanisms *allowed, const struct uuid *id, const char *label,
                struct halves *ret)
{
    const enum key_place place = id ? KEY_IN_TOKEN : KEY_IN_SESSION;
    CK_MECHANISM make = { pair->make, NULL, 0 };
    struct attrs public_key = { 0 }, private_key = { 0 };

    pair_public_template(&public_key, pair, use, place);
    pair_template(&private_key, pair, use, session->module->profile, place, allowed);
    if (id) {
        attrs_bytes(&public_key, CKA_ID, uuid_span(id));
        attrs_bytes(&public_key, CKA_LABEL, span_text(label));
        attrs_bytes(&private_key, CKA_ID, uuid_span(id));
        attrs_bytes(&private_key, CKA_LABEL, span_text(label));
    }
    return P11_TRY(session, C_GenerateKeyPair, &make, public_key.list, public_key.count,
                   private_key.list, private_key.count, &ret->public_key, &ret->private_key);
}

/* One algorithm, there and back, with something that must not work. False: it does not. */

#define PROBE_LEN 32

/* A token that got lost on the way has refused nothing. */
static bool is_refusal(CK_RV rv)
{
    return ck_class(rv) == RV_CIPHERTEXT || strict_refused(rv);
}

static bool signs(struct session *session, const struct halves *made, const struct pair *pair,
                  const struct algorithm *algorithm)
{
    const size_t digest_len = pair->type == CKK_EC ? pair->digest_len : algorithm->digest_len;
    const size_t len = pair->type == CKK_RSA ? pair->bytes : 2 * pair->bytes;
    uint8_t input[TOKEN_MAC_MAX] = "probe", signature[TOKEN_RSA_MAX];
    const struct span digest = span_of(input, digest_len ? digest_len : PROBE_LEN);

    if (asym_sign(session, made->private_key, algorithm, digest, signature, len) != CKR_OK ||
        asym_verify(session, made->public_key, algorithm, digest, span_of(signature, len)) !=
            CKR_OK)
        return false;
    input[0] ^= 1;
    /* NSS calls a bad PKCS #1 signature a CKR_DEVICE_ERROR; nothing of ours asks it to verify one
     */
    const CK_RV rv =
        asym_verify(session, made->public_key, algorithm, digest, span_of(signature, len));
    return is_refusal(rv) || ck_class(rv) == RV_DEVICE;
}

static bool decrypts(struct session *session, const struct halves *made, const struct pair *pair,
                     const struct algorithm *algorithm)
{
    uint8_t plain[PROBE_LEN] = "probe", sealed[TOKEN_RSA_MAX] = { 0 },
            opened[TOKEN_RSA_MAX] = { 0 };
    const struct span in = span_of(sealed, pair->bytes);
    size_t len = 0;

    if (asym_encrypt(session, made->public_key, algorithm, SPAN_ARRAY(plain), sealed,
                     pair->bytes) != CKR_OK ||
        asym_decrypt(session, made->private_key, algorithm, in, opened, &len) != CKR_OK ||
        !span_equal(span_of(opened, len), SPAN_ARRAY(plain)))
        return false;
    sealed[pair->bytes - 1] ^= 1;
    return is_refusal(asym_decrypt(session, made->private_key, algorithm, in, opened, &len));
}

/* The public operation undoes the private one. */
static bool does_raw(struct session *session, const struct halves *made, const struct pair *pair,
                     enum token_use use)
{
    static const struct algorithm raw = { .mechanism = CKM_RSA_X_509 };
    uint8_t plain[TOKEN_RSA_MAX] = { 0 }, sealed[TOKEN_RSA_MAX] = { 0 };
    uint8_t opened[TOKEN_RSA_MAX] = { 0 };
    const struct span in = span_of(plain, pair->bytes), out = span_of(sealed, pair->bytes);

    memcpy(plain + 2, "probe", 5); /* less than any modulus, and with zeros in front */
    if (use == TOKEN_SIGNS)
        return asym_raw(session, made->private_key, use, in, sealed) == CKR_OK &&
               asym_verify(session, made->public_key, &raw, in, out) == CKR_OK;
    return asym_encrypt(session, made->public_key, &raw, in, sealed, pair->bytes) == CKR_OK &&
           asym_raw(session, made->private_key, use, out, opened) == CKR_OK &&
           span_equal(span_of(opened, pair->bytes), in);
}

/* pair_prove has agreed with a good point; one that is off the curve must be refused. */
static bool agrees(struct session *session, const struct halves *made, const struct pair *pair)
{
    uint8_t off[TOKEN_PUBLIC_MAX] = { 0 }, x[TOKEN_PUBLIC_MAX];
    const struct span point = span_of(off, pair->generator.len);

    memcpy(off, pair->generator.ptr, pair->generator.len);
    off[point.len - 1] ^= 1;
    return is_refusal(asym_agree(session, made->private_key, pair, point, x));
}

static bool works(struct session *session, const struct halves *made, const struct pair *pair,
                  enum token_algorithm which)
{
    const struct algorithm *const algorithm = algorithm_of(which);

    switch (algorithm->use) {
    case TOKEN_SIGNS:
        return signs(session, made, pair, algorithm);
    case TOKEN_DECRYPTS:
        return decrypts(session, made, pair, algorithm);
    default:
        return agrees(session, made, pair);
    }
}

bool pair_works(struct session *session, const struct halves *made, enum token_kind kind,
                enum token_use use, const struct pair_probe *known)
{
    const struct pair *const pair = pair_of(kind);

    for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++) {
        if (algorithm_of(i)->use != use || !algorithm_fits(algorithm_of(i), pair))
            continue;
        if (known->support[i] == TOKEN_WITHIN)
            return works(session, made, pair, i);
        if (known->support[i] == TOKEN_BY_RAW)
            return does_raw(session, made, pair, use);
    }
    return false;
}

/* Pairs */

/* Failed tries leave operations open. */
static int fresh(struct token *token, struct kms_error *err)
{
    return token_renew_manage(token, err);
}

#define PROBE_TRIES 2 /* not every fault lasts; one that does, while the token is well, is a no */

/* What got lost on the way says nothing of what the token can do. */
static bool is_answer(CK_RV rv)
{
    const enum ck_class class = ck_class(rv);

    return class == RV_OK || class == RV_DEVICE || is_refusal(rv);
}

/* On a session without an open operation. */
static int try_algorithm(struct token *token, const struct halves *made, const struct pair *pair,
                         enum token_algorithm which, enum token_support *ret, struct kms_error *err)
{
    const enum token_use use = algorithm_of(which)->use;

    for (int i = 0; i < PROBE_TRIES; i++) {
        if (fresh(token, err) < 0)
            return -1;
        if (works(&token->manage, made, pair, which)) {
            *ret = TOKEN_WITHIN;
            return 0;
        }
        if (!is_answer(token->manage.rv))
            return session_fail(&token->manage, err);
    }
    if (pair->type != CKK_RSA)
        return 0;
    if (fresh(token, err) < 0)
        return -1;
    if (does_raw(&token->manage, made, pair, use))
        *ret = TOKEN_BY_RAW;
    return is_answer(token->manage.rv) ? 0 : session_fail(&token->manage, err);
}

static int probe_algorithms(struct token *token, const struct halves *made, enum token_kind kind,
                            enum token_use use, struct pair_probe *ret, struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);

    for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++) {
        const struct algorithm *const algorithm = algorithm_of(i);

        if (algorithm->use != use || !algorithm_fits(algorithm, pair))
            continue;
        if (try_algorithm(token, made, pair, i, &ret->support[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ret_good: its halves belong together and what came out is a public key of this kind. */
static int probe_halves(struct token *token, const struct halves *made, enum token_kind kind,
                        enum token_use use, bool *ret_good, struct kms_error *err)
{
    struct session *const session = &token->manage;
    struct token_public public_key;

    *ret_good = false;
    for (int i = 0; !*ret_good && i < PROBE_TRIES; i++) {
        if (fresh(token, err) < 0)
            return -1;
        *ret_good = pair_read_public(session, made->public_key, kind, &public_key) == CKR_OK &&
                    pair_prove(session, made->private_key, kind, use,
                               token_public_span(&public_key)) == CKR_OK;
        if (!*ret_good && !is_answer(session->rv))
            return session_fail(session, err);
    }
    return 0;
}

static int probe_made(struct token *token, const struct halves *made, enum token_kind kind,
                      enum token_use use, struct pair_probe *ret, struct kms_error *err)
{
    bool good = false;

    if (probe_halves(token, made, kind, use, &good, err) < 0 ||
        (good && probe_algorithms(token, made, kind, use, ret, err) < 0) || fresh(token, err) < 0)
        return -1;
    return good ? pair_probe_strictness(token, ret, made->private_key, pair_of(kind), use, err) : 0;
}

/* Sizes are the one thing that a token is believed: trying the largest takes seconds. */
static void read_sizes(const struct module *module, const struct pair *pair, struct pair_probe *ret)
{
    CK_MECHANISM_INFO info = { 0 }; /* some modules only add bits to what they find */

    if (module->list->C_GetMechanismInfo(module->slot, pair->make, &info) == CKR_OK) {
        ret->bits_least = info.ulMinKeySize;
        ret->bits_most = info.ulMaxKeySize;
    }
}

static int probe_pair(struct token *token, enum token_kind kind, enum token_use use,
                      struct pair_probe *ret, struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);
    struct session *const owner = &token->owner; /* outlives the sessions that get broken */
    struct halves made = { 0 };
    struct mechanisms all = { 0 };

    for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++)
        if (algorithm_of(i)->use == use && algorithm_fits(algorithm_of(i), pair))
            mechanisms_add(&all, algorithm_of(i)->mechanism);
    if (pair->type == CKK_RSA)
        mechanisms_add(&all, CKM_RSA_X_509);
    read_sizes(&token->module, pair, ret);

    CK_RV rv = CKR_DEVICE_ERROR;
    token_aside(token);
    for (int i = 0; rv != CKR_OK && is_answer(rv) && i < PROBE_TRIES; i++)
        rv = pair_make(owner, pair, use, &all, NULL, NULL, &made);
    if (token_aside_done(token, err) < 0)
        return -1;
    if (rv != CKR_OK)
        return is_answer(rv) ? 0 : session_fail(owner, err);
    const int done = probe_made(token, &made, kind, use, ret, err);
    (void)P11_TRY(owner, C_DestroyObject, made.private_key); /* goes with the session otherwise */
    (void)P11_TRY(owner, C_DestroyObject, made.public_key);
    return done;
}

/* MAC keys */

static bool macs(struct session *session, CK_OBJECT_HANDLE key, const struct kind *kind)
{
    uint8_t first[TOKEN_MAC_MAX], again[TOKEN_MAC_MAX], other[TOKEN_MAC_MAX];

    return asym_mac(session, key, kind, SPAN_LITERAL("probe"), first) == CKR_OK &&
           asym_mac(session, key, kind, SPAN_LITERAL("probe"), again) == CKR_OK &&
           asym_mac(session, key, kind, SPAN_LITERAL("probf"), other) == CKR_OK &&
           memcmp(first, again, kind->bytes) == 0 && /* public: of a throw-away key */
           memcmp(first, other, kind->bytes) != 0;   /* public, likewise */
}

static int probe_mac(struct token *token, enum token_kind which, struct pair_probe *ret,
                     struct kms_error *err)
{
    const struct kind *const kind = kind_of(which);
    CK_MECHANISM make = { kind->make, NULL, 0 };
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    struct attrs want = { 0 };

    mech_template(&want, kind, token->module.profile, KEY_IN_SESSION);
    if (P11_TRY(&token->owner, C_GenerateKey, &make, want.list, want.count, &key) != CKR_OK)
        return is_answer(token->owner.rv) ? 0 : session_fail(&token->owner, err);
    int done = fresh(token, err);
    if (done == 0 && macs(&token->manage, key, kind))
        ret->support[TOKEN_MAC] = TOKEN_WITHIN;
    else if (done == 0 && !is_answer(token->manage.rv))
        done = session_fail(&token->manage, err);
    (void)P11_TRY(&token->owner, C_DestroyObject, key); /* goes with the session otherwise */
    ret->enforces_extraction = token->probe.enforces_extraction;
    return done;
}

int pair_probe_run(struct token *token, enum token_kind kind, enum token_use use,
                   struct pair_probe *ret, struct kms_error *err)
{
    const int probed =
        pair_of(kind) ? probe_pair(token, kind, use, ret, err) : probe_mac(token, kind, ret, err);

    if (probed < 0 || fresh(token, err) < 0)
        return -1;
    return probe_health(&token->probe, &token->manage, err); /* a sick token's no is no answer */
}

int pair_attributes(struct session *session, CK_OBJECT_HANDLE key, const struct pair *pair,
                    enum token_use use, const struct mechanisms *allowed, struct kms_error *err)
{
    struct attrs want = { 0 };

    pair_template(&want, pair, use, session->module->profile, KEY_IN_TOKEN, allowed);
    return probe_made_as(session, key, &want, err);
}
