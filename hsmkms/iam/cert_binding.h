#pragma once

/*
 * Client certificates as identities: the SHA-256 of a certificate's public key stands for one user,
 * for doors whose protocol knows no signature. The key is what counts; who issued the certificate
 * and until when it is good mean nothing here.
 *
 * Threads: any after iam_open.
 */

#include "hsmkms/iam/iam.h"

#define CERT_SPKI_LEN     64    /* lower-case hex digits of SHA-256(DER SubjectPublicKeyInfo) */
#define CERT_LABEL_MAX    128   /* bytes */
#define CERT_BINDINGS_MAX 10000 /* of all users */

struct cert_bindings;

/* Errors: INTEGRITY, INTERNAL. directory is open. */
CHECKED int cert_bindings_open(struct iam *iam, struct cert_bindings **ret, struct kms_error *err);
void cert_bindings_close(struct cert_bindings *bindings); /* accepts NULL */

struct cert_binding_draft {
    const char *spki; /* hex, either case */
    const char *account, *user_name;
    const char *label; /* for operators; NULL: none */
};

/*
 * Lets the holder of a key act as a user, from the next request on. Binding it to the same user
 * again changes its label alone.
 *
 * Errors:  VALIDATION; NOT_FOUND (no such user); ALREADY_EXISTS (it stands for another user);
 *          LIMIT_EXCEEDED; INTERNAL
 */
CHECKED int cert_bind(struct iam *iam, const struct cert_binding_draft *draft,
                      struct kms_error *err);

/* Errors: NOT_FOUND, INTERNAL. */
CHECKED int cert_unbind(struct iam *iam, const char *spki, struct kms_error *err);

/* Calls each for every binding in order of spki; each must not call back into the bindings. */
typedef void cert_binding_each_fn(void *arg, const struct certificate_binding_record *record);
void cert_binding_each(struct iam *iam, cert_binding_each_fn *each, void *arg);

/*
 * Whom a key stands for now.
 *
 * spki     as struct http_client_cert has it; "" for no certificate
 * ret      principal_done(); its access_key_id is empty: none was used
 * Errors:  UNRECOGNIZED_CLIENT (no certificate, not bound, its user is disabled or gone)
 */
CHECKED int cert_principal(struct iam *iam, const char *spki, struct principal *ret,
                           struct kms_error *err);
