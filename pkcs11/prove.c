/* Whether a handle means the key it should; declared in asym.h. */

#include "pkcs11/asym.h"

#include <unistd.h>

#include <sodium.h>

#define CANARY_TEXT "hsmkms canary"

/* It is another key. */
static CK_RV differs(struct session *session)
{
    return session_heard(session, "public key (differs)", CKR_ENCRYPTED_DATA_INVALID);
}

/* A refusal where the right key would do it is as good as a wrong result. */
static CK_RV as_proof(struct session *session, CK_RV rv)
{
    if (ck_class(rv) != RV_BUG)
        return rv;
    session->broken = true; /* an operation may be left open */
    return differs(session);
}

/* The numbers belong to the private object itself. */
static CK_RV prove_rsa(struct session *session, CK_OBJECT_HANDLE key, enum token_kind kind,
                       struct span public_key)
{
    struct token_public got;
    const CK_RV rv = pair_read_public(session, key, kind, &got);

    if (rv != CKR_OK)
        return rv;
    return span_equal(token_public_span(&got), public_key) ? CKR_OK : differs(session);
}

/* Signs something new, and lets the token verify it under the bytes that we know. */
static CK_RV prove_by_signing(struct session *session, CK_OBJECT_HANDLE key,
                              const struct pair *pair, struct span public_key)
{
    const struct algorithm *const algorithm =
        algorithm_of(pair->type == CKK_EC ? TOKEN_ECDSA : TOKEN_ED25519);
    const size_t len = pair->bytes * 2;
    uint8_t digest[TOKEN_MAC_MAX], signature[TOKEN_RSA_MAX];
    const struct span input = span_of(digest, pair->digest_len ? pair->digest_len : 32);
    CK_OBJECT_HANDLE known = CK_INVALID_HANDLE;

    if (getentropy(digest, sizeof(digest)) != 0)
        return session_saw(session, "getentropy", CKR_DEVICE_ERROR);
    CK_RV rv = asym_sign(session, key, algorithm, input, signature, len);
    if (rv == CKR_OK)
        rv = pair_make_public(session, pair, public_key, &known);
    if (rv != CKR_OK)
        return as_proof(session, rv);
    rv = asym_verify(session, known, algorithm, input, span_of(signature, len));
    if (session->module->list->C_DestroyObject(session->handle, known) != CKR_OK)
        session->broken = true; /* it goes with the session */
    return as_proof(session, rv);
}

/* Agreeing with the generator multiplies it by the private key: that is the public key. */
static CK_RV prove_by_agreeing(struct session *session, CK_OBJECT_HANDLE key,
                               const struct pair *pair, struct span public_key)
{
    uint8_t x[TOKEN_PUBLIC_MAX];
    const CK_RV rv = asym_agree(session, key, pair, pair->generator, x);

    if (rv == CKR_DATA_INVALID) /* how asym_agree calls a refusal; there is no better point */
        return differs(session);
    if (rv != CKR_OK)
        return rv;
    return span_equal(span_of(x, pair->bytes), span_of(public_key.ptr + 1, pair->bytes))
               ? CKR_OK
               : differs(session);
}

CK_RV pair_prove(struct session *session, CK_OBJECT_HANDLE key, enum token_kind kind,
                 enum token_use use, struct span public_key)
{
    const struct pair *const pair = pair_of(kind);

    if (public_key.len != pair_public_len(pair))
        return differs(session);
    if (pair->type == CKK_RSA)
        return prove_rsa(session, key, kind, public_key);
    return use == TOKEN_AGREES ? prove_by_agreeing(session, key, pair, public_key)
                               : prove_by_signing(session, key, pair, public_key);
}

/* MAC keys */

struct canary_data {
    uint8_t bytes[sizeof(CANARY_TEXT) - 1 + sizeof(struct uuid)];
};

CK_RV mac_canary_make(struct session *session, CK_OBJECT_HANDLE key, const struct kind *kind,
                      const struct uuid *id, uint8_t ret[TOKEN_CANARY_LEN])
{
    uint8_t mac[TOKEN_MAC_MAX], hash[crypto_hash_sha512_BYTES];
    struct canary_data data;

    memcpy(data.bytes, CANARY_TEXT, sizeof(CANARY_TEXT) - 1);
    memcpy(data.bytes + sizeof(CANARY_TEXT) - 1, id->bytes, sizeof(id->bytes));
    const CK_RV rv = asym_mac(session, key, kind, SPAN_ARRAY(data.bytes), mac);
    if (rv == CKR_OK) {
        (void)crypto_hash_sha512(hash, mac, kind->bytes); /* cannot fail */
        memcpy(ret, hash, TOKEN_CANARY_LEN);
    }
    secret_wipe(mac, sizeof(mac));
    return rv;
}

CK_RV mac_prove(struct session *session, CK_OBJECT_HANDLE key, const struct kind *kind,
                const struct uuid *id, struct span canary)
{
    uint8_t made[TOKEN_CANARY_LEN];
    const CK_RV rv = mac_canary_make(session, key, kind, id, made);

    if (rv != CKR_OK)
        return as_proof(session, rv);
    return span_equal(canary, SPAN_ARRAY(made)) ? CKR_OK : differs(session);
}
