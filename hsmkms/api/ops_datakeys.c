#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/reply.h"
#include "hsmkms/api/usage.h"
#include "hsmkms/crypto/key_pair.h"
#include "hsmkms/keys/key_store.h"
#include "hsmkms/keys/material.h"

/*
 * GenerateDataKey and GenerateDataKeyPair, each with and without plaintext, GenerateRandom.
 */

struct data_key_request {
    struct request_head head;
    struct request_context context;
    int64_t number_of_bytes;
    const char *key_spec;
};

struct pair_request {
    struct request_head head;
    struct request_context context;
    const char *spec;
};

struct random_request {
    struct request_head head;
    int64_t number_of_bytes;
    const char *key_store;
};

static const char *const key_specs[] = { "AES_256", "AES_128", NULL };
static const char *const pair_specs[] = { "RSA_2048",
                                          "RSA_3072",
                                          "RSA_4096",
                                          "ECC_NIST_P256",
                                          "ECC_NIST_P384",
                                          "ECC_NIST_P521",
                                          "ECC_SECG_P256K1",
                                          "ECC_NIST_EDWARDS25519",
                                          "SM2",
                                          "ML_KEM_512",
                                          "ML_KEM_768",
                                          "ML_KEM_1024",
                                          NULL };

/* clang-format off */
#define DATA_KEY_ROWS \
    KEY_ID_ROW(REQUIRED), \
    { "KeySpec",           OPTIONAL, AT(data_key, ENUM, key_spec), 0, 0, .log = LOGGED, .texts = key_specs }, \
    { "NumberOfBytes",     OPTIONAL, AT(data_key, INT, number_of_bytes), 1, 1024, .log = LOGGED }, \
    { "EncryptionContext", OPTIONAL, AT(data_key, CONTEXT, context), 0, CONTEXT_BYTES_MAX, .log = LOGGED }, \
    GRANT_TOKENS_ROW, \
    DRY_RUN_ROW

static const struct field data_key_fields[] = {
    DATA_KEY_ROWS,
    RECIPIENT_ROW,
    { 0 },
};

static const struct field data_key_without_fields[] = {
    DATA_KEY_ROWS,
    { 0 },
};

#define PAIR_ROWS \
    KEY_ID_ROW(REQUIRED), \
    { "KeyPairSpec",       REQUIRED, AT(pair, ENUM, spec), 0, 0, .log = LOGGED, .texts = pair_specs, .slot = KMS_DATA_KEY_PAIR_SPEC }, \
    { "EncryptionContext", OPTIONAL, AT(pair, CONTEXT, context), 0, CONTEXT_BYTES_MAX, .log = LOGGED }, \
    GRANT_TOKENS_ROW, \
    DRY_RUN_ROW

static const struct field pair_fields[] = {
    PAIR_ROWS,
    RECIPIENT_ROW,
    { 0 },
};

static const struct field pair_without_fields[] = {
    PAIR_ROWS,
    { 0 },
};

static const struct field random_fields[] = {
    { "NumberOfBytes",    OPTIONAL, AT(random, INT, number_of_bytes), 1, 1024, .log = UNLOGGED },
    { "CustomKeyStoreId", OPTIONAL, AT(random, STRING, key_store), 1, 64, .log = UNLOGGED },
    RECIPIENT_ROW,
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(data_key);
REQUEST_SHAPE(pair);
REQUEST_SHAPE(random);
const struct request_shape pair_without_shape = { pair_without_fields,
                                                  sizeof(struct pair_request) };
const struct request_shape data_key_without_shape = { data_key_without_fields,
                                                      sizeof(struct data_key_request) };

/* --- data keys -------------------------------------------------------------------------------- */

/* Only symmetric keys wrap data keys. */
static int check_wraps(const struct op_call *c, struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;

    if (usage_check(c, c->key, c->key_arn.text, USAGE_ENCRYPT_DECRYPT, err) < 0)
        return -1;
    return usage_algorithm(c->key, USAGE_ENCRYPT_DECRYPT, keyspecs[0].name, &algorithm, err);
}

int check_data_key(struct op_call *c, struct kms_error *err)
{
    const struct data_key_request *const request = OP_REQUEST(data_key, c);

    if ((request->number_of_bytes > 0) == (request->key_spec != NULL))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Please specify either number of bytes or key spec.");
    return check_wraps(c, err);
}

static size_t data_key_len(const struct data_key_request *request)
{
    if (request->key_spec == NULL)
        return (size_t)request->number_of_bytes;
    return strcmp(request->key_spec, "AES_128") == 0 ? 16 : 32;
}

static int make_data_key(struct op_call *c, struct secret *ret_plain, struct buf *ret_blob,
                         struct kms_error *err)
{
    const struct data_key_request *const request = OP_REQUEST(data_key, c);
    struct envelope envelope;

    if (make_named_keys(c, err) < 0 ||
        material_data_key(c->keyring, c->key, buf_span(&request->context.canonical),
                          data_key_len(request), ret_plain, ret_blob, err) < 0)
        return -1;
    if (envelope_parse(buf_span(ret_blob), &envelope, err) < 0)
        return -1;
    return op_note_version(c, &envelope.version_id, err);
}

int op_data_key(struct op_call *c, struct kms_error *err)
{
    AUTO(secret) plain = { 0 };
    AUTO(buf) blob = { 0 };
    json_t *text = NULL;

    if (make_data_key(c, &plain, &blob, err) < 0 || reply_secret(&plain, &text, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:o, s:o, s:s, s:s}", "CiphertextBlob",
                               reply_blob(buf_span(&blob)), "Plaintext", text, "KeyId",
                               c->key_arn.text, "KeyMaterialId", c->material_id),
                     err);
}

int op_data_key_without(struct op_call *c, struct kms_error *err)
{
    AUTO(secret) plain = { 0 };
    AUTO(buf) blob = { 0 };

    if (make_data_key(c, &plain, &blob, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:o, s:s, s:s}", "CiphertextBlob", reply_blob(buf_span(&blob)),
                               "KeyId", c->key_arn.text, "KeyMaterialId", c->material_id),
                     err);
}

/* --- pairs ------------------------------------------------------------------------------------ */

int check_data_pair(struct op_call *c, struct kms_error *err)
{
    const struct pair_request *const request = OP_REQUEST(pair, c);
    const struct keyspec *const spec = keyspec_find(request->spec);

    if (check_wraps(c, err) < 0)
        return -1;
    if (spec && spec->type == SPEC_PAIR)
        return 0;
    return kms_fail(err, KMS_ERR_UNSUPPORTED, "KeyPairSpec %s is not supported by this service.",
                    request->spec);
}

/* Made by OpenSSL, not in the token: it is to leave anyway. */
static int make_data_pair(struct op_call *c, struct secret *ret_private, struct buf *ret_public,
                          struct buf *ret_blob, struct kms_error *err)
{
    const struct pair_request *const request = OP_REQUEST(pair, c);
    const struct keyspec *const spec = keyspec_find(request->spec);
    struct envelope envelope;
    AUTO(secret) private_key = { 0 };

    if (make_named_keys(c, err) < 0 ||
        key_pair_make(spec->public_kind, keyspec_modulus_bits(spec), &private_key, ret_public,
                      err) < 0 ||
        material_wrap(c->keyring, c->key, buf_span(&request->context.canonical),
                      secret_span(&private_key), ret_blob, err) < 0 ||
        envelope_parse(buf_span(ret_blob), &envelope, err) < 0)
        return -1;
    *ret_private = secret_take(&private_key);
    return op_note_version(c, &envelope.version_id, err);
}

static int answer_data_pair(struct op_call *c, json_t *plaintext, const struct buf *public_key,
                            const struct buf *blob, struct kms_error *err)
{
    return op_answer(c,
                     json_pack("{s:o, s:o, s:o*, s:s, s:s, s:s}", "PrivateKeyCiphertextBlob",
                               reply_blob(buf_span(blob)), "PublicKey",
                               reply_blob(buf_span(public_key)), "PrivateKeyPlaintext", plaintext,
                               "KeyId", c->key_arn.text, "KeyPairSpec", OP_REQUEST(pair, c)->spec,
                               "KeyMaterialId", c->material_id),
                     err);
}

int op_data_pair(struct op_call *c, struct kms_error *err)
{
    AUTO(secret) private_key = { 0 };
    AUTO(buf) public_key = { 0 };
    AUTO(buf) blob = { 0 };
    json_t *text = NULL;

    if (make_data_pair(c, &private_key, &public_key, &blob, err) < 0 ||
        reply_secret(&private_key, &text, err) < 0)
        return -1;
    return answer_data_pair(c, text, &public_key, &blob, err);
}

int op_data_pair_without(struct op_call *c, struct kms_error *err)
{
    AUTO(secret) private_key = { 0 };
    AUTO(buf) public_key = { 0 };
    AUTO(buf) blob = { 0 };

    if (make_data_pair(c, &private_key, &public_key, &blob, err) < 0)
        return -1;
    return answer_data_pair(c, NULL, &public_key, &blob, err);
}

/* --- random bytes ----------------------------------------------------------------------------- */

int check_random(struct op_call *c, struct kms_error *err)
{
    const struct random_request *const request = OP_REQUEST(random, c);

    if (request->number_of_bytes == 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "NumberOfBytes is required.");
    if (request->key_store && op_is_stranger(c))
        return kms_fail(err, KMS_ERR_STORE_NOT_FOUND, "Custom key store %.64s was not found.",
                        request->key_store);
    return 0;
}

int op_random(struct op_call *c, struct kms_error *err)
{
    const struct random_request *const request = OP_REQUEST(random, c);
    AUTO(token_hold) held = { .token = c->keyring->token };
    AUTO(secret) bytes = { 0 };
    json_t *text = NULL;

    if (request->key_store && key_store_hold_place(c->keyring, request->key_store, &held, err) < 0)
        return -1;
    if (material_random(held.token, (size_t)request->number_of_bytes, &bytes, err) < 0 ||
        reply_secret(&bytes, &text, err) < 0)
        return -1;
    return op_answer(c, json_pack("{s:o}", "Plaintext", text), err);
}
