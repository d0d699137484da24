#pragma once

/*
 * What a CK_RV means: its name, and the class that says what to do next. The only place where a
 * PKCS#11 code becomes one of ours. Pure tables.
 *
 * Source: PKCS #11 Base Specification v2.40, section 5.1 (function return values).
 */

#include <p11-kit/pkcs11.h>

#include "hsmkms/base/error.h"

enum ck_class {
    RV_OK,
    RV_CIPHERTEXT, /* the token says that a ciphertext is bad; nothing is wrong with the token */
    RV_DOUBT,      /* a bad ciphertext or a sick token: a canary has to tell */
    RV_SESSION,    /* the session is gone */
    RV_HANDLE,     /* the object handle is gone */
    RV_LOGIN,      /* nobody is logged in */
    RV_DEVICE,     /* the token is gone or broken; also what no row names */
    RV_RESET,      /* the module has to be initialised again */
    RV_MEMORY,     /* out of memory or sessions: asking again at once makes it worse */
    RV_PIN,        /* a verdict on a PIN */
    RV_RANDOM,     /* no random generator, or one that repeats itself */
    RV_BUG,        /* the call was wrong, or an earlier one left an operation behind */
    RV_CLASSES
};

/* How the callers of a failed call go on. */
struct ck_rule {
    enum kms_err code; /* when it stays so */
    unsigned retries;  /* on new sessions, if the call has no side effect */
    bool trips;        /* a failure after them opens the breaker */
};

enum ck_class ck_class(CK_RV rv);
const struct ck_rule *ck_rule(enum ck_class class);

/* "CKR_DEVICE_ERROR"; codes without a row are "CKR_?". */
const char *ck_name(CK_RV rv);

/* Fills err with the code of the class and "C_Encrypt: CKR_DEVICE_ERROR (0x30)"; returns -1. */
int ck_fail(struct kms_error *err, const char *function, CK_RV rv);
