#pragma once

/*
 * Whether the numbers of an RSA private key fit each other: a module uses some of them and may
 * never notice that others are wrong, until another one does.
 *
 * Source: RFC 8017, section 3.2; NIST SP 800-56B revision 2, section 6.4.1.
 */

#include "hsmkms/crypto/pkcs8_parse.h"

/* All in the secure heap. ret: whether they do. Errors: INTERNAL. */
CHECKED int rsa_numbers_fit(const struct private_numbers *numbers, bool *ret,
                            struct kms_error *err);
