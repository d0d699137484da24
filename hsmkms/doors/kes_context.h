#pragma once

/*
 * The context of a KES request, which is any bytes, as an encryption context, which is pairs of
 * text. No two contexts become the same pairs:
 *
 *   none, or no bytes                     no pairs
 *   a JSON object of texts, written as    its pairs: MinIO's {"bucket":"bucket/object"} can be
 *   MinIO writes it                       named by policies and opened by the AWS API
 *   the same, written in another way      its pairs, and KES_CONTEXT_DIGEST with the SHA-256 of
 *                                         the bytes in hex
 *   anything else                         KES_CONTEXT_BYTES alone, with the bytes in base64
 *
 * "As MinIO writes it" is: names in ascending order of their bytes, no blanks, short escapes. Pure.
 */

#include <jansson.h>

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

#define KES_CONTEXT_PREFIX "hsmkms:" /* no name of a client's begins so */
#define KES_CONTEXT_DIGEST KES_CONTEXT_PREFIX "kes-context-sha256"
#define KES_CONTEXT_BYTES  KES_CONTEXT_PREFIX "kes-context"

/*
 * ret      a new reference; NULL for no pairs
 * Errors:  VALIDATION (more bytes than an encryption context may have), INTERNAL
 */
CHECKED int kes_context_pairs(struct span context, json_t **ret, struct kms_error *err);
