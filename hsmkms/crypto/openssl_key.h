#pragma once

/* OpenSSL's own keys, for the files of this folder only. */

#include <openssl/evp.h>

#include "hsmkms/crypto/public_key.h"

/* A new EVP_PKEY, or NULL when the bytes are no such key. */
EVP_PKEY *openssl_key_of(const struct public_key *key);

/* As OpenSSL calls a curve of SEC 1, "P-256"; NULL for other kinds. */
const char *openssl_curve(enum public_kind kind);

/* Empties OpenSSL's queue of errors into err->detail. Returns -1. */
CHECKED int openssl_failed(struct kms_error *err, const char *what);
