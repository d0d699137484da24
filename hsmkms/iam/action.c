#include "hsmkms/iam/action.h"

#include "hsmkms/iam/glob.h"

#define KEY(name, cross, grantable)                                                                \
    {                                                                                              \
        "kms:" name, ACTION_ON_KEY, cross, grantable                                               \
    }
#define IDENTITY(name)                                                                             \
    {                                                                                              \
        name, ACTION_BY_IDENTITY, false, false                                                     \
    }
#define ROLE(name)                                                                                 \
    {                                                                                              \
        name, ACTION_ON_ROLE, true, false                                                          \
    }

/* Source: AWS KMS Developer Guide, AWS KMS permissions reference and Grants in AWS KMS. */
/* clang-format off */
const struct action actions[] = {
    /*   name                                  cross  grantable */
    KEY("CancelKeyDeletion",                   false, false),
    KEY("CreateAlias",                         false, false),
    KEY("CreateGrant",                         true,  true),
    KEY("Decapsulate",                         true,  true),
    KEY("Decrypt",                             true,  true),
    KEY("DeleteAlias",                         false, false),
    KEY("DeleteImportedKeyMaterial",           false, false),
    KEY("DeriveSharedSecret",                  true,  true),
    KEY("DescribeKey",                         true,  true),
    KEY("DisableKey",                          false, false),
    KEY("DisableKeyRotation",                  false, false),
    KEY("EnableKey",                           false, false),
    KEY("EnableKeyRotation",                   false, false),
    KEY("Encapsulate",                         true,  true),
    KEY("Encrypt",                             true,  true),
    KEY("GenerateDataKey",                     true,  true),
    KEY("GenerateDataKeyPair",                 true,  true),
    KEY("GenerateDataKeyPairWithoutPlaintext", true,  true),
    KEY("GenerateDataKeyWithoutPlaintext",     true,  true),
    KEY("GenerateMac",                         true,  true),
    KEY("GetKeyLastUsage",                     false, false),
    KEY("GetKeyPolicy",                        false, false),
    KEY("GetKeyRotationStatus",                true,  false),
    KEY("GetParametersForImport",              false, false),
    KEY("GetPublicKey",                        true,  true),
    KEY("ImportKeyMaterial",                   false, false),
    KEY("ListGrants",                          true,  false),
    KEY("ListKeyPolicies",                     false, false),
    KEY("ListKeyRotations",                    false, false),
    KEY("ListResourceTags",                    false, false),
    KEY("PutKeyPolicy",                        false, false),
    KEY("ReEncryptFrom",                       true,  true),
    KEY("ReEncryptTo",                         true,  true),
    KEY("ReplicateKey",                        false, false),
    KEY("RevokeGrant",                         true,  false),
    KEY("RotateKeyOnDemand",                   false, false),
    KEY("ScheduleKeyDeletion",                 false, false),
    KEY("Sign",                                true,  true),
    KEY("SynchronizeMultiRegionKey",           false, false),
    KEY("TagResource",                         false, false),
    KEY("UntagResource",                       false, false),
    KEY("UpdateAlias",                         false, false),
    KEY("UpdateKeyDescription",                false, false),
    KEY("UpdatePrimaryRegion",                 false, false),
    KEY("Verify",                              true,  true),
    KEY("VerifyMac",                           true,  true),

    { "kms:RetireGrant", ACTION_BY_GRANT, true, true },

    IDENTITY("kms:ConnectCustomKeyStore"),
    IDENTITY("kms:CreateCustomKeyStore"),
    IDENTITY("kms:CreateKey"),
    IDENTITY("kms:DeleteCustomKeyStore"),
    IDENTITY("kms:DescribeCustomKeyStores"),
    IDENTITY("kms:DisconnectCustomKeyStore"),
    IDENTITY("kms:GenerateRandom"),
    IDENTITY("kms:ListAliases"),
    IDENTITY("kms:ListKeys"),
    IDENTITY("kms:ListRetirableGrants"),
    IDENTITY("kms:UpdateCustomKeyStore"),

    ROLE("sts:AssumeRole"),
    ROLE("sts:SetSourceIdentity"),
    ROLE("sts:TagSession"),
    IDENTITY("sts:GetCallerIdentity"),
    IDENTITY("sts:GetSessionToken"),
};
/* clang-format on */
const size_t action_count = ARRAY_LEN(actions);

_Static_assert(ARRAY_LEN(actions) <= ACTIONS_MAX, "an action mask has a bit for each");

int action_find(const char *name)
{
    for (size_t i = 0; i < action_count; i++)
        if (strcmp(actions[i].name, name) == 0)
            return (int)i;
    return -1;
}

int action_of(const char *service, const char *name)
{
    const size_t len = strlen(service);

    for (size_t i = 0; i < action_count; i++)
        if (strncmp(actions[i].name, service, len) == 0 && actions[i].name[len] == ':' &&
            strcmp(actions[i].name + len + 1, name) == 0)
            return (int)i;
    return -1;
}

const char *action_short_name(int action)
{
    return strchr(actions[action].name, ':') + 1;
}

uint64_t action_mask(struct span pattern)
{
    const struct glob_piece piece = { pattern, false };
    uint64_t mask = 0;

    for (size_t i = 0; i < action_count; i++) {
        uint64_t steps = UINT64_MAX; /* once, when a policy is written, against short names */
        if (glob_match(&piece, 1, span_text(actions[i].name), GLOB_FOLD, &steps))
            mask |= UINT64_C(1) << i;
    }
    return mask;
}
