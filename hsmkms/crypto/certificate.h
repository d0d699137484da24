#pragma once

/* X.509 certificates, as far as the form of one. Source: RFC 5280, RFC 7468. */

#include "hsmkms/base/span.h"

/* Whether a text holds a certificate in PEM, and before or behind it nothing but blank space. */
bool certificate_is_pem(struct span text);
