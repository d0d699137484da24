#pragma once

/*
 * One PKCS#11 token, in spans and secrets: what the floors above may ask of it. Keys are named by
 * the 16 bytes of their CKA_ID; handles, sessions, logins and CK_RVs stay inside this folder, and
 * nothing here knows what a KMS is.
 *
 * Threads: every function but token_open and token_close may run in any thread. Each takes one
 * session from the pool for the length of the call and waits for one when all are taken; finding,
 * creating and destroying objects runs alone, cryptographic calls run beside each other.
 *
 * Errors common to all: KEY_UNAVAILABLE (the token or the key is out of reach, safe to retry),
 * INTERNAL (a fault of ours or an answer that no rule covers). err->detail names the function
 * and the CK_RV.
 *
 * Source: PKCS #11 Cryptographic Token Interface Base Specification v2.40.
 */

#include "hsmkms/base/secret.h"
#include "hsmkms/base/uuid.h"

#define TOKEN_IV_LEN     12 /* bytes; the only length ever used */
#define TOKEN_TAG_LEN    16
#define TOKEN_HMAC_LEN   32
#define TOKEN_CANARY_LEN (TOKEN_IV_LEN + 16 + TOKEN_TAG_LEN)
#define TOKEN_GCM_MAX    8192 /* bytes of plaintext in one call */

struct token;

/*
 * One token. A process may open several: those of one module share what C_Initialize started and
 * need equal init_args; everything else is each one's own. The guard's copies are found by the
 * token, so tokens whose files lie in one directory have one state_dir.
 */
struct token_config {
    const char *module;     /* exact path of the module */
    const char *uri;        /* PKCS#11 URI that names exactly one token (RFC 7512) */
    const char *init_args;  /* for pReserved of C_Initialize, or "" */
    const char *pin_file;   /* path of a file of mode 0600 or 0400, or "credential:NAME" under
                               $CREDENTIALS_DIRECTORY */
    const char *state_dir;  /* the PIN latch and the guard's copies live here */
    const char *name;       /* tells tokens of one state_dir apart; NULL: there is one without */
    unsigned sessions;      /* pool size, 1 or more */
    unsigned copies;        /* most session copies, 0: none */
    unsigned call_time_ms;  /* a call that takes longer makes token_status() say so */
    bool accept_extractable;
};

/*
 * Loads the module, finds the token, logs in once, probes how it behaves and caches every key
 * handle. The first token must be opened before other threads exist and before GnuTLS is
 * initialised; the process must not fork afterwards.
 *
 * Errors:  CONFIG (also: a token that is open already); TOKEN_MISSING (no or several tokens
 *          match); PIN_LATCHED (this PIN failed before, or the token says that tries are low;
 *          nothing was tried); TOKEN_UNSUITABLE (no AES-GCM, or keys that can be extracted;
 *          message says which)
 */
CHECKED int token_open(const struct token_config *config, struct token **ret,
                       struct kms_error *err);

/*
 * Every caller has stopped. Accepts NULL. A PKCS#11 call cannot be cancelled: while one hangs its
 * caller does not stop, and one that hangs in here holds up whoever closes. What has to end in
 * time sets the process a deadline. Nothing is lost by that: what a function here made is durable
 * when it returns.
 */
void token_close(struct token *token);

/* What kind of key to make; a row of mech.c each. */
enum token_kind {
    TOKEN_AES_GCM, /* AES-256, encrypts and decrypts by AES-GCM, nothing else */
    TOKEN_HMAC,    /* 256-bit generic secret, HMAC-SHA256, nothing else */

    /* token_asym.h: MAC keys, generic secrets as long as their hash's digest */
    TOKEN_HMAC_224,
    TOKEN_HMAC_256,
    TOKEN_HMAC_384,
    TOKEN_HMAC_512,

    /* and pairs, which token_pair_generate makes */
    TOKEN_RSA_2048,
    TOKEN_RSA_3072,
    TOKEN_RSA_4096,
    TOKEN_P256,
    TOKEN_P384,
    TOKEN_P521,
    TOKEN_SECP256K1,
    TOKEN_EDWARDS25519,
    TOKEN_KINDS
};

/*
 * Names a key in a call. canary is a ciphertext known to open under that key, made by
 * token_key_generate: whenever a handle is bound to the id anew (first use, handle lost, session
 * copy), the canary must open before the handle is used, so a recycled handle can never stand for
 * another key. Empty: nothing to compare with (TOKEN_HMAC). For what the canary of the kinds of
 * token_asym.h is, see there.
 */
struct token_key {
    struct uuid id;
    struct span canary; /* 0 or TOKEN_CANARY_LEN bytes; of a pair its public key */
};

/*
 * Makes a key that is no pair in the token, verifies it (token_key_verify), makes what it wrote
 * durable and returns its canary (all zero for kinds without one). On failure no usable key was
 * announced; an object may remain and is found by token_inventory.
 */
CHECKED int token_key_generate(struct token *token, enum token_kind kind, const struct uuid *id,
                               const char *label, uint8_t ret_canary[TOKEN_CANARY_LEN],
                               struct kms_error *err);

/*
 * Reads the key's attributes, compares them with the template, then tries to read the value, to
 * wrap the key and to use it for what it must not do; every try must be refused.
 *
 * Errors:  NOT_FOUND; INTEGRITY (message names the attribute or the try)
 */
CHECKED int token_key_verify(struct token *token, enum token_kind kind, const struct uuid *id,
                             struct kms_error *err);

/* Destroys every object with this id and looks again that none is left. Destroying none is fine. */
CHECKED int token_key_destroy(struct token *token, const struct uuid *id, struct kms_error *err);

/* Makes a canary for a key that has none: its creation was interrupted before it was kept. */
CHECKED int token_key_canary(struct token *token, const struct uuid *id,
                             uint8_t ret_canary[TOKEN_CANARY_LEN], struct kms_error *err);

/*
 * Takes a session copy out of use: the next use touches the token's own object. The copy itself is
 * dropped by the next call that runs alone, token_tick() at the latest, so that this one need not
 * wait for cryptographic calls.
 */
void token_key_forget(struct token *token, const struct uuid *id);

/* len random bytes of the token's generator, mixed with the kernel's. */
CHECKED int token_random(struct token *token, uint8_t *ret, size_t len, struct kms_error *err);

/*
 * AES-256-GCM in the token.
 *
 * iv       TOKEN_IV_LEN bytes, never used before under this key
 * plain    1..TOKEN_GCM_MAX bytes
 * ret      plain.len + TOKEN_TAG_LEN bytes: ciphertext, then tag
 */
CHECKED int token_encrypt(struct token *token, const struct token_key *key,
                          const uint8_t iv[TOKEN_IV_LEN], struct span aad, struct span plain,
                          uint8_t *ret, struct kms_error *err);

/*
 * The reverse. sealed: TOKEN_TAG_LEN + 1 bytes or more. ret in its zero state.
 *
 * Errors:  INVALID_CIPHERTEXT (ciphertext, tag or aad do not belong together; the token is well:
 *          where its answer leaves that open, the canary decides)
 */
CHECKED int token_decrypt(struct token *token, const struct token_key *key,
                          const uint8_t iv[TOKEN_IV_LEN], struct span aad, struct span sealed,
                          struct secret *ret, struct kms_error *err);

CHECKED int token_hmac(struct token *token, const struct uuid *id, struct span data,
                       uint8_t ret[TOKEN_HMAC_LEN], struct kms_error *err);

/*
 * Several calls in a row: where the module works on one call at a time anyway, other threads wait
 * for this one to finish its row instead of fighting over every call. Only a matter of speed; a
 * thread that waited long enough goes on without. AUTO(token_turn) turn = { 0 } gives it back.
 */
struct token_turn {
    struct token *token; /* NULL: not taken */
};
void token_turn_take(struct token *token, struct token_turn *ret);
void token_turn_done(struct token_turn *turn);

/*
 * Calls each for every secret and private key object with a 16-byte CKA_ID, in no order, as a
 * search shows them now, or showed them in the last 10 s if this process has made and destroyed
 * none since. label is at most 64 characters, cut. each returns -1 to stop. Objects that have none
 * are counted in struct token_status.
 */
typedef int token_each_fn(void *arg, const struct uuid *id, const char *label,
                          struct kms_error *err);
CHECKED int token_inventory(struct token *token, token_each_fn *each, void *arg,
                            struct kms_error *err);

/* Upkeep, every few seconds: session copies whose original is gone or locked are dropped. */
void token_tick(struct token *token);

/* A real encryption and decryption with a session key; what health is made of. */
CHECKED int token_probe(struct token *token, struct kms_error *err);

struct token_status {
    char label[33], manufacturer[33], model[17], serial[17], library[33];
    const char *profile;     /* name of the profile row in use */
    bool enforces_extraction; /* a strict key could be neither read nor wrapped */
    bool copies;             /* session copies in use */
    bool available;          /* breaker closed */
    unsigned sessions, sessions_replaced;
    unsigned keys, keys_copied, objects_ignored;
    uint64_t calls, errors;  /* C_ functions called; those that returned neither CKR_OK nor a bad
                                ciphertext */
    int64_t slowest_us;      /* longest running call right now, 0 when none is slow */
};

void token_status(struct token *token, struct token_status *ret);

/* How long the longest running call has been running; 0: none runs. Takes no lock. */
int64_t token_busy_us(struct token *token);
