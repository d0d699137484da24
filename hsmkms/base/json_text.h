#pragma once

/*
 * JSON trees as compact text, and strings as JSON strings: for what is written once per request.
 * jansson's own writer goes through a callback for each character.
 *
 * Source: RFC 8259. Output is ASCII-transparent UTF-8; member order is that of the tree.
 */

#include <jansson.h>

#include "hsmkms/base/buf.h"

/* Bytes that json_text_write() writes for a tree, without a NUL. */
size_t json_text_len(const json_t *tree);

/* Writes json_text_len() bytes. Times, the only reals we have, keep their milliseconds. */
void json_text_write(const json_t *tree, char *room);

/* The same into a buffer of public bytes. */
void json_text_append(struct buf *ret, const json_t *tree);

/* Appends any bytes as a JSON string; what is no UTF-8 becomes U+FFFD. */
void json_text_append_string(struct buf *ret, struct span text);
