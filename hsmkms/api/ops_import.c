#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/reply.h"
#include "hsmkms/keys/import.h"
#include "hsmkms/keys/imported.h"

/* GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial. */

struct import_parameters_request {
    struct request_head head;
    const char *algorithm, *spec;
};

struct import_request {
    struct request_head head;
    struct buf token, sealed;
    int64_t valid_to_ms;
    const char *model, *type, *description, *material_id;
};

struct delete_material_request {
    struct request_head head;
    const char *material_id;
};

#define VALID_TO_MOST_MS (365 * MS_PER_DAY) /* API Reference, ImportKeyMaterial, ValidTo */

static const char *const algorithms[] = { "RSAES_OAEP_SHA_1",
                                          "RSAES_OAEP_SHA_256",
                                          "RSA_AES_KEY_WRAP_SHA_1",
                                          "RSA_AES_KEY_WRAP_SHA_256",
                                          "RSAES_PKCS1_V1_5",
                                          "SM2PKE",
                                          NULL };
static const char *const specs[] = { "RSA_2048", "RSA_3072", "RSA_4096", "SM2", NULL };
static const char *const models[] = { "KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE",
                                      NULL };
static const char *const types[] = { "NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL", NULL };

/* clang-format off */
static const struct field import_parameters_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "WrappingAlgorithm", REQUIRED, AT(import_parameters, ENUM, algorithm), 0, 0, .log = LOGGED, .texts = algorithms, .slot = KMS_WRAPPING_ALGORITHM },
    { "WrappingKeySpec",   REQUIRED, AT(import_parameters, ENUM, spec), 0, 0, .log = LOGGED, .texts = specs, .slot = KMS_WRAPPING_KEY_SPEC },
    { 0 },
};

static const struct field import_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "ImportToken",            REQUIRED, AT(import, BLOB, token), 1, 6144, .log = UNLOGGED },
    { "EncryptedKeyMaterial",   REQUIRED, AT(import, BLOB, sealed), 1, 6144, .log = UNLOGGED },
    { "ValidTo",                OPTIONAL, AT(import, TIME, valid_to_ms), 0, 0, .log = LOGGED, .slot = KMS_VALID_TO },
    { "ExpirationModel",        PRESET,   AT(import, ENUM, model), 0, 0, .log = FILLED, .texts = models, .slot = KMS_EXPIRATION_MODEL },
    { "ImportType",             OPTIONAL, AT(import, ENUM, type), 0, 0, .log = LOGGED, .texts = types },
    { "KeyMaterialDescription", OPTIONAL, AT(import, STRING, description), 0, 256, .log = LOGGED, .pattern = &pattern_description },
    { "KeyMaterialId",          OPTIONAL, AT(import, STRING, material_id), 64, 64, .log = LOGGED, .pattern = &pattern_material_id },
    { 0 },
};

static const struct field delete_material_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "KeyMaterialId",          OPTIONAL, AT(delete_material, STRING, material_id), 64, 64, .log = LOGGED, .pattern = &pattern_material_id },
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(import_parameters);
REQUEST_SHAPE(import);
REQUEST_SHAPE(delete_material);

static int need_external(const struct op_call *c, struct kms_error *err)
{
    if (key_is_external(c->key))
        return 0;
    return kms_fail(err, KMS_ERR_UNSUPPORTED,
                    "%s origin is %s which is not valid for this operation.", c->key_arn.text,
                    c->key->record.origin);
}

/* --- GetParametersForImport ------------------------------------------------------------------- */

int check_import_parameters(struct op_call *c, struct kms_error *err)
{
    return need_external(c, err);
}

int op_import_parameters(struct op_call *c, struct kms_error *err)
{
    const struct import_parameters_request *const request = OP_REQUEST(import_parameters, c);
    AUTO(import_parameters) made = { 0 };

    if (import_parameters(c->keyring, c->key, request->algorithm, request->spec, &made, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s, s:o, s:o, s:o}", "KeyId", c->key_arn.text, "ImportToken",
                               reply_blob(buf_span(&made.token)), "PublicKey",
                               reply_blob(buf_span(&made.public_key)), "ParametersValidTo",
                               reply_time(made.valid_to_ms)),
                     err);
}

/* --- ImportKeyMaterial ------------------------------------------------------------------------ */

static bool expires(const struct import_request *request)
{
    return strcmp(request->model, models[0]) == 0;
}

static int check_valid_to(const struct op_call *c, const struct import_request *request,
                          struct kms_error *err)
{
    if (expires(request) && request->valid_to_ms == 0)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "A validTo date must be set if the ExpirationModel is "
                        "KEY_MATERIAL_EXPIRES");
    if (!expires(request) && request->valid_to_ms)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "A validTo date must not be set if the ExpirationModel is "
                        "KEY_MATERIAL_DOES_NOT_EXPIRE");
    if (request->valid_to_ms &&
        (request->valid_to_ms <= c->now_ms || request->valid_to_ms > c->now_ms + VALID_TO_MOST_MS))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The validTo date must lie in the future, at most 365 days ahead");
    return 0;
}

int check_import(struct op_call *c, struct kms_error *err)
{
    const struct import_request *const request = OP_REQUEST(import, c);

    if (need_external(c, err) < 0 || check_valid_to(c, request, err) < 0)
        return -1;
    if (request->material_id && request->type && strcmp(request->type, types[0]) == 0)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "A keyMaterialId can only be specified for EXISTING_KEY_MATERIAL");
    return 0;
}

static enum import_type type_of(const struct import_request *request)
{
    if (request->type == NULL)
        return request->material_id ? IMPORT_EXISTING : IMPORT_BY_HISTORY;
    return strcmp(request->type, types[0]) == 0 ? IMPORT_NEW : IMPORT_EXISTING;
}

/* Material of keys that are not symmetric has no name. */
static int answer_material(struct op_call *c, const struct material_name *name,
                           struct kms_error *err)
{
    const bool named = keyspec_is_symmetric(c->key->spec) && name->text[0];

    if (named)
        memcpy(c->material_id, name->text, sizeof(c->material_id));
    return op_answer(c,
                     json_pack("{s:s, s:s*}", "KeyId", c->key_arn.text, "KeyMaterialId",
                               named ? name->text : NULL),
                     err);
}

int op_import(struct op_call *c, struct kms_error *err)
{
    const struct import_request *const request = OP_REQUEST(import, c);
    const struct import_draft draft = { .token = buf_span(&request->token),
                                        .sealed = buf_span(&request->sealed),
                                        .type = type_of(request),
                                        .valid_to_ms = request->valid_to_ms,
                                        .description = request->description,
                                        .material_id = request->material_id };
    struct material_name name;

    if (import_material(c->keyring, &c->key->record.id, &draft, &name, err) < 0)
        return -1;
    return answer_material(c, &name, err);
}

/* --- DeleteImportedKeyMaterial ---------------------------------------------------------------- */

int check_delete_material(struct op_call *c, struct kms_error *err)
{
    return need_external(c, err);
}

int op_delete_material(struct op_call *c, struct kms_error *err)
{
    struct material_name name;

    if (import_delete(c->keyring, &c->key->record.id, OP_REQUEST(delete_material, c)->material_id,
                      &name, err) < 0)
        return -1;
    return answer_material(c, &name, err);
}
