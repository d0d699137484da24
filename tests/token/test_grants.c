/* Grants on a real token, a real database and a real directory of users and roles. */

#include <stdio.h>
#include <stdlib.h>

#include <pthread.h>
#include <sqlite3.h>

#include "hsmkms/iam/grant.h"
#include "tests/support/check.h"
#include "tests/support/directory_rig.h"
#include "tests/support/fault_vfs.h"

#define ALICE "arn:aws:iam::" RIG_OWNER ":user/alice"
#define APP   "arn:aws:iam::" RIG_OWNER ":role/app"
#define S1    "arn:aws:sts::" RIG_OWNER ":assumed-role/app/s1"
#define ROOT  "arn:aws:iam::" RIG_OWNER ":root"

static struct directory_rig rig;
static struct iam iam; /* of the rig; only what grants need */
static const struct uuid keys[] = { { { 1 } }, { { 2 } } };

static void start(void)
{
    struct kms_error err = { 0 };

    iam = (struct iam){ .config = { .token = rig.token,
                                    .store = rig.store,
                                    .clock = &rig.clock,
                                    .installation = { { 7 } },
                                    .mac_key = rig.mac_key,
                                    .account = RIG_OWNER },
                        .directory = rig.directory };
    CHECK_OK(grants_open(&iam, &iam.grants, &err), err);
}

static int begin(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    *fault_vfs_fault() = (struct fault){ 0 };
    directory_rig_begin(&rig);
    rig_user(&rig, RIG_OWNER, "alice");
    rig_role(&rig, RIG_OWNER, "app", TRUST(RIG_OWNER));
    CHECK_OK(directory_add_account(rig.directory, RIG_TENANT, true, &err), err);
    start();
    return 0;
}

static int end(void **state)
{
    (void)state;
    grants_close(iam.grants);
    iam.grants = NULL;
    return 0;
}

static void restart(void)
{
    grants_close(iam.grants);
    directory_rig_restart(&rig);
    start();
}

/* --- what the tests do most ------------------------------------------------------------------- */

static int action(const char *name)
{
    return action_of("kms", name);
}

static struct grant_draft draft_for(const char *grantee)
{
    return (struct grant_draft){ .key_id = keys[0],
                                 .grantee = grantee,
                                 .issuing_account = RIG_OWNER,
                                 .operations = grant_operation_bit("Decrypt") };
}

static struct grant *create(const struct grant_draft *draft)
{
    struct kms_error err = { 0 };
    struct grant *grant = NULL;

    CHECK_OK(grant_create(&iam, draft, &grant, &err), err);
    return grant;
}

static void create_some(size_t count, const struct uuid *key_id, const char *retiring)
{
    struct grant_draft draft = draft_for(ALICE);

    draft.key_id = *key_id;
    draft.retiring = retiring;
    for (size_t i = 0; i < count; i++)
        grant_unref(create(&draft));
}

/* alice, or a session of app, as they are now. */
static struct principal caller_of(enum identity_kind kind, const char *name)
{
    struct identity *const identity = directory_find(rig.directory, kind, RIG_OWNER, name);
    struct principal caller;

    CHECK(identity != NULL);
    if (kind == IDENTITY_USER)
        principal_of_user(identity, NULL, "AKIA", &caller);
    else
        principal_of_session(identity, NULL, "s1", "ASIA", &caller);
    return caller;
}

static enum strength strength_of(enum identity_kind kind, const char *name)
{
    AUTO(principal) caller = caller_of(kind, name);

    return grant_strength(&iam, &keys[0], &caller, action("Decrypt"), NULL, 0, NULL);
}

static void again(enum identity_kind kind, const char *name)
{
    struct kms_error err = { 0 };
    const struct identity_name identity = { kind, RIG_OWNER, name };

    CHECK_OK(directory_delete(rig.directory, &identity, false, &err), err);
    if (kind == IDENTITY_USER)
        rig_user(&rig, RIG_OWNER, name);
    else
        rig_role(&rig, RIG_OWNER, name, TRUST(RIG_OWNER));
}

/* --- creating --------------------------------------------------------------------------------- */

static void test_create_and_find(void **state)
{
    const struct condition_pair pairs[] = { { "App", "x" } };
    struct grant_draft draft = draft_for(ALICE);

    (void)state;
    draft.retiring = RIG_OWNER;
    draft.constraint = GRANT_SUBSET;
    draft.pairs = pairs;
    draft.pair_count = 1;
    draft.name = "first";
    struct grant *const made = create(&draft);
    assert_int_equal(strlen(made->id), GRANT_ID_LEN);
    assert_int_equal(strspn(made->id, "0123456789abcdef"), GRANT_ID_LEN);
    assert_string_equal(made->retiring, ROOT);
    assert_int_equal(made->created_ms, rig.clock.fixed_ms);
    for (int i = 0; i < 2; i++) { /* in memory, then from the database */
        struct grant *const found = grant_find(&iam, &keys[0], made->id);
        CHECK(found != NULL);
        assert_string_equal(found->grantee, ALICE);
        assert_memory_equal(found->grantee_id, "AIDA", 4);
        assert_string_equal(found->retiring_id, "");
        assert_string_equal(found->name, "first");
        assert_string_equal(found->pairs[0].value, "x");
        assert_int_equal(found->constraint, GRANT_SUBSET);
        grant_unref(found);
        CHECK(grant_find(&iam, &keys[1], made->id) == NULL);
        assert_int_equal(grants_count(&iam, &keys[0]), 1);
        restart();
    }
    grant_unref(made);
}

static void test_create_accepts_every_kind_of_principal(void **state)
{
    static const struct {
        const char *given, *kept;
        bool pinned;
    } rows[] = {
        { ALICE, ALICE, true },
        { APP, APP, true },
        { S1, S1, true },
        { ROOT, ROOT, false },
        { RIG_OWNER, ROOT, false },
        { RIG_TENANT, "arn:aws:iam::" RIG_TENANT ":root", false },
        { "arn:aws:sts::" RIG_OWNER ":federated-user/fred",
          "arn:aws:sts::" RIG_OWNER ":federated-user/fred", false },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct grant_draft draft = draft_for(rows[i].given);
        draft.retiring = rows[i].given;
        struct grant *const grant = create(&draft);
        assert_string_equal(grant->grantee, rows[i].kept);
        assert_string_equal(grant->retiring, rows[i].kept);
        assert_int_equal(grant->grantee_id[0] != '\0', rows[i].pinned);
        assert_string_equal(grant->grantee_id, grant->retiring_id);
        grant_unref(grant);
    }
}

static void test_create_refuses_principals_that_are_none(void **state)
{
    static const char *const rows[] = {
        "",
        "alice",
        "*",
        "arn:aws:iam::" RIG_OWNER ":user/bob",
        "arn:aws:iam::" RIG_OWNER ":user/",
        "arn:aws:iam::" RIG_OWNER ":user/Alice",
        "arn:aws:iam::" RIG_OWNER ":user/a/alice",
        "arn:aws:iam::" RIG_OWNER ":role/alice",
        "arn:aws:iam::" RIG_OWNER ":group/app",
        "arn:aws:iam::" RIG_OWNER ":*",
        "arn:aws:iam::999999999999:root",
        "999999999999",
        "11112222333",
        "arn:aws:iam::" RIG_TENANT ":user/eve",
        "arn:aws:iam:us-east-1:" RIG_OWNER ":user/alice",
        "arn:aws-cn:iam::" RIG_OWNER ":user/alice",
        "arn:aws:sts::" RIG_OWNER ":assumed-role/app",
        "arn:aws:sts::" RIG_OWNER ":assumed-role/app/",
        "arn:aws:sts::" RIG_OWNER ":assumed-role/none/s1",
        "arn:aws:sts::" RIG_OWNER ":assumed-role/app/s1/s2",
        "arn:aws:sts::" RIG_OWNER ":federated-user/",
        "arn:aws:sts::" RIG_OWNER ":federated-user/a b",
        "arn:aws:sts::999999999999:federated-user/fred",
        "arn:aws:sts::" RIG_OWNER ":root",
        "arn:aws:kms:us-east-1:" RIG_OWNER ":key/k",
        "AIDAAAAAAAAAAAAAAAAA",
    };
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct grant_draft draft = draft_for(rows[i]);
        struct grant *grant = NULL;
        if (grant_create(&iam, &draft, &grant, &err) == 0)
            fail_msg("accepted: %s", rows[i]);
        assert_int_equal(err.code, KMS_ERR_INVALID_ARN);
        kms_error_clear(&err);
        draft.grantee = ALICE;
        draft.retiring = rows[i];
        CHECK_FAILS(grant_create(&iam, &draft, &grant, &err), err, KMS_ERR_INVALID_ARN);
        CHECK(grant == NULL);
    }
    assert_int_equal(grants_count(&iam, &keys[0]), 0);
}

static void test_same_name_and_request_is_one_grant(void **state)
{
    struct grant_draft draft = draft_for(ALICE);

    (void)state;
    draft.name = "n";
    struct grant *const first = create(&draft);
    struct grant *const second = create(&draft);
    assert_string_equal(first->id, second->id);
    draft.operations |= grant_operation_bit("Encrypt");
    struct grant *const other = create(&draft);
    assert_string_not_equal(first->id, other->id);
    restart();
    struct grant *const later = create(&draft);
    assert_string_equal(later->id, other->id);
    draft.key_id = keys[1];
    struct grant *const elsewhere = create(&draft);
    assert_string_not_equal(elsewhere->id, other->id);
    draft = draft_for(ALICE);
    create_some(2, &keys[0], NULL); /* without a name each is another one */
    assert_int_equal(grants_count(&iam, &keys[0]), 4);

    draft.name = "n";
    again(IDENTITY_USER, "alice"); /* the same words mean somebody else now */
    struct grant *const hers = create(&draft);
    assert_string_not_equal(hers->id, first->id);
    struct grant *const all[] = { first, second, other, later, elsewhere, hers };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        grant_unref(all[i]);
}

/* --- who is meant ----------------------------------------------------------------------------- */

static void test_namesakes_are_somebody_else(void **state)
{
    static const struct {
        const char *grantee, *name;
        enum identity_kind kind;
        enum strength strength;
    } rows[] = { { ALICE, "alice", IDENTITY_USER, STRENGTH_DIRECT },
                 { APP, "app", IDENTITY_ROLE, STRENGTH_ROLE },
                 { S1, "app", IDENTITY_ROLE, STRENGTH_DIRECT } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct grant_draft draft = draft_for(rows[i].grantee);
        struct grant *const grant = create(&draft);
        struct kms_error err = { 0 };

        assert_int_equal(strength_of(rows[i].kind, rows[i].name), rows[i].strength);
        assert_string_equal(grant_shown_principal(&iam, grant->grantee, grant->grantee_id),
                            rows[i].grantee);
        again(rows[i].kind, rows[i].name);
        assert_int_equal(strength_of(rows[i].kind, rows[i].name), STRENGTH_NONE);
        assert_string_equal(grant_shown_principal(&iam, grant->grantee, grant->grantee_id),
                            grant->grantee_id);
        grant_unref(create(&draft));
        assert_int_equal(strength_of(rows[i].kind, rows[i].name), rows[i].strength);
        CHECK_OK(grants_drop_key(&iam, &keys[0], &err), err);
        grant_unref(grant);
    }
}

static void test_strength_tells_which_grant(void **state)
{
    const struct grant_draft draft = draft_for(APP);
    AUTO(principal) caller = caller_of(IDENTITY_ROLE, "app");
    struct grant *const made = create(&draft);
    struct grant *found = NULL;

    (void)state;
    assert_int_equal(grant_strength(&iam, &keys[0], &caller, action("Decrypt"), NULL, 0, &found),
                     STRENGTH_ROLE);
    CHECK(found == made);
    grant_unref(found);
    found = NULL;
    assert_int_equal(grant_strength(&iam, &keys[0], &caller, action("Encrypt"), NULL, 0, &found),
                     STRENGTH_NONE);
    assert_int_equal(grant_strength(&iam, &keys[1], &caller, action("Decrypt"), NULL, 0, &found),
                     STRENGTH_NONE);
    CHECK(found == NULL);
    grant_unref(made);
}

static void test_parents(void **state)
{
    struct grant_draft parent = draft_for(ALICE), child = draft_for(APP);
    AUTO(principal) caller = caller_of(IDENTITY_USER, "alice");

    (void)state;
    CHECK(grant_find_parent(&iam, &caller, &child) == NULL);
    struct grant *const plain = create(&parent); /* without CreateGrant */
    CHECK(grant_find_parent(&iam, &caller, &child) == NULL);
    parent.operations |= grant_operation_bit("CreateGrant");
    struct grant *const made = create(&parent);
    struct grant *const found = grant_find_parent(&iam, &caller, &child);
    CHECK(found == made);
    child.operations |= grant_operation_bit("Encrypt");
    CHECK(grant_find_parent(&iam, &caller, &child) == NULL);
    grant_unref(plain);
    grant_unref(made);
    grant_unref(found);
}

/* --- ending ----------------------------------------------------------------------------------- */

static void test_remove(void **state)
{
    struct kms_error err = { 0 };
    const struct grant_draft draft = draft_for(ALICE);
    struct grant *const grant = create(&draft);

    (void)state;
    CHECK_FAILS(grant_remove(&iam, &keys[1], grant->id, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_OK(grant_remove(&iam, &keys[0], grant->id, &err), err);
    CHECK(grant_find(&iam, &keys[0], grant->id) == NULL);
    assert_int_equal(strength_of(IDENTITY_USER, "alice"), STRENGTH_NONE);
    CHECK_FAILS(grant_remove(&iam, &keys[0], grant->id, &err), err, KMS_ERR_NOT_FOUND);
    restart();
    CHECK(grant_find(&iam, &keys[0], grant->id) == NULL);
    assert_string_equal(grant->grantee, ALICE); /* a reference outlives it */
    grant_unref(grant);
}

static void test_a_key_takes_its_grants_along(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    create_some(300, &keys[0], NULL); /* more than one batch */
    create_some(1, &keys[1], NULL);
    CHECK_OK(grants_drop_key(&iam, &keys[0], &err), err);
    CHECK_OK(grants_drop_key(&iam, &keys[0], &err), err);
    assert_int_equal(grants_count(&iam, &keys[0]), 0);
    assert_int_equal(grants_count(&iam, &keys[1]), 1);
    restart();
    assert_int_equal(grants_count(&iam, &keys[0]), 0);
    assert_int_equal(grants_count(&iam, &keys[1]), 1);
}

/* What could not be made durable is not there, neither now nor later. */
static void test_a_full_disk_changes_nothing(void **state)
{
    struct kms_error err = { 0 };
    const struct grant_draft draft = draft_for(ALICE);
    struct grant *const kept = create(&draft);
    struct grant *made = NULL;

    (void)state;
    *fault_vfs_fault() = (struct fault){ .at = 1, .for_ever = true, .result = SQLITE_FULL };
    CHECK_FAILS(grant_create(&iam, &draft, &made, &err), err, KMS_ERR_INTERNAL);
    CHECK_FAILS(grant_remove(&iam, &keys[0], kept->id, &err), err, KMS_ERR_INTERNAL);
    CHECK_FAILS(grants_drop_key(&iam, &keys[0], &err), err, KMS_ERR_INTERNAL);
    CHECK(made == NULL);
    assert_int_equal(grants_count(&iam, &keys[0]), 1);
    *fault_vfs_fault() = (struct fault){ 0 };
    restart();
    assert_int_equal(grants_count(&iam, &keys[0]), 1);
    CHECK_OK(grant_remove(&iam, &keys[0], kept->id, &err), err);
    grant_unref(kept);
}

/* --- lists ------------------------------------------------------------------------------------ */

static void test_lists_in_pages(void **state)
{
    struct grant *page[7], *before = NULL;
    struct uuid key_id = { { 0 } };
    char after[GRANT_ID_LEN + 1] = "";
    size_t seen = 0, count;

    (void)state;
    create_some(20, &keys[0], ALICE);
    create_some(20, &keys[1], ALICE);
    create_some(5, &keys[0], APP);
    create_some(5, &keys[0], NULL);
    while ((count = grants_of_key(&iam, &keys[0], after, page, 7))) {
        for (size_t i = 0; i < count; i++, seen++) {
            CHECK(strcmp(after, page[i]->id) < 0);
            memcpy(after, page[i]->id, sizeof(after));
            grant_unref(page[i]);
        }
    }
    assert_int_equal(seen, 30);

    seen = 0;
    after[0] = '\0';
    while ((count = grants_of_retiring(&iam, ALICE, &key_id, after, page, 7))) {
        for (size_t i = 0; i < count; i++, seen++) {
            const int order = uuid_compare(&key_id, &page[i]->key_id);
            CHECK(order < 0 || (order == 0 && strcmp(after, page[i]->id) < 0));
            key_id = page[i]->key_id;
            memcpy(after, page[i]->id, sizeof(after));
            grant_unref(before);
            before = page[i];
        }
    }
    assert_int_equal(seen, 40);
    grant_unref(before);
    assert_int_equal(grants_of_retiring(&iam, ROOT, &keys[0], "", page, 7), 0);
    assert_int_equal(grants_of_retiring(&iam, "", &keys[0], "", page, 7), 0);
    assert_int_equal(grants_of_key(&iam, &(struct uuid){ { 9 } }, "", page, 7), 0);
}

static void test_principal_texts(void **state)
{
    static const char *const good[] = { ALICE, S1, ROOT, "AROAAAAAAAAAAAAAAAAA" };
    static const char *const bad[] = {
        "", "alice", "12345678901", "1234567890123", "arn:aws:iam", "AKIAAAAAAAAAAAAAAAAA", "AIDA"
    };
    struct kms_error err = { 0 };
    char text[IDENTITY_ARN_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CHECK_OK(grant_principal_text(good[i], text, &err), err);
        assert_string_equal(text, good[i]);
    }
    CHECK_OK(grant_principal_text(RIG_OWNER, text, &err), err);
    assert_string_equal(text, ROOT);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_FAILS(grant_principal_text(bad[i], text, &err), err, KMS_ERR_INVALID_ARN);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static void make_token(const struct grant *grant, struct buf *ret)
{
    struct kms_error err = { 0 };

    CHECK_OK(grant_token_make(&iam, grant, ret, &err), err);
    CHECK(ret->len >= 1 && ret->len <= GRANT_TOKEN_MAX);
}

static void check_opens(struct span token, const struct grant *grant)
{
    struct kms_error err = { 0 };
    char id[GRANT_ID_LEN + 1];
    struct uuid key_id;

    CHECK_OK(grant_token_open(&iam, token, &key_id, id, &err), err);
    CHECK(uuid_equal(&key_id, &grant->key_id));
    assert_string_equal(id, grant->id);
}

static void check_forged(struct span token)
{
    struct kms_error err = { 0 };
    char id[GRANT_ID_LEN + 1];
    struct uuid key_id;

    CHECK_FAILS(grant_token_open(&iam, token, &key_id, id, &err), err, KMS_ERR_INVALID_GRANT_TOKEN);
}

static void test_tokens_name_their_grant(void **state)
{
    struct kms_error err = { 0 };
    const struct grant_draft draft = draft_for(ALICE);
    struct grant *const grant = create(&draft);
    AUTO(buf) first = { 0 };
    AUTO(buf) second = { 0 };

    (void)state;
    make_token(grant, &first);
    make_token(grant, &second);
    CHECK(!span_equal(buf_span(&first), buf_span(&second)));
    check_opens(buf_span(&first), grant);
    check_opens(buf_span(&second), grant);
    CHECK_OK(grant_remove(&iam, &grant->key_id, grant->id, &err), err);
    restart();
    check_opens(buf_span(&first), grant); /* also when it names nothing any more */
    grant_unref(grant);
}

static void test_forged_tokens(void **state)
{
    static const char *const garbage[] = {
        "", "x", "hg1", "====", "garbage garbage", "arn:aws:kms:us-east-1:111122223333:key/k"
    };
    const struct grant_draft draft = draft_for(ALICE);
    struct grant *const grant = create(&draft);
    AUTO(buf) token = { 0 };
    AUTO(buf) longer = { 0 };

    (void)state;
    make_token(grant, &token);
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++)
        check_forged(span_text(garbage[i]));
    for (size_t len = 0; len < token.len; len++)
        check_forged(span_of(token.ptr, len));
    for (size_t i = 0; i < token.len; i++) {
        const uint8_t before = token.ptr[i];
        static const char others[] = "A_-+/=\n";
        for (const char *other = others; other < others + sizeof(others); other++) {
            token.ptr[i] = (uint8_t)*other; /* its NUL as well */
            if (token.ptr[i] != before)
                check_forged(buf_span(&token));
        }
        token.ptr[i] = before;
    }
    check_opens(buf_span(&token), grant);
    buf_append(&longer, buf_span(&token));
    buf_text(&longer, "A");
    check_forged(buf_span(&longer));

    iam.config.installation.bytes[0] ^= 1; /* another installation with the same token */
    check_forged(buf_span(&token));
    iam.config.installation.bytes[0] ^= 1;
    check_opens(buf_span(&token), grant);
    grant_unref(grant);
}

/* --- threads ---------------------------------------------------------------------------------- */

enum { READERS = 3, CHANGES = 40 };

static atomic_bool stop;

static void *read_all_the_time(void *arg)
{
    struct principal *const caller = arg;
    struct grant *page[16];

    while (!atomic_load(&stop)) {
        struct grant *found = NULL;
        const enum strength strength =
            grant_strength(&iam, &keys[0], caller, action("Decrypt"), NULL, 0, &found);
        if ((strength == STRENGTH_DIRECT) != (found != NULL))
            abort();
        grant_unref(found);
        const size_t count = grants_of_key(&iam, &keys[0], "", page, ARRAY_LEN(page));
        for (size_t i = 0; i < count; i++) {
            if (strcmp(page[i]->grantee, ALICE) != 0)
                abort();
            grant_unref(page[i]);
        }
    }
    return NULL;
}

static void test_readers_beside_changes(void **state)
{
    struct kms_error err = { 0 };
    AUTO(principal) caller = caller_of(IDENTITY_USER, "alice");
    pthread_t readers[READERS];

    (void)state;
    atomic_store(&stop, false);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_all_the_time, &caller), 0);
    for (int i = 0; i < CHANGES; i++) {
        const struct grant_draft draft = draft_for(ALICE);
        struct grant *const grant = create(&draft);
        if (i % 3)
            CHECK_OK(grant_remove(&iam, &keys[0], grant->id, &err), err);
        grant_unref(grant);
    }
    CHECK_OK(grants_drop_key(&iam, &keys[0], &err), err);
    atomic_store(&stop, true);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_int_equal(grants_count(&iam, &keys[0]), 0);
}

/* Several make the same named grant at once: there is one. */
static void *create_named(void *arg)
{
    struct grant_draft draft = draft_for(ALICE);
    struct kms_error err = { 0 };
    struct grant **const ret = arg;

    draft.name = "one";
    if (grant_create(&iam, &draft, ret, &err) < 0)
        abort();
    return NULL;
}

static void test_same_request_in_several_threads(void **state)
{
    pthread_t threads[READERS];
    struct grant *made[READERS];

    (void)state;
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_named, &made[i]), 0);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < READERS; i++) {
        assert_string_equal(made[i]->id, made[0]->id);
        if (i)
            grant_unref(made[i]);
    }
    grant_unref(made[0]);
    assert_int_equal(grants_count(&iam, &keys[0]), 1);
}

/* --- as many as a key may have ---------------------------------------------------------------- */

/* Rows for all but one of them, as one transaction: made through grant_create each is one. */
static void fill_key(void)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;
    char id[GRANT_ID_LEN + 1];
    struct grant_record record = { .key_id = keys[0],
                                   .id = id,
                                   .grantee = (char[]){ ROOT },
                                   .grantee_id = (char[]){ "" },
                                   .retiring = (char[]){ "" },
                                   .retiring_id = (char[]){ "" },
                                   .issuing_account = (char[]){ RIG_OWNER },
                                   .operations = (char[]){ "Decrypt" },
                                   .constraint_kind = (char[]){ "" },
                                   .pairs = (char[]){ "{}" },
                                   .name = (char[]){ "" },
                                   .parent = (char[]){ "" } };

    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    for (int i = 1; i < GRANTS_PER_KEY; i++) {
        (void)snprintf(id, sizeof(id), "%064d", i);
        CHECK_OK(store_put(tx, &grant_table, &record, &err), err);
    }
    CHECK_OK(store_commit(tx, &err), err);
}

static void test_quota(void **state)
{
    struct kms_error err = { 0 };
    struct grant_draft draft = draft_for(ALICE);
    struct grant *grant = NULL;

    (void)state;
    fill_key();
    grants_close(iam.grants);
    start();
    assert_int_equal(grants_count(&iam, &keys[0]), GRANTS_PER_KEY - 1);
    draft.name = "last";
    struct grant *const last = create(&draft);
    struct grant *const same = create(&draft); /* nothing new */
    CHECK(same == last);
    grant_unref(same);
    draft.name = NULL;
    CHECK_FAILS(grant_create(&iam, &draft, &grant, &err), err, KMS_ERR_LIMIT_EXCEEDED);
    draft.key_id = keys[1];
    grant_unref(create(&draft));
    CHECK_OK(grant_remove(&iam, &keys[0], last->id, &err), err);
    draft.key_id = keys[0];
    grant_unref(create(&draft));
    CHECK_FAILS(grant_create(&iam, &draft, &grant, &err), err, KMS_ERR_LIMIT_EXCEEDED);
    grant_unref(last);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* Authentic, but from a program that knows other operations: a start is refused. */
static void test_rows_of_another_version_stop_the_start(void **state)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;
    char id[GRANT_ID_LEN + 1];
    const struct grant_record record = { .key_id = keys[0],
                                         .id = id,
                                         .grantee = (char[]){ ALICE },
                                         .grantee_id = (char[]){ "" },
                                         .retiring = (char[]){ "" },
                                         .retiring_id = (char[]){ "" },
                                         .issuing_account = (char[]){ RIG_OWNER },
                                         .operations = (char[]){ "Teleport" },
                                         .constraint_kind = (char[]){ "" },
                                         .pairs = (char[]){ "{}" },
                                         .name = (char[]){ "" },
                                         .parent = (char[]){ "" } };
    struct grants *grants = NULL;

    (void)state;
    (void)snprintf(id, sizeof(id), "%064d", 1);
    CHECK_OK(store_begin(rig.store, &tx, &err), err);
    CHECK_OK(store_put(tx, &grant_table, &record, &err), err);
    CHECK_OK(store_commit(tx, &err), err);
    CHECK_FAILS(grants_open(&iam, &grants, &err), err, KMS_ERR_INTEGRITY);
    CHECK(grants == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create_and_find, begin, end),
        cmocka_unit_test_setup_teardown(test_create_accepts_every_kind_of_principal, begin, end),
        cmocka_unit_test_setup_teardown(test_create_refuses_principals_that_are_none, begin, end),
        cmocka_unit_test_setup_teardown(test_same_name_and_request_is_one_grant, begin, end),
        cmocka_unit_test_setup_teardown(test_namesakes_are_somebody_else, begin, end),
        cmocka_unit_test_setup_teardown(test_strength_tells_which_grant, begin, end),
        cmocka_unit_test_setup_teardown(test_parents, begin, end),
        cmocka_unit_test_setup_teardown(test_remove, begin, end),
        cmocka_unit_test_setup_teardown(test_a_key_takes_its_grants_along, begin, end),
        cmocka_unit_test_setup_teardown(test_a_full_disk_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_lists_in_pages, begin, end),
        cmocka_unit_test_setup_teardown(test_principal_texts, begin, end),
        cmocka_unit_test_setup_teardown(test_tokens_name_their_grant, begin, end),
        cmocka_unit_test_setup_teardown(test_forged_tokens, begin, end),
        cmocka_unit_test_setup_teardown(test_readers_beside_changes, begin, end),
        cmocka_unit_test_setup_teardown(test_same_request_in_several_threads, begin, end),
        cmocka_unit_test_setup_teardown(test_quota, begin, end),
        cmocka_unit_test_setup_teardown(test_rows_of_another_version_stop_the_start, begin, end),
    };

    if (!fault_vfs_install())
        return 1;
    return run_group(tests, ARRAY_LEN(tests), directory_rig_up, directory_rig_down, &rig);
}
