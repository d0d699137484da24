#include "hsmkms/api/ops.h"

#include <string.h>

#include "hsmkms/api/reply.h"
#include "hsmkms/api/usage.h"
#include "hsmkms/keys/material_pair.h"

/* GetPublicKey, Sign, Verify. */

struct public_key_request {
    struct request_head head;
};

struct sign_request {
    struct request_head head;
    struct secret message;
    struct buf signature; /* Verify */
    const char *algorithm, *type;
};

static const char *const signing_algorithms[] = { "RSASSA_PSS_SHA_256",
                                                  "RSASSA_PSS_SHA_384",
                                                  "RSASSA_PSS_SHA_512",
                                                  "RSASSA_PKCS1_V1_5_SHA_256",
                                                  "RSASSA_PKCS1_V1_5_SHA_384",
                                                  "RSASSA_PKCS1_V1_5_SHA_512",
                                                  "ECDSA_SHA_256",
                                                  "ECDSA_SHA_384",
                                                  "ECDSA_SHA_512",
                                                  "ED25519_SHA_512",
                                                  "ED25519_PH_SHA_512",
                                                  "ML_DSA_SHAKE_256",
                                                  "SM2DSA",
                                                  NULL };
static const char *const message_types[] = { "RAW", "DIGEST", "EXTERNAL_MU", NULL };

/* clang-format off */
#define SIGN_ROWS \
    KEY_ID_ROW(REQUIRED), \
    { "Message",          REQUIRED, AT(sign, SECRET, message), 1, 4096, .log = UNLOGGED }, \
    { "MessageType",      PRESET,   AT(sign, ENUM, type), 0, 0, .log = FILLED, .texts = message_types, .slot = KMS_MESSAGE_TYPE }, \
    { "SigningAlgorithm", REQUIRED, AT(sign, ENUM, algorithm), 0, 0, .log = LOGGED, .texts = signing_algorithms, .slot = KMS_SIGNING_ALGORITHM }, \
    GRANT_TOKENS_ROW, \
    DRY_RUN_ROW

static const struct field public_key_fields[] = {
    KEY_ID_ROW(REQUIRED),
    GRANT_TOKENS_ROW,
    { 0 },
};

static const struct field sign_fields[] = {
    SIGN_ROWS,
    { 0 },
};

static const struct field verify_fields[] = {
    SIGN_ROWS,
    { "Signature",        REQUIRED, AT(sign, BLOB, signature), 1, 6144, .log = UNLOGGED },
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(public_key);
REQUEST_SHAPE(sign);
const struct request_shape verify_shape = { verify_fields, sizeof(struct sign_request) };

/* --- public keys ------------------------------------------------------------------------------ */

int check_public_key(struct op_call *c, struct kms_error *err)
{
    if (c->key && c->key->spec->type == SPEC_PAIR)
        return 0;
    return kms_fail(err, KMS_ERR_UNSUPPORTED, "%s key spec is %s which is not valid for %s.",
                    c->key ? c->key_arn.text : c->alias_arn.text,
                    c->key ? c->key->spec->name : keyspecs[0].name, c->op->name);
}

int op_public_key(struct op_call *c, struct kms_error *err)
{
    AUTO(buf) der = { 0 };

    if (material_public(c->key, &der, err) < 0 ||
        op_note_version(c, &c->key->record.current_version, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s, s:o, s:s, s:s, s:s, s:o}", "KeyId", c->key_arn.text,
                               "PublicKey", reply_blob(buf_span(&der)), "CustomerMasterKeySpec",
                               c->key->record.spec, "KeySpec", c->key->record.spec, "KeyUsage",
                               c->key->record.usage, reply_algorithms_name(c->key->usage),
                               reply_algorithms(c->key)),
                     err);
}

/* --- signatures ------------------------------------------------------------------------------- */

static enum message_form form_of(const struct sign_request *request)
{
    return strcmp(request->type, "DIGEST") == 0 ? MESSAGE_HASHED : MESSAGE_WHOLE;
}

/* The type of a message is one that the algorithm takes, and a digest is as long as its hash. */
static int check_message(const struct sign_request *request, const struct algorithm *algorithm,
                         struct kms_error *err)
{
    const bool digest = form_of(request) == MESSAGE_HASHED;

    if (strcmp(request->type, "EXTERNAL_MU") == 0 || (digest && algorithm->input == INPUT_RAW))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "MessageType %s is not compatible with SigningAlgorithm %s.", request->type,
                        algorithm->name);
    if (digest && request->message.len != hash_len(algorithm->hash))
        return kms_fail(err, KMS_ERR_VALIDATION, "Digest is invalid length for algorithm %s.",
                        algorithm->name);
    return 0;
}

static int signing_algorithm(const struct op_call *c, const struct algorithm **ret,
                             struct kms_error *err)
{
    return usage_algorithm(c->key, USAGE_SIGN_VERIFY, OP_REQUEST(sign, c)->algorithm, ret, err);
}

int check_sign(struct op_call *c, struct kms_error *err)
{
    const struct sign_request *const request = OP_REQUEST(sign, c);
    const struct algorithm *algorithm = NULL;

    if (usage_check(c, c->key, c->key ? c->key_arn.text : c->alias_arn.text, USAGE_SIGN_VERIFY,
                    err) < 0 ||
        signing_algorithm(c, &algorithm, err) < 0)
        return -1;
    return check_message(request, algorithm, err);
}

int op_sign(struct op_call *c, struct kms_error *err)
{
    const struct sign_request *const request = OP_REQUEST(sign, c);
    const struct algorithm *algorithm = NULL;
    AUTO(buf) signature = { 0 };

    if (signing_algorithm(c, &algorithm, err) < 0 ||
        material_sign(c->keyring, c->key, algorithm, form_of(request),
                      secret_span(&request->message), &signature, err) < 0 ||
        op_note_version(c, &c->key->record.current_version, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s, s:o, s:s}", "KeyId", c->key_arn.text, "Signature",
                               reply_blob(buf_span(&signature)), "SigningAlgorithm",
                               algorithm->name),
                     err);
}

int op_verify(struct op_call *c, struct kms_error *err)
{
    const struct sign_request *const request = OP_REQUEST(sign, c);
    const struct algorithm *algorithm = NULL;
    bool good = false;

    if (signing_algorithm(c, &algorithm, err) < 0 ||
        material_verify(c->key, algorithm, form_of(request), secret_span(&request->message),
                        buf_span(&request->signature), &good, err) < 0 ||
        op_note_version(c, &c->key->record.current_version, err) < 0)
        return -1;
    if (!good)
        return kms_fail(err, KMS_ERR_BAD_SIGNATURE, "%s", "");
    return op_answer(c,
                     json_pack("{s:s, s:b, s:s}", "KeyId", c->key_arn.text, "SignatureValid", 1,
                               "SigningAlgorithm", algorithm->name),
                     err);
}
