/*
 * What a lookup among the grants of a key costs, by how many there are: for a Decrypt with two
 * pairs of encryption context, in the index alone, without token and database.
 *
 *   grant_bench [--seconds N]
 *
 * Prints a line of JSON for each number of grants and kind of question: hit, the one grant that
 * fits; miss, none fits; and what the grants take in memory.
 */

#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/iam/grant_index.h"
#include "hsmkms/iam/grant_record.h"

#define ACCOUNT "111122223333"
#define ROLE    "arn:aws:iam::" ACCOUNT ":role/app"
#define ROLE_ID "AROAAAAAAAAAAAAAAAAA"

static const struct uuid key_id = { { 1 } };
static const struct principal session = { .kind = PRINCIPAL_ROLE_SESSION,
                                          .account = ACCOUNT,
                                          .arn = "arn:aws:sts::" ACCOUNT ":assumed-role/app/s1",
                                          .principal_arn = ROLE,
                                          .unique_id = ROLE_ID };

static void check(int result, const struct kms_error *err)
{
    if (result == 0)
        return;
    (void)fprintf(stderr, "grant_bench: %s %s\n", err->message, err->detail);
    exit(1);
}

/* Like those that a block store makes: one role, a pair that all share and one of its own. */
static void add(struct grant_index *index, size_t number)
{
    char volume[32];
    const struct condition_pair pairs[] = { { "aws:service", "store" }, { "volume", volume } };
    struct kms_error err = { 0 };
    struct grant_node *node = NULL;
    struct grant *grant = NULL;
    struct grant draft = { .key_id = key_id,
                           .grantee = ROLE,
                           .grantee_id = ROLE_ID,
                           .retiring = ROLE,
                           .retiring_id = ROLE_ID,
                           .issuing_account = ACCOUNT,
                           .operations = grant_operation_bit("Decrypt") |
                                         grant_operation_bit("GenerateDataKey") |
                                         grant_operation_bit("DescribeKey"),
                           .constraint = GRANT_EQUALS,
                           .pairs = pairs,
                           .pair_count = ARRAY_LEN(pairs),
                           .name = "" };

    (void)snprintf(volume, sizeof(volume), "vol-%zu", number);
    (void)snprintf(draft.id, sizeof(draft.id), "%064zx", number);
    check(grant_copy(&draft, &grant, &err), &err);
    check(grant_node_new(grant, &node, &err), &err);
    grant_unref(grant);
    grant_index_add(index, node);
}

static double ns_of_question(const struct grant_index *index, const char *volume, double seconds,
                             enum strength expected)
{
    const struct condition_pair pairs[] = { { "aws:service", "store" }, { "volume", volume } };
    const struct grant_query query = { .key_id = &key_id,
                                       .caller = &session,
                                       .action = action_of("kms", "Decrypt"),
                                       .pairs = pairs,
                                       .pair_count = ARRAY_LEN(pairs) };
    const int64_t begun = clock_mono_us(), end = begun + (int64_t)(seconds * 1e6);
    struct grant *found = NULL;
    size_t asked = 0;

    do {
        for (int i = 0; i < 100; i++, asked++)
            if (grant_index_ask(index, &query, &found) != expected) {
                (void)fprintf(stderr, "grant_bench: a wrong answer\n");
                exit(1); /* a benchmark with errors measures nothing */
            }
    } while (clock_mono_us() < end);
    return (double)(clock_mono_us() - begun) * 1e3 / (double)asked;
}

static void measure(size_t count, double seconds)
{
    struct kms_error err = { 0 };
    struct grant_index index;
    char last[32];

    const size_t before = mallinfo2().uordblks;
    check(grant_index_init(&index, &err), &err);
    for (size_t i = 1; i <= count; i++)
        add(&index, i);
    const size_t bytes = mallinfo2().uordblks - before;
    (void)snprintf(last, sizeof(last), "vol-%zu", count);
    if (count)
        (void)printf("{\"grants\": %zu, \"question\": \"hit\", \"ns\": %.0f}\n", count,
                     ns_of_question(&index, last, seconds, STRENGTH_ROLE));
    (void)printf("{\"grants\": %zu, \"question\": \"miss\", \"ns\": %.0f, \"bytes_each\": %zu}\n",
                 count, ns_of_question(&index, "vol-none", seconds, STRENGTH_NONE),
                 count ? bytes / count : 0);
    grant_index_done(&index);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "seconds", required_argument, NULL, 's' }, { 0 } };
    static const size_t counts[] = { 0, 1, 1000, 50000 };
    double seconds = 0.2;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 's')
            return 2;
        seconds = strtod(optarg, NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        measure(counts[i], seconds);
    return 0;
}
