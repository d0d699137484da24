#pragma once

/*
 * Does a grant fit? Pure functions over one grant and one request, without a lock or a search.
 *
 * Source: AWS KMS Developer Guide, Grants in AWS KMS; AWS KMS API Reference, GrantConstraints.
 */

#include "hsmkms/iam/grant.h"

/* How strongly an ARN of a grant, with the unique id it meant then, names a caller. */
enum strength grant_match_principal(const char *arn, const char *unique_id,
                                    const struct principal *caller);

/*
 * Names are compared without regard to ASCII case, values exactly. A request in which two names
 * differ in case alone fits no constraint.
 */
bool grant_match_context(const struct grant *grant, const struct condition_pair *pairs, size_t count);

/* Operations and constraint of a child allow nothing that the parent does not allow. */
bool grant_match_child(const struct grant *parent, const struct grant_draft *child);

/* All that a request says is the same; id, parent and time do not count. */
bool grant_match_same(const struct grant *a, const struct grant *b);

/* ASCII letters without their case. */
static inline uint8_t grant_fold(uint8_t letter)
{
    return letter >= 'A' && letter <= 'Z' ? (uint8_t)(letter | 0x20) : letter;
}
bool grant_names_equal(const char *a, const char *b);
