#include "hsmkms/api/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)

/*
 * What operations are counted as. Without a row: cryptography by its key, all others as changes.
 * Source: AWS KMS Developer Guide, Request quotas for each AWS KMS API operation.
 */
static const struct {
    const char *operation;
    enum rate_kind kind;
} kinds[] = {
    { "GenerateRandom", RATE_SYMMETRIC },
    { "GenerateDataKeyPair", RATE_PAIRS },
    { "GenerateDataKeyPairWithoutPlaintext", RATE_PAIRS },
    { "DescribeKey", RATE_DESCRIBE },
    { "GetPublicKey", RATE_DESCRIBE },
    { "ListResourceTags", RATE_DESCRIBE },
    { "GetKeyPolicy", RATE_STATUS },
    { "GetKeyRotationStatus", RATE_STATUS },
    { "ListKeys", RATE_LIST },
    { "ListAliases", RATE_LIST },
    { "ListGrants", RATE_LIST_GRANTS },
    { "ListKeyPolicies", RATE_LIST_GRANTS },
    { "ListRetirableGrants", RATE_LIST_GRANTS },
    { "CreateGrant", RATE_CREATE_GRANT },
    { "RetireGrant", RATE_END_GRANT },
    { "RevokeGrant", RATE_END_GRANT },
    { "DeleteAlias", RATE_MANAGE },
    { "EnableKeyRotation", RATE_MANAGE },
    { "PutKeyPolicy", RATE_MANAGE },
    { "ScheduleKeyDeletion", RATE_MANAGE },
    { "TagResource", RATE_TAG },
};

/* Counts of one account: of each kind, of each spec of a data key pair, of each operation. */
struct counts {
    struct counts *next;
    char account[13];
    atomic_llong due_ns[];
};

struct rates {
    struct rate_limits limits;
    bool limited;                      /* anything is */
    _Atomic(struct counts *) accounts; /* only added to: operators make few */
};

/* --- counting --------------------------------------------------------------------------------- */

bool rate_take(atomic_llong *due_ns, int64_t now_ns, int64_t per_second)
{
    const int64_t interval_ns = SECOND_NS / per_second;
    long long due = atomic_load(due_ns);
    int64_t next = 0;

    do {
        next = (due > now_ns ? due : now_ns) + interval_ns;
        if (next - now_ns > SECOND_NS)
            return false;
    } while (!atomic_compare_exchange_weak(due_ns, &due, next));
    return true;
}

/* The counts of an account that has some, or NULL. */
static struct counts *find(struct counts *first, const char *account)
{
    for (struct counts *counts = first; counts; counts = counts->next)
        if (strcmp(counts->account, account) == 0)
            return counts;
    return NULL;
}

static int counts_of(struct rates *rates, const char *account, struct counts **ret,
                     struct kms_error *err)
{
    struct counts *first = atomic_load(&rates->accounts);
    struct counts *counts = find(first, account);

    if (counts) {
        *ret = counts;
        return 0;
    }
    counts = calloc(1, sizeof(*counts) +
                           (RATE_KINDS + keyspec_count + op_count) * sizeof(counts->due_ns[0]));
    if (counts == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for request rates");
    (void)snprintf(counts->account, sizeof(counts->account), "%s", account);
    do { /* another thread may have been here first */
        struct counts *const other = find(first, account);
        if (other) {
            free(counts);
            counts = other;
            break;
        }
        counts->next = first;
    } while (!atomic_compare_exchange_weak(&rates->accounts, &first, counts));
    *ret = counts;
    return 0;
}

/* --- what is counted -------------------------------------------------------------------------- */

/* By its key; a key that is still to be made is symmetric. */
static enum rate_kind kind_of_key(const struct key *key)
{
    if (key == NULL || key->spec->type != SPEC_PAIR)
        return RATE_SYMMETRIC;
    return keyspec_modulus_bits(key->spec) ? RATE_RSA : RATE_ECC;
}

static enum rate_kind kind_of(const struct op *op, const struct key *key)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].operation, op->name) == 0)
            return kinds[i].kind;
    return op->key.tracked ? kind_of_key(key) : RATE_CHANGE;
}

/* Which of an account's counts: one for a kind, or one for each spec or operation of it. */
static size_t place_of(const struct op_call *c, enum rate_kind kind)
{
    if (kind == RATE_SYMMETRIC || kind == RATE_RSA || kind == RATE_ECC)
        return kind;
    if (kind != RATE_PAIRS)
        return RATE_KINDS + keyspec_count + (size_t)(c->op - ops);
    const struct keyspec *const spec = /* decoded: one of the field's texts */
        keyspec_find(json_string_value(json_object_get(c->call->parameters, "KeyPairSpec")));
    return RATE_KINDS + (spec ? (size_t)(spec - keyspecs) : 0);
}

static int count(struct rates *rates, const struct op_call *c, const struct key *key,
                 struct kms_error *err)
{
    const enum rate_kind kind = kind_of(c->op, key);
    const int64_t limit = rates->limits.per_second[kind];
    struct counts *counts = NULL;

    if (limit == 0)
        return 0;
    if (counts_of(rates, c->call->principal.account, &counts, err) < 0)
        return -1;
    if (rate_take(&counts->due_ns[place_of(c, kind)], clock_mono_us() * 1000, limit))
        return 0;
    return kms_fail(err, KMS_ERR_THROTTLING,
                    "You have exceeded the rate at which you may call KMS. Reduce the frequency of "
                    "your calls.");
}

int rates_count(struct rates *rates, const struct op_call *c, struct kms_error *err)
{
    if (!rates->limited || c->op->service != API_KMS)
        return 0;
    if (count(rates, c, c->key, err) < 0)
        return -1;
    return c->op->other.tracked ? count(rates, c, c->other, err) : 0; /* ReEncrypt is two */
}

/* --- life ------------------------------------------------------------------------------------- */

int rates_new(const struct rate_limits *limits, struct rates **ret, struct kms_error *err)
{
    struct rates *const rates = calloc(1, sizeof(*rates));

    if (rates == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for request rates");
    rates->limits = *limits;
    for (enum rate_kind kind = 0; kind < RATE_KINDS; kind++)
        rates->limited |= limits->per_second[kind] > 0;
    *ret = rates;
    return 0;
}

void rates_free(struct rates *rates)
{
    if (rates == NULL)
        return;
    struct counts *counts = atomic_load(&rates->accounts);
    while (counts) {
        struct counts *const next = counts->next;
        free(counts);
        counts = next;
    }
    free(rates);
}
