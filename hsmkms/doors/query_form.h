#pragma once

/*
 * The AWS Query protocol's parameters as a JSON object: "Tags.member.1.Key=a" becomes
 * {"Tags": [{"Key": "a"}]}. Knows no operation; every value is a string.
 *
 * Source: Smithy 2.0, AWS Query protocol; WHATWG URL, application/x-www-form-urlencoded parsing.
 */

#include <jansson.h>

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

#define QUERY_FORM_MOST 400 /* parameters of a request */

/*
 * Parses a form. Refused: text that is not UTF-8 or has a NUL, bad percent signs, a name twice,
 * list members that do not count 1, 2, 3 in order, names that are value and list at once.
 *
 * form     0 bytes or more
 * ret      a new reference
 * Errors:  SERIALIZATION; the text repeats nothing of the form
 * Threads: any
 */
CHECKED int query_form_parse(struct span form, json_t **ret, struct kms_error *err);
