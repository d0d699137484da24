#include "hsmkms/store/root_tree.h"
#include "tests/support/check.h"

static struct root_entry entry_of(unsigned number, uint8_t mac)
{
    struct kms_error err = { 0 };
    struct root_entry entry = { .mac = { mac } };

    CHECK_OK(sha256_of(span_of(&number, sizeof(number)), entry.key, &err), err);
    return entry;
}

static struct root_tree *new_tree(void)
{
    struct kms_error err = { 0 };
    struct root_tree *tree = NULL;

    CHECK_OK(root_tree_new(&tree, &err), err);
    return tree;
}

static void put(struct root_tree *tree, unsigned number, uint8_t mac)
{
    struct kms_error err = { 0 };
    const struct root_entry entry = entry_of(number, mac);

    CHECK_OK(root_tree_put(tree, &entry, &err), err);
}

static void drop(struct root_tree *tree, unsigned number)
{
    root_tree_remove(tree, entry_of(number, 0).key);
}

struct root {
    uint8_t bytes[SHA256_LEN];
};

static struct root root_of(struct root_tree *tree)
{
    struct kms_error err = { 0 };
    struct root root;

    CHECK_OK(root_tree_root(tree, root.bytes, &err), err);
    return root;
}

static bool same(struct root a, struct root b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

/* Written out by hand: a bucket is H(0), a level above H(1, left, right), twelve times. */
static void test_root_tree_empty_is_as_described(void **state)
{
    struct kms_error err = { 0 };
    struct root_tree *const tree = new_tree();
    uint8_t node[SHA256_LEN], bytes[1 + 2 * SHA256_LEN] = { 1 };

    (void)state;
    CHECK_OK(sha256_of(SPAN_LITERAL("\0"), node, &err), err);
    for (int i = 0; i < ROOT_TREE_LEVELS; i++) {
        memcpy(bytes + 1, node, SHA256_LEN);
        memcpy(bytes + 1 + SHA256_LEN, node, SHA256_LEN);
        CHECK_OK(sha256_of(SPAN_ARRAY(bytes), node, &err), err);
    }
    CHECK_SPAN(SPAN_ARRAY(root_of(tree).bytes), SPAN_ARRAY(node));
    root_tree_free(tree);
}

static void test_root_tree_does_not_depend_on_order(void **state)
{
    struct root_tree *const up = new_tree(), *const down = new_tree();

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        put(up, i, (uint8_t)i);
        put(down, 19999 - i, (uint8_t)(19999 - i));
        if (i % 1000 == 0)
            (void)root_of(up); /* some hashes are made on the way */
    }
    assert_int_equal(root_tree_count(up), 20000);
    CHECK(same(root_of(up), root_of(down)));
    root_tree_free(up);
    root_tree_free(down);
}

static void test_root_tree_sees_every_kind_of_change(void **state)
{
    struct root_tree *const tree = new_tree();

    (void)state;
    for (unsigned i = 0; i < 100; i++)
        put(tree, i, 1);
    const struct root before = root_of(tree);

    put(tree, 50, 2);
    CHECK(!same(before, root_of(tree)));
    put(tree, 50, 1);
    CHECK(same(before, root_of(tree)));

    put(tree, 100, 1);
    CHECK(!same(before, root_of(tree)));
    drop(tree, 100);
    CHECK(same(before, root_of(tree)));

    drop(tree, 7);
    CHECK(!same(before, root_of(tree)));
    drop(tree, 7);
    assert_int_equal(root_tree_count(tree), 99);
    put(tree, 7, 1);
    CHECK(same(before, root_of(tree)));
    root_tree_free(tree);
}

static void test_root_tree_sees_macs_exchanged(void **state)
{
    struct root_tree *const tree = new_tree();

    (void)state;
    put(tree, 1, 1);
    put(tree, 2, 2);
    const struct root before = root_of(tree);
    put(tree, 1, 2);
    put(tree, 2, 1);
    CHECK(!same(before, root_of(tree)));
    root_tree_free(tree);
}

static void test_root_tree_finds_what_was_put(void **state)
{
    struct root_tree *const tree = new_tree();

    (void)state;
    CHECK(root_tree_find(tree, entry_of(1, 0).key) == NULL);
    put(tree, 1, 9);
    const struct root_entry *const found = root_tree_find(tree, entry_of(1, 0).key);
    CHECK(found != NULL && found->mac[0] == 9);
    CHECK(root_tree_find(tree, entry_of(2, 0).key) == NULL);
    root_tree_free(tree);
    root_tree_free(NULL);
}

/* The root kept up to date over many changes is the root of a tree made anew from what is left. */
static void test_root_tree_incremental_equals_rebuilt(void **state)
{
    enum { NUMBERS = 500, STEPS = 5000 };
    static uint8_t macs[NUMBERS]; /* 0: not there */
    struct root_tree *const tree = new_tree();
    unsigned random = 1;

    (void)state;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1103515245 + 12345;
        const unsigned number = random / 65536 % NUMBERS;
        macs[number] = (uint8_t)(random / 4096 % 4);
        if (macs[number])
            put(tree, number, macs[number]);
        else
            drop(tree, number);
        if (step % 250)
            continue;
        struct root_tree *const again = new_tree();
        for (unsigned i = 0; i < NUMBERS; i++)
            if (macs[i])
                put(again, i, macs[i]);
        assert_int_equal(root_tree_count(tree), root_tree_count(again));
        CHECK(same(root_of(tree), root_of(again)));
        root_tree_free(again);
    }
    root_tree_free(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_root_tree_empty_is_as_described),
        cmocka_unit_test(test_root_tree_does_not_depend_on_order),
        cmocka_unit_test(test_root_tree_sees_every_kind_of_change),
        cmocka_unit_test(test_root_tree_sees_macs_exchanged),
        cmocka_unit_test(test_root_tree_finds_what_was_put),
        cmocka_unit_test(test_root_tree_incremental_equals_rebuilt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
