#pragma once

/*
 * The actions that policies speak of: one row each, with what the gate must know about it. A row's
 * index is its bit in an action mask. Pure; knows no policy.
 *
 * Source: AWS Service Authorization Reference, AWS KMS and AWS STS; AWS KMS Developer Guide, AWS
 * KMS permissions reference.
 */

#include <stdint.h>

#include "hsmkms/base/span.h"

enum action_class {
    ACTION_ON_KEY,      /* the key policy is the root of trust */
    ACTION_BY_IDENTITY, /* identity policies alone: no key, or an alias */
    ACTION_BY_GRANT,    /* RetireGrant: the grant says who; a key policy can only deny */
    ACTION_ON_ROLE,     /* STS: the trust policy is the root of trust */
};

struct action {
    const char *name; /* "kms:Encrypt" */
    enum action_class class;
    bool cross_account; /* may be allowed to principals of other accounts */
    bool grantable;     /* a grant may allow it */
};

#define ACTIONS_MAX 64 /* bits of a mask */
extern const struct action actions[];
extern const size_t action_count;

/* The row of a full name ("kms:Encrypt", exact case), or -1. */
int action_find(const char *name);
/* The same by service and name: "kms", "Encrypt". */
int action_of(const char *service, const char *name);

/* Just the name behind the colon. */
const char *action_short_name(int action);

/* The bits of every action that a pattern of a policy matches; case does not matter. */
uint64_t action_mask(struct span pattern);
