#include "hsmkms/api/rates.h"

#include <stdlib.h>

#include "tests/support/check.h"

/* Request rates: how one count flows, and which operations, keys and accounts share one. */

#define SECOND  INT64_C(1000000000)
#define MANY    2000
#define THREADS 4
#define DAY_NS  (86400 * SECOND)

static int taken(atomic_llong *due, int64_t now, int64_t per_second, int tries)
{
    int count = 0;

    for (int i = 0; i < tries; i++)
        count += rate_take(due, now, per_second);
    return count;
}

/* A second's worth at once, then one whenever its share of a second has passed. */
static void test_flow(void **state)
{
    static const int64_t rates[] = { 1, 2, 3, 7, 1000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        const int64_t rate = rates[i];
        atomic_llong due = 0;
        int64_t now = DAY_NS;

        assert_int_equal(taken(&due, now, rate, MANY), rate);
        /* intervals are cut to whole nanoseconds */
        assert_int_equal(taken(&due, now + SECOND / rate - rate - 1, rate, MANY), 0);
        now += SECOND / rate + 1;
        assert_int_equal(taken(&due, now, rate, MANY), 1);
        now += SECOND + 1;
        assert_int_equal(taken(&due, now, rate, MANY), rate);
        now += DAY_NS; /* a day of silence saves nothing up */
        assert_int_equal(taken(&due, now, rate, MANY), rate);
    }
}

static void test_highest_rate(void **state)
{
    atomic_llong due = 0;

    (void)state;
    assert_int_equal(taken(&due, DAY_NS, 1000000, 1000001), 1000000);
}

struct taker {
    pthread_t thread;
    atomic_llong *due;
    int count;
};

static void *take_often(void *arg)
{
    struct taker *const taker = arg;

    taker->count = taken(taker->due, DAY_NS, MANY, MANY);
    return NULL;
}

/* However many threads ask: together they get what one would. */
static void test_threads_share_a_count(void **state)
{
    struct taker takers[THREADS];
    atomic_llong due = 0;
    int all = 0;

    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){ .due = &due };
        CHECK(pthread_create(&takers[i].thread, NULL, take_often, &takers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(takers[i].thread, NULL) == 0);
        all += takers[i].count;
    }
    assert_int_equal(all, MANY);
}

/* --- who shares ------------------------------------------------------------------------------- */

/* Counts one request; true when it was within its rate. */
static bool counted(struct rates *rates, const char *account, const char *operation,
                    const char *spec)
{
    struct api_call call = { 0 };
    struct key key = { .spec = keyspec_find(spec) };
    struct op_call c = { .call = &call, .op = op_find(API_KMS, operation), .key = &key };
    struct kms_error err = { 0 };

    CHECK(c.op != NULL);
    (void)snprintf(call.principal.account, sizeof(call.principal.account), "%s", account);
    c.other = c.op->other.tracked ? &key : NULL;
    json_auto_t *parameters = json_pack("{s:s}", "KeyPairSpec", spec);
    call.parameters = parameters;
    if (rates_count(rates, &c, &err) == 0)
        return true;
    assert_int_equal(err.code, KMS_ERR_THROTTLING);
    return false;
}

static struct rates *new_rates(enum rate_kind kind, int64_t per_second)
{
    struct rate_limits limits = { { 0 } };
    struct rates *rates = NULL;
    struct kms_error err = { 0 };

    limits.per_second[kind] = per_second;
    CHECK_OK(rates_new(&limits, &rates, &err), err);
    return rates;
}

static void test_nothing_set_nothing_limited(void **state)
{
    struct rates *const rates = new_rates(RATE_SYMMETRIC, 0);

    (void)state;
    for (size_t i = 0; i < op_count; i++)
        for (int times = 0; times < 100 && ops[i].service == API_KMS; times++)
            CHECK(counted(rates, "111122223333", ops[i].name, "SYMMETRIC_DEFAULT"));
    rates_free(rates);
}

/* The first of each pair uses the rate up; whether the second then shares it. */
static void test_what_is_counted_together(void **state)
{
    static const struct {
        enum rate_kind kind;
        const char *first, *first_spec, *second, *second_spec;
        bool together;
    } rows[] = {
        { RATE_SYMMETRIC, "Encrypt", "SYMMETRIC_DEFAULT", "GenerateMac", "HMAC_256", true },
        { RATE_SYMMETRIC, "Decrypt", "SYMMETRIC_DEFAULT", "GenerateRandom", "HMAC_256", true },
        { RATE_SYMMETRIC, "Encrypt", "SYMMETRIC_DEFAULT", "Encrypt", "RSA_2048", false },
        { RATE_RSA, "Sign", "RSA_2048", "Decrypt", "RSA_4096", true },
        { RATE_RSA, "Sign", "RSA_2048", "Sign", "ECC_NIST_P256", false },
        { RATE_ECC, "Sign", "ECC_NIST_P256", "DeriveSharedSecret", "ECC_NIST_P521", true },
        { RATE_ECC, "Verify", "ECC_NIST_EDWARDS25519", "Verify", "RSA_2048", false },
        { RATE_PAIRS, "GenerateDataKeyPair", "RSA_2048", "GenerateDataKeyPairWithoutPlaintext",
          "RSA_2048", true },
        { RATE_PAIRS, "GenerateDataKeyPair", "RSA_2048", "GenerateDataKeyPair", "RSA_3072", false },
        { RATE_DESCRIBE, "DescribeKey", "RSA_2048", "DescribeKey", "HMAC_256", true },
        { RATE_DESCRIBE, "DescribeKey", "RSA_2048", "GetPublicKey", "RSA_2048", false },
        { RATE_CHANGE, "EnableKey", "RSA_2048", "DisableKey", "RSA_2048", false },
        { RATE_CHANGE, "EnableKey", "RSA_2048", "DescribeKey", "RSA_2048", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rates *const rates = new_rates(rows[i].kind, 1);
        CHECK(counted(rates, "111122223333", rows[i].first, rows[i].first_spec));
        if (counted(rates, "111122223333", rows[i].second, rows[i].second_spec) == rows[i].together)
            fail_msg("row %zu", i);
        CHECK(counted(rates, "444455556666", rows[i].first, rows[i].first_spec));
        CHECK(!counted(rates, "444455556666", rows[i].first, rows[i].first_spec));
        rates_free(rates);
    }
}

/* Two keys, two requests. */
static void test_re_encrypt_counts_twice(void **state)
{
    struct rates *const rates = new_rates(RATE_SYMMETRIC, 2);

    (void)state;
    CHECK(counted(rates, "111122223333", "ReEncrypt", "SYMMETRIC_DEFAULT"));
    CHECK(!counted(rates, "111122223333", "Encrypt", "SYMMETRIC_DEFAULT"));
    rates_free(rates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow),
        cmocka_unit_test(test_highest_rate),
        cmocka_unit_test(test_threads_share_a_count),
        cmocka_unit_test(test_nothing_set_nothing_limited),
        cmocka_unit_test(test_what_is_counted_together),
        cmocka_unit_test(test_re_encrypt_counts_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
