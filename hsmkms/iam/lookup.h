#pragma once

/*
 * Reading a context: which values a condition key has in this request.
 */

#include "hsmkms/iam/context.h"
#include "hsmkms/iam/glob.h"

/* A condition key, found once when a policy is compiled. */
struct context_ref {
    enum context_slot slot;     /* SLOT_COUNT: no slot */
    enum context_family family; /* FAMILY_COUNT: no family; neither: no request has the key */
    struct span rest;           /* of a family: the name */
    bool known;                 /* some slot or family */
};

/* rest points into name. */
struct context_ref context_ref_of(struct span name);

/* What one question to a policy reads and uses up. */
struct scope {
    const struct policy_context *context;
    bool deny;            /* the statement at hand is a Deny */
    uint64_t steps;       /* left; at 0 the answer is worth nothing */
    char now_text[2][32]; /* of aws:CurrentTime and aws:EpochTime, written when they are read */
    struct glob_piece room[GLOB_PIECES_MAX]; /* the text at hand with its values filled in */
};

struct context_found {
    const char *const *values;
    size_t count;  /* 0: missing; an empty list too, as nothing can be said about it */
    bool list;     /* a key of lists, however many values it has now */
    bool collides; /* names of the request that differ in case only: no telling which is meant */
    const char *one;
};

void context_lookup(struct scope *scope, const struct context_ref *ref, struct context_found *ret);

/* The value of a key that has a single one, or NULL. */
const char *context_single(struct scope *scope, const struct context_ref *ref);
