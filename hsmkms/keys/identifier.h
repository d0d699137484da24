#pragma once

/*
 * The texts that name a key or an alias: read here and nowhere else. Pure functions.
 * Source: AWS KMS Developer Guide, Key identifiers.
 */

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"
#include "hsmkms/base/uuid.h"

enum identifier_kind {
    IDENTIFIER_KEY,    /* a well-formed key id */
    IDENTIFIER_FAMILY, /* "mrk-" and 32 hex digits: what related multi-Region keys are called */
    IDENTIFIER_ALIAS,  /* begins with "alias/" */
};

struct identifier {
    enum identifier_kind kind;
    struct uuid key_id; /* IDENTIFIER_KEY; of IDENTIFIER_FAMILY the family */
    struct span name;   /* id or alias as written, borrowed */
    bool is_arn;
    struct span region, account; /* of an ARN, borrowed */
};

/* Whether a text is a key id, single-Region or not: well-formed, whether or not there is one. */
CHECKED bool identifier_is_key_id(struct span text);

/*
 * Reads key id, key ARN, alias name or alias ARN.
 *
 * Errors:  NOT_FOUND "Invalid keyId '...'"; INVALID_ARN
 */
CHECKED int identifier_parse(const char *text, struct identifier *ret, struct kms_error *err);
