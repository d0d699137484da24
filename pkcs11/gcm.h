#pragma once

/*
 * AES-GCM calls on one session, and canaries: a short ciphertext that is known to open under one
 * key and no other. Answers are CK_RVs, because the callers judge them.
 */

#include "pkcs11/session.h"

/* ret: plain.len + TOKEN_TAG_LEN bytes. */
CK_RV gcm_seal(struct session *session, CK_OBJECT_HANDLE key, const uint8_t iv[TOKEN_IV_LEN],
               struct span aad, struct span plain, uint8_t *ret);

/*
 * ret has room for sealed.len bytes, which some tokens insist on, and receives sealed.len -
 * TOKEN_TAG_LEN.
 */
CK_RV gcm_open(struct session *session, CK_OBJECT_HANDLE key, const uint8_t iv[TOKEN_IV_LEN],
               struct span aad, struct span sealed, uint8_t *ret);

/* IV, then 16 zero bytes sealed with the key's id in the AAD. */
CK_RV canary_make(struct session *session, CK_OBJECT_HANDLE key, const struct uuid *id,
                  uint8_t ret[TOKEN_CANARY_LEN]);

/* CKR_OK when it opens and holds what it should; any other answer of the token otherwise. */
CK_RV canary_open(struct session *session, CK_OBJECT_HANDLE key, const struct uuid *id,
                  const uint8_t canary[TOKEN_CANARY_LEN]);
