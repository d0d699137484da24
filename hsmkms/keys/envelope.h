#pragma once

/*
 * The ciphertext blob: written and read side by side, so that the format is reviewed once. Pure
 * functions over bytes; docs/BLOB.md is the same table in words.
 *
 *   off  size
 *     0     4  magic "HKM1"
 *     4     1  format version, 1
 *     5     1  algorithm: 1 = AES-256-GCM in the token (2 and 3 are reserved)
 *     6     1  purpose: 1 = a caller's data
 *     7     1  flags, 0
 *     8    16  installation id
 *    24    16  key id; of a multi-Region key that of its family, whatever its region
 *    40    16  key version id
 *    56     1  nonce length, 12
 *    57    12  nonce
 *    69     4  plaintext length, 1..4096, big-endian
 *    73     n  ciphertext
 *  73+n    16  tag; nothing follows
 *
 * AAD of the encryption: bytes 0..72, then the canonical encryption context.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/base/uuid.h"

#define ENVELOPE_HEADER_LEN    73
#define ENVELOPE_NONCE_LEN     12
#define ENVELOPE_TAG_LEN       16
#define ENVELOPE_OVERHEAD      (ENVELOPE_HEADER_LEN + ENVELOPE_TAG_LEN)
#define ENVELOPE_PLAINTEXT_MAX 4096

struct envelope {
    struct uuid installation, key_id, version_id;
    uint8_t nonce[ENVELOPE_NONCE_LEN];
    size_t plain_len;
    struct span header; /* ENVELOPE_HEADER_LEN bytes, borrowed from the blob */
    struct span sealed; /* plain_len + ENVELOPE_TAG_LEN bytes, borrowed from the blob */
};

/* Writes the header for plain_len bytes; ids and nonce are taken from envelope. */
void envelope_header(const struct envelope *envelope, size_t plain_len,
                     uint8_t ret[ENVELOPE_HEADER_LEN]);

/* Reads a blob. Errors: INVALID_CIPHERTEXT without words, whatever is wrong. */
CHECKED int envelope_parse(struct span blob, struct envelope *ret, struct kms_error *err);
