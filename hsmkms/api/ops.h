#pragma once

/* The parts that ops.c puts together: request shapes, resolvers, checks and runs by chapter. */

#include "hsmkms/api/op.h"

/* resolve.c */
op_step resolve_id, resolve_name, resolve_id_if_given, resolve_blob, resolve_blob_and_name;
op_step resolve_new_alias, resolve_moved_alias, resolve_alias;

/*
 * For the run of every operation that finds keys by resolve_name or resolve_blob_and_name: makes
 * those that a predefined alias names for the first time. Before that c->key, or c->other, is NULL
 * in their place.
 */
op_step make_named_keys;

/* For the check of operations that open a ciphertext: KeyId, if given, names its key. */
op_step check_blob_key;

/* DestinationKeyId, which resolve_blob_and_name leaves unresolved where it must not be told yet. */
op_step resolve_destination;

/* ops_keys.c */
extern const struct request_shape create_key_shape, describe_key_shape, list_keys_shape;
extern const struct request_shape update_description_shape, key_only_shape, schedule_deletion_shape;
op_step check_create_key, op_create_key, op_describe_key, op_list_keys, op_update_description;
op_step op_enable_key, op_disable_key, op_schedule_deletion, op_cancel_deletion;

/* ops_crypto.c */
extern const struct request_shape encrypt_shape, decrypt_shape, re_encrypt_shape;
op_step check_encrypt, op_encrypt, check_decrypt, op_decrypt, check_re_encrypt, op_re_encrypt;

/* ops_datakeys.c */
extern const struct request_shape data_key_shape, data_key_without_shape, random_shape;
extern const struct request_shape pair_shape, pair_without_shape;
op_step check_data_key, op_data_key, op_data_key_without, check_random, op_random;
op_step check_data_pair, op_data_pair, op_data_pair_without;

/* ops_sign.c */
extern const struct request_shape public_key_shape, sign_shape, verify_shape;
op_step check_public_key, op_public_key, check_sign, op_sign, op_verify;

/* ops_mac.c */
extern const struct request_shape mac_shape, verify_mac_shape;
op_step check_mac, op_mac, op_verify_mac;

/* ops_agree.c */
extern const struct request_shape agree_shape;
op_step check_agree, op_agree;

/* ops_last_use.c */
op_step op_last_usage;

/* ops_kem.c */
extern const struct request_shape kem_shape, open_kem_shape;
op_step check_kem, op_kem;

/* ops_aliases.c */
extern const struct request_shape alias_and_key_shape, alias_shape, list_aliases_shape;
op_step op_create_alias, op_update_alias, op_delete_alias, op_list_aliases;

/* ops_policy.c */
extern const struct request_shape get_policy_shape, put_policy_shape, list_policies_shape;
op_step check_get_policy, op_get_policy, check_put_policy, op_put_policy, op_list_policies;

/* ops_rotation.c */
extern const struct request_shape enable_rotation_shape, list_rotations_shape;
op_step check_rotation, check_rotation_change, check_automatic_rotation;
op_step op_enable_rotation, op_disable_rotation, op_rotation_status, op_rotate, op_list_rotations;

/* ops_import.c */
extern const struct request_shape import_parameters_shape, import_shape, delete_material_shape;
op_step check_import_parameters, op_import_parameters, check_import, op_import;
op_step check_delete_material, op_delete_material;

/* ops_multi_region.c */
extern const struct request_shape replicate_shape, move_primary_shape;
op_step check_replicate, op_replicate;
op_step resolve_primary_and_heir, may_move_primary, check_move_primary, op_move_primary;

/* ops_key_stores.c */
extern const struct request_shape create_store_shape, update_store_shape, describe_stores_shape;
extern const struct request_shape store_only_shape;
op_step check_create_store, op_create_store, check_update_store, op_update_store;
op_step check_describe_stores, op_describe_stores;
op_step check_store, op_connect_store, op_disconnect_store, op_delete_store;

/* ops_sts.c */
extern const struct request_shape caller_identity_shape, assume_role_shape, session_token_shape;
op_step sts_anybody, sts_may_assume, sts_may_have_token;
op_step op_caller_identity, check_assume_role, op_assume_role, op_session_token;

/* ops_tags.c */
extern const struct request_shape tag_shape, untag_shape, list_tags_shape;
op_step check_tag_resource, op_tag, op_untag, op_list_tags;

/* ops_grants.c, ops_grants_list.c, ops_grants_retire.c */
extern const struct request_shape create_grant_shape, list_grants_shape, list_retirable_shape;
extern const struct request_shape retire_grant_shape, revoke_grant_shape;
op_step resolve_granted_key, check_create_grant, op_create_grant;
op_step check_list_grants, op_list_grants, resolve_retiring, op_list_retirable;
op_step resolve_retired, op_retire_grant, check_revoke_grant, op_revoke_grant;

/* For the gate: every grant token of a request is authentic. Errors: INVALID_GRANT_TOKEN. */
op_step op_check_grant_tokens;
