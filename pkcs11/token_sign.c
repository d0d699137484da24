#include "pkcs11/pair_state.h"

static CK_RV run_sign(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    const struct pair_work *const more = work->more;

    return asym_sign(session, key, more->algorithm, work->input, work->output, more->len);
}

static bool length_fits(const struct pair *pair, const struct algorithm *algorithm, size_t len)
{
    switch (pair->type) {
    case CKK_RSA:
        return len == algorithm->digest_len;
    case CKK_EC:
        return len == pair->digest_len;
    default:
        return len <= TOKEN_MESSAGE_MAX;
    }
}

int token_sign(struct token *token, enum token_kind kind, const struct token_key *key,
               enum token_algorithm algorithm, struct span input, struct token_signature *ret,
               struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);
    struct pair_work more = { kind, TOKEN_SIGNS, pair, algorithm_of(algorithm), 0 };
    struct token_signature made = { 0 };
    struct work work = pair_work(key, &more, input, made.bytes);

    if (pair == NULL || more.algorithm->use != TOKEN_SIGNS)
        return kms_fail_detail(err, KMS_ERR_UNSUPPORTED, "%s is no signature of %s keys",
                               token_algorithm_name(algorithm), token_kind_name(kind));
    if (pair_need(token, kind, algorithm, err) < 0 || pair_named(key, pair, err) < 0 ||
        pair_random(token, err) < 0)
        return -1;
    if (!length_fits(pair, more.algorithm, input.len))
        return kms_fail(err, KMS_ERR_VALIDATION, "Digest is invalid length for algorithm.");
    more.len = pair->type == CKK_RSA ? pair->bytes : 2 * pair->bytes;
    work.run = run_sign;
    if (token_run(token, &work, err) < 0)
        return -1;
    made.len = more.len;
    *ret = made;
    return 0;
}
