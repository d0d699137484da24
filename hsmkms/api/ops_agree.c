#include "hsmkms/api/ops.h"

#include "hsmkms/api/reply.h"
#include "hsmkms/api/usage.h"
#include "hsmkms/crypto/spki.h"
#include "hsmkms/keys/material_pair.h"

/* DeriveSharedSecret. */

struct agree_request {
    struct request_head head;
    struct buf public_key;
    const char *algorithm;
};

static const char *const agreement_algorithms[] = { "ECDH", NULL };

/* clang-format off */
static const struct field agree_fields[] = {
    KEY_ID_ROW(REQUIRED),
    { "KeyAgreementAlgorithm", REQUIRED, AT(agree, ENUM, algorithm), 0, 0, .log = LOGGED, .texts = agreement_algorithms, .slot = KMS_KEY_AGREEMENT_ALGORITHM },
    { "PublicKey",             REQUIRED, AT(agree, BLOB, public_key), 1, 8192, .log = UNLOGGED },
    GRANT_TOKENS_ROW,
    RECIPIENT_ROW,
    DRY_RUN_ROW,
    { 0 },
};
/* clang-format on */

REQUEST_SHAPE(agree);

static int peer_point(const struct op_call *c, struct buf *ret, struct kms_error *err)
{
    return spki_parse_point(c->key->spec->public_kind,
                            buf_span(&OP_REQUEST(agree, c)->public_key), ret, err);
}

int check_agree(struct op_call *c, struct kms_error *err)
{
    const struct algorithm *algorithm = NULL;
    AUTO(buf) point = { 0 };

    if (usage_check(c, c->key, c->key ? c->key_arn.text : c->alias_arn.text, USAGE_KEY_AGREEMENT,
                    err) < 0 ||
        usage_algorithm(c->key, USAGE_KEY_AGREEMENT, OP_REQUEST(agree, c)->algorithm, &algorithm,
                        err) < 0)
        return -1;
    return peer_point(c, &point, err);
}

int op_agree(struct op_call *c, struct kms_error *err)
{
    AUTO(secret) shared = { 0 };
    AUTO(buf) point = { 0 };
    json_t *text = NULL;

    if (peer_point(c, &point, err) < 0 ||
        material_agree(c->keyring, c->key, buf_span(&point), &shared, err) < 0 ||
        op_note_version(c, &c->key->record.current_version, err) < 0 ||
        reply_secret(&shared, &text, err) < 0)
        return -1;
    return op_answer(c,
                     json_pack("{s:s, s:o, s:s, s:s}", "KeyId", c->key_arn.text, "SharedSecret",
                               text, "KeyAgreementAlgorithm", OP_REQUEST(agree, c)->algorithm,
                               "KeyOrigin", c->key->record.origin),
                     err);
}
