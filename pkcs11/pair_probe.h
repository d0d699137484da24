#pragma once

/*
 * What a token really does with pairs and MAC keys, found by trying on session keys: which
 * algorithm works there and back, which bad input it refuses, what else it refuses on a strict
 * private key. Later each new pair is put through what this token was seen to refuse.
 *
 * Threads: all with the token's exclusive lock held.
 */

#include "pkcs11/asym.h"
#include "pkcs11/probe.h"

enum pair_try {
    PAIR_READ_PARTS,
    PAIR_WRAP,
    PAIR_COPY_EXTRACTABLE,
    PAIR_COPY_READABLE,
    PAIR_SET_EXTRACTABLE,
    PAIR_SET_READABLE,
    PAIR_SIGN,
    PAIR_DECRYPT,
    PAIR_DERIVE,
    PAIR_OTHER_MECHANISM,
    PAIR_TRIES
};

/* What was learnt of one kind and use. */
struct pair_probe {
    enum token_support support[TOKEN_ALGORITHMS];
    CK_ULONG bits_least, bits_most; /* of moduli */
    bool refuses[PAIR_TRIES];
    bool enforces_extraction;
};

struct pair_memory {
    _Atomic bool known;      /* set once, after */
    struct pair_probe probe; /* was written */
};

/* The mechanisms that a private key may be used by, as far as this token needs them. */
void pair_allowed(const struct pair_probe *probe, const struct pair *pair, enum token_use use,
                  struct mechanisms *ret);

struct halves {
    CK_OBJECT_HANDLE public_key, private_key;
};

/*
 * One C_GenerateKeyPair; never tried twice, because a failed call may have made objects. id and
 * label: NULL for a session pair.
 */
CK_RV pair_make(struct session *session, const struct pair *pair, enum token_use use,
                const struct mechanisms *allowed, const struct uuid *id, const char *label,
                struct halves *ret);

/*
 * Whether two halves belong together and do their work, there and back, as far as this token was
 * seen to do it. The session may be of no more use afterwards.
 */
bool pair_works(struct session *session, const struct halves *made, enum token_kind kind,
                enum token_use use, const struct pair_probe *known);

struct token;

/*
 * Makes a session pair or a session MAC key, tries everything, destroys it, fills ret. Steps aside
 * while it is made.
 *
 * Errors:  KEY_UNAVAILABLE (the token is not well, so nothing was learnt)
 */
CHECKED int pair_probe_run(struct token *token, enum token_kind kind, enum token_use use,
                           struct pair_probe *ret, struct kms_error *err);

/* Learns what is refused on this key. Part of pair_probe_run. */
CHECKED int pair_probe_strictness(struct token *token, struct pair_probe *probe,
                                  CK_OBJECT_HANDLE key, const struct pair *pair, enum token_use use,
                                  struct kms_error *err);

/* Compares with the template. Errors: INTEGRITY (message names the attribute); KEY_UNAVAILABLE. */
CHECKED int pair_attributes(struct session *session, CK_OBJECT_HANDLE key, const struct pair *pair,
                            enum token_use use, const struct mechanisms *allowed,
                            struct kms_error *err);

/* Tries on a key what this token refuses. Errors: INTEGRITY (message names the try). */
CHECKED int pair_refusals(struct token *token, const struct pair_probe *probe, CK_OBJECT_HANDLE key,
                          const struct pair *pair, enum token_use use, struct kms_error *err);
