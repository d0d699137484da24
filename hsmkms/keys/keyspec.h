#pragma once

/*
 * What kinds of keys there are: a row per KeySpec says what it may be used for, by which algorithms,
 * and what the token makes of it. Const tables; nothing here knows a key.
 *
 * Source: AWS KMS Developer Guide, Key spec reference; AWS KMS API Reference, CreateKey.
 */

#include "hsmkms/crypto/public_key.h"
#include "pkcs11/token_asym.h"

enum spec_usage {
    USAGE_ENCRYPT_DECRYPT,
    USAGE_SIGN_VERIFY,
    USAGE_GENERATE_VERIFY_MAC,
    USAGE_KEY_AGREEMENT,
    USAGE_ENCAPSULATE_DECAPSULATE,
    SPEC_USAGES
};

struct algorithm {
    const char *name;
    enum token_algorithm token; /* not of SYMMETRIC_DEFAULT */
    enum hash hash;             /* of message or padding */
    enum signature_scheme scheme;
    enum { INPUT_ANY, INPUT_RAW, INPUT_DIGEST } input; /* what Sign and Verify take */
    bool unoffered; /* known, and done by no token of this service */
};

#define SPEC_ALGORITHMS_MAX 7

struct keyspec {
    const char *name;
    enum { SPEC_AES, SPEC_PAIR, SPEC_MAC, SPEC_UNOFFERED } type;
    enum token_kind kind;
    enum public_kind public_kind; /* of pairs */
    /* by usage, NULL at the end; an empty list: not for this usage */
    const struct algorithm *algorithms[SPEC_USAGES][SPEC_ALGORITHMS_MAX];
};

extern const struct keyspec keyspecs[];
extern const size_t keyspec_count;

/* The row of a name, or NULL. */
const struct keyspec *keyspec_find(const char *name);

const char *spec_usage_text(enum spec_usage usage); /* as in KeyUsage */
CHECKED bool spec_usage_parse(const char *text, enum spec_usage *ret);

bool keyspec_allows(const struct keyspec *spec, enum spec_usage usage);

/* An algorithm of the spec for a usage, or NULL. */
const struct algorithm *keyspec_algorithm(const struct keyspec *spec, enum spec_usage usage,
                                          const char *name);

/* Whether keys of this spec encrypt and decrypt by SYMMETRIC_DEFAULT: versions, contexts, blobs. */
static inline bool keyspec_is_symmetric(const struct keyspec *spec)
{
    return spec->type == SPEC_AES;
}

/* 2048, 3072 or 4096; 0 for what is no RSA key. */
unsigned keyspec_modulus_bits(const struct keyspec *spec);

/* What a pair of this usage is for in the token. */
enum token_use keyspec_token_use(enum spec_usage usage);

/*
 * Whether this token can do all that the spec promises for a usage. The first question about a kind
 * of key asks the token by trying.
 *
 * Errors: KEY_UNAVAILABLE
 */
CHECKED int keyspec_supported(struct token *token, const struct keyspec *spec,
                              enum spec_usage usage, bool *ret, struct kms_error *err);
/* Whether the token leaves it to its caller to undo a padding of that usage. Errors: the same. */
CHECKED int keyspec_pads_outside(struct token *token, const struct keyspec *spec,
                                 enum spec_usage usage, bool *ret, struct kms_error *err);
