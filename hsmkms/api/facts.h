#pragma once

/*
 * The facts of a call that conditions of policies can ask about: who, from where, with which
 * parameters, about which key. What a parameter is called in conditions is said by its field row.
 *
 * Source: AWS KMS Developer Guide, AWS KMS condition keys.
 */

#include "hsmkms/api/op.h"

#define FACTS_TAGS_MAX    64 /* of a request; more are refused behind the decision anyway */
#define FACTS_ALIASES_MAX 64 /* more than a key may have */

/* Which of the keys of a call is asked about: their parameters have names of their own. */
enum op_side { SIDE_KEY, SIDE_OTHER };

/* What the context borrows from; lives as long as it. */
struct facts {
    struct policy_context context;
    struct caller_facts caller;
    struct condition_pair encryption[CONTEXT_PAIRS_MAX];
    const char *encryption_names[CONTEXT_PAIRS_MAX];
    struct condition_pair request_tags[FACTS_TAGS_MAX];
    const char *tag_keys[FACTS_TAGS_MAX];
    struct condition_pair resource_tags[FACTS_TAGS_MAX];
    struct alias aliases[FACTS_ALIASES_MAX];
    const char *alias_names[FACTS_ALIASES_MAX];
    char request_alias[257];
};

/* What a key is: spec, tags, and where aliases is true the names of its aliases. */
void facts_add_key(const struct keyring *keyring, const struct key *key, bool aliases,
                   struct facts *ret);

/* What a replica that is still to be made will be; tags and aliases are not its primary's. */
void facts_add_replica(const struct key *primary, struct facts *ret);

/* Deprecated condition keys say the same as those that came after them. */
void facts_add_twins(struct facts *ret);

/* Fills all of it. key: NULL where the question is about none. */
void facts_gather(const struct op_call *c, enum op_side side, const struct key *key,
                  struct facts *ret);
