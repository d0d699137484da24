#include "hsmkms/api/ops.h"

#include "hsmkms/api/reply.h"
#include "hsmkms/api/usage.h"
#include "hsmkms/keys/material_pair.h"

/* GenerateMac, VerifyMac. */

struct mac_request {
    struct request_head head;
    struct secret message;
    struct buf mac; /* VerifyMac */
    const char *algorithm;
};

static const char *const mac_algorithms[] = { "HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384",
                                              "HMAC_SHA_512", NULL };

/* clang-format off */
#define MAC_ROWS \
    KEY_ID_ROW(REQUIRED), \
    { "Message",      REQUIRED, AT(mac, SECRET, message), 1, 4096, .log = UNLOGGED }, \
    { "MacAlgorithm", REQUIRED, AT(mac, ENUM, algorithm), 0, 0, .log = LOGGED, .texts = mac_algorithms, .slot = KMS_MAC_ALGORITHM }, \
    GRANT_TOKENS_ROW, \
    DRY_RUN_ROW

static const struct field mac_fields[] = {
    MAC_ROWS,
    { 0 },
};

static const struct field verify_mac_fields[] = {
    MAC_ROWS,
    { "Mac",          REQUIRED, AT(mac, BLOB, mac), 1, 6144, .log = UNLOGGED },
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(mac);
const struct request_shape verify_mac_shape = { verify_mac_fields, sizeof(struct mac_request) };

int check_mac(struct op_call *c, struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;

    if (usage_check(c, c->key, c->key ? c->key_arn.text : c->alias_arn.text,
                    USAGE_GENERATE_VERIFY_MAC, err) < 0)
        return -1;
    return usage_algorithm(c->key, USAGE_GENERATE_VERIFY_MAC, OP_REQUEST(mac, c)->algorithm,
                           &algorithm, err);
}

int op_mac(struct op_call *c, struct kms_error *err)
{
    const struct mac_request *const request = OP_REQUEST(mac, c);
    struct token_mac mac;

    if (material_mac(c->keyring, c->key, secret_span(&request->message), &mac, err) < 0 ||
        op_note_version(c, &c->key->record.current_version, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:o, s:s, s:s}", "Mac", reply_blob(span_of(mac.bytes, mac.len)),
                               "MacAlgorithm", request->algorithm, "KeyId", c->key_arn.text),
                     err);
}

int op_verify_mac(struct op_call *c, struct kms_error *err)
{
    const struct mac_request *const request = OP_REQUEST(mac, c);
    bool good = false;

    if (material_mac_verify(c->keyring, c->key, secret_span(&request->message),
                            buf_span(&request->mac), &good, err) < 0 ||
        op_note_version(c, &c->key->record.current_version, err) < 0)
        return -1;
    if (!good)
        return kms_fail(err, KMS_ERR_BAD_MAC, "%s", "");
    return op_answer(c,
                     json_pack("{s:s, s:b, s:s}", "KeyId", c->key_arn.text, "MacValid", 1,
                               "MacAlgorithm", request->algorithm),
                     err);
}
