#include "hsmkms/base/encode.h"
#include "hsmkms/doors/transit_batch.h"
#include "hsmkms/doors/transit_call.h"
#include "hsmkms/keys/envelope.h"

/* datakey, encrypt, decrypt, rewrap: one operation each; the latter three also in batches. */

#define KEY_BITS_PRESET 256

/* --- requests --------------------------------------------------------------------------------- */

/* The operation will not be what the request asks for: it is only looked at whether it might. */
static int run_dry(struct transit_call *t, json_t *parameters, const struct door_dialect *reason,
                   struct kms_error *err)
{
    const bool opens = json_object_get(parameters, "CiphertextBlob") != NULL;

    t->base.dialect = reason;
    if (json_object_set_new(parameters, "DryRun", json_true()) < 0 ||
        (opens && json_object_set_new(parameters, "DryRunModifiers",
                                      json_pack("[s]", "IGNORE_CIPHERTEXT")) < 0))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request");
    return 0;
}

/* What context and associated data are bound to the ciphertext. */
static int read_binding(struct transit_call *t, const struct key *key, const json_t *body,
                        json_t *parameters, json_t *pairs, struct kms_error *err)
{
    const char *const mode = transit_tag(key, TRANSIT_CONTEXT_TAG);
    struct span context, data;

    if (transit_string(body, "context", &context, err) < 0 ||
        transit_string(body, "associated_data", &data, err) < 0)
        return -1;
    if (context.len == 0 && strcmp(mode, "required") == 0 &&
        run_dry(t, parameters, &transit_answers_no_context, err) < 0)
        return -1;
    if (context.len && strcmp(mode, "ignored") != 0 && transit_context_add(context, pairs, err) < 0)
        return -1;
    return data.len ? transit_data_add(data, pairs, err) : 0;
}

static int add_binding(struct transit_call *t, const struct key *key, const json_t *body,
                       json_t *parameters, struct kms_error *err)
{
    json_auto_t *pairs = json_object();

    if (pairs == NULL || parameters == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request");
    if (read_binding(t, key, body, parameters, pairs, err) < 0)
        return -1;
    if (json_object_size(pairs) == 0)
        return 0;
    const bool moved = json_object_get(parameters, "DestinationKeyId") != NULL;
    int failed =
        json_object_set(parameters, moved ? "SourceEncryptionContext" : "EncryptionContext", pairs);
    if (moved)
        failed |= json_object_set(parameters, "DestinationEncryptionContext", pairs);
    return failed ? kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request") : 0;
}

/* A version of the request's choice must be the one that encrypts. */
static int check_version(struct transit_call *t, const struct key *key, const json_t *body,
                         json_t *parameters, struct kms_error *err)
{
    const struct version *const current = key ? key_current(key) : NULL;
    int64_t wanted = 0;

    if (transit_int(body, "key_version", 0, &wanted, err) < 0)
        return -1;
    if (wanted < 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "requested version for encryption is negative");
    if (wanted == 0 || (current && wanted == current->record.number))
        return 0;
    return run_dry(t, parameters, &transit_answers_version, err);
}

/* What all four have in common; takes parameters over. */
static int set_operation(struct transit_call *t, const char *operation, const json_t *body,
                         json_t *parameters, struct kms_error *err)
{
    json_auto_t *owned = parameters;
    struct key *const key = transit_key(t);

    int result = add_binding(t, key, body, owned, err);
    if (result == 0)
        result = check_version(t, key, body, owned, err);
    key_unref(key);
    if (result == 0)
        transit_set_operation(t, operation, json_incref(owned));
    return result;
}

/* --- versions --------------------------------------------------------------------------------- */

/* Version of a key that made a blob. False: it is no blob, or of no key here. */
static bool version_of_blob(const struct transit_call *t, struct span text, int64_t *ret)
{
    struct kms_error unused = { 0 };
    struct envelope envelope;
    AUTO(buf) blob = { 0 };
    size_t size = 0;

    uint8_t *const room = base64_size(text, &size) ? buf_room(&blob, size) : NULL;
    if (room == NULL || !base64_parse(text, room, size) ||
        envelope_parse(buf_span(&blob), &envelope, &unused) < 0)
        return false;
    struct key *const key = catalog_find_owner(t->door->keyring->catalog, &envelope.key_id);
    const struct version *const version = key ? key_version_find(key, &envelope.version_id) : NULL;
    const bool found = version != NULL;
    if (found)
        *ret = version->record.number;
    key_unref(key);
    return found;
}

/* The members of a new ciphertext. */
static int write_ciphertext(const struct transit_call *t, json_t **ret, struct kms_error *err)
{
    const json_t *const blob = json_object_get(t->base.call.result, "CiphertextBlob");
    int64_t version = 0;

    if (blob == NULL ||
        !version_of_blob(t, span_of(json_string_value(blob), json_string_length(blob)), &version))
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a new ciphertext has no version");
    *ret = json_pack("{s:o, s:I}", "ciphertext",
                     json_sprintf("vault:v%lld:%s", (long long)version, json_string_value(blob)),
                     "key_version", (json_int_t)version);
    return *ret ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
}

/* Of the result's plaintext, shared. */
static int add_plaintext(const struct transit_call *t, json_t *data, struct kms_error *err)
{
    json_t *const plaintext = json_object_get(t->base.call.result, "Plaintext");

    if (plaintext == NULL || json_object_set(data, "plaintext", plaintext) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    return 0;
}

/* --- datakey ---------------------------------------------------------------------------------- */

static int data_key_parameters(const struct transit_call *t, const json_t *body, json_t **ret,
                               struct kms_error *err)
{
    int64_t bits = 0;

    if (transit_is_batch(body))
        return kms_fail(err, KMS_ERR_VALIDATION, "batch_input is not supported for data keys");
    if (transit_int(body, "bits", KEY_BITS_PRESET, &bits, err) < 0)
        return -1;
    if (bits != 128 && bits != 256 && bits != 512)
        return kms_fail(err, KMS_ERR_VALIDATION, "invalid bit length");
    *ret = bits == 512 ? json_pack("{s:s, s:i}", "KeyId", t->key_id.text, "NumberOfBytes", 64)
                       : json_pack("{s:s, s:s}", "KeyId", t->key_id.text, "KeySpec",
                                   bits == 128 ? "AES_128" : "AES_256");
    return *ret ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request");
}

static int prepare_data_key(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    json_t *parameters = NULL;

    if (data_key_parameters(t, body, &parameters, err) < 0)
        return -1;
    return set_operation(t, "GenerateDataKey", body, parameters, err);
}

static int prepare_wrapped(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    json_t *parameters = NULL;

    if (data_key_parameters(t, body, &parameters, err) < 0)
        return -1;
    return set_operation(t, "GenerateDataKeyWithoutPlaintext", body, parameters, err);
}

static int write_data_key(const struct transit_call *t, json_t **ret, struct kms_error *err)
{
    json_t *data = NULL;

    if (write_ciphertext(t, &data, err) < 0)
        return -1;
    if (add_plaintext(t, data, err) < 0) {
        json_decref(data);
        return -1;
    }
    *ret = data;
    return 0;
}

static int prepare_other(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    (void)t;
    (void)body;
    return kms_fail(err, KMS_ERR_VALIDATION, "Invalid path, must be 'plaintext' or 'wrapped'");
}

/* --- encrypt ---------------------------------------------------------------------------------- */

static int encrypt_item(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    json_t *const plaintext = json_object_get(body, "plaintext");
    struct span text;

    if (transit_string(body, "plaintext", &text, err) < 0)
        return -1;
    if (text.ptr == NULL)
        return kms_fail(err, KMS_ERR_VALIDATION, "missing plaintext to encrypt");
    if (text.len == 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "an empty plaintext cannot be encrypted");
    return set_operation(t, "Encrypt", body,
                         json_pack("{s:s, s:O}", "KeyId", t->key_id.text, "Plaintext", plaintext),
                         err);
}

static int prepare_encrypt(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    return transit_prepare(t, body, encrypt_item, err);
}

/* --- decrypt, rewrap -------------------------------------------------------------------------- */

/*
 * The blob of a ciphertext. The version in front of it is part of the ciphertext though the token
 * does not see it: with another one it is a ciphertext that nobody made.
 */
static int read_blob(const struct transit_call *t, const json_t *body, json_t **ret,
                     struct kms_error *err)
{
    struct transit_ciphertext ciphertext;
    struct span text;
    int64_t version = 0;

    if (transit_string(body, "ciphertext", &text, err) < 0)
        return -1;
    if (text.len == 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "missing ciphertext to decrypt");
    if (transit_ciphertext_parse(text, &ciphertext, err) < 0)
        return -1;
    if (version_of_blob(t, ciphertext.blob, &version) && version != ciphertext.version)
        ciphertext.blob = SPAN_LITERAL("AA==");
    *ret = json_stringn((const char *)ciphertext.blob.ptr, ciphertext.blob.len);
    return *ret ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a request");
}

static int decrypt_item(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    json_t *blob = NULL;

    if (read_blob(t, body, &blob, err) < 0)
        return -1;
    return set_operation(t, "Decrypt", body,
                         json_pack("{s:s, s:o}", "KeyId", t->key_id.text, "CiphertextBlob", blob),
                         err);
}

static int prepare_decrypt(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    return transit_prepare(t, body, decrypt_item, err);
}

static int write_decrypt(const struct transit_call *t, json_t **ret, struct kms_error *err)
{
    json_t *const data = json_object();

    if (add_plaintext(t, data, err) < 0) {
        json_decref(data);
        return -1;
    }
    *ret = data;
    return 0;
}

static int rewrap_item(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    json_t *blob = NULL;

    if (read_blob(t, body, &blob, err) < 0)
        return -1;
    return set_operation(t, "ReEncrypt", body,
                         json_pack("{s:s, s:s, s:o}", "SourceKeyId", t->key_id.text,
                                   "DestinationKeyId", t->key_id.text, "CiphertextBlob", blob),
                         err);
}

static int prepare_rewrap(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    return transit_prepare(t, body, rewrap_item, err);
}

/* clang-format off */
const struct transit_route transit_crypto_routes[] = {
    /* path                  in mount  methods        access         query  answers           prepare           write */
    { "datakey/plaintext/*", true,     TRANSIT_WRITE, TRANSIT_KNOWN, false, &transit_answers, prepare_data_key, write_data_key },
    { "datakey/wrapped/*",   true,     TRANSIT_WRITE, TRANSIT_KNOWN, false, &transit_answers, prepare_wrapped,  write_ciphertext },
    { "datakey/*/*",         true,     TRANSIT_WRITE, TRANSIT_KNOWN, false, &transit_answers, prepare_other,    NULL },
    { "encrypt/*",           true,     TRANSIT_WRITE, TRANSIT_KNOWN, false, &transit_answers, prepare_encrypt,  write_ciphertext },
    { "decrypt/*",           true,     TRANSIT_WRITE, TRANSIT_KNOWN, false, &transit_answers, prepare_decrypt,  write_decrypt },
    { "rewrap/*",            true,     TRANSIT_WRITE, TRANSIT_KNOWN, false, &transit_answers, prepare_rewrap,   write_ciphertext },
    { 0 },
};
/* clang-format on */
