#pragma once

/*
 * One cryptographic call: what to run with a key's handle, on any session, as often as needed.
 * token_run does what is the same for all: session, turn, lock, proof of the key, retries, breaker.
 */

#include "pkcs11/state.h"

struct work {
    const struct uuid *id; /* NULL: no key */
    struct span canary;
    bool opens; /* a doubtful answer may be the input's fault */
    CK_RV (*run)(struct session *session, CK_OBJECT_HANDLE key, const struct work *work);
    /*
     * CKR_OK when the key is the one that canary means, a class of RV_CIPHERTEXT or RV_DOUBT when
     * it is not. NULL: an AES-GCM key, whose canary has to open; only these get session copies.
     */
    CK_RV (*prove)(struct session *session, CK_OBJECT_HANDLE key, const struct work *work);
    const uint8_t *iv;
    struct span aad, input;
    uint8_t *output;
    bool *repeats;             /* set when the token's generator repeats itself */
    const struct probe *probe; /* its health key is what to use */
    void *more;                /* what else run and prove want to know */
};

/*
 * Errors:  KEY_UNAVAILABLE; INTERNAL; INVALID_CIPHERTEXT (the input is bad, and the token well)
 */
CHECKED int token_run(struct token *token, const struct work *work, struct kms_error *err);
