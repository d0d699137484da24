/* The directory when memory or disk fail, beside readers, and with many users. */

#include <stdio.h>
#include <stdlib.h>

#include <pthread.h>
#include <sqlite3.h>

#include "tests/support/check.h"
#include "tests/support/directory_rig.h"
#include "tests/support/fault_vfs.h"

#define MANAGED "arn:aws:iam::" RIG_OWNER ":policy/Managed"

static struct directory_rig rig;

/* --- an allocator that fails once (linker --wrap) --------------------------------------------- */

static long allocations_left = -1; /* until one fails; -1: none does. One thread at a time. */
static bool allocation_failed;

static bool fails_now(void)
{
    if (allocations_left < 0 || allocations_left-- > 0)
        return false;
    allocation_failed = true;
    return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *ptr, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void *__wrap_realloc(void *ptr, size_t size)
{
    return fails_now() ? NULL : __real_realloc(ptr, size);
}

void *__real_reallocarray(void *ptr, size_t count, size_t size);
void *__wrap_reallocarray(void *ptr, size_t count, size_t size);
void *__wrap_reallocarray(void *ptr, size_t count, size_t size)
{
    return fails_now() ? NULL : __real_reallocarray(ptr, count, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

/* --- changes and their opposites -------------------------------------------------------------- */

static const struct identity_name alice = { IDENTITY_USER, RIG_OWNER, "alice" };
static const struct identity_name carol = { IDENTITY_USER, RIG_OWNER, "carol" };

static int create_carol(struct kms_error *err)
{
    const struct identity_draft draft = { .name = carol };
    struct identity *made = NULL;
    const int result = directory_create(rig.directory, &draft, &made, err);

    identity_unref(made);
    return result;
}

static int delete_carol(struct kms_error *err)
{
    return directory_delete(rig.directory, &carol, false, err);
}

static int create_role(struct kms_error *err)
{
    const struct identity_draft draft = { .name = { IDENTITY_ROLE, RIG_OWNER, "other" },
                                          .trust_policy =
                                              TRUST("arn:aws:iam::" RIG_OWNER ":user/alice") };
    struct identity *made = NULL;
    const int result = directory_create(rig.directory, &draft, &made, err);

    identity_unref(made);
    return result;
}

static int delete_role(struct kms_error *err)
{
    const struct identity_name other = { IDENTITY_ROLE, RIG_OWNER, "other" };

    return directory_delete(rig.directory, &other, false, err);
}

static int disable(struct kms_error *err)
{
    return directory_set_enabled(rig.directory, &alice, false, err);
}

static int enable(struct kms_error *err)
{
    return directory_set_enabled(rig.directory, &alice, true, err);
}

static int tag(struct kms_error *err)
{
    return directory_tag(rig.directory, &alice, "new", "value", err);
}

static int untag(struct kms_error *err)
{
    return directory_untag(rig.directory, &alice, "new", err);
}

static int put_inline(struct kms_error *err)
{
    return directory_put_policy(rig.directory, &alice, "new", ALLOW("kms:Sign", "*"), err);
}

static int delete_inline(struct kms_error *err)
{
    return directory_delete_policy(rig.directory, &alice, "new", err);
}

static int attach(struct kms_error *err)
{
    return directory_attach(rig.directory, &alice, POWER_USER_POLICY, err);
}

static int detach(struct kms_error *err)
{
    return directory_detach(rig.directory, &alice, POWER_USER_POLICY, err);
}

static int bound(struct kms_error *err)
{
    return directory_set_boundary(rig.directory, &alice, MANAGED, err);
}

static int unbound(struct kms_error *err)
{
    return directory_set_boundary(rig.directory, &alice, NULL, err);
}

static int trust_alice(struct kms_error *err)
{
    return directory_set_trust(rig.directory, RIG_OWNER, "app",
                               TRUST("arn:aws:iam::" RIG_OWNER ":user/alice"), err);
}

static int trust_account(struct kms_error *err)
{
    return directory_set_trust(rig.directory, RIG_OWNER, "app", TRUST(RIG_OWNER), err);
}

static int put_managed(const char *name, const char *text, struct kms_error *err)
{
    char arn[IDENTITY_ARN_MAX];

    return directory_put_managed(rig.directory, RIG_OWNER, NULL, name, text, arn, err);
}

static int make_managed(struct kms_error *err)
{
    return put_managed("New", ALLOW("kms:Sign", "*"), err);
}

static int delete_managed(struct kms_error *err)
{
    return directory_delete_managed(rig.directory, "arn:aws:iam::" RIG_OWNER ":policy/New", err);
}

static int replace_managed(struct kms_error *err)
{
    return put_managed("Managed", ALLOW("kms:Sign", "*"), err);
}

static int restore_managed(struct kms_error *err)
{
    return put_managed("Managed", ALLOW("kms:Encrypt", "*"), err);
}

static int add_account(struct kms_error *err)
{
    return directory_add_account(rig.directory, RIG_TENANT, false, err);
}

static int remove_account(struct kms_error *err)
{
    return directory_remove_account(rig.directory, RIG_TENANT, err);
}

static int root_off(struct kms_error *err)
{
    return directory_set_root(rig.directory, RIG_OWNER, false, 0, err);
}

static int root_on(struct kms_error *err)
{
    return directory_set_root(rig.directory, RIG_OWNER, true, 0, err);
}

typedef int change_fn(struct kms_error *err);

static const struct {
    const char *name;
    change_fn *change, *back;
} changes[] = {
    { "create a user", create_carol, delete_carol },
    { "create a role", create_role, delete_role },
    { "disable", disable, enable },
    { "tag", tag, untag },
    { "inline policy", put_inline, delete_inline },
    { "attach", attach, detach },
    { "boundary", bound, unbound },
    { "trust", trust_alice, trust_account },
    { "managed policy", make_managed, delete_managed },
    { "replace a managed policy", replace_managed, restore_managed },
    { "account", add_account, remove_account },
    { "root", root_off, root_on },
};

static int begin(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    directory_rig_begin(&rig);
    rig_user(&rig, RIG_OWNER, "alice");
    rig_user(&rig, RIG_OWNER, "bob");
    rig_role(&rig, RIG_OWNER, "app", TRUST(RIG_OWNER));
    CHECK_OK(restore_managed(&err), err);
    CHECK_OK(directory_attach(rig.directory, &alice, MANAGED, &err), err);
    CHECK_OK(directory_attach(rig.directory, &alice, ADMINISTRATOR_POLICY, &err), err);
    CHECK_OK(directory_tag(rig.directory, &alice, "team", "blue", &err), err);
    CHECK_OK(directory_put_policy(rig.directory, &alice, "own", ALLOW("kms:Verify", "*"), &err),
             err);
    return 0;
}

static void check_state(const struct buf *expected, const char *name)
{
    AUTO(buf) now = { 0 };

    directory_rig_dump(&rig, &now);
    if (!span_equal(buf_span(&now), buf_span(expected)))
        fail_msg("%s: %.*s\nnot\n%.*s", name, (int)now.len, (const char *)now.ptr,
                 (int)expected->len, (const char *)expected->ptr);
}

static void must(change_fn *change)
{
    struct kms_error err = { 0 };

    CHECK_OK(change(&err), err);
}

/* One change with its nth allocation failing. Returns false when it makes fewer. */
static bool try_without_memory(size_t i, change_fn *change, change_fn *back, long nth,
                               const struct buf *before)
{
    struct kms_error err = { 0 };

    allocation_failed = false;
    allocations_left = nth;
    const int result = change(&err);
    allocations_left = -1;
    if (result < 0) {
        CHECK(allocation_failed);
        CHECK(err.code == KMS_ERR_INTERNAL || err.code == KMS_ERR_KEY_UNAVAILABLE);
        check_state(before, changes[i].name);
    } else {
        must(back);
    }
    return allocation_failed;
}

static void test_changes_with_each_allocation_failing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        AUTO(buf) before = { 0 };
        AUTO(buf) between = { 0 };
        long n = 0, m = 0;
        directory_rig_dump(&rig, &before);
        while (n < 5000 && try_without_memory(i, changes[i].change, changes[i].back, n, &before))
            n++;
        CHECK(n > 0 && n < 5000);
        check_state(&before, changes[i].name);
        directory_rig_restart(&rig);

        must(changes[i].change); /* the way back, too */
        directory_rig_dump(&rig, &between);
        while (m < 5000) {
            struct kms_error err = { 0 };
            allocation_failed = false;
            allocations_left = m++;
            const int result = changes[i].back(&err);
            allocations_left = -1;
            if (result == 0)
                break;
            check_state(&between, changes[i].name);
        }
        check_state(&before, changes[i].name);
        directory_rig_restart(&rig);
        print_message("%s: %ld allocations, back %ld\n", changes[i].name, n, m);
    }
}

static void test_open_with_each_allocation_failing(void **state)
{
    struct kms_error err = { 0 };
    struct directory *directory = NULL;
    long n = 0;

    (void)state;
    directory_close(rig.directory);
    rig.directory = NULL;
    const struct directory_config config = {
        .token = rig.token, .store = rig.store, .clock = &rig.clock, .account = RIG_OWNER
    };
    for (; n < 50000 && directory == NULL; n++) {
        kms_error_clear(&err);
        allocations_left = n;
        const int result = directory_open(&config, &directory, &err);
        allocations_left = -1;
        if (result < 0)
            assert_string_equal(kms_err_name(err.code), kms_err_name(KMS_ERR_INTERNAL));
    }
    CHECK(n > 1 && directory != NULL);
    rig.directory = directory;
    print_message("%ld allocations\n", n);
}

static void try_without_disk(size_t i, int result_code)
{
    AUTO(buf) before = { 0 };
    int n = 1;

    directory_rig_dump(&rig, &before);
    for (; n < 200; n++) {
        struct kms_error err = { 0 };
        *fault_vfs_fault() = (struct fault){ .at = n, .result = result_code };
        const int result = changes[i].change(&err);
        *fault_vfs_fault() = (struct fault){ 0 };
        if (result == 0)
            break;
        check_state(&before, changes[i].name);
        if (n % 4 == 0)
            directory_rig_restart(&rig);
    }
    CHECK(n > 1 && n < 200);
    must(changes[i].back);
    check_state(&before, changes[i].name);
    directory_rig_restart(&rig);
}

static void test_changes_with_each_write_failing(void **state)
{
    static const int results[] = { SQLITE_FULL, SQLITE_IOERR_WRITE };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++)
        for (size_t k = 0; k < ARRAY_LEN(results); k++)
            try_without_disk(i, results[k]);
}

/* --- rows that contradict each other ---------------------------------------------------------- */

static void stage(const struct table *table, const void *record)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;

    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    CHECK_OK(store_put(tx, table, record, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
}

static void expect_refused(const struct table *table, const void *record)
{
    struct kms_error err = { 0 };

    begin(NULL);
    stage(table, record);
    directory_rig_close(&rig);
    CHECK_FAILS(directory_rig_open(&rig, &err), err, KMS_ERR_INTEGRITY);
    directory_rig_close(&rig);
}

/* The casts: rows are read, not changed. */
#define T(text) ((char *)(text))

static void test_open_refuses_records_that_contradict_each_other(void **state)
{
    static const struct identity_record good = { .unique_id = T("AIDAAAAAAAAAAAAAAAAA"),
                                                 .kind = T("User"),
                                                 .account = T(RIG_OWNER),
                                                 .name = T("dave"),
                                                 .path = T("/"),
                                                 .enabled = 1 };
    struct identity_record rows[10];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        rows[i] = good;
    rows[0].unique_id = T("AROAAAAAAAAAAAAAAAAA");
    rows[1].kind = T("Role"); /* with a user's id and without a trust policy */
    rows[2].kind = T("Group");
    rows[3].account = T(RIG_TENANT); /* unknown */
    rows[4].name = T("ALICE");       /* alice is taken */
    rows[5].name = T("a/b");
    rows[6].path = T("x");
    rows[7].trust_policy = T(TRUST("*"));
    rows[8].boundary = T("arn:aws:iam::" RIG_OWNER ":policy/None");
    rows[9].name = NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_refused(&identity_table, &rows[i]);

    struct identity_record role = good;
    role.unique_id = T("AROAAAAAAAAAAAAAAAAA");
    role.kind = T("Role");
    role.trust_policy = T("{}");
    expect_refused(&identity_table, &role);
    role.trust_policy = T(TRUST("*"));
    role.trust_pins = T("[]");
    expect_refused(&identity_table, &role);

    begin(NULL);
    stage(&identity_table, &good); /* the negative twin of all these */
    struct kms_error err = { 0 };
    directory_rig_close(&rig);
    CHECK_OK(directory_rig_open(&rig, &err), err);
}

static void test_open_refuses_rows_of_nobody(void **state)
{
    const struct inline_policy_record inlined = { .identity = T("AIDAAAAAAAAAAAAAAAAA"),
                                                  .name = T("p"),
                                                  .document = T(ALLOW("*", "*")) };
    const struct attachment_record attached = { .identity = T("AIDAAAAAAAAAAAAAAAAA"),
                                                .policy = T(ADMINISTRATOR_POLICY) };
    const struct identity_tag_record tagged = { .identity = T("AIDAAAAAAAAAAAAAAAAA"),
                                                .tag_key = T("k"),
                                                .tag_value = T("v") };
    const struct account_record account = { .id = T("1234") };
    const struct account_record foreign = { .id = T(RIG_OWNER), .is_foreign = 1 };
    struct managed_policy_record managed = { .arn = T("arn:aws:iam::" RIG_OWNER ":policy/x"),
                                             .unique_id = T("ANPAAAAAAAAAAAAAAAAA"),
                                             .account = T(RIG_OWNER),
                                             .path = T("/"),
                                             .name = T("x"),
                                             .document = T("{}") };

    (void)state;
    expect_refused(&inline_policy_table, &inlined);
    expect_refused(&attachment_table, &attached);
    expect_refused(&identity_tag_table, &tagged);
    expect_refused(&account_table, &account);
    expect_refused(&account_table, &foreign);
    expect_refused(&managed_policy_table, &managed);
    managed.document = T(ALLOW("*", "*"));
    managed.name = T("MANAGED"); /* taken */
    expect_refused(&managed_policy_table, &managed);
}

/* --- beside each other ------------------------------------------------------------------------ */

#define THREADS 3
#define ROUNDS  2000

struct reader {
    pthread_t thread;
    unsigned failures;
};

/* A snapshot is whole, whatever goes on: the tag "round" and the policy names belong together. */
static bool is_whole(const struct identity *identity)
{
    const char *const round = identity_tag_value(identity, "round");

    return identity->inline_count == 1 && strcmp(identity->policies[0].name, "own") == 0 &&
           (round == NULL) == (identity->tag_count == 1) && identity->policy_count >= 2;
}

static void count_identity(void *arg, const struct identity *identity)
{
    (void)identity;
    ++*(size_t *)arg;
}

static void *read_on(void *arg)
{
    struct reader *const reader = arg;
    const struct principal_book book = directory_book(rig.directory);

    for (int i = 0; i < ROUNDS; i++) {
        char id[UNIQUE_ID_LEN + 1];
        size_t count = 0;
        struct identity *const found =
            directory_find(rig.directory, IDENTITY_USER, RIG_OWNER, "alice");
        struct identity *const passing =
            directory_find(rig.directory, IDENTITY_USER, RIG_OWNER, "carol");
        if (found == NULL || !is_whole(found) ||
            book.find(book.ctx, span_text(found->arn), id) != PRINCIPAL_PINNED)
            reader->failures++;
        identity_unref(found);
        identity_unref(passing);
        if (i % 16 == 0)
            directory_each(rig.directory, count_identity, &count);
        if (i % 16 == 0 && count < 3)
            reader->failures++;
    }
    return NULL;
}

static void test_lookups_during_changes(void **state)
{
    struct reader readers[THREADS] = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) == 0);
    for (int i = 0; i < 10; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%d", i);
        CHECK_OK(directory_tag(rig.directory, &alice, "round", text, &err), err);
        must(create_carol);
        must(i % 2 ? replace_managed : restore_managed);
        must(i % 2 ? detach : attach);
        CHECK_OK(directory_untag(rig.directory, &alice, "round", &err), err);
        must(delete_carol);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(readers[i].thread, NULL) == 0);
        assert_int_equal(readers[i].failures, 0);
    }
    directory_rig_restart(&rig);
}

/* --- many ------------------------------------------------------------------------------------- */

#define MANY 10000

static void stage_user(struct store_tx *tx, unsigned i)
{
    char id[UNIQUE_ID_LEN + 1], name[32];
    uint8_t bits[UNIQUE_ID_BITS] = { 0 };
    struct kms_error err = { 0 };

    memcpy(bits, &i, sizeof(i));
    unique_id_format(id, "AIDA", bits);
    (void)snprintf(name, sizeof(name), "user%u", i);
    const struct identity_record user = { .unique_id = id,
                                          .kind = T("User"),
                                          .account = T(RIG_OWNER),
                                          .name = name,
                                          .path = T("/"),
                                          .enabled = 1 };
    const struct inline_policy_record policy = { .identity = id,
                                                 .name = T("own"),
                                                 .document = T(ALLOW("kms:Encrypt", "*")) };
    const struct attachment_record attachment = { .identity = id, .policy = T(MANAGED) };
    CHECK_OK(store_put(tx, &identity_table, &user, &err), err);
    CHECK_OK(store_put(tx, &inline_policy_table, &policy, &err), err);
    CHECK_OK(store_put(tx, &attachment_table, &attachment, &err), err);
}

static void test_many_users(void **state)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;
    size_t count = 0;

    (void)state;
    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    for (unsigned i = 0; i < MANY; i++)
        stage_user(tx, i);
    CHECK_OK(store_commit(tx, &err), err);

    const struct directory_config config = {
        .token = rig.token, .store = rig.store, .clock = &rig.clock, .account = RIG_OWNER
    };
    directory_close(rig.directory);
    const int64_t start_us = clock_mono_us();
    CHECK_OK(directory_open(&config, &rig.directory, &err), err);
    const int64_t loaded_us = clock_mono_us();
    must(replace_managed); /* everybody has it */
    const int64_t replaced_us = clock_mono_us();
    directory_each(rig.directory, count_identity, &count);
    assert_int_equal(count, MANY + 3);
    for (unsigned i = 0; i < MANY; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "user%u", i);
        struct identity *const found =
            directory_find(rig.directory, IDENTITY_USER, RIG_OWNER, name);
        CHECK(found != NULL && found->policy_count == 2);
        identity_unref(found);
    }
    print_message("%d users: read in %lld ms, a policy of all replaced in %lld ms, found in %lld "
                  "ns each\n",
                  MANY, (long long)(loaded_us - start_us) / 1000,
                  (long long)(replaced_us - loaded_us) / 1000,
                  (long long)(clock_mono_us() - replaced_us) * 1000 / MANY);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_changes_with_each_allocation_failing),
        TEST(test_open_with_each_allocation_failing),
        TEST(test_changes_with_each_write_failing),
        TEST(test_open_refuses_records_that_contradict_each_other),
        TEST(test_open_refuses_rows_of_nobody),
        TEST(test_lookups_during_changes),
        TEST(test_many_users),
    };
    if (!fault_vfs_install())
        return 1;
    return run_group(tests, ARRAY_LEN(tests), directory_rig_up, directory_rig_down, &rig);
}
