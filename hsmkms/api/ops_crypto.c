#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/reply.h"
#include "hsmkms/crypto/digest.h"
#include "hsmkms/keys/material.h"

/* Encrypt, Decrypt, ReEncrypt. */

struct encrypt_request {
    struct request_head head;
    struct secret plaintext;
    struct request_context context;
    const char *algorithm;
};

struct decrypt_request {
    struct request_head head;
    struct request_context context;
    const char *algorithm;
};

struct re_encrypt_request {
    struct request_head head;
    struct request_context context, destination_context;
    const char *algorithm, *destination_algorithm;
};

static const char *const algorithms[] = { "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1",
                                          "RSAES_OAEP_SHA_256", "SM2PKE", NULL };
static const char *const modifiers[] = { "IGNORE_CIPHERTEXT", NULL };

/* clang-format off */
#define BLOB_ROW      { "CiphertextBlob", OPTIONAL, IN_HEAD(BLOB, blob), 1, 6144, .log = UNLOGGED }
#define MODIFIERS_ROW { "DryRunModifiers", OPTIONAL, IN_HEAD(STRINGS, dry_run_modifiers), 0, 1, .log = LOGGED, .texts = modifiers }

static const struct field encrypt_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "Plaintext",           REQUIRED, AT(encrypt, SECRET, plaintext), 1, 4096, .log = UNLOGGED },
    { "EncryptionContext",   OPTIONAL, AT(encrypt, CONTEXT, context), 0, CONTEXT_BYTES_MAX, .log = LOGGED },
    { "EncryptionAlgorithm", PRESET,   AT(encrypt, ENUM, algorithm), 0, 0, .log = FILLED, .texts = algorithms },
    GRANT_TOKENS_ROW,
    DRY_RUN_ROW,
    { 0 },
};

static const struct field decrypt_fields[] = {
    KEY_ID_ROW(OPTIONAL),
    BLOB_ROW,
    { "EncryptionContext",   OPTIONAL, AT(decrypt, CONTEXT, context), 0, CONTEXT_BYTES_MAX, .log = LOGGED },
    { "EncryptionAlgorithm", PRESET,   AT(decrypt, ENUM, algorithm), 0, 0, .log = FILLED, .texts = algorithms },
    GRANT_TOKENS_ROW,
    RECIPIENT_ROW,
    DRY_RUN_ROW,
    MODIFIERS_ROW,
    { 0 },
};

static const struct field re_encrypt_fields[] = {
    { "SourceKeyId",                  OPTIONAL, IN_HEAD(STRING, key_id), 1, 2048, .log = LOGGED },
    { "DestinationKeyId",             REQUIRED, IN_HEAD(STRING, destination_id), 1, 2048, .log = LOGGED },
    BLOB_ROW,
    { "SourceEncryptionContext",      OPTIONAL, AT(re_encrypt, CONTEXT, context), 0, CONTEXT_BYTES_MAX, .log = LOGGED },
    { "SourceEncryptionAlgorithm",    PRESET,   AT(re_encrypt, ENUM, algorithm), 0, 0, .log = FILLED, .texts = algorithms },
    { "DestinationEncryptionContext", OPTIONAL, AT(re_encrypt, CONTEXT, destination_context), 0, CONTEXT_BYTES_MAX, .log = LOGGED },
    { "DestinationEncryptionAlgorithm", PRESET, AT(re_encrypt, ENUM, destination_algorithm), 0, 0, .log = FILLED, .texts = algorithms },
    GRANT_TOKENS_ROW,
    DRY_RUN_ROW,
    MODIFIERS_ROW,
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(encrypt);
REQUEST_SHAPE(decrypt);
REQUEST_SHAPE(re_encrypt);

/* Every key is symmetric, also one that is still to be made, so one algorithm fits. */
static int algorithm_fits(const char *algorithm, const struct key *key, struct kms_error *err)
{
    if (strcmp(algorithm, algorithms[0]) == 0)
        return 0;
    return kms_fail(err, KMS_ERR_INVALID_KEY_USAGE,
                    "Algorithm %s is incompatible with key spec %s.", algorithm,
                    key ? key->record.spec : algorithms[0]);
}

int check_encrypt(struct op_call *c, struct kms_error *err)
{
    return algorithm_fits(OP_REQUEST(encrypt, c)->algorithm, c->key, err);
}

/* Writes down the version that a new ciphertext was made with. */
static int blob_version(const struct buf *blob, struct uuid *ret, struct kms_error *err)
{
    struct envelope envelope;

    if (envelope_parse(buf_span(blob), &envelope, err) < 0)
        return -1;
    *ret = envelope.version_id;
    return 0;
}

int op_encrypt(struct op_call *c, struct kms_error *err)
{
    const struct encrypt_request *const request = OP_REQUEST(encrypt, c);
    AUTO(buf) blob = { 0 };
    struct uuid version;

    if (make_named_keys(c, err) < 0 ||
        material_wrap(c->keyring, c->key, buf_span(&request->context.canonical),
                      secret_span(&request->plaintext), &blob, err) < 0)
        return -1;
    if (blob_version(&blob, &version, err) < 0 || op_note_version(c, &version, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:o, s:s, s:s}", "CiphertextBlob", reply_blob(buf_span(&blob)),
                               "KeyId", c->key_arn.text, "EncryptionAlgorithm", request->algorithm),
                     err);
}

/* Opens the request's ciphertext and writes down which version did. */
static int open_blob(struct op_call *c, const struct request_context *context,
                     struct secret *ret_plain, struct kms_error *err)
{
    if (material_unwrap(c->keyring, c->key, &c->envelope, buf_span(&context->canonical), ret_plain,
                        err) < 0)
        return -1;
    return op_note_version(c, &c->envelope.version_id, err);
}

/* A dry run opens the ciphertext too, unless it was told to ignore it. */
static int dry_open(struct op_call *c, const struct request_context *context, struct kms_error *err)
{
    AUTO(secret) plain = { 0 };

    if (!c->head->dry_run || c->head->dry_run_modifiers.count > 0)
        return 0;
    return open_blob(c, context, &plain, err);
}

int check_decrypt(struct op_call *c, struct kms_error *err)
{
    const struct decrypt_request *const request = OP_REQUEST(decrypt, c);

    if (algorithm_fits(request->algorithm, c->key, err) < 0)
        return -1;
    return dry_open(c, &request->context, err);
}

int op_decrypt(struct op_call *c, struct kms_error *err)
{
    const struct decrypt_request *const request = OP_REQUEST(decrypt, c);
    AUTO(secret) plain = { 0 };
    json_t *text = NULL;

    if (open_blob(c, &request->context, &plain, err) < 0 || reply_secret(&plain, &text, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s, s:o, s:s, s:s}", "KeyId", c->key_arn.text, "Plaintext", text,
                               "EncryptionAlgorithm", request->algorithm, "KeyMaterialId",
                               c->material_id),
                     err);
}

int check_re_encrypt(struct op_call *c, struct kms_error *err)
{
    const struct re_encrypt_request *const request = OP_REQUEST(re_encrypt, c);

    if (algorithm_fits(request->algorithm, c->key, err) < 0 ||
        algorithm_fits(request->destination_algorithm, c->other, err) < 0)
        return -1;
    return dry_open(c, &request->context, err);
}

/*
 * The caller is going to drop the old ciphertext, so bytes that a faulty token made of it must not
 * be sealed in its place: two openings have to agree.
 */
static int open_twice(struct op_call *c, const struct request_context *context,
                      struct secret *ret_plain, struct kms_error *err)
{
    AUTO(secret) first = { 0 };
    AUTO(secret) second = { 0 };

    if (open_blob(c, context, &first, err) < 0 || open_blob(c, context, &second, err) < 0)
        return -1;
    if (!equal_ct(secret_span(&first), secret_span(&second)))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "one ciphertext opened to two plaintexts");
    *ret_plain = secret_take(&first);
    return 0;
}

int op_re_encrypt(struct op_call *c, struct kms_error *err)
{
    const struct re_encrypt_request *const request = OP_REQUEST(re_encrypt, c);
    AUTO(secret) plain = { 0 };
    AUTO(buf) blob = { 0 };
    struct uuid version;

    if (open_twice(c, &request->context, &plain, err) < 0 || make_named_keys(c, err) < 0 ||
        material_wrap(c->keyring, c->other, buf_span(&request->destination_context.canonical),
                      secret_span(&plain), &blob, err) < 0)
        return -1;
    if (blob_version(&blob, &version, err) < 0 ||
        reply_material(c->other, &version, c->other_material_id, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:s}", "CiphertextBlob",
                               reply_blob(buf_span(&blob)), "SourceKeyId", c->key_arn.text, "KeyId",
                               c->other_arn.text, "SourceEncryptionAlgorithm", request->algorithm,
                               "DestinationEncryptionAlgorithm", request->destination_algorithm,
                               "SourceKeyMaterialId", c->material_id, "DestinationKeyMaterialId",
                               c->other_material_id),
                     err);
}
