#include "hsmkms/api/ops.h"

#include "hsmkms/api/usage.h"

/*
 * Encapsulate and Decapsulate. ML-KEM keys can be named and not made here (keyspec.c), so every key
 * that a request finds is one of another usage; the answer is the one such a key gets from AWS.
 *
 * Source: AWS KMS API Reference, Encapsulate, Decapsulate.
 */

struct kem_request {
    struct request_head head;
    struct buf blob;
    const char *algorithm;
};

static const char *const kem_algorithms[] = { "ML_KEM", NULL };

/* clang-format off */
#define KEM_ROWS \
    KEY_ID_ROW(REQUIRED), \
    { "EncapsulationAlgorithm", REQUIRED, AT(kem, ENUM, algorithm), 0, 0, .log = LOGGED, .texts = kem_algorithms }, \
    GRANT_TOKENS_ROW, \
    DRY_RUN_ROW

static const struct field kem_fields[] = {
    KEM_ROWS,
    { 0 },
};

static const struct field open_kem_fields[] = {
    KEM_ROWS,
    { "SharedSecretCiphertextBlob", REQUIRED, AT(kem, BLOB, blob), 1, 6144, .log = UNLOGGED },
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(kem);
const struct request_shape open_kem_shape = { open_kem_fields, sizeof(struct kem_request) };

int check_kem(struct op_call *c, struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;

    if (usage_check(c, c->key, c->key ? c->key_arn.text : c->alias_arn.text,
                    USAGE_ENCAPSULATE_DECAPSULATE, err) < 0)
        return -1;
    return usage_algorithm(c->key, USAGE_ENCAPSULATE_DECAPSULATE, OP_REQUEST(kem, c)->algorithm,
                           &algorithm, err);
}

int op_kem(struct op_call *c, struct kms_error *err)
{
    (void)c;
    return kms_fail_detail(err, KMS_ERR_INTERNAL, "a key for ML-KEM passed the check");
}
