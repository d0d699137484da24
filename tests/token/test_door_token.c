/* Bearer tokens and AppRole logins, on a real token and a real database. */

#include <string.h>

#include "hsmkms/iam/door_token.h"
#include "tests/support/check.h"
#include "tests/support/iam_rig.h"

#define NOW_MS  INT64_C(1790000000000)
#define LOGIN_S INT64_C(3600)
#define NOBODY  "no-such-token"

static struct iam_rig rig;

static int begin(void **state)
{
    (void)state;
    rig.signing_keys = 64;
    rig.clock.fixed_ms = NOW_MS;
    iam_rig_begin(&rig);
    iam_rig_user(&rig, RIG_ACCOUNT, "alice");
    iam_rig_user(&rig, RIG_ACCOUNT, "bob");
    return 0;
}

static int end(void **state)
{
    (void)state;
    iam_rig_close(&rig);
    return 0;
}

/* A credential of a user; ret_text owned by the caller. */
static struct uuid make(enum door_token_kind kind, const char *user, int64_t days,
                        struct secret *ret_text)
{
    const struct door_token_draft draft = {
        .kind = kind, .account = RIG_ACCOUNT, .user_name = user, .label = "test", .days = days
    };
    struct kms_error err = { 0 };
    struct uuid id;

    CHECK_OK(door_token_create(rig.iam, &draft, &id, ret_text, &err), err);
    return id;
}

static void stands_for(struct span token, const char *user, const struct uuid *id)
{
    struct door_token_facts facts = { 0 };
    struct principal principal = { 0 };
    struct kms_error err = { 0 };

    CHECK_OK(door_token_use(rig.iam, token, &facts, &principal, &err), err);
    assert_string_equal(principal.user_name, user);
    assert_string_equal(principal.access_key_id, uuid_format(id).text);
    assert_true(uuid_equal(&facts.id, id));
    principal_done(&principal);
}

static void stands_for_nobody(struct span token)
{
    struct door_token_facts facts = { 0 };
    struct principal principal = { 0 };
    struct kms_error err = { 0 };

    CHECK_FAILS(door_token_use(rig.iam, token, &facts, &principal, &err), err,
                KMS_ERR_UNRECOGNIZED_CLIENT);
    assert_null(principal.identity);
    assert_true(uuid_is_nil(&facts.id));
}

static void set_active(const struct uuid *id, bool active)
{
    struct kms_error err = { 0 };

    CHECK_OK(door_token_set_active(rig.iam, id, active, &err), err);
}

static void reopen(void)
{
    struct kms_error err = { 0 };

    iam_rig_close(&rig);
    CHECK_OK(iam_rig_open(&rig, &err), err);
}

static void test_door_token_create(void **state)
{
    AUTO(secret) first = { 0 };
    AUTO(secret) second = { 0 };
    AUTO(secret) root = { 0 };

    (void)state;
    const struct uuid a = make(DOOR_TOKEN, "alice", 0, &first);
    const struct uuid b = make(DOOR_TOKEN, "alice", 0, &second);
    const struct uuid r = make(DOOR_TOKEN, "", 0, &root);
    assert_int_equal(first.len, strlen(DOOR_TOKEN_PREFIX) + DOOR_SECRET_LEN);
    assert_memory_equal(first.ptr, DOOR_TOKEN_PREFIX, strlen(DOOR_TOKEN_PREFIX));
    stands_for(secret_span(&first), "alice", &a);
    stands_for(secret_span(&second), "alice", &b);
    stands_for(secret_span(&root), "", &r);
    stands_for_nobody(SPAN_LITERAL(NOBODY));
    stands_for_nobody(SPAN_LITERAL(""));
    stands_for_nobody(span_of(first.ptr, first.len - 1));
    stands_for_nobody(span_of(first.ptr + 4, first.len - 4));
}

static void test_door_token_survives_a_start(void **state)
{
    AUTO(secret) kept = { 0 };
    AUTO(secret) disabled = { 0 };
    AUTO(secret) deleted = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    const struct uuid a = make(DOOR_TOKEN, "alice", 0, &kept);
    const struct uuid b = make(DOOR_TOKEN, "bob", 0, &disabled);
    const struct uuid c = make(DOOR_TOKEN, "bob", 0, &deleted);
    set_active(&b, false);
    CHECK_OK(door_token_delete(rig.iam, &c, &err), err);
    reopen();
    stands_for(secret_span(&kept), "alice", &a);
    stands_for_nobody(secret_span(&disabled));
    stands_for_nobody(secret_span(&deleted));
    set_active(&b, true);
    stands_for(secret_span(&disabled), "bob", &b);
    CHECK_FAILS(door_token_delete(rig.iam, &c, &err), err, KMS_ERR_NOT_FOUND);
}

static void test_door_token_expires(void **state)
{
    AUTO(secret) text = { 0 };

    (void)state;
    const struct uuid id = make(DOOR_TOKEN, "alice", 2, &text);
    rig.clock.fixed_ms = NOW_MS + 2 * MS_PER_DAY - 1;
    stands_for(secret_span(&text), "alice", &id);
    rig.clock.fixed_ms = NOW_MS + 2 * MS_PER_DAY;
    stands_for_nobody(secret_span(&text));
    set_active(&id, true);
    stands_for_nobody(secret_span(&text));
}

static void test_door_token_follows_its_user(void **state)
{
    const struct identity_name alice = { IDENTITY_USER, RIG_ACCOUNT, "alice" };
    AUTO(secret) text = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    const struct uuid id = make(DOOR_TOKEN, "alice", 0, &text);
    CHECK_OK(directory_set_enabled(rig.iam->directory, &alice, false, &err), err);
    stands_for_nobody(secret_span(&text));
    CHECK_OK(directory_set_enabled(rig.iam->directory, &alice, true, &err), err);
    stands_for(secret_span(&text), "alice", &id);

    CHECK_OK(directory_delete(rig.iam->directory, &alice, false, &err), err);
    stands_for_nobody(secret_span(&text));
    iam_rig_user(&rig, RIG_ACCOUNT, "alice"); /* another one, of the same name */
    stands_for_nobody(secret_span(&text));
}

static void test_door_token_refuses(void **state)
{
    char label[DOOR_TOKEN_LABEL_MAX + 2] = "";
    const struct {
        const char *account, *user, *label;
        enum kms_err code;
    } rows[] = {
        { RIG_ACCOUNT, "carol", "", KMS_ERR_NOT_FOUND },
        { "999999999999", "alice", "", KMS_ERR_NOT_FOUND },
        { "999999999999", "", "", KMS_ERR_NOT_FOUND },
        { RIG_ACCOUNT, "alice", "a\nb", KMS_ERR_VALIDATION },
        { RIG_ACCOUNT, "alice", "\xc3\xa9", KMS_ERR_VALIDATION },
        { RIG_ACCOUNT, "alice", label, KMS_ERR_VALIDATION },
    };

    (void)state;
    memset(label, 'x', sizeof(label) - 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct door_token_draft draft = { DOOR_TOKEN, rows[i].account, rows[i].user,
                                                rows[i].label, 0 };
        struct kms_error err = { 0 };
        struct uuid id;
        AUTO(secret) text = { 0 };
        CHECK_FAILS(door_token_create(rig.iam, &draft, &id, &text, &err), err, rows[i].code);
        assert_null(text.ptr);
    }
}

static void count_one(void *arg, const struct door_token_record *record)
{
    assert_string_equal(record->label, "test");
    ++*(size_t *)arg;
}

static size_t count(void)
{
    size_t found = 0;

    door_token_each(rig.iam, count_one, &found);
    return found;
}

/* --- logins ----------------------------------------------------------------------------------- */

static struct span role_of(const char *user)
{
    static char id[UNIQUE_ID_LEN + 1];
    struct identity *const found =
        directory_find(rig.iam->directory, IDENTITY_USER, RIG_ACCOUNT, user);

    assert_non_null(found);
    memcpy(id, found->unique_id, sizeof(id));
    identity_unref(found);
    return span_text(id);
}

static void log_in(const struct secret *secret, struct secret *ret_token)
{
    struct door_token_facts facts = { 0 };
    struct kms_error err = { 0 };

    CHECK_OK(door_token_login(rig.iam, role_of("alice"), secret_span(secret), LOGIN_S, ret_token,
                              &facts, &err),
             err);
    assert_int_equal(facts.kind, DOOR_LOGIN);
    assert_true(facts.expires_ms == rig.clock.fixed_ms + LOGIN_S * MS_PER_SECOND);
}

static void cannot_log_in(struct span role, struct span secret)
{
    struct door_token_facts facts = { 0 };
    struct kms_error err = { 0 };
    AUTO(secret) token = { 0 };

    CHECK_FAILS(door_token_login(rig.iam, role, secret, LOGIN_S, &token, &facts, &err), err,
                KMS_ERR_UNRECOGNIZED_CLIENT);
    assert_null(token.ptr);
}

static void test_door_token_login(void **state)
{
    AUTO(secret) secret = { 0 };
    AUTO(secret) plain = { 0 };
    AUTO(secret) token = { 0 };

    (void)state;
    const struct uuid id = make(DOOR_SECRET, "alice", 0, &secret);
    (void)make(DOOR_TOKEN, "alice", 0, &plain);
    log_in(&secret, &token);
    stands_for(secret_span(&token), "alice", &id);
    stands_for_nobody(secret_span(&secret)); /* a secret is no token */
    cannot_log_in(role_of("bob"), secret_span(&secret));
    cannot_log_in(SPAN_LITERAL(""), secret_span(&secret));
    cannot_log_in(role_of("alice"), secret_span(&plain));
    cannot_log_in(role_of("alice"), secret_span(&token));
    cannot_log_in(role_of("alice"), SPAN_LITERAL(NOBODY));
    assert_int_equal(count(), 2); /* logins are not among them */

    set_active(&id, false);
    stands_for_nobody(secret_span(&token));
    cannot_log_in(role_of("alice"), secret_span(&secret));
    set_active(&id, true);
    stands_for(secret_span(&token), "alice", &id);
    reopen();
    stands_for_nobody(secret_span(&token));
}

static void test_door_token_login_ends_with_its_secret(void **state)
{
    AUTO(secret) secret = { 0 };
    AUTO(secret) token = { 0 };
    struct door_token_facts facts;
    struct kms_error err = { 0 };

    (void)state;
    const struct uuid id = make(DOOR_SECRET, "alice", 0, &secret);
    log_in(&secret, &token);
    CHECK_OK(door_token_delete(rig.iam, &id, &err), err);
    stands_for_nobody(secret_span(&token));
    CHECK_FAILS(door_token_renew(rig.iam, secret_span(&token), LOGIN_S, &facts, &err), err,
                KMS_ERR_VALIDATION);
}

static void test_door_token_renew(void **state)
{
    AUTO(secret) secret = { 0 };
    AUTO(secret) token = { 0 };
    AUTO(secret) plain = { 0 };
    struct door_token_facts facts = { 0 };
    struct kms_error err = { 0 }, also = { 0 }, late = { 0 };

    (void)state;
    const struct uuid id = make(DOOR_SECRET, "alice", 0, &secret);
    (void)make(DOOR_TOKEN, "alice", 0, &plain);
    log_in(&secret, &token);
    rig.clock.fixed_ms = NOW_MS + (LOGIN_S - 1) * MS_PER_SECOND;
    CHECK_OK(door_token_renew(rig.iam, secret_span(&token), LOGIN_S, &facts, &err), err);
    rig.clock.fixed_ms += (LOGIN_S - 1) * MS_PER_SECOND;
    stands_for(secret_span(&token), "alice", &id);
    rig.clock.fixed_ms += MS_PER_SECOND;
    stands_for_nobody(secret_span(&token));
    CHECK_FAILS(door_token_renew(rig.iam, secret_span(&token), LOGIN_S, &facts, &late), late,
                KMS_ERR_VALIDATION);
    CHECK_FAILS(door_token_renew(rig.iam, secret_span(&plain), LOGIN_S, &facts, &also), also,
                KMS_ERR_VALIDATION);
}

static void test_door_token_logins_make_room(void **state)
{
    AUTO(secret) secret = { 0 };
    AUTO(secret) other = { 0 };
    AUTO(secret) first = { 0 };
    AUTO(secret) second = { 0 };
    AUTO(secret) foreign = { 0 };

    (void)state;
    const struct uuid id = make(DOOR_SECRET, "alice", 0, &secret);
    const struct uuid other_id = make(DOOR_SECRET, "alice", 0, &other);
    log_in(&other, &foreign);
    log_in(&secret, &first);
    rig.clock.fixed_ms++;
    log_in(&secret, &second);
    for (size_t i = 2; i <= DOOR_LOGINS_MAX; i++) {
        AUTO(secret) more = { 0 };
        rig.clock.fixed_ms++;
        log_in(&secret, &more);
    }
    stands_for_nobody(secret_span(&first));
    stands_for(secret_span(&second), "alice", &id);
    stands_for(secret_span(&foreign), "alice", &other_id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_door_token_create, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_survives_a_start, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_expires, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_follows_its_user, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_refuses, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_login, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_login_ends_with_its_secret, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_renew, begin, end),
        cmocka_unit_test_setup_teardown(test_door_token_logins_make_room, begin, end),
    };

    return run_group(tests, ARRAY_LEN(tests), iam_rig_group_up, iam_rig_group_down, &rig);
}
