#pragma once

/*
 * Calls on one session with the keys of token_asym.h, and the proof that a handle means the key it
 * should. Answers are CK_RVs, because the callers judge them.
 */

#include "pkcs11/pair.h"

/*
 * Signs what token_sign takes. ret has room for len bytes, and exactly so many are written.
 */
CK_RV asym_sign(struct session *session, CK_OBJECT_HANDLE key, const struct algorithm *algorithm,
                struct span input, uint8_t *ret, size_t len);

/* The reverse, with a public key. */
CK_RV asym_verify(struct session *session, CK_OBJECT_HANDLE public_key,
                  const struct algorithm *algorithm, struct span input, struct span signature);

/* ret has room for sealed.len bytes; ret_len says how many were written. */
CK_RV asym_decrypt(struct session *session, CK_OBJECT_HANDLE key, const struct algorithm *algorithm,
                   struct span sealed, uint8_t *ret, size_t *ret_len);

/* The reverse, with a public key; ret has room for len bytes, and exactly so many are written. */
CK_RV asym_encrypt(struct session *session, CK_OBJECT_HANDLE public_key,
                   const struct algorithm *algorithm, struct span plain, uint8_t *ret, size_t len);

/* The bare private operation. ret: input.len bytes, zeros in front. */
CK_RV asym_raw(struct session *session, CK_OBJECT_HANDLE key, enum token_use use, struct span input,
               uint8_t *ret);

/* ret: pair->bytes of the shared X. The token's refusal of peer comes as a class of RV_DOUBT. */
CK_RV asym_agree(struct session *session, CK_OBJECT_HANDLE key, const struct pair *pair,
                 struct span peer, uint8_t *ret);

/* ret: as many bytes as the kind says, at most TOKEN_MAC_MAX. */
CK_RV asym_mac(struct session *session, CK_OBJECT_HANDLE key, const struct kind *kind,
               struct span data, uint8_t *ret);

/*
 * CKR_OK when the private key behind the handle belongs to these public bytes and has this use;
 * a class of RV_CIPHERTEXT or RV_DOUBT when it does not; any other answer of the token otherwise.
 */
CK_RV pair_prove(struct session *session, CK_OBJECT_HANDLE key, enum token_kind kind,
                 enum token_use use, struct span public_key);

/* The canary of a MAC key, and whether a key has this one; answers as pair_prove. */
CK_RV mac_canary_make(struct session *session, CK_OBJECT_HANDLE key, const struct kind *kind,
                      const struct uuid *id, uint8_t ret[TOKEN_CANARY_LEN]);
CK_RV mac_prove(struct session *session, CK_OBJECT_HANDLE key, const struct kind *kind,
                const struct uuid *id, struct span canary);
