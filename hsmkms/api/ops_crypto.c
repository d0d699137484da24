#include "hsmkms/api/ops.h"

#include "hsmkms/api/reply.h"
#include "hsmkms/api/usage.h"
#include "hsmkms/crypto/digest.h"
#include "hsmkms/keys/material.h"
#include "hsmkms/keys/material_pair.h"

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
    { "EncryptionAlgorithm", PRESET,   AT(encrypt, ENUM, algorithm), 0, 0, .log = FILLED, .texts = algorithms, .slot = KMS_ENCRYPTION_ALGORITHM },
    GRANT_TOKENS_ROW,
    DRY_RUN_ROW,
    { 0 },
};

static const struct field decrypt_fields[] = {
    KEY_ID_ROW(OPTIONAL),
    BLOB_ROW,
    { "EncryptionContext",   OPTIONAL, AT(decrypt, CONTEXT, context), 0, CONTEXT_BYTES_MAX, .log = LOGGED },
    { "EncryptionAlgorithm", PRESET,   AT(decrypt, ENUM, algorithm), 0, 0, .log = FILLED, .texts = algorithms, .slot = KMS_ENCRYPTION_ALGORITHM },
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
    { "SourceEncryptionAlgorithm",    PRESET,   AT(re_encrypt, ENUM, algorithm), 0, 0, .log = FILLED, .texts = algorithms, .slot = KMS_ENCRYPTION_ALGORITHM },
    { "DestinationEncryptionContext", OPTIONAL, AT(re_encrypt, CONTEXT, destination_context), 0, CONTEXT_BYTES_MAX, .log = LOGGED, .other_key = true },
    { "DestinationEncryptionAlgorithm", PRESET, AT(re_encrypt, ENUM, destination_algorithm), 0, 0, .log = FILLED, .texts = algorithms, .slot = KMS_ENCRYPTION_ALGORITHM, .other_key = true },
    GRANT_TOKENS_ROW,
    DRY_RUN_ROW,
    MODIFIERS_ROW,
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(encrypt);
REQUEST_SHAPE(decrypt);
REQUEST_SHAPE(re_encrypt);

/* --- one side of an operation: a key, an algorithm, a context ---------------------------------- */

struct side {
    const struct key *key; /* NULL: a managed key that is still to be made */
    const char *arn;
    const char *algorithm;
    const struct request_context *context;
};

static struct side first_side(const struct op_call *c, const char *algorithm,
                              const struct request_context *context)
{
    return (struct side){ c->key, c->key ? c->key_arn.text : c->alias_arn.text, algorithm,
                          context };
}

static int check_side(const struct op_call *c, const struct side *side, struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;

    if (usage_check(c, side->key, side->arn, USAGE_ENCRYPT_DECRYPT, err) < 0 ||
        usage_algorithm(side->key, USAGE_ENCRYPT_DECRYPT, side->algorithm, &algorithm, err) < 0)
        return -1;
    if (!usage_is_symmetric(side->key) && side->context->pairs.count > 0)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "EncryptionContext is not supported with algorithm %s.", algorithm->name);
    return 0;
}

/* What is to be encrypted fits the key: other limits than an RSA key's are the field tables'. */
static int check_plain(const struct side *side, size_t len, struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;

    if (usage_is_symmetric(side->key))
        return 0;
    if (usage_algorithm(side->key, USAGE_ENCRYPT_DECRYPT, side->algorithm, &algorithm, err) < 0)
        return -1;
    const size_t most = material_pair_plain_max(side->key, algorithm);
    if (len > most)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "Algorithm %s and key spec %s cannot encrypt data larger than %zu bytes.",
                        algorithm->name, side->key->spec->name, most);
    return 0;
}

/* ret_version: of the key, that a new ciphertext was made with. */
static int seal(struct op_call *c, const struct side *side, const struct secret *plain,
                struct buf *ret, struct uuid *ret_version, struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;
    struct envelope envelope;

    if (usage_is_symmetric(side->key)) {
        if (material_wrap(c->keyring, side->key, buf_span(&side->context->canonical),
                          secret_span(plain), ret, err) < 0 ||
            envelope_parse(buf_span(ret), &envelope, err) < 0)
            return -1;
        *ret_version = envelope.version_id;
        return 0;
    }
    *ret_version = side->key->record.current_version;
    if (check_plain(side, plain->len, err) < 0 ||
        usage_algorithm(side->key, USAGE_ENCRYPT_DECRYPT, side->algorithm, &algorithm, err) < 0)
        return -1;
    return material_pair_encrypt(side->key, algorithm, secret_span(plain), ret, err);
}

/* RSA can encrypt nothing at all; what AWS gives out has a byte at least. */
static int open_by_pair(struct op_call *c, const struct side *side, struct secret *ret_plain,
                        struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;

    if (usage_algorithm(side->key, USAGE_ENCRYPT_DECRYPT, side->algorithm, &algorithm, err) < 0 ||
        material_pair_decrypt(c->keyring, side->key, algorithm, buf_span(&c->head->blob), ret_plain,
                              err) < 0)
        return -1;
    if (ret_plain->len == 0)
        return kms_fail(err, KMS_ERR_INVALID_CIPHERTEXT, "%s", "");
    return op_note_version(c, &side->key->record.current_version, err);
}

/* Opens the request's ciphertext and writes down which version did. */
static int open_blob(struct op_call *c, const struct side *side, struct secret *ret_plain,
                     struct kms_error *err)
{
    if (!usage_is_symmetric(side->key))
        return open_by_pair(c, side, ret_plain, err);
    if (material_unwrap(c->keyring, side->key, &c->envelope, buf_span(&side->context->canonical),
                        ret_plain, err) < 0)
        return -1;
    return op_note_version(c, &c->envelope.version_id, err);
}

/* A dry run opens the ciphertext too, unless it was told to ignore it. */
static int dry_open(struct op_call *c, const struct side *side, struct kms_error *err)
{
    AUTO(secret) plain = { 0 };

    if (!c->head->dry_run || c->head->dry_run_modifiers.count > 0)
        return 0;
    return open_blob(c, side, &plain, err);
}

/* --- Encrypt ---------------------------------------------------------------------------------- */

int check_encrypt(struct op_call *c, struct kms_error *err)
{
    const struct encrypt_request *const request = OP_REQUEST(encrypt, c);
    const struct side side = first_side(c, request->algorithm, &request->context);

    if (check_side(c, &side, err) < 0)
        return -1;
    return check_plain(&side, request->plaintext.len, err);
}

int op_encrypt(struct op_call *c, struct kms_error *err)
{
    const struct encrypt_request *const request = OP_REQUEST(encrypt, c);
    AUTO(buf) blob = { 0 };
    struct uuid version;

    if (make_named_keys(c, err) < 0)
        return -1;
    const struct side side = first_side(c, request->algorithm, &request->context);
    if (seal(c, &side, &request->plaintext, &blob, &version, err) < 0 ||
        op_note_version(c, &version, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:o, s:s, s:s}", "CiphertextBlob", reply_blob(buf_span(&blob)),
                               "KeyId", c->key_arn.text, "EncryptionAlgorithm", request->algorithm),
                     err);
}

/* --- Decrypt ---------------------------------------------------------------------------------- */

int check_decrypt(struct op_call *c, struct kms_error *err)
{
    const struct decrypt_request *const request = OP_REQUEST(decrypt, c);
    const struct side side = first_side(c, request->algorithm, &request->context);

    if (check_blob_key(c, err) < 0 || check_side(c, &side, err) < 0)
        return -1;
    return dry_open(c, &side, err);
}

/* Material of keys that are not symmetric has no name: the member is left out. */
static const char *material_shown(const char *material_id)
{
    return material_id[0] ? material_id : NULL;
}

int op_decrypt(struct op_call *c, struct kms_error *err)
{
    const struct decrypt_request *const request = OP_REQUEST(decrypt, c);
    const struct side side = first_side(c, request->algorithm, &request->context);
    AUTO(secret) plain = { 0 };
    json_t *text = NULL;

    if (open_blob(c, &side, &plain, err) < 0 || reply_secret(&plain, &text, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s, s:o, s:s, s:s*}", "KeyId", c->key_arn.text, "Plaintext", text,
                               "EncryptionAlgorithm", request->algorithm, "KeyMaterialId",
                               material_shown(c->material_id)),
                     err);
}

/* --- ReEncrypt -------------------------------------------------------------------------------- */

static struct side destination_side(const struct op_call *c)
{
    const struct re_encrypt_request *const request = OP_REQUEST(re_encrypt, c);

    return (struct side){ c->other, c->other_arn.text, request->destination_algorithm,
                          &request->destination_context };
}

int check_re_encrypt(struct op_call *c, struct kms_error *err)
{
    const struct re_encrypt_request *const request = OP_REQUEST(re_encrypt, c);
    const struct side source = first_side(c, request->algorithm, &request->context);
    const struct side destination = destination_side(c);

    if (check_blob_key(c, err) < 0 || check_side(c, &source, err) < 0 ||
        check_side(c, &destination, err) < 0)
        return -1;
    return dry_open(c, &source, err);
}

/*
 * The caller is going to drop the old ciphertext, so bytes that a faulty token made of it must not
 * be sealed in its place: two openings have to agree.
 */
static int open_twice(struct op_call *c, const struct side *side, struct secret *ret_plain,
                      struct kms_error *err)
{
    AUTO(secret) first = { 0 };
    AUTO(secret) second = { 0 };

    if (open_blob(c, side, &first, err) < 0 || open_blob(c, side, &second, err) < 0)
        return -1;
    if (!equal_ct(secret_span(&first), secret_span(&second)))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "one ciphertext opened to two plaintexts");
    *ret_plain = secret_take(&first);
    return 0;
}

int op_re_encrypt(struct op_call *c, struct kms_error *err)
{
    const struct re_encrypt_request *const request = OP_REQUEST(re_encrypt, c);
    const struct side source = first_side(c, request->algorithm, &request->context);
    AUTO(secret) plain = { 0 };
    AUTO(buf) blob = { 0 };
    struct uuid version;

    if (open_twice(c, &source, &plain, err) < 0 || make_named_keys(c, err) < 0)
        return -1;
    const struct side destination = destination_side(c);
    if (seal(c, &destination, &plain, &blob, &version, err) < 0 ||
        (keyspec_is_symmetric(c->other->spec) &&
         reply_material(c->other, &version, c->other_material_id, err) < 0))
        return -1;
    c->other_version_id = version;
    return op_answer(c,
                     json_pack("{s:o, s:s, s:s, s:s, s:s, s:s*, s:s*}", "CiphertextBlob",
                               reply_blob(buf_span(&blob)), "SourceKeyId", c->key_arn.text, "KeyId",
                               c->other_arn.text, "SourceEncryptionAlgorithm", request->algorithm,
                               "DestinationEncryptionAlgorithm", request->destination_algorithm,
                               "SourceKeyMaterialId", material_shown(c->material_id),
                               "DestinationKeyMaterialId", material_shown(c->other_material_id)),
                     err);
}
