#include "hsmkms/iam/iam.h"

#include <stdlib.h>

#include "hsmkms/iam/access_key.h"
#include "hsmkms/iam/cert_binding.h"
#include "hsmkms/iam/door_token.h"
#include "hsmkms/iam/grant.h"
#include "hsmkms/iam/key_policy.h"
#include "hsmkms/iam/session.h"

/* Each may use those before it. */
static int open_parts(struct iam *iam, struct kms_error *err)
{
    const struct directory_config directory = { .token = iam->config.token,
                                                .store = iam->config.store,
                                                .clock = iam->config.clock,
                                                .account = iam->config.account };

    if (directory_open(&directory, &iam->directory, err) < 0 ||
        access_keys_open(iam, &iam->access_keys, err) < 0 ||
        cert_bindings_open(iam, &iam->cert_bindings, err) < 0 ||
        door_tokens_open(iam, &iam->door_tokens, err) < 0 ||
        sessions_open(iam, &iam->sessions, err) < 0 ||
        key_policies_open(iam, &iam->key_policies, err) < 0)
        return -1;
    return grants_open(iam, &iam->grants, err);
}

int iam_open(const struct iam_config *config, struct iam **ret, struct kms_error *err)
{
    struct iam *const iam = calloc(1, sizeof(*iam));

    if (iam == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for iam");
    iam->config = *config;
    if (open_parts(iam, err) < 0) {
        iam_close(iam);
        return -1;
    }
    *ret = iam;
    return 0;
}

void iam_close(struct iam *iam)
{
    if (iam == NULL)
        return;
    grants_close(iam->grants);
    key_policies_close(iam->key_policies);
    sessions_close(iam->sessions);
    door_tokens_close(iam->door_tokens);
    cert_bindings_close(iam->cert_bindings);
    access_keys_close(iam->access_keys);
    directory_close(iam->directory);
    free(iam);
}

typedef int signing_key_fn(struct iam *iam, const struct credential_claim *claim,
                           struct secret *ret_key, struct principal *ret_principal,
                           struct kms_error *err);

/* Source: AWS IAM User Guide, IAM identifiers, Understanding unique ID prefixes. */
static const struct {
    struct span prefix;
    bool has_token; /* temporary credentials come with one, long-term ones without */
    signing_key_fn *signing_key;
} kinds[] = {
    { { (const uint8_t *)"AKIA", 4 }, false, access_key_signing_key },
    { { (const uint8_t *)"ASIA", 4 }, true, session_signing_key },
};

int iam_signing_key(struct iam *iam, const struct credential_claim *claim, struct secret *ret_key,
                    struct principal *ret_principal, struct kms_error *err)
{
    const struct span id = claim->scope.access_key_id;
    const bool has_token = claim->session_token.len > 0;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (id.len > kinds[i].prefix.len && has_token == kinds[i].has_token &&
            span_equal(span_of(id.ptr, kinds[i].prefix.len), kinds[i].prefix))
            return kinds[i].signing_key(iam, claim, ret_key, ret_principal, err);
    return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT,
                    "The security token included in the request is invalid.");
}
