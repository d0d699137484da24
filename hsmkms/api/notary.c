#include "hsmkms/api/notary.h"

#include <inttypes.h>
#include <stdlib.h>

#include "hsmkms/audit/checkpoints.h"
#include "hsmkms/crypto/digest.h"
#include "hsmkms/crypto/public_key.h"

struct notary {
    struct notary_config config;
    struct checkpoints *checkpoints;
};

static int keep_key(struct installation_record *installation, const struct uuid *id,
                    const struct token_public *key, struct kms_error *err)
{
    installation->audit_key = *id;
    buf_append(&installation->audit_public, token_public_span(key));
    return buf_check(&installation->audit_public, err);
}

static int check_token(struct token *token, struct kms_error *err)
{
    enum token_support support = TOKEN_LACKS;

    if (token_supports(token, TOKEN_P256, TOKEN_ECDSA, &support, err) < 0)
        return -1;
    if (support == TOKEN_LACKS)
        return kms_fail(err, KMS_ERR_TOKEN_UNSUITABLE,
                        "the token cannot sign with P-256 (CKM_EC_KEY_PAIR_GEN, CKM_ECDSA), which "
                        "the audit trail needs");
    return 0;
}

int notary_make_key(struct token *token, struct installation_record *installation,
                    const char *label, struct kms_error *err)
{
    const struct uuid id = uuid_random();
    struct token_public made;

    if (check_token(token, err) < 0 ||
        token_pair_generate(token, TOKEN_P256, TOKEN_SIGNS, &id, label, &made, err) < 0)
        return -1;
    return keep_key(installation, &id, &made, err);
}

int notary_find_key(struct token *token, const struct uuid *id,
                    struct installation_record *installation, struct kms_error *err)
{
    struct token_public found;

    if (token_pair_public(token, TOKEN_P256, TOKEN_SIGNS, id, &found, err) < 0)
        return -1;
    return keep_key(installation, id, &found, err);
}

/* A checkpoint_sign_fn. What does not verify is no signature. */
static int sign_digest(void *ctx, const uint8_t digest[SHA256_LEN], struct buf *ret,
                       struct kms_error *err)
{
    const struct notary *const notary = ctx;
    const struct installation_record *const own = notary->config.installation;
    const struct token_key key = { own->audit_key, buf_span(&own->audit_public) };
    const struct public_key half = { PUBLIC_P256, key.canary };
    const struct span input = span_of(digest, SHA256_LEN);
    struct token_signature signature;
    bool good = false;

    if (token_sign(notary->config.token, TOKEN_P256, &key, TOKEN_ECDSA, input, &signature, err) <
            0 ||
        ecdsa_signature_der(span_of(signature.bytes, signature.len), ret, err) < 0 ||
        public_key_verify(&half, SIGNATURE_ECDSA, HASH_SHA256, input, buf_span(ret), &good, err) <
            0)
        return -1;
    if (!good)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "a new signature of a checkpoint is none");
    return 0;
}

/* What cannot sign is to be noticed now; the text is of no checkpoint's form. */
static int try_key(struct notary *notary, struct kms_error *err)
{
    static const uint8_t text[] = "hsmkms audit key\n";
    uint8_t digest[SHA256_LEN];
    AUTO(buf) signature = { 0 };

    if (check_token(notary->config.token, err) < 0 ||
        sha256_of(SPAN_ARRAY(text), digest, err) < 0)
        return -1;
    return sign_digest(notary, digest, &signature, err);
}

static int open_checkpoints(struct notary *notary, struct kms_error *err)
{
    const struct notary_config *const config = &notary->config;
    const struct installation_record *const own = config->installation;
    const struct uuid_text origin = uuid_format(&own->id);
    struct checkpoints_config checkpoints = { .origin = origin.text,
                                              .sign = sign_digest,
                                              .ctx = notary,
                                              .records = config->records,
                                              .seconds = config->seconds,
                                              .known_seq = (uint64_t)own->audit_checkpoint };
    uint64_t state_sequence = 0;

    if (own->audit_public.len != sizeof(checkpoints.key))
        return kms_fail(err, KMS_ERR_INTEGRITY, "the database has no key of the audit trail");
    memcpy(checkpoints.key, own->audit_public.ptr, sizeof(checkpoints.key));
    if (checkpoints_open(config->dir, config->audit, &checkpoints, &notary->checkpoints,
                         &state_sequence, err) < 0)
        return -1;
    if (store_sequence(config->store) < state_sequence)
        return kms_fail(err, KMS_ERR_ROLLBACK,
                        "the database is at change %" PRIu64 ", a checkpoint of the audit trail "
                        "was signed at change %" PRIu64 ": restore the newest database",
                        store_sequence(config->store), state_sequence);
    return 0;
}

int notary_open(const struct notary_config *config, struct notary **ret, struct kms_error *err)
{
    struct notary *const notary = calloc(1, sizeof(*notary));

    if (notary == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for checkpoints");
    notary->config = *config;
    if (open_checkpoints(notary, err) < 0 || try_key(notary, err) < 0) {
        notary_close(notary);
        return -1;
    }
    notary->config.dir = NULL;
    *ret = notary;
    return 0;
}

bool notary_due(struct notary *notary)
{
    return checkpoints_due(notary->checkpoints);
}

/* The database follows the file, so that it never knows of a checkpoint that is not on disk. */
static int keep_in_database(struct notary *notary, uint64_t seq, struct kms_error *err)
{
    struct installation_record next = *notary->config.installation; /* borrows what that owns */
    struct store_tx *tx = NULL;

    next.audit_checkpoint = (int64_t)seq;
    if (store_begin(notary->config.store, &tx, err) < 0)
        return -1;
    if (store_put(tx, &installation_table, &next, err) < 0) {
        store_rollback(tx);
        return -1;
    }
    if (store_commit(tx, err) < 0)
        return -1;
    notary->config.installation->audit_checkpoint = next.audit_checkpoint;
    return 0;
}

int notary_sign(struct notary *notary, struct kms_error *err)
{
    const struct notary_config *const config = &notary->config;
    uint64_t seq = 0;

    if (checkpoints_add(notary->checkpoints, store_sequence(config->store),
                        clock_wall_ms(config->clock), &seq, err) < 0)
        return -1;
    if (seq == (uint64_t)config->installation->audit_checkpoint)
        return 0;
    return keep_in_database(notary, seq, err);
}

void notary_close(struct notary *notary)
{
    if (notary == NULL)
        return;
    checkpoints_close(notary->checkpoints);
    free(notary);
}
