#include "hsmkms/api/ops.h"

#include <string.h>

/*
 * THE table. Operations of the AWS model that have no row are answered UnknownOperationException.
 * Source: AWS KMS API Reference, Actions; Service Authorization Reference, AWS KMS.
 */
/* clang-format off */
/* What is asked of the first and of the second key. */
#define ASKED(use) { NULL, use, false }, { NULL, KEY_USE_READ, false }
#define NO_KEY     ASKED(KEY_USE_READ)
#define READ       ASKED(KEY_USE_READ)
#define CRYPTO      { NULL, KEY_USE_CRYPTO, true }, { NULL, KEY_USE_READ, false }
#define STEADY_BOTH { NULL, KEY_USE_CRYPTO, false }, { NULL, KEY_USE_CRYPTO, false }
#define PUBLIC      ASKED(KEY_USE_CRYPTO)
#define EDIT       ASKED(KEY_USE_EDIT)
#define SWITCH     ASKED(KEY_USE_SWITCH)
#define ROTATION   ASKED(KEY_USE_ROTATION)
#define ROTATE     ASKED(KEY_USE_ROTATE)
#define IMPORT     ASKED(KEY_USE_IMPORT)
#define SCHEDULE   ASKED(KEY_USE_SCHEDULE)
#define CANCEL     ASKED(KEY_USE_CANCEL)
#define GRANT      ASKED(KEY_USE_GRANT)
#define RE_ENCRYPT { "ReEncryptFrom", KEY_USE_CRYPTO, true }, { "ReEncryptTo", KEY_USE_CRYPTO, true }

/* What it does, and what the audit trail keeps of its answer. */
#define READS          OP_READS, ANSWER_UNLOGGED
#define CHANGES        OP_CHANGES, ANSWER_UNLOGGED
#define CHANGES_KEY    OP_CHANGES, ANSWER_KEY_ID
#define CHANGES_ANSWER OP_CHANGES, ANSWER_WHOLE
#define CREATES_GRANT  OP_CHANGES, ANSWER_GRANT

/* Whether it is allowed is asked by the gate. */
#define KMS NULL, API_KMS

/* Operations of AWS STS: about no key, allowed by rules of their own. */
#define STS(name, request, effect, answer, check, run, authorize) \
    { name, &request##_shape, NULL, NO_KEY, effect, answer, check, run, authorize, API_STS }

const struct op ops[] = {
    /* name                               request                    keys found by          asked       effect          check             run */
    { "CreateKey",                       &create_key_shape,         NULL,                  NO_KEY,     CHANGES_ANSWER, check_create_key, op_create_key, KMS },
    { "DescribeKey",                     &describe_key_shape,       resolve_name,          READ,       READS,          NULL,             op_describe_key, KMS },
    { "ListKeys",                        &list_keys_shape,          NULL,                  NO_KEY,     READS,          NULL,             op_list_keys, KMS },
    { "UpdateKeyDescription",            &update_description_shape, resolve_id,            EDIT,       CHANGES_KEY,    NULL,             op_update_description, KMS },
    { "EnableKey",                       &key_only_shape,           resolve_id,            SWITCH,     CHANGES_KEY,    NULL,             op_enable_key, KMS },
    { "DisableKey",                      &key_only_shape,           resolve_id,            SWITCH,     CHANGES_KEY,    NULL,             op_disable_key, KMS },
    { "ScheduleKeyDeletion",             &schedule_deletion_shape,  resolve_id,            SCHEDULE,   CHANGES_ANSWER, NULL,             op_schedule_deletion, KMS },
    { "CancelKeyDeletion",               &key_only_shape,           resolve_id,            CANCEL,     CHANGES_KEY,    NULL,             op_cancel_deletion, KMS },
    { "GetKeyLastUsage",                 &key_only_shape,           resolve_id,            READ,       READS,          NULL,             op_last_usage, KMS },

    { "Encrypt",                         &encrypt_shape,            resolve_name,          CRYPTO,     READS,          check_encrypt,    op_encrypt, KMS },
    { "Decrypt",                         &decrypt_shape,            resolve_blob,          CRYPTO,     READS,          check_decrypt,    op_decrypt, KMS },
    { "ReEncrypt",                       &re_encrypt_shape,         resolve_blob_and_name, RE_ENCRYPT, READS,          check_re_encrypt, op_re_encrypt, KMS },
    { "GenerateDataKey",                 &data_key_shape,           resolve_name,          CRYPTO,     READS,          check_data_key,   op_data_key, KMS },
    { "GenerateDataKeyWithoutPlaintext", &data_key_without_shape,   resolve_name,          CRYPTO,     READS,          check_data_key,   op_data_key_without, KMS },
    { "GenerateDataKeyPair",             &pair_shape,               resolve_name,          CRYPTO,     READS,          check_data_pair,  op_data_pair, KMS },
    { "GenerateDataKeyPairWithoutPlaintext", &pair_without_shape,   resolve_name,          CRYPTO,     READS,          check_data_pair,  op_data_pair_without, KMS },
    { "GenerateRandom",                  &random_shape,             NULL,                  NO_KEY,     READS,          check_random,     op_random, KMS },

    { "GetPublicKey",                    &public_key_shape,         resolve_name,          PUBLIC,     READS,          check_public_key, op_public_key, KMS },
    { "Sign",                            &sign_shape,               resolve_name,          CRYPTO,     READS,          check_sign,       op_sign, KMS },
    { "Verify",                          &verify_shape,             resolve_name,          CRYPTO,     READS,          check_sign,       op_verify, KMS },
    { "GenerateMac",                     &mac_shape,                resolve_name,          CRYPTO,     READS,          check_mac,        op_mac, KMS },
    { "VerifyMac",                       &verify_mac_shape,         resolve_name,          CRYPTO,     READS,          check_mac,        op_verify_mac, KMS },
    { "DeriveSharedSecret",              &agree_shape,              resolve_name,          CRYPTO,     READS,          check_agree,      op_agree, KMS },
    { "Encapsulate",                     &kem_shape,                resolve_name,          CRYPTO,     READS,          check_kem,        op_kem, KMS },
    { "Decapsulate",                     &open_kem_shape,           resolve_name,          CRYPTO,     READS,          check_kem,        op_kem, KMS },

    { "CreateAlias",                     &alias_and_key_shape,      resolve_new_alias,     EDIT,       CHANGES,        NULL,             op_create_alias, KMS },
    { "UpdateAlias",                     &alias_and_key_shape,      resolve_moved_alias,   EDIT,       CHANGES,        NULL,             op_update_alias, KMS },
    { "DeleteAlias",                     &alias_shape,              resolve_alias,         READ,       CHANGES,        NULL,             op_delete_alias, KMS },
    { "ListAliases",                     &list_aliases_shape,       resolve_id_if_given,   READ,       READS,          NULL,             op_list_aliases, KMS },

    { "GetKeyPolicy",                    &get_policy_shape,         resolve_id,            READ,       READS,          check_get_policy, op_get_policy, KMS },
    { "PutKeyPolicy",                    &put_policy_shape,         resolve_id,            READ,       CHANGES_KEY,    check_put_policy, op_put_policy, KMS },
    { "ListKeyPolicies",                 &list_policies_shape,      resolve_id,            READ,       READS,          NULL,             op_list_policies, KMS },

    { "TagResource",                     &tag_shape,                resolve_id,            EDIT,       CHANGES_KEY,    check_tag_resource,        op_tag, KMS },
    { "UntagResource",                   &untag_shape,              resolve_id,            EDIT,       CHANGES_KEY,    NULL,             op_untag, KMS },
    { "ListResourceTags",                &list_tags_shape,          resolve_id,            READ,       READS,          NULL,             op_list_tags, KMS },

    { "EnableKeyRotation",               &enable_rotation_shape,    resolve_id,            ROTATION,   CHANGES_KEY,    check_automatic_rotation, op_enable_rotation, KMS },
    { "DisableKeyRotation",              &key_only_shape,           resolve_id,            ROTATION,   CHANGES_KEY,    check_automatic_rotation, op_disable_rotation, KMS },
    { "GetKeyRotationStatus",            &key_only_shape,           resolve_id,            READ,       READS,          check_rotation,   op_rotation_status, KMS },
    { "RotateKeyOnDemand",               &key_only_shape,           resolve_id,            ROTATE,     CHANGES_KEY,    check_rotation_change, op_rotate, KMS },
    { "ListKeyRotations",                &list_rotations_shape,     resolve_id,            READ,       READS,          check_rotation,   op_list_rotations, KMS },

    { "GetParametersForImport",          &import_parameters_shape,  resolve_id,            IMPORT,     READS,          check_import_parameters, op_import_parameters, KMS },
    { "ImportKeyMaterial",               &import_shape,             resolve_id,            IMPORT,     CHANGES_KEY,    check_import,     op_import, KMS },
    { "DeleteImportedKeyMaterial",       &delete_material_shape,    resolve_id,            READ,       CHANGES_KEY,    check_delete_material, op_delete_material, KMS },

    { "ReplicateKey",                    &replicate_shape,          resolve_id,            CRYPTO,     CHANGES_ANSWER, check_replicate,  op_replicate, KMS },
    { "UpdatePrimaryRegion",             &move_primary_shape,       resolve_primary_and_heir, STEADY_BOTH, CHANGES_KEY, check_move_primary, op_move_primary, may_move_primary, API_KMS },

    { "CreateCustomKeyStore",            &create_store_shape,       NULL,                  NO_KEY,     CHANGES_ANSWER, check_create_store, op_create_store, KMS },
    { "DescribeCustomKeyStores",         &describe_stores_shape,    NULL,                  NO_KEY,     READS,          check_describe_stores, op_describe_stores, KMS },
    { "UpdateCustomKeyStore",            &update_store_shape,       NULL,                  NO_KEY,     CHANGES,        check_update_store, op_update_store, KMS },
    { "ConnectCustomKeyStore",           &store_only_shape,         NULL,                  NO_KEY,     CHANGES,        check_store,      op_connect_store, KMS },
    { "DisconnectCustomKeyStore",        &store_only_shape,         NULL,                  NO_KEY,     CHANGES,        check_store,      op_disconnect_store, KMS },
    { "DeleteCustomKeyStore",            &store_only_shape,         NULL,                  NO_KEY,     CHANGES,        check_store,      op_delete_store, KMS },

    { "CreateGrant",                     &create_grant_shape,       resolve_granted_key,   GRANT,      CREATES_GRANT,  check_create_grant, op_create_grant, KMS },
    { "ListGrants",                      &list_grants_shape,        resolve_id,            READ,       READS,          check_list_grants, op_list_grants, KMS },
    { "ListRetirableGrants",             &list_retirable_shape,     resolve_retiring,      NO_KEY,     READS,          NULL,             op_list_retirable, KMS },
    { "RetireGrant",                     &retire_grant_shape,       resolve_retired,       READ,       CHANGES,        NULL,             op_retire_grant, KMS },
    { "RevokeGrant",                     &revoke_grant_shape,       resolve_id,            READ,       CHANGES_KEY,    check_revoke_grant, op_revoke_grant, KMS },

    STS("GetCallerIdentity", caller_identity, OP_READS, ANSWER_UNLOGGED,        NULL,              op_caller_identity, sts_anybody),
    STS("AssumeRole",        assume_role,     OP_READS, ANSWER_WITHOUT_SECRETS, check_assume_role, op_assume_role,     sts_may_assume),
    STS("GetSessionToken",   session_token,   OP_READS, ANSWER_WITHOUT_SECRETS, NULL,              op_session_token,   sts_may_have_token),
};
/* clang-format on */

const size_t op_count = ARRAY_LEN(ops);

const struct op *op_find(enum api_service service, const char *name)
{
    for (size_t i = 0; i < op_count; i++)
        if (ops[i].service == service && strcmp(ops[i].name, name) == 0)
            return &ops[i];
    return NULL;
}

const char *api_operation_name(size_t i)
{
    return i < op_count ? ops[i].name : NULL;
}
