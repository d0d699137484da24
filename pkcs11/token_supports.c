#include "pkcs11/pair_state.h"

#include <assert.h>

const char *token_kind_name(enum token_kind kind)
{
    return pair_of(kind) ? pair_of(kind)->name : kind_of(kind)->name;
}

const char *token_use_name(enum token_use use)
{
    static const char *const names[TOKEN_USES] = { "signs", "decrypts", "agrees" };

    return names[use];
}

const char *token_algorithm_name(enum token_algorithm algorithm)
{
    return algorithm_of(algorithm)->name;
}

static bool is_mac_kind(enum token_kind kind)
{
    return kind >= TOKEN_HMAC_224 && kind <= TOKEN_HMAC_512;
}

static bool has_use(enum token_kind kind, enum token_use use)
{
    return pair_of(kind) ? pair_of(kind)->uses[use] : is_mac_kind(kind) && use == TOKEN_SIGNS;
}

/* Probes, unless somebody has done it while we waited. */
static int probe_alone(struct token *token, enum token_kind kind, enum token_use use,
                       struct pair_memory *memory, struct kms_error *err)
{
    struct pair_probe learnt = { 0 };
    int probed = 0;

    if (token_pass(token, err) < 0 || token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    if (!atomic_load(&memory->known)) {
        probed = pair_probe_run(token, kind, use, &learnt, err);
        if (probed == 0) {
            memory->probe = learnt;
            atomic_store_explicit(&memory->known, true, memory_order_release);
        }
    }
    token_alone_done(token, probed < 0);
    return probed;
}

int pair_known(struct token *token, enum token_kind kind, enum token_use use,
               const struct pair_probe **ret, struct kms_error *err)
{
    if (!has_use(kind, use))
        return kms_fail_detail(err, KMS_ERR_UNSUPPORTED, "no key of kind %d %s", (int)kind,
                               token_use_name(use));
    const enum token_kind probed = pair_of(kind) ? pair_of(kind)->probed : kind;
    struct pair_memory *const memory = &token->pairs[probed][use];
    if (!atomic_load_explicit(&memory->known, memory_order_acquire) &&
        probe_alone(token, probed, use, memory, err) < 0)
        return -1;
    *ret = &memory->probe;
    return 0;
}

/* What is given away is no key of ours, unless the operator accepts that. */
static bool usable(const struct token *token, const struct pair_probe *known,
                   const struct pair *pair)
{
    const CK_ULONG bits = pair && pair->type == CKK_RSA ? pair->bytes * 8 : 0;

    if (!known->enforces_extraction && !token->accept_extractable)
        return false;
    return bits == 0 || known->bits_most == 0 ||
           (bits >= known->bits_least && bits <= known->bits_most);
}

int token_supports(struct token *token, enum token_kind kind, enum token_algorithm algorithm,
                   enum token_support *ret, struct kms_error *err)
{
    const struct algorithm *const row = algorithm_of(algorithm);
    const struct pair *const pair = pair_of(kind);
    const struct pair_probe *known = NULL;

    if (pair ? !algorithm_fits(row, pair) : !(is_mac_kind(kind) && algorithm == TOKEN_MAC)) {
        *ret = TOKEN_LACKS;
        return 0;
    }
    if (pair_known(token, kind, row->use, &known, err) < 0)
        return -1;
    *ret = usable(token, known, pair) ? known->support[algorithm] : TOKEN_LACKS;
    return 0;
}

int pair_need(struct token *token, enum token_kind kind, enum token_algorithm algorithm,
              struct kms_error *err)
{
    enum token_support support = TOKEN_LACKS;

    if (token_supports(token, kind, algorithm, &support, err) < 0)
        return -1;
    if (support != TOKEN_WITHIN)
        return kms_fail_detail(err, KMS_ERR_UNSUPPORTED, "%s is not done by this token for %s keys",
                               token_algorithm_name(algorithm), token_kind_name(kind));
    return 0;
}

int pair_named(const struct token_key *key, const struct pair *pair, struct kms_error *err)
{
    if (key->canary.len != pair_public_len(pair))
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE,
                               "the public key kept for this id is not one of a %s key",
                               pair->name);
    return 0;
}

/* The work of a pair */

static CK_RV prove_pair(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    const struct pair_work *const more = work->more;

    return pair_prove(session, key, more->kind, more->use, work->canary);
}

struct work pair_work(const struct token_key *key, struct pair_work *more, struct span input,
                      uint8_t *output)
{
    assert(key->canary.len > 0);
    return (struct work){ .id = &key->id,
                          .canary = key->canary,
                          .prove = prove_pair,
                          .input = input,
                          .output = output,
                          .more = more };
}

int pair_random(const struct token *token, struct kms_error *err)
{
    if (atomic_load_explicit(&token->random_stuck, memory_order_relaxed))
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE,
                               "the token's random generator repeats itself");
    return 0;
}
