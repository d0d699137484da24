#pragma once

/*
 * The one file that asks the token to use key material. Plaintext lives here only as struct
 * secret, for the length of a call. A blob is opened again before it is handed out: a bit that
 * flipped on the way would make an object unreadable for ever.
 *
 * Threads: any. Errors: KEY_UNAVAILABLE, INTERNAL beside those named.
 */

#include "hsmkms/keys/envelope.h"
#include "hsmkms/keys/keyring.h"

/* Encrypts under the key's current version. context: canonical bytes. ret: appended to. */
CHECKED int material_wrap(struct keyring *keyring, const struct key *key, struct span context,
                          struct span plain, struct buf *ret_blob, struct kms_error *err);

/* Makes len random bytes in the token and wraps them. ret_plain in its zero state. */
CHECKED int material_data_key(struct keyring *keyring, const struct key *key, struct span context,
                              size_t len, struct secret *ret_plain, struct buf *ret_blob,
                              struct kms_error *err);

/*
 * Opens a blob of this key.
 *
 * Errors:  INVALID_CIPHERTEXT (wrong context, any changed byte, a version this key has not)
 */
CHECKED int material_unwrap(struct keyring *keyring, const struct key *key,
                            const struct envelope *envelope, struct span context,
                            struct secret *ret_plain, struct kms_error *err);

CHECKED int material_random(struct token *token, size_t len, struct secret *ret,
                            struct kms_error *err);
