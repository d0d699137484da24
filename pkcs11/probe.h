#pragma once

/*
 * What a token really does, found by trying: lists of mechanisms and attributes lie in both
 * directions. At start a throw-away session key is put through everything a strict key must do
 * and must refuse; later each new key is put through what this token was seen to refuse.
 *
 * Threads: all with the token's exclusive lock held, or before there are others.
 */

#include "pkcs11/gcm.h"

enum strict_try {
    TRY_READ_VALUE,
    TRY_WRAP,
    TRY_COPY_EXTRACTABLE,
    TRY_COPY_READABLE,
    TRY_SET_EXTRACTABLE,
    TRY_SET_READABLE,
    TRY_ECB,
    TRY_DERIVE,
    TRY_OTHER_USE,
    STRICT_TRIES
};

struct probe {
    bool refuses[STRICT_TRIES]; /* tries that this token refuses on a strict key */
    bool enforces_extraction;   /* all tries that would give a key's value away are refused */
    bool copies;                /* a session copy works and is as strict as its original */
    bool empty_iv;              /* AES-GCM without an IV is accepted, so never offer it one */

    /* session keys of the owner's session */
    CK_OBJECT_HANDLE wrapper; /* for TRY_WRAP */
    CK_OBJECT_HANDLE health;  /* a strict AES-GCM key */
    struct uuid health_id;
    uint8_t health_canary[TOKEN_CANARY_LEN];
};

/* Makes the session keys anew: at start, and after a login or the owner's session was lost. */
CHECKED int probe_keys(struct probe *probe, struct session *owner, struct kms_error *err);

/* Errors: TOKEN_UNSUITABLE (message says why); KEY_UNAVAILABLE. */
CHECKED int probe_run(struct probe *probe, struct session *session, struct session *owner,
                      struct kms_error *err);

/* Errors: INTEGRITY (message names the attribute); KEY_UNAVAILABLE. */
CHECKED int probe_attributes(struct session *session, const struct kind *kind, CK_OBJECT_HANDLE key,
                             struct kms_error *err);

/* The same for any template of a token object. */
CHECKED int probe_is_as(struct session *session, CK_OBJECT_HANDLE key, const struct attrs *want,
                        struct kms_error *err);

/*
 * The same for an object that the token made itself; what a token says only of such keys is added
 * to want.
 */
CHECKED int probe_made_as(struct session *session, CK_OBJECT_HANDLE key, struct attrs *want,
                          struct kms_error *err);

/* Tries on a key what this token refuses. Errors: INTEGRITY (message names the try). */
CHECKED int probe_refusals(const struct probe *probe, struct session *session,
                           const struct kind *kind, CK_OBJECT_HANDLE key, struct kms_error *err);

/*
 * Forbidden things that are the same for all keys: wrapping one, copying it to the session with a
 * flag changed, changing a flag. CKR_OK when it worked.
 */
CK_RV strict_wrap(struct session *session, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE wrapper);
CK_RV strict_copy(struct session *session, CK_OBJECT_HANDLE key, CK_ATTRIBUTE_TYPE flag,
                  bool value);
CK_RV strict_set(struct session *session, CK_OBJECT_HANDLE key, CK_ATTRIBUTE_TYPE flag, bool value);

/* True when rv says no; an answer of a sick token says nothing. */
bool strict_refused(CK_RV rv);

/* Learns what is refused, on the health key. Part of probe_run. */
CHECKED int probe_strictness(struct probe *probe, struct session *session, struct kms_error *err);

/* A real encryption and decryption by the health key. */
CHECKED int probe_health(const struct probe *probe, struct session *session, struct kms_error *err);
