#pragma once

/*
 * Key pairs by OpenSSL, for callers who are to have the private half. Its numbers are in the secure
 * heap from the beginning: OpenSSL makes them there, and they are written down by pkcs8.h.
 */

#include "hsmkms/base/secret.h"
#include "hsmkms/crypto/public_key.h"

/*
 * bits         of the modulus of an RSA key; 0 for other kinds
 * ret_private  in its zero state: DER of PKCS#8 PrivateKeyInfo (RFC 5958), 2.4 KB at most
 * ret_public   appended to: DER of SubjectPublicKeyInfo
 * Errors:      INTERNAL (secure heap full, OpenSSL broken)
 * Threads:     any; RSA-4096 may take seconds
 */
CHECKED int key_pair_make(enum public_kind kind, unsigned bits, struct secret *ret_private,
                          struct buf *ret_public, struct kms_error *err);
