#pragma once

/*
 * Rows: what our kinds of pair and their algorithms are to a token, the templates of both halves,
 * and public keys in the neutral form of token_asym.h. Nothing is learnt here at run time;
 * pair_probe.h tries whether a row is true.
 *
 * Sources: PKCS #11 Current Mechanisms v2.40 with errata 01, sections 2.1 and 2.3; v3.0, section
 * 2.3.5 (edwards curves named by object identifier); RFC 8017, section 9.2 note 1 (DigestInfo);
 * SEC 2, sections 2.4 to 2.6 (generators); RFC 8410, section 3.
 */

#include "pkcs11/session.h"
#include "pkcs11/token_import.h"

struct pair {
    const char *name;
    CK_MECHANISM_TYPE make;
    CK_KEY_TYPE type;
    CK_ULONG bytes;        /* of the modulus, the field or the encoded point; ECDSA's r and s too */
    size_t digest_len;     /* ECDSA signs digests of this length, 0: does not */
    struct span curve;     /* CKA_EC_PARAMS, empty for RSA */
    struct span generator; /* uncompressed, for curves of SEC 1 */
    bool uses[TOKEN_USES];
    enum token_kind probed; /* the kind whose session pairs speak for this one */
};

/* NULL for kinds that are no pairs. */
const struct pair *pair_of(enum token_kind kind);

/* Bytes of a public key of this kind in struct token_public. */
size_t pair_public_len(const struct pair *pair);

struct algorithm {
    const char *name;
    enum token_use use;
    CK_KEY_TYPE type;
    CK_MECHANISM_TYPE mechanism;
    CK_MECHANISM_TYPE hash; /* parameter of PSS and OAEP */
    CK_RSA_PKCS_MGF_TYPE mgf;
    size_t digest_len;       /* RSA signatures */
    struct span digest_info; /* what PKCS #1 v1.5 puts before the digest */
};

const struct algorithm *algorithm_of(enum token_algorithm algorithm);

/* True when pairs of this kind can have the algorithm at all. */
bool algorithm_fits(const struct algorithm *algorithm, const struct pair *pair);

/* A mechanism with its parameter; points into itself, so it is never copied. */
struct pair_mechanism {
    CK_MECHANISM mechanism;
    union {
        CK_RSA_PKCS_PSS_PARAMS pss;
        CK_RSA_PKCS_OAEP_PARAMS oaep;
    } params;
};

void pair_mechanism(const struct algorithm *algorithm, struct pair_mechanism *ret);

/* The mechanisms a private key may be used by. */
struct mechanisms {
    CK_MECHANISM_TYPE list[TOKEN_ALGORITHMS + 1];
    size_t count;
};

/* Adds one, once. They stay sorted: SoftHSM keeps them as a set and gives them back so. */
void mechanisms_add(struct mechanisms *mechanisms, CK_MECHANISM_TYPE mechanism);

/*
 * The template of a strict private key, every flag stated; borrows allowed. Nothing is copied to
 * sessions, so no profile needs it MODIFIABLE. Id and label are not in it.
 */
void pair_template(struct attrs *ret, const struct pair *pair, enum token_use use,
                   const struct profile *profile, enum key_place place,
                   const struct mechanisms *allowed);

/* What C_CreateObject is told beside pair_template(). Borrows numbers. */
void pair_import_template(struct attrs *ret, const struct pair *pair,
                          const struct token_private *numbers);

/* The template of the public half. */
void pair_public_template(struct attrs *ret, const struct pair *pair, enum token_use use,
                          enum key_place place);

/*
 * Reads a public key object, or what an RSA private key says of its public half.
 *
 * Returns CKR_DATA_INVALID when it is not a key of this kind.
 */
CK_RV pair_read_public(struct session *session, CK_OBJECT_HANDLE key, enum token_kind kind,
                       struct token_public *ret);

/* What token objects are called. */
struct pair_name {
    const struct uuid *id;
    const char *label;
};

/* Makes a public half of the bytes of struct token_public. name: NULL for a session object. */
CK_RV pair_create_public(struct session *session, const struct pair *pair, enum token_use use,
                         struct span public_key, const struct pair_name *name,
                         CK_OBJECT_HANDLE *ret);

/* Makes a session object of public bytes that verifies; of curves only. */
CK_RV pair_make_public(struct session *session, const struct pair *pair, struct span point,
                       CK_OBJECT_HANDLE *ret);
