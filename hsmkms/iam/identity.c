#include "hsmkms/iam/identity.h"

#include <stdlib.h>
#include <strings.h>

struct identity *identity_ref(struct identity *identity)
{
    atomic_fetch_add_explicit(&identity->references, 1, memory_order_relaxed);
    return identity;
}

/* The cast: a snapshot shows its policies as const and owns a reference to each. */
static void release(const struct named_policy *named)
{
    policy_unref((struct policy *)named->policy);
}

void identity_unref(struct identity *identity)
{
    if (identity == NULL ||
        atomic_fetch_sub_explicit(&identity->references, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < identity->policy_count; i++)
        release(&identity->policies[i]);
    if (identity->boundary)
        release(identity->boundary);
    policy_unref(identity->trust);
    free(identity->arena);
    free(identity);
}

const char *identity_tag_value(const struct identity *identity, const char *key)
{
    for (size_t i = 0; i < identity->tag_count; i++)
        if (strcasecmp(identity->tags[i].key, key) == 0)
            return identity->tags[i].value;
    return NULL;
}
