#pragma once

/*
 * Key pairs and MAC keys of the token: what token.h is for AES-GCM. A private key is made in the
 * token, is used there by reference and never leaves it; what comes out is its public key, in a
 * neutral form, which the floors above keep and use outside (encrypting and verifying need no
 * token).
 *
 * A pair has one use for life: it signs, decrypts or agrees. Its private object is PRIVATE,
 * SENSITIVE, not EXTRACTABLE, not MODIFIABLE, may do its one use and, where the token honours
 * CKA_ALLOWED_MECHANISMS, may do it by the mechanisms of that use alone. The public object stays
 * beside it under the same CKA_ID, because many tokens cannot keep one without the other, but
 * nothing here believes it: it is read when the pair is made, and again only by token_pair_public.
 *
 * Canary. For a pair, struct token_key.canary is its public key: the bytes of struct token_public,
 * which its owner keeps anyway. Whenever a handle is bound to the id anew, the private key behind
 * it has to show that it belongs to these bytes, by doing where attributes cannot tell: RSA keys by
 * the modulus and exponent of the private object itself; ECDSA and Ed25519 keys by a signature
 * that verifies under a session object made of these bytes; ECDH keys by agreeing with the
 * curve's generator, which gives the own public X. For a MAC key the canary is made by
 * token_key_generate. No function here works without a canary. A key that does not match is
 * KEY_UNAVAILABLE: so is another key, or a key of another kind, under the id.
 *
 * Errors common to all: as in token.h, and UNSUPPORTED (token_supports says what the token lacks).
 *
 * Threads: any, beside each other. Making a pair may take seconds (RSA-4096); all others go on
 * with the handles they know meanwhile, while whatever has to search, make or destroy waits.
 *
 * Sources: PKCS #11 Base Specification v2.40, sections 4.8, 4.9 (public and private key objects);
 * Current Mechanisms v2.40 with errata 01, sections 2.1 (RSA), 2.3 (elliptic curves), 2.21 to 2.24
 * (HMAC), and v3.0, section 2.3 (edwards curves, EdDSA).
 */

#include "pkcs11/token.h"

/* What a pair is for. */
enum token_use { TOKEN_SIGNS, TOKEN_DECRYPTS, TOKEN_AGREES, TOKEN_USES };

enum token_algorithm {
    TOKEN_RSA_PKCS1_SHA256, /* RSASSA-PKCS1-v1_5 over a DigestInfo (RFC 8017, section 8.2) */
    TOKEN_RSA_PKCS1_SHA384,
    TOKEN_RSA_PKCS1_SHA512,
    TOKEN_RSA_PSS_SHA256, /* MGF1 with the same hash, salt as long as the digest */
    TOKEN_RSA_PSS_SHA384,
    TOKEN_RSA_PSS_SHA512,
    TOKEN_ECDSA,         /* over a digest: 32 bytes, P-384: 48, P-521: 64 */
    TOKEN_ED25519,       /* pure Ed25519 over a message (RFC 8032, section 5.1) */
    TOKEN_RSA_OAEP_SHA1, /* MGF1 with the same hash, empty label */
    TOKEN_RSA_OAEP_SHA256,
    TOKEN_ECDH, /* the raw shared X (SEC 1, section 3.3.1), no derivation function */
    TOKEN_MAC,  /* HMAC with the hash of the key's kind, full length */
    TOKEN_ALGORITHMS
};

enum token_support {
    TOKEN_LACKS,  /* not at all */
    TOKEN_BY_RAW, /* the padding is made or checked outside, token_rsa_raw does the rest */
    TOKEN_WITHIN  /* in the token */
};

/*
 * Whether keys of this kind can be made and used so; TOKEN_LACKS for kinds that do not fit the
 * algorithm. Found by behaviour: the first question about a kind of curve, about RSA signatures or
 * about RSA decryption makes a session pair (RSA-2048 stands for all RSA), runs every algorithm
 * there and back, sees that bad input is refused, and destroys it: some milliseconds for a curve,
 * as long as an RSA-2048 generation and a little more for RSA. Later answers are a look-up; all
 * functions below ask too, so a service asks at start for what its keys need.
 *
 * Errors:  KEY_UNAVAILABLE (the token is not well, which is no answer)
 */
CHECKED int token_supports(struct token *token, enum token_kind kind,
                           enum token_algorithm algorithm, enum token_support *ret,
                           struct kms_error *err);

/* For logs and printed tables: "P-256", "signs", "RSA-PSS SHA-256". */
const char *token_kind_name(enum token_kind kind);
const char *token_use_name(enum token_use use);
const char *token_algorithm_name(enum token_algorithm algorithm);

/* Pairs */

#define TOKEN_RSA_MAX    512 /* bytes of the largest modulus */
#define TOKEN_PUBLIC_MAX (TOKEN_RSA_MAX + 3)

/*
 * A public key. RSA: the modulus, big-endian, exactly as long as the kind says, then the exponent,
 * always 65537 in 3 bytes. Curves of SEC 1: the uncompressed point, 04, X, Y. Ed25519: the 32
 * bytes of RFC 8032. token_public_span() is what to keep, and the canary of later calls.
 */
struct token_public {
    enum token_kind kind;
    size_t len;
    uint8_t bytes[TOKEN_PUBLIC_MAX];
};

static inline struct span token_public_span(const struct token_public *key)
{
    return span_of(key->bytes, key->len);
}

/* Of RSA keys; empty for others. */
struct span token_public_modulus(const struct token_public *key);
struct span token_public_exponent(const struct token_public *key);

/* Of all other keys; empty for RSA keys. */
struct span token_public_point(const struct token_public *key);

/*
 * Makes a pair in the token, verifies it (token_pair_verify), makes what it wrote durable and
 * returns its public key. On failure no usable pair was announced; objects may remain and are
 * found by token_inventory. token_key_destroy and token_key_forget serve pairs too.
 *
 * kind     TOKEN_RSA_2048 and later
 * use      one that the kind has: RSA signs or decrypts, SEC 1 curves of NIST sign or agree,
 *          secp256k1 and Ed25519 sign
 * Errors:  UNSUPPORTED (also for a kind that has not this use); INTEGRITY as token_pair_verify
 */
CHECKED int token_pair_generate(struct token *token, enum token_kind kind, enum token_use use,
                                const struct uuid *id, const char *label, struct token_public *ret,
                                struct kms_error *err);

/*
 * Reads the private key's attributes, compares them with the template, sees that it belongs to
 * public_key, then tries to read its parts, to wrap it and to use it for what it must not do;
 * every try must be refused.
 *
 * Errors:  NOT_FOUND; INTEGRITY (message names the attribute or the try)
 */
CHECKED int token_pair_verify(struct token *token, enum token_kind kind, enum token_use use,
                              const struct uuid *id, struct span public_key, struct kms_error *err);

/*
 * The public key of a pair whose creation was interrupted before it was kept, from the token's
 * public object; the private key has to show that it belongs to it.
 *
 * Errors:  NOT_FOUND; INTEGRITY (several objects, another kind of key, halves that do not match)
 */
CHECKED int token_pair_public(struct token *token, enum token_kind kind, enum token_use use,
                              const struct uuid *id, struct token_public *ret,
                              struct kms_error *err);

/* Signing */

struct token_signature {
    size_t len; /* RSA: as the modulus; ECDSA: 64, 96 or 132; Ed25519: 64 */
    uint8_t bytes[TOKEN_RSA_MAX];
};

#define TOKEN_MESSAGE_MAX 8192 /* bytes of message for TOKEN_ED25519 and token_mac */

/*
 * Whoever hands a signature out should verify it outside first: one that a fault has spoilt can
 * give an RSA key away (Boneh, DeMillo, Lipton: On the Importance of Checking Cryptographic
 * Protocols for Faults), and nothing here looks at it. (SoftHSM 2.6 loses some 60 bytes of memory
 * for each Ed25519 signature.)
 *
 * input    the digest, of the algorithm's length; for TOKEN_ED25519 the message, 0 to
 *          TOKEN_MESSAGE_MAX bytes
 * ret      ECDSA: r and s, each as long as the curve's order (2 * 32, 48, 66); DER is made outside
 * Errors:  VALIDATION (length of input); UNSUPPORTED (kind and algorithm do not fit, or not in this
 *          token: TOKEN_BY_RAW too)
 */
CHECKED int token_sign(struct token *token, enum token_kind kind, const struct token_key *key,
                       enum token_algorithm algorithm, struct span input,
                       struct token_signature *ret, struct kms_error *err);

/* Decrypting */

/*
 * sealed   any length; one that is not the modulus's is bad like any other
 * ret      in its zero state; 0 bytes or more
 * Errors:  INVALID_CIPHERTEXT, for every fault of the ciphertext and with the same words, so that
 *          no caller learns where padding went wrong (RFC 8017, section 7.1.2, note on step 3)
 */
CHECKED int token_rsa_decrypt(struct token *token, enum token_kind kind,
                              const struct token_key *key, enum token_algorithm algorithm,
                              struct span sealed, struct secret *ret, struct kms_error *err);

/*
 * The bare private operation (RSADP and RSASP1 of RFC 8017, CKM_RSA_X_509), for algorithms that are
 * TOKEN_BY_RAW: the padding is then the caller's, in locked memory and constant time. Only pairs
 * that were made while an algorithm of their use was TOKEN_BY_RAW may do it.
 *
 * use      what the pair was made for: TOKEN_SIGNS or TOKEN_DECRYPTS
 * input    as long as the modulus, and less than it
 * ret      in its zero state; as long as the modulus, zeros in front
 * Errors:  INVALID_CIPHERTEXT (length or size of input); UNSUPPORTED
 */
CHECKED int token_rsa_raw(struct token *token, enum token_kind kind, const struct token_key *key,
                          enum token_use use, struct span input, struct secret *ret,
                          struct kms_error *err);

/* Agreeing */

/*
 * The token gives a raw shared secret away in one way only: as a session object, a generic secret
 * that is extractable and not sensitive, which is read and destroyed at once. For these
 * microseconds whoever else is logged in to the token within this process could read it; it is on
 * its way out anyway.
 * (SoftHSM 2.6 loses some 240 bytes of memory for each.)
 *
 * peer     the other side's point, uncompressed. Has to be on the key's curve and not its
 *          identity: the token is asked, and trusted only after it was seen to refuse a point off
 *          the curve
 * ret      in its zero state; X, as long as the curve's field, zeros in front
 * Errors:  VALIDATION (peer)
 */
CHECKED int token_agree(struct token *token, enum token_kind kind, const struct token_key *key,
                        struct span peer, struct secret *ret, struct kms_error *err);

/* MACs */

#define TOKEN_MAC_MAX 64

struct token_mac {
    size_t len; /* 28, 32, 48 or 64 */
    uint8_t bytes[TOKEN_MAC_MAX];
};

/*
 * token_key_generate for TOKEN_HMAC_224 and its neighbours does the work and returns a canary:
 * the beginning of SHA-512 over the MAC of a fixed text with the id. A MAC itself, kept where
 * others can read it, would be one that nobody asked for. token_key_verify and token_key_destroy
 * serve as well. This one makes a canary for a key whose creation was interrupted.
 *
 * Errors:  KEY_UNAVAILABLE
 */
CHECKED int token_mac_canary(struct token *token, enum token_kind kind, const struct uuid *id,
                             uint8_t ret_canary[TOKEN_CANARY_LEN], struct kms_error *err);

/* data: 0 to TOKEN_MESSAGE_MAX bytes. Errors: VALIDATION (length of data). */
CHECKED int token_mac(struct token *token, enum token_kind kind, const struct token_key *key,
                      struct span data, struct token_mac *ret, struct kms_error *err);

/*
 * Makes the MAC anew and compares outside, in constant time: what modules answer to a bad MAC in
 * C_Verify differs too much to be believed.
 *
 * ret      whether mac is the MAC of data; one of another length is not
 */
CHECKED int token_mac_verify(struct token *token, enum token_kind kind, const struct token_key *key,
                             struct span data, struct span mac, bool *ret, struct kms_error *err);
