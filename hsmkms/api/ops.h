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
op_step check_data_key, op_data_key, op_data_key_without, check_random, op_random;

/* ops_aliases.c */
extern const struct request_shape alias_and_key_shape, alias_shape, list_aliases_shape;
op_step op_create_alias, op_update_alias, op_delete_alias, op_list_aliases;

/* ops_policy.c */
extern const struct request_shape get_policy_shape, put_policy_shape, list_policies_shape;
op_step check_get_policy, op_get_policy, check_put_policy, op_put_policy, op_list_policies;

/* ops_rotation.c */
extern const struct request_shape enable_rotation_shape, list_rotations_shape;
op_step op_enable_rotation, op_disable_rotation, op_rotation_status, op_rotate, op_list_rotations;

/* ops_tags.c */
extern const struct request_shape tag_shape, untag_shape, list_tags_shape;
op_step check_tag, op_tag, op_untag, op_list_tags;
