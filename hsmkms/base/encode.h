#pragma once

/*
 * Bytes as text: base64 with padding and lower-case hex. base64_format and base64_parse may see
 * secrets and take constant time for a given length (libsodium); the others are for public bytes.
 * Only canonical base64 is accepted: right padding, zero trailing bits, no blanks, so that one
 * ciphertext has one text.
 */

#include "hsmkms/base/buf.h"
#include "hsmkms/base/secret.h"

#define BASE64_LEN(bytes) (((bytes) + 2) / 3 * 4)

/* Appends the text of bytes. */
void base64_append(struct buf *ret, struct span bytes);
void hex_append(struct buf *ret, struct span bytes);

/* Writes the text and a NUL; text must have room for 2 * bytes.len + 1 characters. */
void hex_format(char *text, struct span bytes);

/* Writes the text and a NUL; text must have room for BASE64_LEN(bytes.len) + 1 characters. */
void base64_format(char *text, struct span bytes);

/*
 * Bytes that a base64 text of this shape decodes to, at most 3/4 of it; false when its length
 * cannot be right.
 */
CHECKED bool base64_size(struct span text, size_t *ret);

/* Decodes exactly base64_size() bytes into room. False for anything not canonical. */
CHECKED bool base64_parse(struct span text, uint8_t *room, size_t len);

/* Decodes exactly len bytes from 2 * len lower-case digits. */
CHECKED bool hex_parse(struct span text, uint8_t *ret, size_t len);
