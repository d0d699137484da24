#include "hsmkms/crypto/rsa_numbers.h"

#include <openssl/bn.h>
#include <openssl/err.h>

/*
 * Big numbers that live as long as a context, which keeps them in the secure heap and wipes them.
 */
struct sums {
    BN_CTX *ctx;
    BIGNUM *n, *e, *d, *p, *q, *p1, *q1, *exponent1, *exponent2, *coefficient, *result;
};

static bool load(const struct private_numbers *numbers, struct sums *ret)
{
    const struct {
        BIGNUM **place;
        struct span bytes;
    } rows[] = {
        { &ret->n, numbers->modulus },
        { &ret->e, numbers->public_exponent },
        { &ret->d, numbers->exponent },
        { &ret->p, numbers->prime1 },
        { &ret->q, numbers->prime2 },
        { &ret->exponent1, numbers->exponent1 },
        { &ret->exponent2, numbers->exponent2 },
        { &ret->coefficient, numbers->coefficient },
        { &ret->p1, numbers->prime1 },
        { &ret->q1, numbers->prime2 },
        { &ret->result, span_of("", 0) },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        *rows[i].place = BN_CTX_get(ret->ctx);
        if (*rows[i].place == NULL ||
            BN_bin2bn(rows[i].bytes.ptr, (int)rows[i].bytes.len, *rows[i].place) == NULL)
            return false;
    }
    return true;
}

/* a * b = 1 in the numbers modulo m */
static bool are_inverse(struct sums *sums, const BIGNUM *a, const BIGNUM *b, const BIGNUM *m)
{
    return BN_mod_mul(sums->result, a, b, m, sums->ctx) == 1 && BN_is_one(sums->result);
}

static bool is_rest(struct sums *sums, const BIGNUM *rest, const BIGNUM *a, const BIGNUM *m)
{
    return BN_mod(sums->result, a, m, sums->ctx) == 1 && BN_cmp(sums->result, rest) == 0;
}

static bool fit(struct sums *sums)
{
    if (BN_is_zero(sums->p) || BN_is_one(sums->p) || BN_is_zero(sums->q) || BN_is_one(sums->q) ||
        BN_cmp(sums->p, sums->q) == 0 || BN_cmp(sums->d, sums->n) >= 0 ||
        BN_cmp(sums->coefficient, sums->p) >= 0 || BN_sub_word(sums->p1, 1) != 1 ||
        BN_sub_word(sums->q1, 1) != 1)
        return false;
    return BN_mul(sums->result, sums->p, sums->q, sums->ctx) == 1 &&
           BN_cmp(sums->result, sums->n) == 0 && are_inverse(sums, sums->e, sums->d, sums->p1) &&
           are_inverse(sums, sums->e, sums->d, sums->q1) &&
           are_inverse(sums, sums->q, sums->coefficient, sums->p) &&
           is_rest(sums, sums->exponent1, sums->d, sums->p1) &&
           is_rest(sums, sums->exponent2, sums->d, sums->q1);
}

int rsa_numbers_fit(const struct private_numbers *numbers, bool *ret, struct kms_error *err)
{
    struct sums sums = { .ctx = BN_CTX_secure_new() };

    if (sums.ctx == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "OpenSSL: no room for numbers");
    BN_CTX_start(sums.ctx);
    const bool loaded = load(numbers, &sums);
    *ret = loaded && fit(&sums);
    BN_CTX_end(sums.ctx);
    BN_CTX_free(sums.ctx); /* wipes its numbers */
    ERR_clear_error();
    return loaded ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "OpenSSL: no room for numbers");
}
