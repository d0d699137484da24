#pragma once

/*
 * Public keys as clients exchange them: DER of SubjectPublicKeyInfo, curves by name, points
 * uncompressed.
 *
 * Source: RFC 5280, section 4.1.2.7; RFC 5480, section 2; RFC 8410, section 4.
 */

#include "hsmkms/crypto/public_key.h"

/* Appends the DER. Errors: INTERNAL. */
CHECKED int spki_format(const struct public_key *key, struct buf *ret, struct kms_error *err);

/*
 * The point of a key on one curve of SEC 1, uncompressed. Only what spki_format would write for
 * that curve is accepted, and only points that are on it.
 *
 * ret      appended to
 * Errors:  VALIDATION, without words
 */
CHECKED int spki_parse_point(enum public_kind kind, struct span der, struct buf *ret,
                             struct kms_error *err);
