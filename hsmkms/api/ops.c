#include "hsmkms/api/ops.h"

#include <string.h>

/*
 * THE table. Operations of the AWS model that have no row are answered UnknownOperationException.
 * Source: AWS KMS API Reference, Actions; Service Authorization Reference, AWS KMS.
 */
/* clang-format off */
/* What is asked of the first and of the second key. */
#define ASKED(use) { NULL, use }, { NULL, KEY_USE_READ }
#define NO_KEY     ASKED(KEY_USE_READ)
#define READ       ASKED(KEY_USE_READ)
#define CRYPTO     ASKED(KEY_USE_CRYPTO)
#define EDIT       ASKED(KEY_USE_EDIT)
#define SWITCH     ASKED(KEY_USE_SWITCH)
#define ROTATION   ASKED(KEY_USE_ROTATION)
#define SCHEDULE   ASKED(KEY_USE_SCHEDULE)
#define CANCEL     ASKED(KEY_USE_CANCEL)
#define RE_ENCRYPT { "ReEncryptFrom", KEY_USE_CRYPTO }, { "ReEncryptTo", KEY_USE_CRYPTO }

/* What it does, and what the audit trail keeps of its answer. */
#define READS          OP_READS, ANSWER_UNLOGGED
#define CHANGES        OP_CHANGES, ANSWER_UNLOGGED
#define CHANGES_KEY    OP_CHANGES, ANSWER_KEY_ID
#define CHANGES_ANSWER OP_CHANGES, ANSWER_WHOLE

const struct op ops[] = {
    /* name                               request                    keys found by          asked       effect          check             run */
    { "CreateKey",                       &create_key_shape,         NULL,                  NO_KEY,     CHANGES_ANSWER, check_create_key, op_create_key },
    { "DescribeKey",                     &describe_key_shape,       resolve_name,          READ,       READS,          NULL,             op_describe_key },
    { "ListKeys",                        &list_keys_shape,          NULL,                  NO_KEY,     READS,          NULL,             op_list_keys },
    { "UpdateKeyDescription",            &update_description_shape, resolve_id,            EDIT,       CHANGES_KEY,    NULL,             op_update_description },
    { "EnableKey",                       &key_only_shape,           resolve_id,            SWITCH,     CHANGES_KEY,    NULL,             op_enable_key },
    { "DisableKey",                      &key_only_shape,           resolve_id,            SWITCH,     CHANGES_KEY,    NULL,             op_disable_key },
    { "ScheduleKeyDeletion",             &schedule_deletion_shape,  resolve_id,            SCHEDULE,   CHANGES_ANSWER, NULL,             op_schedule_deletion },
    { "CancelKeyDeletion",               &key_only_shape,           resolve_id,            CANCEL,     CHANGES_KEY,    NULL,             op_cancel_deletion },

    { "Encrypt",                         &encrypt_shape,            resolve_name,          CRYPTO,     READS,          check_encrypt,    op_encrypt },
    { "Decrypt",                         &decrypt_shape,            resolve_blob,          CRYPTO,     READS,          check_decrypt,    op_decrypt },
    { "ReEncrypt",                       &re_encrypt_shape,         resolve_blob_and_name, RE_ENCRYPT, READS,          check_re_encrypt, op_re_encrypt },
    { "GenerateDataKey",                 &data_key_shape,           resolve_name,          CRYPTO,     READS,          check_data_key,   op_data_key },
    { "GenerateDataKeyWithoutPlaintext", &data_key_without_shape,   resolve_name,          CRYPTO,     READS,          check_data_key,   op_data_key_without },
    { "GenerateRandom",                  &random_shape,             NULL,                  NO_KEY,     READS,          check_random,     op_random },

    { "CreateAlias",                     &alias_and_key_shape,      resolve_new_alias,     EDIT,       CHANGES,        NULL,             op_create_alias },
    { "UpdateAlias",                     &alias_and_key_shape,      resolve_moved_alias,   EDIT,       CHANGES,        NULL,             op_update_alias },
    { "DeleteAlias",                     &alias_shape,              resolve_alias,         READ,       CHANGES,        NULL,             op_delete_alias },
    { "ListAliases",                     &list_aliases_shape,       resolve_id_if_given,   READ,       READS,          NULL,             op_list_aliases },

    { "GetKeyPolicy",                    &get_policy_shape,         resolve_id,            READ,       READS,          check_get_policy, op_get_policy },
    { "PutKeyPolicy",                    &put_policy_shape,         resolve_id,            READ,       CHANGES_KEY,    check_put_policy, op_put_policy },
    { "ListKeyPolicies",                 &list_policies_shape,      resolve_id,            READ,       READS,          NULL,             op_list_policies },

    { "TagResource",                     &tag_shape,                resolve_id,            EDIT,       CHANGES_KEY,    check_tag,        op_tag },
    { "UntagResource",                   &untag_shape,              resolve_id,            EDIT,       CHANGES_KEY,    NULL,             op_untag },
    { "ListResourceTags",                &list_tags_shape,          resolve_id,            READ,       READS,          NULL,             op_list_tags },

    { "EnableKeyRotation",               &enable_rotation_shape,    resolve_id,            ROTATION,   CHANGES_KEY,    NULL,             op_enable_rotation },
    { "DisableKeyRotation",              &key_only_shape,           resolve_id,            ROTATION,   CHANGES_KEY,    NULL,             op_disable_rotation },
    { "GetKeyRotationStatus",            &key_only_shape,           resolve_id,            READ,       READS,          NULL,             op_rotation_status },
    { "RotateKeyOnDemand",               &key_only_shape,           resolve_id,            ROTATION,   CHANGES_KEY,    NULL,             op_rotate },
    { "ListKeyRotations",                &list_rotations_shape,     resolve_id,            READ,       READS,          NULL,             op_list_rotations },
};
/* clang-format on */

const size_t op_count = ARRAY_LEN(ops);

const struct op *op_find(const char *name)
{
    for (size_t i = 0; i < op_count; i++)
        if (strcmp(ops[i].name, name) == 0)
            return &ops[i];
    return NULL;
}

const char *api_operation_name(size_t i)
{
    return i < op_count ? ops[i].name : NULL;
}
