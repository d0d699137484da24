#pragma once

/*
 * A SoftHSM token of a test's own: temporary directory, configuration, random PINs. The PINs are
 * set through C_InitToken and C_InitPIN, so none is ever in an argument list.
 */

#include "pkcs11/token.h"

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define TEST_LABEL     "hsmkms-test"
#define TEST_PIN_LEN   26

struct softhsm {
    char dir[200]; /* everything below it goes away with softhsm_done() */
    char tokens[256], state[256], pin_file[256], init_args[300];
    char pin[TEST_PIN_LEN + 1], so_pin[TEST_PIN_LEN + 1];
};

/* Makes the token and points SOFTHSM2_CONF at it. Ends the test program when it cannot. */
void softhsm_init(struct softhsm *ret);
void softhsm_done(struct softhsm *softhsm);

/* The same, and opens the token by softhsm_config(). */
struct token *softhsm_open(struct softhsm *ret);

/*
 * Makes a further token with the same PINs in the same directory, by a module that is not in use:
 * one lists its tokens when it starts.
 */
void softhsm_add(const struct softhsm *softhsm, const char *module, const char *label);

/* A copy of the module, which is a module of its own: it shares files with the first, no state. */
void softhsm_copy_module(const struct softhsm *softhsm, char *ret, size_t size);

/* How many keys of ours a token has: the inventory's, not what is remembered. */
unsigned softhsm_keys(struct token *token);

/* A configuration for this token, 4 sessions, 64 copies. */
struct token_config softhsm_config(const struct softhsm *softhsm);

/* Writes the PIN file. */
void softhsm_write_pin(const struct softhsm *softhsm, const char *pin);

/* Path of the token's record (token.object). */
void softhsm_record_path(const struct softhsm *softhsm, char *ret, size_t size);

/* A new temporary directory; removes one with all it holds. */
void test_dir_make(char *ret, size_t size);
void test_dir_remove(const char *dir);

/* Random letters and digits of base32. */
void test_pin_make(char ret[TEST_PIN_LEN + 1]);
void test_file_write(const char *path, const void *bytes, size_t len);
