#pragma once

/*
 * Rows: what our kinds of key are to a token, and how tokens differ from each other. Nothing is
 * learnt here at run time; probe.h tries whether a row is true.
 *
 * Source: PKCS #11 Current Mechanisms v2.40 with errata 01, section 2.12 (AES-GCM: ulIvBits is
 * part of the parameter).
 */

#include "pkcs11/attr.h"
#include "pkcs11/token.h"

struct kind {
    const char *name;
    CK_MECHANISM_TYPE make, use;
    CK_KEY_TYPE type;
    CK_ULONG bytes;
    bool encrypts, signs;
};

/* Of kinds that are no pairs. */
const struct kind *kind_of(enum token_kind kind);

struct profile {
    const char *name;
    const char *manufacturer; /* what CK_INFO.manufacturerID begins with; "" fits all */
    bool modifiable;          /* CKA_MODIFIABLE of a key: a token may copy nothing else */
    bool allowed_mechanisms;  /* CKA_ALLOWED_MECHANISMS on token keys is honoured */
    bool copies;              /* session copies are faster and stay locked */
    bool local;               /* CKA_LOCAL tells the truth */
    bool guarded;             /* the token is files that need guard.h */
    bool serial;              /* calls at a time gain nothing: the module locks itself */
    bool locks;               /* the PIN locks after some failed tries */
};

const struct profile *profile_for(const CK_INFO *info);

/* Where a key lives. */
enum key_place { KEY_IN_SESSION, KEY_IN_TOKEN };

/*
 * The template of a strict key: every flag is stated, because tokens differ in their defaults.
 * Id and label are not in it.
 */
void mech_template(struct attrs *ret, const struct kind *kind, const struct profile *profile,
                   enum key_place place);

/* The same for C_CreateObject, which is told the value in place of its length. Borrows value. */
void mech_import_template(struct attrs *ret, const struct kind *kind,
                          const struct profile *profile, enum key_place place, struct span value);

/* The AES-GCM parameter; borrows iv and aad. */
CK_GCM_PARAMS mech_gcm(const uint8_t iv[TOKEN_IV_LEN], struct span aad);
