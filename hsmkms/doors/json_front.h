#pragma once

/*
 * The bytes of a request body as a JSON object, or not at all: what every JSON door asks before it
 * looks inside. Knows no operation.
 */

#include <jansson.h>

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

#define JSON_FRONT_DEPTH 8 /* objects and arrays within each other; the deepest request has 4 */

/*
 * Parses one object. Refused: more than JSON_FRONT_DEPTH levels (before anything is built), two
 * members of one name, NUL in any form, text that is not UTF-8, anything after the object.
 *
 * body     0 bytes or more; 0 bytes are an empty object
 * ret      a new reference
 * Errors:  SERIALIZATION; the text repeats nothing of the body
 * Threads: any
 */
CHECKED int json_front(struct span body, json_t **ret, struct kms_error *err);

/*
 * The text of a tree without needless blanks, no NUL behind it.
 *
 * ret      owned by the caller, released by wiping_free()
 * Errors:  INTERNAL (out of memory)
 */
CHECKED int json_text(const json_t *tree, char **ret, size_t *ret_len, struct kms_error *err);
