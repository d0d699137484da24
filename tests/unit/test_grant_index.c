/* Grants in memory: the index against a plain search through all of them, and its pure parts. */

#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/iam/grant_index.h"
#include "hsmkms/iam/grant_match.h"
#include "hsmkms/iam/grant_record.h"
#include "tests/support/check.h"

#define ACCOUNT "111122223333"
#define ALICE   "arn:aws:iam::" ACCOUNT ":user/alice"
#define APP     "arn:aws:iam::" ACCOUNT ":role/app"
#define APP_S1  "arn:aws:sts::" ACCOUNT ":assumed-role/app/s1"
#define ROOT    "arn:aws:iam::" ACCOUNT ":root"

#define ALICE_ID "AIDAAAAAAAAAAAAAAAAA"
#define APP_ID   "AROAAAAAAAAAAAAAAAAA"

static bool all_hashes_meet;

uint64_t __real_short_hash(const struct short_hash_key *key, struct span bytes);
uint64_t __wrap_short_hash(const struct short_hash_key *key, struct span bytes);

/* The linker puts it in front: see tests/CMakeLists.txt. */
uint64_t __wrap_short_hash(const struct short_hash_key *key, struct span bytes)
{
    return all_hashes_meet ? 7 : __real_short_hash(key, bytes);
}

static const struct uuid keys[] = { { { 1 } }, { { 2 } }, { { 3 } } };

static const struct principal alice = { .kind = PRINCIPAL_USER,
                                        .account = ACCOUNT,
                                        .arn = ALICE,
                                        .principal_arn = ALICE,
                                        .unique_id = ALICE_ID };
static const struct principal alice_again = { .kind = PRINCIPAL_USER,
                                              .account = ACCOUNT,
                                              .arn = ALICE,
                                              .principal_arn = ALICE,
                                              .unique_id = "AIDABBBBBBBBBBBBBBBB" };
static const struct principal session = { .kind = PRINCIPAL_ROLE_SESSION,
                                          .account = ACCOUNT,
                                          .arn = APP_S1,
                                          .principal_arn = APP,
                                          .unique_id = APP_ID };
static const struct principal session_again = { .kind = PRINCIPAL_ROLE_SESSION,
                                                .account = ACCOUNT,
                                                .arn = APP_S1,
                                                .principal_arn = APP,
                                                .unique_id = "AROABBBBBBBBBBBBBBBB" };
static const struct principal other_session = { .kind = PRINCIPAL_ROLE_SESSION,
                                                .account = ACCOUNT,
                                                .arn =
                                                    "arn:aws:sts::" ACCOUNT ":assumed-role/app/s2",
                                                .principal_arn = APP,
                                                .unique_id = APP_ID };
static const struct principal root = {
    .kind = PRINCIPAL_ROOT, .account = ACCOUNT, .arn = ROOT, .principal_arn = ROOT
};
static const struct principal eve = { .kind = PRINCIPAL_USER,
                                      .account = "444455556666",
                                      .arn = "arn:aws:iam::444455556666:user/eve",
                                      .principal_arn = "arn:aws:iam::444455556666:user/eve",
                                      .unique_id = "AIDAEEEEEEEEEEEEEEEE" };

static const struct principal *const callers[] = { &alice, &alice_again,   &session, &session_again,
                                                   &root,  &other_session, &eve };

/* Grantees with the ids they were pinned to. */
static const struct {
    const char *arn, *id;
} grantees[] = { { ALICE, ALICE_ID }, { APP, APP_ID }, { APP_S1, APP_ID }, { ROOT, "" } };

static int bit_of(const char *name)
{
    return action_of("kms", name);
}

static uint64_t mask_of(const char *const *names, size_t count)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < count; i++) {
        CHECK(grant_operation_bit(names[i]) != 0);
        mask |= grant_operation_bit(names[i]);
    }
    return mask;
}
#define MASK(...)                                                                                  \
    mask_of((const char *const[]){ __VA_ARGS__ }, ARRAY_LEN(((const char *const[]){ __VA_ARGS__ })))

/* A grant of alice's for the first key, without constraint. */
static struct grant sample(const char *id_tail)
{
    struct grant grant = { .key_id = keys[0],
                           .grantee = ALICE,
                           .grantee_id = ALICE_ID,
                           .retiring = "",
                           .issuing_account = ACCOUNT,
                           .operations = MASK("Decrypt"),
                           .name = "" };

    (void)snprintf(grant.id, sizeof(grant.id), "%064d", 0);
    memcpy(grant.id + GRANT_ID_LEN - strlen(id_tail), id_tail, strlen(id_tail));
    return grant;
}

static void add(struct grant_index *index, const struct grant *draft)
{
    struct kms_error err = { 0 };
    struct grant *grant = NULL;
    struct grant_node *node = NULL;

    CHECK_OK(grant_copy(draft, &grant, &err), err);
    CHECK_OK(grant_node_new(grant, &node, &err), err);
    grant_unref(grant);
    grant_index_add(index, node);
}

static struct grant_index begin(void)
{
    struct kms_error err = { 0 };
    struct grant_index index;

    CHECK_OK(grant_index_init(&index, &err), err);
    return index;
}

static enum strength ask(const struct grant_index *index, const struct principal *caller,
                         const char *operation, const struct condition_pair *pairs, size_t count)
{
    const struct grant_query query = { .key_id = &keys[0],
                                       .caller = caller,
                                       .action = bit_of(operation),
                                       .pairs = pairs,
                                       .pair_count = count };
    struct grant *found = NULL;
    const enum strength strength = grant_index_ask(index, &query, &found);

    CHECK((found != NULL) == (strength != STRENGTH_NONE));
    return strength;
}

/* --- strengths -------------------------------------------------------------------------------- */

static void test_strength_of_each_kind_of_grantee(void **state)
{
    static const struct {
        size_t grantee;
        enum strength want[ARRAY_LEN(callers)];
    } rows[] = {
        { 0, { STRENGTH_DIRECT } },
        { 1, { [2] = STRENGTH_ROLE, [5] = STRENGTH_ROLE } },
        { 2, { [2] = STRENGTH_DIRECT } },
        { 3,
          { STRENGTH_ACCOUNT, STRENGTH_ACCOUNT, STRENGTH_ACCOUNT, STRENGTH_ACCOUNT, STRENGTH_DIRECT,
            STRENGTH_ACCOUNT, STRENGTH_NONE } },
    };

    (void)state;
    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        struct grant_index index = begin();
        struct grant grant = sample("1");
        grant.grantee = grantees[rows[row].grantee].arn;
        memcpy(grant.grantee_id, grantees[rows[row].grantee].id,
               strlen(grantees[rows[row].grantee].id) + 1);
        add(&index, &grant);
        for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
            assert_int_equal(ask(&index, callers[i], "Decrypt", NULL, 0), rows[row].want[i]);
            assert_int_equal(ask(&index, callers[i], "Encrypt", NULL, 0), STRENGTH_NONE);
            assert_int_equal(grant_match_principal(grant.grantee, grant.grantee_id, callers[i]),
                             rows[row].want[i]);
        }
        grant_index_done(&index);
    }
}

static void test_the_strongest_grant_counts(void **state)
{
    struct grant_index index = begin();
    struct grant grant = sample("1");

    (void)state;
    grant.grantee = ROOT;
    grant.grantee_id[0] = '\0';
    add(&index, &grant);
    assert_int_equal(ask(&index, &session, "Decrypt", NULL, 0), STRENGTH_ACCOUNT);
    grant = sample("2");
    grant.grantee = APP;
    memcpy(grant.grantee_id, APP_ID, sizeof(APP_ID));
    add(&index, &grant);
    assert_int_equal(ask(&index, &session, "Decrypt", NULL, 0), STRENGTH_ROLE);
    grant.grantee = APP_S1;
    grant.id[0] = '3';
    add(&index, &grant);
    assert_int_equal(ask(&index, &session, "Decrypt", NULL, 0), STRENGTH_DIRECT);
    assert_int_equal(ask(&index, &other_session, "Decrypt", NULL, 0), STRENGTH_ROLE);
    grant_index_remove(&index, &keys[0], grant.id);
    assert_int_equal(ask(&index, &session, "Decrypt", NULL, 0), STRENGTH_ROLE);
    grant_index_done(&index);
}

static void test_retire_strength(void **state)
{
    struct grant grant = sample("1");

    (void)state;
    memcpy(grant.issuing_account, "444455556666", 13);
    assert_int_equal(grant_retire_strength(&grant, &alice), STRENGTH_NONE);
    assert_int_equal(grant_retire_strength(&grant, &eve), STRENGTH_ACCOUNT);
    grant.operations |= MASK("RetireGrant");
    assert_int_equal(grant_retire_strength(&grant, &alice), STRENGTH_DIRECT);
    assert_int_equal(grant_retire_strength(&grant, &alice_again), STRENGTH_NONE);
    assert_int_equal(grant_retire_strength(&grant, &root), STRENGTH_NONE);
    grant.retiring = APP;
    memcpy(grant.retiring_id, APP_ID, sizeof(APP_ID));
    assert_int_equal(grant_retire_strength(&grant, &session), STRENGTH_ROLE);
    assert_int_equal(grant_retire_strength(&grant, &session_again), STRENGTH_NONE);
    grant.retiring = ROOT;
    grant.retiring_id[0] = '\0';
    assert_int_equal(grant_retire_strength(&grant, &session), STRENGTH_ACCOUNT);
    assert_int_equal(grant_retire_strength(&grant, &root), STRENGTH_DIRECT);
    grant.retiring = "";
    memcpy(grant.issuing_account, ACCOUNT, 13);
    assert_int_equal(grant_retire_strength(&grant, &root), STRENGTH_DIRECT);
    assert_int_equal(grant_retire_strength(&grant, &session), STRENGTH_ACCOUNT);
}

/* --- constraints ------------------------------------------------------------------------------ */

struct constraint_row {
    enum grant_constraint kind;
    const char *constraint, *request; /* "A=1 B=2" */
    bool holds;
};

static size_t read_pairs(const char *text, char *room, struct condition_pair *ret)
{
    size_t count = 0;

    memcpy(room, text, strlen(text) + 1);
    for (char *at = room; *at;) {
        char *const equal = strchr(at, '='), *const end = at + strcspn(at, " ");
        const bool last = *end == '\0';
        *equal = *end = '\0';
        ret[count++] = (struct condition_pair){ at, equal + 1 };
        at = last ? end : end + 1;
    }
    return count;
}

static const struct constraint_row constraint_rows[] = {
    { GRANT_UNCONSTRAINED, "", "", true },
    { GRANT_UNCONSTRAINED, "", "A=1 a=2", true },
    { GRANT_SUBSET, "App=x", "App=x", true },
    { GRANT_SUBSET, "App=x", "aPP=x", true },
    { GRANT_SUBSET, "App=x", "App=X", false },
    { GRANT_SUBSET, "App=x", "", false },
    { GRANT_SUBSET, "App=x", "App=", false },
    { GRANT_SUBSET, "App=x", "Ap=x", false },
    { GRANT_SUBSET, "App=x", "Apps=x", false },
    { GRANT_SUBSET, "App=x", "B=2 App=x", true },
    { GRANT_SUBSET, "App=x B=2", "B=2 App=x C=3", true },
    { GRANT_SUBSET, "App=x B=2", "App=x", false },
    { GRANT_SUBSET, "App=x", "App=x app=x", false },
    { GRANT_SUBSET, "App=x", "App=x B=1 b=2", false },
    { GRANT_EQUALS, "App=x", "APP=x", true },
    { GRANT_EQUALS, "App=x", "App=x B=2", false },
    { GRANT_EQUALS, "App=x B=2", "b=2 app=x", true },
    { GRANT_EQUALS, "App=x B=2", "App=x", false },
    { GRANT_EQUALS, "App=x B=2", "App=x C=2", false },
    { GRANT_EQUALS, "App=x", "App=x app=x", false },
    { GRANT_EQUALS, "", "", true },
    { GRANT_EQUALS, "", "A=1", false },
    { GRANT_SUBSET, "", "A=1", true },
    { GRANT_SUBSET, "", "A=1 a=1", false },
    { GRANT_SUBSET, "\xc3\x84=1", "\xc3\xa4=1", false }, /* ASCII alone is folded */
};

static void test_constraints(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(constraint_rows); i++) {
        const struct constraint_row *const row = &constraint_rows[i];
        struct grant_index index = begin();
        struct condition_pair pairs[8], request[8];
        char room[2][100];
        struct grant grant = sample("1");
        const size_t count = read_pairs(row->request, room[1], request);

        grant.constraint = row->kind;
        grant.pairs = pairs;
        grant.pair_count = read_pairs(row->constraint, room[0], pairs);
        grant.operations = MASK("Decrypt", "DescribeKey", "RetireGrant", "GetPublicKey");
        add(&index, &grant);
        if ((ask(&index, &alice, "Decrypt", request, count) != STRENGTH_NONE) != row->holds)
            fail_msg("%s against %s", row->constraint, row->request);
        assert_int_equal(ask(&index, &alice, "DescribeKey", request, count), STRENGTH_DIRECT);
        assert_int_equal(ask(&index, &alice, "GetPublicKey", NULL, 0), STRENGTH_DIRECT);
        assert_int_equal(ask(&index, &alice, "Encrypt", request, count), STRENGTH_NONE);
        grant_index_done(&index);
    }
}

/* A name longer than what is hashed at once. */
static void test_constraint_with_a_long_name(void **state)
{
    struct grant_index index = begin();
    char name[400], folded[400];
    struct condition_pair pair = { name, "v" };
    struct grant grant = sample("1");

    (void)state;
    for (size_t i = 0; i < sizeof(name); i++) {
        name[i] = (char)('A' + i % 26);
        folded[i] = (char)('a' + i % 26);
    }
    name[399] = folded[399] = '\0';
    grant.constraint = GRANT_SUBSET;
    grant.pairs = &pair;
    grant.pair_count = 1;
    add(&index, &grant);
    assert_int_equal(ask(&index, &alice, "Decrypt", &(struct condition_pair){ folded, "v" }, 1),
                     STRENGTH_DIRECT);
    folded[398] = '-';
    assert_int_equal(ask(&index, &alice, "Decrypt", &(struct condition_pair){ folded, "v" }, 1),
                     STRENGTH_NONE);
    grant_index_done(&index);
}

/* --- children --------------------------------------------------------------------------------- */

static void test_children_are_not_wider(void **state)
{
    static const struct {
        enum grant_constraint parent_kind;
        const char *parent;
        enum grant_constraint kind;
        const char *pairs;
        bool fits;
    } rows[] = {
        { GRANT_UNCONSTRAINED, "", GRANT_UNCONSTRAINED, "", true },
        { GRANT_UNCONSTRAINED, "", GRANT_SUBSET, "A=1", true },
        { GRANT_SUBSET, "A=1", GRANT_UNCONSTRAINED, "", false },
        { GRANT_SUBSET, "A=1", GRANT_SUBSET, "A=1", true },
        { GRANT_SUBSET, "A=1", GRANT_SUBSET, "a=1 B=2", true },
        { GRANT_SUBSET, "A=1 B=2", GRANT_SUBSET, "A=1", false },
        { GRANT_SUBSET, "A=1", GRANT_SUBSET, "A=2", false },
        { GRANT_SUBSET, "A=1", GRANT_EQUALS, "A=1 B=2", true },
        { GRANT_SUBSET, "A=1", GRANT_EQUALS, "B=2", false },
        { GRANT_EQUALS, "A=1", GRANT_EQUALS, "A=1", true },
        { GRANT_EQUALS, "A=1", GRANT_EQUALS, "A=1 B=2", false },
        { GRANT_EQUALS, "A=1", GRANT_SUBSET, "A=1", false },
        { GRANT_EQUALS, "A=1", GRANT_UNCONSTRAINED, "", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char room[2][100];
        struct condition_pair pairs[2][8];
        struct grant parent = sample("1");
        struct grant_draft child = { .operations = MASK("Decrypt") };

        parent.constraint = rows[i].parent_kind;
        parent.pairs = pairs[0];
        parent.pair_count = read_pairs(rows[i].parent, room[0], pairs[0]);
        parent.operations = MASK("Decrypt", "CreateGrant");
        child.constraint = rows[i].kind;
        child.pairs = pairs[1];
        child.pair_count = read_pairs(rows[i].pairs, room[1], pairs[1]);
        if (grant_match_child(&parent, &child) != rows[i].fits)
            fail_msg("row %zu", i);
        child.operations |= MASK("CreateGrant");
        assert_int_equal(grant_match_child(&parent, &child), rows[i].fits);
        child.operations |= MASK("Encrypt");
        CHECK(!grant_match_child(&parent, &child));
    }
}

/* Among several parents the one that fits is found, but never one that is named more weakly than
 * the right to make a grant was decided by. */
static void test_a_parent_is_found(void **state)
{
    struct grant_index index = begin();
    const struct grant_draft child = { .key_id = keys[0], .operations = MASK("Encrypt") };
    const struct grant_query query = {
        .key_id = &keys[0], .caller = &alice, .action = bit_of("CreateGrant"), .child = &child
    };
    struct grant grant = sample("1");
    struct grant *found = NULL;

    (void)state;
    grant.operations = MASK("CreateGrant", "Encrypt");
    grant.grantee = ROOT;
    grant.grantee_id[0] = '\0';
    add(&index, &grant);
    assert_int_equal(grant_index_ask(&index, &query, &found), STRENGTH_ACCOUNT);
    CHECK(found && strcmp(found->id, grant.id) == 0);
    grant = sample("2");
    grant.operations = MASK("CreateGrant", "Decrypt");
    add(&index, &grant);
    assert_int_equal(grant_index_ask(&index, &query, &found), STRENGTH_DIRECT);
    CHECK(found == NULL);
    grant = sample("3");
    grant.operations = MASK("CreateGrant", "Encrypt", "Decrypt");
    add(&index, &grant);
    assert_int_equal(grant_index_ask(&index, &query, &found), STRENGTH_DIRECT);
    CHECK(found && strcmp(found->id, grant.id) == 0);
    grant_index_done(&index);
}

/* --- names ------------------------------------------------------------------------------------ */

static void test_same_request_is_recognised(void **state)
{
    struct grant_index index = begin();
    struct condition_pair pairs[] = { { "A", "1" }, { "B", "2" } };
    struct condition_pair turned[] = { { "B", "2" }, { "A", "1" } };
    struct condition_pair folded[] = { { "a", "1" }, { "B", "2" } };
    struct grant grant = sample("1"), like = sample("2");

    (void)state;
    grant.name = like.name = "n";
    grant.constraint = like.constraint = GRANT_EQUALS;
    grant.pairs = pairs;
    like.pairs = turned;
    grant.pair_count = like.pair_count = 2;
    add(&index, &grant);
    CHECK(grant_index_same(&index, &like) != NULL);
#define CHECK_DIFFERS(change)                                                                      \
    do {                                                                                           \
        struct grant differs = like;                                                               \
        change;                                                                                    \
        CHECK(grant_index_same(&index, &differs) == NULL);                                         \
    } while (0)
    CHECK_DIFFERS(differs.name = "N");
    CHECK_DIFFERS(differs.name = "");
    CHECK_DIFFERS(differs.pairs = folded);
    CHECK_DIFFERS(differs.pair_count = 1);
    CHECK_DIFFERS(differs.constraint = GRANT_SUBSET);
    CHECK_DIFFERS(differs.operations |= MASK("Encrypt"));
    CHECK_DIFFERS(differs.retiring = ROOT);
    CHECK_DIFFERS(differs.grantee = ROOT; differs.grantee_id[0] = '\0');
    CHECK_DIFFERS(memcpy(differs.grantee_id, "AIDABBBBBBBBBBBBBBBB", 21));
    CHECK_DIFFERS(memcpy(differs.issuing_account, "444455556666", 13));
    CHECK_DIFFERS(differs.key_id = keys[1]);
#undef CHECK_DIFFERS
    grant_index_remove(&index, &keys[0], grant.id);
    CHECK(grant_index_same(&index, &like) == NULL);
    grant_index_done(&index);
}

/* --- against a plain search ------------------------------------------------------------------- */

#define MODEL_MOST 600

struct model {
    struct grant grants[MODEL_MOST];
    struct condition_pair pairs[MODEL_MOST][3];
    char values[MODEL_MOST][3][8];
    bool present[MODEL_MOST];
};

static unsigned pick(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) % below;
}

static const char *const pair_names[] = { "App", "Bucket", "Object" };
static const char *const folded_names[] = { "aPP", "BUCKET", "object" };

static void make_random(struct model *model, size_t i, unsigned *seed)
{
    static const char *const operations[] = { "Decrypt", "Encrypt", "CreateGrant", "DescribeKey" };
    const size_t grantee = pick(seed, ARRAY_LEN(grantees));
    struct grant *const grant = &model->grants[i];

    *grant = sample("");
    (void)snprintf(grant->id, sizeof(grant->id), "%08x%056zx", pick(seed, 1U << 30), i);
    grant->key_id = keys[pick(seed, ARRAY_LEN(keys))];
    grant->grantee = grantees[grantee].arn;
    memcpy(grant->grantee_id, grantees[grantee].id, strlen(grantees[grantee].id) + 1);
    grant->retiring = pick(seed, 2) ? "" : grantees[pick(seed, 2)].arn;
    grant->operations = grant_operation_bit(operations[pick(seed, 4)]) |
                        grant_operation_bit(operations[pick(seed, 4)]);
    grant->constraint = (enum grant_constraint)pick(seed, 3);
    grant->pairs = model->pairs[i];
    grant->pair_count = grant->constraint ? pick(seed, 4) : 0;
    for (size_t p = 0; p < grant->pair_count; p++) {
        (void)snprintf(model->values[i][p], sizeof(model->values[i][p]), "%u", pick(seed, 3));
        model->pairs[i][p] = (struct condition_pair){ pair_names[p], model->values[i][p] };
    }
}

static enum strength model_ask(const struct model *model, const struct grant_query *query)
{
    enum strength best = STRENGTH_NONE;

    for (size_t i = 0; i < MODEL_MOST; i++) {
        const struct grant *const grant = &model->grants[i];
        if (!model->present[i] || !uuid_equal(&grant->key_id, query->key_id) ||
            !(grant->operations >> query->action & 1) ||
            !(grant_ignores_constraint(query->action) ||
              grant_match_context(grant, query->pairs, query->pair_count)))
            continue;
        const enum strength strength =
            grant_match_principal(grant->grantee, grant->grantee_id, query->caller);
        if (strength > best)
            best = strength;
    }
    return best;
}

static void compare_one(const struct model *model, const struct grant_index *index, unsigned *seed)
{
    static const char *const operations[] = { "Decrypt", "Encrypt", "CreateGrant", "DescribeKey" };
    struct condition_pair pairs[3];
    char values[3][8];
    struct grant *found = NULL;
    struct grant_query query = { .key_id = &keys[pick(seed, ARRAY_LEN(keys))],
                                 .caller = callers[pick(seed, ARRAY_LEN(callers))],
                                 .action = bit_of(operations[pick(seed, 4)]),
                                 .pairs = pairs,
                                 .pair_count = pick(seed, 4) };

    for (size_t p = 0; p < query.pair_count; p++) {
        (void)snprintf(values[p], sizeof(values[p]), "%u", pick(seed, 3));
        pairs[p] =
            (struct condition_pair){ pick(seed, 2) ? pair_names[p] : folded_names[p], values[p] };
    }
    assert_int_equal(grant_index_ask(index, &query, &found), model_ask(model, &query));
}

/* Every grant in its place, once, in both orders. */
static void check_orders(const struct model *model, const struct grant_index *index)
{
    size_t present = 0, retired = 0;

    for (size_t i = 0; i < MODEL_MOST; i++) {
        const struct grant *const grant = &model->grants[i];
        present += model->present[i];
        retired += model->present[i] && grant->retiring[0];
        CHECK((grant_index_get(index, &grant->key_id, grant->id) != NULL) == model->present[i]);
    }
    for (int order = 0; order < 2; order++) {
        const struct grant_tree *const tree = order ? &index->by_retiring : &index->by_key;
        struct grant_place place = { "", &keys[0], "" };
        const struct grant *before = NULL;
        size_t walked = 0;
        for (const struct grant_link *link; (link = grant_tree_after(tree, &place)); walked++) {
            const struct grant *const grant = link->grant;
            if (before && order && strcmp(before->retiring, grant->retiring) == 0)
                CHECK(uuid_compare(&before->key_id, &grant->key_id) <= 0);
            if (before && uuid_equal(&before->key_id, &grant->key_id) &&
                (!order || strcmp(before->retiring, grant->retiring) == 0))
                CHECK(strcmp(before->id, grant->id) < 0);
            before = grant;
            place = (struct grant_place){ grant->retiring, &grant->key_id, grant->id };
            assert_int_equal(grant_tree_rank(tree, &place), walked);
        }
        assert_int_equal(walked, order ? retired : present);
    }
}

static void walk_model(unsigned rounds)
{
    static struct model model;
    struct grant_index index = begin();
    unsigned seed = 20261121;

    memset(&model, 0, sizeof(model));
    for (size_t i = 0; i < MODEL_MOST; i++)
        make_random(&model, i, &seed);
    for (unsigned round = 0; round < rounds; round++) {
        for (int change = 0; change < 300; change++) {
            const size_t i = pick(&seed, MODEL_MOST);
            if (model.present[i])
                grant_index_remove(&index, &model.grants[i].key_id, model.grants[i].id);
            else
                add(&index, &model.grants[i]);
            model.present[i] = !model.present[i];
        }
        for (int question = 0; question < 1000; question++)
            compare_one(&model, &index, &seed);
        check_orders(&model, &index);
    }
    for (size_t i = 0; i < MODEL_MOST; i++)
        grant_index_remove(&index, &model.grants[i].key_id, model.grants[i].id);
    assert_int_equal(index.bucket_count, 0);
    grant_index_done(&index);
}

static void test_index_equals_a_plain_search(void **state)
{
    (void)state;
    walk_model(12);
}

/* What is found under a hash is verified, so it does not matter who else is there. */
static void test_index_without_a_hash_that_tells_apart(void **state)
{
    (void)state;
    all_hashes_meet = true;
    walk_model(4);
    all_hashes_meet = false;
}

static size_t depth_of(const struct grant_link *link)
{
    if (link == NULL)
        return 0;
    const size_t left = depth_of(link->child[0]), right = depth_of(link->child[1]);
    return 1 + (left > right ? left : right);
}

/* Arriving in order, as they are read from the store, does not make the tree a list. */
static void test_sorted_arrival_keeps_the_tree_shallow(void **state)
{
    struct grant_index index = begin();

    (void)state;
    for (int i = 0; i < 5000; i++) {
        char tail[16];
        (void)snprintf(tail, sizeof(tail), "%08d", i);
        const struct grant grant = sample(tail);
        add(&index, &grant);
    }
    CHECK(depth_of(index.by_key.root) < 80); /* the logarithm is 12.3 */
    assert_int_equal(grant_index_count(&index, &keys[0]), 5000);
    assert_int_equal(grant_index_count(&index, &keys[1]), 0);
    grant_index_done(&index);
}

/* All share a pair, each has one of its own: they must not stand in one bucket. */
static void test_grants_spread_over_buckets(void **state)
{
    struct grant_index index = begin();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        char tail[16];
        (void)snprintf(tail, sizeof(tail), "%08d", i);
        const struct condition_pair pairs[] = { { "App", "x" }, { "Volume", tail } };
        struct grant grant = sample(tail);
        grant.constraint = GRANT_EQUALS;
        grant.pairs = pairs;
        grant.pair_count = 2;
        add(&index, &grant);
    }
    CHECK(index.bucket_count >= 999);
    grant_index_done(&index);
}

/* --- rows ------------------------------------------------------------------------------------- */

static void test_rows_round_trip(void **state)
{
    struct kms_error err = { 0 };
    const struct condition_pair pairs[] = { { "A \"q\"", "\xc3\xa4\n" }, { "B", "" } };
    struct grant grant = sample("1");
    struct grant *again = NULL;
    AUTO(grant_row) row = { 0 };

    (void)state;
    grant.retiring = APP;
    memcpy(grant.retiring_id, APP_ID, sizeof(APP_ID));
    grant.operations = MASK("Decrypt", "RetireGrant", "GenerateDataKeyPairWithoutPlaintext");
    grant.constraint = GRANT_SUBSET;
    grant.pairs = pairs;
    grant.pair_count = 2;
    grant.name = "n";
    grant.created_ms = 1795176000123;
    memset(grant.parent, 'b', GRANT_ID_LEN);
    CHECK_OK(grant_row_make(&grant, &row, &err), err);
    assert_string_equal(row.record.operations,
                        "Decrypt GenerateDataKeyPairWithoutPlaintext RetireGrant");
    assert_string_equal(row.record.constraint_kind, "Subset");
    CHECK_OK(grant_from_record(&row.record, &again, &err), err);
    CHECK(grant_match_same(&grant, again));
    assert_string_equal(again->id, grant.id);
    assert_string_equal(again->parent, grant.parent);
    assert_int_equal(again->created_ms, grant.created_ms);
    grant_unref(again);
}

static void test_rows_nobody_wrote_are_refused(void **state)
{
    struct kms_error err = { 0 };
    const struct grant grant = sample("1");
    struct grant *again = NULL;
    AUTO(grant_row) row = { 0 };

    (void)state;
    CHECK_OK(grant_row_make(&grant, &row, &err), err);
#define CHECK_REFUSED(member, text)                                                                \
    do {                                                                                           \
        char changed[] = text;                                                                     \
        struct grant_record record = row.record;                                                   \
        record.member = changed;                                                                   \
        CHECK_FAILS(grant_from_record(&record, &again, &err), err, KMS_ERR_INTEGRITY);             \
        record.member = NULL;                                                                      \
        CHECK_FAILS(grant_from_record(&record, &again, &err), err, KMS_ERR_INTEGRITY);             \
        CHECK(again == NULL);                                                                      \
    } while (0)
    CHECK_REFUSED(id, "short");
    CHECK_REFUSED(grantee_id, "AIDAAAAAAAAAAAAAAAAAA");
    CHECK_REFUSED(issuing_account, "1111222233334");
    CHECK_REFUSED(operations, "Decrypt Nonsense");
    CHECK_REFUSED(operations, "");
    CHECK_REFUSED(operations, "PutKeyPolicy");
    CHECK_REFUSED(constraint_kind, "equals");
    CHECK_REFUSED(pairs, "[]");
    CHECK_REFUSED(pairs, "{\"a\":1}");
    CHECK_REFUSED(pairs, "{\"a\":\"1\",\"a\":\"2\"}");
    CHECK_REFUSED(pairs, "{\"1\":\"\",\"2\":\"\",\"3\":\"\",\"4\":\"\",\"5\":\"\",\"6\":\"\","
                         "\"7\":\"\",\"8\":\"\",\"9\":\"\"}");
    CHECK_REFUSED(parent, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
#undef CHECK_REFUSED
}

static void test_operations_that_can_be_granted(void **state)
{
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i < action_count; i++)
        count += actions[i].grantable;
    assert_int_equal(count, 19);
    CHECK(grant_operation_bit("Decrypt") != 0);
    CHECK(grant_operation_bit("ReEncrypt") == 0);
    CHECK(grant_operation_bit("PutKeyPolicy") == 0);
    CHECK(grant_operation_bit("") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strength_of_each_kind_of_grantee),
        cmocka_unit_test(test_the_strongest_grant_counts),
        cmocka_unit_test(test_retire_strength),
        cmocka_unit_test(test_constraints),
        cmocka_unit_test(test_constraint_with_a_long_name),
        cmocka_unit_test(test_children_are_not_wider),
        cmocka_unit_test(test_a_parent_is_found),
        cmocka_unit_test(test_same_request_is_recognised),
        cmocka_unit_test(test_index_equals_a_plain_search),
        cmocka_unit_test(test_index_without_a_hash_that_tells_apart),
        cmocka_unit_test(test_sorted_arrival_keeps_the_tree_shallow),
        cmocka_unit_test(test_grants_spread_over_buckets),
        cmocka_unit_test(test_rows_round_trip),
        cmocka_unit_test(test_rows_nobody_wrote_are_refused),
        cmocka_unit_test(test_operations_that_can_be_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
