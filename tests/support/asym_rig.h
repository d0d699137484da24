#pragma once

/*
 * A token of a test's own with key pairs in it, and OpenSSL on the other side: it verifies,
 * encrypts, agrees and makes MACs with what the token lets out. Programs compiled with
 * ASYM_ON_NSS="module" get an NSS database, all others a SoftHSM token.
 */

#include <openssl/evp.h>

#include "pkcs11/token_asym.h"
#include "tests/support/check.h"
#include "tests/support/softhsm.h"

struct asym_pair {
    bool made;
    struct uuid id;
    struct token_public public_key;
};

struct asym_mac_key {
    struct uuid id;
    uint8_t canary[TOKEN_CANARY_LEN];
};

struct asym_rig {
    struct softhsm softhsm; /* of NSS: its folder alone */
    char init_args[600];
    struct token_config config;
    struct token *token;
    struct asym_pair pairs[TOKEN_KINDS][TOKEN_USES];
};

/* For groups of tests: making RSA pairs takes long, so they share them. */
int asym_setup(void **state);
int asym_teardown(void **state);

/* The rig's pair of this kind and use, made when it is first asked for. */
const struct asym_pair *asym_pair(struct asym_rig *rig, enum token_kind kind, enum token_use use);

/* A pair of one test alone. */
struct asym_pair asym_make(struct asym_rig *rig, enum token_kind kind, enum token_use use);

struct asym_mac_key asym_make_mac(struct asym_rig *rig, enum token_kind kind);

struct token_key asym_key(const struct asym_pair *pair);
struct token_key asym_mac_name(const struct asym_mac_key *key);

enum token_support asym_support(struct asym_rig *rig, enum token_kind kind,
                                enum token_algorithm algorithm);

/* Whether the token can make such a pair at all. */
bool asym_can(struct asym_rig *rig, enum token_kind kind, enum token_use use);

#define FOR_KINDS(kind) for (enum token_kind kind = TOKEN_RSA_2048; kind < TOKEN_KINDS; kind++)

/* OpenSSL. Each ends the test when OpenSSL fails. */

/* The public key as OpenSSL has it; EVP_PKEY_free(). */
EVP_PKEY *ossl_public(const struct token_public *key);

/* Whether a signature that the token made is right. */
bool ossl_verifies(const struct token_public *key, enum token_algorithm algorithm,
                   struct span input, struct span signature);

/* RSA-OAEP as the algorithm says. ret: as long as the modulus. */
void ossl_encrypt(const struct token_public *key, enum token_algorithm algorithm, struct span plain,
                  uint8_t *ret);

/* A pair of the same curve, made by OpenSSL; EVP_PKEY_free(). point: its public key. */
EVP_PKEY *ossl_curve_pair(enum token_kind kind, uint8_t *ret_point, size_t len);

/* The raw shared X of both; ret_x has room for 66 bytes. */
size_t ossl_agree(EVP_PKEY *own, const struct token_public *peer, uint8_t *ret_x);

/* The digest that the algorithm and kind want, of a text. */
struct span ossl_digest(enum token_kind kind, enum token_algorithm algorithm, struct span text,
                        uint8_t room[64]);
