#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/reply.h"
#include "hsmkms/keys/material.h"

/* GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom. */

struct data_key_request {
    struct request_head head;
    struct request_context context;
    int64_t number_of_bytes;
    const char *key_spec;
};

struct random_request {
    struct request_head head;
    int64_t number_of_bytes;
    const char *key_store;
};

static const char *const key_specs[] = { "AES_256", "AES_128", NULL };

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

static const struct field random_fields[] = {
    { "NumberOfBytes",    OPTIONAL, AT(random, INT, number_of_bytes), 1, 1024, .log = UNLOGGED },
    { "CustomKeyStoreId", OPTIONAL, AT(random, STRING, key_store), 1, 64, .log = UNLOGGED },
    RECIPIENT_ROW,
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(data_key);
REQUEST_SHAPE(random);
const struct request_shape data_key_without_shape = { data_key_without_fields,
                                                      sizeof(struct data_key_request) };

int check_data_key(struct op_call *c, struct kms_error *err)
{
    const struct data_key_request *const request = OP_REQUEST(data_key, c);

    if ((request->number_of_bytes > 0) == (request->key_spec != NULL))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Please specify either number of bytes or key spec.");
    return 0;
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

int check_random(struct op_call *c, struct kms_error *err)
{
    const struct random_request *const request = OP_REQUEST(random, c);

    if (request->number_of_bytes == 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "NumberOfBytes is required.");
    if (request->key_store)
        return kms_fail(err, KMS_ERR_UNSUPPORTED,
                        "Custom key stores are not supported by this service.");
    return 0;
}

int op_random(struct op_call *c, struct kms_error *err)
{
    AUTO(secret) bytes = { 0 };
    json_t *text = NULL;

    if (material_random(c->keyring, (size_t)OP_REQUEST(random, c)->number_of_bytes, &bytes, err) <
            0 ||
        reply_secret(&bytes, &text, err) < 0)
        return -1;
    return op_answer(c, json_pack("{s:o}", "Plaintext", text), err);
}
