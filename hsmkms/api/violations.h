#pragma once

/*
 * The constraint violations of one request, collected and told in one message, in the words of
 * AWS's services: "2 validation errors detected: Value ...; Value ...".
 *
 * Source: AWS API references, Common Errors, ValidationError; texts as clients see them.
 */

#include "hsmkms/base/buf.h"

struct violations {
    struct buf text;
    unsigned count;
};

/* What a message shows of the value that broke a rule. */
enum shown_kind { SHOWN_NULL, SHOWN_NOTHING, SHOWN_TEXT };
struct shown {
    enum shown_kind kind;
    struct span text; /* UTF-8; long ones are cut */
};

/* path: as in the message, "tags.1.member.tagKey". constraint: what follows "Member must ". */
void violations_add(struct violations *violations, struct shown shown, const char *path,
                    const char *constraint, ...) PRINTF_LIKE(4, 5);

/* 0 when there are none. Errors: VALIDATION. */
CHECKED int violations_check(const struct violations *violations, struct kms_error *err);
void violations_done(struct violations *violations);
