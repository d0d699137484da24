#include "pkcs11/pair_state.h"

#include <assert.h>

/* As long as the modulus and less than it; all of it public. */
static bool in_range(const struct token_key *key, const struct pair *pair, struct span input)
{
    return input.len == pair->bytes &&
           span_compare(input, span_of(key->canary.ptr, pair->bytes)) < 0;
}

static int out_of_range(struct kms_error *err)
{
    return kms_fail_detail(err, KMS_ERR_INVALID_CIPHERTEXT, "not a number below the modulus");
}

/* Decrypting */

static CK_RV run_decrypt(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    struct pair_work *const more = work->more;
    const CK_RV rv =
        asym_decrypt(session, key, more->algorithm, work->input, work->output, &more->len);

    /* the key, its use and the mechanism were good before: what the token objects to is the input
     */
    return ck_class(rv) == RV_BUG && strcmp(session->function, "C_Decrypt") == 0
               ? session_heard(session, "C_Decrypt", CKR_DATA_INVALID)
               : rv;
}

int token_rsa_decrypt(struct token *token, enum token_kind kind, const struct token_key *key,
                      enum token_algorithm algorithm, struct span sealed, struct secret *ret,
                      struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);
    struct pair_work more = { kind, TOKEN_DECRYPTS, pair, algorithm_of(algorithm), 0 };
    AUTO(secret) plain = { 0 };

    if (pair == NULL || more.algorithm->use != TOKEN_DECRYPTS)
        return kms_fail_detail(err, KMS_ERR_UNSUPPORTED, "%s does not decrypt by %s keys",
                               token_algorithm_name(algorithm), token_kind_name(kind));
    if (pair_need(token, kind, algorithm, err) < 0 || pair_named(key, pair, err) < 0)
        return -1;
    if (!in_range(key, pair, sealed))
        return out_of_range(err);
    if (secret_new(&plain, pair->bytes, err) < 0)
        return -1;
    struct work work = pair_work(key, &more, sealed, plain.ptr);
    work.run = run_decrypt;
    work.opens = true;
    if (token_run(token, &work, err) < 0)
        return -1;
    secret_shorten(&plain, more.len);
    *ret = secret_take(&plain);
    return 0;
}

/* Raw */

static CK_RV run_raw(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    const struct pair_work *const more = work->more;

    return asym_raw(session, key, more->use, work->input, work->output);
}

/* Only where some algorithm of this use needs it is a pair made so that it may. */
static int need_raw(struct token *token, enum token_kind kind, enum token_use use,
                    struct kms_error *err)
{
    for (enum token_algorithm i = 0; i < TOKEN_ALGORITHMS; i++) {
        enum token_support support = TOKEN_LACKS;

        if (algorithm_of(i)->use != use)
            continue;
        if (token_supports(token, kind, i, &support, err) < 0)
            return -1;
        if (support == TOKEN_BY_RAW)
            return 0;
    }
    return kms_fail_detail(err, KMS_ERR_UNSUPPORTED, "%s keys that %s need no raw operation here",
                           token_kind_name(kind), token_use_name(use));
}

int token_rsa_raw(struct token *token, enum token_kind kind, const struct token_key *key,
                  enum token_use use, struct span input, struct secret *ret, struct kms_error *err)
{
    const struct pair *const pair = pair_of(kind);
    struct pair_work more = { kind, use, pair, NULL, 0 };
    AUTO(secret) result = { 0 };

    if (need_raw(token, kind, use, err) < 0)
        return -1;
    assert(pair && pair->type == CKK_RSA); /* nothing else is ever done raw */
    if (pair_named(key, pair, err) < 0)
        return -1;
    if (!in_range(key, pair, input))
        return out_of_range(err);
    if (secret_new(&result, pair->bytes, err) < 0)
        return -1;
    struct work work = pair_work(key, &more, input, result.ptr);
    work.run = run_raw;
    if (token_run(token, &work, err) < 0)
        return -1;
    *ret = secret_take(&result);
    return 0;
}
