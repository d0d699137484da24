#pragma once

/*
 * The private key of a TLS listener that lies in a PKCS#11 token: GnuTLS asks the token for each
 * signature and never sees the key.
 *
 * GnuTLS is told of one module and looks at no other, and it never logs in: the token is logged in
 * by pkcs11/side_token.h before GnuTLS sees it, and who asks for a PIN gets none.
 *
 * Source: GnuTLS manual, PKCS #11 Initialization; RFC 7512.
 */

#include <gnutls/abstract.h>

#include "hsmkms/base/error.h"
#include "pkcs11/side_token.h"

/* Whether the text of a setting means a key in a token. */
bool tls_token_is_uri(const char *key);

/*
 * Before GnuTLS meets any URI. module: exact path; "": no key lies in a token, and GnuTLS then loads
 * no module whatever it is asked for.
 * Errors: CONFIG
 */
CHECKED int tls_token_start(const char *module, struct kms_error *err);

/* Every key was released. The token itself is closed afterwards. */
void tls_token_stop(void);

/*
 * A handle of the key that uri names, proven to be the one of a certificate by a signature.
 *
 * ret      caller's, gnutls_privkey_deinit()
 * Errors:  CONFIG (no such key, not the certificate's, of a wrong kind, or one that can be read);
 *          KEY_UNAVAILABLE; PIN_LATCHED
 * Threads: any
 */
CHECKED int tls_token_key(struct side_token *side, const char *uri, gnutls_pubkey_t certificate,
                          gnutls_privkey_t *ret, struct kms_error *err);
